/* SPDX-License-Identifier: ISC */
/*
 * admin_revoke.c - the command revoke: leases are taken away by slot, by process or by user; no process is signalled.
 *
 * Whose a lease is comes from the kernel, as it was told when the worker attached, never from the segment.
 */
#include "admin_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is to be revoked: all that is given must fit. */
struct aim {
    char pool[NAME_FIELD]; /* "": any */
    uint32_t slot;
    uint64_t version; /* of the lease; 0: any */
    long pid;         /* 0: any */
    const char *user; /* name or number; NULL: any */
};

static bool read_number(const char *text, char end, unsigned long long most, unsigned long long *number,
                        const char **rest)
{
    char *after;

    errno = 0;
    if (*text < '0' || *text > '9')
        return false;
    *number = strtoull(text, &after, 10);
    *rest = after;
    return errno == 0 && (*after == '\0' || *after == end) && *number <= most;
}

/* "POOL/SLOT", or a lease's whole name. */
static bool read_slot(const char *text, struct aim *aim)
{
    const char *slash = strchr(text, '/'), *rest;
    unsigned long long number;

    if (slash == NULL || slash == text || (size_t)(slash - text) >= sizeof aim->pool)
        return false;
    (void)snprintf(aim->pool, sizeof aim->pool, "%.*s", (int)(slash - text), text);
    if (!read_number(slash + 1, '/', SLOTS_MAX - 1, &number, &rest))
        return false;
    aim->slot = (uint32_t)number;
    if (*rest == '\0')
        return true;
    if (!read_number(rest + 1, '\0', UINT64_MAX, &number, &rest) || *rest != '\0')
        return false;
    aim->version = number;
    return aim->version != 0;
}

static bool read_aim(struct admin_connection *c, struct aim *aim)
{
    const char *slot = admin_argument(c, "slot"), *pid = admin_argument(c, "pid"), *rest;
    unsigned long long number = 0;

    *aim = (struct aim){.user = admin_argument(c, "user")};
    if (slot == NULL && pid == NULL && aim->user == NULL)
        admin_fail(c, ADMIN_BAD_REQUEST, "revoke: say whose: a slot as POOL/SLOT, a pid, or a user");
    else if (slot != NULL && !read_slot(slot, aim))
        admin_fail(c, ADMIN_BAD_REQUEST, "revoke: \"%.96s\" is not POOL/SLOT, nor a lease as slots shows it", slot);
    else if (pid != NULL && (!read_number(pid, '\0', INT32_MAX, &number, &rest) || number == 0))
        admin_fail(c, ADMIN_BAD_REQUEST, "revoke: pid \"%.32s\" is not the number of a process", pid);
    else {
        aim->pid = (long)number;
        return true;
    }
    return false;
}

static bool is_aimed_at(const struct aim *aim, const struct pool *pool, uint32_t i, const struct worker *worker)
{
    const struct segment *s = &pool->segment;

    if (aim->pool[0] != '\0' &&
        (i != aim->slot || strcmp(aim->pool, pool->config->name) != 0 ||
         (aim->version != 0 && aim->version != atomic_load_explicit(&s->slot[i].lease, memory_order_relaxed))))
        return false;
    if (worker == NULL)
        return aim->pid == 0 && aim->user == NULL;
    return (aim->pid == 0 || worker->identity.pid == aim->pid) &&
           (aim->user == NULL || names_user_is(aim->user, worker->identity.uid));
}

static json_t *describe(const struct pool *pool, uint32_t i, const struct worker *worker)
{
    return json_pack(
        "{s:o, s:s, s:I, s:o, s:o, s:I}", "lease",
        json_sprintf("%s/%u/%llu", pool->config->name, i,
                     (unsigned long long)atomic_load_explicit(&pool->segment.slot[i].lease, memory_order_relaxed)),
        "pool", pool->config->name, "slot", (json_int_t)i, "worker_pid",
        worker != NULL ? json_integer(worker->identity.pid) : json_null(), "uid",
        worker != NULL ? json_integer((json_int_t)worker->identity.uid) : json_null(), "backend_pid",
        (json_int_t)pool->backend[i].pid);
}

static void revoke_in_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    struct aim aim;

    if (!read_aim(c, &aim))
        return; /* it was checked before */
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        uint64_t word = slot_word(&pool->segment, i);
        const struct worker *worker = worker_of_borrower(pool, word_borrower(word));
        json_t *shown;

        if (word_state(word) != SLOT_LEASED || !is_aimed_at(&aim, pool, i, worker))
            continue;
        shown = describe(pool, i, worker);
        if (!revoke_lease(&pool->backend[i], word, CLOSE_REVOKED)) {
            json_decref(shown);
            continue;
        }
        backend_log(&pool->backend[i], LOG_LEVEL_INFO, "lease of pid %d revoked by %s",
                    worker != NULL ? (int)worker->identity.pid : 0, by);
        (void)json_array_append_new(c->result, shown);
    }
}

static bool is_revoked(const struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        const struct backend *b = &pool->backend[i];

        if (b->phase == BACKEND_CLOSING && b->reason == CLOSE_REVOKED)
            return false;
    }
    return true;
}

void command_revoke(struct admin_connection *c)
{
    static const struct admin_verb verb = {"revoke", revoke_in_pool, is_revoked, "ends the sessions that were lent", 0};
    struct pool *pool;
    struct aim aim;

    if (!read_aim(c, &aim))
        return;
    pool = aim.pool[0] == '\0' ? NULL : supervisor_pool(c->supervisor, aim.pool);
    if (aim.pool[0] != '\0' && pool == NULL) {
        admin_fail(c, ADMIN_NO_SUCH_POOL, "no pool \"%s\"; the command pools lists them", aim.pool);
    } else if (pool != NULL && aim.slot >= pool->segment.slots) {
        admin_fail(c, ADMIN_BAD_REQUEST, "revoke: pool \"%s\" has %u slots, numbered from 0", aim.pool,
                   pool->segment.slots);
    } else {
        c->result = json_array();
        admin_carry_out(c, &verb);
    }
}
