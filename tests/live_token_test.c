/* SPDX-License-Identifier: ISC */
/*
 * live_token_test.c - descriptors go to who holds the slot, and tokens work once, for whom they were made.
 *
 * The workers here do without the library: they map the segment and speak worker.sock and the door themselves.
 */
#include "harness.h"
#include "lease.h"
#include "pglend.h"
#include "pglendd.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pglendd *daemon_;
static pglend *pool;
static pid_t supervisor;

/* ---- helpers ---- */

static void lends(void)
{
    PGconn *conn = pglend_acquire(pool, 2000);
    char text[16];

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

static void start(void)
{
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 2, 10);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    lends();
    supervisor = pglendd_process(daemon_, "supervisor");
}

static void stop(void)
{
    lends();
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    pglend_close(pool);
    pglendd_stop(daemon_);
}

/* What is heard until the other side hangs up, or for 5 s. */
static size_t hear_all(int sock, char *text, size_t size)
{
    size_t length = 0;
    ssize_t got;

    while (length < size - 1 && (got = recv(sock, text + length, size - 1 - length, 0)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    return length;
}

/* A start-up packet of version 3.0 with OPTIONS; its answer's type and, after an error, its text. */
static char knock(const char *options, char *text, size_t size)
{
    unsigned char packet[256] = {0, 0, 0, 0, 0, 3, 0, 0};
    size_t length = 8;
    int sock = pglendd_connect(daemon_, ".s.PGSQL.6432");
    uint32_t size_sent;

    length += (size_t)snprintf((char *)packet + length, 64, "user%cx%coptions%c%s", 0, 0, 0, options) + 2;
    size_sent = htonl((uint32_t)length);
    (void)memcpy(packet, &size_sent, sizeof size_sent);
    ck_assert_int_eq(send(sock, packet, length, 0), length);
    text[0] = '\0';
    /* One who is let in stays. */
    if (recv(sock, text, 1, MSG_PEEK) == 1 && text[0] == 'E')
        (void)hear_all(sock, text, size);
    (void)close(sock);
    return text[0];
}

struct bare {
    int sock;
    uint32_t worker, borrower;
    struct segment segment;
};

static void attach(struct bare *w)
{
    union wire_message message = {.hello = {.pool = "clinic", .worker = NO_WORKER}};
    int segment;

    w->sock = pglendd_connect(daemon_, "worker.sock");
    ck_assert_int_eq(wire_send(w->sock, WIRE_HELLO, &message, -1, 0), 0);
    ck_assert_int_gt(wire_receive_packet(w->sock, &message, sizeof message, &segment, 0), 0);
    ck_assert_int_eq(message.header.type, WIRE_WELCOME);
    w->worker = message.welcome.worker;
    ck_assert_int_eq(segment_map(&w->segment, segment), 0);
    ck_assert_int_eq(borrower_claim(&w->segment, w->worker, &w->borrower), 0);
    (void)close(segment);
}

static void detach(struct bare *w)
{
    segment_unmap(&w->segment);
    (void)close(w->sock);
}

/* Ask for SLOT as BORROWER, with PASSED sent along (-1: nothing). The answer's type; a descriptor is closed. */
static enum wire_type fetch(struct bare *w, uint32_t slot, uint32_t borrower, int passed, union wire_message *answer)
{
    int fd;

    *answer = (union wire_message){.fetch = {.serial = 7, .slot = slot, .borrower = borrower}};
    ck_assert_int_eq(wire_send(w->sock, WIRE_FETCH, answer, passed, 0), 0);
    ck_assert_int_gt(wire_receive_packet(w->sock, answer, sizeof *answer, &fd, 0), 0);
    ck_assert_int_eq(fd != -1, answer->header.type == WIRE_BACKEND);
    if (fd != -1)
        (void)close(fd);
    return (enum wire_type)answer->header.type;
}

static uint32_t take_slot(struct bare *w)
{
    struct lease_wish wish = {.own = NO_SLOT, .max = w->segment.slots, .now = clock_ns()};
    uint32_t slot;
    uint64_t word;

    wait_until((slot = lease_try(&w->segment, w->borrower, &wish, &word)) != NO_SLOT, 5);
    return slot;
}

/* ---- tests ---- */

START_TEST(only_the_holder_gets_it)
{
    PGconn *conn[2];
    union wire_message answer;
    struct bare w, other;

    start();
    attach(&w);
    attach(&other);
    conn[0] = pglend_acquire(pool, 5000);
    conn[1] = pglend_acquire(pool, 5000);
    ck_assert(conn[0] != NULL && conn[1] != NULL);
    /* Lent to another process, and what was never connected; in its own name, in another's, in nobody's. */
    for (uint32_t slot = 0; slot < 4; slot++)
        for (uint32_t borrower = 0; borrower < 8; borrower++)
            ck_assert_int_eq(fetch(&w, slot, borrower, -1, &answer), WIRE_NOT_FETCHED);
    ck_assert_int_eq(fetch(&w, UINT32_MAX, w.borrower, -1, &answer), WIRE_NOT_FETCHED);
    ck_assert_int_eq(fetch(&w, 0, UINT32_MAX, -1, &answer), WIRE_NOT_FETCHED);
    ck_assert_int_eq(fetch(&w, w.segment.slots, w.segment.borrowers, -1, &answer), WIRE_NOT_FETCHED);
    /* A word that says so is no backend: slot 3 has none. */
    atomic_store(&w.segment.slot[3].word, word_next(slot_word(&w.segment, 3), SLOT_LEASED, 0, w.borrower));
    ck_assert_int_eq(fetch(&w, 3, w.borrower, -1, &answer), WIRE_NOT_FETCHED);
    wait_until(word_state(slot_word(&w.segment, 3)) == SLOT_EMPTY, 3);
    ck_assert_int_eq(pglend_release(pool, conn[0]), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, conn[1]), PGLEND_OK);
    /* Idle, then held: by one and not by the other. */
    ck_assert_int_eq(fetch(&w, 0, w.borrower, -1, &answer), WIRE_NOT_FETCHED);
    (void)take_slot(&w);
    ck_assert_int_eq(fetch(&w, 0, w.borrower, -1, &answer), WIRE_BACKEND);
    ck_assert_int_eq(fetch(&other, 0, w.borrower, -1, &answer), WIRE_NOT_FETCHED);
    ck_assert_int_eq(fetch(&other, 0, other.borrower, -1, &answer), WIRE_NOT_FETCHED);
    detach(&other);
    detach(&w);
    stop();
}
END_TEST

static int present_token(void *argument, int sock)
{
    char text[1024];

    (void)sock;
    ck_assert_int_eq(knock(argument, text, sizeof text), 'E');
    return 0;
}

START_TEST(tokens)
{
    union wire_message answer;
    char text[1024], wrong[TOKEN_HEX + 8];
    struct bare w;
    uint32_t slot;

    start();
    attach(&w);
    slot = take_slot(&w);
    ck_assert_int_eq(fetch(&w, slot, w.borrower, -1, &answer), WIRE_BACKEND);
    (void)snprintf(wrong, sizeof wrong, "%.*s", TOKEN_HEX, answer.backend.token);
    wrong[TOKEN_HEX - 1] = wrong[TOKEN_HEX - 1] == '0' ? '1' : '0';
    ck_assert_int_eq(knock(wrong, text, sizeof text), 'E');
    ck_assert_int_eq(knock("", text, sizeof text), 'E');
    ck_assert_int_eq(knock("-c geqo=off", text, sizeof text), 'E');
    ck_assert_ptr_nonnull(strstr(text, "libpglend")); /* the hint */
    in_worker(present_token, answer.backend.token, 5);
    ck_assert_int_eq(knock(answer.backend.token, text, sizeof text), 'R');
    ck_assert_int_eq(knock(answer.backend.token, text, sizeof text), 'E');
    detach(&w);
    stop();
}
END_TEST

/* False: the kernel (6.16) refuses it to the sender, and nothing of the message arrives. */
static bool send_along(int sock, enum wire_type type, union wire_message *message, int fd)
{
    int sent = wire_send(sock, type, message, fd, 0);

    ck_assert_msg(sent == 0 || errno == EPERM, "%s", strerror(errno));
    return sent == 0;
}

/* No worker has one to give: nothing of it is taken, and that worker is let go. */
START_TEST(descriptors_sent_along)
{
    union wire_message message;
    struct bare w;
    int pair[2];
    char byte;

    start();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 100; i++) {
        attach(&w);
        message = (union wire_message){.fetch = {.borrower = w.borrower}};
        if (send_along(w.sock, WIRE_FETCH, &message, pair[1]))
            ck_assert_int_eq(recv(w.sock, &byte, 1, 0), 0);
        detach(&w);
        w.sock = pglendd_connect(daemon_, "worker.sock");
        message = (union wire_message){.hello = {.pool = "clinic", .worker = NO_WORKER}};
        (void)send_along(w.sock, WIRE_HELLO, &message, pair[1]);
        (void)close(w.sock);
    }
    (void)close(pair[1]);
    ck_assert_int_eq(recv(pair[0], &byte, 1, 0), 0); /* ours was the last */
    (void)close(pair[0]);
    stop();
}
END_TEST

