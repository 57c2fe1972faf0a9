/* SPDX-License-Identifier: ISC */
/*
 * hello.c - who comes to a pool: which process it is, by the kernel's word, whether it may, and if not, why.
 *
 * The hard thing: it may be one that a predecessor of this supervisor greeted, with leases that are out. It gets its
 * own entry again, if it is that very process, and nobody else gets it meanwhile.
 */
#include "supervisor.h"

#include <errno.h>
#include <pglend.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Some ten answers: descriptors that nobody takes count against the limit that the kernel has for all workers. */
#define ANSWERS_ROOM 4096

/* ---- refusing ---- */

enum refusal {
    REFUSED_VERSION,
    REFUSED_GARBAGE,
    REFUSED_NO_POOL,
    REFUSED_NOW,
    REFUSED_STRANGER,
    REFUSED_ACCESS,
    REFUSED_PROGRAM,
    REFUSED_SAME_USER,
    REFUSED_MANY,
    REFUSED_SCARCITY,
};

static struct {
    pglend_status status;
    struct log_limit limit;
} refusals[] = {
    [REFUSED_VERSION] = {PGLEND_MISMATCH, {.kind = "worker refused: another version"}},
    [REFUSED_GARBAGE] = {PGLEND_SYSTEM, {.kind = "worker refused: no hello"}},
    [REFUSED_NO_POOL] = {PGLEND_NO_POOL, {.kind = "worker refused: no such pool"}},
    [REFUSED_NOW] = {PGLEND_SHUTDOWN, {.kind = "worker refused: not lending"}},
    [REFUSED_STRANGER] = {PGLEND_DENIED, {.kind = "worker refused: not known who it is"}},
    [REFUSED_ACCESS] = {PGLEND_DENIED, {.kind = "worker refused: no access"}},
    [REFUSED_PROGRAM] = {PGLEND_DENIED, {.kind = "worker refused: another program"}},
    [REFUSED_SAME_USER] = {PGLEND_DENIED, {.kind = "worker refused: the supervisor's own user"}},
    [REFUSED_MANY] = {PGLEND_SYSTEM, {.kind = "worker refused: max_workers"}},
    [REFUSED_SCARCITY] = {PGLEND_SYSTEM, {.kind = "worker refused: out of memory or descriptors"}},
};

static void refuse(int fd, enum refusal why, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(int fd, enum refusal why, const char *format, ...)
{
    union wire_message answer = {.refused = {.status = (uint32_t)refusals[why].status}};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(answer.refused.message, sizeof answer.refused.message, format, args);
    va_end(args);
    (void)wire_send(fd, WIRE_REFUSED, &answer, -1, MSG_DONTWAIT);
    if (log_permitted(&refusals[why].limit))
        log_info("worker refused: %s", answer.refused.message);
}

/* ---- who may come ---- */

/* It could open anew, for writing, what it gets to read alone. Root can do that everywhere. */
static bool is_supervisors_own(const struct pool *pool, const struct identity *who)
{
    return pool->strict && who->uid != 0 && who->uid == geteuid();
}

static bool may_borrow(const struct pool *pool, const struct identity *who)
{
    return who->uid == 0 || who->uid == geteuid() || identity_allowed(who, &pool->config->access);
}

static bool may_override(const struct pool *pool, const struct identity *who)
{
    return override_is_on(pool) && identity_allowed(who, &pool->supervisor->config->admin_override);
}

static bool may_run(const struct pool *pool, const char *program)
{
    const struct string_list *list = &pool->config->access.executables;

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i], program) == 0)
            return true;
    return list->count == 0;
}

/* ---- letting in ---- */

static void record_attached(const struct worker *w)
{
    struct audit_values values = {0};

    audit_set_text(&values, AUDIT_FIELD_POOL, w->pool->config->name);
    audit_values_peer(&values, &w->identity, w->exe);
    audit_event(w->pool->supervisor, AUDIT_ATTACHED, &values);
}

/* The record that CLAIM names, if it was made for this very process and nobody is attached to it. */
static struct worker *claimed_worker(const struct pool *pool, uint32_t claim, const struct identity *who)
{
    struct worker *w = claim < pool->segment.borrowers ? pool->worker[claim] : NULL;

    return w != NULL && w->sock == -1 && !w->hanging_up && w->identity.pid == who->pid &&
                   w->identity.start_time == who->start_time && w->identity.uid == who->uid
               ? w
               : NULL;
}

/*
 * Not CLAIM: who was forgotten must see that it was, for its entries may be another's by now. And the one that has been
 * free for longest: the audit process reads there who wrote what it finds in the ring.
 */
static uint32_t free_index(struct pool *pool, uint32_t claim)
{
    for (uint32_t i = 0; i < pool->segment.borrowers; i++) {
        uint32_t index = pool->next_index;

        pool->next_index = (index + 1) % pool->segment.borrowers;
        if (pool->worker[index] == NULL && index != claim)
            return index;
    }
    return pool->segment.borrowers;
}

