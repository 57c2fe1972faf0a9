/* SPDX-License-Identifier: ISC */
/*
 * identity_test.c - who a peer is: by SO_PEERPIDFD and, forced, by pidfd_open; dead peers; groups; access.
 */
#include "daemon.h"
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int listener, accepted;
static pid_t peer;
static struct sockaddr_un address;
static struct identity who;
static char error[256];

static void listen_somewhere(void)
{
    socklen_t length = sizeof address;

    /* Bound to nothing: the kernel picks an abstract address. */
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    ck_assert_int_eq(listen(listener, 4), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    accepted = -1;
    peer = -1;
}

static void clean_up(void)
{
    if (peer != -1) {
        (void)kill(peer, SIGKILL);
        (void)waitpid(peer, NULL, 0);
    }
    (void)close(accepted);
    (void)close(listener);
}

/* A child that connects, as another user if PREPARE makes it one, and then sleeps. */
static void connect_child(void (*prepare)(void))
{
    peer = fork();
    ck_assert_int_ne(peer, -1);
    if (peer == 0) {
        int sock = socket(AF_UNIX, SOCK_SEQPACKET, 0);

        if (prepare != NULL)
            prepare();
        if (connect(sock, (struct sockaddr *)&address, sizeof(sa_family_t) + 6) == -1)
            _exit(1);
        (void)sleep(30);
        _exit(0);
    }
    accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ne(accepted, -1);
}

static void end_child(void)
{
    (void)kill(peer, SIGKILL);
    ck_assert_int_eq(waitpid(peer, NULL, 0), peer);
    peer = -1;
}

static void choose(int fallback)
{
    if (fallback != 0)
        ck_assert_int_eq(setenv("PGLEND_NO_PEERPIDFD", "1", 1), 0);
    else
        ck_assert_int_eq(unsetenv("PGLEND_NO_PEERPIDFD"), 0);
}

static bool ended(int pidfd, int wait_ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, wait_ms) == 1;
}

/* Tests of both ways: _i is 1 for the fallback. */
START_TEST(a_live_peer_is_known_and_its_death_is_seen)
{
    choose(_i);
    connect_child(NULL);
    ck_assert_msg(identity_of_peer(accepted, &who, error, sizeof error) == 0, "%s", error);
    ck_assert_int_eq(who.pid, peer);
    ck_assert_uint_eq(who.uid, geteuid());
    ck_assert_uint_eq(who.gid, getegid());
    ck_assert_int_ne(who.pidfd, -1);
    ck_assert_int_ne(fcntl(who.pidfd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_uint_eq(who.start_time, identity_start_time(peer));
    ck_assert_uint_ne(who.start_time, 0);
    ck_assert(!ended(who.pidfd, 0));
    end_child();
    ck_assert(ended(who.pidfd, 2000));
    (void)close(who.pidfd);
}
END_TEST

START_TEST(a_dead_peer_is_refused)
{
    choose(_i);
    connect_child(NULL);
    end_child();
    ck_assert_int_eq(identity_of_peer(accepted, &who, error, sizeof error), -1);
    ck_assert_int_eq(who.pidfd, -1);
    ck_assert_uint_gt(strlen(error), 0);
}
END_TEST

/* The process is there, but it is not the peer any more. */
START_TEST(a_peer_that_hung_up_is_refused_by_the_fallback)
{
    int pair[2];

    choose(1);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    (void)close(pair[1]);
    ck_assert_int_eq(identity_of_peer(pair[0], &who, error, sizeof error), -1);
    (void)close(pair[0]);
}
END_TEST

/* As the first process of a pid namespace, to which its peer outside is none. */
static int look_from_below(void)
{
    pid_t below;
    int status;

    if (unshare(CLONE_NEWPID) == -1)
        return 1;
    if ((below = fork()) == 0) {
        accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        _exit(identity_of_peer(accepted, &who, error, sizeof error) == -1 && strstr(error, "pid namespace") != NULL
                  ? 0
                  : 2);
    }
    return waitpid(below, &status, 0) == below && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

START_TEST(a_peer_in_a_pid_namespace_above_is_refused)
{
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), status;

    if (geteuid() != 0) {
        printf("a_peer_in_a_pid_namespace_above_is_refused: skipped, it takes root\n");
        (void)close(sock);
        return;
    }
    ck_assert_int_ne(peer = fork(), -1);
    if (peer == 0)
        _exit(look_from_below());
    ck_assert_int_eq(connect(sock, (struct sockaddr *)&address, sizeof(sa_family_t) + 6), 0);
    ck_assert_int_eq(waitpid(peer, &status, 0), peer);
    peer = -1;
    ck_assert_int_eq(status, 0);
    (void)close(sock);
}
END_TEST

START_TEST(what_is_no_unix_socket_is_refused)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ck_assert_int_eq(identity_of_peer(fds[0], &who, error, sizeof error), -1);
    (void)close(fds[0]);
    (void)close(fds[1]);
}
END_TEST

static void become_somebody(void)
{
    gid_t groups[100];

    for (gid_t i = 0; i < 100; i++)
        groups[i] = 40000 + i;
    if (setgroups(3, groups) == -1 || setresgid(50001, 50001, 50001) == -1 || setresuid(50002, 50002, 50002) == -1)
        _exit(1);
}

static void join_many_groups(void)
{
    gid_t groups[100];

    for (gid_t i = 0; i < 100; i++)
        groups[i] = 40000 + i;
    if (setgroups(100, groups) == -1)
        _exit(1);
}

static char *const names[] = {"50002", "root", "40001", "50001", "nosuchname", "0", "-1", "50002x", ""};

/* ACCESS with one entry, in its users or groups. */
static bool allowed(size_t name, bool group)
{
    char *item[] = {names[name]};
    struct string_list one = {item, 1}, none = {NULL, 0};
    struct access_config access = {.users = group ? none : one, .groups = group ? one : none};

    return identity_allowed(&who, &access);
}

START_TEST(access_by_user_and_by_groups)
{
    static const struct access_config nobody;

    if (geteuid() != 0)
        return; /* only root can make a stranger */
    choose(_i);
    connect_child(become_somebody);
    ck_assert_msg(identity_of_peer(accepted, &who, error, sizeof error) == 0, "%s", error);
    ck_assert_uint_eq(who.uid, 50002);
    ck_assert_uint_eq(who.group_count, 3);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ck_assert_msg(allowed(i, false) == (i == 0), "user %s", names[i]);
        ck_assert_msg(allowed(i, true) == (i == 2 || i == 3), "group %s", names[i]);
    }
    ck_assert(!identity_allowed(&who, &nobody));
    (void)close(who.pidfd);
}
END_TEST

