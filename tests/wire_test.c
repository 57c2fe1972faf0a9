/* SPDX-License-Identifier: ISC */
/*
 * wire_test.c - packets and the descriptors that travel with them: as many as agreed, or none.
 */
#include "wire.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static void make_pair(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void drop_pair(void)
{
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

/* Send COUNT descriptors with one byte. */
static void send_many(int count)
{
    char byte = 'x', control[CMSG_SPACE(16 * sizeof(int))] = {0};
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int zero = STDIN_FILENO;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    for (int i = 0; i < count; i++)
        memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &zero, sizeof zero);
    ck_assert_int_eq(sendmsg(pair[0], &msg, 0), 1);
}

START_TEST(one_descriptor_arrives_close_on_exec)
{
    union wire_message m = {.backend = {.serial = 7, .slot = 3}};
    int fd = -1;

    ck_assert_int_eq(wire_send(pair[0], WIRE_BACKEND, &m, STDIN_FILENO, 0), 0);
    memset(&m, 0, sizeof m);
    ck_assert_int_eq(wire_receive_packet(pair[1], &m, sizeof m, &fd, 0), sizeof(struct wire_backend));
    ck_assert(wire_check(&m, sizeof(struct wire_backend)));
    ck_assert_uint_eq(m.backend.serial, 7);
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(surplus_descriptors_are_closed)
{
    int before = open_descriptors(), counts[] = {2, 3, 8, 12};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char byte;
        int fd = -1;

        send_many(counts[i]);
        ck_assert_int_eq(wire_receive_packet(pair[1], &byte, 1, &fd, 0), -1);
        ck_assert_int_eq(errno, EPROTO);
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(open_descriptors(), before);
    }
}
END_TEST

START_TEST(unwanted_descriptor_is_never_installed)
{
    int before = open_descriptors();
    char byte;

    send_many(1);
    ck_assert_int_eq(wire_receive_packet(pair[1], &byte, 1, NULL, 0), -1);
    ck_assert_int_eq(errno, EPROTO);
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(out_of_descriptors_is_an_error_not_a_loss)
{
    struct rlimit limit, small;
    char byte;
    int fd = -1;

    send_many(1);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    small = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &small), 0);
    ck_assert_int_eq(wire_receive_packet(pair[1], &byte, 1, &fd, 0), -1);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(oversized_packet)
{
    char big[4096] = {0};
    union wire_message m;
    int fd;

    ck_assert_int_eq(send(pair[0], big, sizeof big, 0), sizeof big);
    ck_assert_int_eq(wire_receive_packet(pair[1], &m, sizeof m, &fd, 0), -1);
    ck_assert_int_eq(errno, EMSGSIZE);
}
END_TEST

/* Every length but its own is refused for every type. */
START_TEST(lengths_are_exact)
{
    for (unsigned type = 0; type < 64; type++) {
        unsigned good = 0;

        for (size_t length = 0; length <= sizeof(union wire_message); length++) {
            union wire_message m = {.header = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = (uint16_t)type}};

            good += wire_check(&m, length);
        }
        ck_assert_uint_eq(
            good, (type >= WIRE_HELLO && type <= WIRE_REFUSED) || (type >= WIRE_FETCH && type <= WIRE_NOT_FETCHED) ||
                      (type >= WIRE_WANT && type <= WIRE_RETURNED) || (type >= WIRE_ACQUIRE && type <= WIRE_HOLDING));
    }
}
END_TEST

START_TEST(strings_are_terminated_on_receipt)
{
    union wire_message m = {.header = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_HELLO}};

    memset(m.hello.pool, 'p', sizeof m.hello.pool);
    ck_assert(wire_check(&m, sizeof m.hello));
    ck_assert_uint_eq(strlen(m.hello.pool), NAME_FIELD - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tc = tcase_create("packets");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, make_pair, drop_pair);
    tcase_add_test(tc, one_descriptor_arrives_close_on_exec);
    tcase_add_test(tc, surplus_descriptors_are_closed);
    tcase_add_test(tc, unwanted_descriptor_is_never_installed);
    tcase_add_test(tc, out_of_descriptors_is_an_error_not_a_loss);
    tcase_add_test(tc, oversized_packet);
    tcase_add_test(tc, lengths_are_exact);
    tcase_add_test(tc, strings_are_terminated_on_receipt);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