/* WHO, on FD, greets POOL. Takes the identity's pidfd, and FD, if true. */
static bool admit(struct pool *pool, int fd, const struct identity *who, const char *program, uint32_t claim)
{
    union wire_message answer = {0};
    struct worker *w = claimed_worker(pool, claim, who);
    bool known = w != NULL;
    uint32_t index = known ? claim : free_index(pool, claim);
    int room = ANSWERS_ROOM;

    if (!known && index == pool->segment.borrowers) {
        refuse(fd, REFUSED_MANY, "pool \"%s\" has %u workers attached already: raise max_workers", pool->config->name,
               pool->segment.borrowers);
        return false;
    }
    if (!known && (w = worker_new(pool, index, who, program)) == NULL) {
        refuse(fd, REFUSED_SCARCITY, "the supervisor is out of memory");
        return false;
    }
    if (known)
        (void)close(who->pidfd);
    (void)snprintf(w->exe, sizeof w->exe, "%s", program);
    w->overriding = !may_borrow(pool, who) || !may_run(pool, program);
    record_attached(w);
    /* Before the welcome: from then on it borrows, and says in the audit trail who it is by this record. */
    record_write(w);
    answer.welcome.worker = w->index;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (worker_attach(w, fd) &&
        wire_send(fd, WIRE_WELCOME, &answer, pool->strict ? pool->reader_fd : pool->segment_fd, MSG_DONTWAIT) == 0) {
        w->must_tell = known && pool->strict;
    } else if (known) {
        worker_detach(w);
    } else {
        worker_end(w, "left during its hello");
    }
    return true;
}

/* ---- the greeting ---- */

/* Said in every version in the same place, whatever follows it. */
bool hello_speaks_another(const union wire_message *hello, size_t length)
{
    return length >= sizeof hello->header && hello->header.magic == WIRE_MAGIC && hello->header.version != WIRE_VERSION;
}

void hello_refuse_oversized(int fd)
{
    refuse(fd, REFUSED_GARBAGE, "a hello was expected, and an oversized packet came");
}

static void record_denial(const struct pool *pool, const struct identity *who, const char *program, const char *outcome,
                          const char *reason)
{
    struct audit_values values = {0};

    if (!denial_is_recorded(pool->supervisor, who->uid))
        return;
    audit_set_text(&values, AUDIT_FIELD_POOL, pool->config->name);
    audit_values_peer(&values, who, program);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    audit_set_text(&values, AUDIT_FIELD_REASON, reason);
    audit_event(pool->supervisor, AUDIT_DENIED, &values);
}

bool hello_may_come(struct supervisor *s, const char *name, const struct identity *who)
{
    const struct pool *pool = supervisor_pool(s, name);

    return pool != NULL && (may_borrow(pool, who) || may_override(pool, who));
}

/* Is it a hello at all, and of this version? */
static bool is_hello(int fd, union wire_message *hello, size_t length)
{
    if (hello_speaks_another(hello, length))
        refuse(fd, REFUSED_VERSION,
               "the library speaks version %u of the worker protocol, this supervisor version %d: install matching "
               "versions",
               hello->header.version, WIRE_VERSION);
    else if (!wire_check(hello, length) || hello->header.type != WIRE_HELLO)
        refuse(fd, REFUSED_GARBAGE, "a hello was expected, and %zu bytes of something else came", length);
    else
        return true;
    return false;
}

/* The pool called NAME, if it takes workers now; else NULL. */
static struct pool *open_pool(struct supervisor *s, int fd, const char *name)
{
    struct pool *pool = supervisor_pool(s, name);

    if (pool == NULL) {
        refuse(fd, REFUSED_NO_POOL, "the supervisor has no pool \"%.63s\"; \"pglend pools\" lists them", name);
        return NULL;
    }
    /* Words that name a worker that died must not be taken for those of the next one with its index. */
    if (pool->sweep_due)
        pool_sweep(pool);
    if (!pool->replacing && !s->stopping)
        return pool;
    refuse(fd, REFUSED_NOW, "pool \"%s\" is not lending: the supervisor is %s", pool->config->name,
           s->stopping ? "shutting down" : "replacing its shared memory");
    return NULL;
}

/* Do POOL's keys, or an override, let WHO in as what it runs? */
static bool is_let_in(struct pool *pool, int fd, const struct identity *who, const char *program)
{
    const char *name = pool->config->name;
    bool overrides = may_override(pool, who);
    char user[64];

    if (!may_borrow(pool, who) && !overrides) {
        record_denial(pool, who, program, "account", "neither access.users nor access.groups names it");
        refuse(fd, REFUSED_ACCESS,
               "user %s (uid %u, gid %u) may not borrow from pool \"%s\": add it to pools.%s.access.users or .groups",
               names_of_user(who->uid, user), who->uid, who->gid, name, name);
    } else if (!may_run(pool, program) && !overrides) {
        record_denial(pool, who, program, "program", "access.executables does not name it");
        refuse(fd, REFUSED_PROGRAM, "pid %d runs \"%.255s\", which is not in pools.%s.access.executables",
               (int)who->pid, program, name);
    } else if (is_supervisors_own(pool, who)) {
        record_denial(pool, who, program, "same user", "in strict isolation no worker is of the supervisor's own user");
        refuse(fd, REFUSED_SAME_USER,
               "pool \"%s\" has isolation strict, and a worker of the supervisor's own user (uid %u) could undo it: "
               "run pglendd as another user (key \"user\"), or the worker",
               name, who->uid);
    } else {
        return true;
    }
    return false;
}

bool hello_greet(struct supervisor *s, int fd, union wire_message *hello, size_t length, const char *program)
{
    struct pool *pool = is_hello(fd, hello, length) ? open_pool(s, fd, hello->hello.pool) : NULL;
    struct identity who;
    char why[256];

    if (pool == NULL)
        return false;
    errno = 0;
    if (identity_of_peer(fd, &who, why, sizeof why) == -1) {
        refuse(fd, errno == EMFILE || errno == ENFILE ? REFUSED_SCARCITY : REFUSED_STRANGER, "%s", why);
        return false;
    }
    if (is_let_in(pool, fd, &who, program) && admit(pool, fd, &who, program, hello->hello.worker))
        return true;
    (void)close(who.pidfd);
    return false;
}
