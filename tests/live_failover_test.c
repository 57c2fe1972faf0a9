/* SPDX-License-Identifier: ISC */
/*
 * live_failover_test.c - a server's role changes: a primary and a streaming standby, one of them killed, promoted,
 * demoted or made read-only, while sessions on it are idle and lent.
 */
#include "borrow.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define READ_ONLY  "alter system set default_transaction_read_only = on"
#define READ_WRITE "alter system reset default_transaction_read_only"

static struct pglendd *daemon_;
static struct postgres *first, *second;

static void start_servers(void)
{
    first = postgres_start_primary();
    second = postgres_start_standby(first);
}

static void free_servers(void)
{
    postgres_free(first);
    postgres_free(second);
}

/* A pool of both servers; MORE: further keys of its "database", each with a comma before it, and of the POOL. */
static void start_daemon(const char *attrs, const char *more, const char *pool)
{
    char overrides[1024];

    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'database': {'host': '127.0.0.1,127.0.0.1', 'port': '%d,%d', "
                   "'target_session_attrs': '%s'%s}, 'login': {'backoff_max': '200ms'}%s}}}",
                   first->port, second->port, attrs, more, pool);
    daemon_ = pglendd_start(first, overrides);
}

static int port_of(PGconn *conn)
{
    char text[16];

    return (int)strtol(query(conn, "select inet_server_port()", text, sizeof text), NULL, 10);
}

/* What the next borrower gets. */
static int lent_port(pglend *pool)
{
    PGconn *conn = borrow(pool, 20000);
    int port = port_of(conn);

    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    return port;
}

static void set_read_only(const struct postgres *server, const char *how)
{
    postgres_run(server, how);
    postgres_run(server, "select pg_reload_conf()");
}

static bool lost(PGconn *conn)
{
    PGresult *result = PQexec(conn, "select 1");
    bool ok = PQresultStatus(result) == PGRES_TUPLES_OK;

    PQclear(result);
    return !ok;
}

/* ---- the sessions of a server whose role has changed ---- */

/* Idle ones go at once, one that is lent when it comes back; nobody gets either of them again. */
START_TEST(idle_at_once_and_lent_at_release)
{
    PGconn *held, *conn[2];
    pglend *pool;

    start_servers();
    start_daemon("read-write", ", 'role_check': '1s'", ", 'size': {'min': 3, 'max': 3}");
    wait_until(pglendd_count(daemon_, "idle") == 3, 10);
    ck_assert_int_eq(postgres_sessions(first), 3);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    held = borrow(pool, 20000);
    ck_assert_int_eq(port_of(held), first->port);
    set_read_only(first, READ_ONLY);
    postgres_promote(second);
    wait_until(postgres_sessions(first) == 1 && postgres_sessions(second) == 2, 10);
    ck_assert(pglendd_logged(daemon_, "server changed its role"));
    /* It is marked by the answer of a login of its own. */
    wait_until(pglendd_logged(daemon_, "is not read-write any more"), 10);
    ck_assert_int_eq(port_of(held), first->port);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(port_of(conn[i] = borrow(pool, 20000)), second->port);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    wait_until(postgres_sessions(first) == 0 && postgres_sessions(second) == 3, 10);
    pglend_close(pool);
    pglendd_stop(daemon_);
    free_servers();
}
END_TEST

/* All are lent, so that none can be asked: still they are taken away, and not before. */
START_TEST(lent_are_revoked)
{
    PGconn *conn[2];
    pglend *pool;

    start_servers();
    start_daemon("read-write", ", 'role_check': '1s', 'role_change': 'revoke'", ", 'size': {'min': 2, 'max': 2}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(port_of(conn[i] = borrow(pool, 20000)), first->port);
    harness_sleep_ms(2500);
    for (int i = 0; i < 2; i++)
        ck_assert(!lost(conn[i]));
    set_read_only(first, READ_ONLY);
    postgres_promote(second);
    wait_until(postgres_sessions(first) == 0, 15);
    for (int i = 0; i < 2; i++) {
        ck_assert(lost(conn[i]));
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_LOST);
        ck_assert_msg(strstr(pglend_errmessage(pool), "no longer what the pool's target_session_attrs asks for") !=
                          NULL,
                      "%s", pglend_errmessage(pool));
    }
    ck_assert_int_eq(lent_port(pool), second->port);
    pglend_close(pool);
    pglendd_stop(daemon_);
    free_servers();
}
END_TEST

