/* SPDX-License-Identifier: ISC */
/*
 * soak_worker.c - a worker of a soak run: it borrows, says so in the history, works, says that it is over, and gives
 * the connection back in some state or other.
 *
 * What may go wrong while things are killed round it is counted; anything else is wrong, and ends the run: above all a
 * statement that is cancelled although nobody asked for that, and a session in which somebody else's things are found.
 */
#include "pglend.h"
#include "soak.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ACQUIRE_MS 10000
#define PAUSE_NS   5000000

/* What is done in a lease. */
static const char *const work[] = {
    "select 1",
    "select 1",
    "select sum(i) from generate_series(1, 2000) i",
    "select pg_sleep(0.003)",
    "select pg_sleep(0.03)",
    "begin; select count(*) from pg_class; commit",
    "begin; create table soak_never (i int); rollback",
};

/* How it is left: SENT and not read. NULL: as it should be. */
static const struct {
    const char *sql;
    bool sent;
} leave[] = {
    {NULL, false},
    {NULL, false},
    {NULL, false},
    {NULL, false},
    {"begin", false},
    {"begin; select 1/0", false},
    {"set client_encoding to latin1", false},
    {"listen soak; set search_path to pg_catalog", false},
    {"create temp table soak_temp as select 1", false},
    {"copy (select generate_series(1, 1000)) to stdout", false},
    {"select pg_sleep(30)", true},
    {"select generate_series(1, 20000)", true},
};

struct labourer {
    const struct soak *soak;
    pglend *pool;
    uint32_t serial;
    unsigned seed;
};

static unsigned choose(struct labourer *l, size_t among)
{
    return (unsigned)rand_r(&l->seed) % (unsigned)among;
}

__attribute__((format(printf, 2, 3))) static void wrong(const struct labourer *l, const char *format, ...)
{
    struct soak_shared *shared = l->soak->shared;
    va_list args;

    if (atomic_fetch_add(&shared->wrong, 1) > 0)
        return;
    va_start(args, format);
    (void)vsnprintf(shared->first_wrong, sizeof shared->first_wrong, format, args);
    va_end(args);
}

/* The server ended it, or the connection did. */
static bool died(const PGconn *conn, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return PQstatus(conn) == CONNECTION_BAD || (state != NULL && strncmp(state, "57P0", 4) == 0);
}

/* False: the backend has died, or what came is wrong. Divisions by zero are our own doing. */
static bool run(struct labourer *l, PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    bool ok = PQresultStatus(result) != PGRES_FATAL_ERROR || (state != NULL && strcmp(state, "22012") == 0);

    if (!ok && died(conn, result))
        (void)atomic_fetch_add(&l->soak->shared->broken, 1);
    else if (!ok)
        wrong(l, "worker %" PRIu32 ", backend %d: %s: %s", l->serial, PQbackendPID(conn), sql, PQerrorMessage(conn));
    PQclear(result);
    return ok;
}

/* Call a function of the history; its id, or -1: the lease is over. */
static long long tell(struct labourer *l, PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    long long id = -1;

    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQgetisnull(result, 0, 1))
        id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    else if (PQresultStatus(result) == PGRES_TUPLES_OK)
        wrong(l, "worker %" PRIu32 ", backend %d, %s: %s", l->serial, PQbackendPID(conn), sql,
              PQgetvalue(result, 0, 1));
    else if (died(conn, result))
        (void)atomic_fetch_add(&l->soak->shared->broken, 1);
    else
        wrong(l, "worker %" PRIu32 ", backend %d: %s: %s", l->serial, PQbackendPID(conn), sql, PQerrorMessage(conn));
    PQclear(result);
    return id;
}

/* What a terminated backend says last would be on standard error a thousand times. */
static void ignore(void *context, const PGresult *notice)
{
    (void)context;
    (void)notice;
}

/* True: the connection is to be given back in the ordinary way. */
static bool use(struct labourer *l, PGconn *conn, uint64_t begun)
{
    const char *lease = pglend_lease_id(l->pool, conn);
    unsigned slot = 0, how = choose(l, sizeof leave / sizeof leave[0]);
    uint64_t version = 0;
    char sql[160];
    long long id;

    if (lease == NULL || sscanf(lease, "clinic/%u/%" SCNu64, &slot, &version) != 2) {
        wrong(l, "worker %" PRIu32 ": the lease has no name, but \"%s\"", l->serial, lease != NULL ? lease : "");
        return false;
    }
    (void)PQsetNoticeReceiver(conn, ignore, NULL);
    (void)snprintf(sql, sizeof sql, "select * from soak_begin(%u, %" PRIu64 ", %" PRIu32 ", %" PRIu64 ")", slot,
                   version, l->serial, begun);
    if ((id = tell(l, conn, sql)) == -1 || !run(l, conn, work[choose(l, sizeof work / sizeof work[0])]))
        return false;
    (void)snprintf(sql, sizeof sql, "select * from soak_end(%lld, %" PRIu64 ")", id, soak_now_ns());
    if (tell(l, conn, sql) == -1)
        return false;
    (void)atomic_fetch_add(&l->soak->shared->leases, 1);
    if (leave[how].sql == NULL)
        return true;
    return leave[how].sent ? PQsendQuery(conn, leave[how].sql) == 1 : run(l, conn, leave[how].sql);
}

/* Which failures of acquire there may be: something needed was down, or there were no descriptors. */
static void note_refusal(struct labourer *l)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    switch (pglend_errcode(l->pool)) {
    case PGLEND_TIMEOUT:
    case PGLEND_NO_DATABASE:
    case PGLEND_NO_SUPERVISOR:
    case PGLEND_SYSTEM:
        (void)atomic_fetch_add(&l->soak->shared->refused, 1);
        break;
    default:
        wrong(l, "worker %" PRIu32 ": acquire: %s: %s", l->serial, pglend_status_name(pglend_errcode(l->pool)),
              pglend_errmessage(l->pool));
    }
    (void)nanosleep(&pause, NULL);
}

int soak_worker(const struct soak *soak, uint32_t serial)
{
    struct labourer l = {soak, pglend_open(soak->daemon->runtime_dir, "clinic"), serial, soak->seed + serial};

    while (l.pool != NULL && !atomic_load(&soak->shared->stop)) {
        PGconn *conn = pglend_acquire(l.pool, ACQUIRE_MS);
        uint64_t begun = soak_now_ns();
        int status;

        if (conn == NULL) {
            note_refusal(&l);
            continue;
        }
        status = use(&l, conn, begun) ? pglend_release(l.pool, conn) : pglend_discard(l.pool, conn);
        if (status != PGLEND_OK && status != PGLEND_LOST)
            wrong(&l, "worker %" PRIu32 ": release: %s", serial, pglend_errmessage(l.pool));
    }
    pglend_close(l.pool);
    return 0;
}
