/* SPDX-License-Identifier: ISC */
/*
 * worker.c - worker.sock and the segment: up to four workers, each of a shared or the strict pool, who say and write
 * what they like, while the server of a session sends what it likes.
 *
 * Input is a list of steps, a byte each and what the step takes. Legal steps are among them, so that the states behind
 * a lease are reached; everything else is as hostile as bytes can be.
 */
#include "lease.h"
#include "stand.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS   4
#define STEPS_MAX 64
#define ANSWER_MS 50 /* where there is none yet */

struct peer {
    int sock; /* -1: not connected */
    bool greeted;
    enum stand_pool pool;
    uint32_t worker, borrower, slot;
    uint64_t version;       /* of the lease; in the strict pool */
    uint32_t serial, heard; /* of requests, and of answers to them */
    int lent;               /* -1: none; in the strict pool */
    struct segment segment;
};

static struct peer peer[WORKERS];

/* ---- steps ---- */

static void leave(struct peer *p)
{
    if (p->sock == -1)
        return;
    if (p->greeted)
        segment_unmap(&p->segment);
    if (p->lent != -1)
        (void)close(p->lent);
    stand_finish(p->sock, 5000);
    *p = (struct peer){.sock = -1, .lent = -1};
}

static void join(struct peer *p, struct input *in)
{
    (void)in;
    leave(p);
    p->sock = stand_connect(LISTENER_WORKER);
}

static void greet_pool(struct peer *p, struct input *in, enum stand_pool pool)
{
    join(p, in);
    p->pool = pool;
    p->greeted = stand_greet(p->sock, pool, &p->worker, &p->segment);
    p->borrower = NO_BORROWER;
    p->slot = NO_SLOT;
}

static void greet(struct peer *p, struct input *in)
{
    greet_pool(p, in, STAND_CLINIC);
}

static void greet_strictly(struct peer *p, struct input *in)
{
    greet_pool(p, in, STAND_WARD);
}

static bool may_write(const struct peer *p)
{
    return p->greeted && p->pool != STAND_WARD;
}

