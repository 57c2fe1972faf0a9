/* SPDX-License-Identifier: ISC */
/*
 * live_hostile_test.c - what strangers and bad workers send to the three sockets.
 *
 * After each of them the same supervisor runs, holds as many descriptors as before, and lends.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SILENT   700 /* more than are let in at a time */
#define FLOODERS 3
#define STRANGER 4711

static struct pglendd *daemon_;
static pid_t supervisor;
static size_t descriptors;
static pglend *pool;

/* ---- helpers ---- */

enum { WORKER, ADMIN, DOOR, SOCKETS };

static int connect_to(int which)
{
    static const char *const names[SOCKETS] = {"worker.sock", "admin.sock", ".s.PGSQL.6432"};

    return pglendd_connect(daemon_, names[which]);
}

static void lends(void)
{
    PGconn *conn = pglend_acquire(pool, 10000);
    char text[16];

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

static int lend_anew(void *argument, int sock)
{
    (void)argument;
    (void)sock;
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    lends();
    pglend_close(pool);
    return 0;
}

/* The supervisor's, when those who have gone are out of its books: unchanged for 100 ms. */
static size_t settled_descriptors(void)
{
    size_t now = process_descriptors(supervisor), before;
    uint64_t since = harness_now_ms();

    while (harness_now_ms() < since + 100) {
        harness_sleep_ms(5);
        before = now;
        now = process_descriptors(supervisor);
        if (now != before)
            since = harness_now_ms();
    }
    return now;
}

static void start(void)
{
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 2, 10);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    lends();
    supervisor = pglendd_process(daemon_, "supervisor");
    descriptors = settled_descriptors();
}

static void unharmed(void)
{
    lends();
    in_worker(lend_anew, NULL, 10);
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    wait_until(process_descriptors(supervisor) == descriptors, 10);
}

static void stop(void)
{
    unharmed();
    pglend_close(pool);
    pglendd_stop(daemon_);
}

/* ---- garbage ---- */

static void send_garbage(int which, const void *bytes, size_t length)
{
    int sock = connect_to(which);

    (void)send(sock, bytes, length, MSG_NOSIGNAL);
    (void)shutdown(sock, SHUT_WR);
    while (recv(sock, &(char){0}, 1, 0) > 0)
        continue;
    (void)close(sock);
}

START_TEST(garbage)
{
    static char bytes[200000];
    static const size_t lengths[] = {0, 1, 7, 8, 9, 16, 76, 100, 512, 4096, 4097, 65536, 65537, sizeof bytes};
    unsigned seed = 1;

    start();
    for (int fill = 0; fill < 3; fill++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(fill == 0 ? 0 : fill == 1 ? 0xff : rand_r(&seed));
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            send_garbage(_i, bytes, lengths[i]);
    }
    stop();
}
END_TEST

/* Every message of either side, in place of a hello and after it, whole, short and long. */
START_TEST(messages_out_of_order)
{
    static const enum wire_type types[] = {WIRE_HELLO,   WIRE_WELCOME,
                                           WIRE_REFUSED, WIRE_FETCH,
                                           WIRE_BACKEND, WIRE_NOT_FETCHED,
                                           WIRE_WANT,    WIRE_RETURNED,
                                           WIRE_ACQUIRE, WIRE_GIVE_UP,
                                           WIRE_RELEASE, WIRE_HOLDING,
                                           34,           255};
    union wire_message message;
    struct wire_hello hello = {{WIRE_MAGIC, WIRE_VERSION, WIRE_HELLO}, "clinic", NO_WORKER};
    int segment;

    start();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (size_t length = 0; length <= sizeof message; length += length < 64 ? 4 : 36)
            for (int greeted = 0; greeted < 2; greeted++) {
                int sock = connect_to(WORKER);

                if (greeted) {
                    ck_assert_int_eq(send(sock, &hello, sizeof hello, 0), sizeof hello);
                    ck_assert_int_gt(wire_receive_packet(sock, &message, sizeof message, &segment, 0), 0);
                    ck_assert_int_eq(message.header.type, WIRE_WELCOME);
                    (void)close(segment);
                }
                (void)memset(&message, 0xff, sizeof message);
                message.header = (struct wire_header){WIRE_MAGIC, WIRE_VERSION, (uint16_t)types[i]};
                ck_assert_int_eq(send(sock, &message, length, 0), length);
                (void)close(sock);
            }
    stop();
}
END_TEST

