/* SPDX-License-Identifier: ISC */
/*
 * backend.c - one PostgreSQL session from its login to its end; the only writer of its phase.
 *
 * The hard thing: whose the session is changes in the slot's word, under the hands of workers, while this file decides.
 * So each decision is a compare-and-swap from the very word that was looked at, or waits until the lease's end brings
 * the slot here. What is said to a session between two borrowers is in settle.c.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSE_CANCEL_MS 10                   /* an idle session ends faster than this */
#define CLOSE_BOUND_NS  UINT64_C(5000000000) /* a server that does not say its end is waited for no longer */
#define WORD_TRIES      1000                 /* to change a word that a hostile worker may be writing without end */

static unsigned syncing; /* sessions whose position is being looked for */

static void on_backend_event(uv_poll_t *poll, int status, int events);
static void on_backend_timer(uv_timer_t *timer);

static const char *const phase_names[BACKEND_PHASES] = {
    [BACKEND_NONE] = "empty",          [BACKEND_CONNECTING] = "connecting", [BACKEND_LENDABLE] = "lendable",
    [BACKEND_HELD] = "idle",           [BACKEND_SYNCING] = "checking",      [BACKEND_CHECKING] = "checking",
    [BACKEND_RESETTING] = "resetting", [BACKEND_CLOSING] = "closing",
};

const char *backend_state_name(const struct backend *b, uint64_t word)
{
    if (b->phase == BACKEND_LENDABLE && word_state(word) != SLOT_SUPERVISOR)
        return slot_state_name(word_state(word));
    return b->phase == BACKEND_LENDABLE ? "checking" : phase_names[b->phase];
}

/* Every line about a connection says which, and how old. */
void backend_log(const struct backend *b, enum log_level level, const char *format, ...)
{
    uint64_t age = b->connected == 0 ? 0 : (clock_ns() - b->connected) / UINT64_C(1000000000);
    char what[1200];
    va_list args;

    if (!log_wanted(level))
        return;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    log_at(level, "pool=%s slot=%u generation=%u backend=%d: %s (age=%llus)", b->pool->config->name, b->slot,
           b->generation, b->pid, what, (unsigned long long)age);
}

void backend_enter(struct backend *b, enum backend_phase phase)
{
    backend_log(b, LOG_LEVEL_DEBUG, "%s -> %s", phase_names[b->phase], phase_names[phase]);
    if (phase != BACKEND_LENDABLE)
        lend_cut(b);
    syncing += (phase == BACKEND_SYNCING) - (b->phase == BACKEND_SYNCING);
    b->phase = phase;
    b->since = clock_ns();
    b->cancels = 0;
    b->cancelled = 0;
    (void)uv_timer_stop(&b->timer);
}

unsigned backends_syncing(void)
{
    return syncing;
}

void backend_time(struct backend *b, uint64_t ms)
{
    (void)uv_timer_start(&b->timer, on_backend_timer, ms, 0);
}

void backend_init(struct backend *b, struct pool *pool, uint32_t slot)
{
    b->pool = pool;
    b->slot = slot;
    b->fd = b->lent = b->next[0] = b->next[1] = b->replacement.fd = -1;
    (void)uv_timer_init(&pool->supervisor->loop, &b->timer);
    b->timer.data = b;
}

/* ---- watching the socket ---- */

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void unwatch(struct backend *b)
{
    if (b->poll == NULL)
        return;
    (void)uv_poll_stop(b->poll);
    uv_close((uv_handle_t *)b->poll, free_handle);
    b->poll = NULL;
}

/*
 * While it can be lent only UV_DISCONNECT (EPOLLRDHUP): watched for input, the open file that the worker shares would
 * wake the supervisor at every query.
 */
