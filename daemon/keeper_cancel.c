/* SPDX-License-Identifier: ISC */
/*
 * keeper_cancel.c - have a backend's query cancelled: exactly one CANCELLED for each CANCEL.
 *
 * Few at a time, for three hundred workers may die together; the others wait in order. What is cancelled is the
 * backend that was in the slot when it was asked for: by its key, or from another session where the key could not be
 * read. The hard thing: one that was sent and never seen to arrive may hit a later borrower, so its backend is spoiled,
 * whichever supervisor asked for it.
 */
#include "keeper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANCELS_AT_ONCE  8
#define CANCELS_WAITING  65536 /* far more than there are slots */
#define CANCEL_KILLED_MS 5000  /* a process that sends one has given up long before */
#define CANCEL_IDLE_MS   1000  /* then a process that sends them ends */

static void start_waiting(struct keeper *k);

static void log_failed(struct keeper *k, const char *name, uint32_t index, uint32_t generation, const char *text)
{
    const struct keeper_pool *pool = keeper_pool(k, name);
    const struct keeper_slot *slot = pool != NULL && index < pool->slots ? &pool->slot[index] : NULL;
    bool present = slot != NULL && slot->fd != -1 && slot->generation == generation;

    log_warning("pool=%s slot=%u generation=%u backend=%d: cancel failed: %s (age=%llus)", name, index, generation,
                present ? slot->backend_pid : 0, text,
                present ? (unsigned long long)((clock_ns() - slot->connected) / UINT64_C(1000000000)) : 0);
}

static void cancelled(struct keeper *k, const char *pool, uint32_t slot, uint32_t generation, uint32_t status,
                      const char *text)
{
    static struct message m;

    if (status != CANCEL_DONE && k->phase == KEEPER_SERVING)
        log_failed(k, pool, slot, generation, text);
    message_make(&m, MESSAGE_CANCELLED, pool, slot, text);
    m.generation = generation;
    m.status = status;
    keeper_tell(k, &m, -1);
}

/* Is the backend that C was told of still in its slot? */
static bool hits_backend(const struct child *c)
{
    const struct keeper_slot *slot = &c->pool->slot[c->slot];

    return slot->fd != -1 && slot->generation == c->generation;
}

/* What C was to do is done, or will not be. */
static void child_cancelled(struct child *c, uint32_t status, const char *text)
{
    c->answered = true;
    c->keeper->cancels_running--;
    if (status == CANCEL_LOST && hits_backend(c))
        c->pool->slot[c->slot].cancel_lost = true;
    if (!c->abandoned)
        cancelled(c->keeper, c->pool->config->name, c->slot, c->generation, status, text);
}

static void cancel_receive(struct child *c, const struct message *m, int fd);
static void cancel_ended(struct child *c, const char *how);

/* By key: sends one after the other. By query: logs in for each, and ends. */
static const struct child_kind cancel_kind = {.role = "cancel", .receive = cancel_receive, .ended = cancel_ended},
                               cancel_query_kind = {.role = "login", .receive = cancel_receive, .ended = cancel_ended};

static void cancel_receive(struct child *c, const struct message *m, int fd)
{
    if (keeper_secret_told(c, m, fd))
        return;
    if (fd != -1)
        (void)close(fd);
    if ((m->verb != MESSAGE_CANCELLED && m->verb != MESSAGE_LOGIN_FAILED) || c->answered)
        return;
    if (c->kind == &cancel_query_kind)
        keeper_password_told(c, m);
    child_cancelled(c, m->verb == MESSAGE_CANCELLED ? m->status : CANCEL_NOT_SENT, m->text);
    child_bound(c, CANCEL_IDLE_MS);
    start_waiting(c->keeper);
}

static void cancel_ended(struct child *c, const char *how)
{
    char text[128];

    (void)snprintf(text, sizeof text, "the process that was to send it ended: %s%s", how,
                   c->timed_out ? ", killed because it took too long" : "");
    if (!c->answered)
        child_cancelled(c, CANCEL_LOST, text);
    start_waiting(c->keeper);
}

static bool is_cancel(const struct child *c)
{
    return c->kind == &cancel_kind || c->kind == &cancel_query_kind;
}

