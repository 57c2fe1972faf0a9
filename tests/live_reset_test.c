/* SPDX-License-Identifier: ISC */
/*
 * live_reset_test.c - whatever a borrower leaves behind, the next one has a new session.
 *
 * Each way to leave a connection dirty is a row. A session is described by one text (settings, locks, statements,
 * cursors, temporary tables, who it is, what the PGconn believes); the text of the first borrower's new session is
 * compared with the next one's, in the same process and in another, on the one connection that there is.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <libpq-events.h>
#include <libpq/libpq-fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCOUNT_MAX    131072
#define BIG            (8 << 20)
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

/* ---- ways to leave it dirty ---- */

static void run(PGconn *conn, const char *sql)
{
    PGresult *r = PQexec(conn, sql);

    ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK, "%s: %s", sql,
                  PQerrorMessage(conn));
    PQclear(r);
}

static void aborted(PGconn *conn, const char *sql)
{
    run(conn, sql);
    PQclear(PQexec(conn, "select 1 / 0"));
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INERROR);
}

static void send_only(PGconn *conn, const char *sql)
{
    ck_assert_int_eq(PQsendQuery(conn, sql), 1);
}

static void send_and_read_a_little(PGconn *conn, const char *sql)
{
    send_only(conn, sql);
    ck_assert_int_eq(PQsetSingleRowMode(conn), 1);
    for (int i = 0; i < 3; i++)
        PQclear(PQgetResult(conn));
}

static void copy(PGconn *conn, const char *sql)
{
    ExecStatusType status;
    PGresult *r = PQexec(conn, sql);

    status = PQresultStatus(r);
    ck_assert_msg(status == PGRES_COPY_IN || status == PGRES_COPY_OUT, "%s", PQerrorMessage(conn));
    PQclear(r);
}

static void copy_in(PGconn *conn, const char *sql)
{
    run(conn, "create temp table t (i int, s text)");
    copy(conn, sql);
    ck_assert_int_eq(PQputCopyData(conn, "1\tone\n2\tt", 9), 1);
    ck_assert_int_eq(PQflush(conn), 0);
}

/* More than the socket takes: half a message is on its way. */
static void copy_in_stuck(PGconn *conn, const char *sql)
{
    char *line = malloc(BIG);

    ck_assert_ptr_nonnull(line);
    memset(line, 'x', BIG);
    run(conn, "create temp table t (i int, s text)");
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    PQclear(PQexec(conn, "select 1"));
    copy(conn, sql);
    (void)PQputCopyData(conn, line, BIG);
    free(line);
}

static void copy_out_a_little(PGconn *conn, const char *sql)
{
    char *line;

    copy(conn, sql);
    ck_assert_int_gt(PQgetCopyData(conn, &line, 0), 0);
    PQfreemem(line);
}

static void big_query_unsent(PGconn *conn, const char *sql)
{
    char *text = malloc(BIG + 1);
    const char *const value[] = {text};

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', BIG);
    text[BIG] = '\0';
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    ck_assert_int_eq(PQsendQueryParams(conn, sql, 1, NULL, value, NULL, NULL, 0), 1);
    free(text);
}

static void pipeline(PGconn *conn, const char *sql, int count, bool sync)
{
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0), 1);
        if (sync)
            ck_assert_int_eq(PQpipelineSync(conn), 1);
    }
}

static void pipeline_unsynced(PGconn *conn, const char *sql)
{
    pipeline(conn, sql, 3, false);
}

static void pipeline_flushed(PGconn *conn, const char *sql)
{
    pipeline(conn, sql, 3, false);
    ck_assert_int_eq(PQsendFlushRequest(conn), 1);
    ck_assert_int_eq(PQflush(conn), 0);
    harness_sleep_ms(20);
}

static void pipeline_unread(PGconn *conn, const char *sql)
{
    pipeline(conn, sql, 5, true);
}

static void pipeline_empty(PGconn *conn, const char *sql)
{
    (void)sql;
    pipeline(conn, "", 0, false);
}

