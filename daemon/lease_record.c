/* SPDX-License-Identifier: ISC */
/*
 * lease_record.c - what the supervisor writes of leases for the audit trail: in strict isolation each one's begin and
 * end, and who got none; in shared isolation the end of those that it takes away.
 *
 * They go the way that workers' own records go in shared isolation, by the segment's ring, so that they outlive this
 * process; in strict isolation nobody else can write there, and who the worker is comes from the kernel.
 *
 * The hard thing: this process may die between a record and what it is of. In strict isolation a begin is written when
 * the word is LEASED, and an end while it still is: a lease that has none of them, or both, was told to nobody yet, or is
 * over, and a successor takes the slot back and writes nothing. What is taken from a worker that lives, or that a sweep
 * found dead, is recorded when it is taken: a successor that finds the slot its own, and a lease in it that has not
 * ended, writes that end.
 */
#include "ring.h"
#include "supervisor.h"

#include <stdlib.h>

static bool is_recorded(const struct pool *pool)
{
    return pool->segment.records != 0;
}

bool lease_record_room(const struct pool *pool)
{
    if (!is_recorded(pool))
        return true;
    switch (atomic_load_explicit(&pool->segment.header->ring_mode, memory_order_relaxed)) {
    case RING_HELD:
        return false;
    case RING_UNRECORDED:
        return true;
    default:
        return ring_has_room(&pool->segment);
    }
}

/* A worker that is gone, until its leases are taken back. */
struct departed {
    struct departed *next;
    uint32_t index;
    struct identity identity;
};

void lease_record_worker_left(const struct worker *w)
{
    struct departed *gone = is_recorded(w->pool) ? calloc(1, sizeof *gone) : NULL;

    if (gone == NULL)
        return;
    gone->index = w->index;
    gone->identity = w->identity;
    gone->next = w->pool->departed;
    w->pool->departed = gone;
}

void lease_record_swept(struct pool *pool)
{
    while (pool->departed != NULL) {
        struct departed *next = pool->departed->next;

        free(pool->departed);
        pool->departed = next;
    }
}

static void set_worker(struct ring_entry *event, uint32_t index, const struct identity *who)
{
    event->started = who->start_time;
    event->pid = who->pid;
    event->uid = who->uid;
    event->gid = who->gid;
    event->worker = index;
}

/* Who holds what WORD says is lent, and what it says that that is for. */
static void set_holder(struct ring_entry *event, const struct pool *pool, uint64_t word)
{
    uint32_t borrower = word_borrower(word);
    const struct worker *w = worker_of_borrower(pool, borrower);

    if (borrower < pool->segment.borrowers)
        event->said = pool->segment.asserted[borrower];
    if (w != NULL)
        set_worker(event, w->index, &w->identity);
}

static void put(const struct backend *b, struct ring_entry *event)
{
    const struct segment *s = &b->pool->segment;

    event->slot = b->slot;
    event->generation = b->generation;
    event->backend_pid = b->pid;
    event->role = s->role[b->slot];
    if (!ring_put(s, event))
        ring_miss(s, event);
}

/* ---- strict isolation ---- */

static uint64_t lease_of(const struct backend *b)
{
    return atomic_load_explicit(&b->pool->segment.slot[b->slot].lease, memory_order_relaxed);
}

void lease_record_begin(const struct backend *b, uint64_t word, uint64_t wait_ns)
{
    struct ring_entry event = {.kind = RING_BEGIN, .version = lease_of(b), .wait_us = wait_ns / 1000};

    if (!is_recorded(b->pool))
        return;
    set_holder(&event, b->pool, word);
    put(b, &event);
}

bool lease_record_first(const struct pool *pool)
{
    return is_recorded(pool) && pool->supervisor->config->audit.sync == AUDIT_SYNC_DURABLE;
}

uint64_t lease_record_place(const struct pool *pool)
{
    return atomic_load_explicit(&pool->segment.header->ring_claimed, memory_order_relaxed);
}

bool lease_record_on_disk(const struct pool *pool, uint64_t place)
{
    const struct segment_header *h = pool->segment.header;

    return atomic_load_explicit(&h->ring_drained, memory_order_acquire) >= place ||
           atomic_load_explicit(&h->ring_mode, memory_order_relaxed) == RING_UNRECORDED;
}

void lease_record_end(const struct backend *b, uint64_t word, bool broken)
{
    uint64_t since = atomic_load_explicit(&b->pool->segment.slot[b->slot].since, memory_order_relaxed);
    uint64_t now = clock_ns();
    struct ring_entry event = {.kind = broken ? RING_BROKEN : RING_END,
                               .version = lease_of(b),
                               .duration_us = since < now ? (now - since) / 1000 : 0};

    if (!is_recorded(b->pool))
        return;
    set_holder(&event, b->pool, word);
    put(b, &event);
}

bool lease_record_open(const struct backend *b)
{
    return !is_recorded(b->pool) || ring_open(&b->pool->segment, b->slot) == lease_of(b);
}

void lease_record_refusal(const struct worker *w, const struct asserted *said, uint64_t wait_ns, pglend_status status)
{
    const struct policy *policy = &w->pool->policy;
    struct ring_entry event = {.kind = RING_REFUSED, .status = (uint32_t)status, .wait_us = wait_ns / 1000};

    if (!is_recorded(w->pool))
        return;
    set_worker(&event, w->index, &w->identity);
    event.said = *said;
    /* Free text that the pool does not know may be of a patient. */
    if (policy->purposes[0] != '\0' && !asserted_purpose_known(policy, said->purpose))
        event.said.purpose[0] = '\0';
    /* Without room it is only counted, with the statistics: it must not take the room of a lease. */
    (void)ring_put(&w->pool->segment, &event);
}

/* ---- both isolations: what is taken away ---- */

void lease_record_revoked(const struct backend *b, uint64_t word, enum close_reason reason)
{
    struct ring_entry event = {
        .kind = RING_REVOKED, .version = ring_open(&b->pool->segment, b->slot), .status = (uint32_t)reason};

    if (event.version == 0)
        return;
    set_holder(&event, b->pool, word);
    put(b, &event);
}

void lease_record_reclaimed(const struct backend *b, uint64_t word)
{
    struct ring_entry event = {.kind = RING_RECLAIMED, .version = ring_open(&b->pool->segment, b->slot)};

    if (event.version == 0)
        return;
    set_holder(&event, b->pool, word);
    put(b, &event);
}

void lease_record_taken(const struct backend *b, uint32_t worker, unsigned flags)
{
    struct ring_entry event = {.kind = RING_RECLAIMED,
                               .version = ring_open(&b->pool->segment, b->slot),
                               .status = (flags & SLOT_BROKEN) != 0 ? CLOSE_CORRUPTED : CLOSE_NONE};

    if (event.version == 0)
        return;
    for (const struct departed *gone = b->pool->departed; gone != NULL; gone = gone->next)
        if (gone->index == worker)
            set_worker(&event, worker, &gone->identity);
    put(b, &event);
}
