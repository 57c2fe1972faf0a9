/* SPDX-License-Identifier: ISC */
/*
 * live_rotation_test.c - a role's password is replaced while its pool is busy, on both sides in either order, and
 * nobody who wants a connection notices.
 *
 * Sessions live for a moment only, so that logins go on all the time. What holds the password (a file, a link as
 * Kubernetes makes them, a credential, a program) is changed before the server is, and after it.
 */
#include "audited.h"
#include "harness.h"
#include "pglend.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKERS   3
#define WINDOW_MS 1500 /* between the one change and the other */

static struct pglendd *d;
static struct postgres *server;
static char password[64];
static unsigned passwords;

static void write_file(const char *name, const char *text, mode_t mode)
{
    char path[256], new[272];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", harness_directory(), name);
    (void)snprintf(new, sizeof new, "%s.new", path);
    ck_assert_ptr_nonnull(f = fopen(new, "w"));
    ck_assert(fputs(text, f) >= 0 && fchmod(fileno(f), mode) == 0 && fclose(f) == 0);
    ck_assert_int_eq(rename(new, path), 0);
}

/* ---- what holds the password ---- */

static void in_file(void)
{
    write_file("secret", password, 0600);
}

/* As a kubelet does it: NAME leads to ..data/NAME, and ..data, which is replaced, to the directory of the day. */
static void in_volume(void)
{
    char volume[128], day[64], path[256], link[256];

    (void)snprintf(volume, sizeof volume, "%s/volume", harness_directory());
    (void)snprintf(day, sizeof day, "..2026_%u", passwords);
    (void)mkdir(volume, 0755);
    (void)snprintf(path, sizeof path, "%s/%s", volume, day);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    (void)snprintf(path, sizeof path, "volume/%s/secret", day);
    write_file(path, password, 0400);
    (void)snprintf(link, sizeof link, "%s/..data_tmp", volume);
    ck_assert_int_eq(symlink(day, link), 0);
    (void)snprintf(path, sizeof path, "%s/..data", volume);
    ck_assert_int_eq(rename(link, path), 0);
    (void)snprintf(path, sizeof path, "%s/secret", volume);
    if (passwords == 1)
        ck_assert_int_eq(symlink("..data/secret", path), 0);
}

static void in_program(void)
{
    char script[256];

    (void)snprintf(script, sizeof script, "#!/bin/sh\necho %s\n", password);
    write_file("program", script, 0700);
}

static const struct {
    const char *name;
    void (*put)(void);
    const char *key; /* of "database"; %s: the harness's directory */
    bool watched;    /* one that was refused is tried again when it changes */
} holders[] = {
    {"file", in_file, "'password_file': '%s/secret'", true},
    {"volume", in_volume, "'password_file': '%s/volume/secret'", true},
    {"credential", in_file, "'password_file': '', 'password_credential': 'secret'", true},
    {"program", in_program, "'password_file': '', 'password_command': ['%s/program']", false},
};

static void draw_password(void)
{
    (void)snprintf(password, sizeof password, "password-%u-%u", (unsigned)getpid(), ++passwords);
}

static void alter_role(void)
{
    char sql[128];

    (void)snprintf(sql, sizeof sql, "alter role clinic password '%s'", password);
    postgres_run(server, sql);
}

/* ---- work ---- */

static int lease(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");
    struct timeval now = {.tv_usec = 1};
    char byte, text[32];

    (void)argument;
    ck_assert_int_eq(setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &now, sizeof now), 0);
    while (recv(sock, &byte, 1, 0) != 1) {
        PGconn *conn = pglend_acquire(p, 5000);

        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
        ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
        ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    }
    pglend_close(p);
    return 0;
}

static unsigned logins(void)
{
    json_t *stats = pglendd_result(d, "stats", NULL);
    unsigned count = (unsigned)audited_number(json_array_get(stats, 0), "logins");

    json_decref(stats);
    return count;
}

static void tidy(void)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf %s/volume", harness_directory());
    ck_assert_int_eq(system(command), 0);
}

static void start(size_t holder)
{
    char key[256], rest[1024];

    server = postgres_start(0);
    tidy();
    passwords = 0;
    draw_password();
    alter_role();
    holders[holder].put();
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", harness_directory(), 1), 0);
    (void)snprintf(key, sizeof key, holders[holder].key, harness_directory()); /* NOLINT: the format is a row's */
    (void)snprintf(rest, sizeof rest,
                   ", 'pools': {'clinic': {'size': {'min': 3, 'max': 4}, 'max_lifetime': '200ms', 'database': {%s}}}",
                   key);
    d = audited_start(server, "", rest);
    wait_until(pglendd_count(d, "idle") >= 3, 10);
}

static void stop(void)
{
    pglendd_stop(d);
    postgres_free(server);
}

START_TEST(nobody_notices)
{
    const size_t holder = (size_t)_i / 2;
    const bool server_first = _i % 2 == 1;
    struct worker_process worker[WORKERS];
    unsigned before;

    if (server_first && !holders[holder].watched)
        return;
    start(holder);
    for (int i = 0; i < WORKERS; i++)
        worker_fork(&worker[i], lease, NULL);
    harness_sleep_ms(300);
    draw_password();
    (server_first ? alter_role : holders[holder].put)();
    harness_sleep_ms(WINDOW_MS);
    before = logins();
    ck_assert_int_eq(pglendd_logged(d, "login failed: ") != 0, server_first);
    ck_assert_int_eq(pglendd_logged(d, "the one before it is still good") != 0, !server_first);
    (server_first ? holders[holder].put : alter_role)();
    wait_until(logins() >= before + 4, 10);
    for (int i = 0; i < WORKERS; i++)
        say(worker[i].sock, 'e');
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 10), 0);
    if (holders[holder].watched) {
        wait_until(audited_has("secret.rotate", "outcome", "in use"), 5);
        ck_assert_int_eq(audited_has("secret.rotate", "outcome", "replaced"), server_first);
    }
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_rotation");
    TCase *tc = harness_live_case(suite, "rotation", 60);

    tcase_add_checked_fixture(tc, audited_set_up, audited_tear_down);
    tcase_add_loop_test(tc, nobody_notices, 0, 2 * (int)(sizeof holders / sizeof holders[0]));
    return harness_main(suite);
}
