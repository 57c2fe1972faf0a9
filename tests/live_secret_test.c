/* SPDX-License-Identifier: ISC */
/*
 * live_secret_test.c - what each of pglendd's processes is and runs as, and that a password stays where it belongs.
 *
 * The hard thing is to look everywhere: a password drawn at random is searched for in the whole memory of every
 * process that lives on after a login, whichever way the keeper has it (needles.h).
 */
#include "audited.h"
#include "harness.h"
#include "needles.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CANARY_DIGITS 32

static char canary[CANARY_DIGITS + 1];
static bool password_is_watched; /* one that was refused, until its file changes */

/* ---- processes ---- */

static void expect_title(pid_t pid, const char *expected)
{
    char title[256];

    process_title(pid, title);
    ck_assert_msg(strncmp(title, expected, strlen(expected)) == 0, "\"%s\" instead of \"%s\"", title, expected);
}

/* Root keeps what the keeper needs: CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID. */
#define KEEPER_CAPABILITIES (1 << 2 | 1 << 5 | 1 << 6 | 1 << 7)

/* With the user's own group, and with one of the configuration. */
START_TEST(titles_and_users)
{
    const struct group *other = _i == 1 ? getgrnam("games") : NULL;
    struct postgres *slow = postgres_start(0);
    char overrides[128];
    struct pglendd *d;
    pid_t supervisor, login;
    uid_t uid;
    gid_t gid;

    harness_unprivileged(&uid, &gid);
    (void)snprintf(overrides, sizeof overrides, "{%s 'pools': {'clinic': {'size': {'min': 1}}}}",
                   other != NULL && geteuid() == 0 ? "'group': 'games'," : "");
    if (other != NULL && geteuid() == 0)
        gid = other->gr_gid;
    /* A stopped postmaster: the kernel accepts for it, and nobody answers. */
    postgres_signal(slow, SIGSTOP);
    d = pglendd_start(slow, overrides);
    wait_until((login = pglendd_process(d, "login clinic")) != 0, 5);
    ck_assert_int_ne(supervisor = pglendd_process(d, "supervisor"), 0);
    expect_title(d->pid, "pglendd: keeper ");
    expect_title(supervisor, "pglendd: supervisor");
    expect_title(login, "pglendd: login clinic");

    ck_assert_int_eq(process_status(d->pid, "Uid", 10), geteuid());
    ck_assert_int_eq(process_status(supervisor, "Uid", 10), uid);
    wait_until(process_status(login, "Uid", 10) == (long long)uid, 5);
    if (geteuid() == 0) {
        ck_assert_int_eq(process_status(d->pid, "CapEff", 16) & ~KEEPER_CAPABILITIES, 0);
        ck_assert_int_eq(process_status(d->pid, "CapPrm", 16) & ~KEEPER_CAPABILITIES, 0);
        ck_assert_int_eq(process_status(supervisor, "CapPrm", 16), 0);
        ck_assert_int_eq(process_status(login, "CapPrm", 16), 0);
        ck_assert_int_eq(process_status(supervisor, "Gid", 10), gid);
        ck_assert_int_eq(process_status(login, "Gid", 10), gid);
        ck_assert_int_eq(process_status(supervisor, "Groups", 10), 0); /* none follow */
    }
    ck_assert_int_eq(process_status(d->pid, "NoNewPrivs", 10), 1);
    ck_assert_int_eq(process_status(supervisor, "NoNewPrivs", 10), 1);
    ck_assert_int_eq(process_status(login, "NoNewPrivs", 10), 1);
    postgres_signal(slow, SIGCONT);
    wait_until(pglendd_count(d, "idle") == 1, 10);
    pglendd_stop(d);
    postgres_free(slow);
}
END_TEST

/* Bytes of PID's memory that are neither swapped nor dumped (VmFlags of smaps: lo, dd). */
static size_t guarded(pid_t pid)
{
    char path[64], line[512];
    size_t size = 0, sum = 0;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "Size:", 5) == 0)
            size = strtoul(line + 5, NULL, 10) * 1024;
        if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " lo") != NULL && strstr(line, " dd") != NULL)
            sum += size;
    }
    (void)fclose(f);
    return sum;
}

