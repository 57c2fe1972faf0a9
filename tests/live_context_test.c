/* SPDX-License-Identifier: ISC */
/*
 * live_context_test.c - "context": a lease's name, actor and purpose are settings of its session, are gone with it, and
 * join PostgreSQL's own log to the audit trail, statement by statement.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WITH_CONTEXT "'context': true, 'size': {'min': 1, 'max': "

static struct pglendd *d;
static pglend *pool;

static void start(const char *overrides)
{
    d = pglendd_start(harness_server(), overrides);
    pool = pglend_open(d->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(pool);
}

static void end(void)
{
    pglend_close(pool);
    pglendd_stop(d);
}

static PGconn *acquire(const char *actor, const char *purpose)
{
    PGconn *conn = pglend_acquire_as(pool, actor, purpose, 10000);

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    return conn;
}

static void release(PGconn *conn)
{
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s", pglend_errmessage(pool));
}

static void expect(PGconn *conn, const char *setting, const char *value)
{
    char sql[128], text[256];

    (void)snprintf(sql, sizeof sql, "select current_setting('%s')", setting);
    ck_assert_str_eq(query(conn, sql, text, sizeof text), value);
}

/* Each lease has its own, whatever the one before had and however hostile the text. */
START_TEST(a_session_knows_its_lease)
{
    static const struct {
        const char *actor, *purpose, *name; /* behind the lease's in application_name */
    } rows[] = {
        {"alice", "treatment", " alice"},
        {NULL, NULL, ""},
        {"x'); drop table patients; --", "$1 \\' \"", " x'); drop table patients; --"},
        {"J\xc3\xbcrgen", NULL, " J??rgen"},
        {NULL, "billing", ""},
    };

    start("{'pools': {'clinic': {" WITH_CONTEXT "1}}}}");
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        const char *actor = rows[i / 2].actor, *purpose = rows[i / 2].purpose;
        PGconn *conn = acquire(actor, purpose);
        char name[64];

        (void)snprintf(name, sizeof name, "%s%s", pglend_lease_id(pool, conn), rows[i / 2].name);
        expect(conn, "pglend.lease", pglend_lease_id(pool, conn));
        expect(conn, "pglend.actor", actor != NULL ? actor : "");
        expect(conn, "pglend.purpose", purpose != NULL ? purpose : "");
        expect(conn, "application_name", name);
        ck_assert_str_eq(PQparameterStatus(conn, "application_name"), name);
        release(conn);
    }
    end();
}
END_TEST

START_TEST(a_long_name_is_cut)
{
    char actor[128], name[256];
    PGconn *conn;

    memset(actor, 'a', 100);
    actor[100] = '\0';
    start("{'pools': {'clinic': {" WITH_CONTEXT "1}}}}");
    conn = acquire(actor, NULL);
    (void)snprintf(name, sizeof name, "%s %s", pglend_lease_id(pool, conn), actor);
    name[63] = '\0';
    expect(conn, "application_name", name);
    expect(conn, "pglend.actor", actor);
    release(conn);
    end();
}
END_TEST

/* A database whose encoding lacks the actor's letters lends to him all the same. */
START_TEST(another_encoding_is_no_obstacle)
{
    PGconn *conn;

    postgres_run(harness_server(), "create database other encoding 'EUC_JP' locale 'C' template template0");
    start("{'pools': {'clinic': {'database': {'dbname': 'other'}, " WITH_CONTEXT "1}}}}");
    conn = acquire("\xc5\x81ukasz", "\xe6\xb2\xbb");
    expect(conn, "server_encoding", "EUC_JP");
    expect(conn, "pglend.lease", pglend_lease_id(pool, conn));
    expect(conn, "pglend.actor", "??ukasz");
    expect(conn, "pglend.purpose", "???");
    release(conn);
    end();
}
END_TEST

