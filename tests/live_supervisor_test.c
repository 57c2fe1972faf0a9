/* SPDX-License-Identifier: ISC */
/*
 * live_supervisor_test.c - the supervisor is killed, or one of the keeper's short-lived processes is: no query fails,
 * no lease and no backend is lost, and whoever needs a supervisor meanwhile waits for it, or is told.
 */
#include "borrow.h"
#include "daemon.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD 8

static struct pglendd *daemon_;

static const char *backends(char text[256])
{
    (void)snprintf(text, 256, "%s",
                   postgres_ask(harness_server(), "select string_agg(pid::text, ' ' order by pid) from pg_stat_activity"
                                                  " where usename = 'clinic'"));
    return text;
}

/* The keeper stands still, so that there is no supervisor until supervise_again(). */
static pid_t no_supervisor(void)
{
    pid_t supervisor;

    ck_assert_int_eq(kill(daemon_->pid, SIGSTOP), 0);
    supervisor = pglendd_signal(daemon_, "supervisor", SIGKILL);
    wait_until(process_state(supervisor) == 'Z', 5);
    return supervisor;
}

static void supervise_again(pid_t than)
{
    ck_assert_int_eq(kill(daemon_->pid, SIGCONT), 0);
    wait_until(pglendd_has_another(daemon_, "supervisor", than), 1);
}

/* ---- workers ---- */

static int query_all_the_time(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    char byte;

    (void)argument;
    say(sock, 'h');
    while (recv(sock, &byte, 1, MSG_DONTWAIT) != 1) {
        PGconn *conn = borrow(pool, 10000);

        one(conn);
        give_back(pool, conn);
    }
    pglend_close(pool);
    return 0;
}

static int hold_until_told(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 10000);
    char text[16];

    (void)argument;
    PQclear(PQexec(conn, "begin; create temp table mine as select 7 as i"));
    say(sock, 'h');
    (void)hear(sock, 60);
    ck_assert_str_eq(query(conn, "select i from mine", text, sizeof text), "7");
    give_back(pool, conn);
    pglend_close(pool);
    return 0;
}

static int sleep_with_it(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 10000);

    (void)argument;
    ck_assert_int_eq(PQsendQuery(conn, "begin; create table left_behind (i int); select pg_sleep(60)"), 1);
    say(sock, 'h');
    (void)hear(sock, 60);
    return 1;
}

/* ---- killed ---- */

