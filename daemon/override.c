/* SPDX-License-Identifier: ISC */
/*
 * override.c - emergency access: for a bounded time a pool asks less of its borrowers.
 *
 * While an override is in force those who may override may borrow, whatever "access" says, and nobody has to give an
 * actor or one of the pool's purposes. All else holds: isolation, records, encryption, bounds on leases, and what
 * paused or disabled the pool. The hard thing is the end: those who were let in by it alone lose what they hold.
 */
#include "supervisor.h"

#include <string.h>

bool override_is_on(const struct pool *pool)
{
    return pool->steering.override.until != 0;
}

static void record(const struct pool *pool, const char *outcome, const char *reason)
{
    audit_event_pool(pool, AUDIT_OVERRIDE, outcome, reason);
}

void override_begin(struct pool *pool, const char *by, const char *reason, uint64_t ms)
{
    struct override *o = &pool->steering.override;

    o->until = clock_ns() + ms * 1000000;
    (void)snprintf(o->by, sizeof o->by, "%s", by);
    (void)snprintf(o->reason, sizeof o->reason, "%s", reason);
    log_warning("pool=%s: override by %s for %llu s: %s", pool->config->name, o->by, (unsigned long long)(ms / 1000),
                o->reason);
    steer_tell(pool);
    pool_publish(pool);
}

void override_end(struct pool *pool, const char *why)
{
    struct override *o = &pool->steering.override;

    if (o->until == 0)
        return;
    log_warning("pool=%s: the override by %s has ended: %s", pool->config->name, o->by, why);
    record(pool, "ended", why);
    *o = (struct override){0};
    steer_tell(pool);
    pool_publish(pool);
    worker_drop_overriding(pool);
}

void override_look(struct pool *pool)
{
    if (override_is_on(pool) && clock_ns() >= pool->steering.override.until)
        override_end(pool, "its time is over");
}
