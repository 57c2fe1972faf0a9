/* SPDX-License-Identifier: ISC */
/*
 * soak.h - a load, faults at random, and a history of who had which backend when.
 *
 * The history is in the database, written through the leased connections themselves: nothing in it comes from pglend's
 * own books but the name of the lease. All its times are CLOCK_MONOTONIC of this machine, in nanoseconds.
 */
#ifndef PGLEND_TESTS_SOAK_H
#define PGLEND_TESTS_SOAK_H

#include "pglendd.h"
#include "postgres.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SOAK_SLOTS   6
#define SOAK_WORKERS 16

/* What the processes of a run share; in memory of its own, not pglend's. */
struct soak_shared {
    _Atomic bool stop;        /* workers end when their lease has */
    _Atomic uint64_t leases;  /* that reached their end */
    _Atomic uint64_t refused; /* acquires that failed as they may while something is down */
    _Atomic uint64_t broken;  /* leases whose backend died under them */
    _Atomic uint64_t wrong;   /* things that must never happen; the first one: */
    char first_wrong[512];    /* written by whoever counted it from 0 to 1 */
};

struct soak {
    struct postgres *server;
    struct pglendd *daemon;
    struct soak_shared *shared;
    _Atomic int64_t *clock; /* seconds that pglend's clock is ahead; NULL: it cannot be stepped */
    const char *ballast;    /* path of the file that fills the audit trail's disk; NULL: there is no such disk */
    unsigned seed;
};

uint64_t soak_now_ns(void);

/* ---- soak_worker.c ---- */

/* Borrow, work, give back until told to stop. SERIAL names this process in the history; never used twice. */
int soak_worker(const struct soak *soak, uint32_t serial);

/* ---- soak_chaos.c ---- */

struct soak_chaos;
/* Start the load. */
struct soak_chaos *soak_chaos_start(struct soak *soak);
/* One fault, and an end to those that have lasted long enough. CALM: the supervisor is left alive, to be measured. */
void soak_chaos_step(struct soak_chaos *chaos, bool calm);
/* End all faults, then the load: the test fails unless every worker ends within a bound. Writes kills and disturbances
 * into the history, prints how often each fault was made. */
void soak_chaos_stop(struct soak_chaos *chaos);

/* ---- soak_history.c ---- */

/* Tables and the functions that workers call. */
void soak_history_make(const struct postgres *server);
/* A worker was killed at this time, or something else was disturbed (a restart, descriptors exhausted). */
void soak_history_killed(PGconn *conn, uint32_t serial, uint64_t at);
void soak_history_disturbed(PGconn *conn, uint64_t at);
struct soak_verdict {
    long leases, backends;
    long overlaps; /* began while another had the same backend */
    long stale;    /* of a version that its slot had already left behind */
    long old;      /* of a backend that its slot had already left behind */
};
/* Once: it gives the rows of killed workers their ends. */
void soak_history_judge(const struct postgres *server, struct soak_verdict *verdict);
/* Print what it says; the test fails where it says that two had one backend, or an old one came back. */
void soak_history_check(const struct postgres *server);

#endif