START_TEST(killed_again_and_again_under_load)
{
    struct worker_process worker[LOAD], holder;
    unsigned rounds = harness_rounds(20);
    char before[256], after[256];
    uint64_t longest = 0;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 4, 'max': 4}}}}");
    wait_until(pglendd_count(daemon_, "total") == 4, 10);
    (void)backends(before);
    worker_fork(&holder, hold_until_told, NULL);
    ck_assert_int_eq(hear(holder.sock, 10), 'h');
    for (int i = 0; i < LOAD; i++)
        worker_fork(&worker[i], query_all_the_time, NULL);
    for (int i = 0; i < LOAD; i++)
        ck_assert_int_eq(hear(worker[i].sock, 10), 'h');
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t start = harness_now_ms();
        pid_t supervisor = pglendd_signal(daemon_, "supervisor", SIGKILL);

        wait_until(pglendd_has_another(daemon_, "supervisor", supervisor), 3);
        if (harness_now_ms() - start > longest)
            longest = harness_now_ms() - start;
        harness_sleep_ms(10 + i % 4 * 30);
    }
    say(holder.sock, 'g');
    ck_assert_int_eq(worker_wait(&holder, 10), 0);
    for (int i = 0; i < LOAD; i++)
        say(worker[i].sock, 'g');
    for (int i = 0; i < LOAD; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 20), 0);
    wait_until(pglendd_count(daemon_, "idle") == 4, 5);
    ck_assert_int_eq(pglendd_count(daemon_, "total"), 4);
    ck_assert_str_eq(before, backends(after));
    printf("%u supervisors killed, another within %u ms at most\n", rounds, (unsigned)longest);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(another_within_a_second)
{
    pid_t supervisor;
    uint64_t start;

    daemon_ = pglendd_start(harness_server(), NULL);
    harness_sleep_ms(1100); /* as one that has lived for a while */
    start = harness_now_ms();
    supervisor = pglendd_signal(daemon_, "supervisor", SIGKILL);
    wait_until(pglendd_has_another(daemon_, "supervisor", supervisor), 1);
    (void)pglendd_count(daemon_, "total"); /* it answers */
    printf("another supervisor answers after %u ms\n", (unsigned)(harness_now_ms() - start));
    ck_assert_uint_le(harness_now_ms() - start, 1000);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(lease_outlives_it)
{
    pglend *pool, *other;
    PGconn *conn, *more;
    PGcancel *cancel;
    PGresult *result;
    char error[256], before[256], after[256];
    pid_t supervisor;
    uint64_t start;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 2}}}}");
    pool = open_pool(daemon_);
    other = open_pool(daemon_);
    conn = borrow(pool, 5000);
    more = borrow(pool, 5000);
    give_back(pool, more);
    (void)backends(before);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(0.5)"), 1);
    supervisor = no_supervisor();
    /* What this handle has cached goes on serving; another handle would need a descriptor, and waits. */
    for (int i = 0; i < 100 && !pglendd_is_strict(daemon_); i++) {
        more = borrow(pool, 1000);
        one(more);
        give_back(pool, more);
    }
    start = harness_now_ms();
    ck_assert_ptr_null(pglend_acquire(other, 700));
    ck_assert_int_eq(pglend_errcode(other), PGLEND_NO_SUPERVISOR);
    ck_assert_uint_ge(harness_now_ms() - start, 600);
    ck_assert_uint_le(harness_now_ms() - start, 1500);
    result = PQgetResult(conn);
    ck_assert_int_eq(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    supervise_again(supervisor);
    /* The lease goes on under the next one, which honours its cancel key. */
    cancel = PQgetCancel(conn);
    ck_assert_ptr_nonnull(cancel);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(30)"), 1);
    harness_sleep_ms(100);
    ck_assert_msg(PQcancel(cancel, error, sizeof error) == 1, "%s", error);
    PQfreeCancel(cancel);
    result = PQgetResult(conn);
    ck_assert_str_eq(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    give_back(pool, conn);
    more = borrow(other, 5000);
    give_back(other, more);
    ck_assert_str_eq(before, backends(after));
    pglend_close(other);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/*
 * One call that failed broke its channel to the keeper, which lives and starts another: no end of the daemon. As root
 * alone, for nobody else may take the channel in hand.
 */
START_TEST(lease_outlives_its_channel)
{
    char before[256], after[256];
    int pidfd, channel;
    pid_t supervisor;
    pglend *pool;
    PGconn *conn;

    if (geteuid() != 0) {
        printf("lease_outlives_its_channel: skipped: it takes root\n");
        return;
    }
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    (void)backends(before);
    supervisor = pglendd_process(daemon_, "supervisor");
    ck_assert_int_ne(pidfd = (int)syscall(SYS_pidfd_open, supervisor, 0), -1);
    ck_assert_int_ne(channel = (int)syscall(SYS_pidfd_getfd, pidfd, CHANNEL_FD, 0), -1);
    ck_assert_int_eq(kill(daemon_->pid, SIGSTOP), 0); /* it would kill a supervisor that it does not hear any more */
    ck_assert_int_eq(shutdown(channel, SHUT_RDWR), 0);
    (void)close(channel);
    (void)close(pidfd);
    wait_until(process_state(supervisor) == 'Z', 5);
    supervise_again(supervisor);
    one(conn);
    give_back(pool, conn);
    give_back(pool, borrow(pool, 5000));
    ck_assert_str_eq(before, backends(after));
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- while there is none ---- */

START_TEST(worker_that_dies_meanwhile_is_reclaimed_by_the_next)
{
    struct worker_process worker;
    char before[256], after[256];
    pglend *pool;
    pid_t supervisor;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    worker_fork(&worker, sleep_with_it, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    wait_until(
        strcmp(postgres_ask(harness_server(), "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"),
               "1") == 0,
        5);
    (void)backends(before);
    supervisor = no_supervisor();
    worker_kill(&worker, SIGKILL);
    supervise_again(supervisor);
    give_back(pool, borrow(pool, 1000));
    ck_assert_str_eq(before, backends(after));
    ck_assert_str_eq(postgres_ask(harness_server(), "select count(*) from pg_stat_activity where usename = 'clinic' and"
                                                    " (state <> 'idle' or xact_start is not null)"),
                     "0");
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* The one that says that it has its lease now. */
static struct worker_process *who_was_served(struct worker_process *worker, int count)
{
    char byte;

    for (int i = 0; i < count; i++)
        if (worker[i].pid != 0 && recv(worker[i].sock, &byte, 1, MSG_DONTWAIT) == 1)
            return &worker[i];
    return NULL;
}

/* A release goes straight to who waits, with or without a supervisor: where the slot is cached there, it serves. */
START_TEST(queue_moves_on_meanwhile)
{
    struct worker_process worker[3];
    pid_t supervisor;
    pglend *pool;
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    for (int i = 0; i < 3; i++)
        worker_fork(&worker[i], hold_until_told, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 3, 10);
    supervisor = no_supervisor();
    give_back(pool, conn);
    harness_sleep_ms(100);
    supervise_again(supervisor);
    for (int served = 0; served < 3; served++) {
        struct worker_process *next = NULL;

        wait_until((next = who_was_served(worker, 3)) != NULL, 3);
        say(next->sock, 'g');
        ck_assert_int_eq(worker_wait(next, 10), 0);
    }
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Each needs the supervisor: first hello, a login, a descriptor. It comes back before their deadline. */
START_TEST(who_needs_it_waits_for_it)
{
    struct worker_process worker[4];
    pid_t supervisor;

    daemon_ = pglendd_start(harness_server(), NULL);
    supervisor = no_supervisor();
    for (int i = 0; i < 4; i++)
        worker_fork(&worker[i], hold_until_told, NULL);
    harness_sleep_ms(300);
    supervise_again(supervisor);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(hear(worker[i].sock, 5), 'h');
    ck_assert_int_eq(pglendd_count(daemon_, "leased"), 4);
    for (int i = 0; i < 4; i++)
        say(worker[i].sock, 'g');
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 10), 0);
    pglendd_stop(daemon_);
}
END_TEST

/* What a release leaves to the supervisor, while there is none. */
START_TEST(returned_to_nobody)
{
    pid_t supervisor;
    pglend *pool;
    PGconn *busy, *bad;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 2}}}}");
    pool = open_pool(daemon_);
    busy = borrow(pool, 5000);
    bad = borrow(pool, 5000);
    ck_assert_int_eq(PQsendQuery(busy, "select pg_sleep(60)"), 1);
    supervisor = no_supervisor();
    give_back(pool, busy);
    ck_assert_int_eq(pglend_discard(pool, bad), PGLEND_OK);
    ck_assert_ptr_null(pglend_acquire(pool, 200));
    supervise_again(supervisor);
    busy = borrow(pool, 2000);
    bad = borrow(pool, 2000);
    one(busy);
    one(bad);
    give_back(pool, busy);
    give_back(pool, bad);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* One that is stopped answers nobody: who has a session cached has it, though another is idle that it has never had. */
START_TEST(stopped_it_is_done_without)
{
    pid_t supervisor;
    uint64_t longest = 0;
    pglend *pool;
    PGconn *conn;
    int backend;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    if (pglendd_is_strict(daemon_)) {
        pglendd_stop(daemon_);
        return;
    }
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    backend = PQbackendPID(conn);
    supervisor = pglendd_process(daemon_, "supervisor");
    ck_assert_int_eq(kill(supervisor, SIGSTOP), 0);
    /* Its reset is not done at once, so that the other slot is looked at first. */
    for (int i = 0; i < 2000 && longest < 100; i++) {
        uint64_t began = harness_now_ms(), took;

        give_back(pool, conn);
        conn = borrow(pool, 3000);
        ck_assert_int_eq(PQbackendPID(conn), backend);
        took = harness_now_ms() - began;
        longest = took > longest ? took : longest;
    }
    ck_assert_msg(longest >= 100, "the other slot was not asked for");
    ck_assert_int_eq(kill(supervisor, SIGCONT), 0);
    give_back(pool, conn);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- a cancel that comes late ---- */

/* What may happen to a cancel that the server has been sent and has not looked at: its sender or asker is gone. */
static void supervisor_dies(void)
{
    pid_t supervisor = pglendd_signal(daemon_, "supervisor", SIGKILL);

    wait_until(pglendd_has_another(daemon_, "supervisor", supervisor), 2);
}

static void sender_dies(void)
{
    (void)pglendd_signal(daemon_, "cancel", SIGKILL);
    wait_until(pglendd_logged(daemon_, "cancel failed"), 2);
}

static void sender_gives_up(void)
{
    wait_until(pglendd_logged(daemon_, "cancel failed"), 8);
}

static void (*const lost[])(void) = {supervisor_dies, sender_dies, sender_gives_up};

static int cancel_and_give_back(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);
    PGcancel *cancel = PQgetCancel(conn);
    char error[256];
    pid_t child;

    (void)argument;
    one(conn);
    ck_assert_ptr_nonnull(cancel);
    say(sock, 'h');
    ck_assert_int_eq(hear(sock, 10), 'c');
    child = fork(); /* PQcancel waits until it is through */
    if (child == 0) {
        (void)PQcancel(cancel, error, sizeof error);
        _exit(0);
    }
    ck_assert_int_eq(hear(sock, 20), 'r');
    give_back(pool, conn);
    say(sock, 'r');
    (void)hear(sock, 20);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    PQfreeCancel(cancel);
    pglend_close(pool);
    return 0;
}

static int sleep_a_little(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 10000);
    char text[16];

    (void)argument;
    say(sock, 'h');
    (void)query(conn, "select pg_sleep(0.7)", text, sizeof text);
    give_back(pool, conn);
    pglend_close(pool);
    return 0;
}

