/* SPDX-License-Identifier: ISC */
/*
 * call.c - strict isolation: what this process's threads say to the supervisor, over one connection.
 *
 * The hard thing: several threads wait for answers at a time, and none may wait for another. One of them reads for all
 * (it "talks"); when it has its answer, or its time is up, another goes on. Whoever talks also finds a new supervisor,
 * tells it what this process holds, so that neither a release nor a grant that its predecessor died with is forgotten,
 * and asks again for all.
 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FULL_MS 1000 /* a socket that takes nothing for so long belongs to a supervisor that is stopped */

/* A release that found no room. Without memory its slot is lent again when this process ends. */
struct unsaid {
    struct unsaid *next;
    struct wire_release release;
};

static void keep_unsaid(struct attachment *at, const struct wire_release *release)
{
    struct unsaid *u = malloc(sizeof *u);

    if (u == NULL)
        return;
    u->release = *release;
    (void)pthread_mutex_lock(&at->dialogue);
    u->next = at->unsaid;
    at->unsaid = u;
    (void)pthread_mutex_unlock(&at->dialogue);
}

static void forget_first(struct attachment *at)
{
    struct unsaid *first = at->unsaid;

    at->unsaid = first->next;
    free(first);
}

void call_forget_unsaid(struct attachment *at)
{
    while (at->unsaid != NULL)
        forget_first(at);
}

/* Under the lock. False: there is no room yet. */
static bool say_unsaid(struct attachment *at)
{
    while (at->unsaid != NULL) {
        union wire_message message = {.release = at->unsaid->release};

        if (wire_send(at->sock, WIRE_RELEASE, &message, -1, MSG_DONTWAIT) == -1)
            return false;
        forget_first(at);
    }
    return true;
}

static void send_want(struct attachment *at, struct call *call)
{
    union wire_message message = {.acquire = call->want};

    call->sent = say_unsaid(at) && wire_send(at->sock, WIRE_ACQUIRE, &message, -1, MSG_DONTWAIT) == 0;
}

/* ---- a new supervisor ---- */

static void add_held(const struct attachment *at, struct wire_holding *held, uint32_t slot, uint64_t version)
{
    if (held->count == HOLDING_MAX) {
        union wire_message message = {.holding = *held};

        message.holding.more = 1;
        (void)wire_send(at->sock, WIRE_HOLDING, &message, -1, 0);
        held->count = 0;
    }
    held->lease[held->count].slot = slot;
    held->lease[held->count++].version = version;
}

/* Under the lock: all that has a descriptor, be it in the table or on its way there. */
static void tell_held(struct attachment *at)
{
    union wire_message message = {.holding = {.count = 0}};
    struct wire_holding held = message.holding;

    pool_lock(at->pool);
    for (uint32_t i = 0; i < at->segment.slots; i++)
        if (at->loan[i] != NULL && at->loan[i]->lent != -1)
            add_held(at, &held, i, at->loan[i]->version);
    pool_unlock(at->pool);
    for (const struct call *call = at->calls; call != NULL; call = call->next)
        if (call->answered && call->fd != -1)
            add_held(at, &held, call->answer.backend.slot, call->answer.backend.version);
    message.holding = held;
    (void)wire_send(at->sock, WIRE_HOLDING, &message, -1, 0);
    call_forget_unsaid(at); /* what is not held has been released */
}

/*
 * Nobody read what was sent. The listening socket outlives supervisors: a hello, and what is held still, wait there for
 * the next one, whether this process ever calls again or not. But another thread may have greeted it since: to hang up
 * on that would be this process's end in its books. False: RELEASE is to be sent again.
 */
static bool leave_word(struct attachment *at, union wire_message *release)
{
    bool sent, full;

    (void)pthread_mutex_lock(&at->dialogue);
    sent = wire_send(at->sock, WIRE_RELEASE, release, -1, MSG_DONTWAIT) == 0;
    full = !sent && errno == EAGAIN;
    if (!sent && !full) {
        at->greeted = false;
        if (!at->talking) {
            at->told = attachment_knock(at);
            if (at->told)
                tell_held(at);
        }
    }
    (void)pthread_mutex_unlock(&at->dialogue);
    return !full;
}

void strict_release(struct attachment *at, uint32_t slot, uint64_t version, enum wire_left left)
{
    union wire_message message = {.release = {.slot = slot, .version = version, .left = left}};
    struct pollfd pfd = {.fd = at->sock, .events = POLLOUT};
    uint64_t until = clock_ns() + FULL_MS * UINT64_C(1000000);

    while (wire_send(at->sock, WIRE_RELEASE, &message, -1, MSG_DONTWAIT) == -1) {
        bool full = errno == EAGAIN;
        uint64_t now = clock_ns();

        if (full && now >= until) {
            keep_unsaid(at, &message.release);
            return;
        }
        if (full)
            (void)poll(&pfd, 1, (int)((until - now + 999999) / 1000000));
        else if (leave_word(at, &message))
            return;
    }
}

