/* SPDX-License-Identifier: ISC */
/*
 * versus.c - what applications do, through pglend, through PgBouncer and without either: the races of RESULTS.md.
 *
 * PgBouncer's way is left out where BENCH_SESSION is not set. A worker that connects anew for each request does so over
 * TCP, as from an application's host; connections that stay use the Unix socket, which is PgBouncer's fastest way.
 */
#include "bench.h"
#include "race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNTS  1000000 /* pgbench's scale 10 */
#define BRANCHES  10
#define CYCLES    100 /* are one turn */
#define SELECT    "select abalance from pgbench_accounts where aid = "
#define PREPARED  "select abalance from pgbench_accounts where aid = $1"
#define STATEMENT "p"

/* A way's connection, and the pool it is borrowed from where it is. */
struct end {
    pglend *pool;
    PGconn *conn;
};

static struct end clean, keep, lease, direct, session, transaction, profile, grown, cycling[2];

/* ---- transactions ---- */

static void must(PGconn *conn, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        bench_fail("query", PQerrorMessage(conn));
    PQclear(result);
}

static void run(PGconn *conn, const char *sql)
{
    must(conn, PQexec(conn, sql));
}

static void select_simple(PGconn *conn)
{
    char sql[128];

    (void)snprintf(sql, sizeof sql, SELECT "%ld", 1 + random() % ACCOUNTS);
    run(conn, sql);
}

/* The built-in transaction of pgbench that TPC-B inspired, prepared: a statement's $1, $2… are these numbers. */
enum number { DELTA, AID, TID, BID, NUMBERS };
static const struct {
    const char *name, *sql;
    int count;
    enum number number[NUMBERS];
} tpcb_prepared_step[] = {
    {"t0", "begin", 0, {0}},
    {"t1", "update pgbench_accounts set abalance = abalance + $1 where aid = $2", 2, {DELTA, AID}},
    {"t2", PREPARED, 1, {AID}},
    {"t3", "update pgbench_tellers set tbalance = tbalance + $1 where tid = $2", 2, {DELTA, TID}},
    {"t4", "update pgbench_branches set bbalance = bbalance + $1 where bid = $2", 2, {DELTA, BID}},
    {"t5",
     "insert into pgbench_history (tid, bid, aid, delta, mtime) values ($1, $2, $3, $4, current_timestamp)",
     4,
     {TID, BID, AID, DELTA}},
    {"t6", "end", 0, {0}},
};
#define TPCB_STEPS (sizeof tpcb_prepared_step / sizeof tpcb_prepared_step[0])

static void prepare(PGconn *conn)
{
    must(conn, PQprepare(conn, STATEMENT, PREPARED, 1, NULL));
    for (size_t i = 0; i < TPCB_STEPS; i++)
        must(conn, PQprepare(conn, tpcb_prepared_step[i].name, tpcb_prepared_step[i].sql, 0, NULL));
}

static void tpcb_prepared(PGconn *conn)
{
    const long number[] = {[DELTA] = random() % 10001 - 5000,
                           [AID] = 1 + random() % ACCOUNTS,
                           [TID] = 1 + random() % (10 * BRANCHES),
                           [BID] = 1 + random() % BRANCHES};
    const char *value[NUMBERS];
    char text[NUMBERS][32];

    for (int n = 0; n < NUMBERS; n++)
        (void)snprintf(text[n], sizeof text[n], "%ld", number[n]);
    for (size_t i = 0; i < TPCB_STEPS; i++) {
        for (int k = 0; k < tpcb_prepared_step[i].count; k++)
            value[k] = text[tpcb_prepared_step[i].number[k]];
        must(conn, PQexecPrepared(conn, tpcb_prepared_step[i].name, tpcb_prepared_step[i].count, value, NULL, NULL, 0));
    }
}