static void notify_unread(PGconn *conn, const char *sql)
{
    run(conn, sql);
    run(conn, "notify door, 'stale'");
    postgres_run(harness_server(), "notify door, 'stale too'");
}

static void set_encoding(PGconn *conn, const char *name)
{
    ck_assert_int_eq(PQsetClientEncoding(conn, name), 0);
}

static void leave_prepared(PGconn *conn, const char *sql)
{
    PQclear(PQprepare(conn, "stale", sql, 0, NULL));
    PQclear(PQprepare(conn, "", sql, 0, NULL));
}

static void large_object_open(PGconn *conn, const char *sql)
{
    Oid oid;

    run(conn, sql);
    oid = lo_creat(conn, INV_READ | INV_WRITE);
    ck_assert_int_ge(lo_open(conn, oid, INV_WRITE), 0);
}

static void failed_query(PGconn *conn, const char *sql)
{
    PQclear(PQexec(conn, sql));
    ck_assert_str_ne(PQerrorMessage(conn), "");
}

static void nonblocking(PGconn *conn, const char *sql)
{
    (void)sql;
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
}

/* ---- what is set on the PGconn: each must not be called for the next borrower ---- */

static unsigned called;
static FILE *traced;

static void count_notice(void *context, const PGresult *result)
{
    (void)context;
    (void)result;
    called++;
}

static void count_message(void *context, const char *message)
{
    (void)context;
    (void)message;
    called++;
}

static int count_event(PGEventId event, void *info, void *context)
{
    (void)info;
    (void)context;
    called += event == PGEVT_RESULTCREATE;
    return 1;
}

static void receiver(PGconn *conn, const char *sql)
{
    (void)sql;
    (void)PQsetNoticeReceiver(conn, count_notice, NULL);
}

static void processor(PGconn *conn, const char *sql)
{
    (void)sql;
    (void)PQsetNoticeProcessor(conn, count_message, NULL);
}

static void verbosity(PGconn *conn, const char *sql)
{
    (void)sql;
    (void)PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    (void)PQsetErrorContextVisibility(conn, PQSHOW_CONTEXT_ALWAYS);
}

static void event_procedure(PGconn *conn, const char *sql)
{
    ck_assert_int_eq(PQregisterEventProc(conn, count_event, "counter", NULL), 1);
    ck_assert_int_eq(PQsetInstanceData(conn, count_event, traced), 1);
    run(conn, sql);
}

static void trace(PGconn *conn, const char *sql)
{
    traced = tmpfile();
    ck_assert_ptr_nonnull(traced);
    (void)setvbuf(traced, NULL, _IONBF, 0);
    PQtrace(conn, traced);
    PQsetTraceFlags(conn, PQTRACE_SUPPRESS_TIMESTAMPS);
    run(conn, sql);
}

/* Of the backend: where a cancel is needed, a slow moment may cost it; where a message was cut off, it is lost. */
enum fate { KEPT, USUALLY_KEPT, ANY_FATE };
#define TRIES 4

