/* SPDX-License-Identifier: ISC */
/*
 * death.c - a worker is killed in the middle of a query: how long until the one connection serves somebody else?
 *
 * pglend's pool "one" and, where BENCH_ONE says how to reach it, a PgBouncer whose pool has one connection.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLES_MAX 10000

struct way {
    const char *name;
    const char *needs; /* NULL: through pglend */
};

static const struct way ways[] = {{"lent", NULL}, {"session", "BENCH_ONE"}};
#define WAYS (sizeof ways / sizeof ways[0])

static _Noreturn void victim(const struct way *way, int told)
{
    PGconn *conn;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    conn = way->needs == NULL ? bench_acquire(bench_open("one")) : bench_connect_to(way->needs);
    if (PQsendQuery(conn, "select pg_sleep(60)") != 1 || PQflush(conn) != 0)
        bench_fail("pg_sleep", PQerrorMessage(conn));
    (void)usleep(2000); /* the server is at it */
    (void)write(told, "r", 1);
    for (;;)
        (void)pause();
}

static void serve_next(const struct way *way, pglend *pool)
{
    PGconn *conn = way->needs == NULL ? bench_acquire(pool) : bench_connect_to(way->needs);

    bench_select_1(conn);
    if (way->needs == NULL)
        bench_release(pool, conn);
    else
        PQfinish(conn);
}

static bool is_open(const struct way *way)
{
    return way->needs == NULL || getenv(way->needs) != NULL;
}

/* From the kill to the next borrower's answer, in ms. */
static double sample(const struct way *way, pglend *pool)
{
    int told[2];
    uint64_t start;
    double ms;
    char byte;
    pid_t pid;

    if (pipe(told) != 0 || (pid = fork()) == -1)
        bench_fail("fork", strerror(errno));
    if (pid == 0)
        victim(way, told[1]);
    (void)close(told[1]);
    if (read(told[0], &byte, 1) != 1)
        bench_fail("death", "the victim could not begin");
    (void)close(told[0]);
    start = bench_ns();
    (void)kill(pid, SIGKILL);
    serve_next(way, pool);
    ms = (double)(bench_ns() - start) / 1e6;
    (void)waitpid(pid, NULL, 0);
    return ms;
}

int main(void)
{
    static double ms[WAYS][SAMPLES_MAX];
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"low", 0}, {"p50", 0.5}, {"p99", 0.99}, {"high", 1}};
    long samples = bench_setting("BENCH_DEATHS", 500);
    pglend *pool = bench_open("one");
    char name[64];

    if (samples < 1 || samples > SAMPLES_MAX)
        bench_fail("BENCH_DEATHS", "must be 1 to 10000");
    for (long k = -1; k < samples; k++) /* the first to warm up; in turn: what the machine does hits both alike */
        for (size_t i = 0; i < WAYS; i++)
            if (is_open(&ways[i]))
                ms[i][k < 0 ? 0 : k] = sample(&ways[i], pool);
    for (size_t i = 0; i < WAYS; i++)
        for (size_t p = 0; is_open(&ways[i]) && p < sizeof parts / sizeof parts[0]; p++) {
            (void)snprintf(name, sizeof name, "death_%s_%s_ms", ways[i].name, parts[p].name);
            bench_report(name, bench_percentile(ms[i], (size_t)samples, parts[p].part));
        }
    pglend_close(pool);
    return 0;
}