START_TEST(late_cancel_hits_nobody_else)
{
    struct postgres *server = postgres_start(0);
    struct worker_process first, second;
    struct pollfd granted = {.events = POLLIN};

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'max': 1}}}}");
    worker_fork(&first, cancel_and_give_back, NULL);
    ck_assert_int_eq(hear(first.sock, 10), 'h');
    postgres_signal(server, SIGSTOP); /* takes connections, and looks at none; sessions go on */
    say(first.sock, 'c');
    wait_until(pglendd_process(daemon_, "cancel") != 0, 2);
    harness_sleep_ms(100);
    lost[_i]();
    say(first.sock, 'r');
    ck_assert_int_eq(hear(first.sock, 5), 'r');
    worker_fork(&second, sleep_a_little, NULL);
    granted.fd = second.sock;
    if (poll(&granted, 1, 500) == 1)
        harness_sleep_ms(100); /* it has it already: its statement runs */
    postgres_signal(server, SIGCONT);
    ck_assert_int_eq(worker_wait(&second, 15), 0);
    say(first.sock, 'e');
    ck_assert_int_eq(worker_wait(&first, 10), 0);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

/* A cancel of the backend that was in the slot before is still under way: one of this backend is its own. */
START_TEST(older_cancel_delays_none)
{
    struct postgres *server = postgres_start(0);
    PGcancel *cancel;
    PGresult *result;
    char error[256];
    pglend *pool;
    PGconn *conn;
    pid_t child, sender;
    int pid;

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    cancel = PQgetCancel(conn);
    postgres_signal(server, SIGSTOP);
    child = fork();
    if (child == 0) {
        (void)PQcancel(cancel, error, sizeof error);
        _exit(0);
    }
    wait_until((sender = pglendd_process(daemon_, "cancel")) != 0, 2);
    harness_sleep_ms(100);
    ck_assert_int_eq(kill(sender, SIGSTOP), 0); /* sent, and no word of it; the keeper gives it five seconds */
    postgres_signal(server, SIGCONT);
    PQfreeCancel(cancel);
    ck_assert_int_eq(pglend_discard(pool, conn), PGLEND_OK);
    conn = borrow(pool, 5000);
    pid = PQbackendPID(conn);
    cancel = PQgetCancel(conn);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(3)"), 1);
    harness_sleep_ms(100);
    ck_assert_msg(PQcancel(cancel, error, sizeof error) == 1, "%s", error);
    PQfreeCancel(cancel);
    result = PQgetResult(conn);
    ck_assert_int_eq(PQresultStatus(result), PGRES_FATAL_ERROR);
    ck_assert_str_eq(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    /* That the older one is lost does not matter to this one either. */
    wait_until(pglendd_logged(daemon_, "cancel failed"), 8);
    give_back(pool, conn);
    conn = borrow(pool, 5000);
    ck_assert_int_eq(PQbackendPID(conn), pid);
    give_back(pool, conn);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

/* ---- the keeper's short-lived processes ---- */

START_TEST(killed_login_is_a_failed_one)
{
    struct postgres *server = postgres_start(0);
    pglend *pool;
    PGconn *conn;
    pid_t login;

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'unavailable_after': '200ms'}}}");
    pool = open_pool(daemon_);
    postgres_signal(server, SIGSTOP);
    ck_assert_ptr_null(pglend_acquire(pool, 50));
    for (int i = 0; i < 3; i++) {
        wait_until((login = pglendd_process(daemon_, "login")) != 0, 2);
        ck_assert_int_eq(kill(login, SIGKILL), 0);
        wait_until(process_state(login) == 0, 2);
    }
    wait_until(pglend_acquire(pool, 300) == NULL && pglend_errcode(pool) == PGLEND_NO_DATABASE, 2);
    ck_assert_msg(strstr(pglend_errmessage(pool), "signal 9") != NULL, "%s", pglend_errmessage(pool));
    postgres_signal(server, SIGCONT);
    wait_until((conn = pglend_acquire(pool, 100)) != NULL, 5);
    one(conn);
    give_back(pool, conn);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

