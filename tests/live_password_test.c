/* SPDX-License-Identifier: ISC */
/*
 * live_password_test.c - passwords that a program says, and credentials of systemd's.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pglendd *d;

/* A file NAME with TEXT; its path is valid until the next call. */
static const char *make_file(const char *name, const char *text, mode_t mode)
{
    static char path[160];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", harness_directory(), name);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fputs(text, f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(chmod(path, mode), 0);
    return path;
}

/* A pool whose role needs a password, which comes by the key that WHENCE is. */
static void start(const char *whence)
{
    const struct postgres *server = harness_server();
    char overrides[1024];

    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'size': {'min': 1}, 'login': {'timeout': '2s', 'backoff_max': '200ms'},"
                   " 'database': {'dbname': 'clinic', 'user': 'clinic', 'host': '%s', 'port': %d, 'password_file': '',"
                   " %s}}}}",
                   server->directory, server->port, whence);
    d = pglendd_start(server, overrides);
}

static void expect_lent(void)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(p, 10000);
    char text[64];

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
    ck_assert_str_eq(query(conn, "select current_user", text, sizeof text), "clinic");
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    pglend_close(p);
}

/* ---- a program ---- */

/* A token that is good for one login: the program counts how often it was asked. */
START_TEST(a_program_is_asked_for_each_login)
{
    char whence[512], script[512], count[160], text[64];
    FILE *f;

    (void)snprintf(count, sizeof count, "%s/asked", harness_directory());
    (void)unlink(count);
    (void)snprintf(script, sizeof script, "#!/bin/sh\necho \"$1\" >>%s\necho \"" POSTGRES_PASSWORD "\"\n", count);
    (void)snprintf(whence, sizeof whence, "'password_command': ['%s', 'for $HOME; x']",
                   make_file("token", script, 0700));
    start(whence);
    expect_lent();
    json_decref(pglendd_result(d, "recycle", NULL));
    wait_until(pglendd_logged(d, "generation=2"), 10);
    expect_lent();
    pglendd_stop(d);
    ck_assert_ptr_nonnull(f = fopen(count, "r"));
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_nonnull(fgets(text, sizeof text, f));
        ck_assert_str_eq(text, "for $HOME; x\n"); /* no shell has seen it */
    }
    (void)fclose(f);
}
END_TEST

static const struct {
    const char *script, *said;
    mode_t mode;
} bad_programs[] = {
    {"#!/bin/sh\necho 'no token today' >&2\nexit 3\n", "ended with exit status 3", 0700},
    {"#!/bin/sh\nkill -9 $$\n", "was killed by signal 9", 0700},
    {"#!/bin/sh\nexit 0\n", "is empty", 0700},
    {"#!/bin/sh\necho one; echo two\n", "has more than one line", 0700},
    {"#!/bin/sh\nprintf 'a\\0b'\n", "holds a NUL byte", 0700},
    {"#!/bin/sh\nexec yes\n", "File too large", 0700},
    {"#!/nowhere\n", "could not be executed", 0700},
    {"#!/bin/sh\necho x\n", "can be changed by others (mode 0720", 0720},
    {"#!/bin/sh\necho x\n", "is not a program", 0600},
};

START_TEST(a_program_that_fails)
{
    char whence[256], script[256], path[160];

    (void)snprintf(path, sizeof path, "%s", make_file("bad", bad_programs[_i].script, bad_programs[_i].mode));
    (void)snprintf(whence, sizeof whence, "'password_command': ['%s']", path);
    start(whence);
    wait_until(pglendd_logged(d, bad_programs[_i].said), 10);
    ck_assert(pglendd_logged(d, "login failed: "));
    /* Mended, it is used without anybody's help. */
    (void)unlink(path);
    (void)snprintf(script, sizeof script, "#!/bin/sh\necho \"" POSTGRES_PASSWORD "\"\n");
    (void)make_file("bad", script, 0700);
    expect_lent();
    pglendd_stop(d);
}
END_TEST

/* One that never ends: it and what it started are killed in time, and nothing of them is left. */
START_TEST(a_program_that_hangs)
{
    char whence[512], script[512], pids[160];
    int pid, count = 0;
    FILE *f;

    (void)snprintf(pids, sizeof pids, "%s/pids", harness_directory());
    (void)unlink(pids);
    (void)snprintf(script, sizeof script, "#!/bin/sh\nsleep 1000 &\necho $$ $! >>%s\nwait\n", pids);
    (void)snprintf(whence, sizeof whence, "'password_command': ['%s']", make_file("hangs", script, 0700));
    start(whence);
    wait_until(pglendd_logged(d, "did not end within 1500 ms"), 10);
    pglendd_stop(d);
    ck_assert_ptr_nonnull(f = fopen(pids, "r"));
    while (fscanf(f, "%d", &pid) == 1) {
        wait_until(kill(pid, 0) == -1 || process_state(pid) == 'Z', 5);
        count++;
    }
    (void)fclose(f);
    ck_assert_int_ge(count, 2);
}
END_TEST

/* ---- a credential ---- */

START_TEST(a_credential_is_found_where_systemd_puts_it)
{
    (void)make_file("db", POSTGRES_PASSWORD "\n", 0400);
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", harness_directory(), 1), 0);
    start("'password_credential': 'db'");
    expect_lent();
    pglendd_stop(d);
}
END_TEST

START_TEST(without_systemd_it_says_how)
{
    ck_assert_int_eq(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    start("'password_credential': 'db'");
    wait_until(pglendd_logged(d, "LoadCredential=db:FILE"), 10);
    pglendd_stop(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_password");
    TCase *tc = harness_live_case(suite, "command", 30);

    tcase_add_test(tc, a_program_is_asked_for_each_login);
    tcase_add_loop_test(tc, a_program_that_fails, 0, (int)(sizeof bad_programs / sizeof bad_programs[0]));
    tcase_add_test(tc, a_program_that_hangs);
    tcase_add_test(tc, a_credential_is_found_where_systemd_puts_it);
    tcase_add_test(tc, without_systemd_it_says_how);
    return harness_main(suite);
}
