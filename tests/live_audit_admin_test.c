/* SPDX-License-Identifier: ISC */
/*
 * live_audit_admin_test.c - what administrators do, and who is turned away, stands in the audit trail, whatever whoever
 * did it does to keep it out.
 */
#include "audited.h"
#include "harness.h"
#include "pglend.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pglendd *d;

/* ---- who does not wait for the result ---- */

static int admin_ask(const char *command, const char *arguments)
{
    char line[512];
    int sock = pglendd_connect(d, "admin.sock");
    int length = snprintf(line, sizeof line, "{\"command\": \"%s\", \"args\": {%s}}\n", command, arguments);

    ck_assert_int_eq(send(sock, line, (size_t)length, 0), length);
    return sock;
}

static bool is_recorded(const char *command, const char *outcome)
{
    json_t *record = audited_record("admin.command", "command", command);
    bool is = record != NULL && strcmp(audited_text(record, "outcome"), outcome) == 0;

    if (is) {
        ck_assert_int_eq(audited_number(record, "pid"), getpid());
        ck_assert_int_eq(audited_number(record, "uid"), geteuid());
        ck_assert_ptr_nonnull(audited_text(record, "args"));
    }
    json_decref(record);
    return is;
}

static int hold(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(p, 5000);

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
    ck_assert_int_eq(kill(PQbackendPID(conn), SIGSTOP), 0);
    say(sock, 'b');
    (void)hear(sock, 60);
    (void)pglend_release(p, conn);
    pglend_close(p);
    return 0;
}

/* Each would wait for ever: a lease is out, its backend does not end, and the server lets nobody in. */
static const struct {
    const char *command, *arguments;
} waiting[] = {
    {"pause", "\"pool\": \"clinic\""},
    {"resume", "\"wait\": \"yes\""},
    {"disable", "\"wait\": \"yes\""},
    {"enable", "\"wait\": \"yes\""},
    {"resize", "\"wait\": \"yes\", \"min\": \"4\""},
    {"recycle", "\"wait\": \"yes\""},
    {"revoke", "\"wait\": \"yes\", \"slot\": \"clinic/0\""},
};

START_TEST(a_command_whose_giver_hangs_up_is_recorded)
{
    struct postgres *server = postgres_start(0);
    struct worker_process worker;
    pid_t backend;
    json_t *slots;

    d = audited_start(server, "", ", 'pools': {'clinic': {'size': {'min': 1}}}");
    wait_until(audited_is(d, "on"), 5);
    worker_fork(&worker, hold, NULL);
    (void)hear(worker.sock, 10);
    slots = pglendd_result(d, "slots", NULL);
    backend = (pid_t)audited_number(json_array_get(slots, 0), "backend_pid");
    json_decref(slots);
    postgres_signal(server, SIGSTOP);
    json_decref(pglendd_result(d, "resize", "{'min': '3'}"));
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++) {
        int sock = admin_ask(waiting[i].command, waiting[i].arguments);

        wait_until(is_recorded(waiting[i].command, "begun"), 5);
        (void)close(sock);
        wait_until(is_recorded(waiting[i].command, "abandoned"), 5);
    }
    ck_assert_int_eq(kill(backend, SIGCONT), 0);
    postgres_signal(server, SIGCONT);
    worker_kill(&worker, SIGKILL);
    pglendd_stop(d);
    audited_expect_intact();
    postgres_free(server);
}
END_TEST

