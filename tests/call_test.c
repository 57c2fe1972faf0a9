/* SPDX-License-Identifier: ISC */
/*
 * call_test.c - what the library says to a supervisor that takes no messages, or sends it away. The test process plays
 * the supervisor.
 */
#include "client.h"
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static pglend pool = {.name = "clinic"};
static struct attachment at = {
    .pool = &pool,
    .dialogue = PTHREAD_MUTEX_INITIALIZER,
    .segment.header = &(struct segment_header){0},
    .sock = -1,
};

/* ---- releases ---- */

static void nothing(int number)
{
    (void)number;
}

static void interrupt_often(long us)
{
    const struct sigaction action = {.sa_handler = nothing};
    const struct itimerval often = {.it_interval.tv_usec = us, .it_value.tv_usec = us};

    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
}

/* How many messages it takes until it takes none. */
static unsigned fill(int sock)
{
    union wire_message message = {.header = {0}};
    unsigned count = 0;

    while (wire_send(sock, WIRE_WANT, &message, -1, MSG_DONTWAIT) == 0)
        count++;
    ck_assert_int_eq(errno, EAGAIN);
    return count;
}

static void *read_after_a_while(void *pair)
{
    union wire_message message;
    int fd;

    harness_sleep_ms(200);
    while (wire_receive_packet(((int *)pair)[1], &message, sizeof message, &fd, 0) > 0)
        if (wire_check(&message, sizeof message.release) && message.header.type == WIRE_RELEASE)
            return pair;
    return NULL;
}

/* A signal is no answer: the supervisor reads a little later, and hears of the release. */
START_TEST(a_release_that_is_interrupted_is_sent)
{
    pthread_t reader;
    sigset_t alarm;
    void *read;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    at.sock = pair[0];
    ck_assert_uint_gt(fill(pair[0]), 0);
    (void)sigemptyset(&alarm);
    (void)sigaddset(&alarm, SIGALRM);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &alarm, NULL), 0);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_after_a_while, pair), 0);
    ck_assert_int_eq(pthread_sigmask(SIG_UNBLOCK, &alarm, NULL), 0);
    interrupt_often(10000);
    strict_release(&at, 3, 7, LEFT_AT_REST);
    interrupt_often(0);
    (void)shutdown(pair[0], SHUT_WR);
    ck_assert_int_eq(pthread_join(reader, &read), 0);
    ck_assert_ptr_nonnull(read);
    (void)close(pair[0]);
    (void)close(pair[1]);
}
END_TEST

/* The first that is a message at all; what filled the socket is none. */
static enum wire_type next_said(int sock, union wire_message *message)
{
    int fd;
    ssize_t got;

    do
        got = wire_receive_packet(sock, message, sizeof *message, &fd, MSG_DONTWAIT);
    while (got > 0 && (message->header.type == WIRE_WANT || !wire_check(message, (size_t)got)));
    ck_assert_int_gt(got, 0);
    return (enum wire_type)message->header.type;
}

/* Nor does it prolong the second that a supervisor has to take it. What was not said then comes before the next request. */
START_TEST(a_release_that_nobody_takes_ends)
{
    const struct wire_acquire want = {.own = NO_SLOT};
    uint64_t began = harness_now_ms();
    union wire_message message;
    struct call call;
    int pair[2], unused;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    at.sock = pair[0];
    ck_assert_uint_gt(fill(pair[0]), 0);
    interrupt_often(300000);
    strict_release(&at, 3, 7, LEFT_AT_REST);
    interrupt_often(0);
    ck_assert_uint_ge(harness_now_ms() - began, 1000);
    ck_assert_uint_lt(harness_now_ms() - began, 1900);
    at.greeted = true;
    ck_assert(!call_supervisor(&at, &call, &want, clock_ns() + GRACE_NS));
    call_end(&at, &call);
    while (wire_receive_packet(pair[1], &message, sizeof message, &unused, MSG_DONTWAIT | MSG_PEEK) > 0 &&
           message.header.type == WIRE_WANT)
        (void)recv(pair[1], NULL, 0, MSG_DONTWAIT);
    ck_assert(!call_supervisor(&at, &call, &want, clock_ns() + GRACE_NS));
    call_end(&at, &call);
    ck_assert_int_eq(next_said(pair[1], &message), WIRE_RELEASE);
    ck_assert(message.release.slot == 3 && message.release.version == 7 && message.release.left == LEFT_AT_REST);
    ck_assert_int_eq(next_said(pair[1], &message), WIRE_ACQUIRE);
    (void)close(pair[0]);
    (void)close(pair[1]);
}
END_TEST

/* ---- a hello ---- */

static int listen_there(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    (void)snprintf(pool.runtime_dir, sizeof pool.runtime_dir, "%s", harness_directory());
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/worker.sock", pool.runtime_dir);
    (void)unlink(address.sun_path);
    ck_assert_int_eq(bind(sock, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(sock, 8), 0);
    return sock;
}

/* Answer one hello: WELCOME with FD, or, where that is -1, REFUSED. */
static void answer(int listener, int fd)
{
    union wire_message message = {.refused = {.status = PGLEND_SHUTDOWN, .message = "not now"}};
    int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    ck_assert_int_eq((int)recv(sock, NULL, 0, 0), 0); /* the hello */
    if (fd != -1)
        message.welcome = (struct wire_welcome){.worker = at.worker};
    ck_assert_int_eq(wire_send(sock, fd != -1 ? WIRE_WELCOME : WIRE_REFUSED, &message, fd, 0), 0);
    (void)close(sock);
}

/* It is there, and what this thread had no descriptors for before has nothing to do with it. */
START_TEST(who_was_sent_away_lacks_no_descriptors)
{
    int listener = listen_there(), segment = memfd_create("segment", MFD_CLOEXEC);
    struct stat st;

    ck_assert_int_eq(fstat(segment, &st), 0);
    at.inode = st.st_ino;
    at.sock = dup(adopt_dead_socket());
    ck_assert(attachment_knock(&at));
    answer(listener, -1);
    errno = EMFILE;
    ck_assert(!attachment_greet(&at, clock_ns() + 1000 * GRACE_NS));
    ck_assert_int_eq(explain_unreached(&at, ""), PGLEND_NO_SUPERVISOR);
    at.unreached = EMFILE;
    ck_assert(attachment_knock(&at));
    answer(listener, segment);
    ck_assert_msg(attachment_greet(&at, clock_ns() + 1000 * GRACE_NS), "%s", pglend_errmessage(&pool));
    ck_assert_int_eq(explain_unreached(&at, ""), PGLEND_NO_SUPERVISOR);
    (void)close(at.sock);
    (void)close(adopt_dead_socket());
    (void)close(segment);
    (void)close(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("call");
    TCase *tc = harness_case(suite, "call", 20);

    tcase_add_test(tc, a_release_that_is_interrupted_is_sent);
    tcase_add_test(tc, a_release_that_nobody_takes_ends);
    tcase_add_test(tc, who_was_sent_away_lacks_no_descriptors);
    return harness_main(suite);
}
