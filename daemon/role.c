/* SPDX-License-Identifier: ISC */
/*
 * role.c - is each server still what target_session_attrs asks for? A standby may be promoted, a primary demoted or
 * made read-only, and sessions on it go on.
 *
 * An idle session answers for itself, and is asked once in role_check: one short statement. It takes no login, and no
 * borrower waits for longer than the answer takes. Where all sessions of a server are lent they cannot be asked; then
 * a login of its own asks that server, once in role_check, at the cost of a login.
 *
 * The hard thing: the answer of one session proves little of others, for its borrower may have made it read-only, and
 * behind one address there may be several servers. So a wrong answer ends that session alone, and makes the others on
 * its server be asked at once; what is lent is judged by a new login's answer only.
 */
#include "supervisor.h"

#include <string.h>

#define MS           UINT64_C(1000000)
#define LOOK_BUSY_NS (1000 * MS)
#define LEAST_NS     (100 * MS) /* each answer makes the next be asked: not without end */

const struct role_question *role_of(const struct pool *pool)
{
    const struct database_config *d = &pool->config->database;

    return d->role_check_ms == 0 ? NULL : role_question(d->target_session_attrs);
}

/* FNV-1a: the server is where the session was connected to, by name and address. */
static uint64_t server_of(const struct backend *b)
{
    static const char *const names[] = {".host", ".port", ".address"};
    uint64_t hash = UINT64_C(14695981039346656037);
    char value[1024];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (backend_fact(b, names[i], value, sizeof value) == NULL)
            value[0] = '\0';
        for (const char *c = value;; c++) {
            hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
            if (*c == '\0')
                break;
        }
    }
    return hash;
}

/* The login has seen to it: libpq asks the same. */
void role_begin(struct backend *b)
{
    b->server = server_of(b);
    b->role_seen = b->connected;
}

bool role_is_due(const struct backend *b)
{
    uint64_t every = (uint64_t)b->pool->config->database.role_check_ms * MS;

    return role_of(b->pool) != NULL && !b->spoiled &&
           clock_ns() - b->role_seen >= (every > LEAST_NS ? every : LEAST_NS);
}

/* ---- those that are lent ---- */

/* Does another session on B's server tell, or will it tell when it has answered? */
static bool others_tell(struct backend *b)
{
    const struct pool *pool = b->pool;
    bool asked = false;

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        const struct backend *other = &pool->backend[i];

        if (other->server != b->server || other->phase == BACKEND_NONE || other->phase == BACKEND_CONNECTING ||
            other->phase == BACKEND_CLOSING)
            continue;
        if (other->role_seen > b->role_seen)
            b->role_seen = other->role_seen;
        asked |= other->phase == BACKEND_CHECKING && other->question != NULL;
    }
    return asked || !role_is_due(b);
}

static void probe(struct backend *b)
{
    if (b->pool->role_probing || clock_ns() < b->pool->role_probe_at || pool_in_doubt(b->pool, true))
        return;
    b->pool->role_probing = true;
    supervisor_tell(b->pool->supervisor, MESSAGE_PROBE, b->pool->config->name, b->slot, 0);
}

/* All sessions on SERVER are lent no more, whatever each of them would say. */
static void condemn(struct pool *pool, uint64_t server)
{
    bool revoke = pool->config->database.role_change == ROLE_CHANGE_REVOKE;

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];

        if (b->server != server || (b->phase != BACKEND_LENDABLE && b->phase != BACKEND_HELD))
            continue;
        b->spoiled = true;
        if (!revoke || !revoke_lease(b, slot_word(&pool->segment, i), CLOSE_ROLE))
            backend_retire(b, CLOSE_ROLE);
    }
}

static void log_role(const struct backend *b, const char *what)
{
    char host[256] = "", port[16] = "";

    (void)backend_fact(b, ".host", host, sizeof host);
    (void)backend_fact(b, ".port", port, sizeof port);
    log_warning("pool=%s: the server at %s, port %s, %s", b->pool->config->name, host, port, what);
}

void role_probed(struct backend *b, const struct message *m)
{
    struct pool *pool = b->pool;
    char why[512];

    pool->role_probing = false;
    if (m->status != LOOK_SEEN)
        pool->role_probe_at =
            clock_ns() + (m->status == LOOK_BUSY ? LOOK_BUSY_NS : (uint64_t)pool->config->database.role_check_ms * MS);
    if (m->generation != b->generation || b->facts == NULL || m->status == LOOK_BUSY)
        return;
    if (m->status != LOOK_SEEN) {
        (void)snprintf(why, sizeof why, "cannot be asked whether it is still %s: %.400s",
                       pool->config->database.target_session_attrs, m->text);
        if (!pool->role_unknown)
            log_role(b, why);
        pool->role_unknown = true;
        return;
    }
    pool->role_unknown = false;
    if (strcmp(m->text, "t") == 0) {
        b->role_seen = clock_ns();
    } else {
        (void)snprintf(why, sizeof why, "is not %s any more", pool->config->database.target_session_attrs);
        log_role(b, why);
        condemn(pool, b->server);
    }
    role_look(pool);
}

/* ---- those that are idle ---- */

void role_told(struct backend *b, bool fits)
{
    struct pool *pool = b->pool;
    uint64_t server = b->server;

    if (fits)
        b->role_seen = clock_ns();
    for (uint32_t i = 0; i < pool->segment.slots && !fits; i++)
        if (pool->backend[i].server == server)
            pool->backend[i].role_seen = 0;
    role_look(pool);
}

/* A quarter of the idle ones at a time, the next when one has answered: the rest can be lent meanwhile. */
void role_look(struct pool *pool)
{
    const struct role_question *question = role_of(pool);
    uint32_t idle = 0, checking = 0;

    if (question == NULL || pool->steering.mode != POOL_ACTIVE || pool->backend == NULL)
        return;
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];

        idle += b->phase == BACKEND_LENDABLE && word_state(slot_word(&pool->segment, i)) == SLOT_IDLE;
        checking += b->phase == BACKEND_CHECKING;
    }
    for (uint32_t i = 0; i < pool->segment.slots && checking <= idle / 4; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (b->phase != BACKEND_LENDABLE || word_state(word) != SLOT_IDLE || !role_is_due(b))
            continue;
        settle_check(b, word, question);
        checking++;
    }
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (b->phase == BACKEND_LENDABLE && (word_state(word) == SLOT_LEASED || word_state(word) == SLOT_GRANTED) &&
            role_is_due(b) && !others_tell(b))
            probe(b);
    }
}
