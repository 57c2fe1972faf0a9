/* SPDX-License-Identifier: ISC */
/*
 * keeper_password.c - a password that was refused is tried again when its file changes, else once a minute: by nobody
 * before, whichever supervisor asks, and for whatever it wants the login. One that was not is kept for a login that
 * finds another.
 *
 * The hard thing: whoever looks at the file may hang with the file system it is on. So it is a process of its own that
 * looks, one a pool, and nobody waits for it.
 */
#include "keeper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS 60000

static struct message out;

static uint64_t retry_ms(void)
{
    const char *ms = getenv("PGLEND_PASSWORD_RETRY_MS");

    return ms == NULL ? RETRY_MS : strtoull(ms, NULL, 10);
}

uint64_t keeper_password_wait(const struct keeper_pool *pool, const struct keeper *k)
{
    uint64_t now = uv_now(&k->loop);

    return pool->refused_until > now ? pool->refused_until - now : 0;
}

const char *keeper_password_refusal(const struct keeper_pool *pool)
{
    return pool->refusal == NULL ? "the password was refused" : pool->refusal;
}

static void forget_watcher(struct keeper_pool *pool)
{
    if (pool->password == NULL)
        return;
    pool->password->abandoned = true;
    child_kill(pool->password);
    pool->password = NULL;
}

static void try_anew(struct keeper_pool *pool, struct keeper *k, enum password_change change)
{
    pool->refused_until = 0;
    message_make(&out, MESSAGE_PASSWORD_CHANGED, pool->config->name, 0, NULL);
    out.status = change;
    keeper_tell(k, &out, -1);
}

void keeper_password_anew(struct keeper_pool *pool, struct keeper *k)
{
    if (keeper_password_wait(pool, k) == 0)
        return;
    forget_watcher(pool);
    try_anew(pool, k, PASSWORD_CONFIGURED);
}

static void password_receive(struct child *c, const struct message *m, int fd)
{
    if (fd != -1)
        (void)close(fd);
    if (c->abandoned || c->answered || m->verb != MESSAGE_PASSWORD_CHANGED)
        return;
    c->answered = true;
    try_anew(c->pool, c->keeper, PASSWORD_REPLACED);
}

static void password_ended(struct child *c, const char *how)
{
    if (!c->abandoned)
        c->pool->password = NULL;
    if (!c->abandoned && !c->answered)
        log_warning("nobody looks any more whether the password file of pool \"%s\" changes: %s; the password is tried "
                    "again once a minute",
                    c->pool->config->name, how);
}

static const struct child_kind password_kind = {
    .role = "password", .receive = password_receive, .ended = password_ended};

static void watch_file(struct keeper_pool *pool, struct keeper *k, uint64_t stamp)
{
    char error[256] = "no memory";
    struct child *c;

    forget_watcher(pool);
    c = child_start(k, &password_kind, pool->config->name, error, sizeof error);
    if (c != NULL) {
        c->pool = pool;
        pool->password = c;
        if (child_give_job(
                c, "password",
                json_pack("{s:s, s:I}", "path", config_password_path(pool->config), "stamp", (json_int_t)stamp)) == 0)
            return;
        forget_watcher(pool);
    }
    log_warning("cannot look whether the password file of pool \"%s\" changes: %s; the password is tried again once a "
                "minute",
                pool->config->name, error);
}

static void refused(const struct child *c, const struct message *m)
{
    struct keeper_pool *pool = c->pool;

    free(pool->refusal);
    pool->refusal = strdup(m->text);
    pool->refused_until = uv_now(&c->keeper->loop) + retry_ms();
    watch_file(pool, c->keeper, m->stamp);
}

void keeper_password_told(struct child *c, const struct message *m)
{
    if (m->verb != MESSAGE_LOGIN_FAILED) {
        if (c->kept)
            return;
        forget_watcher(c->pool);
        c->pool->refused_until = 0;
    } else if (m->status == LOGIN_FAILED_PASSWORD && c->keeper->phase == KEEPER_SERVING) {
        keeper_drop_secret(c->pool); /* it was refused too */
        refused(c, m);
    }
}

/* ---- the one that worked ---- */

bool keeper_password_may(const struct keeper_pool *pool, const struct keeper *k)
{
    return pool->secret != -1 || keeper_password_wait(pool, k) == 0;
}

static void keep(const struct child *c, uint64_t stamp, int fd)
{
    struct keeper_pool *pool = c->pool;
    bool rotated = pool->secret_stamp != 0 && stamp != 0 && pool->secret_stamp != stamp;

    keeper_drop_secret(pool);
    pool->secret = fd;
    pool->secret_stamp = stamp;
    if (!rotated)
        return;
    message_make(&out, MESSAGE_SECRET, pool->config->name, 0, NULL);
    keeper_tell(c->keeper, &out, -1);
}

bool keeper_secret_told(struct child *c, const struct message *m, int fd)
{
    if (m->verb != MESSAGE_SECRET)
        return false;
    if (!c->abandoned && fd != -1) {
        c->kept = false;
        keep(c, m->stamp, fd);
    } else if (fd != -1) {
        (void)close(fd);
    } else if (m->length > 0) { /* the refusal; without it, a descriptor that got lost on its way */
        c->kept = true;
        refused(c, m);
    }
    return true;
}

json_t *keeper_give_secret(struct child *c, json_t *details)
{
    struct keeper_pool *pool = c->pool;

    if (pool->secret == -1)
        return details;
    c->kept = keeper_password_wait(pool, c->keeper) > 0;
    if (c->kept)
        (void)json_object_set_new(details, "kept", json_true());
    else if (pool->refused_until != 0)
        pool->refused_until = uv_now(&c->keeper->loop) + retry_ms(); /* its minute is over: this one alone tries it */
    message_make(&out, MESSAGE_SECRET, NULL, 0, NULL);
    channel_send(c->channel, &out, pool->secret);
    return details;
}

void keeper_drop_secret(struct keeper_pool *pool)
{
    if (pool->secret != -1)
        (void)close(pool->secret);
    pool->secret = -1;
}

void keeper_judge_secret(struct keeper_pool *pool, const struct pool_config *next)
{
    json_t *old = config_pool_json(pool->config), *new = next == NULL ? NULL : config_pool_json(next);

    if (!json_equal(json_object_get(old, "database"), json_object_get(new, "database")))
        keeper_drop_secret(pool);
    json_decref(old);
    json_decref(new);
}