/* The table alone says what a name is: no directory service is asked. */
START_TEST(names_are_looked_up_by_the_reader)
{
    static const char text[] =
        "{'pools': {'a': {'database': {'dbname': 'x'}, 'access': {'users': ['nosuchname', '7']}}}}";
    struct config *config;
    char name[64], message[CONFIG_ERROR_MAX], json[sizeof text], *resolved, *merged;
    gid_t gid;

    for (size_t i = 0; i < sizeof text; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    ck_assert_msg((config = config_parse("test", json, strlen(json), message)) != NULL, "%s", message);
    ck_assert_ptr_nonnull(resolved = names_resolve(config));
    ck_assert_str_eq(resolved, "{\"users\":{\"root\":0,\"nosuchname\":null},\"groups\":{}}");
    names_take(resolved);
    ck_assert(names_user_is("root", 0) && names_user_is("7", 7));
    ck_assert(!names_user_is("nosuchname", 0) && !names_user_is("7", 8) && !names_user_is("daemon", 1));
    ck_assert_str_eq(names_of_user(0, name), "root");
    ck_assert_str_eq(names_of_user(1, name), "1");
    ck_assert_ptr_nonnull(
        merged = names_merge(resolved, "{\"users\":{\"nosuchname\":50002},\"groups\":{\"nosuchgroup\":40001}}"));
    names_take(merged);
    ck_assert(names_user_is("root", 0) && names_user_is("nosuchname", 50002));
    ck_assert(names_group("nosuchgroup", &gid) && gid == 40001);
    names_take(""); /* out of memory, say: what was known stays */
    ck_assert(names_user_is("root", 0));
    names_take("{}");
    ck_assert(!names_user_is("root", 0));
    free(resolved);
    free(merged);
    config_free(config);
}
END_TEST

START_TEST(more_groups_than_are_kept)
{
    if (geteuid() != 0)
        return;
    connect_child(join_many_groups);
    ck_assert_int_eq(identity_of_peer(accepted, &who, error, sizeof error), 0);
    ck_assert_uint_eq(who.group_count, 64);
    (void)close(who.pidfd);
}
END_TEST

START_TEST(names_and_numbers)
{
    char name[64], path[256];

    ck_assert_str_eq(identity_user_name(0, name), "root");
    ck_assert_str_eq(identity_user_name(54321, name), "54321");
    identity_executable(getpid(), path);
    ck_assert_ptr_nonnull(strstr(path, "identity_test"));
    identity_executable(0, path);
    ck_assert_str_eq(path, "");
    ck_assert_uint_eq(identity_start_time(0), 0);
    ck_assert_uint_eq(identity_start_time(-1), 0);
    ck_assert_uint_ne(identity_start_time(getpid()), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("identity");
    TCase *tc = harness_case(suite, "identity", 20);

    tcase_add_checked_fixture(tc, listen_somewhere, clean_up);
    tcase_add_loop_test(tc, a_live_peer_is_known_and_its_death_is_seen, 0, 2);
    tcase_add_loop_test(tc, a_dead_peer_is_refused, 0, 2);
    tcase_add_test(tc, a_peer_that_hung_up_is_refused_by_the_fallback);
    tcase_add_test(tc, a_peer_in_a_pid_namespace_above_is_refused);
    tcase_add_test(tc, what_is_no_unix_socket_is_refused);
    tcase_add_loop_test(tc, access_by_user_and_by_groups, 0, 2);
    tcase_add_test(tc, names_are_looked_up_by_the_reader);
    tcase_add_test(tc, more_groups_than_are_kept);
    tcase_add_test(tc, names_and_numbers);
    return harness_main(suite);
}
