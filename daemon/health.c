/* SPDX-License-Identifier: ISC */
/*
 * health.c - what keeps a pool's sessions few and young: looked at with each sweep.
 *
 * The hard thing: a slot that looked idle may be lent by the time it is dealt with. Idle ones are therefore taken by a
 * compare-and-swap from the very word that was looked at; where that fails the slot is in use, and left alone.
 */
#include "supervisor.h"

#define MS                   UINT64_C(1000000)
#define CHECKED_PART         4
#define LONG_LEASE_NS        UINT64_C(1000000000)  /* one that is lent for longer is replaced when it comes back */
#define REPLACEMENT_WAITS_NS UINT64_C(10000000000) /* for the lease of the one it follows */

/* How long B has been idle, ns; workers write that time, so it is not longer than the session. */
static uint64_t idle_for(const struct backend *b, uint64_t now)
{
    uint64_t since = atomic_load_explicit(&b->pool->segment.slot[b->slot].idle_since, memory_order_relaxed);

    /* A check is no use that anybody made of it. */
    if (b->idle_uses == atomic_load_explicit(&b->pool->segment.slot[b->slot].uses, memory_order_relaxed))
        since = b->idle_since;
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
    for (uint32_t i = pool->segment.slots; i-- > 0 && connected > pool->steering.min;) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (is_idle(b, word) && b->replacement.state == REPLACEMENT_NONE && idle_for(b, now) >= bound &&
            lease_take(&pool->segment, i, word, word_flags(word))) {
            backend_close(b, CLOSE_IDLE);
            connected--;
        }
    }
}

/* A part of them at a time, so that the others can be lent meanwhile. */
static void check_idle(struct pool *pool, uint64_t now)
{
    uint64_t every = (uint64_t)pool->config->keepalive_ms * MS;
    uint32_t idle = 0, checking = 0;

    if (every == 0)
        return;
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        idle += is_idle(&pool->backend[i], slot_word(&pool->segment, i));
        checking += pool->backend[i].phase == BACKEND_CHECKING;
    }
    for (uint32_t i = 0; i < pool->segment.slots && checking <= idle / CHECKED_PART; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (is_idle(b, word) && idle_for(b, now) >= every && now - b->checked >= every) {
            settle_check(b, word, NULL);
            checking++;
        }
    }
}

/* ---- replacing what is old or worn ---- */

/* 0 to 2.5 % sooner, so that what logged in together does not go together. The pid stands in for chance. */
static uint64_t lifetime(const struct backend *b)
{
    uint64_t whole = (uint64_t)b->pool->config->max_lifetime_ms * MS;

    return whole - whole / 40 * (((uint32_t)b->pid * UINT32_C(2654435761)) >> 22) / 1024;
}

/* Why B is to be replaced. */
static enum close_reason due(const struct backend *b, uint64_t now)
{
    const struct pool_config *config = b->pool->config;
    uint32_t uses = atomic_load_explicit(&b->pool->segment.slot[b->slot].uses, memory_order_relaxed);

    if (b->phase != BACKEND_LENDABLE || b->slot >= b->pool->steering.max)
        return CLOSE_NONE;
    if (b->recycle)
        return CLOSE_RECYCLED;
    if (config->max_lifetime_ms != 0 && now - b->connected >= lifetime(b))
        return CLOSE_OLD;
    return config->max_uses != 0 && uses >= (uint64_t)config->max_uses ? CLOSE_USED_UP : CLOSE_NONE;
}

/* A lease that lasts would keep the pool's one replacement waiting: those slots come later. */
static bool is_lent_for_long(const struct backend *b, uint64_t word, uint64_t now)
{
    uint64_t since = atomic_load_explicit(&b->pool->segment.slot[b->slot].since, memory_order_relaxed);

    return word_state(word) != SLOT_IDLE && (since > now || now - since > LONG_LEASE_NS);
}

/* One that waits for its first: see to it that the first goes, or let it stay. True: one is under way. */
static bool look_at_replacement(struct backend *b, uint64_t now)
{
    switch (b->replacement.state) {
    case REPLACEMENT_NONE:
        return false;
    case REPLACEMENT_CONNECTING:
        return true;
    case REPLACEMENT_READY:
        break;
    }
    if (b->phase == BACKEND_LENDABLE && now - b->replacement.since > REPLACEMENT_WAITS_NS)
        replace_give_up(b);
    else
        backend_retire(b, b->replacement.reason); /* a reclaim in between has taken the mark away */
    return true;
}

static void note_postponed(struct pool *pool, uint32_t count)
{
    if (count > 0 && pool->retire_postponed == 0)
        log_warning("pool=%s: %u session%s due for replacement, which waits until logins succeed: %s",
                    pool->config->name, count, count == 1 ? " is" : "s are", pool->last_error);
    pool->retire_postponed = count;
}

/* One at a time: idle ones first, for those need not be waited for. */
static void replace_old(struct pool *pool, uint64_t now)
{
    struct backend *chosen = NULL;
    bool busy = false, chosen_idle = false;
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        busy |= look_at_replacement(b, now) || b->phase == BACKEND_CONNECTING;
        if (due(b, now) == CLOSE_NONE)
            continue;
        count++;
        if (!chosen_idle && (chosen == NULL || is_idle(b, word)) && !is_lent_for_long(b, word, now)) {
            chosen = b;
            chosen_idle = is_idle(b, word);
        }
    }
    note_postponed(pool, pool->login_failures > 0 ? count : 0);
    if (chosen != NULL && !busy && !pool->login_wait && !pool_in_doubt(pool, false) && room_left(pool->supervisor) > 0)
        replace_begin(chosen, due(chosen, now));
}

void health_spare(struct pool *pool)
{
    for (uint32_t i = pool->segment.slots; i-- > 0;) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (is_idle(b, word) && b->replacement.state == REPLACEMENT_NONE &&
            lease_take(&pool->segment, i, word, word_flags(word))) {
            backend_close(b, CLOSE_SPARED);
            return;
        }
    }
}

void health_look(struct pool *pool)
{
    uint64_t now = clock_ns();

    if (pool->steering.mode != POOL_ACTIVE || !pool->supervisor->serving)
        return;
    close_idle(pool, now);
    role_look(pool);
    check_idle(pool, now);
    replace_old(pool, now);
}

/* What is old goes once a second, so that a pool does not age all at once; whoever ordered the rest waits for it. */
void health_replaced(struct pool *pool)
{
    bool ordered = false;

    for (uint32_t i = 0; i < pool->segment.slots && !ordered; i++)
        ordered = pool->backend[i].recycle;
    if (ordered && pool->steering.mode == POOL_ACTIVE && pool->supervisor->serving)
        replace_old(pool, clock_ns());
}
