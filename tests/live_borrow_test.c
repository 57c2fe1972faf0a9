/* SPDX-License-Identifier: ISC */
/*
 * live_borrow_test.c - everything libpq can do, on a lent connection; and what is said where none is to be had.
 *
 * Each way to use a connection is a row. It is gone three times over one backend: in this process, in this process
 * again (the connection object is a cached one then), and in another process.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pglendd *daemon_;

/* ---- tests ---- */

static int go(pglend *pool, int row)
{
    PGconn *conn = pglend_acquire(pool, 5000);
    int pid;

    ck_assert_msg(conn != NULL, "%s: %s", way[row].name, pglend_errmessage(pool));
    pid = PQbackendPID(conn);
    way[row].use(conn);
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s: %s", way[row].name, pglend_errmessage(pool));
    return pid;
}

static int go_elsewhere(void *row, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    int pid = go(pool, *(int *)row);

    ck_assert_int_eq((int)send(sock, &pid, sizeof pid, MSG_NOSIGNAL), (int)sizeof pid);
    pglend_close(pool);
    return 0;
}

START_TEST(every_way_to_use_a_connection)
{
    struct worker_process worker;
    pglend *pool;
    int row = _i, first, other = 0;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    first = go(pool, row);
    ck_assert_msg(go(pool, row) == first, "%s: the backend was not kept", way[row].name);
    worker_fork(&worker, go_elsewhere, &row);
    ck_assert_int_eq(recv(worker.sock, &other, sizeof other, 0), (int)sizeof other);
    ck_assert_int_eq(worker_wait(&worker, 20), 0);
    ck_assert_msg(other == first, "%s: another backend in another process", way[row].name);
    (void)go(pool, row);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* The same worker when neither it nor pglendd ever was root. */
static int all_ways(void *argument, int sock)
{
    pglend *pool;

    (void)argument;
    (void)sock;
    harness_drop();
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (int i = 0; i < ways; i++)
        (void)go(pool, i);
    pglend_close(pool);
    return 0;
}

START_TEST(without_root)
{
    daemon_ = pglendd_start_unprivileged(harness_server(), NULL);
    in_worker(all_ways, NULL, 60);
    pglendd_stop(daemon_);
}
END_TEST

/* One row a way to log in: over TCP or the socket, by password or not. */
static const char *const logins[] = {
    "{'pools': {'clinic': {'database': {'host': '127.0.0.1'}}}}",
    "{'pools': {'clinic': {'database': {'user': 'clinic_md5'}}}}",
    "{'pools': {'clinic': {'database': {'host': '127.0.0.1', 'user': 'clinic_md5'}}}}",
    "{'pools': {'clinic': {'database': {'user': 'clinic_trust', 'password_file': ''}}}}",
    "{'pools': {'clinic': {'database': {'user': 'clinic_peer', 'password_file': ''}}}}",
};

START_TEST(every_way_to_log_in)
{
    pglend *pool;

    if (postgres_certificate() != NULL && strstr(logins[_i], "clinic_peer") != NULL)
        return; /* by the Unix socket alone */
    daemon_ = pglendd_start(harness_server(), logins[_i]);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (int i = 0; i < ways; i++)
        (void)go(pool, i);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static const char *const hostile[][2] = {
    {"PGHOST", "192.0.2.1"},       {"PGHOSTADDR", "192.0.2.1"},     {"PGPORT", "1"},
    {"PGUSER", "mallory"},         {"PGDATABASE", "nowhere"},       {"PGPASSWORD", "wrong"},
    {"PGPASSFILE", "/nowhere"},    {"PGSSLMODE", "require"},        {"PGREQUIREPEER", "mallory"},
    {"PGOPTIONS", "-c x=y"},       {"PGCLIENTENCODING", "SJIS"},    {"PGTARGETSESSIONATTRS", "standby"},
    {"PGGSSENCMODE", "require"},   {"PGCHANNELBINDING", "require"}, {"PGSSLROOTCERT", "/nowhere"},
    {"PGTZ", "Mars/Olympus"},      {"PGDATESTYLE", "none"},         {"PGAPPNAME", "mallory"},
    {"PGCONNECT_TIMEOUT", "none"}, {"PGKRBSRVNAME", "mallory"},     {"PGSERVICE", "hostile"},
};
#define HOSTILE (sizeof hostile / sizeof hostile[0])

static void become_hostile(void)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/service", harness_directory());
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fputs("[hostile]\nhost=192.0.2.2\nport=2\nuser=mallory\nsslmode=require\n", f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(setenv("PGSERVICEFILE", path, 1), 0);
    for (size_t i = 0; i < HOSTILE; i++)
        ck_assert_int_eq(setenv(hostile[i][0], hostile[i][1], 1), 0);
}

static void become_friendly(void)
{
    for (size_t i = 0; i < HOSTILE; i++)
        ck_assert_int_eq(unsetenv(hostile[i][0]), 0);
}

/* What libpq would take from the environment reaches neither the login nor the connection object. */
START_TEST(hostile_environment)
{
    pglend *pool;

    become_hostile();
    daemon_ = pglendd_start(harness_server(), NULL);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (int i = 0; i < ways; i++)
        if (!way[i].also_direct) /* the environment forbids that */
            (void)go(pool, i);
    pglend_close(pool);
    become_friendly();
    pglendd_stop(daemon_);
}
END_TEST

/* The one thing that cannot be overridden: the message says so. */
START_TEST(service_that_does_not_resolve)
{
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), NULL);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_int_eq(setenv("PGSERVICE", "nowhere", 1), 0);
    ck_assert_ptr_null(pglend_acquire(pool, 5000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_SYSTEM);
    ck_assert_msg(strstr(pglend_errmessage(pool), "PGSERVICE") != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(unsetenv("PGSERVICE"), 0);
    (void)go(pool, 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- a fork meanwhile ---- */

static unsigned forks; /* at so many times a process is forked */

/* It has no part in the session: what is, or was to be, under a connection object is dead there. */
static void fork_now(int fd)
{
    unsigned left = forks;
    int status = -1;
    char byte;
    pid_t child;

    if (left == 0)
        return;
    forks = 0; /* in the child, too */
    child = fork();
    if (child == 0)
        _exit(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(status == 0, "with %u forks to come the child has the session", left - 1);
    forks = left - 1;
}

/* libpglend.so's too. */
int dup3(int from, int to, int flags)
{
    int result;

    fork_now(to);
    result = (int)syscall(SYS_dup3, from, to, flags);
    fork_now(to);
    return result;
}

START_TEST(a_child_has_no_session_whenever_it_is_forked)
{
    pglend *pool;
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), NULL);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    (void)go(pool, 0);
    forks = 2;
    ck_assert_msg((conn = pglend_acquire(pool, 5000)) != NULL, "%s", pglend_errmessage(pool));
    ck_assert_uint_eq(forks, 0);
    forks = 2;
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_uint_eq(forks, 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- none is to be had ---- */

static int hold_two(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *first = pglend_acquire(pool, 5000), *second;

    (void)argument;
    harness_sleep_ms(1100);
    ck_assert_ptr_nonnull(second = pglend_acquire(pool, 5000));
    say(sock, 'h');
    (void)hear(sock, 30);
    ck_assert_int_eq(pglend_release(pool, second), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, first), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

static int wait_for_one(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 30000);

    (void)argument;
    (void)sock;
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* What somebody needs who reads it at night: how many there are and what became of them, and since when. */
START_TEST(a_time_out_says_who_has_them)
{
    struct worker_process holder, waiter;
    unsigned seconds = 0;
    pglend *pool;
    int pid = 0, end = 0;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 2}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    worker_fork(&holder, hold_two, NULL);
    ck_assert_int_eq(hear(holder.sock, 10), 'h');
    worker_fork(&waiter, wait_for_one, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 1, 5);
    ck_assert_ptr_null(pglend_acquire(pool, 100));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_TIMEOUT);
    (void)sscanf(
        pglend_errmessage(pool),
        "pool \"clinic\": no connection within 100 ms (2 total, 2 leased, 0 idle, 1 waiting; longest lease %u s "
        "by pid %d)%n",
        &seconds, &pid, &end);
    ck_assert_msg(end > 0 && pglend_errmessage(pool)[end] == '\0', "%s", pglend_errmessage(pool));
    ck_assert_uint_ge(seconds, 1);
    ck_assert_int_eq(pid, holder.pid);
    say(holder.sock, 'g');
    ck_assert_int_eq(worker_wait(&holder, 10), 0);
    ck_assert_int_eq(worker_wait(&waiter, 10), 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(a_time_out_has_the_servers_words)
{
    pglend *pool;
    PGconn *conn;

    postgres_run(harness_server(), "alter role clinic connection limit 1");
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 2}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_ptr_null(pglend_acquire(pool, 1500));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_TIMEOUT);
    ck_assert_msg(strstr(pglend_errmessage(pool), "; last database error: ") != NULL &&
                      strstr(pglend_errmessage(pool), "too many connections for role \"clinic\"") != NULL,
                  "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_run(harness_server(), "alter role clinic connection limit -1");
}
END_TEST

static int wait_for_a_daemon(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn;

    (void)argument;
    say(sock, 'h');
    conn = pglend_acquire(pool, 20000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_msg(pglend_errcode(pool) == PGLEND_OK, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(pglend_errmessage(pool), "");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* Whatever failed before it succeeded is no error of that call. */
START_TEST(a_success_says_nothing_of_what_failed_before)
{
    struct worker_process worker;

    daemon_ = pglendd_start(harness_server(), NULL);
    pglendd_kill(daemon_);
    worker_fork(&worker, wait_for_a_daemon, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    harness_sleep_ms(100);
    pglendd_resume(daemon_);
    ck_assert_int_eq(worker_wait(&worker, 30), 0);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_borrow");
    TCase *tc = harness_live_case(suite, "ways", 40);

    tcase_add_loop_test(tc, every_way_to_use_a_connection, 0, ways);
    tc = harness_live_case(suite, "logins", 60);
    tcase_add_loop_test(tc, every_way_to_log_in, 0, (int)(sizeof logins / sizeof logins[0]));
    tcase_add_test(tc, without_root);
    tcase_add_test(tc, hostile_environment);
    tcase_add_test(tc, service_that_does_not_resolve);
    tcase_add_test(tc, a_child_has_no_session_whenever_it_is_forked);
    tc = harness_live_case(suite, "none", 40);
    tcase_add_test(tc, a_time_out_says_who_has_them);
    tcase_add_test(tc, a_time_out_has_the_servers_words);
    tcase_add_test(tc, a_success_says_nothing_of_what_failed_before);
    return harness_main(suite);
}
