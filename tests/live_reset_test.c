/* SPDX-License-Identifier: ISC */
/*
 * live_reset_test.c - whatever a borrower leaves behind, the next one has a new session.
 *
 * Each way to leave a connection dirty is a row. A session is described by one text (settings, locks, statements,
 * cursors, temporary tables, who it is, what the PGconn believes); the text of the first borrower's new session is
 * compared with the next one's, in the same process and in another, on the one connection that there is.
 */
#include "dirt.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ACCOUNT_MAX    131072
#define RELEASE_BOUND  3000 /* ms: reset_timeout's default, what cancelling takes, and a slow machine */
#define PARAMETERS_MAX 16

/* ---- a session in one text ---- */

/* Order by the first column, so that the text is the same for the same state. */
static const char *const questions[] = {
    "select name, setting, source from pg_settings order by 1",
    ("select locktype, mode, relation::regclass from pg_locks where pid = pg_backend_pid() and locktype <> "
     "'virtualxid' "
     "and relation is distinct from 'pg_locks'::regclass order by 1, 2"),
    "select name, statement from pg_prepared_statements order by 1",
    "select name, is_holdable from pg_cursors order by 1",
    "select count(*) from pg_class where relnamespace = pg_my_temp_schema()",
    "select current_user, session_user, current_schema()",
    "select pg_listening_channels() order by 1",
    "select txid_current_if_assigned(), now() = statement_timestamp(), pg_trigger_depth()",
    "select state, wait_event, backend_xid from pg_stat_activity where pid = pg_backend_pid()",
    "select coalesce(nullif(current_setting('my.actor', true), ''), 'unset')",
};

static const char *const parameters[PARAMETERS_MAX] = {"server_version",
                                                       "server_encoding",
                                                       "client_encoding",
                                                       "application_name",
                                                       "default_transaction_read_only",
                                                       "in_hot_standby",
                                                       "is_superuser",
                                                       "session_authorization",
                                                       "DateStyle",
                                                       "IntervalStyle",
                                                       "TimeZone",
                                                       "integer_datetimes",
                                                       "standard_conforming_strings"};

static void describe_question(PGconn *conn, const char *sql, FILE *out)
{
    PGresult *r = PQexec(conn, sql);

    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(conn));
    for (int row = 0; row < PQntuples(r); row++) {
        for (int column = 0; column < PQnfields(r); column++)
            fprintf(out, "%s ", PQgetisnull(r, row, column) ? "NULL" : PQgetvalue(r, row, column));
        fprintf(out, "\n");
    }
    PQclear(r);
}

/* What the PGconn itself believes; asked before any query may mend it. */
static void describe_connection(PGconn *conn, FILE *out)
{
    PQnoticeReceiver receiver = PQsetNoticeReceiver(conn, NULL, NULL);
    PQnoticeProcessor processor = PQsetNoticeProcessor(conn, NULL, NULL);
    PGVerbosity verbosity = PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    PGContextVisibility context = PQsetErrorContextVisibility(conn, PQSHOW_CONTEXT_ERRORS);
    PGnotify *notify = PQnotifies(conn);

    fprintf(out, "status %d transaction %d nonblocking %d pipeline %d busy %d flush %d encoding %s notify %s\n",
            PQstatus(conn), PQtransactionStatus(conn), PQisnonblocking(conn), PQpipelineStatus(conn), PQisBusy(conn),
            PQflush(conn), pg_encoding_to_char(PQclientEncoding(conn)), notify != NULL ? notify->extra : "none");
    fprintf(out, "receiver %p processor %p verbosity %d context %d error \"%s\"\n", (void *)receiver, (void *)processor,
            verbosity, context, PQerrorMessage(conn));
    for (int i = 0; parameters[i] != NULL; i++)
        fprintf(out, "%s = %s\n", parameters[i], PQparameterStatus(conn, parameters[i]));
    PQfreemem(notify);
}