/* Of the cancel for a dead worker: whether it is under way nobody knows then, so the backend goes. */
START_TEST(killed_cancel_costs_the_backend)
{
    struct postgres *server = postgres_start(0);
    struct worker_process worker;
    pglend *pool;
    PGconn *conn;
    int pid;

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    pid = PQbackendPID(conn);
    give_back(pool, conn);
    worker_fork(&worker, sleep_with_it, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    postgres_signal(server, SIGSTOP);
    worker_kill(&worker, SIGKILL);
    wait_until(pglendd_process(daemon_, "cancel") != 0, 2);
    (void)pglendd_signal(daemon_, "cancel", SIGKILL);
    wait_until(pglendd_logged(daemon_, "cancel failed"), 2);
    postgres_signal(server, SIGCONT);
    conn = borrow(pool, 5000);
    ck_assert_int_ne(PQbackendPID(conn), pid);
    ck_assert_str_eq(postgres_ask(server, "select count(*) from pg_stat_activity where usename = 'clinic'"), "1");
    ck_assert_str_eq(postgres_ask(server, "select count(*) from pg_tables where tablename = 'left_behind'"), "0");
    give_back(pool, conn);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_supervisor");
    TCase *killed = harness_live_case(suite, "killed", 60);
    TCase *meanwhile = harness_live_case(suite, "meanwhile", 30);
    TCase *cancel = harness_live_case(suite, "cancel", 40);
    TCase *process = harness_live_case(suite, "process", 40);

    tcase_add_test(killed, killed_again_and_again_under_load);
    tcase_add_test(killed, another_within_a_second);
    tcase_add_test(killed, lease_outlives_it);
    tcase_add_test(killed, lease_outlives_its_channel);
    tcase_add_test(meanwhile, worker_that_dies_meanwhile_is_reclaimed_by_the_next);
    tcase_add_test(meanwhile, queue_moves_on_meanwhile);
    tcase_add_test(meanwhile, who_needs_it_waits_for_it);
    tcase_add_test(meanwhile, returned_to_nobody);
    tcase_add_test(meanwhile, stopped_it_is_done_without);
    tcase_add_loop_test(cancel, late_cancel_hits_nobody_else, 0, (int)(sizeof lost / sizeof lost[0]));
    tcase_add_test(cancel, older_cancel_delays_none);
    tcase_add_test(process, killed_login_is_a_failed_one);
    tcase_add_test(process, killed_cancel_costs_the_backend);
    return harness_main(suite);
}
