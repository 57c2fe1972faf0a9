/* SPDX-License-Identifier: ISC */
/*
 * channel_test.c - messages between two of pglendd's processes: none is lost with the process that sent it.
 */
#include "daemon.h"
#include "harness.h"

#include <sys/socket.h>
#include <unistd.h>

#define MANY 40 /* more than are received at a time */

static uv_loop_t loop;
static struct channel *channel;
static int other, received, ended;

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

int main(void)
{
    Suite *suite = suite_create("channel");
    TCase *tc = harness_case(suite, "channel", 20);

    tcase_add_loop_test(tc, what_the_dead_have_said_arrives, 0, 2);
    return harness_main(suite);
}