static void select_prepared(PGconn *conn)
{
    char number[32];
    const char *const value[] = {number};

    (void)snprintf(number, sizeof number, "%ld", 1 + random() % ACCOUNTS);
    must(conn, PQexecPrepared(conn, STATEMENT, 1, value, NULL, NULL, 0));
}

/* The same, simple. */
static void tpcb(PGconn *conn)
{
    long aid = 1 + random() % ACCOUNTS, bid = 1 + random() % BRANCHES, tid = 1 + random() % (10 * BRANCHES),
         delta = random() % 10001 - 5000;
    char sql[256];

    run(conn, "begin");
    (void)snprintf(sql, sizeof sql, "update pgbench_accounts set abalance = abalance + %ld where aid = %ld", delta,
                   aid);
    run(conn, sql);
    (void)snprintf(sql, sizeof sql, SELECT "%ld", aid);
    run(conn, sql);
    (void)snprintf(sql, sizeof sql, "update pgbench_tellers set tbalance = tbalance + %ld where tid = %ld", delta, tid);
    run(conn, sql);
    (void)snprintf(sql, sizeof sql, "update pgbench_branches set bbalance = bbalance + %ld where bid = %ld", delta,
                   bid);
    run(conn, sql);
    (void)snprintf(sql, sizeof sql,
                   "insert into pgbench_history (tid, bid, aid, delta, mtime) values (%ld, %ld, %ld, %ld, "
                   "current_timestamp)",
                   tid, bid, aid, delta);
    run(conn, sql);
    run(conn, "end");
}

/* ---- ways to a connection ---- */

static double by_lease(struct end *end, const char *actor)
{
    PGconn *conn = pglend_acquire_as(end->pool, actor, NULL, -1);

    if (conn == NULL)
        bench_fail("pglend_acquire_as", pglend_errmessage(end->pool));
    select_simple(conn);
    bench_release(end->pool, conn);
    return 1;
}

static double anew(const char *where)
{
    PGconn *conn = bench_connect_to(where);

    select_simple(conn);
    PQfinish(conn);
    return 1;
}

static void open_clean(void)
{
    clean.pool = bench_open("clean");
}

static void open_keep(void)
{
    keep.pool = bench_open("keep");
}

static void open_profile(void)
{
    const char *directory = getenv("BENCH_REGULATED_DIR");

    if (directory == NULL || setenv("PGLEND_RUNTIME_DIR", directory, 1) != 0)
        bench_fail("BENCH_REGULATED_DIR", "the regulated pglendd's runtime directory is not known");
    profile.pool = bench_open("regulated");
}

static void open_direct(void)
{
    direct.conn = bench_connect_to("BENCH_CONNINFO");
    prepare(direct.conn);
}

static void open_session(void)
{
    session.conn = bench_connect_to("BENCH_SESSION");
    prepare(session.conn);
}

static void open_transaction(void)
{
    transaction.conn = bench_connect_to("BENCH_TRANSACTION");
}

static void open_lease(void)
{
    lease.conn = bench_acquire(bench_open("keep"));
    prepare(lease.conn);
}

static void open_grown(void)
{
    grown.pool = bench_open(getenv("BENCH_GROWN"));
    bench_release(grown.pool, bench_acquire(grown.pool));
}

static void open_cycling(void)
{
    cycling[0].pool = bench_open("cycle_off");
    cycling[1].pool = bench_open("cycle_on");
    for (int i = 0; i < 2; i++)
        bench_release(cycling[i].pool, bench_acquire(cycling[i].pool));
}

static double clean_lease(void)
{
    return by_lease(&clean, NULL);
}

static double keep_lease(void)
{
    return by_lease(&keep, NULL);
}

static double profile_lease(void)
{
    return by_lease(&profile, "bench");
}

static double session_anew(void)
{
    return anew("BENCH_SESSION_TCP");
}

static double transaction_anew(void)
{
    return anew("BENCH_TRANSACTION_TCP");
}