START_TEST(another_version)
{
    unsigned char packet[400] = {0};
    static const size_t lengths[] = {sizeof(struct wire_header), sizeof(struct wire_hello), sizeof packet};
    static const uint16_t versions[] = {0, WIRE_VERSION - 1, WIRE_VERSION + 1, 0xffff};
    union wire_message answer;

    start();
    for (size_t i = 0; i < 3 * sizeof versions / sizeof versions[0]; i++) {
        struct wire_header header = {WIRE_MAGIC, versions[i / 3], WIRE_HELLO};
        int sock = connect_to(WORKER), fd;
        char said[32];

        (void)memcpy(packet, &header, sizeof header);
        ck_assert_int_eq(send(sock, packet, lengths[i % 3], 0), lengths[i % 3]);
        ck_assert_int_eq(wire_receive_packet(sock, &answer, sizeof answer, &fd, 0), sizeof answer.refused);
        ck_assert_int_eq(answer.header.type, WIRE_REFUSED);
        ck_assert_uint_eq(answer.refused.status, PGLEND_MISMATCH);
        (void)snprintf(said, sizeof said, "speaks version %u ", versions[i / 3]);
        ck_assert_ptr_nonnull(strstr(answer.refused.message, said));
        (void)close(sock);
    }
    stop();
}
END_TEST

START_TEST(requests_that_are_none)
{
    static const char *const lines[] = {"GET / HTTP/1.1",
                                        "{",
                                        "[]",
                                        "null",
                                        "\"status\"",
                                        "{\"command\": 1}",
                                        "{\"id\": {}, \"command\": \"status\"}",
                                        "{\"command\": \"shut down\"}",
                                        "{\"command\": \"pools\", \"args\": {\"pool\": \"\\u0000\"}}",
                                        "{\"command\": \"pools\", \"args\": []}",
                                        "\xff\xfe",
                                        "{\"command\": \"\xc0\xaf\"}",
                                        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["};
    char text[4096];

    start();
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        int sock = connect_to(ADMIN);

        ck_assert_int_eq(send(sock, lines[i], strlen(lines[i]), 0), strlen(lines[i]));
        ck_assert_int_eq(send(sock, "\n", 1, 0), 1);
        ck_assert_int_gt(recv(sock, text, sizeof text - 1, 0), 0);
        ck_assert_msg(strstr(text, "\"ok\":false") != NULL, "\"%s\" is answered: %s", lines[i], text);
        (void)close(sock);
    }
    stop();
}
END_TEST

/* ---- the door ---- */

START_TEST(psql_by_mistake)
{
    char conninfo[256];
    PGconn *conn;

    start();
    (void)snprintf(conninfo, sizeof conninfo,
                   "host=%s port=6432 dbname=clinic user=clinic password=x connect_timeout=5", daemon_->runtime_dir);
    conn = PQconnectdb(conninfo);
    ck_assert_int_eq(PQstatus(conn), CONNECTION_BAD);
    ck_assert_ptr_nonnull(strstr(PQerrorMessage(conn), "FATAL:  this socket is not a database server"));
    ck_assert_ptr_nonnull(strstr(PQerrorMessage(conn), "HINT:"));
    ck_assert_ptr_nonnull(strstr(PQerrorMessage(conn), "pglend"));
    PQfinish(conn);
    stop();
}
END_TEST

static const struct {
    uint32_t length, code;
    size_t sent;
    char answer; /* 0: it hangs up */
} knocks[] = {
    {0, 196608, 8, 'E'},     {7, 196608, 8, 'E'},       {UINT32_MAX, 196608, 8, 'E'}, {4097, 196608, 8, 'E'},
    {8, 196608, 8, 'E'},     {9, 196608, 9, 'E'},       {8, 131072, 8, 'E'},          {8, 0, 8, 'E'},
    {8, 80877103, 8, 'N'},   {8, 80877104, 8, 'N'},     {16, 80877102, 16, 0},        {8, 80877102, 8, 0},
    {100, 80877102, 100, 0}, {4096, 80877102, 4096, 0}, {8, 80877105, 8, 'E'},        {8, 80877103, 16, 'E'},
    {8, 80877104, 9, 'E'},   {100, 196608, 50, 'E'},
};

START_TEST(start_ups_that_are_none)
{
    unsigned char packet[4096];
    char text[1024];

    start();
    for (size_t i = 0; i < sizeof knocks / sizeof knocks[0]; i++) {
        uint32_t head[2] = {htonl(knocks[i].length), htonl(knocks[i].code)};
        int sock = connect_to(DOOR);
        ssize_t got;

        (void)memset(packet, 'x', sizeof packet);
        (void)memcpy(packet, head, sizeof head);
        /* In two parts: the length may come in any. */
        ck_assert_int_eq(send(sock, packet, 3, 0), 3);
        ck_assert_int_eq(send(sock, packet + 3, knocks[i].sent - 3, 0), knocks[i].sent - 3);
        got = recv(sock, text, 1, 0);
        ck_assert_msg(knocks[i].answer == 0 ? got == 0 : got == 1 && text[0] == knocks[i].answer,
                      "start-up %zu: %zd, '%c'", i, got, text[0]);
        (void)close(sock);
    }
    stop();
}
END_TEST

/* ---- many ---- */

static unsigned lines_with(const char *text)
{
    FILE *f = fopen(daemon_->log, "re");
    char line[4096];
    unsigned n = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, text) != NULL;
    (void)fclose(f);
    return n;
}

