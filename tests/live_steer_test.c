/* SPDX-License-Identifier: ISC */
/*
 * live_steer_test.c - a pool that is told what to do while it runs: pause and resume, disable and enable, other sizes,
 * reloads, all of it under load; and a supervisor that stands still for a while.
 */
#include "borrow.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOAD_WORKERS 64

static struct pglendd *daemon_;

/* Who the daemon says we are: root, or a number that no access list names. */
static const char *self(void)
{
    static char name[16];

    if (geteuid() == 0)
        return "root";
    (void)snprintf(name, sizeof name, "%u", (unsigned)geteuid());
    return name;
}

/* "VERB by SELF" */
static const char *by_self(const char *verb)
{
    static char text[64];

    (void)snprintf(text, sizeof text, "%s by %s ", verb, self());
    return text;
}

static int borrow_once(pglend *pool)
{
    PGconn *conn = borrow(pool, 5000);
    int pid = PQbackendPID(conn);

    one(conn);
    give_back(pool, conn);
    return pid;
}

static void expect_no_lease(pglend *pool, int timeout_ms, pglend_status status, const char *words)
{
    PGconn *conn = pglend_acquire(pool, timeout_ms);

    ck_assert_ptr_null(conn);
    ck_assert_msg(pglend_errcode(pool) == status && strstr(pglend_errmessage(pool), words) != NULL, "%s: %s",
                  pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
}

/* The command's result, one pool's object of it: member KEY as text. */
static const char *order(const char *command, const char *arguments, const char *key, char text[64])
{
    json_t *result = pglendd_result(daemon_, command, arguments);
    const json_t *value = json_object_get(json_array_get(result, 0), key);

    if (json_is_integer(value))
        (void)snprintf(text, 64, "%lld", (long long)json_integer_value(value));
    else
        (void)snprintf(text, 64, "%s", json_is_string(value) ? json_string_value(value) : "-");
    json_decref(result);
    return text;
}

static void expect_refusal(const char *command, const char *arguments, const char *code, const char *words)
{
    json_t *answer = pglendd_request(daemon_, command, arguments), *error = json_object_get(answer, "error");

    ck_assert_str_eq(json_string_value(json_object_get(error, "code")), code);
    ck_assert_msg(strstr(json_string_value(json_object_get(error, "message")), words) != NULL, "%s",
                  json_string_value(json_object_get(error, "message")));
    json_decref(answer);
}

static const char *state(char text[64])
{
    return order("pools", "{'pool': 'clinic'}", "state", text);
}

/* ---- pause ---- */

/* Says what became of an acquire that waits for 10 s. */
static int wait_in_queue(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn;

    (void)argument;
    conn = pglend_acquire(pool, 10000);
    say(sock, conn != NULL ? 'y' : pglend_errcode(pool) == PGLEND_SHUTDOWN ? 's' : 'n');
    if (conn != NULL) {
        one(conn);
        give_back(pool, conn);
    }
    pglend_close(pool);
    return 0;
}

START_TEST(pause_waits_for_leases_and_queues_everybody)
{
    struct worker_process waiter;
    char text[64];
    PGconn *held;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 3}}}}");
    pool = open_pool(daemon_);
    (void)borrow_once(pool);
    held = borrow(pool, 5000);
    expect_refusal("pause", "{'pool': 'clinic', 'timeout': '0.2'}", "timed_out", "still has leases or sessions to end");
    ck_assert_str_eq(state(text), "paused");
    ck_assert_str_eq(order("pools", NULL, "mode_by", text), self());
    expect_no_lease(pool, 100, PGLEND_TIMEOUT, by_self("paused"));
    expect_no_lease(pool, 0, PGLEND_TIMEOUT, by_self("paused"));
    one(held); /* what is lent is not disturbed */
    worker_fork(&waiter, wait_in_queue, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 1, 5);
    give_back(pool, held);
    ck_assert_str_eq(order("pause", "{'wait': 'yes'}", "total", text), "0");
    wait_until(postgres_sessions(harness_server()) == 0, 5);
    ck_assert_int_eq(pglendd_count(daemon_, "waiting"), 1);
    ck_assert_str_eq(order("enable", NULL, "state", text), "paused"); /* that is another's counterpart */
    ck_assert_str_eq(order("resume", "{'wait': 'yes', 'timeout': '5'}", "state", text), "active");
    ck_assert_int_eq(hear(waiter.sock, 5), 'y');
    ck_assert_int_eq(worker_wait(&waiter, 5), 0);
    (void)borrow_once(pool);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(pause_keeps_sessions)
{
    bool restart = _i == 1;
    char text[64];
    PGconn *held;
    pglend *pool;
    int idle, lent;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    pool = open_pool(daemon_);
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    held = borrow(pool, 5000);
    lent = PQbackendPID(held);
    idle = borrow_once(pool);
    ck_assert_int_ne(idle, lent);
    expect_refusal("pause", "{'keep': 'yes', 'timeout': '0'}", "timed_out", "leased");
    give_back(pool, held);
    ck_assert_str_eq(order("pause", "{'keep': 'yes'}", "idle", text), "2");
    expect_no_lease(pool, 100, PGLEND_TIMEOUT, by_self("paused"));
    if (restart) {
        (void)pglendd_replace(daemon_, "supervisor");
        ck_assert_str_eq(state(text), "paused");
        wait_until(pglendd_count(daemon_, "idle") == 2, 5);
        expect_no_lease(pool, 100, PGLEND_TIMEOUT, by_self("paused"));
    }
    (void)order("resume", NULL, "state", text);
    held = borrow(pool, 5000);
    ck_assert_int_eq(borrow_once(pool) + PQbackendPID(held), idle + lent);
    ck_assert_int_ne(PQbackendPID(held), 0);
    give_back(pool, held);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Resumed before the lease has come back: the session stays. */
START_TEST(pause_taken_back)
{
    char text[64];
    PGconn *held;
    pglend *pool;
    int lent;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    held = borrow(pool, 5000);
    lent = PQbackendPID(held);
    expect_refusal("pause", "{'timeout': '0'}", "timed_out", "leased");
    (void)order("resume", NULL, "state", text);
    give_back(pool, held);
    ck_assert_int_eq(borrow_once(pool), lent);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- disable ---- */

START_TEST(disable_refuses_at_once)
{
    struct worker_process waiter;
    char text[64];
    PGconn *held;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    held = borrow(pool, 5000);
    worker_fork(&waiter, wait_in_queue, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 1, 5);
    ck_assert_str_eq(order("disable", "{'pool': 'clinic'}", "state", text), "disabled");
    ck_assert_int_eq(hear(waiter.sock, 2), 's');
    ck_assert_int_eq(worker_wait(&waiter, 5), 0);
    expect_no_lease(pool, 5000, PGLEND_SHUTDOWN, by_self("is disabled"));
    (void)pglendd_replace(daemon_, "supervisor");
    ck_assert_str_eq(state(text), "disabled");
    expect_no_lease(pool, 5000, PGLEND_SHUTDOWN, by_self("is disabled"));
    one(held);
    give_back(pool, held);
    ck_assert_str_eq(order("disable", "{'wait': 'yes', 'timeout': '5'}", "total", text), "0");
    /* Each verb undoes its own counterpart, and has nothing to wait for where the other is in force. */
    ck_assert_str_eq(order("pause", NULL, "state", text), "disabled");
    ck_assert_str_eq(order("resume", "{'wait': 'yes', 'timeout': '5'}", "state", text), "disabled");
    ck_assert_str_eq(order("enable", "{'wait': 'yes', 'timeout': '5'}", "idle", text), "1");
    (void)borrow_once(pool);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- size ---- */

static json_int_t differs(const char *key, const char *which)
{
    json_t *pools = pglendd_result(daemon_, "pools", NULL);
    json_t *row = json_object_get(json_object_get(json_array_get(pools, 0), "differs"), key);
    json_int_t number = row == NULL ? -1 : json_integer_value(json_object_get(row, which));

    json_decref(pools);
    return number;
}

START_TEST(resize_until_the_next_reload)
{
    char text[64];
    pglend *pool;
    PGconn *conn[4];

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 2, 'limit': 4}}}}");
    pool = open_pool(daemon_);
    for (int i = 0; i < 2; i++)
        conn[i] = borrow(pool, 5000);
    expect_no_lease(pool, 0, PGLEND_TIMEOUT, "2 leased");
    ck_assert_str_eq(order("resize", "{'max': '4', 'min': '3', 'wait': 'yes', 'timeout': '5'}", "max", text), "4");
    ck_assert_int_eq(differs("size.max", "now"), 4);
    ck_assert_int_eq(differs("size.max", "file"), 2);
    for (int i = 2; i < 4; i++)
        conn[i] = borrow(pool, 5000);
    (void)pglendd_replace(daemon_, "supervisor");
    ck_assert_int_eq(differs("size.max", "now"), 4);
    /* Smaller than what is lent: that is not taken away, and serves nobody when it comes back. */
    ck_assert_str_eq(order("resize", "{'max': '1', 'min': '0'}", "leased", text), "4");
    for (int i = 0; i < 4; i++) {
        one(conn[i]);
        give_back(pool, conn[i]);
    }
    ck_assert_str_eq(order("resize", "{'max': '1', 'wait': 'yes', 'timeout': '5'}", "max", text), "1");
    wait_until(postgres_sessions(harness_server()) == 1, 5);
    json_decref(pglendd_result(daemon_, "reload", NULL));
    wait_until(differs("size.max", "now") == -1, 5);
    conn[0] = borrow(pool, 5000);
    conn[1] = borrow(pool, 5000);
    give_back(pool, conn[0]);
    give_back(pool, conn[1]);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- recycle ---- */

