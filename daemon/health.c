/* SPDX-License-Identifier: ISC */
/*
 * health.c - what keeps a pool's sessions few and young: looked at with each sweep.
 *
 * The hard thing: a slot that looked idle may be lent by the time it is dealt with. Idle ones are therefore taken by a
 * compare-and-swap from the very word that was looked at; where that fails the slot is in use, and left alone.
 */
#include "supervisor.h"

#define MS UINT64_C(1000000)

/* How long B has been idle, ns; workers write that time, so it is not longer than the session. */
static uint64_t idle_for(const struct backend *b, uint64_t now)
{
    uint64_t since = atomic_load_explicit(&b->pool->segment.slot[b->slot].idle_since, memory_order_relaxed);

    if (since < b->connected)
        since = b->connected;
    return since < now ? now - since : 0;
}

static bool is_idle(const struct backend *b, uint64_t word)
{
    return b->phase == BACKEND_LENDABLE && word_state(word) == SLOT_IDLE;
}

/* From the highest slot down, so that what stays is together at the lower end, where a search begins. */
static void close_idle(struct pool *pool, uint64_t now)
{
    uint64_t bound = (uint64_t)pool->config->idle_timeout_ms * MS;
    uint32_t connected = 0;

    if (bound == 0)
        return;
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        connected += pool->backend[i].phase != BACKEND_NONE && pool->backend[i].phase != BACKEND_CONNECTING &&
                     pool->backend[i].phase != BACKEND_CLOSING;
    for (uint32_t i = pool->segment.slots; i-- > 0 && connected > (uint32_t)pool->config->size_min;) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (is_idle(b, word) && idle_for(b, now) >= bound && lease_take(&pool->segment, i, word, word_flags(word))) {
            backend_close(b, "idle too long");
            connected--;
        }
    }
}

void health_look(struct pool *pool)
{
    if (pool->mode == POOL_SHUTDOWN)
        return;
    close_idle(pool, clock_ns());
}
