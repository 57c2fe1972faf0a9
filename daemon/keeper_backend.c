/* SPDX-License-Identifier: ISC */
/*
 * keeper_backend.c - logins, and a copy of every backend they brought.
 *
 * The copy is what lets a new supervisor go on with the same sessions. The hard thing: the supervisor handles bytes of
 * strangers, so of its requests only pool and slot are looked at, and both are checked; and the cancel key stays here.
 */
#include "keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RELAY_BOUND_MS 8000 /* longer than its farewell */

static struct message out;

/* The slot that M names; NULL if there is none. */
static struct keeper_slot *slot_of(struct keeper *k, const struct message *m, struct keeper_pool **pool)
{
    *pool = keeper_pool(k, m->pool);
    if (*pool != NULL && m->slot < (*pool)->slots)
        return &(*pool)->slot[m->slot];
    log_warning("the supervisor named slot %u of pool \"%s\", which does not exist", m->slot, m->pool);
    return NULL;
}

void keeper_drop_backend(struct keeper_slot *slot)
{
    if (slot->fd != -1)
        (void)close(slot->fd);
    if (slot->cancel_job != NULL)
        explicit_bzero(slot->cancel_job, strlen(slot->cancel_job));
    free(slot->cancel_job);
    free(slot->facts);
    /* It ends by itself, now that nobody has its socket. One that stands still would keep the session. */
    if (slot->relay != NULL)
        child_bound(slot->relay, RELAY_BOUND_MS);
    slot->relay = NULL;
    slot->fd = -1;
    slot->facts = slot->cancel_job = NULL;
    slot->cancel_lost = false;
}

static void drop_spare(struct keeper_slot *slot)
{
    if (slot->spare == NULL)
        return;
    keeper_drop_backend(slot->spare);
    free(slot->spare);
    slot->spare = NULL;
}

/* What SLOT held is over: its spare, if there is one, takes its place. */
static void promote_spare(struct keeper_slot *slot)
{
    struct keeper_slot *spare = slot->spare;

    keeper_drop_backend(slot);
    if (spare == NULL)
        return;
    slot->fd = spare->fd;
    slot->backend_pid = spare->backend_pid;
    slot->generation = spare->generation;
    slot->connected = spare->connected;
    slot->facts = spare->facts;
    slot->cancel_job = spare->cancel_job;
    slot->relay = spare->relay;
    slot->spare = NULL;
    free(spare);
}

void keeper_relay_gone(const struct child *c)
{
    struct keeper_slot *slot = &c->pool->slot[c->slot];

    if (slot->relay == c)
        slot->relay = NULL;
    if (slot->spare != NULL && slot->spare->relay == c)
        slot->spare->relay = NULL;
}

void keeper_drop_slot(struct keeper_slot *slot)
{
    drop_spare(slot);
    keeper_drop_backend(slot);
}

static void login_failed(struct keeper *k, const char *pool, uint32_t slot, uint32_t status, const char *role,
                         const char *text)
{
    message_make(&out, MESSAGE_LOGIN_FAILED, pool, slot, text);
    out.status = status;
    (void)snprintf(out.role, sizeof out.role, "%s", role);
    if (status == LOGIN_FAILED_PASSWORD)
        out.stamp = keeper_password_wait(keeper_pool(k, pool), k);
    keeper_tell(k, &out, -1);
}

/* What M asks for does not even begin. */
static void no_login(struct keeper *k, const struct message *m, uint32_t status, const char *text)
{
    login_failed(k, m->pool, m->slot, status, "", text);
}

static void send_backend(struct keeper *k, const struct keeper_pool *pool, uint32_t index,
                         const struct keeper_slot *slot)
{
    message_make(&out, MESSAGE_BACKEND, pool->config->name, index, slot->facts);
    out.generation = slot->generation;
    out.backend_pid = slot->backend_pid;
    out.stamp = slot->connected;
    out.status = keeper_cancel_status(k, pool, index);
    keeper_tell(k, &out, slot->fd);
}

/* Where a new session belongs: into SLOT if that is free, else beside what it holds. NULL: out of memory. */
static struct keeper_slot *kept_in(struct keeper_slot *slot)
{
    if (slot->fd == -1)
        return slot;
    drop_spare(slot);
    slot->spare = calloc(1, sizeof *slot->spare);
    if (slot->spare != NULL) {
        slot->spare->fd = -1;
        slot->spare->generation = slot->generation;
    }
    return slot->spare;
}

