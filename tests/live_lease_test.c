/* SPDX-License-Identifier: ISC */
/*
 * live_lease_test.c - leases that last: told of with what their session does, and revoked by time, by idleness, by
 * idleness in a transaction.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <libpq-events.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pglendd *daemon_;
static pglend *pool;

static PGconn *borrow_under(const char *overrides)
{
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), overrides);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(pool);
    conn = pglend_acquire_as(pool, "dr\" who", "treatment", 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    return conn;
}

static void end(void)
{
    pglend_close(pool);
    pglendd_stop(daemon_);
}

static void run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);

    ck_assert_msg(PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK, "%s: %s",
                  sql, PQresultErrorMessage(result));
    PQclear(result);
}

static void expect_lost(PGconn *conn, const char *reason, const char *why)
{
    PGresult *result;

    wait_until(pglendd_logged(daemon_, reason), 10);
    result = PQexec(conn, "select 1");
    ck_assert_int_ne(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_LOST);
    ck_assert_msg(strstr(pglend_errmessage(pool), why) != NULL, "%s", pglend_errmessage(pool));
    /* The slot serves again. */
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    run(conn, "select 1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

/* ---- lease_warn ---- */

START_TEST(long_lease_is_told_of)
{
    PGconn *conn = borrow_under("{'pools': {'clinic': {'lease_warn': '1s'}}}");
    char holder[64];

    (void)snprintf(holder, sizeof holder, "by pid %d (uid %u, ", (int)getpid(), (unsigned)getuid());
    run(conn, "begin");
    run(conn, "select 'the patient''s name'");
    wait_until(pglendd_logged(daemon_, " is held for "), 10);
    ck_assert(pglendd_logged(daemon_, holder));
    ck_assert(pglendd_logged(daemon_, "actor \"dr? who\"); its session is idle in transaction for "));
    ck_assert(pglendd_logged(daemon_, ", waits for Client/ClientRead"));
    ck_assert(!pglendd_logged(daemon_, "patient"));
    ck_assert(!pglendd_logged(daemon_, " is over, after "));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    wait_until(pglendd_logged(daemon_, " is over, after "), 5);
    end();
}
END_TEST

/* Told of even where the server cannot be asked. */
START_TEST(long_lease_is_told_of_blindly)
{
    PGconn *conn = borrow_under("{'pools': {'clinic': {'lease_warn': '1s'}}}");

    postgres_run(harness_server(), "alter role clinic nologin");
    wait_until(pglendd_logged(daemon_, "what its session does is not known: "), 10);
    ck_assert(pglendd_logged(daemon_, "is not permitted to log in"));
    postgres_run(harness_server(), "alter role clinic login");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    end();
}
END_TEST

/* ---- limits ---- */

START_TEST(lease_max_revokes)
{
    PGconn *conn = borrow_under("{'pools': {'clinic': {'lease_max': '1s', 'size': {'max': 1}}}}");

    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(60)"), 1); /* whatever it does */
    expect_lost(conn, "lease too long", "longer than the pool's lease_max");
    end();
}
END_TEST

/* A long report is not idle; what has been idle for long is, however long ago the lease began. */
START_TEST(lease_idle_max_revokes)
{
    PGconn *conn = borrow_under("{'pools': {'clinic': {'lease_idle_max': '1s', 'size': {'max': 1}}}}");

    run(conn, "select pg_sleep(3.5)");
    run(conn, "select 1");
    expect_lost(conn, "lease idle too long", "idle for longer than the pool's lease_idle_max");
    end();
}
END_TEST

/* Automatic logoff: the session ends on the server, whichever way it came, and what it had open with it. */
START_TEST(an_idle_session_is_logged_off)
{
    const char *const hosts[] = {"127.0.0.1", harness_server()->directory};
    char overrides[256], sql[128];
    PGconn *conn;

    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'lease_idle_max': '1s', 'size': {'max': 1}, 'database': {'host': '%s'}}}}",
                   hosts[_i]);
    conn = borrow_under(overrides);
    run(conn, "create temp table open_chart(a int)");
    run(conn, "select pg_advisory_lock(4711)");
    (void)snprintf(sql, sizeof sql, "select count(*) from pg_stat_activity where pid = %d", PQbackendPID(conn));
    ck_assert_str_eq(postgres_ask(harness_server(), sql), "1");
    wait_until(strcmp(postgres_ask(harness_server(), sql), "0") == 0, 10);
    ck_assert_str_eq(postgres_ask(harness_server(), "select count(*) from pg_locks where locktype = 'advisory'"), "0");
    expect_lost(conn, "lease idle too long", "idle for longer than the pool's lease_idle_max");
    end();
}
END_TEST