static const struct row {
    const char *name;
    void (*dirty)(PGconn *conn, const char *sql);
    const char *sql;
    enum fate fate;
} rows[] = {
    {"nothing at all", run, "select 1", KEPT},
    {"transaction open", run, "begin; select 1", KEPT},
    {"transaction open, work done", run, "begin; create table left_behind (i int)", KEPT},
    {"transaction aborted", aborted, "begin", KEPT},
    {"savepoint, aborted", aborted, "begin; savepoint a; savepoint b", KEPT},
    {"lock on a table", run, "begin; lock table pg_class in access share mode", KEPT},
    {"cursor in a transaction", run, "begin; declare c cursor for select 1", KEPT},
    {"WITH HOLD cursor", run, "declare c cursor with hold for select generate_series(1, 1000)", KEPT},
    {"query running", send_only, "select pg_sleep(30)", USUALLY_KEPT},
    {"query running in a transaction", send_only, "begin; select pg_sleep(30)", USUALLY_KEPT},
    {"query answered, unread", send_only, "select 1", KEPT},
    {"rows unread", send_only, "select generate_series(1, 300000), repeat('x', 100)", USUALLY_KEPT},
    {"rows read in part, single-row mode", send_and_read_a_little, "select generate_series(1, 300000)", USUALLY_KEPT},
    {"several statements, unread", send_only, "select 1; select 2; begin; select 3", KEPT},
    {"statement that failed, unread", send_only, "select 1 / 0", KEPT},
    {"COPY in", copy_in, "copy t from stdin", KEPT},
    {"COPY in, just begun", copy, "create temp table t (i int); copy t from stdin", KEPT},
    {"COPY in, half a message", copy_in_stuck, "copy t from stdin", ANY_FATE},
    {"COPY out, unread", copy, "copy (select generate_series(1, 300000)) to stdout", USUALLY_KEPT},
    {"COPY out, read in part", copy_out_a_little, "copy (select generate_series(1, 300000)) to stdout", USUALLY_KEPT},
    {"big query, half sent", big_query_unsent, "select $1::text", ANY_FATE},
    {"pipeline, empty", pipeline_empty, "", KEPT},
    {"pipeline, no sync", pipeline_unsynced, "select 1", KEPT},
    {"pipeline, flushed, no sync", pipeline_flushed, "select 1", KEPT},
    {"pipeline, flushed, in error", pipeline_flushed, "select 1 / 0", KEPT},
    {"pipeline, unread", pipeline_unread, "select 1", KEPT},
    {"pipeline, in error, unread", pipeline_unread, "select 1 / 0", KEPT},
    {"pipeline of sleeping statements", pipeline_unread, "select pg_sleep(30)", ANY_FATE},
    {"LISTEN", run, "listen door", KEPT},
    {"LISTEN, notifications unread", notify_unread, "listen door", KEPT},
    {"LISTEN in an aborted transaction", aborted, "listen door; begin; listen other", KEPT},
    {"temporary table", run, "create temp table t (i int); insert into t values (1)", KEPT},
    {"temporary table in front", run, "create temp table pg_class (i int); set search_path = pg_temp, pg_catalog",
     KEPT},
    {"temporary view and function", run,
     "create temp view v as select 1; create function pg_temp.f() returns int language sql as 'select 1'", KEPT},
    {"sequence", run, "create temp sequence s; select nextval('s')", KEPT},
    {"prepared statements", leave_prepared, "select 1", KEPT},
    {"PREPARE", run, "prepare stale as select 1", KEPT},
    {"advisory locks", run, "select pg_advisory_lock(1), pg_advisory_lock(2), pg_advisory_lock_shared(3)", KEPT},
    {"advisory lock of a transaction", run, "begin; select pg_advisory_xact_lock(1)", KEPT},
    {"SET ROLE", run, "set role clinic_reader", KEPT},
    {"SET LOCAL ROLE", run, "begin; set local role clinic_reader", KEPT},
    {"SET SESSION AUTHORIZATION", run, "set session authorization clinic", KEPT},
    {"client_encoding", run, "set client_encoding = 'LATIN1'", KEPT},
    {"PQsetClientEncoding", set_encoding, "SJIS", KEPT},
    {"client_encoding in a transaction", run, "begin; set client_encoding = 'LATIN1'", KEPT},
    {"search_path", run, "set search_path = pg_catalog", KEPT},
    {"TimeZone, DateStyle, IntervalStyle", run,
     "set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set intervalstyle = 'sql_standard'", KEPT},
    {"TimeZone by a function", run, "select set_config('timezone', 'Asia/Tokyo', false)", KEPT},
    {"application_name", run, "set application_name = 'mine'", KEPT},
    {"standard_conforming_strings", run, "set standard_conforming_strings = off", KEPT},
    {"statement_timeout", run, "set statement_timeout = '1ms'", KEPT},
    {"read only", run, "set default_transaction_read_only = on", KEPT},
    {"session characteristics", run, "set session characteristics as transaction isolation level serializable", KEPT},
    {"enable_seqscan and others", run, "set enable_seqscan = off; set work_mem = '64kB'; set bytea_output = 'escape'",
     KEPT},
    {"row_security", run, "set row_security = off", KEPT},
    {"custom setting", run, "set my.actor = 'somebody'", KEPT},
    {"large object open", large_object_open, "begin", KEPT},
    {"error message", failed_query, "select 1 / 0", KEPT},
    {"non-blocking", nonblocking, "", KEPT},
    {"notice receiver", receiver, "", KEPT},
    {"notice processor", processor, "", KEPT},
    {"error verbosity", verbosity, "", KEPT},
    {"trace", trace, "select 1", KEPT},
    {"event procedure", event_procedure, "select 1", KEPT},
};
#define ROW_COUNT ((int)(sizeof rows / sizeof rows[0]))

