/* SPDX-License-Identifier: ISC */
/*
 * bench.c - clock, order statistics and checked calls for the benchmark programs.
 *
 * A failed call ends the program: a figure measured over errors would be a figure of nothing.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

uint64_t bench_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

double bench_percentile(double *values, size_t count, double part)
{
    size_t at = (size_t)(part * (double)count);

    if (count == 0)
        bench_fail("statistics", "nothing was measured");
    qsort(values, count, sizeof *values, compare);
    return values[at < count ? at : count - 1];
}

double bench_median(double *values, size_t count)
{
    return bench_percentile(values, count, 0.5);
}

void bench_report(const char *name, double value)
{
    printf("%s %.6g\n", name, value);
    fflush(stdout);
}

long bench_setting(const char *variable, long fallback)
{
    const char *text = getenv(variable);

    return text != NULL && text[0] != '\0' ? strtol(text, NULL, 10) : fallback;
}

PGconn *bench_connect_to(const char *where)
{
    const char *conninfo = getenv(where);
    PGconn *conn = PQconnectdb(conninfo != NULL ? conninfo : "");

    if (PQstatus(conn) != CONNECTION_OK)
        bench_fail(where, PQerrorMessage(conn));
    return conn;
}

PGconn *bench_connect(void)
{
    return bench_connect_to("BENCH_CONNINFO");
}

pglend *bench_open(const char *pool)
{
    pglend *handle = pglend_open(NULL, pool);

    if (handle == NULL)
        bench_fail("pglend_open", strerror(errno));
    return handle;
}

PGconn *bench_acquire(pglend *pool)
{
    PGconn *conn = pglend_acquire(pool, -1);

    if (conn == NULL)
        bench_fail("pglend_acquire", pglend_errmessage(pool));
    return conn;
}

void bench_release(pglend *pool, PGconn *conn)
{
    if (pglend_release(pool, conn) != PGLEND_OK)
        bench_fail("pglend_release", pglend_errmessage(pool));
}

void bench_select_1(PGconn *conn)
{
    PGresult *result = PQexec(conn, "select 1");

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        bench_fail("select 1", PQerrorMessage(conn));
    PQclear(result);
}

void *bench_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        bench_fail("mmap", strerror(errno));
    return memory;
}

void bench_unshare(void *memory, size_t size)
{
    (void)munmap(memory, size);
}

_Noreturn void bench_fail(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}
