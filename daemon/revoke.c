/* SPDX-License-Identifier: ISC */
/*
 * revoke.c - a lease is taken away from whoever holds it.
 *
 * The hard thing: it is judged by what was read a moment ago. The compare-and-swap from that very word takes just the
 * lease that was judged. The session does not go to anybody else: what the borrower still has of its socket would be
 * a way into another's session, so it is ended, and a statement that runs is cancelled.
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
    audit_revoked(b, word, reason);
    backend_close(b, reason);
    return true;
}