START_TEST(refusals_do_not_fill_the_log)
{
    start();
    for (int i = 0; i < 200; i++)
        send_garbage(WORKER, "garbage", 7);
    ck_assert_uint_eq(lines_with("a hello was expected"), 10);
    wait_until(pglendd_logged(daemon_, "worker refused: no hello: ... and 190 more in the last 10 s"), 15);
    stop();
}
END_TEST

/* Of a stranger, where there is root to become one. */
static int stay_silent(void *argument, int sock)
{
    int *which = argument, silent[SILENT];
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(setresuid(STRANGER, STRANGER, STRANGER), 0);
    for (int i = 0; i < SILENT; i++)
        silent[i] = connect_to(*which);
    say(sock, 'c');
    (void)hear(sock, 30);
    for (int i = 0; i < SILENT; i++)
        (void)close(silent[i]);
    return 0;
}

START_TEST(silent_ones)
{
    struct worker_process silent;

    if (_i == ADMIN && geteuid() != 0)
        return; /* those who may look are told how many of them may */
    start();
    worker_fork(&silent, stay_silent, &_i);
    ck_assert_int_eq(hear(silent.sock, 10), 'c');
    lends();
    for (int i = 0; i < 3; i++)
        in_worker(lend_anew, NULL, 5);
    json_decref(pglendd_result(daemon_, "status", NULL));
    say(silent.sock, 'g');
    ck_assert_int_eq(worker_wait(&silent, 5), 0);
    stop();
}
END_TEST

/* Sends and hangs up as fast as it can. */
static int flood(void *argument, int sock)
{
    struct pollfd end = {.fd = sock, .events = POLLIN};
    unsigned seed = (unsigned)getpid();
    char bytes[512];

    (void)argument;
    while (poll(&end, 1, 0) == 0) {
        int which = rand_r(&seed) % SOCKETS, s = connect_to(which);

        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)rand_r(&seed);
        (void)send(s, bytes, (size_t)rand_r(&seed) % sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)close(s);
    }
    return 0;
}

START_TEST(floods)
{
    struct worker_process flooder[FLOODERS];
    uint64_t until;

    start();
    for (int i = 0; i < FLOODERS; i++)
        worker_fork(&flooder[i], flood, NULL);
    for (until = harness_now_ms() + harness_rounds(2000); harness_now_ms() < until;) {
        lends();
        in_worker(lend_anew, NULL, 12);
    }
    for (int i = 0; i < FLOODERS; i++) {
        say(flooder[i].sock, 's');
        ck_assert_int_eq(worker_wait(&flooder[i], 10), 0);
    }
    stop();
}
END_TEST

/* Can the kernel (6.16) refuse them to the sender? */
static bool kernel_refuses(void)
{
    int pair[2], value = 1;
    socklen_t length = sizeof value;
    bool knows;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    knows = getsockopt(pair[0], SOL_SOCKET, 83 /* SO_PASSRIGHTS */, &value, &length) == 0;
    (void)close(pair[0]);
    (void)close(pair[1]);
    return knows;
}

/* What is sent along is refused, or dropped: nobody but the sender has it afterwards. */
static void send_descriptor(int sock)
{
    struct timeval bound = {.tv_sec = 8};
    int end[2], sent, error;
    char byte = 'x';

    ck_assert_int_eq(pipe2(end, O_CLOEXEC), 0);
    sent = wire_send_packet(sock, &byte, 1, end[1], 0);
    error = errno;
    if (kernel_refuses())
        ck_assert_msg(sent == -1 && error == EPERM, "sent %d, %s", sent, strerror(error));
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    if (sent == 0)
        (void)recv(sock, &byte, 1, 0); /* an answer, or its end */
    (void)close(sock);
    (void)close(end[1]);
    ck_assert_int_eq(read(end[0], &byte, 1), 0);
    (void)close(end[0]);
}

START_TEST(descriptors_are_not_taken)
{
    start();
    send_descriptor(connect_to(_i));
    unharmed();
    stop();
}
END_TEST

/* Nor by a relay, whose socket is lent. */
START_TEST(a_relay_takes_none)
{
    char text[16];
    PGconn *conn;

    if (postgres_certificate() == NULL || !kernel_refuses())
        return;
    start();
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    send_descriptor(dup(PQsocket(conn)));
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    unharmed();
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_hostile");
    TCase *tc = harness_live_case(suite, "messages", 30);

    tcase_add_loop_test(tc, garbage, 0, SOCKETS);
    tcase_add_test(tc, messages_out_of_order);
    tcase_add_test(tc, another_version);
    tcase_add_test(tc, requests_that_are_none);
    tcase_add_test(tc, psql_by_mistake);
    tcase_add_test(tc, start_ups_that_are_none);
    tcase_add_loop_test(tc, descriptors_are_not_taken, 0, SOCKETS);
    tcase_add_test(tc, a_relay_takes_none);
    tc = harness_live_case(suite, "many", 40);
    tcase_add_loop_test(tc, silent_ones, 0, SOCKETS);
    tcase_add_test(tc, refusals_do_not_fill_the_log);
    tcase_add_test(tc, floods);
    return harness_main(suite);
}
