/* SPDX-License-Identifier: ISC */
/*
 * live_health_test.c - what a pool does by itself to stay healthy: sessions that are idle too long, old or worn; queues
 * too long.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define MANY 3

static struct pglendd *daemon_;

/* MANY leases at a time, and back. */
static void fill_pool(pglend *pool)
{
    PGconn *conn[MANY];

    for (int i = 0; i < MANY; i++)
        ck_assert_msg((conn[i] = pglend_acquire(pool, 5000)) != NULL, "%s", pglend_errmessage(pool));
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_OK);
}

/* ---- idle_timeout ---- */

START_TEST(idle_ones_are_closed)
{
    pglend *pool;
    PGconn *conn;
    uint64_t filled;

    daemon_ =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'idle_timeout': '1s', 'size': {'min': 1, 'max': 3}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    fill_pool(pool);
    filled = harness_now_ms();
    ck_assert_int_eq(postgres_sessions(harness_server()), MANY);
    /* One that is lent is not idle, however long. */
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 0));
    wait_until(postgres_sessions(harness_server()) == 1, 5);
    ck_assert_uint_ge(harness_now_ms() - filled, 900);
    wait_until(pglendd_logged(daemon_, "idle too long"), 2);
    harness_sleep_ms(1500);
    ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    /* The last min stay. */
    harness_sleep_ms(2500);
    ck_assert_int_eq(postgres_sessions(harness_server()), 1);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(idle_timeout_is_off)
{
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'idle_timeout': '0s', 'size': {'max': 3}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    fill_pool(pool);
    harness_sleep_ms(2500);
    ck_assert_int_eq(postgres_sessions(harness_server()), MANY);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- max_lifetime, max_uses ---- */

/* The pid of the session that POOL lends now. */
static int lent_pid(pglend *pool)
{
    PGconn *conn = pglend_acquire(pool, 0);
    int pid;

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    pid = PQbackendPID(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    return pid;
}

static void follow_of_one(const char *overrides, const char *reason)
{
    pglend *pool;
    PGconn *held;
    char text[16];
    int first;

    daemon_ = pglendd_start(harness_server(), overrides);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
    first = PQbackendPID(held);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
        ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
    }
    /* Due, and lent: its replacement may be there, but it goes on. */
    for (int i = 0; i < 25; i++) {
        ck_assert_str_eq(query(held, "select 1", text, sizeof text), "1");
        harness_sleep_ms(100);
        ck_assert_int_le(postgres_sessions(harness_server()), 2);
    }
    ck_assert_int_eq(PQbackendPID(held), first);
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    wait_until((held = pglend_acquire(pool, 1000)) != NULL &&
                   (first != PQbackendPID(held) || (pglend_release(pool, held), false)),
               8);
    ck_assert_str_eq(query(held, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    ck_assert(pglendd_logged(daemon_, reason));
    pglend_close(pool);
    pglendd_stop(daemon_);
}

START_TEST(old_one_is_followed)
{
    follow_of_one("{'pools': {'clinic': {'max_lifetime': '2s', 'size': {'max': 1}}}}", "old enough");
}
END_TEST

START_TEST(used_one_is_followed)
{
    follow_of_one("{'pools': {'clinic': {'max_uses': 3, 'size': {'max': 1}}}}", "borrowed often enough");
}
END_TEST

/* A worker that never stops leasing: no acquire fails, the sessions change, and there is at most one too many. */
START_TEST(followed_under_load)
{
    uint64_t until = harness_now_ms() + 5000, acquires = 0;
    int changes = 0, last = 0;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'max_lifetime': '1s', 'max_uses': 50, 'size': "
                                              "{'min': 2, 'max': 2}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (; harness_now_ms() < until; acquires++) {
        PGconn *conn = pglend_acquire(pool, 1000);
        int pid;

        ck_assert_msg(conn != NULL, "acquire %llu: %s", (unsigned long long)acquires, pglend_errmessage(pool));
        pid = PQbackendPID(conn);
        changes += pid != last;
        last = pid;
        PQclear(PQexec(conn, "select 1"));
        ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        if (acquires % 100 == 0)
            ck_assert_int_le(postgres_sessions(harness_server()), 3);
    }
    ck_assert_msg(changes >= 3, "%d changes in %llu leases", changes, (unsigned long long)acquires);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A role that may not log in any more does not drain the pool; when it may, the replacement comes. */
START_TEST(postponed_while_logins_fail)
{
    pglend *pool;
    int first;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'max_lifetime': '2s', 'size': {'min': 2, 'max': "
                                              "2}, 'login': {'backoff_max': '200ms'}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    postgres_run(harness_server(), "alter role clinic nologin");
    first = lent_pid(pool);
    wait_until(pglendd_count(daemon_, "retire_postponed") == 2, 8);
    ck_assert(pglendd_logged(daemon_, "2 sessions are due for replacement, which waits until logins succeed"));
    harness_sleep_ms(1500);
    ck_assert_int_eq(lent_pid(pool), first);
    ck_assert_int_eq(postgres_sessions(harness_server()), 2);
    postgres_run(harness_server(), "alter role clinic login");
    ck_assert_int_eq(utimensat(AT_FDCWD, daemon_->password_file, NULL, 0), 0); /* else it is tried once a minute */
    wait_until(pglendd_count(daemon_, "retire_postponed") == 0 && lent_pid(pool) != first, 8);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* The supervisor dies with a replacement waiting for a lease: the lease goes on, the replacement goes. */
START_TEST(supervisor_dies_meanwhile)
{
    pid_t supervisor;
    pglend *pool;
    PGconn *held;
    char text[16];

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'max_lifetime': '1s', 'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    /* Borrowed anew each time, for a lease that lasts is not waited for. */
    do {
        ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
        if (postgres_sessions(harness_server()) == 2)
            break;
        harness_sleep_ms(300);
        if (postgres_sessions(harness_server()) == 2)
            break;
        ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    } while (true);
    supervisor = pglendd_signal(daemon_, "supervisor", SIGKILL);
    wait_until(postgres_sessions(harness_server()) == 1, 5);
    ck_assert_str_eq(query(held, "select 1", text, sizeof text), "1");
    wait_until(pglendd_has_another(daemon_, "supervisor", supervisor) && pglendd_count(daemon_, "leased") == 1, 5);
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
    ck_assert_str_eq(query(held, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- keepalive ---- */

/* A server process that hangs looks alive to the kernel. It must not be what the next borrower gets. */
START_TEST(hung_session_is_replaced)
{
    pglend *pool;
    PGconn *conn;
    char text[128];
    int hung;

    daemon_ =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'keepalive': '1s', 'check_timeout': '300ms', 'size': "
                                        "{'min': 1, 'max': 2}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    wait_until(pglendd_count(daemon_, "idle") == 1, 5);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    hung = PQbackendPID(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    wait_until(pglendd_count(daemon_, "idle") == 1, 5);
    ck_assert_int_eq(kill(hung, SIGSTOP), 0);
    wait_until(pglendd_logged(daemon_, "check timed out"), 15);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_ne(PQbackendPID(conn), hung);
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(kill(hung, SIGCONT), 0);
    (void)snprintf(text, sizeof text, "select count(*) from pg_stat_activity where pid = %d", hung);
    wait_until(strcmp(postgres_ask(harness_server(), text), "0") == 0, 10);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Healthy ones stay, with the answer of their last reset unread or not, and grow idle all the same. */
START_TEST(healthy_session_is_kept)
{
    static const char *const queries[] = {"", "select 1", "select generate_series(1, 1000)"};
    char overrides[256];
    pglend *pool;
    PGconn *first;
    uint64_t until;
    int pid;

    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'keepalive': '1s', 'check_query': '%s', 'idle_timeout': '5s', 'size': "
                   "{'min': 0, 'max': 1}}}}",
                   queries[_i]);
    daemon_ = pglendd_start(harness_server(), overrides);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(first = pglend_acquire(pool, 5000));
    pid = PQbackendPID(first);
    ck_assert_int_eq(pglend_release(pool, first), PGLEND_OK);
    until = harness_now_ms() + 3500;
    while (harness_now_ms() < until)
        harness_sleep_ms(10);
    ck_assert_ptr_nonnull(first = pglend_acquire(pool, 5000)); /* it may be being asked just now */
    ck_assert_int_eq(PQbackendPID(first), pid);
    ck_assert_int_eq(pglend_release(pool, first), PGLEND_OK);
    wait_until(postgres_sessions(harness_server()) == 0, 10);
    wait_until(pglendd_logged(daemon_, "idle too long"), 2);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(check_query_fails)
{
    daemon_ =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'keepalive': '1s', 'check_query': 'select nothing()', "
                                        "'size': {'min': 1, 'max': 1}}}}");
    wait_until(pglendd_logged(daemon_, "check failed"), 10);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- max_waiters ---- */

static int wait_for_one(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn;

    (void)argument;
    conn = pglend_acquire(pool, 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    (void)sock;
    return 0;
}

START_TEST(queue_has_an_end)
{
    struct worker_process waiter[2];
    uint64_t started;
    pglend *pool;
    PGconn *held;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'max_waiters': 2, 'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
    for (int i = 0; i < 2; i++) {
        worker_fork(&waiter[i], wait_for_one, NULL);
        wait_until(pglendd_count(daemon_, "waiting") == i + 1, 5);
    }
    started = harness_now_ms();
    ck_assert_ptr_null(pglend_acquire(pool, 8000));
    ck_assert_uint_lt(harness_now_ms() - started, 1000);
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_QUEUE_FULL);
    ck_assert_ptr_nonnull(strstr(pglend_errmessage(pool), "2 borrowers wait already, and max_waiters is 2"));
    ck_assert_int_eq(pglendd_count(daemon_, "waiting"), 2);
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(worker_wait(&waiter[i], 10), 0);
    ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- another setting of the server ---- */

/* Is WANT the time zone of the next lease, on the server? Here it is the same in any case. */
static bool time_zone_is(pglend *pool, const char *want, int *pid)
{
    PGconn *conn = pglend_acquire(pool, 5000);
    char zone[64];

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(query(conn, "show timezone", zone, sizeof zone), PQparameterStatus(conn, "TimeZone"));
    *pid = PQbackendPID(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    return strcmp(zone, want) == 0;
}

START_TEST(session_that_reports_another_setting_is_replaced)
{
    struct postgres *server = postgres_start(0);
    int before, after, still;
    pglend *pool;

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert(!time_zone_is(pool, "Asia/Tokyo", &before));
    postgres_run(server, "alter system set timezone = 'Asia/Tokyo'");
    postgres_signal(server, SIGHUP);
    wait_until(time_zone_is(pool, "Asia/Tokyo", &after), 10);
    ck_assert(time_zone_is(pool, "Asia/Tokyo", &after));
    ck_assert_int_ne(after, before);
    ck_assert(time_zone_is(pool, "Asia/Tokyo", &still));
    ck_assert_int_eq(still, after);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_health");
    TCase *tc = harness_live_case(suite, "idle", 20);

    tcase_add_test(tc, idle_ones_are_closed);
    tcase_add_test(tc, idle_timeout_is_off);
    tc = harness_live_case(suite, "queue", 20);
    tcase_add_test(tc, queue_has_an_end);
    tc = harness_live_case(suite, "check", 30);
    tcase_add_test(tc, hung_session_is_replaced);
    tcase_add_loop_test(tc, healthy_session_is_kept, 0, 3);
    tcase_add_test(tc, check_query_fails);
    tc = harness_live_case(suite, "server", 30);
    tcase_add_test(tc, session_that_reports_another_setting_is_replaced);
    tc = harness_live_case(suite, "replace", 25);
    tcase_add_test(tc, old_one_is_followed);
    tcase_add_test(tc, used_one_is_followed);
    tcase_add_test(tc, followed_under_load);
    tcase_add_test(tc, postponed_while_logins_fail);
    tcase_add_test(tc, supervisor_dies_meanwhile);
    return harness_main(suite);
}
