/* SPDX-License-Identifier: ISC */
/*
 * keeper_password.c - a password that was refused is tried again when its file changes.
 *
 * The hard thing: whoever looks at the file may hang with the file system it is on. So it is a process of its own that
 * looks, one a pool, and nobody waits for it.
 */
#include "keeper.h"

static struct message out;

static void password_receive(struct child *c, const struct message *m, int fd)
{
    if (fd != -1)
        (void)close(fd);
    if (c->abandoned || c->answered || m->verb != MESSAGE_PASSWORD_CHANGED)
        return;
    c->answered = true;
    message_make(&out, MESSAGE_PASSWORD_CHANGED, c->pool->config->name, 0, NULL);
    keeper_tell(c->keeper, &out, -1);
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

static const struct child_kind password_kind = {password_receive, password_ended};

void keeper_watch_password(struct keeper_pool *pool, struct keeper *k, uint64_t stamp)
{
    char error[256] = "no memory";
    struct child *c;

    keeper_forget_password(pool);
    c = child_start(k, &password_kind, "password", pool->config->name, false, error, sizeof error);
    if (c != NULL) {
        c->pool = pool;
        pool->password = c;
        if (child_give_job(
                c, "password",
                json_pack("{s:s, s:I}", "path", config_password_path(pool->config), "stamp", (json_int_t)stamp)) == 0)
            return;
        keeper_forget_password(pool);
    }
    log_warning("cannot look whether the password file of pool \"%s\" changes: %s; the password is tried again once a "
                "minute",
                pool->config->name, error);
}

void keeper_forget_password(struct keeper_pool *pool)
{
    if (pool->password == NULL)
        return;
    pool->password->abandoned = true;
    child_kill(pool->password);
    pool->password = NULL;
}
