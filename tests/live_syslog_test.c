/* SPDX-License-Identifier: ISC */
/*
 * live_syslog_test.c - the audit trail's checkpoints reach the system's logger, and nothing waits for one that is gone.
 */
#include "harness.h"
#include "pglendd.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char trail[128], logger[64];
static int logger_fd = -1;
static struct pglendd *d;

/* In place of the system's logger: a datagram socket that all may write. */
static void open_logger(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(logger, sizeof logger, "%s/log", harness_directory());
    (void)unlink(logger);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", logger);
    logger_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(logger_fd, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(chmod(logger, 0666), 0);
}

static void close_logger(void)
{
    ck_assert_int_eq(close(logger_fd), 0);
    ck_assert_int_eq(unlink(logger), 0);
}

/* The next datagram, without what stands before its own words. */
static const char *next_message(void)
{
    static char text[16384];
    struct pollfd p = {.fd = logger_fd, .events = POLLIN};
    ssize_t length;

    ck_assert_int_eq(poll(&p, 1, 20000), 1);
    length = recv(logger_fd, text, sizeof text - 1, 0);
    ck_assert_int_gt(length, 0);
    text[length] = '\0';
    ck_assert_msg(strncmp(text, "<85>", 4) == 0 && strstr(text, " pglendd[") != NULL, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "audit: checkpoint "));
    return strstr(text, "audit: checkpoint ");
}

/* Up to one whose reason is this. */
static void await_reason(const char *reason)
{
    char member[64];

    (void)snprintf(member, sizeof member, "\"reason\":\"%s\"", reason);
    while (strstr(next_message(), member) == NULL)
        ;
}

static json_int_t lost(void)
{
    json_t *status = pglendd_result(d, "status", NULL);
    json_int_t count = json_integer_value(json_object_get(status, "audit_syslog_lost"));

    json_decref(status);
    return count;
}

static void set_up(void)
{
    char overrides[512];

    pglendd_trail(trail);
    open_logger();
    (void)snprintf(overrides, sizeof overrides, "{'audit': {'directory': '%s', 'checkpoint': '1s', 'syslog': '%s'}}",
                   trail, logger);
    d = pglendd_start(harness_server(), overrides);
}

/* Each kind of checkpoint, and the anchor that it says is one that the trail has. */
START_TEST(checkpoints_reach_the_logger)
{
    char anchor[128], command[1024];

    await_reason("start");
    await_reason("timer");
    ck_assert_int_eq(sscanf(next_message(), "audit: checkpoint %127s", anchor), 1);
    ck_assert_int_eq(lost(), 0);
    pglendd_stop(d);
    await_reason("stop");
    (void)snprintf(command, sizeof command, "%s audit verify --key %s.key --anchor %s %s >/dev/null",
                   harness_product("pglend"), trail, anchor, trail);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
    close_logger();
}
END_TEST

START_TEST(a_logger_that_is_gone_costs_nothing)
{
    json_int_t before;
    json_t *status;

    await_reason("start");
    close_logger();
    wait_until(lost() > 1, 20);
    status = pglendd_result(d, "status", NULL);
    ck_assert_str_eq(json_string_value(json_object_get(status, "audit")), "on");
    json_decref(status);
    ck_assert_int_eq(pglendd_logged(d, "does not take checkpoints"), 1);
    open_logger();
    (void)next_message();
    before = lost();
    (void)next_message();
    ck_assert_int_eq(lost(), before);
    ck_assert_int_eq(pglendd_logged(d, "takes checkpoints again"), 1);
    pglendd_stop(d);
    close_logger();
}
END_TEST

/* A full one: it is not waited for. The messages that it holds are never read. */
START_TEST(a_logger_that_is_full_costs_nothing)
{
    wait_until(lost() > 0, 60);
    ck_assert_int_ge(pglendd_logged(d, "does not take checkpoints"), 1);
    pglendd_stop(d);
    await_reason("start");
    close_logger();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_syslog");
    TCase *tc = harness_live_case(suite, "syslog", 90);

    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, checkpoints_reach_the_logger);
    tcase_add_test(tc, a_logger_that_is_gone_costs_nothing);
    tcase_add_test(tc, a_logger_that_is_full_costs_nothing);
    return harness_main(suite);
}