/* ---- tests ---- */

static char fresh[ACCOUNT_MAX], found[ACCOUNT_MAX];

struct next {
    const struct pglendd *daemon;
    const struct row *row;
    int backend;
};

static PGconn *borrow(pglend *pool, const char *name)
{
    PGconn *conn = pglend_acquire(pool, 10000);

    ck_assert_msg(conn != NULL, "after \"%s\": %s", name, pglend_errmessage(pool));
    return conn;
}

/* Raise a notice, make an error and results: nobody but the present borrower may hear of it. */
static void nobody_listens(PGconn *conn, const struct row *row)
{
    long length = traced != NULL ? ftell(traced) : 0;
    PGresult *r;

    called = 0;
    (void)PQsetNoticeReceiver(conn, NULL, NULL);
    run(conn, "do $$begin perform 1; end$$");
    r = PQexec(conn, "select generate_series(1, 3)");
    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 3, "after \"%s\": %s", row->name,
                  PQerrorMessage(conn));
    PQclear(r);
    r = PQexec(conn, "select lastval()");
    ck_assert_str_eq(PQresultErrorField(r, PG_DIAG_SQLSTATE), "55000");
    PQclear(r);
    ck_assert_msg(called == 0, "after \"%s\": the last borrower's procedure was called", row->name);
    ck_assert_ptr_null(PQinstanceData(conn, count_event));
    if (traced != NULL)
        ck_assert_msg(ftell(traced) == length, "after \"%s\": still traced", row->name);
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

    next->row->dirty(conn, next->row->sql);
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
    struct next next = {.daemon = d, .row = &rows[_i]};
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
    if (traced != NULL)
        (void)fclose(traced);
}
END_TEST

START_TEST(next_in_another_process)
{
    struct pglendd *d = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    struct next next = {.daemon = d, .row = &rows[_i]};

    next.backend = look_at_new(pool);
    make_dirty(pool, &next);
    in_worker(next_worker, &next, 20);
    pglend_close(pool);
    pglendd_stop(d);
    if (traced != NULL)
        (void)fclose(traced);
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

/* What the server knows of a lent session is what it knows of one that libpq made by itself. */
START_TEST(as_a_session_of_ones_own)
{
    struct pglendd *d = pglendd_start(harness_server(), NULL);
    pglend *pool = pglend_open(d->runtime_dir, "clinic");
    PGconn *own = postgres_connect(harness_server(), "clinic");
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
    for (int i = 0; i < ROW_COUNT; i++) {
        next.row = &rows[i];
        make_dirty(pool, &next);
        conn = borrow(pool, next.row->name);
        describe(conn, found);
        same(next.row->name, fresh, found);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    pglendd_stop(d);
    (void)fclose(traced);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_reset");
    TCase *tc = harness_live_case(suite, "same", 40);

    tcase_add_loop_test(tc, next_in_this_process, 0, ROW_COUNT);
    tc = harness_live_case(suite, "other", 40);
    tcase_add_loop_test(tc, next_in_another_process, 0, ROW_COUNT);
    tc = harness_live_case(suite, "all", 120);
    tcase_add_test(tc, as_a_session_of_ones_own);
    tcase_add_test(tc, all_in_a_row);
    return harness_main(suite);
}