static void keep(struct child *c, const struct message *m, int fd)
{
    struct keeper_slot *own = &c->pool->slot[c->slot], *slot = kept_in(own);

    if (slot != NULL)
        slot->facts = strdup(m->text);
    if (slot == NULL || slot->facts == NULL) {
        (void)close(fd);
        if (slot == own)
            keeper_drop_backend(own);
        else
            drop_spare(own);
        login_failed(c->keeper, c->pool->config->name, c->slot, LOGIN_FAILED_OTHER, c->role, "out of memory");
        return;
    }
    slot->cancel_job = fact_take(slot->facts, FACT_CANCEL_JOB);
    slot->fd = fd;
    slot->relay = m->status == BACKEND_RELAYED ? c : NULL;
    slot->backend_pid = m->backend_pid;
    slot->connected = clock_ns();
    /* 0 means "never had one" in the segment. */
    if (++slot->generation == 0)
        slot->generation = 1;
    send_backend(c->keeper, c->pool, c->slot, slot);
}

/* ---- logins ---- */

static void login_receive(struct child *c, const struct message *m, int fd)
{
    bool backend = m->verb == MESSAGE_BACKEND && fd != -1;

    if (keeper_secret_told(c, m, fd))
        return;
    if (m->verb == MESSAGE_ROLE)
        memcpy(c->role, m->role, sizeof c->role);
    else if (!c->answered)
        keeper_password_told(c, m);
    if (!c->abandoned && !c->answered && (backend || m->verb == MESSAGE_LOGIN_FAILED)) {
        c->answered = true;
        c->pool->slot[c->slot].login = NULL;
        if (backend) {
            if (m->status == BACKEND_RELAYED)
                child_detach(c);
            keep(c, m, fd);
            return;
        }
        login_failed(c->keeper, c->pool->config->name, c->slot, m->status, m->role, m->text);
    }
    if (fd != -1)
        (void)close(fd);
}

static void login_ended(struct child *c, const char *how)
{
    const struct pool_config *pool = c->pool->config;
    char text[512];

    if (c->abandoned || c->answered)
        return;
    c->pool->slot[c->slot].login = NULL;
    if (c->timed_out)
        (void)snprintf(text, sizeof text,
                       "login took longer than %gs (login.timeout): the server at \"%s\" accepts or drops connections "
                       "but does not answer",
                       (double)pool->login_timeout_ms / 1000, pool->database.host);
    else
        (void)snprintf(text, sizeof text, "the login process ended without an answer: %s", how);
    login_failed(c->keeper, pool->name, c->slot, c->timed_out ? LOGIN_FAILED_TIMEOUT : LOGIN_FAILED_OTHER, c->role,
                 text);
}

static const struct child_kind login_kind = {.role = "login", .receive = login_receive, .ended = login_ended};

void keeper_login(struct keeper *k, const struct message *m)
{
    struct keeper_pool *pool;
    struct keeper_slot *slot = slot_of(k, m, &pool);
    char error[256] = "the pool's configuration is longer than a message between processes";
    struct child *c;
    json_t *details;

    if (slot == NULL || k->phase != KEEPER_SERVING) {
        no_login(k, m, LOGIN_FAILED_OTHER, "no login now: no such slot, or shutting down");
        return;
    }
    /* The one under way will answer this too. */
    if (slot->login != NULL)
        return;
    if (m->verb == MESSAGE_REPLACE)
        drop_spare(slot);
    else
        keeper_drop_slot(slot);
    if (!keeper_password_may(pool, k)) {
        no_login(k, m, LOGIN_FAILED_PASSWORD, keeper_password_refusal(pool));
        return;
    }
    c = child_start(k, &login_kind, pool->config->name, error, sizeof error);
    if (c == NULL) {
        no_login(k, m, LOGIN_FAILED_OTHER, error);
        return;
    }
    c->pool = pool;
    c->slot = m->slot;
    slot->login = c;
    child_bound(c, (uint64_t)pool->config->login_timeout_ms);
    details = json_pack("{s:o, s:i}", "pool", config_pool_json(pool->config), "slot", (int)m->slot);
    if (child_give_job(c, "login", keeper_give_secret(c, details)) == -1) {
        c->abandoned = true;
        slot->login = NULL;
        child_kill(c);
        no_login(k, m, LOGIN_FAILED_OTHER, error);
    }
}

void keeper_forget(struct keeper *k, const struct message *m)
{
    struct keeper_pool *pool;
    struct keeper_slot *slot = slot_of(k, m, &pool);

    if (slot != NULL)
        promote_spare(slot);
}

void keeper_hand_over_backends(struct keeper *k)
{
    for (size_t i = 0; i < k->pools; i++)
        for (uint32_t s = 0; s < k->pool[i].slots; s++)
            if (k->pool[i].slot[s].fd != -1)
                send_backend(k, &k->pool[i], s, &k->pool[i].slot[s]);
}

void keeper_forget_logins(struct keeper *k)
{
    for (size_t i = 0; i < k->pools; i++)
        for (uint32_t s = 0; s < k->pool[i].slots; s++) {
            struct keeper_slot *slot = &k->pool[i].slot[s];

            drop_spare(slot); /* only the supervisor that asked for it knows what it is for */
            if (slot->login == NULL)
                continue;
            slot->login->abandoned = true;
            child_kill(slot->login);
            slot->login = NULL;
        }
}