START_TEST(recycle_replaces_each_session_once)
{
    pglend *pool;
    PGconn *held;
    char text[64];
    int lent, idle;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 4, 'max': 4}}}}");
    pool = open_pool(daemon_);
    wait_until(pglendd_count(daemon_, "idle") == 4, 5);
    held = borrow(pool, 5000);
    lent = PQbackendPID(held);
    idle = borrow_once(pool);
    harness_sleep_ms(1100); /* longer than a short lease */
    ck_assert_str_eq(order("recycle", "{'over': '1h', 'wait': 'yes', 'timeout': '5'}", "idle", text), "3");
    ck_assert_int_eq(borrow_once(pool), idle);
    wait_until(pglendd_count(daemon_, "idle") == 3, 5); /* its reset may take its time */
    ck_assert_str_eq(order("recycle", "{'idle': 'yes', 'wait': 'yes', 'timeout': '5'}", "idle", text), "3");
    ck_assert_int_ne(borrow_once(pool), idle);
    one(held);
    expect_refusal("recycle", "{'wait': 'yes', 'timeout': '0.3'}", "timed_out", "has sessions to replace");
    one(held);
    ck_assert_int_eq(PQbackendPID(held), lent);
    ck_assert_int_eq(pglendd_count(daemon_, "leased"), 1);
    give_back(pool, held);
    ck_assert_str_eq(order("recycle", "{'over': '1h', 'wait': 'yes', 'timeout': '10'}", "idle", text), "4");
    for (int i = 0; i < 4; i++)
        ck_assert_int_ne(borrow_once(pool), lent);
    expect_refusal("recycle", "{'over': 'soon'}", "bad_request", "not a duration");
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A hundred would take as many seconds if they went with the clock. */
START_TEST(recycle_does_not_dawdle)
{
    char text[64];
    uint64_t started;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 20, 'max': 20}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 20, 10);
    started = harness_now_ms();
    ck_assert_str_eq(order("recycle", "{'wait': 'yes', 'timeout': '15'}", "idle", text), "20");
    ck_assert_uint_lt(harness_now_ms() - started, 10000);
    ck_assert_int_le(postgres_sessions(harness_server()), 21);
    pglendd_stop(daemon_);
}
END_TEST

