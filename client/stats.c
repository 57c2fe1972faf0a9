/* SPDX-License-Identifier: ISC */
/*
 * stats.c - count what happened; see stats.h.
 */
#include "stats.h"
#include "segment.h"

unsigned stats_bucket(uint64_t ns)
{
    uint64_t units = ns / STATS_UNIT_NS;
    unsigned doubles;

    if (units < STATS_STEPS)
        return (unsigned)units;
    /* STATS_STEPS is a power of two: the first such doubling begins there. */
    doubles = 63U - (unsigned)__builtin_clzll(units / STATS_STEPS);
    if (doubles >= STATS_DOUBLES)
        return STATS_BUCKETS - 1;
    return doubles * STATS_STEPS + (unsigned)(units >> doubles);
}

uint64_t stats_bucket_from(unsigned bucket)
{
    unsigned doubles = bucket / STATS_STEPS, step = bucket % STATS_STEPS;

    if (doubles == 0)
        return step * STATS_UNIT_NS;
    return ((uint64_t)(STATS_STEPS + step) << (doubles - 1)) * STATS_UNIT_NS;
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    (void)atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static void count_time(struct stats_histogram *h, uint64_t ns)
{
    add(&h->bucket[stats_bucket(ns)], 1);
    if (ns > 0)
        add(&h->sum, ns);
}

void stats_waited(const struct segment *s, uint32_t slot, uint64_t ns)
{
    count_time(&s->stripe[slot % STATS_STRIPES].wait, ns);
}

void stats_held(const struct segment *s, uint32_t slot, uint64_t ns)
{
    count_time(&s->stripe[slot % STATS_STRIPES].hold, ns);
}

void stats_reset(const struct segment *s, uint32_t slot)
{
    add(&s->stripe[slot % STATS_STRIPES].resets, 1);
}

void stats_count(const struct segment *s, enum stats_counter counter)
{
    add(&s->header->counter[counter], 1);
}
