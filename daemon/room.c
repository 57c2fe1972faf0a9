/* SPDX-License-Identifier: ISC */
/*
 * room.c - max_backends: how many sessions all pools may have together, and which pool gives one up for another.
 */
#include "supervisor.h"

uint32_t room_left(const struct supervisor *s)
{
    uint64_t taken = 0, most = (uint64_t)s->config->max_backends;

    if (most == 0)
        return UINT32_MAX;
    for (size_t i = 0; i < s->pools; i++) {
        struct pool_count count;

        pool_count(s->pool[i], &count);
        taken += count.total + count.connecting;
    }
    return taken < most ? (uint32_t)(most - taken) : 0;
}

/* From the pool that has most idle above its min; whoever waits for the room takes it at the next balance. */
void room_make(struct supervisor *s, const struct pool *for_pool)
{
    struct pool *from = NULL;
    uint32_t most = 0;

    for (size_t i = 0; i < s->pools; i++) {
        struct pool *pool = s->pool[i];
        struct pool_count count;
        uint32_t spare;

        pool_count(pool, &count);
        spare = count.total > pool->steering.min ? count.total - pool->steering.min : 0;
        if (spare > count.idle)
            spare = count.idle;
        if (pool == for_pool || count.waiting > 0 || spare <= most)
            continue;
        from = pool;
        most = spare;
    }
    if (from != NULL)
        health_spare(from);
}

void room_made(struct supervisor *s)
{
    struct pool *first = NULL;
    uint64_t oldest = UINT64_MAX;

    if (s->config->max_backends == 0)
        return;
    for (size_t i = 0; i < s->pools; i++) {
        uint64_t since;

        if (lease_waiting(&s->pool[i]->segment, &since) > 0 && since < oldest) {
            oldest = since;
            first = s->pool[i];
        }
    }
    if (first != NULL)
        pool_balance(first);
    for (size_t i = 0; i < s->pools; i++)
        pool_balance(s->pool[i]);
}