/* Who asks and does not read what it is told is hung up on: it hears that, and would not hear of an answer that got lost. */
START_TEST(answer_without_room)
{
    union wire_message message;
    uint32_t slot, worker;
    struct bare w;
    ssize_t got;
    int fd;

    start();
    attach(&w);
    slot = take_slot(&w);
    worker = w.worker;
    do
        message = (union wire_message){.fetch = {.serial = 7, .slot = slot, .borrower = w.borrower}};
    while (wire_send(w.sock, WIRE_FETCH, &message, -1, MSG_DONTWAIT) == 0);
    while ((got = wire_receive_packet(w.sock, &message, sizeof message, &fd, 0)) > 0)
        (void)close(fd);
    ck_assert_msg(got == 0 || errno == ECONNRESET, "an answer is missing: %s", strerror(errno));
    (void)close(w.sock);
    /* It is still the same worker, and the lease is its own. */
    w.sock = pglendd_connect(daemon_, "worker.sock");
    message = (union wire_message){.hello = {.pool = "clinic", .worker = worker}};
    ck_assert_int_eq(wire_send(w.sock, WIRE_HELLO, &message, -1, 0), 0);
    ck_assert_int_gt(wire_receive_packet(w.sock, &message, sizeof message, &fd, 0), 0);
    ck_assert_int_eq(message.header.type, WIRE_WELCOME);
    ck_assert_uint_eq(message.welcome.worker, worker);
    (void)close(fd);
    ck_assert_int_eq(fetch(&w, slot, w.borrower, -1, &message), WIRE_BACKEND);
    detach(&w);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_token");
    TCase *tc = harness_live_case(suite, "token", 30);

    tcase_add_test(tc, only_the_holder_gets_it);
    tcase_add_test(tc, tokens);
    tcase_add_test(tc, descriptors_sent_along);
    tcase_add_test(tc, answer_without_room);
    return harness_main(suite);
}
