/* SPDX-License-Identifier: ISC */
/*
 * damage.c - a worker of shared isolation damaged its pool's segment: all of the pool starts anew in a fresh one.
 *
 * The hard thing: it is found out by SIGBUS, in the middle of whatever was being done with the pool. So that goes on,
 * on zeros, and the pool is only marked; the loop, between two events, does what follows.
 */
#include "sigbus.h"
#include "supervisor.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct supervisor *guarded;

static bool mark(const char *page)
{
    for (size_t i = 0; i < guarded->pools; i++)
        if (sigbus_hit(&guarded->pool[i]->segment, page)) {
            guarded->pool[i]->damaged = 1;
            return true;
        }
    return false;
}

void damage_guard(struct supervisor *s)
{
    guarded = s;
    sigbus_survive(mark);
}

void damage_look(struct supervisor *s)
{
    for (size_t i = 0; s->serving && i < s->pools; i++)
        if (s->pool[i]->damaged != 0 && !s->pool[i]->replacing)
            damage_found(s->pool[i]);
}

/* Each question gets one answer; that may arrive without its descriptor, and is asked for again by the sweep then. */
void damage_ask(struct pool *pool)
{
    if (!pool->segment_wanted)
        return;
    pool->segment_wanted = false;
    supervisor_tell(pool->supervisor, MESSAGE_NEW_SEGMENT, pool->config->name, 0, 0);
}

void damage_found(struct pool *pool)
{
    log_error("pool=%s: a worker damaged the shared memory; replacing it and every backend", pool->config->name);
    pool->replacing = true;
    pool->segment_wanted = true;
    pool->damaged = 0;
    stats_keep(pool);
    (void)segment_retire(pool->segment_fd);
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        backend_close(&pool->backend[i], CLOSE_DAMAGED);
    worker_drop_all(pool);
    damage_ask(pool);
}

/* The keeper made another one. Slots whose backend is still closing stay the supervisor's. */
void damage_mended(struct pool *pool, int fd)
{
    int old = pool->segment_fd;
    struct segment before = pool->segment;

    if (pool_attach(pool, fd) == -1) {
        log_error("pool=%s: cannot map its new shared memory: %s", pool->config->name, strerror(errno));
        (void)close(fd);
        pool->segment_wanted = true;
        return;
    }
    segment_unmap(&before);
    (void)close(old);
    stats_carry_on(pool);
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        if (pool->backend[i].phase != BACKEND_NONE)
            (void)lease_fill(&pool->segment, i);
    audit_look(pool->supervisor);
    pool_publish(pool);
    pool_balance(pool);
}