void backend_watch(struct backend *b, int events)
{
    if (b->poll == NULL) {
        b->poll = calloc(1, sizeof *b->poll);
        if (b->poll == NULL || uv_poll_init_socket(&b->pool->supervisor->loop, b->poll, b->fd) != 0) {
            /* Not fatal: the borrower, or the next sweep's use of the slot, sees a dead backend too. */
            backend_log(b, LOG_LEVEL_WARNING, "cannot watch its socket");
            free(b->poll);
            b->poll = NULL;
            return;
        }
        b->poll->data = b;
        b->watched = 0;
    }
    /* libuv would take it out of the epoll set and put it back. */
    if (b->watched != events)
        (void)uv_poll_start(b->poll, events, on_backend_event);
    b->watched = events;
}

bool backend_is_base(const struct backend *b)
{
    return b->pool->strict && b->relayed;
}

/* As one that may be lent. What is never lent itself may be watched for input, and need not be watched anew. */
static void watch_lendable(struct backend *b)
{
    backend_watch(b, backend_is_base(b) ? UV_READABLE | UV_DISCONNECT : UV_DISCONNECT);
}

/* ---- login ---- */

void backend_login(struct backend *b)
{
    if (b->phase != BACKEND_NONE || !lease_fill(&b->pool->segment, b->slot))
        return;
    backend_enter(b, BACKEND_CONNECTING);
    supervisor_tell(b->pool->supervisor, MESSAGE_LOGIN, b->pool->config->name, b->slot, 0);
}

static void take_facts(struct backend *b, const struct message *m, int fd)
{
    struct slot *slot = &b->pool->segment.slot[b->slot];
    char mode[16] = "", sslmode[16], how[16];

    if (b->fd != -1) {
        unwatch(b);
        (void)close(b->fd);
    }
    b->fd = fd;
    b->cancelling = false;
    b->generation = m->generation;
    b->pid = m->backend_pid;
    b->checked = clock_ns();
    b->idle_uses = UINT32_MAX;
    b->connected = m->stamp <= clock_ns() ? m->stamp : clock_ns();
    b->spoiled = b->heard = false;
    free(b->facts);
    b->facts = strdup(m->text);
    (void)backend_fact(b, FACT_MODE, mode, sizeof mode);
    b->relayed = strcmp(mode, MODE_RELAY) == 0;
    certificate_begin(b);
    b->pool->cancel_by_query = backend_fact(b, ".cancel", how, sizeof how) != NULL && strcmp(how, "query") == 0;
    b->insecure = backend_fact(b, ".insecure", sslmode, sizeof sslmode) != NULL;
    if (b->insecure)
        pool_warn_insecure(b->pool, sslmode);
    role_begin(b);
    (void)backend_fact(b, ".user", b->pool->segment.role[b->slot].name, NAME_FIELD);
    atomic_store_explicit(&slot->generation, b->generation, memory_order_relaxed);
    atomic_store_explicit(&slot->backend_pid, b->pid, memory_order_relaxed);
}

static void become_held(struct backend *b, unsigned flags)
{
    backend_enter(b, BACKEND_HELD);
    b->held = flags;
}

void backend_ready(struct backend *b)
{
    /* What was wished of it meanwhile, nobody told it: it was not lendable then. */
    enum close_reason unwanted = steer_unwanted(b->pool, b->slot);

    backend_enter(b, BACKEND_LENDABLE);
    watch_lendable(b);
    if (backend_is_base(b) && b->next[0] == -1)
        (void)lend_prepare(b, "", 0); /* if that cannot be, it is tried again when it is lent */
    if (unwanted != CLOSE_NONE)
        backend_close(b, unwanted);
    else if (b->pool->steering.mode == POOL_PAUSED)
        become_held(b, 0);
    else
        lease_supply(&b->pool->segment, b->slot, 0);
}

/* The session of M is in the slot now. */
static void begin_session(struct backend *b, const struct message *m, int fd)
{
    take_facts(b, m, fd);
    atomic_store_explicit(&b->pool->segment.slot[b->slot].uses, 0, memory_order_relaxed);
    backend_log(b, LOG_LEVEL_INFO, "connected");
    backend_ready(b);
}