/* What new logins only have is brought to all; what all have at once disturbs nobody. */
START_TEST(reload_recycles_what_changed)
{
    static const char *const files[] = {
        "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}",
        "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}, 'max_waiters': 7}}}",
        "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}, 'database': {'settings': {'work_mem': '7MB'}}}}}",
    };
    char text[64], setting[16];
    PGconn *first, *second;
    pglend *pool;
    int old;

    daemon_ = pglendd_start(harness_server(), files[0]);
    pool = open_pool(daemon_);
    old = borrow_once(pool);
    pglendd_configure(daemon_, harness_server(), files[1]);
    ck_assert_str_eq(order("reload", NULL, "takes", text), "applied");
    harness_sleep_ms(1200);
    ck_assert_int_eq(borrow_once(pool), old);
    pglendd_configure(daemon_, harness_server(), files[2]);
    ck_assert_str_eq(order("reload", NULL, "takes", text), "needs recycle");
    (void)order("recycle", "{'over': '1h', 'wait': 'yes', 'timeout': '5'}", "idle", text);
    first = borrow(pool, 5000);
    second = borrow(pool, 5000);
    ck_assert_str_eq(query(first, "show work_mem", setting, sizeof setting), "7MB");
    ck_assert_str_eq(query(second, "show work_mem", setting, sizeof setting), "7MB");
    give_back(pool, first);
    give_back(pool, second);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- revoke ---- */

static int hold(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);
    PGresult *result;

    (void)argument;
    say(sock, 'h');
    (void)hear(sock, 20);
    result = PQexec(conn, "select 1");
    ck_assert_int_ne(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_LOST);
    ck_assert_ptr_nonnull(strstr(pglend_errmessage(pool), "an administrator revoked it"));
    (void)borrow_once(pool);
    pglend_close(pool);
    return 0;
}