static void say_bytes(struct peer *p, struct input *in)
{
    size_t got;
    const uint8_t *bytes = input_bytes(in, input_word(in) % 600, &got);

    if (p->sock != -1)
        (void)send(p->sock, bytes, got, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A message of the right length, whatever is in it. */
static void say_message(struct peer *p, struct input *in)
{
    static const struct {
        enum wire_type type;
        size_t length;
    } shapes[] = {
        {WIRE_HELLO, sizeof(struct wire_hello)},     {WIRE_WELCOME, sizeof(struct wire_welcome)},
        {WIRE_REFUSED, sizeof(struct wire_refused)}, {WIRE_FETCH, sizeof(struct wire_fetch)},
        {WIRE_BACKEND, sizeof(struct wire_backend)}, {WIRE_NOT_FETCHED, sizeof(struct wire_not_fetched)},
        {WIRE_WANT, sizeof(struct wire_want)},       {WIRE_RETURNED, sizeof(struct wire_returned)},
        {WIRE_ACQUIRE, sizeof(struct wire_acquire)}, {WIRE_GIVE_UP, sizeof(struct wire_give_up)},
        {WIRE_RELEASE, sizeof(struct wire_release)}, {WIRE_HOLDING, sizeof(struct wire_holding)},
    };
    size_t which = input_byte(in) % (sizeof shapes / sizeof shapes[0]), got;
    union wire_message m = {.header = {WIRE_MAGIC, WIRE_VERSION, (uint16_t)shapes[which].type}};
    const uint8_t *body = input_bytes(in, shapes[which].length - sizeof m.header, &got);

    memcpy((char *)&m + sizeof m.header, body, got);
    if (p->sock != -1)
        (void)send(p->sock, &m, shapes[which].length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void tell(const struct peer *p, enum wire_type type, union wire_message *m)
{
    if (p->sock != -1)
        (void)wire_send(p->sock, type, m, -1, MSG_DONTWAIT);
}

static void fetch(struct peer *p, struct input *in)
{
    union wire_message m = {.fetch = {.serial = 1, .slot = p->slot, .borrower = p->borrower}};
    uint8_t other = input_byte(in);
    int fd = -1;

    if (other != 0) {
        m.fetch.slot = other & 7;
        m.fetch.borrower = other >> 4;
    }
    tell(p, WIRE_FETCH, &m);
    if (p->greeted && wire_receive_packet(p->sock, &m, sizeof m, &fd, MSG_DONTWAIT) > 0 && fd != -1)
        (void)close(fd);
}

static void want(struct peer *p, struct input *in)
{
    union wire_message m = {0};

    (void)in;
    tell(p, WIRE_WANT, &m);
}

static void returned(struct peer *p, struct input *in)
{
    union wire_message m = {.returned = {.slot = input_byte(in) & 7}};

    tell(p, WIRE_RETURNED, &m);
}

static void acquire(struct peer *p, struct input *in)
{
    struct lease_wish wish = {.own = NO_SLOT, .max = STAND_SLOTS, .now = clock_ns()};
    uint64_t word;

    (void)in;
    if (!may_write(p))
        return;
    if (p->borrower == NO_BORROWER && borrower_claim(&p->segment, p->worker, &p->borrower) == -1) {
        p->borrower = NO_BORROWER;
        return;
    }
    p->slot = lease_try(&p->segment, p->borrower, &wish, &word);
    if (p->slot == NO_SLOT)
        lease_enqueue(&p->segment, p->borrower, &wish);
}

static void give(struct peer *p, struct input *in)
{
    uint8_t how = input_byte(in);

    if (!may_write(p) || p->slot == NO_SLOT)
        return;
    if ((how & 1) != 0)
        (void)lease_surrender(&p->segment, p->borrower, p->slot, how & 2 ? SLOT_BROKEN : 0);
    else
        (void)lease_give(&p->segment, p->borrower, p->slot, how & 2 ? SLOT_RESET_PENDING : 0);
    p->slot = NO_SLOT;
}

static void write_anywhere(struct peer *p, struct input *in)
{
    uint64_t at = input_long(in), value = input_long(in);

    if (may_write(p))
        memcpy((char *)p->segment.header + at % (p->segment.size - sizeof value), &value, sizeof value);
}

/* Where it matters most: a slot's word, a borrower's entry. */
static void write_word(struct peer *p, struct input *in)
{
    uint8_t which = input_byte(in);
    uint64_t value = input_long(in);

    if (!may_write(p))
        return;
    if ((which & 1) != 0)
        atomic_store(&p->segment.slot[which >> 4 & 3].word, value);
    else if ((which & 2) != 0)
        atomic_store(&p->segment.borrower[which >> 4 & 7].wait, value);
    else
        atomic_store(&p->segment.borrower[which >> 4 & 7].owner, value);
}

static void serve(struct peer *p, struct input *in)
{
    uint8_t slot = input_byte(in);
    size_t got;
    const uint8_t *bytes = input_bytes(in, input_byte(in), &got);

    stand_serve(p->pool, slot & 3, bytes, got);
}

/* As a server would: else no session comes to rest between two leases. */
static void answer(struct peer *p, struct input *in)
{
    stand_answer(p->pool, input_byte(in) & 3);
}

/* ---- in the strict pool ---- */

static void ask(struct peer *p, struct input *in)
{
    uint8_t how = input_byte(in);
    union wire_message m = {.acquire = {.serial = ++p->serial, .own = how & 7, .until = clock_ns()}};

    m.acquire.until += (uint64_t)(how >> 3) * 1000000;
    tell(p, WIRE_ACQUIRE, &m);
}

/* What was answered; who waited says, by how it leaves the descriptor, that it has read it. */
static void hear(struct peer *p, struct input *in)
{
    bool take = (input_byte(in) & 1) == 0;
    struct pollfd answer = {.fd = p->sock, .events = POLLIN};
    union wire_message m;
    int fd = -1;

    if (!p->greeted || p->heard == p->serial || poll(&answer, 1, ANSWER_MS) != 1 ||
        wire_receive_packet(p->sock, &m, sizeof m, &fd, MSG_DONTWAIT) <= 0)
        return;
    p->heard++;
    if (fd == -1)
        return;
    if (p->lent != -1)
        (void)close(p->lent);
    p->lent = fd;
    p->slot = m.backend.slot;
    p->version = m.backend.version;
    if (take)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK | LEASE_TAKEN);
}

/* Over the lent socket: what its server, or the relay's other side, has to make sense of. */
static void speak(struct peer *p, struct input *in)
{
    size_t got;
    const uint8_t *bytes = input_bytes(in, input_byte(in), &got);

    if (p->lent != -1)
        (void)send(p->lent, bytes, got, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void give_up(struct peer *p, struct input *in)
{
    union wire_message m = {.give_up = {.serial = p->serial - (input_byte(in) & 3)}};

    tell(p, WIRE_GIVE_UP, &m);
}

/* Of the lease that is held, or another. */
static void release(struct peer *p, struct input *in)
{
    uint8_t how = input_byte(in);
    union wire_message m = {.release = {.slot = p->slot, .version = p->version, .left = how & 3}};

    m.release.slot ^= (how & 4) != 0;
    m.release.version -= how >> 4;
    tell(p, WIRE_RELEASE, &m);
    if (p->lent != -1 && (how & 8) == 0) {
        (void)close(p->lent);
        p->lent = -1;
    }
}

static void hold(struct peer *p, struct input *in)
{
    union wire_message m = {.holding = {.count = input_byte(in), .more = input_byte(in) & 1}};

    m.holding.lease[0].slot = p->slot;
    m.holding.lease[0].version = p->version;
    tell(p, WIRE_HOLDING, &m);
}

/* As if its supervisor had had a predecessor: who comes back by its index has to say what it holds. */
static void come_back(struct peer *p, struct input *in)
{
    union wire_message m = {.hello = {.pool = "ward", .worker = input_byte(in) & 15}};
    int fd = -1;

    join(p, in);
    p->pool = STAND_WARD;
    p->slot = NO_SLOT;
    tell(p, WIRE_HELLO, &m);
    if (wire_receive_packet(p->sock, &m, sizeof m, &fd, 0) > 0 && fd != -1)
        p->greeted = segment_map(&p->segment, fd) == 0;
    if (fd != -1)
        (void)close(fd);
}

static void hang_up(struct peer *p, struct input *in)
{
    (void)in;
    leave(p);
}

/* New ones go to the end: inputs that are kept mean what they did. */
static void (*const steps[])(struct peer *p, struct input *in) = {
    join,  greet,   say_bytes,      say_message, fetch, want,  returned, acquire, give, write_anywhere, write_word,
    serve, hang_up, greet_strictly, ask,         hear,  speak, give_up,  release, hold, come_back,      answer,
};

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (int i = 0; i < WORKERS; i++)
        peer[i].sock = peer[i].lent = -1;
    stand_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    for (int i = 0; i < STEPS_MAX && in.left > 0; i++) {
        uint8_t step = input_byte(&in);

        steps[(step & 63) % (sizeof steps / sizeof steps[0])](&peer[step >> 6], &in);
    }
    for (int i = 0; i < WORKERS; i++)
        leave(&peer[i]);
    return 0;
}
