/* SPDX-License-Identifier: ISC */
/*
 * keeper_look.c - have a look at what a lent backend does: exactly one LOOKED for each LOOK.
 *
 * By a login of its own, which the server counts for a moment beside the pool's sessions. Few at a time; whoever finds
 * all taken is told so, and asks again.
 */
#include "keeper.h"

#include <unistd.h>

#define LOOKS_AT_ONCE 2

static struct message out;

static void looked(struct keeper *k, const char *pool, uint32_t slot, uint32_t generation, uint32_t status,
                   const char *text)
{
    message_make(&out, MESSAGE_LOOKED, pool, slot, text);
    out.generation = generation;
    out.status = status;
    keeper_tell(k, &out, -1);
}

static void look_receive(struct child *c, const struct message *m, int fd)
{
    if (fd != -1)
        (void)close(fd);
    if (m->verb != MESSAGE_LOOKED || c->answered)
        return;
    c->answered = true;
    if (!c->abandoned)
        looked(c->keeper, c->pool->config->name, c->slot, c->generation, m->status, m->text);
}

static void look_ended(struct child *c, const char *how)
{
    if (!c->answered && !c->abandoned)
        looked(c->keeper, c->pool->config->name, c->slot, c->generation, LOOK_FAILED,
               c->timed_out ? "the server did not answer within login.timeout" : how);
}

static const struct child_kind look_kind = {look_receive, look_ended};

static unsigned running(const struct keeper *k)
{
    unsigned count = 0;

    for (const struct child *c = k->children; c != NULL; c = c->next)
        count += c->kind == &look_kind;
    return count;
}

void keeper_look(struct keeper *k, const struct message *m)
{
    struct keeper_pool *pool = keeper_pool(k, m->pool);
    const struct keeper_slot *slot = pool != NULL && m->slot < pool->slots ? &pool->slot[m->slot] : NULL;
    char error[256] = "there is no such backend";
    bool busy = running(k) >= LOOKS_AT_ONCE;
    struct child *c = NULL;

    if (slot != NULL && slot->fd != -1 && !busy)
        c = child_start(k, &look_kind, "login", pool->config->name, false, error, sizeof error);
    if (c == NULL) {
        looked(k, m->pool, m->slot, slot == NULL ? 0 : slot->generation, busy ? LOOK_BUSY : LOOK_FAILED, error);
        return;
    }
    c->pool = pool;
    c->slot = m->slot;
    c->generation = slot->generation;
    child_bound(c, (uint64_t)pool->config->login_timeout_ms);
    /* Without a job it ends, and that is answered. */
    if (child_give_job(
            c, "look",
            json_pack("{s:o, s:i}", "pool", config_pool_json(pool->config), "pid", (int)slot->backend_pid)) == -1)
        child_kill(c);
}

/* The supervisor that asked is gone. */
void keeper_forget_looks(struct keeper *k)
{
    for (struct child *c = k->children; c != NULL; c = c->next)
        if (c->kind == &look_kind)
            c->abandoned = true;
}
