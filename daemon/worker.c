/* SPDX-License-Identifier: ISC */
/*
 * worker.c - one attached handle of one process: hello, fetch, and its death.
 *
 * The hard thing: the kernel says who it is and when it dies (a pidfd that was checked against the peer), and a
 * descriptor goes only to the worker whose borrower the slot's word names at that moment. Nothing a worker says is
 * believed beyond that.
 */
#include "supervisor.h"

#include <errno.h>
#include <pglend.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Some ten answers: descriptors that nobody takes count against the limit that the kernel has for all workers. */
#define ANSWERS_ROOM 4096

static void on_worker_message(uv_poll_t *poll, int status, int events);

const struct worker *worker_of_borrower(const struct pool *pool, uint32_t b)
{
    uint32_t index = borrower_worker(&pool->segment, b);

    return index < pool->segment.borrowers ? pool->worker[index] : NULL;
}

bool worker_alive(void *context, uint32_t index)
{
    const struct pool *pool = context;

    return index < pool->segment.borrowers && pool->worker[index] != NULL && !pool->worker[index]->dead;
}

/* ---- the end ---- */

static void on_worker_closed(uv_handle_t *handle)
{
    struct worker *w = handle->data;

    if (--w->handles_open > 0)
        return;
    while (w->shell != NULL) {
        struct shell *next = w->shell->next;

        free(w->shell);
        w->shell = next;
    }
    free(w);
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct worker *w = handle->data;

    w->hanging_up = false;
    on_worker_closed(handle);
}

/* It may greet this supervisor again, as it would the next one. */
static void detach_socket(struct worker *w)
{
    if (w->sock == -1)
        return;
    w->hanging_up = true;
    (void)uv_poll_stop(&w->sock_poll);
    uv_close((uv_handle_t *)&w->sock_poll, on_socket_closed);
    (void)close(w->sock);
    w->sock = -1;
}

/* Forget W: its waits are dropped and its leases reclaimed by the next sweep, one for all that die together. */
static void end_worker(struct worker *w, const char *why)
{
    struct pool *pool = w->pool;

    if (w->dead)
        return;
    w->dead = true;
    log_debug("pool=%s worker=%u pid=%d: %s", pool->config->name, w->index, w->identity.pid, why);
    grant_worker_left(w);
    pool->worker[w->index] = NULL;
    pool->workers--;
    atomic_store_explicit(&pool->segment.worker[w->index].pid, 0, memory_order_relaxed);
    detach_socket(w);
    (void)uv_poll_stop(&w->pidfd_poll);
    uv_close((uv_handle_t *)&w->pidfd_poll, on_worker_closed);
    (void)close(w->identity.pidfd);
    audit_worker_left(w);
    pool->sweep_due = true;
}

static void on_death(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    end_worker(poll->data, "process ended");
}

/* They live, and have the descriptors: what they hold must not be lent on. */
void worker_drop_overriding(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        uint64_t word = slot_word(&pool->segment, i);
        const struct worker *w = worker_of_borrower(pool, word_borrower(word));

        if (w != NULL && w->overriding)
            (void)revoke_lease(&pool->backend[i], word, CLOSE_REVOKED);
    }
    for (uint32_t i = 0; i < pool->segment.borrowers; i++)
        if (pool->worker[i] != NULL && pool->worker[i]->overriding)
            end_worker(pool->worker[i], "the override that let it in has ended");
}

void worker_drop_all(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.borrowers; i++)
        if (pool->worker[i] != NULL)
            end_worker(pool->worker[i], "dropped");
}

/* ---- hello ---- */

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

static struct worker *new_worker(struct pool *pool, uint32_t index, const struct identity *who, const char *program)
{
    struct worker *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->pool = pool;
    w->index = index;
    w->sock = -1;
    w->identity = *who;
    w->since = (int64_t)time(NULL);
    (void)snprintf(w->exe, sizeof w->exe, "%s", program);
    if (uv_poll_init(&pool->supervisor->loop, &w->pidfd_poll, who->pidfd) != 0) {
        free(w);
        return NULL;
    }
    w->handles_open++;
    w->pidfd_poll.data = w;
    (void)uv_poll_start(&w->pidfd_poll, UV_READABLE, on_death);
    pool->worker[index] = w;
    pool->workers++;
    return w;
}

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

