/* SPDX-License-Identifier: ISC */
/*
 * ways.c - every way to use a connection that libpq has, a row each.
 */
#include "ways.h"

#include "harness.h"
#include <arpa/inet.h>
#include <libpq/libpq-fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES     20000
#define BIG       (5 << 20)
#define INT4_OID  23
#define CANCELLED "57014"
#define DIVISION  "22012"

/* ---- helpers ---- */

static PGresult *expect(PGconn *conn, PGresult *result, ExecStatusType status)
{
    ck_assert_msg(PQresultStatus(result) == status, "%s instead of %s: %s", PQresStatus(PQresultStatus(result)),
                  PQresStatus(status), PQerrorMessage(conn));
    return result;
}

static void ok(PGconn *conn, const char *sql)
{
    PQclear(expect(conn, PQexec(conn, sql), PGRES_COMMAND_OK));
}

static void ask(PGconn *conn, const char *sql, const char *expected)
{
    char text[256];

    ck_assert_str_eq(query(conn, sql, text, sizeof text), expected);
}

static void fails(PGconn *conn, PGresult *result, const char *sqlstate)
{
    ck_assert_str_eq(PQresultErrorField(expect(conn, result, PGRES_FATAL_ERROR), PG_DIAG_SQLSTATE), sqlstate);
    PQclear(result);
}

static void wait_readable(PGconn *conn)
{
    struct pollfd wait = {.fd = PQsocket(conn), .events = POLLIN};

    ck_assert_int_eq(poll(&wait, 1, 10000), 1);
}

/* ---- the ways ---- */

static void simple(PGconn *conn)
{
    ask(conn, "select 6 * 7", "42");
    ask(conn, "select 1; select 2; select 'last'", "last");
    fails(conn, PQexec(conn, "select 1 / 0"), DIVISION);
    ask(conn, "select 'after the error'", "after the error");
    PQclear(expect(conn, PQexec(conn, ""), PGRES_EMPTY_QUERY));
}

static void facts(PGconn *conn)
{
    char pid[16];

    ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
    (void)snprintf(pid, sizeof pid, "%d", PQbackendPID(conn));
    ask(conn, "select pg_backend_pid()", pid);
    ask(conn, "select current_user", PQuser(conn));
    ask(conn, "select current_database()", PQdb(conn));
    ask(conn, "show server_version", PQparameterStatus(conn, "server_version"));
    ask(conn, "show server_version_num",
        PQserverVersion(conn) > 0 ? (snprintf(pid, sizeof pid, "%d", PQserverVersion(conn)), pid) : "");
    ask(conn, "show client_encoding", pg_encoding_to_char(PQclientEncoding(conn)));
    ask(conn, "select application_name from pg_stat_activity where pid = pg_backend_pid()",
        PQparameterStatus(conn, "application_name"));
    ck_assert_int_eq(PQprotocolVersion(conn), 3);
    ck_assert_int_eq(PQsslInUse(conn), 0);
    ck_assert(PQpass(conn) == NULL || strstr(PQpass(conn), "horse") == NULL);
}

static void extended(PGconn *conn)
{
    const char *const values[] = {"41", NULL, "it's \\ \"quoted\" \xc3\xa9"};
    PGresult *r =
        expect(conn, PQexecParams(conn, "select $1::int + 1, $2::text, $3::text", 3, NULL, values, NULL, NULL, 0),
               PGRES_TUPLES_OK);

    ck_assert_str_eq(PQgetvalue(r, 0, 0), "42");
    ck_assert_int_eq(PQgetisnull(r, 0, 1), 1);
    ck_assert_str_eq(PQgetvalue(r, 0, 2), values[2]);
    PQclear(r);
    fails(conn, PQexecParams(conn, "select 1 / $1::int", 1, NULL, (const char *const[]){"0"}, NULL, NULL, 0), DIVISION);
    ask(conn, "select 1", "1");
}

