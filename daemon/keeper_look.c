/* SPDX-License-Identifier: ISC */
/*
 * keeper_look.c - have a look at what a backend does, or what its server is: exactly one answer for each request.
 *
 * By a login of its own, which the server counts for a moment beside the pool's sessions. Few at a time; whoever finds
 * all taken is told so, and asks again.
 */
#include "keeper.h"

#include <unistd.h>

#define LOOKS_AT_ONCE 2 /* each is a login */

static struct message out;

static void look_receive(struct child *c, const struct message *m, int fd);
static void look_ended(struct child *c, const char *how);
static json_t *look_details(const struct keeper_pool *pool, const struct keeper_slot *slot);
static json_t *probe_details(const struct keeper_pool *pool, const struct keeper_slot *slot);

/* What the supervisor may ask for, and the login's task for it. */
static const struct look {
    struct child_kind kind;
    enum message_verb asked, answered;
    const char *task;
    json_t *(*details)(const struct keeper_pool *pool, const struct keeper_slot *slot);
} looks[] = {
    {{.role = "login", .receive = look_receive, .ended = look_ended},
     MESSAGE_LOOK,
     MESSAGE_LOOKED,
     "look",
     look_details},
    {{.role = "login", .receive = look_receive, .ended = look_ended},
     MESSAGE_PROBE,
     MESSAGE_PROBED,
     "probe",
     probe_details},
};
#define LOOKS (sizeof looks / sizeof looks[0])

static bool is_look(const struct child *c)
{
    for (size_t i = 0; i < LOOKS; i++)
        if (c->kind == &looks[i].kind)
            return true;
    return false;
}

/* Of C, which is one: its kind stands first in the row. */
static const struct look *look_of(const struct child *c)
{
    return (const struct look *)c->kind;
}

static json_t *look_details(const struct keeper_pool *pool, const struct keeper_slot *slot)
{
    return json_pack("{s:o, s:i}", "pool", config_pool_json(pool->config), "pid", (int)slot->backend_pid);
}

/* To the very server that the backend is on, whatever that is by now. */
static json_t *probe_details(const struct keeper_pool *pool, const struct keeper_slot *slot)
{
    const struct database_config *d = &pool->config->database;
    char host[1024] = "", port[32] = "", address[128] = "";
    json_t *json = config_pool_json(pool->config), *database = json_object_get(json, "database");

    (void)fact_value(slot->facts, ".host", host, sizeof host);
    (void)fact_value(slot->facts, ".port", port, sizeof port);
    (void)fact_value(slot->facts, ".address", address, sizeof address);
    /* Of one host alone another sslmode might follow than of all of them. */
    if (*d->service == '\0')
        (void)json_object_set_new(database, "sslmode", json_string(config_sslmode(d)));
    (void)json_object_set_new(database, "host", json_string(host));
    (void)json_object_set_new(database, "port", json_string(port));
    (void)json_object_set_new(database, "target_session_attrs", json_string(""));
    return json_pack("{s:o, s:s, s:s}", "pool", json, "attrs", d->target_session_attrs, "address", address);
}

static void answer(struct keeper *k, enum message_verb verb, const char *pool, uint32_t slot, uint32_t generation,
                   uint32_t status, const char *text)
{
    message_make(&out, verb, pool, slot, text);
    out.generation = generation;
    out.status = status;
    keeper_tell(k, &out, -1);
}

static void look_receive(struct child *c, const struct message *m, int fd)
{
    const struct look *look = look_of(c);

    if (keeper_secret_told(c, m, fd))
        return;
    if (fd != -1)
        (void)close(fd);
    if ((m->verb != look->answered && m->verb != MESSAGE_LOGIN_FAILED) || c->answered)
        return;
    c->answered = true;
    keeper_password_told(c, m);
    if (!c->abandoned)
        answer(c->keeper, look->answered, c->pool->config->name, c->slot, c->generation,
               m->verb == look->answered ? m->status : LOOK_FAILED, m->text);
}

static void look_ended(struct child *c, const char *how)
{
    if (!c->answered && !c->abandoned)
        answer(c->keeper, look_of(c)->answered, c->pool->config->name, c->slot, c->generation, LOOK_FAILED,
               c->timed_out ? "the server did not answer within login.timeout" : how);
}

static unsigned running(const struct keeper *k)
{
    unsigned count = 0;

    for (const struct child *c = k->children; c != NULL; c = c->next)
        count += is_look(c);
    return count;
}

void keeper_look(struct keeper *k, const struct message *m)
{
    const struct look *look = m->verb == looks[0].asked ? &looks[0] : &looks[1];
    struct keeper_pool *pool = keeper_pool(k, m->pool);
    const struct keeper_slot *slot = pool != NULL && m->slot < pool->slots ? &pool->slot[m->slot] : NULL;
    char error[256] = "there is no such backend";
    bool busy = running(k) >= LOOKS_AT_ONCE;
    struct child *c = NULL;

    if (slot != NULL && slot->fd != -1 && !keeper_password_may(pool, k))
        (void)snprintf(error, sizeof error, "%s", keeper_password_refusal(pool));
    else if (slot != NULL && slot->fd != -1 && !busy)
        c = child_start(k, &look->kind, pool->config->name, error, sizeof error);
    if (c == NULL) {
        answer(k, look->answered, m->pool, m->slot, slot == NULL ? 0 : slot->generation, busy ? LOOK_BUSY : LOOK_FAILED,
               error);
        return;
    }
    c->pool = pool;
    c->slot = m->slot;
    c->generation = slot->generation;
    child_bound(c, (uint64_t)pool->config->login_timeout_ms);
    /* Without a job it ends, and that is answered. */
    if (child_give_job(c, look->task, keeper_give_secret(c, look->details(pool, slot))) == -1)
        child_kill(c);
}

/* The supervisor that asked is gone. */
void keeper_forget_looks(struct keeper *k)
{
    for (struct child *c = k->children; c != NULL; c = c->next)
        if (is_look(c))
            c->abandoned = true;
}
