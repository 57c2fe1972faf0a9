/* SPDX-License-Identifier: ISC */
/*
 * explain.c - why there is no connection: what a person needs to know who reads it in a log at night.
 *
 * All of it is read from the segment just then. Who may write there counts it, too.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void count(const struct request *r, enum stats_counter counter)
{
    if (!r->at->segment.readonly)
        stats_count(&r->at->segment, counter);
}

struct picture {
    uint32_t total, leased, idle, waiting;
    uint64_t longest; /* ns */
    int32_t longest_pid;
};

static void look_at_slots(const struct attachment *at, uint32_t max, uint64_t now, struct picture *look)
{
    const struct segment *s = &at->segment;
    uint64_t oldest;

    *look = (struct picture){0};
    look->waiting = lease_waiting(s, &oldest);
    for (uint32_t i = 0; i < max; i++) {
        uint64_t word = slot_word(s, i), since;
        uint32_t worker;

        look->total += word_state(word) != SLOT_EMPTY;
        look->idle += word_state(word) == SLOT_IDLE;
        if (word_state(word) != SLOT_LEASED && word_state(word) != SLOT_GRANTED)
            continue;
        look->leased++;
        since = atomic_load_explicit(&s->slot[i].since, memory_order_relaxed);
        if (since >= now || now - since <= look->longest)
            continue;
        worker = borrower_worker(s, word_borrower(word));
        look->longest = now - since;
        look->longest_pid = worker < s->borrowers ? s->worker[worker].pid : 0;
    }
}

/* "paused by root 12 s ago" and END. */
static void say_mode(const struct policy *policy, const char *name, const char *end, char *text, size_t size)
{
    uint64_t now = clock_ns(), since = policy->mode_since < now ? now - policy->mode_since : 0;

    (void)snprintf(text, size, "%s by %.*s %llu s ago%s", name, NAME_FIELD - 1, policy->mode_by,
                   (unsigned long long)(since / 1000000000), end);
}

void explain_timeout(const struct request *r)
{
    char error[SEGMENT_ERROR_MAX + 1], longest[80] = "", mode[NAME_FIELD + 48] = "";
    struct picture look;

    count(r, STATS_TIMEOUTS);
    look_at_slots(r->at, r->policy->max, clock_ns(), &look);
    segment_get_error(&r->at->segment, error);
    if (look.longest > 0)
        (void)snprintf(longest, sizeof longest, "; longest lease %llu s by pid %d",
                       (unsigned long long)(look.longest / 1000000000), look.longest_pid);
    if (r->policy->mode == POOL_PAUSED)
        say_mode(r->policy, "paused", "; ", mode, sizeof mode);
    (void)error_set(r->pool, PGLEND_TIMEOUT,
                    "pool \"%s\": no connection within %llu ms (%s%u total, %u leased, %u idle, %u waiting%s)%s%s%s%s",
                    r->pool->name, (unsigned long long)((r->until - r->started) / 1000000), mode, look.total,
                    look.leased, look.idle, look.waiting, longest,
                    r->only_cached ? "; only the sessions that this process has cached could be borrowed: " : "",
                    r->only_cached ? r->fetch_error : "", error[0] != '\0' ? "; last database error: " : "", error);
}

void explain_down(const struct request *r)
{
    const struct segment *s = &r->at->segment;
    uint64_t now = clock_ns(), since = atomic_load_explicit(&s->header->down_since, memory_order_acquire);
    char error[SEGMENT_ERROR_MAX + 1];

    count(r, STATS_REFUSED);
    segment_get_error(s, error);
    (void)error_set(r->pool, PGLEND_NO_DATABASE, "pool \"%s\": nothing is connected, for %llu s: %s", r->pool->name,
                    (unsigned long long)(since != 0 && since < now ? (now - since) / 1000000000 : 0), error);
}

void explain_closed(const struct request *r)
{
    char mode[NAME_FIELD + 48] = "shutting down";

    count(r, STATS_REFUSED);
    if (r->policy->mode == POOL_DISABLED)
        say_mode(r->policy, "disabled", "", mode, sizeof mode);
    (void)error_set(r->pool, PGLEND_SHUTDOWN, "pool \"%s\" is %s", r->pool->name, mode);
}

void explain_full(const struct request *r, uint32_t before)
{
    count(r, STATS_QUEUE_FULL);
    (void)error_set(r->pool, PGLEND_QUEUE_FULL, "pool \"%s\": %u borrowers wait already, and max_waiters is %u",
                    r->pool->name, before, r->policy->max_waiters);
}

pglend_status explain_unreached(const struct attachment *at, const char *consequence)
{
    const pglend *p = at->pool;

    if (at->unreached == EMFILE || at->unreached == ENFILE)
        return error_set(p, PGLEND_SYSTEM,
                         "pool \"%s\": the supervisor at %s/worker.sock cannot be greeted%s: %s (ulimit -n)", p->name,
                         p->runtime_dir, consequence, strerror(at->unreached));
    return error_set(p, PGLEND_NO_SUPERVISOR,
                     "pool \"%s\": no pglend supervisor answers at %s/worker.sock%s; is pglendd running?", p->name,
                     p->runtime_dir, consequence);
}

void explain_unsupervised(const struct request *r)
{
    (void)explain_unreached(r->at, ", and without one nothing more can be lent here");
}

void explain_unrecorded(const struct request *r)
{
    bool held = atomic_load_explicit(&r->at->segment.header->ring_mode, memory_order_relaxed) == RING_HELD;

    (void)error_set(r->pool, PGLEND_TIMEOUT,
                    "pool \"%s\": no connection within %llu ms: the audit trail %s; pglend status and the daemon's log "
                    "say more",
                    r->pool->name, (unsigned long long)((r->until - r->started) / 1000000),
                    held ? "is not written, and nothing is lent without it" : "takes no more records just now");
}