static void prepared(PGconn *conn)
{
    const char *const value[] = {"5"};
    PGresult *r;

    PQclear(expect(conn, PQprepare(conn, "twice", "select 2 * $1::int as doubled", 0, NULL), PGRES_COMMAND_OK));
    for (int i = 0; i < 10; i++) {
        r = expect(conn, PQexecPrepared(conn, "twice", 1, value, NULL, NULL, 0), PGRES_TUPLES_OK);
        ck_assert_str_eq(PQgetvalue(r, 0, 0), "10");
        PQclear(r);
    }
    r = expect(conn, PQdescribePrepared(conn, "twice"), PGRES_COMMAND_OK);
    ck_assert_int_eq(PQnparams(r), 1);
    ck_assert_uint_eq(PQparamtype(r, 0), INT4_OID);
    ck_assert_str_eq(PQfname(r, 0), "doubled");
    PQclear(r);
    /* Left prepared: the next borrower must be able to use the name. */
}

static void binary(PGconn *conn)
{
    static const char bytes[] = {0, 1, '\'', '\\', (char)0xff, 0};
    uint32_t number = htonl(0xfffffffe);
    const char *const values[] = {(const char *)&number, bytes};
    const int lengths[] = {sizeof number, sizeof bytes}, formats[] = {1, 1};
    PGresult *r =
        expect(conn, PQexecParams(conn, "select $1::int4 + 1, $2::bytea", 2, NULL, values, lengths, formats, 1),
               PGRES_TUPLES_OK);
    uint32_t answer;

    memcpy(&answer, PQgetvalue(r, 0, 0), sizeof answer);
    ck_assert_int_eq((int32_t)ntohl(answer), -1);
    ck_assert_int_eq(PQfformat(r, 1), 1);
    ck_assert_int_eq(PQgetlength(r, 0, 1), (int)sizeof bytes);
    ck_assert_mem_eq(PQgetvalue(r, 0, 1), bytes, sizeof bytes);
    PQclear(r);
}

static void copy_in(PGconn *conn)
{
    char line[64];

    ok(conn, "create temp table t (i int, s text)");
    PQclear(expect(conn, PQexec(conn, "copy t from stdin"), PGRES_COPY_IN));
    for (int i = 0; i < LINES; i++)
        ck_assert_int_eq(PQputCopyData(conn, line, snprintf(line, sizeof line, "%d\tline %d\n", i, i)), 1);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    PQclear(expect(conn, PQgetResult(conn), PGRES_COMMAND_OK));
    ck_assert_ptr_null(PQgetResult(conn));
    ask(conn, "select count(*) || ' ' || max(i) || ' ' || max(s) from t", "20000 19999 line 9999");
    PQclear(expect(conn, PQexec(conn, "copy t from stdin"), PGRES_COPY_IN));
    ck_assert_int_eq(PQputCopyEnd(conn, "thought better of it"), 1);
    fails(conn, PQgetResult(conn), CANCELLED);
    ck_assert_ptr_null(PQgetResult(conn));
    ask(conn, "select count(*) from t", "20000");
}

static void copy_out(PGconn *conn)
{
    long sum = 0, lines = 0;
    char *line;

    PQclear(expect(conn, PQexec(conn, "copy (select generate_series(1, 20000)) to stdout"), PGRES_COPY_OUT));
    while (PQgetCopyData(conn, &line, 0) > 0) {
        sum += strtol(line, NULL, 10);
        lines++;
        PQfreemem(line);
    }
    PQclear(expect(conn, PQgetResult(conn), PGRES_COMMAND_OK));
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_int_eq(lines, LINES);
    ck_assert_int_eq(sum, (long)LINES * (LINES + 1) / 2);
}

static void next_is(PGconn *conn, ExecStatusType status)
{
    PQclear(expect(conn, PQgetResult(conn), status));
}

static void pipeline(PGconn *conn)
{
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(PQsendQueryParams(conn, i == 1 ? "select 1 / 0" : "select 1", 0, NULL, NULL, NULL, NULL, 0),
                         1);
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    ck_assert_int_eq(PQsendQueryParams(conn, "select 'second'", 0, NULL, NULL, NULL, NULL, 0), 1);
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    next_is(conn, PGRES_TUPLES_OK);
    ck_assert_ptr_null(PQgetResult(conn));
    next_is(conn, PGRES_FATAL_ERROR);
    ck_assert_ptr_null(PQgetResult(conn));
    next_is(conn, PGRES_PIPELINE_ABORTED);
    ck_assert_ptr_null(PQgetResult(conn));
    next_is(conn, PGRES_PIPELINE_SYNC);
    next_is(conn, PGRES_TUPLES_OK);
    ck_assert_ptr_null(PQgetResult(conn));
    next_is(conn, PGRES_PIPELINE_SYNC);
    ck_assert_int_eq(PQexitPipelineMode(conn), 1);
    ask(conn, "select 1", "1");
}

