/* SPDX-License-Identifier: ISC */
/*
 * live_audit_login_test.c - logins in the audit trail of a running pglendd: as whom they were, whatever became of them.
 */
#include "audited.h"
#include "harness.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pglendd *d;

static void make_file(char path[160], const char *name, const char *text, mode_t mode)
{
    FILE *f;

    (void)snprintf(path, 160, "%s/%s", harness_directory(), name);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fputs(text, f) >= 0 && fchmod(fileno(f), mode) == 0 && fclose(f) == 0);
}

/* Of a service the configuration does not say as whom it logs in; nor does it where the first login fails. */
START_TEST(logins_are_recorded_as_whom_they_were)
{
    const struct postgres *server = harness_server();
    char service[512], services[160], wrong[160], rest[1024];
    json_t *record;

    (void)snprintf(service, sizeof service,
                   "[office]\nhost=%s\nport=%d\nuser=clinic_trust\ndbname=clinic\n"
                   "[nobodys]\nhost=%s\nport=%d\nuser=clinic_nobody\ndbname=clinic\n",
                   server->directory, server->port, server->directory, server->port);
    make_file(services, "services", service, 0644); /* libpq reads it, as the unprivileged user */
    make_file(wrong, "wrong", "no password of anybody's\n", 0600);
    (void)snprintf(rest, sizeof rest,
                   ", 'pools': {'service': {'size': {'min': 1}, 'database': {'service': 'office', 'servicefile': '%s'}}"
                   ", 'nobodys': {'size': {'min': 1}, 'database': {'service': 'nobodys', 'servicefile': '%s'}}"
                   ", 'wrong': {'size': {'min': 1}, 'database': {'dbname': 'clinic', 'user': 'clinic', 'host': '%s', "
                   "'port': %d, 'password_file': '%s'}}}",
                   services, services, server->directory, server->port, wrong);
    d = audited_start(server, "", rest);
    wait_until(audited_has("session.login", "pool", "service"), 5);
    record = audited_record("session.login", "pool", "service");
    ck_assert_pstr_eq(audited_text(record, "role"), "clinic_trust");
    ck_assert_int_gt(audited_number(record, "backend_pid"), 0);
    json_decref(record);
    wait_until(audited_has("session.login_failed", "pool", "nobodys"), 5);
    record = audited_record("session.login_failed", "pool", "nobodys");
    ck_assert_pstr_eq(audited_text(record, "role"), "clinic_nobody");
    json_decref(record);
    wait_until(audited_has("session.login_failed", "pool", "wrong"), 5);
    record = audited_record("session.login_failed", "pool", "wrong");
    ck_assert_pstr_eq(audited_text(record, "role"), "clinic");
    ck_assert_pstr_eq(audited_text(record, "outcome"), "refused");
    ck_assert_ptr_nonnull(strstr(audited_text(record, "reason"), "password authentication failed"));
    json_decref(record);
    pglendd_stop(d);
}
END_TEST

/* It cannot say that itself any more. */
START_TEST(a_login_that_is_killed_is_recorded_as_whom_it_was)
{
    struct sockaddr_in silent = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char service[128], services[160], rest[512];
    socklen_t size = sizeof silent;
    json_t *record;

    ck_assert_int_eq(bind(listener, (struct sockaddr *)&silent, size), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&silent, &size), 0);
    (void)snprintf(service, sizeof service, "[silent]\nhost=127.0.0.1\nport=%d\nuser=clinic_night\ndbname=clinic\n",
                   ntohs(silent.sin_port));
    make_file(services, "services", service, 0644);
    (void)snprintf(rest, sizeof rest,
                   ", 'pools': {'silent': {'size': {'min': 1}, 'login': {'timeout': '500ms'}, 'database': {'service': "
                   "'silent', 'servicefile': '%s'}}}",
                   services);
    d = audited_start(harness_server(), "", rest);
    wait_until(audited_has("session.login_failed", "pool", "silent"), 5);
    record = audited_record("session.login_failed", "pool", "silent");
    ck_assert_ptr_nonnull(strstr(audited_text(record, "reason"), "login.timeout"));
    ck_assert_pstr_eq(audited_text(record, "role"), "clinic_night");
    json_decref(record);
    pglendd_stop(d);
    (void)close(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_audit_login");
    TCase *live = harness_live_case(suite, "login", 40);

    tcase_add_checked_fixture(live, audited_set_up, audited_tear_down);
    tcase_add_test(live, logins_are_recorded_as_whom_they_were);
    tcase_add_test(live, a_login_that_is_killed_is_recorded_as_whom_it_was);
    return harness_main(suite);
}