/* A standby is promoted and keeps its sessions: with it the pool has no server, until there is another standby. */
START_TEST(promoted_standby_is_left)
{
    PGconn *conn;
    pglend *pool;

    start_servers();
    start_daemon("standby", ", 'role_check': '1s'", ", 'unavailable_after': '1s', 'size': {'min': 2, 'max': 2}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_int_eq(lent_port(pool), second->port);
    postgres_stop(first, "fast");
    postgres_promote(second);
    wait_until(postgres_sessions(second) == 0, 15);
    wait_until((conn = pglend_acquire(pool, 100)) == NULL && pglend_errcode(pool) == PGLEND_NO_DATABASE, 10);
    ck_assert_msg(strstr(pglend_errmessage(pool), "server is not in hot standby mode") != NULL, "%s",
                  pglend_errmessage(pool));
    postgres_demote(first, second);
    postgres_resume(first);
    wait_until((conn = pglend_acquire(pool, 100)) != NULL, 10);
    ck_assert_int_eq(port_of(conn), first->port);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
    free_servers();
}
END_TEST

/* What a borrower has made of its own session says nothing about the server. */
START_TEST(session_is_not_its_server)
{
    PGconn *changed, *other;
    pglend *pool;
    char text[16];
    int kept;

    first = second = harness_server();
    start_daemon("read-write", ", 'role_check': '1s', 'role_change': 'revoke'",
                 ", 'reset': 'none', 'size': {'min': 2, 'max': 2}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    changed = borrow(pool, 20000);
    other = borrow(pool, 20000);
    kept = PQbackendPID(other);
    (void)query(changed, "set default_transaction_read_only = on", text, sizeof text);
    ck_assert_int_eq(pglend_release(pool, changed), PGLEND_OK);
    wait_until(pglendd_logged(daemon_, "server changed its role") || pglendd_logged(daemon_, "check failed") ||
                   pglendd_logged(daemon_, ": broken"),
               10);
    harness_sleep_ms(2500);
    ck_assert(!pglendd_logged(daemon_, "any more"));
    ck_assert_int_eq(PQbackendPID(other), kept);
    ck_assert(!lost(other));
    ck_assert_int_eq(pglend_release(pool, other), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A pool that is paused for the switch, with its sessions kept, asks them before it lends them again. */
START_TEST(kept_ones_are_asked_at_resume)
{
    pglend *pool;

    start_servers();
    start_daemon("read-write", ", 'role_check': '1s'", ", 'size': {'min': 2, 'max': 2}");
    wait_until(pglendd_count(daemon_, "idle") == 2, 10);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    json_decref(pglendd_result(daemon_, "pause", "{'pool': 'clinic', 'keep': 'yes'}"));
    set_read_only(first, READ_ONLY);
    postgres_promote(second);
    harness_sleep_ms(1100);
    ck_assert_int_eq(postgres_sessions(first), 2);
    json_decref(pglendd_result(daemon_, "resume", "{'pool': 'clinic'}"));
    ck_assert_int_eq(lent_port(pool), second->port);
    wait_until(postgres_sessions(first) == 0, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
    free_servers();
}
END_TEST

/* ---- under load ---- */

#define WORKERS 8

/* What the workers tell, in memory that they share with the test. */
struct tally {
    _Atomic uint64_t leases, refused, failed; /* acquires that came to something, to nothing; queries that failed */
    _Atomic uint64_t longest_ms;              /* acquire */
    _Atomic uint64_t last_ms[2];              /* when the last lease was got whose session is on the first, second */
    _Atomic uint64_t wrong;                   /* statuses that nobody expects */
    _Atomic bool stop;
    int port[2];
};
static struct tally *tally;

static void borrow_once(pglend *pool)
{
    uint64_t start = harness_now_ms(), took;
    PGconn *conn = pglend_acquire(pool, 3000);
    PGresult *result;
    int port = 0;

    took = harness_now_ms() - start;
    if (took > atomic_load(&tally->longest_ms))
        atomic_store(&tally->longest_ms, took);
    if (conn == NULL) {
        pglend_status status = pglend_errcode(pool);

        atomic_fetch_add(&tally->refused, 1);
        if (status != PGLEND_TIMEOUT && status != PGLEND_NO_DATABASE)
            atomic_fetch_add(&tally->wrong, 1);
        harness_sleep_ms(5);
        return;
    }
    result = PQexec(conn, "insert into visit default values returning inet_server_port()");
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        port = (int)strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    (void)pglend_release(pool, conn);
    atomic_fetch_add(&tally->leases, port != 0);
    atomic_fetch_add(&tally->failed, port == 0);
    for (int i = 0; i < 2; i++)
        if (port == tally->port[i])
            atomic_store(&tally->last_ms[i], start + took);
}

static int borrow_all_the_time(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    (void)argument;
    (void)sock;
    while (!atomic_load(&tally->stop))
        borrow_once(pool);
    pglend_close(pool);
    return 0;
}

static void start_load(struct worker_process worker[WORKERS])
{
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(tally, MAP_FAILED);
    tally->port[0] = first->port;
    tally->port[1] = second->port;
    postgres_run(first, "create table visit(id bigserial); grant all on visit, visit_id_seq to clinic");
    /* Replication is not synchronous: what the standby has not got it does not have as primary. */
    wait_until(strcmp(postgres_ask(second, "select to_regclass('visit') is not null"), "t") == 0, 30);
    for (int i = 0; i < WORKERS; i++)
        worker_fork(&worker[i], borrow_all_the_time, NULL);
    wait_until(atomic_load(&tally->leases) > 200, 20);
}

static void stop_load(struct worker_process worker[WORKERS])
{
    atomic_store(&tally->stop, true);
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 20), 0);
    ck_assert_uint_eq(atomic_load(&tally->wrong), 0);
    /* None hung: 3 s is what they asked for. */
    ck_assert_uint_lt(atomic_load(&tally->longest_ms), 8000);
    (void)munmap(tally, sizeof *tally);
}

static void tell(const char *what, uint64_t visible)
{
    printf("%s: %llu leases, %llu refused, %llu failed; last on the old one %lld ms after the new one took writes\n",
           what, (unsigned long long)atomic_load(&tally->leases), (unsigned long long)atomic_load(&tally->refused),
           (unsigned long long)atomic_load(&tally->failed), (long long)(atomic_load(&tally->last_ms[0]) - visible));
}

/*
 * The primary is killed, the standby promoted: leases go on there, and the old primary, back as a standby, which new
 * logins try first, is not lent.
 */
START_TEST(primary_killed_under_load)
{
    struct worker_process worker[WORKERS];
    uint64_t visible, failed;

    start_servers();
    start_daemon("read-write", ", 'role_check': '1s'", ", 'size': {'min': 4, 'max': 4}");
    start_load(worker);
    ck_assert_uint_eq(atomic_load(&tally->failed), 0);
    postgres_stop(first, "immediate");
    postgres_promote(second);
    visible = harness_now_ms();
    wait_until(atomic_load(&tally->last_ms[1]) > visible, 10);
    printf("first lease on the new primary %llu ms after it took writes\n",
           (unsigned long long)(atomic_load(&tally->last_ms[1]) - visible));
    wait_until(pglendd_count(daemon_, "total") == 4, 10);
    /* Each session fails at most one query more than those that were under way. */
    failed = atomic_load(&tally->failed);
    ck_assert_uint_le(failed, 2 * 4 + WORKERS);
    postgres_demote(first, second);
    postgres_resume(first);
    json_decref(pglendd_result(daemon_, "recycle", "{'pool': 'clinic'}"));
    harness_sleep_ms(3000);
    ck_assert_int_eq(postgres_sessions(first), 0);
    ck_assert_uint_eq(atomic_load(&tally->failed), failed);
    ck_assert_uint_lt(atomic_load(&tally->last_ms[0]), visible);
    tell("killed", visible);
    stop_load(worker);
    pglendd_stop(daemon_);
    free_servers();
}
END_TEST

/* The primary becomes read-only, the standby is promoted: no lease on the old one is given for long after that. */
static void switch_over(const char *role_change)
{
    struct worker_process worker[WORKERS];
    uint64_t visible, failed;
    char more[80];

    start_servers();
    (void)snprintf(more, sizeof more, ", 'role_check': '1s', 'role_change': '%s'", role_change);
    start_daemon("read-write", more, ", 'size': {'min': 4, 'max': 4}");
    start_load(worker);
    set_read_only(first, READ_ONLY);
    postgres_promote(second);
    visible = harness_now_ms();
    wait_until(postgres_sessions(first) == 0 && atomic_load(&tally->last_ms[1]) > visible, 15);
    printf("%s: the old one was left %llu ms after the new one took writes\n", role_change,
           (unsigned long long)(harness_now_ms() - visible));
    failed = atomic_load(&tally->failed);
    harness_sleep_ms(2000);
    ck_assert_uint_eq(atomic_load(&tally->failed), failed);
    ck_assert_int_eq(postgres_sessions(first), 0);
    tell(role_change, visible);
    stop_load(worker);
    pglendd_stop(daemon_);
    free_servers();
}

START_TEST(switched_over_under_load_release)
{
    switch_over("release");
}
END_TEST

START_TEST(switched_over_under_load_revoke)
{
    switch_over("revoke");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_failover");
    TCase *role = harness_live_case(suite, "role", 60);
    TCase *load = harness_live_case(suite, "load", 60);

    tcase_add_test(role, idle_at_once_and_lent_at_release);
    tcase_add_test(role, lent_are_revoked);
    tcase_add_test(role, promoted_standby_is_left);
    tcase_add_test(role, session_is_not_its_server);
    tcase_add_test(role, kept_ones_are_asked_at_resume);
    tcase_add_test(load, primary_killed_under_load);
    tcase_add_test(load, switched_over_under_load_release);
    tcase_add_test(load, switched_over_under_load_revoke);
    return harness_main(suite);
}