static double encrypted_anew(void)
{
    return anew("BENCH_BOUNCER_TCP");
}

static double direct_anew(void)
{
    return anew("BENCH_CONNINFO");
}

static double direct_discard(void)
{
    select_simple(direct.conn);
    run(direct.conn, "DISCARD ALL");
    return 1;
}

/* The same transaction on the connection that each of four ways has open. */
#define ON_EACH(transaction_)                                                                                          \
    static double transaction_##_leased(void)                                                                          \
    {                                                                                                                  \
        transaction_(lease.conn);                                                                                      \
        return 1;                                                                                                      \
    }                                                                                                                  \
    static double transaction_##_direct(void)                                                                          \
    {                                                                                                                  \
        transaction_(direct.conn);                                                                                     \
        return 1;                                                                                                      \
    }                                                                                                                  \
    static double transaction_##_session(void)                                                                         \
    {                                                                                                                  \
        transaction_(session.conn);                                                                                    \
        return 1;                                                                                                      \
    }

ON_EACH(select_simple)
ON_EACH(select_prepared)
ON_EACH(tpcb)
ON_EACH(tpcb_prepared)

static double select_simple_transaction(void)
{
    select_simple(transaction.conn);
    return 1;
}

static double tpcb_transaction(void)
{
    tpcb(transaction.conn);
    return 1;
}

static double select_1_leased(void)
{
    uint64_t start = bench_ns();
    PGconn *conn = bench_acquire(keep.pool);

    race_waited_us = (double)(bench_ns() - start) / 1000;
    bench_select_1(conn);
    bench_release(keep.pool, conn);
    return 1;
}

static double select_1_bare(void)
{
    bare_cycle(race_client);
    return 1;
}

static double select_1_transaction(void)
{
    bench_select_1(transaction.conn);
    return 1;
}

static double cycle(pglend *pool)
{
    for (int i = 0; i < CYCLES; i++)
        bench_release(pool, bench_acquire(pool));
    return CYCLES;
}

static double cycle_grown(void)
{
    return cycle(grown.pool);
}

/* All but one slot of the pool are out for good: whoever comes has to find that one. */
static void hold_most(void)
{
    pglend *pool = bench_open(getenv("BENCH_GROWN"));

    for (long held = bench_setting("BENCH_HELD", 0); held > 0; held--)
        (void)bench_acquire(pool);
}

/* As a worker that has just come. */
static double find_slot(void)
{
    pglend *pool = bench_open(getenv("BENCH_GROWN"));

    bench_release(pool, bench_acquire(pool));
    pglend_close(pool);
    return 1;
}

static double cycle_off(void)
{
    return cycle(cycling[0].pool);
}

static double cycle_on(void)
{
    return cycle(cycling[1].pool);
}

/* ---- the races ---- */