/* {'slot': …}, {'pid': …}, {'user': …} of a worker that holds a lease. */
static void aim_at(int how, pid_t pid, char text[64])
{
    if (how == 0)
        (void)snprintf(text, 64, "{'slot': 'clinic/0', 'wait': 'yes'}");
    else if (how == 1)
        (void)snprintf(text, 64, "{'pid': '%d', 'wait': 'yes'}", (int)pid);
    else
        (void)snprintf(text, 64, "{'user': '%u', 'wait': 'yes'}", (unsigned)getuid());
}

START_TEST(revoke_takes_leases_away)
{
    struct worker_process worker;
    char arguments[64];
    json_t *result;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    worker_fork(&worker, hold, NULL);
    ck_assert_int_eq(hear(worker.sock, 5), 'h');
    for (int other = 0; other < 2; other++) {
        result = pglendd_result(daemon_, "revoke", other == 0 ? "{'pid': '1'}" : "{'user': '4711'}");
        ck_assert_uint_eq(json_array_size(result), 0);
        json_decref(result);
    }
    expect_refusal("revoke", "{}", "bad_request", "say whose");
    expect_refusal("revoke", "{'slot': 'clinic'}", "bad_request", "is not POOL/SLOT");
    expect_refusal("revoke", "{'slot': 'clinic/4095'}", "bad_request", "numbered from 0");
    expect_refusal("revoke", "{'slot': 'lab/0'}", "no_such_pool", "no pool");
    expect_refusal("revoke", "{'pid': '0'}", "bad_request", "not the number of a process");
    aim_at(_i, worker.pid, arguments);
    result = pglendd_result(daemon_, "revoke", arguments);
    ck_assert_uint_eq(json_array_size(result), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(result, 0), "worker_pid")), worker.pid);
    json_decref(result);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0); /* alive, and served again */
    pglendd_stop(daemon_);
}
END_TEST

/* By its whole name just that lease is hit, not a later one of the slot. */
START_TEST(revoke_by_name)
{
    char arguments[160], name[80];
    json_t *result;
    PGconn *conn;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    (void)snprintf(name, sizeof name, "%s", pglend_lease_id(pool, conn));
    give_back(pool, conn);
    conn = borrow(pool, 5000);
    (void)snprintf(arguments, sizeof arguments, "{'slot': '%s', 'wait': 'yes'}", name);
    result = pglendd_result(daemon_, "revoke", arguments);
    ck_assert_uint_eq(json_array_size(result), 0);
    json_decref(result);
    one(conn);
    (void)snprintf(arguments, sizeof arguments, "{'slot': '%s', 'wait': 'yes'}", pglend_lease_id(pool, conn));
    result = pglendd_result(daemon_, "revoke", arguments);
    ck_assert_uint_eq(json_array_size(result), 1);
    json_decref(result);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_LOST);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A statement that runs does not outlive the lease it was sent under. */
START_TEST(revoke_ends_what_runs)
{
    uint64_t started;
    json_t *result;
    PGconn *conn;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(60)"), 1);
    harness_sleep_ms(50);
    started = harness_now_ms();
    result = pglendd_result(daemon_, "revoke", "{'slot': 'clinic/0', 'wait': 'yes', 'timeout': '5'}");
    json_decref(result);
    ck_assert_uint_lt(harness_now_ms() - started, 2000);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_LOST);
    (void)borrow_once(pool);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- under load ---- */

