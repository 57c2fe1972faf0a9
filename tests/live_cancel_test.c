/* SPDX-License-Identifier: ISC */
/*
 * live_cancel_test.c - a cancel request hits the lease it was made for, or nobody.
 *
 * The hard thing to bring about is a cancel that is on its way while its lease ends: 200 rounds of it, with a borrower
 * who waits for that very backend and must never see its query cancelled.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "pgwire.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 200

static struct pglendd *daemon_;

/* ---- helpers ---- */

/* One session; where BY_QUERY, one whose cancel key could not be read, so that each cancel is a login's. */
static void start(const struct postgres *server, bool by_query)
{
    if (by_query)
        ck_assert_int_eq(setenv("PGLEND_NO_CANCEL_KEY", "1", 1), 0);
    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'max': 1}}}}");
    ck_assert_int_eq(unsetenv("PGLEND_NO_CANCEL_KEY"), 0);
}

static void *send_cancel(void *cancel)
{
    char error[256];

    /* Whether it is in time is chance; that it is answered is not. */
    (void)PQcancel(cancel, error, sizeof error);
    return NULL;
}

/* A CancelRequest of this process; returns when the door has closed the connection. */
static void cancel_by_key(int pid, uint32_t key)
{
    uint32_t packet[4] = {htonl(16), htonl(PG_CODE_CANCEL), htonl((uint32_t)pid), htonl(key)};
    int sock = pglendd_connect(daemon_, ".s.PGSQL.6432");
    char byte;

    ck_assert_int_eq(send(sock, packet, sizeof packet, 0), sizeof packet);
    ck_assert_int_eq(recv(sock, &byte, 1, 0), 0);
    (void)close(sock);
}