#define LEND "BENCH_SUPERVISOR"
#define INSIDE(name_, transaction_)                                                                                    \
    {                                                                                                                  \
        name_, 8,                                                                                                      \
            {{"lent", NULL, open_lease, transaction_##_leased, LEND},                                                  \
             {"direct", NULL, open_direct, transaction_##_direct, NULL},                                               \
             {"session", "BENCH_SESSION", open_session, transaction_##_session, "BENCH_SESSION_PID"}},                 \
            NULL                                                                                                       \
    }
#define CYCLE(name_, clients_)                                                                                         \
    {                                                                                                                  \
        name_, clients_, {{"off", NULL, open_cycling, cycle_off, LEND}, {"on", NULL, open_cycling, cycle_on, LEND}},   \
            NULL                                                                                                       \
    }
static const struct race races[] = {
    {"regulated",
     8,
     {{"lent", "BENCH_REGULATED_DIR", open_profile, profile_lease, "BENCH_REGULATED"},
      {"session", "BENCH_BOUNCER_TCP", NULL, encrypted_anew, "BENCH_BOUNCER_PID"}},
     NULL},
    {"clean",
     8,
     {{"lent", NULL, open_clean, clean_lease, LEND},
      {"session", "BENCH_SESSION", NULL, session_anew, "BENCH_SESSION_PID"},
      {"discard", NULL, open_direct, direct_discard, NULL},
      {"anew", NULL, NULL, direct_anew, NULL}},
     NULL},
    {"keep",
     8,
     {{"lent", NULL, open_keep, keep_lease, LEND},
      {"transaction", "BENCH_TRANSACTION", NULL, transaction_anew, "BENCH_TRANSACTION_PID"},
      {"permanent", "BENCH_TRANSACTION", open_transaction, select_simple_transaction, "BENCH_TRANSACTION_PID"},
      {"direct", NULL, open_direct, select_simple_direct, NULL}},
     NULL},
    {"select",
     8,
     {{"lent", NULL, open_lease, select_simple_leased, LEND},
      {"direct", NULL, open_direct, select_simple_direct, NULL},
      {"session", "BENCH_SESSION", open_session, select_simple_session, "BENCH_SESSION_PID"},
      {"transaction", "BENCH_TRANSACTION", open_transaction, select_simple_transaction, "BENCH_TRANSACTION_PID"}},
     NULL},
    INSIDE("prepared", select_prepared),
    {"tpcb",
     8,
     {{"lent", NULL, open_lease, tpcb_leased, LEND},
      {"direct", NULL, open_direct, tpcb_direct, NULL},
      {"session", "BENCH_SESSION", open_session, tpcb_session, "BENCH_SESSION_PID"},
      {"transaction", "BENCH_TRANSACTION", open_transaction, tpcb_transaction, "BENCH_TRANSACTION_PID"}},
     NULL},
    INSIDE("tpcb_prepared", tpcb_prepared),
    CYCLE("cycle1", 1),
    CYCLE("cycle2", 2),
    CYCLE("cycle8", 8),
    CYCLE("cycle32", 32),
    {"crowd64",
     64,
     {{"lent", NULL, open_keep, select_1_leased, LEND},
      {"transaction", "BENCH_TRANSACTION", open_transaction, select_1_transaction, "BENCH_TRANSACTION_PID"},
      {"bare", NULL, NULL, select_1_bare, NULL}},
     bare_open},
    {"crowd512",
     512,
     {{"lent", NULL, open_keep, select_1_leased, LEND},
      {"transaction", "BENCH_TRANSACTION", open_transaction, select_1_transaction, "BENCH_TRANSACTION_PID"}},
     NULL},
    {"grown", 1, {{"lent", "BENCH_GROWN", open_grown, cycle_grown, LEND}}, NULL},
    {"found", 1, {{"lent", "BENCH_GROWN", NULL, find_slot, LEND}}, hold_most},
};

/* Memory of the PgBouncer that COUNT clients are connected to, in MiB. */
static void measure_clients(long count)
{
    char path[64], line[256];
    unsigned long kib = 0;
    FILE *status;

    (void)snprintf(path, sizeof path, "/proc/%ld/status", bench_setting("BENCH_TRANSACTION_PID", 0));
    for (long i = 0; i < count; i++)
        bench_select_1(bench_connect_to("BENCH_TRANSACTION"));
    status = fopen(path, "re");
    while (status != NULL && kib == 0 && fgets(line, sizeof line, status) != NULL)
        (void)sscanf(line, "VmRSS: %lu", &kib);
    if (kib == 0)
        bench_fail(path, "no VmRSS");
    (void)fclose(status);
    bench_report("bouncer_mib", (double)kib / 1024);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "clients") == 0)
        measure_clients(strtol(argv[2], NULL, 10));
    for (size_t i = 0; i < sizeof races / sizeof races[0]; i++)
        if (argc < 2 || strcmp(argv[1], races[i].name) == 0)
            race_run(&races[i]);
    return 0;
}
