/* SPDX-License-Identifier: ISC */
/*
 * stats.c - read what a pool's segment has counted: sums, quantiles, histograms.
 *
 * The counters outlive the supervisor with the segment, and are carried over where that is replaced. Workers write
 * them, so any number may stand there: each is bounded as it is read, and nothing is indexed by them.
 */
#include "supervisor.h"

#include <stdlib.h>

struct times {
    uint64_t count, sum; /* sum: ns */
    uint64_t bucket[STATS_BUCKETS];
};

/* No honest number comes near these, and no sum of them leaves what JSON's integers hold. */
#define COUNT_MOST (UINT64_C(1) << 48)
#define NS_MOST    (UINT64_C(1) << 57)

static uint64_t load_up_to(const _Atomic uint64_t *counter, uint64_t most)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    return value < most ? value : most;
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return load_up_to(counter, COUNT_MOST);
}

static void add_histogram(struct times *t, const struct stats_histogram *h)
{
    t->sum += load_up_to(&h->sum, NS_MOST);
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        uint64_t count = load(&h->bucket[i]);

        t->bucket[i] += count;
        t->count += count;
    }
}

static void collect(const struct pool *pool, struct times *wait, struct times *hold)
{
    *wait = *hold = (struct times){0};
    for (unsigned i = 0; i < STATS_STRIPES; i++) {
        add_histogram(wait, &pool->segment.stripe[i].wait);
        add_histogram(hold, &pool->segment.stripe[i].hold);
    }
}

static uint64_t resets(const struct pool *pool)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < STATS_STRIPES; i++)
        count += load(&pool->segment.stripe[i].resets);
    return count;
}

/* What a segment had counted when it was given up. */
struct stats_kept {
    uint64_t counter[STATS_COUNTERS], resets;
    struct times wait, hold;
};

void stats_keep(struct pool *pool)
{
    struct stats_kept *kept = malloc(sizeof *kept);

    if (kept == NULL)
        return;
    for (unsigned i = 0; i < STATS_COUNTERS; i++)
        kept->counter[i] = load(&pool->segment.header->counter[i]);
    kept->resets = resets(pool);
    collect(pool, &kept->wait, &kept->hold);
    free(pool->kept);
    pool->kept = kept;
}

static void put(struct stats_histogram *h, const struct times *t)
{
    (void)atomic_fetch_add_explicit(&h->sum, t->sum, memory_order_relaxed);
    for (unsigned i = 0; i < STATS_BUCKETS; i++)
        (void)atomic_fetch_add_explicit(&h->bucket[i], t->bucket[i], memory_order_relaxed);
}

void stats_carry_on(struct pool *pool)
{
    if (pool->kept == NULL)
        return;
    for (unsigned i = 0; i < STATS_COUNTERS; i++)
        (void)atomic_fetch_add_explicit(&pool->segment.header->counter[i], pool->kept->counter[i],
                                        memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&pool->segment.stripe[0].resets, pool->kept->resets, memory_order_relaxed);
    put(&pool->segment.stripe[0].wait, &pool->kept->wait);
    put(&pool->segment.stripe[0].hold, &pool->kept->hold);
    free(pool->kept);
    pool->kept = NULL;
}

void stats_lease_ended(const struct backend *b)
{
    uint64_t since = load_up_to(&b->pool->segment.slot[b->slot].since, UINT64_MAX), now = clock_ns();

    stats_held(&b->pool->segment, b->slot, since < now ? now - since : 0);
}

/* ---- rates ---- */

void stats_tick(struct pool *pool)
{
    struct stats_rate *r = &pool->rate;
    uint64_t leases = 0;

    for (unsigned i = 0; i < STATS_STRIPES; i++)
        for (unsigned b = 0; b < STATS_BUCKETS; b++)
            leases += load(&pool->segment.stripe[i].wait.bucket[b]);
    r->leases[r->seconds++ % (RATE_SECONDS + 1)] = leases;
}

/* Leases a second, over the last minute, or what there is of it. */
static double lease_rate(const struct stats_rate *r)
{
    uint64_t span = r->seconds > RATE_SECONDS ? RATE_SECONDS : r->seconds > 0 ? r->seconds - 1 : 0;
    uint64_t newest, oldest;

    if (span == 0)
        return 0;
    newest = r->leases[(r->seconds - 1) % (RATE_SECONDS + 1)];
    oldest = r->leases[(r->seconds - 1 - span) % (RATE_SECONDS + 1)];
    return newest < oldest ? 0 : (double)(newest - oldest) / (double)span;
}