static void single_row(PGconn *conn)
{
    PGresult *r;
    int rows = 0;

    ck_assert_int_eq(PQsendQuery(conn, "select generate_series(1, 20000)"), 1);
    ck_assert_int_eq(PQsetSingleRowMode(conn), 1);
    while ((r = PQgetResult(conn)) != NULL && PQresultStatus(r) == PGRES_SINGLE_TUPLE) {
        rows++;
        PQclear(r);
    }
    PQclear(expect(conn, r, PGRES_TUPLES_OK));
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_int_eq(rows, LINES);
}

static void large_object(PGconn *conn)
{
    char text[32] = "";
    Oid oid;
    int fd;

    ok(conn, "begin");
    oid = lo_creat(conn, INV_READ | INV_WRITE);
    ck_assert_uint_ne(oid, InvalidOid);
    ck_assert_int_ge(fd = lo_open(conn, oid, INV_READ | INV_WRITE), 0);
    ck_assert_int_eq(lo_write(conn, fd, "a large object", 14), 14);
    ck_assert_int_eq(lo_lseek64(conn, fd, 2, SEEK_SET), 2);
    ck_assert_int_eq(lo_read(conn, fd, text, sizeof text), 12);
    ck_assert_str_eq(text, "large object");
    ck_assert_int_eq(lo_truncate(conn, fd, 1), 0);
    ck_assert_int_eq(lo_close(conn, fd), 0);
    ck_assert_int_eq(lo_unlink(conn, oid), 1);
    ok(conn, "commit");
}

static PGnotify *next_notify(PGconn *conn)
{
    PGnotify *n;

    while ((n = PQnotifies(conn)) == NULL) {
        wait_readable(conn);
        ck_assert_int_eq(PQconsumeInput(conn), 1);
    }
    return n;
}

static void listen_notify(PGconn *conn)
{
    PGnotify *n;

    ok(conn, "listen door");
    ok(conn, "notify door, 'from within'");
    n = next_notify(conn);
    ck_assert_str_eq(n->extra, "from within");
    ck_assert_int_eq(n->be_pid, PQbackendPID(conn));
    PQfreemem(n);
    postgres_run(harness_server(), "notify door, 'from without'");
    n = next_notify(conn);
    ck_assert_str_eq(n->relname, "door");
    ck_assert_str_eq(n->extra, "from without");
    PQfreemem(n);
}

static void take_notice(void *text, const PGresult *result)
{
    (void)snprintf(text, 64, "%s", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
}

static void take_message(void *text, const char *message)
{
    (void)snprintf(text, 64, "%s", message);
}

static void notices(PGconn *conn)
{
    char text[64] = "";

    (void)PQsetNoticeReceiver(conn, take_notice, text);
    ok(conn, "do $$begin raise notice 'look here'; end$$");
    ck_assert_str_eq(text, "look here");
}

static void notice_messages(PGconn *conn)
{
    char text[64] = "";

    (void)PQsetNoticeProcessor(conn, take_message, text);
    ok(conn, "do $$begin raise warning 'mind the step'; end$$");
    ck_assert_ptr_nonnull(strstr(text, "WARNING:  mind the step"));
}

struct canceller {
    PGcancel *cancel;
    _Atomic bool done;
};

/* Again and again: a cancel that comes before its query has no effect. */
static void *cancel_until_done(void *argument)
{
    struct canceller *c = argument;
    char error[256];

    while (!c->done) {
        ck_assert_msg(PQcancel(c->cancel, error, sizeof error) == 1, "%s", error);
        harness_sleep_ms(20);
    }
    return NULL;
}

static void cancel(PGconn *conn)
{
    struct canceller c = {.cancel = PQgetCancel(conn)};
    uint64_t start = harness_now_ms();
    pthread_t thread;

    ck_assert_ptr_nonnull(c.cancel);
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_until_done, &c), 0);
    fails(conn, PQexec(conn, "select pg_sleep(20)"), CANCELLED);
    c.done = true;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_lt(harness_now_ms() - start, 5000);
    PQfreeCancel(c.cancel);
}

