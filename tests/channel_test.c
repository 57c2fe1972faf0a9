/* SPDX-License-Identifier: ISC */
/*
 * channel_test.c - messages between two of pglendd's processes: none is lost with the process that sent it, and one
 * that the kernel does not take yet costs no time of the processor.
 */
#include "daemon.h"
#include "harness.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY        40 /* more than are received at a time */
#define DESCRIPTORS 64

static uv_loop_t loop;
static struct channel *channel;
static int other, received, ended;
static unsigned rounds; /* of the loop */

static void count(void *context, const struct message *m, int fd)
{
    (void)context;
    if (fd != -1)
        (void)close(fd);
    if (m == NULL)
        ended++;
    else if (m->slot == (uint32_t)received)
        received++;
}

static void start(void)
{
    int pair[2];

    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_ptr_nonnull(channel = channel_open(&loop, pair[0], count, NULL));
    other = pair[1];
}

static void stop(void)
{
    channel_close(channel);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    uv_library_shutdown(); /* its descriptors */
}

/* A process that is killed leaves unread what it was sent, which the kernel reports before what it has sent itself. */
START_TEST(what_the_dead_have_said_arrives)
{
    bool drained = _i == 1;
    static struct message m;

    start();
    message_make(&m, MESSAGE_STOP, NULL, 0, NULL);
    channel_send(channel, &m, -1);
    for (uint32_t i = 0; i < MANY; i++) {
        message_make(&m, MESSAGE_FORGET, "clinic", i, NULL);
        ck_assert_int_eq(channel_send_blocking(other, &m, -1), 0);
    }
    (void)close(other);
    if (drained)
        channel_drain(channel);
    while (ended == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(received, MANY);
    ck_assert_int_eq(ended, 1);
    stop();
}
END_TEST

static void on_round(uv_prepare_t *prepare)
{
    (void)prepare;
    rounds++;
}

static void on_end(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void run_for(uint64_t ms)
{
    uv_prepare_t round;
    uv_timer_t end;

    (void)uv_prepare_init(&loop, &round);
    (void)uv_prepare_start(&round, on_round);
    (void)uv_timer_init(&loop, &end);
    (void)uv_timer_start(&end, on_end, ms, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&round, NULL);
    uv_close((uv_handle_t *)&end, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

/* More descriptors are under way than a user may have, and the socket can be written to all the time (unix(7)). */
START_TEST(what_is_refused_for_now_is_not_tried_without_a_pause)
{
    const struct rlimit few = {DESCRIPTORS, DESCRIPTORS};
    static struct message m;
    int pair[2], under_way = 0;
    char byte;

    harness_drop();
    start();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    while (wire_send_packet(pair[0], "", 1, STDERR_FILENO, MSG_DONTWAIT) == 0)
        under_way++;
    ck_assert_int_ge(under_way, 1);
    message_make(&m, MESSAGE_BACKEND, "clinic", 0, NULL);
    channel_send(channel, &m, STDERR_FILENO);
    run_for(200);
    ck_assert_uint_lt(rounds, 100);
    ck_assert_int_eq(recv(other, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    (void)close(pair[0]);
    (void)close(pair[1]);
    run_for(50);
    ck_assert_int_eq(recv(other, &byte, 1, MSG_PEEK | MSG_DONTWAIT), 1);
    (void)close(other);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *tc = harness_case(suite, "channel", 20);

    tcase_add_loop_test(tc, what_the_dead_have_said_arrives, 0, 2);
    tcase_add_test(tc, what_is_refused_for_now_is_not_tried_without_a_pause);
    return harness_main(suite);
}