void backend_connected(struct backend *b, const struct message *m, int fd)
{
    if (b->phase != BACKEND_CONNECTING && replace_arrived(b, m, fd))
        return;
    if (b->phase != BACKEND_CONNECTING) {
        (void)replace_ended(b);
        /* Asked for by a predecessor, or not at all: the keeper's copy must not keep it alive. */
        (void)shutdown(fd, SHUT_RDWR);
        (void)close(fd);
        return;
    }
    begin_session(b, m, fd);
}

/*
 * A cancel that may still reach the server would hit whoever has B then: it must be nobody after the present borrower.
 */
static void spoil(struct backend *b)
{
    b->spoiled = true;
    backend_retire(b, CLOSE_CANCEL_LOST);
}

/* What its slot's word says decides; that is pool_recover()'s to look at. */
void backend_adopt(struct backend *b, const struct message *m, int fd)
{
    if (fd == -1)
        return;
    take_facts(b, m, fd);
    backend_enter(b, BACKEND_LENDABLE);
    watch_lendable(b);
    b->cancelling = m->status == CANCEL_RUNNING;
    if (m->status == CANCEL_LOST)
        spoil(b);
}

void backend_login_failed(struct backend *b)
{
    if (replace_ended(b) || b->phase != BACKEND_CONNECTING)
        return;
    backend_enter(b, BACKEND_NONE);
    lease_empty(&b->pool->segment, b->slot);
}

const char *backend_fact(const struct backend *b, const char *name, char *value, size_t size)
{
    return fact_value(b->facts, name, value, size);
}

/* ---- cancel ---- */

void backend_cancel(struct backend *b)
{
    if (b->cancelling || b->fd == -1)
        return;
    b->cancelling = true;
    b->cancels++;
    supervisor_tell(b->pool->supervisor, MESSAGE_CANCEL, b->pool->config->name, b->slot, 0);
}

/* The server has closed the cancel connection: from here on it hits nobody. Not so where it was lost. */
void backend_cancelled(struct backend *b, const struct message *m)
{
    uint64_t word;

    door_cancelled(b, m->generation);
    if (m->generation != b->generation)
        return; /* it was for one that is gone */
    b->cancelling = false;
    if (b->cancelled == 0)
        b->cancelled = clock_ns();
    switch (b->phase) {
    case BACKEND_LENDABLE:
        if (m->status == CANCEL_LOST)
            spoil(b);
        word = slot_word(&b->pool->segment, b->slot);
        /* A release that comes between reading and marking finds the flag, and the slot comes to us. */
        for (unsigned tries = 0;
             tries < WORD_TRIES && word_state(word) == SLOT_LEASED && (word_flags(word) & SLOT_CANCELLING) != 0 &&
             !lease_mark(&b->pool->segment, b->slot, word, 0, SLOT_CANCELLING);
             tries++)
            word = slot_word(&b->pool->segment, b->slot);
        break;
    case BACKEND_SYNCING:
        if (m->status == CANCEL_LOST)
            backend_close(b, CLOSE_CANCEL_LOST);
        else
            settle_again(b);
        break;
    case BACKEND_NONE:
    case BACKEND_CONNECTING:
    case BACKEND_HELD:
    case BACKEND_RESETTING:
    case BACKEND_CHECKING:
    case BACKEND_CLOSING:
    case BACKEND_PHASES:
        break;
    }
}

void backend_returned(struct backend *b, unsigned flags)
{
    bool at_rest = b->left_at_rest && !b->cancelling;

    b->left_at_rest = false;
    if (b->phase != BACKEND_LENDABLE)
        return;
    if ((flags & SLOT_BROKEN) != 0)
        backend_close(b, CLOSE_BROKEN);
    else if (b->spoiled || ((flags & SLOT_RETIRE) != 0 && b->reason != CLOSE_NONE))
        backend_close(b, b->reason != CLOSE_NONE ? b->reason : CLOSE_CANCEL_LOST);
    else if (b->heard) /* the lease ended before it was lent */
        backend_close(b, CLOSE_UNHEARD);
    else if (b->pool->config->reset == RESET_REPLACE)
        backend_close(b, CLOSE_REPLACED);
    else if (at_rest)
        settle_at_rest(b);
    else
        settle_begin(b);
}