static void flush_all(PGconn *conn)
{
    struct pollfd wait = {.fd = PQsocket(conn), .events = POLLIN | POLLOUT};
    int left;

    while ((left = PQflush(conn)) == 1) {
        ck_assert_int_ge(poll(&wait, 1, 10000), 1);
        if ((wait.revents & POLLIN) != 0)
            ck_assert_int_eq(PQconsumeInput(conn), 1);
    }
    ck_assert_int_eq(left, 0);
}

static void async(PGconn *conn)
{
    PGresult *r;

    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(0.05), 'slept'; select 'then this'"), 1);
    flush_all(conn);
    ck_assert_int_eq(PQisBusy(conn), 1);
    for (int i = 0; i < 2; i++) {
        while (PQisBusy(conn)) {
            wait_readable(conn);
            ck_assert_int_eq(PQconsumeInput(conn), 1);
        }
        r = expect(conn, PQgetResult(conn), PGRES_TUPLES_OK);
        ck_assert_str_eq(PQgetvalue(r, 0, PQnfields(r) - 1), i == 0 ? "slept" : "then this");
        PQclear(r);
    }
    ck_assert_ptr_null(PQgetResult(conn));
    ck_assert_int_eq(PQsetnonblocking(conn, 0), 0);
}

static void big(PGconn *conn)
{
    char *text = malloc(BIG + 1);
    const char *const value[] = {text};
    PGresult *r;

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', BIG);
    text[BIG] = '\0';
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    ck_assert_int_eq(PQsendQueryParams(conn, "select $1::text", 1, NULL, value, NULL, NULL, 0), 1);
    flush_all(conn);
    r = expect(conn, PQgetResult(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(PQgetlength(r, 0, 0), BIG);
    ck_assert_mem_eq(PQgetvalue(r, 0, 0), text, BIG);
    PQclear(r);
    ck_assert_ptr_null(PQgetResult(conn));
    free(text);
}

static void transactions(PGconn *conn)
{
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_IDLE);
    ok(conn, "begin isolation level serializable");
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    ok(conn, "declare c cursor for select generate_series(1, 100)");
    ok(conn, "move 50 in c");
    ask(conn, "fetch c", "51");
    PQclear(expect(conn, PQdescribePortal(conn, "c"), PGRES_COMMAND_OK));
    ok(conn, "savepoint s");
    fails(conn, PQexec(conn, "select 1 / 0"), DIVISION);
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INERROR);
    ok(conn, "rollback to s");
    ok(conn, "commit");
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_IDLE);
}

static void escaping(PGconn *conn)
{
    static const char odd[] = "it's a \\ back\"slash";
    char *literal = PQescapeLiteral(conn, odd, strlen(odd)), sql[128];

    ck_assert_ptr_nonnull(literal);
    (void)snprintf(sql, sizeof sql, "select %s", literal);
    ask(conn, sql, odd);
    PQfreemem(literal);
}

static void trace(PGconn *conn)
{
    FILE *file = tmpfile();

    ck_assert_ptr_nonnull(file);
    PQtrace(conn, file);
    ask(conn, "select 1", "1");
    PQuntrace(conn);
    ck_assert_int_gt(ftell(file), 0);
    (void)fclose(file);
}

static void server_side_timeout(PGconn *conn)
{
    ok(conn, "set statement_timeout = '50ms'");
    fails(conn, PQexec(conn, "select pg_sleep(20)"), CANCELLED);
}

const struct way way[] = {
    {.name = "facts", .use = facts},
    {.name = "simple", .use = simple},
    {.name = "extended", .use = extended},
    {.name = "prepared", .use = prepared},
    {.name = "binary", .use = binary},
    {.name = "copy in", .use = copy_in},
    {.name = "copy out", .use = copy_out},
    {.name = "pipeline", .use = pipeline},
    {.name = "single row", .use = single_row},
    {.name = "large object", .use = large_object},
    {.name = "listen, notify", .use = listen_notify, .also_direct = true},
    {.name = "notice receiver", .use = notices},
    {.name = "notice processor", .use = notice_messages},
    {.name = "cancel", .use = cancel},
    {.name = "async", .use = async},
    {.name = "big value, non-blocking", .use = big},
    {.name = "transaction, cursor", .use = transactions},
    {.name = "escaping", .use = escaping},
    {.name = "trace", .use = trace},
    {.name = "statement timeout", .use = server_side_timeout},
};
const int ways = sizeof way / sizeof way[0];
