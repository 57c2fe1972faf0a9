/* SPDX-License-Identifier: ISC */
/*
 * stats.h - what happened in a pool, counted in its segment.
 *
 * Two histograms, of how long borrowers waited and how long leases were held. They are log-linear: STATS_STEPS buckets
 * for each doubling, so that the middle of a bucket is within 1/(2 * STATS_STEPS), 3.2 %, of all that is in it. Who
 * holds a slot counts in its stripe; several slots share one, so counting is an atomic addition, and stripes are apart
 * so that it is seldom contended. All of it only grows; workers write it, so it proves nothing.
 *
 * Memory order: relaxed. Each number is true by itself; a reader may see some a moment before others.
 */
#ifndef PGLEND_STATS_H
#define PGLEND_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define STATS_STRIPES 32
#define STATS_STEPS   16
#define STATS_UNIT_NS UINT64_C(1000) /* the first STATS_STEPS buckets are one of these wide */
#define STATS_DOUBLES 32             /* up to 19 hours; longer times count as that */
#define STATS_BUCKETS (STATS_STEPS + STATS_DOUBLES * STATS_STEPS)

struct stats_histogram {
    _Alignas(64) _Atomic uint64_t sum; /* ns */
    _Atomic uint64_t bucket[STATS_BUCKETS];
};

struct stats_stripe {
    struct stats_histogram wait;          /* one for each lease: until its slot was had */
    struct stats_histogram hold;          /* one for each lease that was given back */
    _Alignas(64) _Atomic uint64_t resets; /* statements that were sent to clean a session */
};

/* The rest is rare: one set for the pool. */
enum stats_counter {
    STATS_TIMEOUTS,   /* acquires whose time was up */
    STATS_QUEUE_FULL, /* refused for max_waiters */
    STATS_REFUSED,    /* refused because nothing was connected, or the pool lent nothing */
    STATS_DISCARDED,  /* leases given back as broken, or found so */
    STATS_LOGINS,
    STATS_LOGINS_FAILED, /* of them: for the password, ... */
    STATS_LOGINS_FAILED_PASSWORD,
    STATS_LOGINS_FAILED_TOO_MANY,
    STATS_LOGINS_FAILED_TIMEOUT,
    STATS_RECLAIMS,
    STATS_REVOCATIONS,
    STATS_REPLACEMENTS,
    STATS_CLOSED,
    STATS_COUNTERS
};

struct segment;

void stats_waited(const struct segment *s, uint32_t slot, uint64_t ns);
void stats_held(const struct segment *s, uint32_t slot, uint64_t ns);
void stats_reset(const struct segment *s, uint32_t slot);
void stats_count(const struct segment *s, enum stats_counter counter);

/* The bucket that NS falls into, and the least time (ns) that falls into BUCKET. */
unsigned stats_bucket(uint64_t ns);
uint64_t stats_bucket_from(unsigned bucket);

#endif
