/* SPDX-License-Identifier: ISC */
/*
 * worker.c - worker.sock and the segment: up to four workers of one pool, who say and write what they like, while the
 * server of a session sends what it likes.
 *
 * Input is a list of steps, a byte each and what the step takes. Legal steps are among them, so that the states behind
 * a lease are reached; everything else is as hostile as bytes can be.
 */
#include "lease.h"
#include "stand.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS   4
#define STEPS_MAX 64

struct peer {
    int sock; /* -1: not connected */
    bool greeted;
    uint32_t worker, borrower, slot;
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
    stand_finish(p->sock, 5000);
    *p = (struct peer){.sock = -1};
}

static void join(struct peer *p, struct input *in)
{
    (void)in;
    leave(p);
    p->sock = stand_connect(LISTENER_WORKER);
}

static void greet(struct peer *p, struct input *in)
{
    join(p, in);
    p->greeted = stand_greet(p->sock, &p->worker, &p->segment);
    p->borrower = NO_BORROWER;
    p->slot = NO_SLOT;
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
    if (!p->greeted)
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

    if (!p->greeted || p->slot == NO_SLOT)
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

    if (p->greeted)
        memcpy((char *)p->segment.header + at % (p->segment.size - sizeof value), &value, sizeof value);
}

/* Where it matters most: a slot's word, a borrower's entry. */
static void write_word(struct peer *p, struct input *in)
{
    uint8_t which = input_byte(in);
    uint64_t value = input_long(in);

    if (!p->greeted)
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

    (void)p;
    stand_serve(slot & 3, bytes, got);
}

static void hang_up(struct peer *p, struct input *in)
{
    (void)in;
    leave(p);
}

static void (*const steps[])(struct peer *p, struct input *in) = {
    join,    greet, say_bytes,      say_message, fetch, want,    returned,
    acquire, give,  write_anywhere, write_word,  serve, hang_up,
};

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (int i = 0; i < WORKERS; i++)
        peer[i].sock = -1;
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
