/* SPDX-License-Identifier: ISC */
/*
 * bench.h - what the benchmark programs share: clock, order statistics, and how a figure is reported.
 *
 * A program prints one line a figure, "NAME VALUE"; run.sh compares it with the goal.
 */
#ifndef BENCH_H
#define BENCH_H

#include <pglend.h>
#include <stddef.h>
#include <stdint.h>

uint64_t bench_ns(void); /* CLOCK_MONOTONIC */

/* Sorts VALUES. PART 0.5 is the median, 0.99 the 99th percentile. */
double bench_percentile(double *values, size_t count, double part);
double bench_median(double *values, size_t count);

void bench_report(const char *name, double value);

/* Number in VARIABLE of the environment, or FALLBACK. */
long bench_setting(const char *variable, long fallback);

/* A connection to where variable WHERE says; the handle for POOL; a lease. All end the program if they fail. */
PGconn *bench_connect_to(const char *where);
PGconn *bench_connect(void); /* to BENCH_CONNINFO */
pglend *bench_open(const char *pool);
PGconn *bench_acquire(pglend *pool);
void bench_release(pglend *pool, PGconn *conn);
void bench_select_1(PGconn *conn);

/* Memory that children share. */
void *bench_shared(size_t size);
void bench_unshare(void *memory, size_t size);

/* bare.c: sessions opened before the fork; a query on one of them, handed on among members 0 … BARE_MEMBERS-1. */
#define BARE_MEMBERS  64
#define BARE_SESSIONS 8
void bare_open(void);
void bare_cycle(int member);

/*
 * pump.c: a process of its own takes CONN's TLS session over, and passes on what comes by the socket that is returned. A
 * query by it; how many bytes the answer had.
 */
int pump_open(PGconn *conn);
size_t pump_ask(int fd, const char *sql);

/* "bench: " and the message on standard error, exit 1. */
_Noreturn void bench_fail(const char *what, const char *why);

#endif
