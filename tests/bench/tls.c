/* SPDX-License-Identifier: ISC */
/*
 * tls.c - encrypted sessions: through relays, direct by libpq's TLS, and through PgBouncer where BENCH_BOUNCER says how.
 *
 * Eight clients are started once and have a connection of each kind; a round lets all of them use one after the other.
 */
#include "bench.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS    8
#define ROUNDS_MAX 100
#define COPY_MB    100 /* of all clients together */

enum way { WAY_RELAY, WAY_DIRECT, WAY_BOUNCER, WAYS };
static const char *const way_names[WAYS] = {"relay", "direct", "bouncer"};

enum task { TASK_SELECT, TASK_COPY, TASK_END, TASKS };
static const char *const task_names[TASKS] = {"tls_select", "tls_copy", ""};

static struct shared {
    pthread_barrier_t start, end;
    enum way way;
    enum task task;
    _Atomic bool stop;
    uint64_t count[CLIENTS];
} * shared;

static const char *bouncer;

static PGconn *connect_by(const char *conninfo)
{
    PGconn *conn = PQconnectdb(conninfo);

    if (PQstatus(conn) != CONNECTION_OK)
        bench_fail(conninfo, PQerrorMessage(conn));
    return conn;
}

static void must_be_encrypted(PGconn *conn)
{
    PGresult *result = PQexec(conn, "select ssl from pg_stat_ssl where pid = pg_backend_pid()");

    if (PQntuples(result) != 1 || strcmp(PQgetvalue(result, 0, 0), "t") != 0)
        bench_fail("pg_stat_ssl", "the session is not encrypted");
    PQclear(result);
}

/* Bytes that came. */
static uint64_t copy(PGconn *conn)
{
    char sql[128], *row;
    uint64_t bytes = 0;
    PGresult *result;
    int length;

    (void)snprintf(sql, sizeof sql, "copy (select repeat('x', 999) from generate_series(1, %d)) to stdout",
                   COPY_MB * 1000 / CLIENTS);
    PQclear(PQexec(conn, sql));
    while ((length = PQgetCopyData(conn, &row, 0)) > 0) {
        bytes += (uint64_t)length;
        PQfreemem(row);
    }
    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            bench_fail("copy", PQerrorMessage(conn));
        PQclear(result);
    }
    return bytes;
}

static _Noreturn void client(int number)
{
    PGconn *conn[WAYS] = {NULL};
    pglend *pool;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pool = bench_open("tls");
    conn[WAY_RELAY] = bench_acquire(pool);
    conn[WAY_DIRECT] = connect_by(getenv("BENCH_TLS"));
    if (bouncer != NULL)
        conn[WAY_BOUNCER] = connect_by(bouncer);
    for (int i = 0; i < WAYS; i++)
        if (conn[i] != NULL)
            must_be_encrypted(conn[i]);
    for (;;) {
        uint64_t count = 0;
        PGconn *now;

        (void)pthread_barrier_wait(&shared->start);
        if (shared->task == TASK_END)
            _exit(0);
        now = conn[shared->way];
        if (shared->task == TASK_COPY)
            count = copy(now);
        for (; shared->task == TASK_SELECT && !shared->stop; count++)
            bench_select_1(now);
        shared->count[number] = count;
        (void)pthread_barrier_wait(&shared->end);
    }
}

/* Selects, or MB, a second. */
static double measure(enum way way, enum task task, long ms)
{
    uint64_t start, sum = 0;
    double seconds;

    shared->way = way;
    shared->task = task;
    shared->stop = false;
    (void)pthread_barrier_wait(&shared->start);
    start = bench_ns();
    if (task == TASK_SELECT)
        (void)usleep((useconds_t)ms * 1000);
    shared->stop = true;
    (void)pthread_barrier_wait(&shared->end);
    seconds = (double)(bench_ns() - start) / 1e9;
    for (int i = 0; i < CLIENTS; i++)
        sum += shared->count[i];
    return (double)sum / seconds / (task == TASK_COPY ? 1e6 : 1);
}

static void report(enum task task, double rate[WAYS][ROUNDS_MAX], size_t rounds)
{
    double median[WAYS] = {0};
    char name[64];

    for (int way = 0; way < WAYS; way++) {
        if (way == WAY_BOUNCER && bouncer == NULL)
            continue;
        median[way] = bench_median(rate[way], rounds);
        (void)snprintf(name, sizeof name, "%s_%s", task_names[task], way_names[way]);
        bench_report(name, median[way]);
        if (way == WAY_RELAY)
            continue;
        (void)snprintf(name, sizeof name, "%s_over_%s", task_names[task], way_names[way]);
        bench_report(name, median[WAY_RELAY] / median[way]);
    }
}

/* A client that failed has said why, and would be waited for. */
static void on_client_gone(int number)
{
    (void)number;
    _exit(1);
}

int main(void)
{
    static double rate[TASK_END][WAYS][ROUNDS_MAX];
    long rounds = bench_setting("BENCH_ROUNDS", 9), ms = bench_setting("BENCH_TLS_MS", 1000);
    pthread_barrierattr_t between;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_fail("BENCH_ROUNDS", "must be 1 to 100");
    bouncer = getenv("BENCH_BOUNCER");
    shared = bench_shared(sizeof *shared);
    (void)pthread_barrierattr_init(&between);
    (void)pthread_barrierattr_setpshared(&between, PTHREAD_PROCESS_SHARED);
    (void)pthread_barrier_init(&shared->start, &between, CLIENTS + 1);
    (void)pthread_barrier_init(&shared->end, &between, CLIENTS + 1);
    (void)signal(SIGCHLD, on_client_gone);
    for (int i = 0; i < CLIENTS; i++)
        if (fork() == 0)
            client(i);
    for (long round = -1; round < rounds; round++) /* the first to warm up */
        for (int task = 0; task < TASK_END; task++)
            for (int i = 0; i < WAYS; i++) {
                enum way way = (enum way)((i + round + 1) % WAYS);

                if (way != WAY_BOUNCER || bouncer != NULL)
                    rate[task][way][round < 0 ? 0 : round] = measure(way, (enum task)task, ms);
            }
    for (int task = 0; task < TASK_END; task++)
        report((enum task)task, rate[task], (size_t)rounds);
    (void)signal(SIGCHLD, SIG_DFL);
    shared->task = TASK_END;
    (void)pthread_barrier_wait(&shared->start);
    while (wait(NULL) > 0)
        continue;
    return 0;
}