/* The one that talks: greet whoever is there now. */
static void find_supervisor(struct attachment *at, uint64_t until)
{
    struct timespec pause = {.tv_nsec = (long)RECONNECT_NS};

    if (!attachment_greet(at, until)) {
        if (!at->greeting)
            at->told = false;
        if (!attachment_retired(at) && clock_ns() + RECONNECT_NS < until)
            (void)nanosleep(&pause, NULL);
        return;
    }
    (void)pthread_mutex_lock(&at->dialogue);
    if (!at->told)
        tell_held(at);
    at->told = false;
    at->greeted = true;
    for (struct call *call = at->calls; call != NULL; call = call->next)
        if (!call->answered)
            send_want(at, call);
    (void)pthread_mutex_unlock(&at->dialogue);
}

/* ---- answers ---- */

/* MESSAGE came, with FD or without. LOST: its descriptor did not arrive. */
static void deliver(struct attachment *at, union wire_message *message, int fd, bool lost)
{
    const struct wire_backend *backend = &message->backend;
    struct call *call;

    if (message->header.type != WIRE_BACKEND && message->header.type != WIRE_NOT_FETCHED) {
        if (fd != -1)
            (void)close(fd);
        return;
    }
    (void)pthread_mutex_lock(&at->dialogue);
    /* Both have their serial in the same place. */
    for (call = at->calls; call != NULL; call = call->next)
        if (call->want.serial == backend->serial && !call->answered)
            break;
    if (call != NULL) {
        /*
         * Under the lock: once its caller sees the answer the descriptor may be closed, and its number another file's.
         */
        if (message->header.type == WIRE_BACKEND && fd != -1 && backend->waited != 0)
            (void)fcntl(fd, F_SETFL, O_NONBLOCK | LEASE_TAKEN);
        call->answer = *message;
        call->fd = fd;
        call->answered = true;
    }
    (void)pthread_mutex_unlock(&at->dialogue);
    if (message->header.type == WIRE_BACKEND && (call == NULL || lost)) {
        if (fd != -1)
            (void)close(fd);
        strict_release(at, backend->slot, backend->version, LEFT_AT_REST);
    }
}

/* The one that talks: take what comes, one message or until then. */
static void talk(struct attachment *at, uint64_t until)
{
    union wire_message message;
    int fd = -1;

    if (!at->greeted) {
        find_supervisor(at, until);
        return;
    }
    message.header.type = 0;
    if (attachment_hear(at, &message, &fd, until)) {
        deliver(at, &message, fd, fd == -1);
    } else if (errno == EMFILE) {
        deliver(at, &message, -1, true);
    } else if (errno != ETIMEDOUT) {
        (void)pthread_mutex_lock(&at->dialogue);
        at->greeted = false;
        (void)pthread_mutex_unlock(&at->dialogue);
    }
}

/* ---- calls ---- */

/* Is its request with the supervisor, if there is one? Sends it where there was no room for it before. */
static bool has_asked(struct attachment *at, struct call *call)
{
    if (at->greeted && !call->sent)
        send_want(at, call);
    return !at->greeted || call->sent;
}

/* Under the lock. */
static void wait_for_answer(struct attachment *at, struct call *call, uint64_t until)
{
    uint64_t now;

    while (!call->answered && !attachment_retired(at) && (now = clock_ns()) < until) {
        uint64_t next = has_asked(at, call) || until - now < RECONNECT_NS ? until : now + RECONNECT_NS;
        struct timespec ts = {.tv_sec = (time_t)(next / 1000000000), .tv_nsec = (long)(next % 1000000000)};

        if (at->talking) {
            (void)pthread_cond_clockwait(&at->heard, &at->dialogue, CLOCK_MONOTONIC, &ts);
            continue;
        }
        at->talking = true;
        (void)pthread_mutex_unlock(&at->dialogue);
        talk(at, next);
        (void)pthread_mutex_lock(&at->dialogue);
        at->talking = false;
        (void)pthread_cond_broadcast(&at->heard);
    }
}

bool call_supervisor(struct attachment *at, struct call *call, const struct wire_acquire *want, uint64_t until)
{
    bool answered;

    *call = (struct call){.want = *want, .fd = -1};
    (void)pthread_mutex_lock(&at->dialogue);
    call->want.serial = ++at->serial;
    call->next = at->calls;
    at->calls = call;
    wait_for_answer(at, call, until);
    answered = call->answered;
    if (!answered && at->greeted && call->sent) {
        union wire_message message = {.give_up = {.serial = call->want.serial}};

        (void)wire_send(at->sock, WIRE_GIVE_UP, &message, -1, MSG_DONTWAIT);
    }
    call->answered = true; /* what another thread hears from here on is nobody's, and given back */
    (void)pthread_mutex_unlock(&at->dialogue);
    return answered;
}

void call_end(struct attachment *at, struct call *call)
{
    struct call **link = &at->calls;

    (void)pthread_mutex_lock(&at->dialogue);
    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    (void)pthread_mutex_unlock(&at->dialogue);
}
