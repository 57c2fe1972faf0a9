/* SPDX-License-Identifier: ISC */
/*
 * live_override_test.c - emergency access: recorded before it takes effect, bounded, and gone when it ends, with what
 * was borrowed by it.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OVERRIDER       60005 /* may override, and is in no access list */
#define OTHER           60006
#define ARGUMENTS(more) "{'pool': 'clinic', 'reason': 'ward 3, no power', " more "}"

static char trail[128];
static struct pglendd *d;
static enum { BY_USER, BY_GROUP, BY_PROGRAM, WAYS } way; /* what an override alone lets in */

static void set_up(void)
{
    pglendd_trail(trail);
}

/* With a trail, in the sync that SYNC says, and POOL beside what the tests need. */
static void start(const char *sync)
{
    char overrides[800], access[120] = "";

    if (way == BY_PROGRAM)
        (void)snprintf(access, sizeof access, ", 'access': {'users': ['%d'], 'executables': ['/nowhere']}", OVERRIDER);
    (void)snprintf(overrides, sizeof overrides,
                   "{'audit': {'directory': '%s', 'sync': '%s', 'window': '5ms'}, 'admin': {'override': {'%s': "
                   "['%d']}}, 'pools': {'clinic': {'require_actor': true, 'purposes': ['treatment']%s}}}",
                   trail, sync, way == BY_GROUP ? "groups" : "users", OVERRIDER, access);
    d = pglendd_start(harness_server(), overrides);
}

static bool audit_is(const char *state)
{
    json_t *status = pglendd_result(d, "status", NULL);
    bool is = strcmp(json_string_value(json_object_get(status, "audit")), state) == 0;

    json_decref(status);
    return is;
}

static bool is_recorded(const char *words)
{
    char command[400];

    (void)snprintf(command, sizeof command, "cat '%s'/*.jsonl | grep '\"access.override\"' | grep -q '%s'", trail,
                   words);
    return system(command) == 0;
}

static bool is_in_force(void)
{
    json_t *pools = pglendd_result(d, "pools", NULL);
    bool is = json_is_object(json_object_get(json_array_get(pools, 0), "override"));

    json_decref(pools);
    return is;
}

static void expect_code(const char *arguments, const char *code)
{
    json_t *answer = pglendd_request(d, "override", arguments);
    const char *is = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));

    ck_assert_msg(is != NULL && strcmp(is, code) == 0, "%s: %s", arguments, is == NULL ? "answered" : is);
    json_decref(answer);
}

/* Without a word of who and why. */
static int borrow(pglend *pool)
{
    PGconn *conn = pglend_acquire(pool, 5000);

    if (conn == NULL)
        return pglend_errcode(pool);
    return pglend_release(pool, conn);
}

START_TEST(what_the_pool_asks_for_is_lifted_and_comes_back)
{
    pglend *pool;

    if (geteuid() != 0)
        return; /* root has the role */
    start("batched");
    wait_until(audit_is("on"), 5);
    pool = pglend_open(d->runtime_dir, "clinic");
    ck_assert_int_eq(borrow(pool), PGLEND_DENIED);
    json_decref(pglendd_result(d, "override", ARGUMENTS("'for': '2s'")));
    ck_assert(is_recorded("\"outcome\":\"begins\""));
    ck_assert(is_recorded("ward 3, no power"));
    ck_assert(is_in_force());
    ck_assert_int_eq(borrow(pool), PGLEND_OK);
    wait_until(!is_in_force(), 10);
    wait_until(is_recorded("its time is over"), 5);
    ck_assert_int_eq(borrow(pool), PGLEND_DENIED);
    pglend_close(pool);
    pglendd_stop(d);
}
END_TEST

