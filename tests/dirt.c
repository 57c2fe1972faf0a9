/* SPDX-License-Identifier: ISC */
/*
 * dirt.c - every way to leave a connection to the next borrower, a row each.
 */
#include "dirt.h"

#include "harness.h"
#include <libpq/libpq-fs.h>
#include <stdlib.h>
#include <string.h>

#define BIG (8 << 20)

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

unsigned dirt_called;
FILE *dirt_traced;

static void count_notice(void *context, const PGresult *result)
{
    (void)context;
    (void)result;
    dirt_called++;
}

static void count_message(void *context, const char *message)
{
    (void)context;
    (void)message;
    dirt_called++;
}

int dirt_event(PGEventId event, void *info, void *context)
{
    (void)info;
    (void)context;
    dirt_called += event == PGEVT_RESULTCREATE;
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
    ck_assert_int_eq(PQregisterEventProc(conn, dirt_event, "counter", NULL), 1);
    ck_assert_int_eq(PQsetInstanceData(conn, dirt_event, dirt_traced), 1);
    run(conn, sql);
}

static void trace(PGconn *conn, const char *sql)
{
    dirt_traced = tmpfile();
    ck_assert_ptr_nonnull(dirt_traced);
    (void)setvbuf(dirt_traced, NULL, _IONBF, 0);
    PQtrace(conn, dirt_traced);
    PQsetTraceFlags(conn, PQTRACE_SUPPRESS_TIMESTAMPS);
    run(conn, sql);
}

const struct dirt dirt[] = {
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
const int dirts = sizeof dirt / sizeof dirt[0];
