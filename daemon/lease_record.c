/* SPDX-License-Identifier: ISC */
/*
 * lease_record.c - in strict isolation the supervisor writes each lease's begin and end, and who got none, for the
 * audit trail.
 *
 * They go the way that workers' own records go in shared isolation, by the segment's ring, so that they outlive this
 * process; here nobody else can write there, and who the worker is comes from the kernel.
 *
 * The hard thing: this process may die between a record and what it is of. A begin is written when the word is LEASED,
 * an end while it still is, and slot.recorded says which lease has the one and not the other. So a lease that it does
 * not name was told to nobody yet, or is over: a successor takes the slot back, and writes nothing.
 */
#include "ring.h"
#include "supervisor.h"

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

static void set_worker(struct ring_entry *event, const struct worker *w)
{
    event->started = w->identity.start_time;
    event->pid = w->identity.pid;
    event->uid = w->identity.uid;
    event->gid = w->identity.gid;
    event->worker = w->index;
}

static void put(const struct backend *b, uint64_t word, struct ring_entry *event)
{
    const struct segment *s = &b->pool->segment;
    const struct worker *w = worker_of_borrower(b->pool, word_borrower(word));

    event->version = atomic_load_explicit(&s->slot[b->slot].lease, memory_order_relaxed);
    event->slot = b->slot;
    event->generation = b->generation;
    event->backend_pid = b->pid;
    event->role = s->role[b->slot];
    event->said = s->asserted[word_borrower(word)];
    if (w != NULL)
        set_worker(event, w);
    if (!ring_put(s, event))
        (void)atomic_fetch_add_explicit(&s->header->ring_lost, 1, memory_order_relaxed);
    atomic_store_explicit(&s->slot[b->slot].recorded, event->kind == RING_BEGIN ? event->version : 0,
                          memory_order_release);
}

void lease_record_begin(const struct backend *b, uint64_t word, uint64_t wait_ns)
{
    struct ring_entry event = {.kind = RING_BEGIN, .wait_us = wait_ns / 1000};

    if (is_recorded(b->pool))
        put(b, word, &event);
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
                               .duration_us = since < now ? (now - since) / 1000 : 0};

    if (is_recorded(b->pool))
        put(b, word, &event);
}

void lease_record_reclaimed(const struct backend *b, uint64_t word)
{
    struct ring_entry event = {.kind = RING_RECLAIMED};

    if (is_recorded(b->pool))
        put(b, word, &event);
}

/* The predecessor may have died before it had noted what is in the ring: the last entry can be such a one. */
void lease_record_recover(const struct pool *pool)
{
    const struct segment *s = &pool->segment;
    struct ring_entry last;

    if (!is_recorded(pool) || !ring_last(s, &last) || last.kind == RING_REFUSED || last.slot >= s->slots)
        return;
    if (last.kind == RING_BEGIN)
        atomic_store_explicit(&s->slot[last.slot].recorded, last.version, memory_order_release);
    else if (atomic_load_explicit(&s->slot[last.slot].recorded, memory_order_relaxed) == last.version)
        atomic_store_explicit(&s->slot[last.slot].recorded, 0, memory_order_release);
}

bool lease_record_open(const struct backend *b)
{
    const struct slot *slot = &b->pool->segment.slot[b->slot];

    return !is_recorded(b->pool) || atomic_load_explicit(&slot->recorded, memory_order_relaxed) ==
                                        atomic_load_explicit(&slot->lease, memory_order_relaxed);
}

void lease_record_refusal(const struct worker *w, const struct asserted *said, uint64_t wait_ns, pglend_status status)
{
    const struct policy *policy = &w->pool->policy;
    struct ring_entry event = {.kind = RING_REFUSED, .status = (uint32_t)status, .wait_us = wait_ns / 1000};

    if (!is_recorded(w->pool))
        return;
    set_worker(&event, w);
    event.said = *said;
    /* Free text that the pool does not know may be of a patient. */
    if (policy->purposes[0] != '\0' && !asserted_purpose_known(policy, said->purpose))
        event.said.purpose[0] = '\0';
    /* Without room it is only counted, with the statistics: it must not take the room of a lease. */
    (void)ring_put(&w->pool->segment, &event);
}