/* Without the override it may not; it borrows, and loses what it has when that ends. */
static int borrow_as_overrider(void *argument, int sock)
{
    const gid_t may = OVERRIDER;
    const uid_t uid = way == BY_GROUP ? OTHER : OVERRIDER;
    PGresult *result;
    pglend *pool;
    PGconn *conn;

    (void)argument;
    if ((way == BY_GROUP && setgroups(1, &may) != 0) || setresgid(OTHER, OTHER, OTHER) != 0 ||
        setresuid(uid, uid, uid) != 0)
        return 2;
    pool = pglend_open(d->runtime_dir, "clinic");
    ck_assert_ptr_null(pglend_acquire(pool, 2000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_DENIED);
    pglend_close(pool);
    json_decref(pglendd_result(d, "override", ARGUMENTS("'for': '1h'")));
    pool = pglend_open(d->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    say(sock, 'h');
    (void)hear(sock, 20);
    /* It lives, and the session is not another's. */
    result = PQexec(conn, "select 1");
    ck_assert_int_ne(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    (void)pglend_release(pool, conn);
    ck_assert_ptr_null(pglend_acquire(pool, 2000));
    pglend_close(pool);
    return 0;
}

/* In each way; and where another supervisor ends it, to which the worker has not said a word. */
START_TEST(who_may_override_may_borrow_while_it_lasts)
{
    struct worker_process worker;

    if (geteuid() != 0)
        return;
    way = _i % WAYS;
    start("durable");
    wait_until(audit_is("on"), 5);
    worker_fork(&worker, borrow_as_overrider, NULL);
    (void)hear(worker.sock, 20);
    if (_i >= WAYS)
        (void)pglendd_replace(d, "supervisor");
    ck_assert_int_eq(pglendd_count(d, "leased"), 1);
    json_decref(pglendd_result(d, "override", "{'pool': 'clinic', 'end': 'yes'}"));
    ck_assert(!is_in_force());
    wait_until(pglendd_count(d, "leased") == 0, 10);
    wait_until(is_recorded("\"outcome\":\"ended\""), 5);
    say(worker.sock, 'e');
    ck_assert_int_eq(worker_wait(&worker, 20), 0);
    pglendd_stop(d);
}
END_TEST

START_TEST(it_outlives_a_supervisor)
{
    if (geteuid() != 0)
        return;
    start("batched");
    wait_until(audit_is("on"), 5);
    json_decref(pglendd_result(d, "override", ARGUMENTS("'for': '1h'")));
    (void)pglendd_replace(d, "supervisor");
    ck_assert(is_in_force());
    json_decref(pglendd_result(d, "override", "{'pool': 'clinic', 'end': 'yes'}"));
    ck_assert(!is_in_force());
    pglendd_stop(d);
}
END_TEST

START_TEST(without_pool_reason_bound_or_record_there_is_none)
{
    pid_t process;

    if (geteuid() != 0)
        return;
    start("batched");
    wait_until(audit_is("on"), 5);
    expect_code("{'reason': 'all of it'}", "bad_request");
    expect_code("{'pool': 'clinic'}", "bad_request");
    expect_code("{'pool': 'clinic', 'reason': '  '}", "bad_request");
    expect_code("{'pool': 'clinic', 'reason': 'two\\nlines'}", "bad_request");
    expect_code(ARGUMENTS("'for': '25h'"), "bad_request");
    expect_code(ARGUMENTS("'for': '0s'"), "bad_request");
    expect_code(ARGUMENTS("'for': 'ever'"), "bad_request");
    expect_code("{'pool': 'nowhere', 'reason': 'x'}", "no_such_pool");
    process = pglendd_signal(d, "audit", SIGSTOP);
    expect_code(ARGUMENTS("'for': '1h'"), "timed_out");
    ck_assert(!is_in_force());
    ck_assert_int_eq(kill(process, SIGCONT), 0);
    wait_until(is_recorded("\"outcome\":\"not begun\""), 10);
    pglendd_stop(d);
    d = pglendd_start(harness_server(), NULL);
    expect_code(ARGUMENTS("'for': '1h'"), "failed");
    pglendd_stop(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_override");
    TCase *live = harness_live_case(suite, "override", 40);

    tcase_add_checked_fixture(live, set_up, NULL);
    tcase_add_test(live, what_the_pool_asks_for_is_lifted_and_comes_back);
    tcase_add_loop_test(live, who_may_override_may_borrow_while_it_lasts, 0, 2 * WAYS);
    tcase_add_test(live, it_outlives_a_supervisor);
    tcase_add_test(live, without_pool_reason_bound_or_record_there_is_none);
    return harness_main(suite);
}