/* Nothing of a lease is seen while its session waits for the next, and that costs no session. */
START_TEST(it_is_gone_with_the_lease)
{
    int backend = 0;
    PGconn *conn;

    start("{'pools': {'clinic': {" WITH_CONTEXT "1}}}}");
    for (int i = 0; i < 20; i++) {
        conn = acquire("alice", "treatment");
        ck_assert(backend == 0 || backend == PQbackendPID(conn));
        backend = PQbackendPID(conn);
        /* What a borrower makes of it is as little the next one's concern. */
        if (i % 3 == 1)
            PQclear(PQexec(conn, "set application_name = 'mine'; set pglend.actor = 'bob'"));
        expect(conn, "pglend.actor", i % 3 == 1 ? "bob" : "alice");
        release(conn);
        wait_until(
            strcmp(postgres_ask(harness_server(), "select application_name from pg_stat_activity where usename = "
                                                  "'clinic'"),
                   "pglend:clinic") == 0,
            10);
    }
    conn = acquire(NULL, NULL);
    ck_assert_int_eq(PQbackendPID(conn), backend);
    expect(conn, "pglend.actor", "");
    release(conn);
    end();
}
END_TEST

/* A server that does not answer the round trip in time: another session serves. */
START_TEST(a_session_that_does_not_answer_is_passed_over)
{
    PGconn *first, *second;
    int stopped, other;

    start("{'pools': {'clinic': {'reset_timeout': '300ms', " WITH_CONTEXT "2}}}}");
    first = acquire(NULL, NULL);
    stopped = PQbackendPID(first);
    second = acquire(NULL, NULL);
    other = PQbackendPID(second);
    release(second);
    release(first);
    wait_until(pglendd_count(d, "idle") == 2, 10);
    ck_assert_int_eq(kill(stopped, SIGSTOP), 0);
    for (int i = 0; i < 3; i++) {
        first = acquire("alice", NULL);
        ck_assert_int_ne(PQbackendPID(first), stopped);
        expect(first, "pglend.actor", "alice");
        release(first);
    }
    ck_assert_int_ne(other, stopped);
    ck_assert_int_eq(kill(stopped, SIGCONT), 0);
    wait_until(pglendd_count(d, "idle") == 2, 20);
    end();
}
END_TEST

/* Not another session's to try: the acquire says why. */
START_TEST(a_server_that_refuses_is_quoted)
{
    const char *function = "function pg_catalog.set_config(text, text, boolean)";
    char sql[256];
    PGconn *conn;

    start("{'pools': {'clinic': {" WITH_CONTEXT "2}}}}");
    (void)snprintf(sql, sizeof sql, "revoke execute on %s from public", function);
    PQclear(PQexec(conn = postgres_connect(harness_server(), "postgres"), sql));
    ck_assert_ptr_null(pglend_acquire_as(pool, "alice", NULL, 10000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_SYSTEM);
    ck_assert_msg(strstr(pglend_errmessage(pool), "permission denied for function set_config") != NULL, "%s",
                  pglend_errmessage(pool));
    (void)snprintf(sql, sizeof sql, "grant execute on %s to public", function);
    PQclear(PQexec(conn, sql));
    PQfinish(conn);
    release(acquire("alice", NULL));
    end();
}
END_TEST

/* ---- the server's log and the trail ---- */

#define WORKERS    4
#define LEASES     15
#define STATEMENTS 3 /* of each kind in a lease */

/* Statements that say whose they are. */
static int work(void *argument, int sock)
{
    const char *actor = argument;
    pglend *own = pglend_open(d->runtime_dir, "clinic");
    char sql[128];

    (void)sock;
    for (int i = 0; i < LEASES; i++) {
        PGconn *conn = pglend_acquire_as(own, actor, "treatment", 20000);

        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(own));
        (void)snprintf(sql, sizeof sql, "select 'said by %s.'", actor);
        for (int k = 0; k < STATEMENTS; k++) {
            PQclear(PQexec(conn, sql));
            PQclear(PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0));
        }
        ck_assert_int_eq(pglend_release(own, conn), PGLEND_OK);
    }
    pglend_close(own);
    return 0;
}

/* The trail's record of LEASE's begin; borrowed, NULL: there is none. */
static json_t *begin_of(const json_t *records, const char *lease)
{
    json_t *record;
    size_t i;

    json_array_foreach(
        records, i, record) if (strcmp(json_string_value(json_object_get(record, "event")), "lease.begin") == 0 &&
                                strcmp(json_string_value(json_object_get(record, "lease")), lease) == 0) return record;
    return NULL;
}