/* ---- the end ---- */

/* The first session has ended. Is there a second, or one that logs in? */
static bool follow(struct backend *b)
{
    const struct replacement r = b->replacement;

    switch (r.state) {
    case REPLACEMENT_NONE:
        return false;
    case REPLACEMENT_CONNECTING:
        backend_enter(b, BACKEND_CONNECTING);
        (void)replace_ended(b);
        return true;
    case REPLACEMENT_READY:
        break;
    }
    if (b->pool->replacing || b->pool->steering.mode == POOL_SHUTDOWN) {
        replace_drop(b);
        supervisor_tell(b->pool->supervisor, MESSAGE_FORGET, b->pool->config->name, b->slot, 0);
        return false;
    }
    begin_session(b, r.facts, r.fd);
    (void)replace_ended(b);
    return true;
}

static void closed(struct backend *b)
{
    unwatch(b);
    lend_drop(b);
    if (b->fd != -1) {
        /* A plain close would leave the session alive for as long as a worker has a duplicate. */
        (void)shutdown(b->fd, SHUT_RDWR);
        (void)close(b->fd);
        b->fd = -1;
        supervisor_tell(b->pool->supervisor, MESSAGE_FORGET, b->pool->config->name, b->slot, 0);
    }
    stats_count(&b->pool->segment, STATS_CLOSED);
    backend_log(b, LOG_LEVEL_INFO, "%s", close_reasons[b->reason].text);
    b->connected = 0;
    b->recycle = false;
    b->reason = CLOSE_NONE;
    if (!follow(b)) {
        backend_enter(b, BACKEND_NONE);
        lease_empty(&b->pool->segment, b->slot);
    }
    pool_balance(b->pool);
    room_made(b->pool->supervisor);
    health_replaced(b->pool);
}

