/* SPDX-License-Identifier: ISC */
/*
 * live_cut_test.c - a worker is killed in the middle of sending. What the supervisor sends afterwards completes its
 * message and is no part of it: of what was cut off nothing may be executed, and nothing may be committed that a server
 * which lost its client would have rolled back.
 *
 * Every row is cut after each of its bytes.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "pgwire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_MAX 256

static struct pglendd *daemon_;

/* ---- what is sent ---- */

static void sent_query(struct pg_buffer *out, const char *sql)
{
    pg_query(out, sql);
}

/* Parse, Bind, Execute: it is not Sync that is missing at the end of these. */
static void sent_statement(struct pg_buffer *out, const char *sql)
{
    size_t begun = pg_begin(out, 'P');

    pg_string(out, "");
    pg_string(out, sql);
    pg_bytes(out, "\0\0", 2);
    pg_end(out, begun);
    begun = pg_begin(out, 'B');
    pg_string(out, "");
    pg_string(out, "");
    pg_bytes(out, "\0\0\0\0\0\0", 6);
    pg_end(out, begun);
    begun = pg_begin(out, 'E');
    pg_string(out, "");
    pg_int32(out, 0);
    pg_end(out, begun);
}

static void sent_pipeline(struct pg_buffer *out, const char *sql)
{
    sent_statement(out, sql);
    sent_statement(out, sql);
    pg_end(out, pg_begin(out, 'S'));
}

static const struct cut {
    const char *name;
    void (*send)(struct pg_buffer *out, const char *sql);
    const char *sql;
    size_t done;  /* rows in the table after all of it */
    size_t spare; /* without as many bytes at the end it may do the same, and nothing else: README.md, honest limits */
} cuts[] = {
    {"a query", sent_query, "insert into cut values (1)", 1, 0},
    {"two statements", sent_query, "insert into cut values (1); insert into cut values (2)", 2, 0},
    {"a query that ends in a comment", sent_query, "insert into cut values (1) -- one", 1, 2},
    {"a pipeline of two", sent_pipeline, "insert into cut values (1)", 2, 0},
};

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written through what is made of it */
static size_t whole(const struct cut *cut, unsigned char *bytes)
{
    struct pg_buffer out = {.at = bytes, .size = STREAM_MAX};

    cut->send(&out, cut->sql);
    ck_assert(!out.overflow);
    return out.length;
}

/* ---- who sends it ---- */

struct sender {
    const struct cut *cut;
    size_t length;
};

static int send_and_wait(void *argument, int sock)
{
    const struct sender *sender = argument;
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 10000);
    unsigned char bytes[STREAM_MAX];

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    (void)whole(sender->cut, bytes);
    ck_assert_int_eq(send(PQsocket(conn), bytes, sender->length, 0), (ssize_t)sender->length);
    say(sock, 's');
    (void)hear(sock, 60);
    return 0;
}

static void fill_the_socket(PGconn *conn)
{
    static char text[20000000];
    int length = snprintf(text, sizeof text, "insert into cut values (1); insert into cut values (2) -- ");

    (void)memset(text + length, 'x', sizeof text - (size_t)length - 1);
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    ck_assert_int_eq(PQsendQuery(conn, text), 1);
    ck_assert_int_eq(PQflush(conn), 1);
}

static void unsynced_pipeline(PGconn *conn)
{
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(PQsendQueryParams(conn, "insert into cut values (1)", 0, NULL, NULL, NULL, NULL, 0), 1);
    ck_assert_int_eq(PQsendFlushRequest(conn), 1);
    ck_assert_int_eq(PQflush(conn), 0);
    PQclear(PQgetResult(conn)); /* the first is executed */
}

static void (*const by_libpq[])(PGconn *) = {fill_the_socket, unsynced_pipeline};

static int leave_and_wait(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 10000);

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    by_libpq[*(int *)argument](conn);
    say(sock, 's');
    (void)hear(sock, 60);
    return 0;
}

/* ---- tests ---- */

static void start(void)
{
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    postgres_run(harness_server(), "drop table if exists cut; create table cut (i int); grant all on cut to clinic");
}

/* Rows in the table, and none of them is left, when WORK's worker was killed and its slot serves again. */
static size_t rows_after_death(worker_function *work, void *argument)
{
    struct worker_process worker;
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    char text[16];
    PGconn *conn;
    size_t rows;

    worker_fork(&worker, work, argument);
    ck_assert_int_eq(hear(worker.sock, 20), 's');
    worker_kill(&worker, SIGKILL);
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    rows =
        strtoul(query(conn, "with gone as (delete from cut returning 1) select count(*) from gone", text, sizeof text),
                NULL, 10);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return rows;
}

START_TEST(cut_anywhere)
{
    const struct cut *cut = &cuts[_i];
    unsigned char bytes[STREAM_MAX];
    size_t length = whole(cut, bytes);

    start();
    for (size_t i = 1; i <= length; i++) {
        struct sender sender = {cut, i};
        size_t rows = rows_after_death(send_and_wait, &sender);

        if (i == length)
            ck_assert_msg(rows == cut->done, "%s, all of it: %zu rows", cut->name, rows);
        else if (cut->spare == 0 || i != length - cut->spare)
            ck_assert_msg(rows == 0, "%s, %zu of %zu bytes: %zu rows", cut->name, i, length, rows);
        else
            ck_assert_msg(rows == 0 || rows == cut->done, "%s, %zu of %zu bytes: %zu rows", cut->name, i, length, rows);
    }
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(left_by_libpq)
{
    start();
    ck_assert_uint_eq(rows_after_death(leave_and_wait, &_i), 0);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_cut");
    TCase *tc = harness_live_case(suite, "cut", 60);

    tcase_add_loop_test(tc, cut_anywhere, 0, (int)(sizeof cuts / sizeof cuts[0]));
    tcase_add_loop_test(tc, left_by_libpq, 0, (int)(sizeof by_libpq / sizeof by_libpq[0]));
    return harness_main(suite);
}