/* Borrows and asks, until told to stop; no answer may be an error. */
static int never_cancelled(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    struct pollfd stop = {.fd = sock, .events = POLLIN};
    char text[64];

    (void)argument;
    say(sock, 'r');
    while (poll(&stop, 1, 0) == 0) {
        PGconn *conn = pglend_acquire(pool, 10000);

        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
        for (int i = 0; i < 3; i++)
            (void)query(conn, "select pg_sleep(0.001)", text, sizeof text);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    return 0;
}

/* ---- tests ---- */

START_TEST(wrong_key)
{
    char text[64];
    pglend *pool;
    PGconn *conn;
    int pid;

    start(harness_server(), _i == 1);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    pid = PQbackendPID(conn);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(0.5)"), 1);
    for (uint32_t i = 0; i < 100; i++)
        cancel_by_key(pid + (int)(i % 2), i * 0x1234567);
    cancel_by_key(0, 0);
    cancel_by_key(-1, UINT32_MAX);
    /* Not one of them was believed, nor passed on to the server. */
    ck_assert_int_eq(PQisBusy(conn), 1);
    PQclear(PQgetResult(conn));
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_str_eq(query(conn, "select 'fine'", text, sizeof text), "fine");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* The lease is over, and the backend somebody else's, in the same process or in another. */
START_TEST(after_release)
{
    struct worker_process other;
    PGresult *result;
    PGcancel *cancel;
    char text[64];
    pglend *pool, *next;
    PGconn *conn;

    start(harness_server(), _i == 1);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    next = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_ptr_nonnull(cancel = PQgetCancel(conn));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    (void)send_cancel(cancel);
    ck_assert_ptr_nonnull(conn = pglend_acquire(next, 5000));
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(0.3)"), 1);
    (void)send_cancel(cancel);
    result = PQgetResult(conn);
    ck_assert_int_eq(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_int_eq(pglend_release(next, conn), PGLEND_OK);
    worker_fork(&other, never_cancelled, NULL);
    ck_assert_int_eq(hear(other.sock, 5), 'r');
    for (int i = 0; i < 100; i++)
        (void)send_cancel(cancel);
    say(other.sock, 's');
    ck_assert_int_eq(worker_wait(&other, 10), 0);
    PQfreeCancel(cancel);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_str_eq(query(conn, "select 'fine'", text, sizeof text), "fine");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglend_close(next);
    pglendd_stop(daemon_);
}
END_TEST

/* How long a cancel takes to arrive, in milliseconds: a race is one that is about as long. */
static unsigned cancel_takes_ms(pglend *pool)
{
    uint64_t began, took;
    PGconn *conn = pglend_acquire(pool, 10000);
    PGresult *result;
    PGcancel *cancel;
    pthread_t thread;
    char text[8];

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    /* A session's first query may take longer than a cancel. */
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_ptr_nonnull(cancel = PQgetCancel(conn));
    began = harness_now_ms();
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(60)"), 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, send_cancel, cancel), 0);
    ck_assert_ptr_nonnull(result = PQgetResult(conn));
    took = harness_now_ms() - began;
    ck_assert_str_eq(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    PQfreeCancel(cancel);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    return (unsigned)took;
}

START_TEST(racing_release)
{
    struct worker_process other;
    unsigned rounds = harness_rounds(_i == 1 ? ROUNDS / 4 : ROUNDS), hit = 0;
    unsigned seed = 7, most_ms;
    pglend *pool;

    start(harness_server(), _i == 1);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    most_ms = 2 * cancel_takes_ms(pool) + 1;
    worker_fork(&other, never_cancelled, NULL);
    ck_assert_int_eq(hear(other.sock, 5), 'r');
    for (unsigned i = 0; i < rounds; i++) {
        unsigned pause_ms = (unsigned)rand_r(&seed) % (most_ms + 1);
        struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000L};
        PGconn *conn = pglend_acquire(pool, 10000);
        char sql[64];
        PGresult *result;
        PGcancel *cancel;
        pthread_t thread;

        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
        ck_assert_ptr_nonnull(cancel = PQgetCancel(conn));
        (void)snprintf(sql, sizeof sql, "select pg_sleep(%g)", (unsigned)rand_r(&seed) % (most_ms + 1) / 1000.0);
        ck_assert_int_eq(PQsendQuery(conn, sql), 1);
        ck_assert_int_eq(pthread_create(&thread, NULL, send_cancel, cancel), 0);
        if (i % 2 == 1) {
            (void)nanosleep(&pause, NULL); /* and given back with the query still running */
        } else {
            while ((result = PQgetResult(conn)) != NULL) {
                hit += PQresultStatus(result) == PGRES_FATAL_ERROR;
                PQclear(result);
            }
        }
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        PQfreeCancel(cancel);
    }
    say(other.sock, 's');
    ck_assert_int_eq(worker_wait(&other, 10), 0);
    ck_assert_msg(hit > 0 && hit < rounds / 2, "%u of %u cancels came in time: no race", hit, rounds / 2);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* The server's session that is to cancel another is lost before it has said whether it did. */
START_TEST(lost_by_query)
{
    struct postgres *server = postgres_start(0);
    PGresult *result;
    PGcancel *cancel;
    pglend *pool;
    PGconn *conn;
    int pid;

    postgres_run(server, "alter function pg_catalog.pg_cancel_backend(int) rename to pg_cancel_backend_of_old");
    postgres_run(server, "create function pg_catalog.pg_cancel_backend(int) returns bool language sql as "
                         "'select pg_cancel_backend_of_old($1) and pg_terminate_backend(pg_backend_pid())'");
    start(server, true);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    pid = PQbackendPID(conn);
    ck_assert_ptr_nonnull(cancel = PQgetCancel(conn));
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(30)"), 1);
    (void)send_cancel(cancel);
    PQfreeCancel(cancel);
    ck_assert_ptr_nonnull(result = PQgetResult(conn));
    ck_assert_str_eq(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    /* It might hit whoever has the session next. */
    ck_assert_msg((conn = pglend_acquire(pool, 5000)) != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_ne(PQbackendPID(conn), pid);
    ck_assert(pglendd_logged(daemon_, "cancel lost"));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_cancel");
    TCase *tc = harness_live_case(suite, "cancel", 60);

    /* By key, by query. */
    tcase_add_loop_test(tc, wrong_key, 0, 2);
    tcase_add_loop_test(tc, after_release, 0, 2);
    tcase_add_loop_test(tc, racing_release, 0, 2);
    tcase_add_test(tc, lost_by_query);
    return harness_main(suite);
}