/* A process that has sent one and can send another; NULL: none. */
static struct child *idle_child(const struct keeper *k)
{
    for (struct child *c = k->children; c != NULL; c = c->next)
        if (c->kind == &cancel_kind && c->answered && !c->abandoned && !c->timed_out && !c->exited)
            return c;
    return NULL;
}

static json_t *details_of(const struct keeper_pool *pool, const struct keeper_slot *slot)
{
    if (slot->cancel_job == NULL)
        return json_pack("{s:o, s:i}", "pool", config_pool_json(pool->config), "pid", (int)slot->backend_pid);
    return json_loads(slot->cancel_job, 0, NULL);
}

static int start(struct keeper *k, const struct cancel_wish *wish, char *error, size_t size)
{
    const struct keeper_slot *slot = &wish->pool->slot[wish->slot];
    bool by_query = slot->cancel_job == NULL;
    struct child *c = by_query ? NULL : idle_child(k);
    json_t *details;

    if (slot->fd == -1 || slot->generation != wish->generation) {
        (void)snprintf(error, size, "the backend is gone");
        return -1;
    }
    if (by_query && !keeper_password_may(wish->pool, k)) {
        (void)snprintf(error, size, "%s", keeper_password_refusal(wish->pool));
        return -1;
    }
    if (c == NULL && by_query)
        c = child_start(k, &cancel_query_kind, wish->pool->config->name, error, size);
    else if (c == NULL)
        c = child_start(k, &cancel_kind, NULL, error, size);
    if (c == NULL)
        return -1;
    k->cancels_running++;
    c->pool = wish->pool;
    c->slot = wish->slot;
    c->generation = wish->generation;
    c->answered = false;
    child_bound(c, by_query ? (uint64_t)wish->pool->config->login_timeout_ms : CANCEL_KILLED_MS);
    details = details_of(wish->pool, slot);
    if (by_query)
        details = keeper_give_secret(c, details);
    /* Without a job it ends, and that is answered. */
    if (child_give_job(c, by_query ? "cancel_query" : "cancel", details) == -1)
        child_kill(c);
    return 0;
}

static void start_waiting(struct keeper *k)
{
    while (k->cancel_first != NULL && k->cancels_running < CANCELS_AT_ONCE) {
        struct cancel_wish *wish = k->cancel_first;
        char error[256];

        k->cancel_first = wish->next;
        if (k->cancel_first == NULL)
            k->cancel_last = &k->cancel_first;
        k->cancels_waiting--;
        if (start(k, wish, error, sizeof error) == -1)
            cancelled(k, wish->pool->config->name, wish->slot, wish->generation, CANCEL_NOT_SENT, error);
        free(wish);
    }
}

void keeper_cancel(struct keeper *k, const struct message *m)
{
    struct keeper_pool *pool = keeper_pool(k, m->pool);
    struct cancel_wish *wish = NULL;

    if (pool != NULL && m->slot < pool->slots && k->cancels_waiting < CANCELS_WAITING)
        wish = malloc(sizeof *wish);
    if (wish == NULL) {
        cancelled(k, m->pool, m->slot, pool != NULL && m->slot < pool->slots ? pool->slot[m->slot].generation : 0,
                  CANCEL_NOT_SENT, "there is no such slot, or too many cancels wait");
        return;
    }
    *wish = (struct cancel_wish){.pool = pool, .slot = m->slot, .generation = pool->slot[m->slot].generation};
    *k->cancel_last = wish;
    k->cancel_last = &wish->next;
    k->cancels_waiting++;
    start_waiting(k);
}

void keeper_forget_cancels(struct keeper *k)
{
    while (k->cancel_first != NULL) {
        struct cancel_wish *next = k->cancel_first->next;

        free(k->cancel_first);
        k->cancel_first = next;
    }
    k->cancel_last = &k->cancel_first;
    k->cancels_waiting = 0;
    for (struct child *c = k->children; c != NULL; c = c->next)
        if (is_cancel(c) && !c->answered && !hits_backend(c)) {
            c->abandoned = true;
            child_kill(c);
        }
}

enum cancel_status keeper_cancel_status(const struct keeper *k, const struct keeper_pool *pool, uint32_t index)
{
    for (const struct child *c = k->children; c != NULL; c = c->next)
        if (is_cancel(c) && !c->answered && c->pool == pool && c->slot == index && hits_backend(c))
            return CANCEL_RUNNING;
    return pool->slot[index].cancel_lost ? CANCEL_LOST : CANCEL_DONE;
}