static json_t *trail_of(const char *directory)
{
    char command[512];
    json_t *records;
    FILE *out;

    (void)snprintf(command, sizeof command, "timeout 20 %s audit report --json %s", harness_product("pglend"),
                   directory);
    ck_assert_ptr_nonnull(out = popen(command, "re")); /* NOLINT(cert-env33-c) */
    records = json_loadf(out, 0, NULL);
    ck_assert_int_eq(pclose(out), 0);
    ck_assert_ptr_nonnull(records);
    return records;
}

/* Of pglend itself: the context, the reset, the look whether it lives, the question where in the protocol it is. */
static bool is_ours(const char *statement)
{
    const char *nonce = strstr(statement, "statement: SELECT '");

    return strstr(statement, "set_config(") != NULL || strcasestr(statement, "discard all") != NULL ||
           strstr(statement, "statement: ;") != NULL ||
           (nonce != NULL && strspn(nonce + strlen("statement: SELECT '"), "0123456789abcdef") == 32);
}

/* One statement of role clinic, from the log: whose it was, and that the trail knows that lease as that actor's. */
static bool account_for(const char *line, const json_t *records)
{
    const char *name = strstr(line, "] clinic "), *statement = strstr(line, "LOG:  "), *said;
    char lease[64], actor[64], told[64];
    const json_t *record;

    ck_assert_ptr_nonnull(name);
    said = strstr(statement, "said by ");
    if (said == NULL) {
        ck_assert_msg(is_ours(statement), "whose is this? %s", line);
        return false;
    }
    ck_assert_msg(sscanf(name, "] clinic %63s %63[^ ] LOG:", lease, actor) == 2, "%s", line);
    ck_assert_int_eq(sscanf(said, "said by %63[^.].", told), 1);
    ck_assert_str_eq(actor, told);
    ck_assert_msg((record = begin_of(records, lease)) != NULL, "the trail has no lease %s", lease);
    ck_assert_str_eq(json_string_value(json_object_get(record, "actor")), actor);
    return true;
}

START_TEST(every_statement_is_accounted_for)
{
    static const char *const actors[WORKERS] = {"alice", "bob", "carol", "dave"};
    struct worker_process worker[WORKERS];
    char trail[128], overrides[512], path[256], *line = NULL;
    unsigned accounted = 0;
    size_t size = 0;
    json_t *records;
    FILE *log;

    pglendd_trail(trail);
    (void)snprintf(overrides, sizeof overrides,
                   "{'audit': {'directory': '%s'}, 'pools': {'clinic': {" WITH_CONTEXT "2}}}}", trail);
    d = pglendd_start(harness_server(), overrides);
    postgres_run(harness_server(), "alter system set log_statement = 'all'");
    postgres_signal(harness_server(), SIGHUP);
    wait_until(strcmp(postgres_ask(harness_server(), "show log_statement"), "all") == 0, 10);
    /* Those that logged in before may not have heard of it yet. */
    json_decref(pglendd_result(d, "recycle", NULL));
    wait_until(pglendd_count(d, "idle") >= 1, 10);
    for (int i = 0; i < WORKERS; i++)
        worker_fork(&worker[i], work, (void *)(uintptr_t)actors[i]);
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 60), 0);
    postgres_run(harness_server(), "alter system reset log_statement");
    postgres_signal(harness_server(), SIGHUP);
    pglendd_stop(d);
    records = trail_of(trail);
    (void)snprintf(path, sizeof path, "%s/log", harness_server()->directory);
    ck_assert_ptr_nonnull(log = fopen(path, "re"));
    while (getline(&line, &size, log) != -1)
        if (strstr(line, "] clinic ") != NULL &&
            (strstr(line, "LOG:  statement: ") != NULL || strstr(line, "LOG:  execute ") != NULL))
            accounted += account_for(line, records);
    ck_assert_uint_eq(accounted, WORKERS * LEASES * STATEMENTS * 2);
    (void)fclose(log);
    free(line);
    json_decref(records);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_context");
    TCase *tc = harness_live_case(suite, "context", 90);

    tcase_add_test(tc, a_session_knows_its_lease);
    tcase_add_test(tc, a_long_name_is_cut);
    tcase_add_test(tc, another_encoding_is_no_obstacle);
    tcase_add_test(tc, it_is_gone_with_the_lease);
    tcase_add_test(tc, a_session_that_does_not_answer_is_passed_over);
    tcase_add_test(tc, a_server_that_refuses_is_quoted);
    tcase_add_test(tc, every_statement_is_accounted_for);
    return harness_main(suite);
}