static void describe(PGconn *conn, char text[ACCOUNT_MAX])
{
    FILE *out = fmemopen(text, ACCOUNT_MAX, "w");

    ck_assert_ptr_nonnull(out);
    describe_connection(conn, out);
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
        describe_question(conn, questions[i], out);
    ck_assert_int_eq(ferror(out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

/* Fails with the first line that differs. */
static void same(const char *name, const char *expected, const char *found)
{
    const char *a = expected, *b = found;

    while (*a != '\0' && *a == *b)
        a++, b++;
    while (a > expected && a[-1] != '\n')
        a--, b--;
    ck_assert_msg(strcmp(a, b) == 0, "after \"%s\": \"%.*s\" instead of \"%.*s\"", name, (int)strcspn(b, "\n"), b,
                  (int)strcspn(a, "\n"), a);
}

/* ---- tests ---- */

#define TRIES 4

static char fresh[ACCOUNT_MAX], found[ACCOUNT_MAX];

struct next {
    const struct pglendd *daemon;
    const struct dirt *row;
    int backend;
};

static PGconn *borrow(pglend *pool, const char *name)
{
    PGconn *conn = pglend_acquire(pool, 10000);

    ck_assert_msg(conn != NULL, "after \"%s\": %s", name, pglend_errmessage(pool));
    return conn;
}

/* Raise a notice, make an error and results: nobody but the present borrower may hear of it. */
static void nobody_listens(PGconn *conn, const struct dirt *row)
{
    char text[16];
    long length = dirt_traced != NULL ? ftell(dirt_traced) : 0;
    PGresult *r;

    dirt_called = 0;
    (void)PQsetNoticeReceiver(conn, NULL, NULL);
    (void)query(conn, "do $$begin perform 1; end$$", text, sizeof text);
    r = PQexec(conn, "select generate_series(1, 3)");
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 3, "after \"%s\": %s", row->name,
                  PQerrorMessage(conn));
    PQclear(r);
    r = PQexec(conn, "select lastval()");
    ck_assert_str_eq(PQresultErrorField(r, PG_DIAG_SQLSTATE), "55000");
    PQclear(r);
    ck_assert_msg(dirt_called == 0, "after \"%s\": the last borrower's procedure was called", row->name);
    ck_assert_ptr_null(PQinstanceData(conn, dirt_event));
    if (dirt_traced != NULL)
        ck_assert_msg(ftell(dirt_traced) == length, "after \"%s\": still traced", row->name);
}

static void is_new(PGconn *conn, const struct next *next)
{
    describe(conn, found);
    same(next->row->name, fresh, found);
    nobody_listens(conn, next->row);
    if (next->row->fate == KEPT)
        ck_assert_msg(PQbackendPID(conn) == next->backend, "after \"%s\": the backend was replaced", next->row->name);
}

static void make_dirty(pglend *pool, const struct next *next)
{
    PGconn *conn = borrow(pool, next->row->name);
    uint64_t start;

    next->row->leave(conn, next->row->sql);
    start = harness_now_ms();
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "\"%s\": %s", next->row->name, pglend_errmessage(pool));
    ck_assert_msg(harness_now_ms() - start < RELEASE_BOUND, "\"%s\": release took %lu ms", next->row->name,
                  (unsigned long)(harness_now_ms() - start));
}

static int next_worker(void *argument, int sock)
{
    const struct next *next = argument;
    pglend *pool = pglend_open(next->daemon->runtime_dir, "clinic");
    PGconn *conn = borrow(pool, next->row->name);

    (void)sock;
    is_new(conn, next);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* The reference: a session nobody used before. Returns its backend. */
static int look_at_new(pglend *pool)
{
    PGconn *conn = borrow(pool, "start");
    int backend = PQbackendPID(conn);

    describe(conn, fresh);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    return backend;
}

START_TEST(next_in_this_process)
{
    struct pglendd *d = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    struct next next = {.daemon = d, .row = &dirt[_i]};
    bool kept = false;

    for (int i = 0; i < TRIES && !kept; i++) {
        PGconn *conn;

        next.backend = look_at_new(pool);
        make_dirty(pool, &next);
        conn = borrow(pool, next.row->name);
        is_new(conn, &next);
        kept = next.row->fate == ANY_FATE || PQbackendPID(conn) == next.backend;
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    ck_assert_msg(kept, "after \"%s\": the backend was replaced, %d times of %d", next.row->name, TRIES, TRIES);
    pglend_close(pool);
    pglendd_stop(d);
    if (dirt_traced != NULL)
        (void)fclose(dirt_traced);
}
END_TEST

START_TEST(next_in_another_process)
{
    struct pglendd *d = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    struct next next = {.daemon = d, .row = &dirt[_i]};

    next.backend = look_at_new(pool);
    make_dirty(pool, &next);
    in_worker(next_worker, &next, 20);
    pglend_close(pool);
    pglendd_stop(d);
    if (dirt_traced != NULL)
        (void)fclose(dirt_traced);
}
END_TEST

/* Drop what lines say about application_name: the one thing pglend sets. */
static void forget_application_name(char *text)
{
    for (char *at = text; (at = strstr(at, "application_name")) != NULL;) {
        const char *end = strchrnul(at, '\n');

        memmove(at, end, strlen(end) + 1);
    }
}

/* By libpq alone, the way that the pool goes: a session over TCP has settings that others have not. */
static PGconn *connect_alike(const struct postgres *server)
{
    static const char *const names[] = {"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", NULL};
    char port[16];
    const char *const values[] = {
        "127.0.0.1", port, "clinic", "clinic", POSTGRES_PASSWORD, "verify-full", postgres_certificate(), NULL};
    PGconn *conn;

    if (postgres_certificate() == NULL)
        return postgres_connect(server, "clinic");
    (void)snprintf(port, sizeof port, "%d", server->port);
    conn = PQconnectdbParams(names, values, 0);
    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    return conn;
}

/* What the server knows of a lent session is what it knows of one that libpq made by itself. */
START_TEST(as_a_session_of_ones_own)
{
    struct pglendd *d = pglendd_start(harness_server(), NULL);
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    PGconn *own = connect_alike(harness_server());
    int lent = look_at_new(pool);

    ck_assert_int_ne(lent, PQbackendPID(own));
    describe(own, found);
    PQfinish(own);
    pglend_close(pool);
    pglendd_stop(d);
    forget_application_name(fresh);
    forget_application_name(found);
    same("login", found, fresh);
}
END_TEST

/* One after the other on one connection: nothing adds up. */
START_TEST(all_in_a_row)
{
    struct pglendd *d = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    struct next next = {.daemon = d};
    PGconn *conn;

    (void)look_at_new(pool);
    for (int i = 0; i < dirts; i++) {
        next.row = &dirt[i];
        make_dirty(pool, &next);
        conn = borrow(pool, next.row->name);
        describe(conn, found);
        same(next.row->name, fresh, found);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    pglendd_stop(d);
    (void)fclose(dirt_traced);
}
END_TEST

static int backend_dies_unread(void *argument, int sock)
{
    const struct pglendd *d = argument;
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    PGconn *conn = borrow(pool, "dies unread");
    int errors = dup(STDERR_FILENO), said = memfd_create("said", MFD_CLOEXEC);
    struct pollfd last_words = {.fd = PQsocket(conn), .events = POLLIN};
    char sql[64];
    off_t length;

    (void)sock;
    (void)snprintf(sql, sizeof sql, "select pg_terminate_backend(%d)", PQbackendPID(conn));
    postgres_run(harness_server(), sql);
    ck_assert_int_eq(poll(&last_words, 1, 10000), 1);
    ck_assert_int_eq(PQconsumeInput(conn), 1);
    ck_assert_int_ne(dup2(said, STDERR_FILENO), -1);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    length = lseek(said, 0, SEEK_END);
    ck_assert_int_ne(dup2(errors, STDERR_FILENO), -1);
    ck_assert_msg(length == 0, "the library wrote %lld bytes on standard error", (long long)length);
    (void)close(errors);
    (void)close(said);
    pglend_close(pool);
    return 0;
}

/* A library that prints nothing must not have libpq print for it. */
START_TEST(release_prints_nothing)
{
    struct pglendd *d = pglendd_start(harness_server(), NULL);

    in_worker(backend_dies_unread, d, 20);
    pglendd_stop(d);
}
END_TEST

/* A reset that wants to copy is no reset: the session is replaced, and the release ends. */
START_TEST(reset_that_copies)
{
    struct pglendd *d =
        pglendd_start(harness_server(),
                      "{'pools': {'clinic': {'size': {'max': 1}, 'reset': {'query': 'copy (select 1) to stdout'}}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");

    for (int i = 0; i < 2; i++) {
        PGconn *conn = borrow(pool, "a reset that copies");

        ck_assert_int_eq(PQsetClientEncoding(conn, "LATIN1"), 0); /* so that it is awaited */
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    pglendd_stop(d);
}
END_TEST

/* Each lease has a session of its own, which is no fault of its borrower's. */
START_TEST(replaced_after_each_lease)
{
    struct pglendd *d =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}, 'reset': 'replace'}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    json_t *stats;
    int backend = 0;

    for (int i = 0; i < 3; i++) {
        PGconn *conn = borrow(pool, "one of its own");

        ck_assert_int_ne(PQbackendPID(conn), backend);
        backend = PQbackendPID(conn);
        if (i == 2) /* and whatever its borrower left */
            PQclear(PQexec(conn, "begin"));
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    wait_until(pglendd_count(d, "total") == 0, 10);
    stats = pglendd_result(d, "stats", "{'pool': 'clinic'}");
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(stats, 0), "discarded")), 0);
    json_decref(stats);
    ck_assert(pglendd_logged(d, "replaced after each lease") && !pglendd_logged(d, "broken"));
    pglend_close(pool);
    pglendd_stop(d);
}
END_TEST

/* ---- what the server changes ---- */

static void set_zone(const char *sql)
{
    postgres_run(harness_server(), sql);
    postgres_run(harness_server(), "select pg_reload_conf()");
}

static bool shows(PGconn *conn, const char *zone)
{
    char text[64];

    return strcmp(query(conn, "show timezone", text, sizeof text), zone) == 0;
}

/*
 * Nobody is lent a session whose PGconn believes what is not so any more. A server reports a change at the end of the
 * next statement, whose ever that is.
 */
static const struct {
    const char *name;
    bool lent, asked;
} moments[] = {
    {"while it is lent, and its borrower hears of it", true, true},
    {"while it is lent, and the reset hears of it", true, false},
    {"while it is idle", false, false},
};

START_TEST(a_setting_that_the_server_changes)
{
    struct pglendd *d = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    PGconn *conn = borrow(pool, moments[_i].name);
    char text[64];

    if (!moments[_i].lent)
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    set_zone("alter system set timezone = 'Asia/Tokyo'");
    if (moments[_i].asked)
        wait_until(shows(conn, "Asia/Tokyo"), 10);
    else
        harness_sleep_ms(300); /* a signal is under way */
    if (moments[_i].lent)
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    for (int i = 0; i < 4; i++) {
        conn = borrow(pool, moments[_i].name);
        (void)query(conn, "show timezone", text, sizeof text);
        ck_assert_msg(strcmp(PQparameterStatus(conn, "TimeZone"), text) == 0, "%s: \"%s\", and believed is \"%s\"",
                      moments[_i].name, text, PQparameterStatus(conn, "TimeZone"));
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    pglendd_stop(d);
    set_zone("alter system reset timezone");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_reset");
    TCase *tc = harness_live_case(suite, "same", 40);

    tcase_add_loop_test(tc, next_in_this_process, 0, dirts);
    tc = harness_live_case(suite, "other", 40);
    tcase_add_loop_test(tc, next_in_another_process, 0, dirts);
    tc = harness_live_case(suite, "all", 120);
    tcase_add_test(tc, as_a_session_of_ones_own);
    tcase_add_test(tc, all_in_a_row);
    tcase_add_test(tc, release_prints_nothing);
    tcase_add_test(tc, reset_that_copies);
    tcase_add_test(tc, replaced_after_each_lease);
    tc = harness_live_case(suite, "changed", 40);
    tcase_add_loop_test(tc, a_setting_that_the_server_changes, 0, (int)(sizeof moments / sizeof moments[0]));
    return harness_main(suite);
}
