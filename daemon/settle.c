/* SPDX-License-Identifier: ISC */
/*
 * settle.c - what is said to a session between two borrowers: its position in the protocol is found and it is reset, or
 * it is asked for a sign of life.
 *
 * The hard thing: a borrower that died, or let go in the middle of something, leaves the session at an unknown place
 * in the protocol. It is looked for (position.c), with a cancel request for what still runs; where it is not found in
 * time the session is closed and replaced.
 */
#include "supervisor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define CANCEL_AFTER_MS 2  /* a session that was idle has answered by then */
#define REST_MS         50 /* for a session that its borrower says is idle: no hurry to disbelieve it */
#define CANCEL_EVERY_MS 5  /* one does not empty a pipeline of several synced statements */
#define SYNC_BOUND_NS   UINT64_C(150000000)  /* after the first cancel was delivered */
#define SYNC_TOTAL_NS   UINT64_C(1000000000) /* whatever the keeper is doing */
#define OTHER_US        500                  /* of the machine, for each other session that is looked for */

bool settle_send(struct backend *b)
{
    while (b->out_sent < b->out_length) {
        ssize_t sent = send(b->fd, b->out + b->out_sent, b->out_length - b->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent == -1 && errno != EAGAIN && errno != EINTR)
            return false;
        if (sent == -1) {
            backend_watch(b, UV_READABLE | UV_WRITABLE | UV_DISCONNECT);
            return true;
        }
        b->out_sent += (size_t)sent;
    }
    b->out_length = b->out_sent = 0;
    backend_watch(b, UV_READABLE | UV_DISCONNECT);
    return true;
}

/* As much as there is room for goes at once. It may be closed after this. */
static void queue(struct backend *b, const struct pg_buffer *more)
{
    if (more->overflow || more->length > sizeof b->out - b->out_length) {
        backend_close(b, CLOSE_RESET_TOO_LONG);
        return;
    }
    memmove(b->out + b->out_length, more->at, more->length);
    b->out_length += more->length;
    if (!settle_send(b))
        backend_close(b, CLOSE_GONE);
}

/* ---- finding the position again ---- */

/*
 * A crowd that died together shares the machine, so each session allows for the others: a cancel, or worse a login, for
 * every one that is merely slow would make all of them slower.
 */
static uint64_t others_us(void)
{
    unsigned syncing = backends_syncing();

    return syncing > 1 ? (uint64_t)(syncing - 1) * OTHER_US : 0;
}

static void look_again_after(struct backend *b, uint64_t ms)
{
    backend_time(b, ms + others_us() / 1000);
}

void settle_begin(struct backend *b)
{
    unsigned char bytes[256];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    backend_enter(b, BACKEND_SYNCING);
    lend_drop(b);
    b->out_length = b->out_sent = 0;
    b->reset_asked = false;
    position_ask(&b->position, &out);
    look_again_after(b, b->cancelling ? CANCEL_EVERY_MS : CANCEL_AFTER_MS);
    queue(b, &out);
}

/*
 * After each lease in strict isolation. What the borrower says decides only what is asked first. The proof is the
 * server's: it repeats a nonce that did not exist before the lease's end, so it has read all that the borrower sent, to
 * the end of a message, and what follows is ours alone: DISCARD ALL, sent along, which fails where a transaction is
 * open. Whoever left half a message, a transaction or a COPY behind does not get there in time, and is dealt with as
 * one that died.
 */
void settle_at_rest(struct backend *b)
{
    unsigned char bytes[128];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    b->out_length = b->out_sent = 0;
    b->reset_asked = true;
    position_ask_along(&b->position, &out);
    pg_query(&out, "DISCARD ALL");
    /* Before the lease's own socket is cut: to a relay they are its end too, and it wakes once for both. */
    if (!backend_is_base(b) || !lend_prepare(b, bytes, out.length))
        queue(b, &out);
    if (b->phase != BACKEND_LENDABLE)
        return;
    backend_enter(b, BACKEND_SYNCING);
    backend_time(b, REST_MS);
}

void settle_again(struct backend *b)
{
    unsigned char bytes[64];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    position_ask_again(&b->position, &out);
    look_again_after(b, CANCEL_EVERY_MS);
    queue(b, &out);
}

static bool parameter_as_reported(void *context, const char *name, const char *value)
{
    struct backend *b = context;
    char known[256];

    b->changed = backend_fact(b, name, known, sizeof known) == NULL || strcmp(known, value) != 0;
    return !b->changed;
}

static void await_reset(struct backend *b)
{
    backend_enter(b, BACKEND_RESETTING);
    b->changed = false;
    b->reader =
        (struct reset_reader){.due = true, .discard_all = true, .parameter = parameter_as_reported, .context = b};
    stats_reset(&b->pool->segment, b->slot);
    backend_time(b, (uint64_t)b->pool->config->reset_timeout_ms);
}

/*
 * Whatever the pool's reset is, a session whose borrower vanished is reset in full: nobody knows what was changed.
 */
static void start_reset(struct backend *b)
{
    unsigned char bytes[32];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    await_reset(b);
    pg_query(&out, "DISCARD ALL");
    queue(b, &out);
}

static void reset_input(struct backend *b, const unsigned char *bytes, size_t length)
{
    switch (reset_reader_take(&b->reader, bytes, length)) {
    case READER_MORE:
        break;
    case READER_CLEAN:
        backend_ready(b);
        break;
    case READER_BROKEN:
        if (b->reset_asked && !b->changed)
            settle_begin(b); /* it was not at rest */
        else                 /* what has changed is reported once, and no reset undoes it */
            backend_close(b, CLOSE_RESET_FAILED);
        break;
    }
}