/* Nobody but root may look into it, and it leaves no core. */
static void expect_closed(pid_t pid)
{
    char path[64], line[128];
    struct stat st;
    bool none = false;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, 0);
    (void)snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    while (fgets(line, sizeof line, f) != NULL)
        none |= strncmp(line, "Max core file size        0                    0 ", 49) == 0;
    (void)fclose(f);
    ck_assert_msg(none, "process %d may leave a core", (int)pid);
}

START_TEST(secrets_are_neither_swapped_nor_dumped)
{
    const char *sanitize = getenv("SANITIZE");
    const bool allowed = _i == 0;
    struct postgres *slow = postgres_start(0);
    const struct rlimit nothing = {0, 0};
    struct pglendd *d;
    pid_t login;

    if (!allowed)
        ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &nothing), 0);
    d = audited_start(slow, "", "");
    wait_until(audited_is(d, "on"), 5);
    postgres_signal(slow, SIGSTOP);
    json_decref(pglendd_result(d, "resize", "{'min': '1'}"));
    wait_until((login = pglendd_process(d, "login clinic")) != 0, 5);
    if (geteuid() == 0) {
        if (sanitize == NULL || strstr(sanitize, "address") == NULL) { /* whose mlock() does nothing */
            if (allowed)
                wait_until(guarded(login) >= 2 * 4096 + 32768, 5); /* two passwords and libpq's words */
            ck_assert_int_eq(guarded(pglendd_process(d, "audit")) >= 4096, allowed);
        }
        expect_closed(login);
        expect_closed(pglendd_process(d, "audit"));
        expect_closed(pglendd_process(d, "supervisor"));
        expect_closed(d->pid);
    }
    ck_assert_int_eq(pglendd_logged(d, "may be swapped to disk") > 0, !allowed);
    postgres_signal(slow, SIGCONT);
    wait_until(pglendd_count(d, "idle") == 1, 10); /* that it cannot is no reason not to lend */
    pglendd_stop(d);
    postgres_free(slow);
}
END_TEST

static const struct {
    const char *overrides, *said;
} nobody_such[] = {
    {"{'user': 'no-such-user'}", "user \"no-such-user\" does not exist"},
    {"{'user': 'nobody', 'group': 'no-such-group'}", "group \"no-such-group\" does not exist"},
    {"{'user': 'root'}", "user \"root\" is root"},
    {"{'user': 'nobody', 'group': 'root'}", "the group that user \"nobody\" would have is root's: set \"group\""},
    {"{'audit': {'directory': '/nowhere'}, 'audit_user': 'no-such-user'}",
     "audit_user \"no-such-user\" does not exist: create it, or set audit_user in the configuration"},
    {"{'audit': {'directory': '/nowhere'}, 'audit_user': 'root'}", "audit_user \"root\" is root"},
};

START_TEST(user_that_cannot_be)
{
    struct pglendd *d;

    if (geteuid() != 0)
        return;
    d = pglendd_start(harness_server(), NULL);
    pglendd_kill(d);
    pglendd_configure(d, harness_server(), nobody_such[_i].overrides);
    ck_assert_int_eq(pglendd_run(d), 1);
    ck_assert_msg(pglendd_logged(d, nobody_such[_i].said), "not said: %s", nobody_such[_i].said);
    pglendd_configure(d, harness_server(), NULL);
    pglendd_resume(d);
    pglendd_stop(d);
}
END_TEST

/* ---- the canary ---- */

/* All that the keeper has started: among them relays, which made the TLS sessions with libpq. */
static void nowhere_in_any_child(const struct pglendd *d)
{
    static const char *const there[] = {"supervisor", "audit", "password clinic"};

    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++)
        ck_assert_msg(pglendd_process(d, there[i]) != 0 || (i == 2 && !password_is_watched), "no process %s", there[i]);
    nowhere_in_children(d->pid);
}

static void nowhere_in_answers(const struct pglendd *d)
{
    static const char *const commands[] = {"status", "config",  "slots",   "inventory",
                                           "pools",  "workers", "waiters", "stats"};

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        json_t *answer = pglendd_result(d, commands[i], NULL);
        char *text = json_dumps(answer, 0);

        ck_assert_ptr_nonnull(text);
        ck_assert_msg(strstr(text, canary) == NULL, "%s tells the password", commands[i]);
        free(text);
        json_decref(answer);
    }
}

