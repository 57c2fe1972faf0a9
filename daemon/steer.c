/* SPDX-License-Identifier: ISC */
/*
 * steer.c - what administrators tell a pool while it runs: to pause, to lend nothing, to be of another size.
 *
 * The hard thing: a worker may have read the pool's mode just before it changed. What it is told is therefore a
 * courtesy, and what holds is that the slots are taken away from the borrowers: an idle one by compare-and-swap, one
 * that is lent by a mark that brings it to the supervisor when its lease ends.
 */
#include "supervisor.h"

#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {
    [POOL_ACTIVE] = "active",
    [POOL_PAUSED] = "paused",
    [POOL_DISABLED] = "disabled",
    [POOL_SHUTDOWN] = "shutting down",
};

/* The keeper gives it to the next supervisor. */
void steer_tell(const struct pool *pool)
{
    static struct message m;
    const struct steering *st = &pool->steering;
    json_t *json = json_pack("{s:i, s:b, s:s, s:I, s:i, s:i, s:s, s:s, s:I}", "mode", (int)st->mode, "keep", st->keep,
                             "by", st->by, "since", (json_int_t)st->since, "min", (int)st->min, "max", (int)st->max,
                             "override_by", st->override.by, "override_reason", st->override.reason, "override_until",
                             (json_int_t)st->override.until);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);

    json_decref(json);
    message_make(&m, MESSAGE_STEERING, pool->config->name, 0, text);
    channel_send(pool->supervisor->channel, &m, -1);
    free(text);
}

void steer_from_predecessor(struct pool *pool, const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    int mode = 0, keep = 0, min = 0, max = 0;
    const char *by = "", *override_by = "", *reason = "";
    json_int_t since = 0, until = 0;

    if (json_unpack(json, "{s:i, s:b, s:s, s:I, s:i, s:i, s:s, s:s, s:I}", "mode", &mode, "keep", &keep, "by", &by,
                    "since", &since, "min", &min, "max", &max, "override_by", &override_by, "override_reason", &reason,
                    "override_until", &until) == 0 &&
        mode >= POOL_ACTIVE && mode <= POOL_DISABLED && min >= 0 && max >= 1 && min <= max &&
        (uint32_t)max <= pool->segment.slots) {
        pool->steering = (struct steering){.mode = (enum pool_mode)mode,
                                           .keep = keep != 0,
                                           .since = (uint64_t)since,
                                           .min = (uint32_t)min,
                                           .max = (uint32_t)max};
        (void)snprintf(pool->steering.by, sizeof pool->steering.by, "%s", by);
        pool->steering.override.until = (uint64_t)until;
        (void)snprintf(pool->steering.override.by, sizeof pool->steering.override.by, "%s", override_by);
        (void)snprintf(pool->steering.override.reason, sizeof pool->steering.override.reason, "%s", reason);
    }
    json_decref(json);
}

enum close_reason steer_unwanted(const struct pool *pool, uint32_t slot)
{
    switch (pool->steering.mode) {
    case POOL_ACTIVE:
        break;
    case POOL_PAUSED:
        if (!pool->steering.keep)
            return CLOSE_PAUSED;
        break;
    case POOL_DISABLED:
        return CLOSE_DISABLED;
    case POOL_SHUTDOWN:
        return CLOSE_SHUTDOWN;
    }
    return slot >= pool->steering.max ? CLOSE_SMALLER : CLOSE_NONE;
}

/* Bring slot by slot in line with mode and size. Slots whose end has another reason are left to it. */
void steer_look(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];
        enum close_reason unwanted = steer_unwanted(pool, i);

        if (unwanted != CLOSE_NONE)
            backend_retire(b, unwanted);
        else if (pool->steering.mode == POOL_PAUSED)
            backend_hold(b);
        else
            backend_lend(b);
    }
}

/* Those that were on their way out for reasons of steering alone may stay. */
static void keep_wanted(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];
        bool steered = b->reason == CLOSE_NONE || b->reason == CLOSE_PAUSED || b->reason == CLOSE_DISABLED ||
                       b->reason == CLOSE_SMALLER;

        if (b->phase == BACKEND_LENDABLE && steered && b->replacement.state == REPLACEMENT_NONE &&
            steer_unwanted(pool, i) == CLOSE_NONE)
            backend_stay(b);
    }
}

static void take_effect(struct pool *pool)
{
    steer_tell(pool);
    pool_publish(pool);
    if (pool->steering.mode == POOL_ACTIVE)
        keep_wanted(pool);
    steer_look(pool);
    lease_wake_all(&pool->segment);
    pool_balance(pool);
}

static void set_mode(struct pool *pool, enum pool_mode mode, const char *by, bool keep)
{
    struct steering *st = &pool->steering;

    if (st->mode == POOL_SHUTDOWN)
        return;
    /* Said twice it is the first time that counts, for those who wait ask since when. */
    if (st->mode != mode) {
        st->mode = mode;
        st->since = clock_ns();
        (void)snprintf(st->by, sizeof st->by, "%s", by);
    }
    st->keep = keep;
    log_info("pool=%s: %s by %s", pool->config->name, mode_names[mode], by);
    take_effect(pool);
}

void steer_pause(struct pool *pool, const char *by, bool keep)
{
    set_mode(pool, POOL_PAUSED, by, keep);
}

void steer_disable(struct pool *pool, const char *by)
{
    set_mode(pool, POOL_DISABLED, by, false);
}

void steer_activate(struct pool *pool, const char *by)
{
    set_mode(pool, POOL_ACTIVE, by, false);
}

void steer_resize(struct pool *pool, uint32_t min, uint32_t max)
{
    pool->steering.min = min;
    pool->steering.max = max < pool->segment.slots ? max : pool->segment.slots;
    take_effect(pool);
}

unsigned steer_recycle(struct pool *pool, uint64_t over, bool idle_only)
{
    uint64_t now = clock_ns();
    unsigned count = 0;

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];
        bool idle = b->phase == BACKEND_HELD ||
                    (b->phase == BACKEND_LENDABLE && word_state(slot_word(&pool->segment, i)) == SLOT_IDLE);

        if (b->connected == 0 || b->phase == BACKEND_CLOSING || (idle_only && !idle) || now - b->connected < over)
            continue;
        /* In a pool that is paused nothing logs in. */
        if (b->phase == BACKEND_HELD)
            backend_close(b, CLOSE_RECYCLED);
        else
            b->recycle = true;
        count++;
    }
    health_replaced(pool);
    return count;
}