static void sync_input(struct backend *b, const unsigned char *bytes, size_t length)
{
    size_t used;

    /* While a cancel is on its way the next question may be what it hits: ask once more when it is through. */
    if (!position_take(&b->position, bytes, length, &used) || b->cancelling)
        return;
    if (!b->reset_asked) {
        start_reset(b);
        return;
    }
    await_reset(b);
    if (used < length)
        reset_input(b, bytes + used, length - used);
}

/* ---- a sign of life ---- */

/* A row: its number of columns, the length of the first, that. */
static void take_role(void *context, const unsigned char *row, size_t length)
{
    struct backend *b = context;
    size_t expected = strlen(b->question->answer);

    b->role_told = true;
    b->role_fits = length == 6 + expected && pg_get_int32(row + 2) == expected &&
                   memcmp(row + 6, b->question->answer, expected) == 0;
}

static void ask_for_life(struct backend *b)
{
    unsigned char bytes[SYNC_OUT_MAX];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    b->asked = true;
    b->reader = (struct reset_reader){.due = true, .parameter = parameter_as_reported, .context = b};
    if (b->question != NULL)
        b->reader.row = take_role;
    pg_query(&out, b->question != NULL ? b->question->sql : b->pool->config->check_query);
    queue(b, &out);
}

void settle_ask(struct backend *b, unsigned flags, const struct role_question *question)
{
    b->question = question;
    b->asked = b->role_told = b->role_fits = false;
    b->out_length = b->out_sent = 0;
    if (b->heard) {
        backend_close(b, CLOSE_UNHEARD); /* it goes with the socket that its borrower would have read it from */
        return;
    }
    lend_drop(b);
    backend_enter(b, BACKEND_CHECKING);
    b->reader = (struct reset_reader){.due = (flags & SLOT_RESET_PENDING) != 0,
                                      .discard_all = b->pool->config->reset == RESET_FULL,
                                      .parameter = parameter_as_reported,
                                      .context = b};
    if (b->reader.due)
        backend_watch(b, UV_READABLE | UV_DISCONNECT);
    else
        ask_for_life(b);
    if (b->phase == BACKEND_CHECKING)
        backend_time(b, (uint64_t)b->pool->config->check_timeout_ms);
}

void settle_check(struct backend *b, uint64_t word, const struct role_question *question)
{
    const struct slot *slot = &b->pool->segment.slot[b->slot];
    uint64_t since = atomic_load_explicit(&slot->idle_since, memory_order_relaxed);
    uint32_t uses = atomic_load_explicit(&slot->uses, memory_order_relaxed);

    if (b->phase != BACKEND_LENDABLE || !lease_take(&b->pool->segment, b->slot, word, word_flags(word)))
        return;
    if (b->idle_uses != uses)
        b->idle_since = since;
    b->idle_uses = uses;
    settle_ask(b, word_flags(word), question);
}

/* The server's parameters may have changed with its role, so that a wrong answer need not be a clean one. */
static void check_ended(struct backend *b, bool clean)
{
    bool wrong = b->role_told && !b->role_fits;

    if (wrong || !clean || (b->question != NULL && !b->role_told)) {
        backend_close(b, wrong ? CLOSE_ROLE : CLOSE_CHECK_FAILED);
    } else {
        /* Where it is a query of the administrator's own that is to be a sign of life, no other one is. */
        if (b->question == NULL || *b->pool->config->check_query == '\0')
            b->checked = clock_ns();
        backend_ready(b);
    }
    if (b->role_told)
        role_told(b, !wrong);
}

static void check_input(struct backend *b, const unsigned char *bytes, size_t length)
{
    enum reader_state state = reset_reader_take(&b->reader, bytes, length);

    if (state == READER_CLEAN && !b->asked)
        ask_for_life(b);
    else if (state != READER_MORE)
        check_ended(b, state == READER_CLEAN);
}

void settle_input(struct backend *b, const unsigned char *bytes, size_t length)
{
    if (b->phase == BACKEND_SYNCING)
        sync_input(b, bytes, length);
    else if (b->phase == BACKEND_RESETTING)
        reset_input(b, bytes, length);
    else if (b->phase == BACKEND_CHECKING)
        check_input(b, bytes, length);
}

/* It has not been found yet. */
static void look_for_position(struct backend *b, uint64_t now)
{
    uint64_t others = others_us() * 1000;

    if ((b->cancelled != 0 && now - b->cancelled > SYNC_BOUND_NS + 10 * others) ||
        now - b->since > SYNC_TOTAL_NS + 20 * others) {
        backend_close(b, CLOSE_POSITION_LOST);
        return;
    }
    /* More have died since the timer was set: their answers come first. */
    if (now - b->since >= CANCEL_AFTER_MS * UINT64_C(1000000) + others)
        backend_cancel(b);
    look_again_after(b, CANCEL_EVERY_MS);
}

void settle_time_up(struct backend *b, uint64_t now)
{
    if (b->phase == BACKEND_SYNCING && b->reset_asked)
        settle_begin(b);
    else if (b->phase == BACKEND_SYNCING)
        look_for_position(b, now);
    else
        backend_close(b, b->phase == BACKEND_RESETTING ? CLOSE_RESET_TIMED_OUT : CLOSE_CHECK_TIMED_OUT);
}