/* What the keeper's own user alone can read. */
static void put(const char *name, const char *before, const char *text, const char *behind, mode_t mode)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", harness_directory(), name);
    (void)unlink(path);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fprintf(f, "%s%s%s\n", before, text, behind) > 0 && fchmod(fileno(f), mode) == 0 && fclose(f) == 0);
}

static void set_password(struct postgres *server, const char *text)
{
    char sql[128];

    (void)snprintf(sql, sizeof sql, "alter role clinic password '%s'", text);
    postgres_run(server, sql);
}

/* Where the password is; the last: one that is refused, while the one before is still good. */
enum { BY_FILE, BY_CREDENTIAL, BY_COMMAND, REFUSED, WAYS };
static const char *const ways[WAYS] = {
    "'password_file': '%s/canary'",
    "'password_file': '', 'password_credential': 'canary'",
    "'password_file': '', 'password_command': ['%s/program']",
    "'password_file': '%s/canary'",
};

static void begin_with(struct postgres *server, int way)
{
    put("canary", "", way == REFUSED ? "another" : canary, "", 0600);
    put("program", "#!/bin/sh\necho ", canary, "", 0700);
    set_password(server, way == REFUSED ? "another" : canary);
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", harness_directory(), 1), 0);
    password_is_watched = way != BY_COMMAND;
}

/* All sessions anew. */
static void rotate(struct pglendd *d)
{
    put("canary", "", canary, "", 0600);
    json_decref(pglendd_result(d, "recycle", "{'wait': 'yes', 'timeout': '10'}"));
    ck_assert(pglendd_logged(d, "the one before it is still good"));
}

START_TEST(password_is_nowhere)
{
    char key[256], rest[512];
    struct worker_process worker;
    struct postgres *server;
    struct pglendd *d;

    if (geteuid() != 0) {
        printf("not searched for the password: only root may look into other processes\n");
        return;
    }
    server = postgres_start(0);
    worker_fork(&worker, lease_and_stay, "clinic");
    draw_secret(canary, CANARY_DIGITS);
    look_for("the password", canary, CANARY_DIGITS);
    begin_with(server, _i);
    (void)snprintf(key, sizeof key, ways[_i], harness_directory()); /* NOLINT: the format is a row's */
    (void)snprintf(rest, sizeof rest,
                   ", 'pools': {'clinic': {'database': {'host': '127.0.0.1', %s}, 'size': {'min': 3}}}", key);
    d = audited_start(server, "", rest);
    wait_until(pglendd_count(d, "idle") == 3, 10);
    if (_i == REFUSED)
        rotate(d);
    ck_assert_int_eq(send(worker.sock, d->runtime_dir, sizeof d->runtime_dir, 0), sizeof d->runtime_dir);
    ck_assert_int_eq(hear(worker.sock, 20), 'h');
    nowhere_in_relays(d, postgres_certificate() != NULL ? NEEDLE_LEASES : 0);
    fail_a_login(server, d);

    everywhere_here();
    nowhere_in_process(d->pid);
    nowhere_in_any_child(d);
    nowhere_in_process(worker.pid);
    nowhere_in_answers(d);
    nowhere_in_directory("/dev/shm");
    nowhere_in_directory(d->directory);
    nowhere_in_directory(d->runtime_dir);
    nowhere_in_directory(audited_directory);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    pglendd_stop(d);
    postgres_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_secret");
    TCase *tc = harness_live_case(suite, "processes", 60);
    TCase *trail = harness_live_case(suite, "secrets", 60);

    tcase_add_checked_fixture(trail, audited_set_up, audited_tear_down);

    tcase_add_loop_test(tc, titles_and_users, 0, 2);
    tcase_add_loop_test(tc, user_that_cannot_be, 0, (int)(sizeof nobody_such / sizeof nobody_such[0]));
    tcase_add_loop_test(trail, secrets_are_neither_swapped_nor_dumped, 0, 2);
    tcase_add_loop_test(trail, password_is_nowhere, 0, WAYS);
    return harness_main(suite);
}