/* The other way round: what is recorded as begun and was left has not begun. */
START_TEST(an_override_whose_giver_hangs_up_does_not_begin)
{
    json_t *overrides;
    pid_t process;
    int sock;

    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    process = pglendd_signal(d, "audit", SIGSTOP);
    sock = admin_ask("override", "\"pool\": \"clinic\", \"reason\": \"drill\"");
    harness_sleep_ms(100);
    (void)close(sock);
    harness_sleep_ms(100);
    ck_assert_int_eq(kill(process, SIGCONT), 0);
    wait_until(is_recorded("override", "abandoned"), 5);
    ck_assert(audited_has("access.override", "outcome", "begins"));
    ck_assert(audited_has("access.override", "outcome", "not begun"));
    overrides = pglendd_result(d, "inventory", NULL);
    ck_assert(json_is_null(json_object_get(json_array_get(json_object_get(overrides, "pools"), 0), "override")));
    json_decref(overrides);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* ---- who is turned away ---- */

#define STRANGER 12345U
#define FLOOD    50U

/* As the user whose number ARGUMENT points to, under a name that looks like a program's. */
static void become(const void *argument)
{
    uid_t uid = *(const uid_t *)argument;

    ck_assert_int_eq(prctl(PR_SET_NAME, "/bin/trusted", 0, 0, 0), 0);
    ck_assert(setgid(uid) == 0 && setuid(uid) == 0);
}

static int ask_often(void *argument, int sock)
{
    unsigned count = *(const uid_t *)argument == STRANGER ? FLOOD : 1;
    pglend *p;

    (void)sock;
    become(argument);
    for (unsigned i = 0; i < count; i++) {
        p = pglend_open(d->runtime_dir, "clinic");
        ck_assert_ptr_null(pglend_acquire(p, 5000));
        ck_assert_int_eq(pglend_errcode(p), PGLEND_DENIED);
        pglend_close(p);
    }
    return 0;
}

static int give_commands(void *argument, int sock)
{
    (void)sock;
    become(argument);
    for (unsigned i = 0; i < FLOOD; i++)
        json_decref(pglendd_request(d, "pause", NULL));
    return 0;
}

static int64_t denials_of(uid_t uid, const char *event, int64_t *counted)
{
    json_t *records, *record;
    int64_t found = 0;
    size_t i;

    ck_assert_int_eq(audited_run("report --json %s", audited_directory), 0);
    records = json_loads(audited_output, 0, NULL);
    *counted = 0;
    json_array_foreach(records, i, record)
    {
        if (json_object_get(record, "uid") == NULL || audited_number(record, "uid") != uid ||
            strcmp(audited_text(record, "event"), event) != 0)
            continue;
        found += json_object_get(record, "records") == NULL;
        *counted += audited_number(record, "records");
        /* What a process calls itself is not the program that it runs. */
        ck_assert_pstr_eq(audited_text(record, "exe"), NULL);
    }
    json_decref(records);
    return found;
}

START_TEST(a_flood_of_denials_hides_nobody)
{
    uid_t flooder = STRANGER, other = STRANGER + 1, commander = STRANGER + 2;
    json_t *record;
    int64_t counted;

    if (geteuid() != 0) {
        printf("a_flood_of_denials_hides_nobody skipped: only root can be others\n");
        return;
    }
    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    in_worker(ask_often, &flooder, 20);
    in_worker(ask_often, &other, 10);
    in_worker(give_commands, &commander, 20);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_int_eq(denials_of(flooder, "access.denied", &counted), 10);
    ck_assert_int_eq(counted, FLOOD - 10);
    ck_assert_int_eq(denials_of(other, "access.denied", &counted), 1);
    ck_assert_int_eq(counted, 0);
    ck_assert_int_eq(denials_of(commander, "admin.command", &counted), 10);
    (void)denials_of(commander, "access.denied", &counted);
    ck_assert_int_eq(counted, FLOOD - 10);
    record = audited_record("access.denied", "outcome", "account");
    ck_assert_str_eq(audited_text(record, "pool"), "clinic");
    ck_assert_ptr_nonnull(strstr(audited_text(record, "reason"), "access.users"));
    json_decref(record);
}
END_TEST

static int come_as_the_supervisor(void *argument, int sock)
{
    pglend *p;

    (void)argument;
    (void)sock;
    harness_drop();
    p = pglend_open(d->runtime_dir, "strict");
    ck_assert_ptr_null(pglend_acquire(p, 5000));
    pglend_close(p);
    return 0;
}

START_TEST(a_denial_says_why)
{
    char self[256];
    json_t *record;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    pglend *p;

    self[length] = '\0';
    if (geteuid() != 0) {
        printf("a_denial_says_why skipped: only root can be others\n");
        return;
    }
    d = audited_start(harness_server(), "",
                      ", 'pools': {'clinic': {'access': {'executables': ['/bin/none']}}, 'strict': {'isolation': "
                      "'strict', 'database': {'dbname': 'clinic'}}}");
    wait_until(audited_is(d, "on"), 5);
    p = pglend_open(d->runtime_dir, "clinic");
    ck_assert_ptr_null(pglend_acquire(p, 5000));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_DENIED);
    pglend_close(p);
    in_worker(come_as_the_supervisor, NULL, 10);
    pglendd_stop(d);
    ck_assert_ptr_nonnull(record = audited_record("access.denied", "outcome", "program"));
    ck_assert_str_eq(audited_text(record, "exe"), self);
    json_decref(record);
    ck_assert_ptr_nonnull(record = audited_record("access.denied", "outcome", "same user"));
    ck_assert_str_eq(audited_text(record, "pool"), "strict");
    json_decref(record);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_audit_admin");
    TCase *live = harness_live_case(suite, "admin", 40);

    tcase_add_checked_fixture(live, audited_set_up, audited_tear_down);
    tcase_add_test(live, a_command_whose_giver_hangs_up_is_recorded);
    tcase_add_test(live, an_override_whose_giver_hangs_up_does_not_begin);
    tcase_add_test(live, a_flood_of_denials_hides_nobody);
    tcase_add_test(live, a_denial_says_why);
    return harness_main(suite);
}
