/* SPDX-License-Identifier: ISC */
/*
 * worker.c - one attached handle of one process: what it says, and its death.
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

void worker_detach(struct worker *w)
{
    if (w->sock == -1)
        return;
    w->hanging_up = true;
    (void)uv_poll_stop(&w->sock_poll);
    uv_close((uv_handle_t *)&w->sock_poll, on_socket_closed);
    (void)close(w->sock);
    w->sock = -1;
}

void worker_end(struct worker *w, const char *why)
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
    worker_detach(w);
    (void)uv_poll_stop(&w->pidfd_poll);
    uv_close((uv_handle_t *)&w->pidfd_poll, on_worker_closed);
    (void)close(w->identity.pidfd);
    lease_record_worker_left(w);
    pool->sweep_due = true;
}

static void on_death(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    worker_end(poll->data, "process ended");
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
            worker_end(pool->worker[i], "the override that let it in has ended");
}

void worker_drop_all(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.borrowers; i++)
        if (pool->worker[i] != NULL)
            worker_end(pool->worker[i], "dropped");
}

/* ---- the beginning ---- */

struct worker *worker_new(struct pool *pool, uint32_t index, const struct identity *who, const char *program)
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

bool worker_attach(struct worker *w, int fd)
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

/* False: it has been hung up on. */
static bool take_message(struct worker *w, const union wire_message *m)
{
    switch (m->header.type) {
    case WIRE_FETCH:
        if (fetch(w, &m->fetch) || identity_hung_up(w->sock))
            break;
        /* It would wait in vain. This it hears, and asks again. */
        worker_detach(w);
        return false;
    case WIRE_WANT:
        pool_balance(w->pool);
        break;
    case WIRE_RETURNED:
        returned(w, m->returned.slot);
        break;
    case WIRE_ACQUIRE:
        grant_acquire(w, &m->acquire);
        break;
    case WIRE_GIVE_UP:
        grant_give_up(w, m->give_up.serial);
        break;
    case WIRE_RELEASE:
        grant_release(w, &m->release);
        break;
    case WIRE_HOLDING:
        grant_holding(w, &m->holding);
        break;
    default:
        break;
    }
    return true;
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
        if (got == -1 && (errno == ENOMEM || errno == ENOBUFS)) {
            worker_detach(w); /* it greets anew, and asks again; its leases go on */
            return;
        }
        if (got <= 0 || !wire_check(&message, (size_t)got)) {
            worker_end(w, got == 0 ? "closed its connection" : "sent something that is not a message");
            return;
        }
        if (!in_order(w, message.header.type)) {
            worker_end(w, "sent a message out of order");
            return;
        }
        if (!take_message(w, &message))
            return;
    }
    if (status != 0)
        worker_end(w, "connection failed");
}

/* ---- after a predecessor's death ---- */

static void recover(struct pool *pool, uint32_t index, const struct identity *who, int64_t since, bool overriding,
                    const char *program)
{
    struct worker *w = worker_new(pool, index, who, program);

    if (w == NULL)
        fatal(1, "out of memory"); /* the worker lives: another supervisor may have some */
    w->since = since;
    w->overriding = overriding;
}

void worker_recover(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.borrowers; i++) {
        struct worker_record *record = &pool->segment.worker[i];
        struct identity who;
        int64_t since;
        bool overriding;
        char program[EXECUTABLE_MAX];

        if (pool->worker[i] != NULL || atomic_load_explicit(&record->pid, memory_order_relaxed) == 0)
            continue;
        if (!record_read(pool, i, &who, &since, &overriding, program))
            atomic_store_explicit(&record->pid, 0, memory_order_relaxed);
        else
            recover(pool, i, &who, since, overriding, program);
    }
}