START_TEST(lease_idle_in_transaction_max_revokes)
{
    PGconn *conn = borrow_under("{'pools': {'clinic': {'lease_idle_in_transaction_max': '1s', 'size': {'max': 1}}}}");
    uint64_t until = harness_now_ms() + 3500;

    while (harness_now_ms() < until)
        harness_sleep_ms(10); /* idle, but in no transaction */
    run(conn, "begin");
    run(conn, "create table never(a int)");
    expect_lost(conn, "lease idle in transaction too long", "idle in a transaction");
    end();
}
END_TEST

/* Its slot has another session: whoever lost it need not know for others of its process to borrow there. */
START_TEST(a_lost_lease_is_in_nobodys_way)
{
    PGconn *lost = borrow_under("{'pools': {'clinic': {'size': {'max': 1}}}}"), *conn;

    for (int i = 0; i < 2; i++) {
        json_decref(pglendd_result(daemon_, "revoke", "{'slot': 'clinic/0', 'wait': 'yes'}"));
        conn = pglend_acquire(pool, 10000);
        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
        run(conn, "select 1");
        ck_assert_int_eq(pglend_release(pool, lost), PGLEND_LOST);
        run(conn, "select 1");
        lost = conn;
    }
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    /* And who never gives it back ends it with the handle. */
    ck_assert_ptr_nonnull(pglend_acquire(pool, 5000));
    json_decref(pglendd_result(daemon_, "revoke", "{'slot': 'clinic/0', 'wait': 'yes'}"));
    ck_assert_ptr_nonnull(pglend_acquire(pool, 10000));
    end();
}
END_TEST

static PGconn *later;

/* Freeing what is given back takes its time: meanwhile the lease is taken away, and its slot lent to the next. */
static int lend_to_the_next(PGEventId event, void *info, void *pass)
{
    (void)info;
    (void)pass;
    if (event == PGEVT_CONNDESTROY) {
        json_decref(pglendd_result(daemon_, "revoke", "{'slot': 'clinic/0', 'wait': 'yes'}"));
        later = pglend_acquire(pool, 10000);
    }
    return 1;
}

START_TEST(a_release_ends_no_later_lease)
{
    PGconn *conn = borrow_under("{'pools': {'clinic': {'size': {'max': 1}}}}");
    pglend *another = pglend_open(daemon_->runtime_dir, "clinic");

    ck_assert_int_ne(PQregisterEventProc(conn, lend_to_the_next, "next", NULL), 0);
    /* In strict isolation it was held when its end was sent. */
    ck_assert_int_eq(pglend_release(pool, conn), pglendd_is_strict(daemon_) ? PGLEND_OK : PGLEND_LOST);
    ck_assert_ptr_nonnull(later);
    ck_assert_ptr_null(pglend_acquire(another, 300));
    ck_assert_int_eq(pglend_errcode(another), PGLEND_TIMEOUT);
    run(later, "select 1");
    ck_assert_int_eq(pglend_release(pool, later), PGLEND_OK);
    pglend_close(another);
    end();
}
END_TEST

/* Leases that end in time are not looked at: nobody logs in for them. */
START_TEST(short_leases_are_left_alone)
{
    PGconn *conn =
        borrow_under("{'pools': {'clinic': {'lease_max': '2s', 'lease_idle_max': '2s', 'size': {'max': 1}}}}");
    uint64_t until = harness_now_ms() + 4000;

    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    while (harness_now_ms() < until) {
        ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
        run(conn, "select pg_sleep(0.2)");
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    ck_assert_int_eq(postgres_sessions(harness_server()), 1);
    ck_assert(!pglendd_logged(daemon_, "is held for"));
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_lease");
    TCase *tc = harness_live_case(suite, "lease", 30);

    tcase_add_test(tc, long_lease_is_told_of);
    tcase_add_test(tc, long_lease_is_told_of_blindly);
    tcase_add_test(tc, lease_max_revokes);
    tcase_add_test(tc, lease_idle_max_revokes);
    tcase_add_loop_test(tc, an_idle_session_is_logged_off, 0, 2);
    tcase_add_test(tc, lease_idle_in_transaction_max_revokes);
    tcase_add_test(tc, a_lost_lease_is_in_nobodys_way);
    tcase_add_test(tc, a_release_ends_no_later_lease);
    tcase_add_test(tc, short_leases_are_left_alone);
    return harness_main(suite);
}
