/* SPDX-License-Identifier: ISC */
/*
 * soak_history.c - who had which backend when, and whether that can be.
 *
 * A lease is a row: backend (pid and start time, as the server knows them), slot and version, begin, end. The begin is
 * stamped after acquire returned, the end before release is called, so an interval lies within the lease's: where two
 * overlap, so did the leases. A killed worker's last row ends when it was killed, if it was open then. The session's
 * own advisory lock and setting say in between that it is nobody else's.
 *
 * The table is unlogged: the server may be restarted, but not crash, which would empty it.
 */
#include "harness.h"
#include "soak.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char tables[] =
    "create unlogged table soak_owner (id bigserial primary key, backend int not null, started timestamptz not null,"
    " slot int not null, version bigint not null, worker int not null, begun bigint not null, ended bigint);"
    "create unlogged table soak_killed (worker int primary key, at bigint not null);"
    "create unlogged table soak_disturbed (at bigint not null);"
    "alter table soak_owner owner to clinic";

/* NULL: all is well; else what is not. */
static const char functions[] =
    "create function soak_begin(slot int, version bigint, worker int, begun bigint, out id bigint, out wrong text) as "
    "$$ begin"
    "  if exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) then"
    "    wrong := 'the session still holds the lock of its last borrower'; end if;"
    "  if current_setting('soak.lease', true) <> '' then"
    "    wrong := 'the session still has the setting of ' || current_setting('soak.lease'); end if;"
    "  if not pg_try_advisory_lock(pg_backend_pid()) then"
    "    wrong := 'another session holds the lock of this backend'; end if;"
    "  insert into soak_owner (backend, started, slot, version, worker, begun)"
    "    select pg_backend_pid(), a.backend_start, soak_begin.slot, soak_begin.version, soak_begin.worker,"
    "           soak_begin.begun"
    "    from pg_stat_get_activity(pg_backend_pid()) a returning soak_owner.id into id;"
    "  perform set_config('soak.lease', id::text, false); "
    "end $$ language plpgsql;"
    "create function soak_end(lease bigint, at bigint, out id bigint, out wrong text) as $$ begin"
    "  id := lease;"
    "  if current_setting('soak.lease', true) is distinct from lease::text then"
    "    wrong := 'the session has the setting of ' || coalesce(current_setting('soak.lease', true), 'nobody');"
    "  elsif not pg_advisory_unlock(pg_backend_pid()) then"
    "    wrong := 'the session has lost its lock'; end if;"
    "  update soak_owner o set ended = at where o.id = lease and backend = pg_backend_pid() and ended is null;"
    "  if not found then wrong := 'the row of this lease is not this backend''s'; end if; "
    "end $$ language plpgsql";

/* Only a worker's last row can have been open when it was killed: what it left open before had lost its backend. */
static const char close_killed[] =
    "update soak_owner o set ended = greatest(k.at, begun) from soak_killed k where o.worker = k.worker and"
    " o.ended is null and o.id = (select max(id) from soak_owner l where l.worker = k.worker)";

static const char overlaps[] =
    "select count(*) from (select begun, max(coalesce(ended, begun)) over (partition by backend, started order by begun"
    " rows between unbounded preceding and 1 preceding) as before from soak_owner) x where begun < before";

/* In each slot versions grow, and a backend that was followed by another does not come back. */
static const char stale_versions[] =
    "select count(*) from (select version, lag(version) over (partition by slot order by begun) as before"
    " from soak_owner) x where version <= before";
static const char old_generations[] =
    "select count(*) from (select slot, backend, started from (select *, lag((backend, started)) over (partition by"
    " slot order by begun) as before from soak_owner) x where (backend, started) is distinct from before"
    " group by slot, backend, started having count(*) > 1) y";

/* From a holder's death to the next lease of its slot; in ms. */
#define RECLAIM(where)                                                                                                 \
    "select format('%s of %s kills hit a lease, slot lent again after p50 %s ms, p99 %s ms, at most %s ms', "          \
    "count(ms),"                                                                                                       \
    " (select count(*) from soak_killed k " where                                                                      \
    "), round(percentile_disc(0.5) within group (order by ms), 1), round(percentile_disc(0.99) within group"           \
    " (order by ms), 1), round(max(ms), 1)) from (select (select min(n.begun) - k.at from soak_owner n where"          \
    " n.slot = o.slot and n.begun > k.at) / 1e6 as ms from soak_killed k join soak_owner o on o.worker = k.worker"     \
    " and o.ended = k.at " where ") x"
#define UNDISTURBED                                                                                                    \
    "where not exists (select from soak_disturbed d where d.at between k.at - 1000000000 and k.at + 1000000000)"

uint64_t soak_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void soak_history_make(const struct postgres *server)
{
    postgres_run(server, tables);
    postgres_run(server, functions);
}

void soak_history_killed(PGconn *conn, uint32_t serial, uint64_t at)
{
    char sql[128], text[8];

    (void)snprintf(sql, sizeof sql, "insert into soak_killed values (%" PRIu32 ", %" PRIu64 ")", serial, at);
    (void)query(conn, sql, text, sizeof text);
}

void soak_history_disturbed(PGconn *conn, uint64_t at)
{
    char sql[128], text[8];

    (void)snprintf(sql, sizeof sql, "insert into soak_disturbed values (%" PRIu64 ")", at);
    (void)query(conn, sql, text, sizeof text);
}

static long number(const struct postgres *server, const char *sql)
{
    return strtol(postgres_ask(server, sql), NULL, 10);
}

void soak_history_judge(const struct postgres *server, struct soak_verdict *verdict)
{
    postgres_run(server, close_killed);
    postgres_run(server, "create index on soak_owner (slot, begun); create index on soak_owner (worker); "
                         "analyze soak_owner");
    verdict->leases = number(server, "select count(*) from soak_owner");
    verdict->backends = number(server, "select count(distinct (backend, started)) from soak_owner");
    verdict->overlaps = number(server, overlaps);
    verdict->stale = number(server, stale_versions);
    verdict->old = number(server, old_generations);
}

void soak_history_check(const struct postgres *server)
{
    struct soak_verdict verdict;

    soak_history_judge(server, &verdict);
    printf("history: %ld leases of %ld backends, %ld overlaps, %ld stale versions, %ld of an old generation\n",
           verdict.leases, verdict.backends, verdict.overlaps, verdict.stale, verdict.old);
    printf("all kills: %s\n", postgres_ask(server, RECLAIM("")));
    printf("undisturbed (no restart or shortage within 1 s): %s\n", postgres_ask(server, RECLAIM(UNDISTURBED)));
    ck_assert_int_gt(verdict.leases, 0);
    ck_assert_msg(verdict.overlaps == 0 && verdict.stale == 0 && verdict.old == 0, "the history cannot be");
}