/* Hear what W says on FD, which is taken. Before the welcome: who has that is known. */
static bool watch(struct worker *w, int fd)
{
    if (uv_poll_init_socket(&w->pool->supervisor->loop, &w->sock_poll, fd) != 0) {
        (void)close(fd);
        return false;
    }
    w->sock = fd;
    w->handles_open++;
    w->sock_poll.data = w;
    (void)uv_poll_start(&w->sock_poll, UV_READABLE, on_worker_message);
    return true;
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
    if (!known && (w = new_worker(pool, index, who, program)) == NULL) {
        refuse(fd, REFUSED_SCARCITY, "the supervisor is out of memory");
        return false;
    }
    if (known)
        (void)close(who->pidfd);
    (void)snprintf(w->exe, sizeof w->exe, "%s", program);
    record_attached(w);
    /* Before the welcome: from then on it borrows, and says in the audit trail who it is by this record. */
    record_write(w);
    answer.welcome.worker = w->index;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (watch(w, fd) &&
        wire_send(fd, WIRE_WELCOME, &answer, pool->strict ? pool->reader_fd : pool->segment_fd, MSG_DONTWAIT) == 0) {
        w->overriding = !may_borrow(pool, who);
        w->must_tell = known && pool->strict;
    } else if (known) {
        detach_socket(w);
    } else {
        end_worker(w, "left during its hello");
    }
    return true;
}

/* Said in every version in the same place, whatever follows it. */
bool worker_speaks_another(const union wire_message *hello, size_t length)
{
    return length >= sizeof hello->header && hello->header.magic == WIRE_MAGIC && hello->header.version != WIRE_VERSION;
}

void worker_refuse_oversized(int fd)
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

bool worker_may_come(struct supervisor *s, const char *name, const struct identity *who)
{
    const struct pool *pool = supervisor_pool(s, name);

    return pool != NULL && (may_borrow(pool, who) || may_override(pool, who));
}

bool worker_greet(struct supervisor *s, int fd, union wire_message *hello, size_t length, const char *program)
{
    struct identity who;
    struct pool *pool;
    char why[256];

    if (worker_speaks_another(hello, length)) {
        refuse(fd, REFUSED_VERSION,
               "the library speaks version %u of the worker protocol, this supervisor version %d: install matching "
               "versions",
               hello->header.version, WIRE_VERSION);
        return false;
    }
    if (!wire_check(hello, length) || hello->header.type != WIRE_HELLO) {
        refuse(fd, REFUSED_GARBAGE, "a hello was expected, and %zu bytes of something else came", length);
        return false;
    }
    pool = supervisor_pool(s, hello->hello.pool);
    if (pool == NULL) {
        refuse(fd, REFUSED_NO_POOL, "the supervisor has no pool \"%.63s\"; \"pglend pools\" lists them",
               hello->hello.pool);
        return false;
    }
    /* Words that name a worker that died must not be taken for those of the next one with its index. */
    if (pool->sweep_due)
        pool_sweep(pool);
    if (pool->replacing || s->stopping) {
        refuse(fd, REFUSED_NOW, "pool \"%s\" is not lending: the supervisor is %s", pool->config->name,
               s->stopping ? "shutting down" : "replacing its shared memory");
        return false;
    }
    errno = 0;
    if (identity_of_peer(fd, &who, why, sizeof why) == -1) {
        refuse(fd, errno == EMFILE || errno == ENFILE ? REFUSED_SCARCITY : REFUSED_STRANGER, "%s", why);
        return false;
    }
    if (!may_borrow(pool, &who) && !may_override(pool, &who)) {
        char name[64];

        record_denial(pool, &who, program, "account", "neither access.users nor access.groups names it");
        refuse(fd, REFUSED_ACCESS,
               "user %s (uid %u, gid %u) may not borrow from pool \"%s\": add it to pools.%s.access.users or .groups",
               names_of_user(who.uid, name), who.uid, who.gid, pool->config->name, pool->config->name);
    } else if (!may_run(pool, program) && !may_override(pool, &who)) {
        record_denial(pool, &who, program, "program", "access.executables does not name it");
        refuse(fd, REFUSED_PROGRAM, "pid %d runs \"%.255s\", which is not in pools.%s.access.executables", (int)who.pid,
               program, pool->config->name);
    } else if (is_supervisors_own(pool, &who)) {
        record_denial(pool, &who, program, "same user",
                      "in strict isolation no worker is of the supervisor's own user");
        refuse(
            fd, REFUSED_SAME_USER,
            "pool \"%s\" has isolation strict, and a worker of the supervisor's own user (uid %u) could undo it: run "
            "pglendd as another user (key \"user\"), or the worker",
            pool->config->name, who.uid);
    } else if (admit(pool, fd, &who, program, hello->hello.worker)) {
        return true;
    }
    (void)close(who.pidfd);
    return false;
}