/* ---- as JSON ---- */

/* The middle of the bucket that the Q-th part of all is in, in seconds; null where there is none. */
static json_t *quantile(const struct times *t, double q)
{
    uint64_t rank = (uint64_t)(q * (double)t->count), seen = 0;

    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        seen += t->bucket[i];
        if (t->bucket[i] > 0 && seen > rank) {
            uint64_t from = stats_bucket_from(i), to = i + 1 < STATS_BUCKETS ? stats_bucket_from(i + 1) : from;

            return json_real((double)(from + to) / 2e9);
        }
    }
    return json_null();
}

/* Buckets that hold something: [least second, count]. */
static json_t *buckets(const struct times *t)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < STATS_BUCKETS; i++)
        if (t->bucket[i] > 0)
            json_array_append_new(array,
                                  json_pack("[f, I]", (double)stats_bucket_from(i) / 1e9, (json_int_t)t->bucket[i]));
    return array;
}

static json_t *times_json(const struct times *t)
{
    return json_pack("{s:I, s:f, s:o, s:o, s:o, s:o}", "count", (json_int_t)t->count, "sum_s", (double)t->sum / 1e9,
                     "p50_s", quantile(t, 0.5), "p95_s", quantile(t, 0.95), "p99_s", quantile(t, 0.99), "buckets",
                     buckets(t));
}

/* How long the oldest lease that is out has lasted, s. */
static double longest_lease(const struct pool *pool)
{
    uint64_t now = clock_ns(), longest = 0;

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        uint64_t since = atomic_load_explicit(&pool->segment.slot[i].since, memory_order_relaxed);

        if (word_state(slot_word(&pool->segment, i)) == SLOT_LEASED && since < now && now - since > longest)
            longest = now - since;
    }
    return (double)longest / 1e9;
}

static const struct {
    const char *name;
    enum stats_counter counter;
} counters[] = {
    {"timeouts", STATS_TIMEOUTS},
    {"queue_full", STATS_QUEUE_FULL},
    {"refused", STATS_REFUSED},
    {"discarded", STATS_DISCARDED},
    {"reclaims", STATS_RECLAIMS},
    {"revocations", STATS_REVOCATIONS},
    {"replacements", STATS_REPLACEMENTS},
    {"closed", STATS_CLOSED},
    {"logins", STATS_LOGINS},
    {"login_failures_password", STATS_LOGINS_FAILED_PASSWORD},
    {"login_failures_too_many", STATS_LOGINS_FAILED_TOO_MANY},
    {"login_failures_timeout", STATS_LOGINS_FAILED_TIMEOUT},
    {"login_failures_other", STATS_LOGINS_FAILED},
};

static json_t *expires_json(const struct pool *pool, enum certificate_kind kind)
{
    int64_t expires = certificate_expires(pool, kind);

    return expires == 0 ? json_null() : json_integer((json_int_t)expires);
}

json_t *stats_json(const struct pool *pool)
{
    static struct times wait, hold;
    json_t *object;

    collect(pool, &wait, &hold);
    object = json_pack("{s:s, s:I, s:f, s:o, s:o, s:I, s:f, s:I, s:o, s:o}", "pool", pool->config->name, "leases",
                       (json_int_t)wait.count, "leases_per_s", lease_rate(&pool->rate), "wait", times_json(&wait),
                       "hold", times_json(&hold), "resets", (json_int_t)resets(pool), "longest_lease_s",
                       longest_lease(pool), "last_login_failure_s", (json_int_t)pool->rate.failed,
                       "certificate_expires_s", expires_json(pool, CERTIFICATE_SERVER), "client_certificate_expires_s",
                       expires_json(pool, CERTIFICATE_CLIENT));
    for (size_t i = 0; object != NULL && i < sizeof counters / sizeof counters[0]; i++)
        json_object_set_new(object, counters[i].name,
                            json_integer((json_int_t)load(&pool->segment.header->counter[counters[i].counter])));
    return object;
}
