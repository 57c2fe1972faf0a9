/* SPDX-License-Identifier: ISC */
/*
 * revoke.c - a lease is taken away from whoever holds it.
 *
 * The hard thing: it is judged by what was read a moment ago. The compare-and-swap from that very word takes just the
 * lease that was judged. The session does not go to anybody else: what the borrower still has of its socket would be
 * a way into another's session, so it is ended, and a statement that runs is cancelled. So must it be by a successor of
 * who died after that: slot.lost, which is written before, tells it.
 */
#include "supervisor.h"

bool revoke_lease(struct backend *b, uint64_t word, enum close_reason reason)
{
    struct slot *slot = &b->pool->segment.slot[b->slot];
    uint64_t version = atomic_load_explicit(&slot->lease, memory_order_relaxed);

    if (b->phase != BACKEND_LENDABLE || (word_state(word) != SLOT_LEASED && word_state(word) != SLOT_GRANTED))
        return false;
    atomic_store_explicit(&slot->lost, version << 8 | close_reasons[reason].lost, memory_order_relaxed);
    if (!lease_take(&b->pool->segment, b->slot, word, SLOT_RETIRE))
        return false;
    stats_count(&b->pool->segment, STATS_REVOCATIONS);
    stats_lease_ended(b);
    lease_record_revoked(b, word, reason);
    backend_close(b, reason);
    return true;
}

/* Each reason to revoke has its own; what a worker wrote over it may be none. */
static enum close_reason reason_of(enum lost_reason lost)
{
    for (unsigned i = 0; lost != LOST_UNKNOWN && i < CLOSE_REASONS; i++)
        if (close_reasons[i].lost == lost)
            return (enum close_reason)i;
    return CLOSE_REVOKED;
}

bool revoke_finish(struct backend *b, uint64_t word)
{
    const struct slot *slot = &b->pool->segment.slot[b->slot];
    uint64_t lost = atomic_load_explicit(&slot->lost, memory_order_relaxed);
    enum close_reason reason = reason_of((enum lost_reason)(lost & 0xff));

    if ((word_flags(word) & SLOT_RETIRE) == 0 || lost == 0 ||
        lost >> 8 != atomic_load_explicit(&slot->lease, memory_order_relaxed))
        return false;
    lease_record_revoked(b, word, reason);
    backend_close(b, reason);
    return true;
}