/* ---- fetch ---- */

/* Does the slot's word, now, name a borrower of this worker as its holder? */
static bool holds(const struct worker *w, uint32_t slot, uint32_t borrower)
{
    const struct segment *s = &w->pool->segment;

    return slot < s->slots && borrower < s->borrowers && lease_held(s, borrower, slot) &&
           borrower_owned(s, borrower, w->index);
}

/* Answer what W asked. False: it got none. */
static bool fetch(struct worker *w, const struct wire_fetch *asked)
{
    struct backend *b;

    if (!holds(w, asked->slot, asked->borrower))
        return lend_refuse(w, asked->serial, PGLEND_LOST, "the slot is not this borrower's");
    b = &w->pool->backend[asked->slot];
    if (b->phase != BACKEND_LENDABLE) {
        pool_correct_word(w->pool, asked->slot);
        return lend_refuse(w, asked->serial, PGLEND_LOST, "its backend is gone");
    }
    return lend_send(w, b, asked->serial, slot_word(&w->pool->segment, b->slot), false) == 0 ||
           lend_refuse(w, asked->serial, PGLEND_SYSTEM, strerror(errno));
}

static void returned(const struct worker *w, uint32_t slot)
{
    const struct pool *pool = w->pool;
    uint64_t word;

    if (slot >= pool->segment.slots)
        return;
    word = slot_word(&pool->segment, slot);
    if (word_state(word) == SLOT_SUPERVISOR)
        backend_returned(&pool->backend[slot], word_flags(word));
}

/* May a worker say this, in a pool of this isolation, now? */
static bool in_order(const struct worker *w, unsigned type)
{
    switch (type) {
    case WIRE_FETCH:
    case WIRE_WANT:
    case WIRE_RETURNED:
        return !w->pool->strict;
    case WIRE_ACQUIRE:
    case WIRE_GIVE_UP:
        return w->pool->strict && !w->must_tell;
    case WIRE_RELEASE:
        return w->pool->strict;
    case WIRE_HOLDING:
        return w->must_tell;
    default:
        return false;
    }
}

static void on_worker_message(uv_poll_t *poll, int status, int events)
{
    struct worker *w = poll->data;
    union wire_message message;
    ssize_t got;

    (void)events;
    for (int i = 0; i < 16 && status == 0; i++) {
        got = wire_receive_packet(w->sock, &message, sizeof message, NULL, MSG_DONTWAIT);
        if (got == -1 && errno == EAGAIN)
            return;
        if (got <= 0 || !wire_check(&message, (size_t)got)) {
            end_worker(w, got == 0 ? "closed its connection" : "sent something that is not a message");
            return;
        }
        if (!in_order(w, message.header.type)) {
            end_worker(w, "sent a message out of order");
            return;
        }
        switch (message.header.type) {
        case WIRE_FETCH:
            if (fetch(w, &message.fetch) || identity_hung_up(w->sock))
                break;
            /* It would wait in vain. This it hears, and asks again. */
            detach_socket(w);
            return;
        case WIRE_WANT:
            pool_balance(w->pool);
            break;
        case WIRE_RETURNED:
            returned(w, message.returned.slot);
            break;
        case WIRE_ACQUIRE:
            grant_acquire(w, &message.acquire);
            break;
        case WIRE_GIVE_UP:
            grant_give_up(w, message.give_up.serial);
            break;
        case WIRE_RELEASE:
            grant_release(w, &message.release);
            break;
        case WIRE_HOLDING:
            grant_holding(w, &message.holding);
            break;
        default:
            break;
        }
    }
    if (status != 0)
        end_worker(w, "connection failed");
}

/* ---- after a predecessor's death ---- */

static void recover(struct pool *pool, uint32_t index, const struct identity *who, int64_t since, const char *program)
{
    struct worker *w = new_worker(pool, index, who, program);

    if (w == NULL)
        fatal(1, "out of memory"); /* the worker lives: another supervisor may have some */
    w->since = since;
}

void worker_recover(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.borrowers; i++) {
        struct worker_record *record = &pool->segment.worker[i];
        struct identity who;
        int64_t since;
        char program[EXECUTABLE_MAX];

        if (pool->worker[i] != NULL || atomic_load_explicit(&record->pid, memory_order_relaxed) == 0)
            continue;
        if (!record_read(pool, i, &who, &since, program))
            atomic_store_explicit(&record->pid, 0, memory_order_relaxed);
        else
            recover(pool, i, &who, since, program);
    }
}