/* Leases without end, until the test hangs up: each must succeed. */
static int load(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    unsigned seed = *(unsigned *)argument, leases = 0;
    char stop;

    say(sock, 'r');
    while (recv(sock, &stop, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN) {
        PGconn *conn = pglend_acquire(pool, 20000);

        ck_assert_msg(conn != NULL, "%s: %s", pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
        one(conn);
        if (rand_r(&seed) % 16 == 0)
            harness_sleep_ms(2);
        give_back(pool, conn);
        leases++;
    }
    pglend_close(pool);
    return leases > 0 ? 0 : 1;
}

static const struct {
    const char *command, *arguments;
} orders[] = {
    {"reload", NULL},
    {"resize", "{'max': '2', 'min': '0'}"},
    {"pause", "{'keep': 'yes', 'wait': 'yes', 'timeout': '20'}"},
    {"resize", "{'max': '8', 'min': '6'}"},
    {"resume", NULL},
    {"recycle", NULL},
    {"pause", "{'wait': 'yes', 'timeout': '20'}"},
    {"resume", NULL},
};

START_TEST(steered_under_load)
{
    struct worker_process worker[LOAD_WORKERS];
    unsigned seed[LOAD_WORKERS];

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 4, 'limit': 8}}}}");
    for (unsigned i = 0; i < LOAD_WORKERS; i++) {
        seed[i] = i + 1;
        worker_fork(&worker[i], load, &seed[i]);
        ck_assert_int_eq(hear(worker[i].sock, 10), 'r');
    }
    for (unsigned round = 0; round < harness_rounds(10); round++)
        for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
            json_decref(pglendd_result(daemon_, orders[i].command, orders[i].arguments));
            ck_assert_int_le(postgres_sessions(harness_server()), 8 + 1); /* one that follows another */
            harness_sleep_ms(5);
        }
    for (unsigned i = 0; i < LOAD_WORKERS; i++) {
        say(worker[i].sock, 's');
        ck_assert_int_eq(worker_wait(&worker[i], 30), 0);
    }
    /* No slot is lost: all that there are can be lent. */
    json_decref(pglendd_result(daemon_, "resize", "{'min': '8', 'max': '8', 'wait': 'yes', 'timeout': '10'}"));
    wait_until(pglendd_count(daemon_, "idle") == 8, 10);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- a supervisor that stands still ---- */

START_TEST(stopped_supervisor)
{
    unsigned seconds = harness_rounds(2);
    pid_t supervisor;
    pglend *pool;
    uint64_t until;

    daemon_ =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 0, 'max': 2}, 'idle_timeout': '1s'}}}");
    pool = open_pool(daemon_);
    (void)borrow_once(pool);
    supervisor = pglendd_signal(daemon_, "supervisor", SIGSTOP);
    for (until = harness_now_ms() + 1000 * (seconds < 10 ? seconds : 10); harness_now_ms() < until;)
        if (pglendd_is_strict(daemon_)) /* nothing is lent without it */
            harness_sleep_ms(100);
        else
            (void)borrow_once(pool);
    ck_assert_int_eq(kill(supervisor, SIGCONT), 0);
    wait_until(pglendd_count(daemon_, "total") == 0, 5); /* the timer that it slept through has gone on */
    (void)borrow_once(pool);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_steer");
    TCase *tc = harness_live_case(suite, "steer", 60);
    TCase *under_load = harness_live_case(suite, "load", 60 * harness_rounds(1));

    tcase_add_test(tc, pause_waits_for_leases_and_queues_everybody);
    tcase_add_loop_test(tc, pause_keeps_sessions, 0, 2);
    tcase_add_test(tc, pause_taken_back);
    tcase_add_test(tc, disable_refuses_at_once);
    tcase_add_test(tc, resize_until_the_next_reload);
    tcase_add_test(tc, recycle_replaces_each_session_once);
    tcase_add_test(tc, recycle_does_not_dawdle);
    tcase_add_test(tc, reload_recycles_what_changed);
    tcase_add_loop_test(tc, revoke_takes_leases_away, 0, 3);
    tcase_add_test(tc, revoke_by_name);
    tcase_add_test(tc, revoke_ends_what_runs);
    tcase_add_test(tc, stopped_supervisor);
    tcase_add_test(under_load, steered_under_load);
    return harness_main(suite);
}