void backend_close(struct backend *b, enum close_reason reason)
{
    unsigned char bytes[8];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    if (b->phase == BACKEND_NONE || b->phase == BACKEND_CLOSING || b->phase == BACKEND_CONNECTING)
        return;
    backend_enter(b, BACKEND_CLOSING);
    lend_drop(b);
    b->reason = reason;
    pg_terminate(&out);
    (void)send(b->fd, bytes, out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    /* Only our side: the server's end of file says that the session is over. */
    (void)shutdown(b->fd, SHUT_WR);
    backend_watch(b, UV_READABLE | UV_DISCONNECT);
    backend_time(b, CLOSE_CANCEL_MS);
}

/*
 * Off the borrowers: true if it was idle, and *FLAGS those of its word then. A lease that is out is marked, and its end
 * brings the slot here.
 */
static bool withdraw(struct backend *b, unsigned *flags)
{
    const struct segment *s = &b->pool->segment;

    for (unsigned tries = 0; tries < WORD_TRIES; tries++) {
        uint64_t word = slot_word(s, b->slot);

        *flags = word_flags(word);
        switch (word_state(word)) {
        case SLOT_IDLE:
            if (lease_take(s, b->slot, word, *flags))
                return true;
            continue;
        case SLOT_LEASED:
        case SLOT_GRANTED:
            if ((*flags & SLOT_RETIRE) != 0 || lease_mark(s, b->slot, word, SLOT_RETIRE, 0))
                return false;
            continue;
        case SLOT_EMPTY:
        case SLOT_SUPERVISOR:
        case SLOT_STATES:
            return false; /* on its way to us: the sweep decides */
        }
        return false;
    }
    return false;
}

void backend_retire(struct backend *b, enum close_reason reason)
{
    unsigned flags;

    if (b->phase == BACKEND_HELD) {
        backend_close(b, reason);
        return;
    }
    if (b->phase != BACKEND_LENDABLE)
        return;
    b->reason = reason;
    if (withdraw(b, &flags))
        backend_close(b, reason);
}

void backend_stay(struct backend *b)
{
    const struct segment *s = &b->pool->segment;

    if (b->spoiled)
        return;
    b->reason = CLOSE_NONE;
    for (unsigned tries = 0; b->phase == BACKEND_LENDABLE && tries < WORD_TRIES; tries++) {
        uint64_t word = slot_word(s, b->slot);

        if ((word_state(word) != SLOT_LEASED && word_state(word) != SLOT_GRANTED) ||
            (word_flags(word) & SLOT_RETIRE) == 0 || lease_mark(s, b->slot, word, 0, SLOT_RETIRE))
            return;
    }
}

void backend_hold(struct backend *b)
{
    unsigned flags;

    if (b->phase == BACKEND_LENDABLE && withdraw(b, &flags))
        become_held(b, flags);
}

void backend_lend(struct backend *b)
{
    if (b->phase != BACKEND_HELD)
        return;
    if (role_is_due(b)) {
        settle_ask(b, b->held, role_of(b->pool));
        return;
    }
    backend_enter(b, BACKEND_LENDABLE);
    lease_supply(&b->pool->segment, b->slot, b->held);
}

/* ---- events ---- */

static void on_backend_event(uv_poll_t *poll, int status, int events)
{
    struct backend *b = poll->data;
    unsigned char bytes[POSITION_TAKE_MAX];
    ssize_t got;

    if ((b->phase == BACKEND_LENDABLE || b->phase == BACKEND_HELD) && backend_is_base(b) && status == 0 &&
        (events & UV_DISCONNECT) == 0) {
        if (!lend_hear(b))
            backend_retire(b, CLOSE_UNHEARD);
        /* Its borrower has hung up on an answer that may have no end: the rest waits for the end of the lease. */
        if (b->reason == CLOSE_UNHEARD && b->phase == BACKEND_LENDABLE)
            backend_watch(b, UV_DISCONNECT);
        return;
    }
    if (b->phase == BACKEND_LENDABLE) {
        unwatch(b); /* level-triggered: it would not be quiet again */
        backend_retire(b, CLOSE_GONE);
        return;
    }
    if (status != 0) {
        /* libuv reports an error once, and then watches no more: what the server still said does not matter. */
        if (b->phase != BACKEND_CLOSING)
            b->reason = CLOSE_GONE;
        closed(b);
        return;
    }
    if ((events & UV_WRITABLE) != 0 && !settle_send(b)) {
        backend_close(b, CLOSE_GONE);
        return;
    }
    if ((events & (UV_READABLE | UV_DISCONNECT)) == 0)
        return;
    got = recv(b->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        if (b->phase != BACKEND_CLOSING)
            b->reason = CLOSE_GONE;
        closed(b);
    } else {
        settle_input(b, bytes, (size_t)got);
    }
}

static void on_backend_timer(uv_timer_t *timer)
{
    struct backend *b = timer->data;
    uint64_t now = clock_ns();

    switch (b->phase) {
    case BACKEND_SYNCING:
    case BACKEND_RESETTING:
    case BACKEND_CHECKING:
        settle_time_up(b, now);
        return;
    case BACKEND_CLOSING:
        if (now - b->since > CLOSE_BOUND_NS) {
            closed(b);
            return;
        }
        /* It runs a statement, and would finish and commit it before it looked at its socket. */
        if (b->cancels < 3)
            backend_cancel(b);
        backend_time(b, 100);
        return;
    case BACKEND_NONE:
    case BACKEND_CONNECTING:
    case BACKEND_LENDABLE:
    case BACKEND_HELD:
    case BACKEND_PHASES:
        return;
    }
}
