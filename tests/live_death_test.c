/* SPDX-License-Identifier: ISC */
/*
 * live_death_test.c - a worker dies, in every state it can leave a connection in; a backend dies. Nothing is lost, and
 * nobody else notices.
 */
#include "borrow.h"
#include "dirt.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CROWD   24
#define BACK_MS 200 /* the slot of a dead worker serves again, where its backend is kept */
#define TRIES   5   /* on a busy machine */

static struct pglendd *daemon_;

/* ---- workers ---- */

static int dirty_and_wait(void *row, int sock)
{
    const struct dirt *how = row;
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);

    how->leave(conn, how->sql);
    say(sock, 'd');
    (void)hear(sock, 60);
    return 0;
}

/* Time from the death of a worker that holds the only slot until another has it. */
static double slot_back_ms(int signal, const struct dirt *how, int *backend, int *next)
{
    struct worker_process worker;
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);
    uint64_t start;
    double ms;

    *backend = PQbackendPID(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    worker_fork(&worker, dirty_and_wait, (void *)(uintptr_t)how);
    ck_assert_int_eq(hear(worker.sock, 20), 'd');
    start = harness_now_ms();
    worker_kill(&worker, signal);
    conn = borrow(pool, 5000);
    ms = (double)(harness_now_ms() - start);
    *next = PQbackendPID(conn);
    one(conn);
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_IDLE);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return ms;
}

/* Whatever the dead worker ran is over: a statement that goes on would keep its backend in the list. */
static void expect_nothing_running(void)
{
    wait_until(strcmp(postgres_ask(harness_server(), "select count(*) from pg_stat_activity where usename = 'clinic'"
                                                     " and (state <> 'idle' or xact_start is not null)"),
                      "0") == 0,
               5);
}

static void kill_in(const struct dirt *how)
{
    bool kept = false;
    double ms = 0;

    for (int i = 0; i < TRIES && (!kept || ms > BACK_MS); i++) {
        int backend, next;

        ms = slot_back_ms(SIGKILL, how, &backend, &next);
        kept = backend == next;
        expect_nothing_running();
        if (how->fate == ANY_FATE && !kept)
            break;
    }
    printf("%-32s slot back after %4.0f ms, %s\n", how->name, ms, kept ? "same backend" : "new backend");
    ck_assert_msg(kept || how->fate == ANY_FATE, "the backend was replaced");
    ck_assert_msg(ms <= (kept ? BACK_MS : 2000), "the slot served again only after %.0f ms", ms);
}

START_TEST(killed_worker_loses_no_slot)
{
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    kill_in(&dirt[_i]);
    pglendd_stop(daemon_);
}
END_TEST

/* The cancel key is not known: another session is asked to cancel what the dead worker runs. */
START_TEST(killed_worker_is_cancelled_by_query)
{
    ck_assert_int_eq(setenv("PGLEND_NO_CANCEL_KEY", "1", 1), 0);
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    ck_assert_int_eq(unsetenv("PGLEND_NO_CANCEL_KEY"), 0);
    for (int i = 0; i < dirts; i++)
        if (strcmp(dirt[i].name, "query running") == 0)
            kill_in(&dirt[i]);
    pglendd_stop(daemon_);
}
END_TEST

static int hold_and_become_another(void *argument, int sock)
{
    (void)argument;
    (void)borrow(open_pool(daemon_), 5000);
    say(sock, 'h');
    (void)hear(sock, 60);
    (void)execl("/bin/sleep", "sleep", "60", (char *)NULL);
    return 1;
}

/* The process lives on, so that its pidfd says nothing: the end of its worker.sock does. */
START_TEST(another_program_has_no_lease)
{
    struct worker_process worker;
    pglend *pool;
    double ms = BACK_MS + 1;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    for (int i = 0; i < TRIES && ms > BACK_MS; i++) {
        uint64_t start;
        PGconn *conn;

        worker_fork(&worker, hold_and_become_another, NULL);
        ck_assert_int_eq(hear(worker.sock, 10), 'h');
        start = harness_now_ms();
        say(worker.sock, 'e');
        conn = borrow(pool, 5000);
        ms = (double)(harness_now_ms() - start);
        one(conn);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        ck_assert_int_eq(waitpid(worker.pid, NULL, WNOHANG), 0);
        worker_kill(&worker, SIGKILL);
    }
    ck_assert_msg(ms <= BACK_MS, "the slot served again only after %.0f ms", ms);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static int hold_until_told(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 10000);
    int status;

    (void)argument;
    one(conn);
    say(sock, 'h');
    (void)hear(sock, 60);
    one(conn);
    status = pglend_release(pool, conn);
    pglend_close(pool);
    return status;
}

START_TEST(stopped_worker_keeps_its_lease)
{
    struct worker_process worker;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    worker_fork(&worker, hold_until_told, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    ck_assert_int_eq(kill(worker.pid, SIGSTOP), 0);
    ck_assert_ptr_null(pglend_acquire(pool, 1500));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_TIMEOUT);
    ck_assert_msg(strstr(pglend_errmessage(pool), "1 leased") != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(kill(worker.pid, SIGCONT), 0);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    ck_assert_int_eq(pglend_release(pool, borrow(pool, 1000)), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(workers_killed_together_are_not_as_many_logins)
{
    struct worker_process crowd[CROWD];
    pglend *pool;
    int logins;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 4, 'max': 4}}}}");
    for (int i = 0; i < 4; i++)
        worker_fork(&crowd[i], dirty_and_wait, (void *)(uintptr_t)&dirt[0]);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(hear(crowd[i].sock, 10), 'd');
    for (int i = 4; i < CROWD; i++)
        worker_fork(&crowd[i], hold_until_told, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == CROWD - 4, 10);
    for (int i = 0; i < CROWD; i++)
        (void)kill(crowd[i].pid, SIGKILL);
    for (int i = 0; i < CROWD; i++)
        worker_kill(&crowd[i], SIGKILL);
    wait_until(pglendd_count(daemon_, "idle") == 4 && pglendd_count(daemon_, "waiting") == 0, 5);
    pool = open_pool(daemon_);
    ck_assert_int_eq(pglend_release(pool, borrow(pool, 1000)), PGLEND_OK);
    pglend_close(pool);
    logins = postgres_sessions(harness_server());
    ck_assert_int_eq(logins, 4);
    pglendd_stop(daemon_);
}
END_TEST

/* FIRST is next in the queue for the only slot, and is granted it, but cannot accept; SECOND waits behind it. */
static void grant_to_a_stopped_one(struct worker_process *first, struct worker_process *second)
{
    struct worker_process holder;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    worker_fork(&holder, hold_until_told, NULL);
    ck_assert_int_eq(hear(holder.sock, 10), 'h');
    worker_fork(first, hold_until_told, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 1, 5);
    worker_fork(second, hold_until_told, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 2, 5);
    ck_assert_int_eq(kill(first->pid, SIGSTOP), 0);
    say(holder.sock, 'g');
    ck_assert_int_eq(worker_wait(&holder, 10), 0);
}

/* Who waits behind it gets what it does not come for, and it waits again when it goes on. */
START_TEST(stopped_waiter_strands_nobody)
{
    struct worker_process first, second;

    grant_to_a_stopped_one(&first, &second);
    ck_assert_int_eq(hear(second.sock, 3), 'h');
    ck_assert_int_eq(kill(first.pid, SIGCONT), 0);
    wait_until(pglendd_count(daemon_, "waiting") == 1, 2);
    say(second.sock, 'g');
    ck_assert_int_eq(worker_wait(&second, 10), 0);
    ck_assert_int_eq(hear(first.sock, 2), 'h');
    say(first.sock, 'g');
    ck_assert_int_eq(worker_wait(&first, 10), 0);
    pglendd_stop(daemon_);
}
END_TEST

/* The dead one was next in the queue; who waits behind it must not wait for it. */
START_TEST(killed_waiter_strands_nobody)
{
    struct worker_process first, second;

    grant_to_a_stopped_one(&first, &second);
    worker_kill(&first, SIGKILL);
    ck_assert_int_eq(hear(second.sock, 2), 'h');
    say(second.sock, 'g');
    ck_assert_int_eq(worker_wait(&second, 10), 0);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- backends ---- */

START_TEST(ended_backends_are_replaced)
{
    pglend *pool;
    PGconn *conn;
    int pid;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = open_pool(daemon_);
    for (int i = 0; i < 10; i++) {
        conn = borrow(pool, 5000);
        pid = PQbackendPID(conn);
        one(conn);
        if (i % 2 == 0) /* idle when it ends; else lent */
            ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        postgres_run(harness_server(),
                     "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'clinic'");
        if (i % 2 != 0)
            ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        conn = borrow(pool, 5000);
        ck_assert_int_ne(PQbackendPID(conn), pid);
        one(conn);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_death");
    TCase *worker = harness_live_case(suite, "worker", 60);
    TCase *backend = harness_live_case(suite, "backend", 60);

    tcase_add_loop_test(worker, killed_worker_loses_no_slot, 0, dirts);
    tcase_add_test(worker, killed_worker_is_cancelled_by_query);
    tcase_add_test(worker, another_program_has_no_lease);
    tcase_add_test(worker, stopped_worker_keeps_its_lease);
    tcase_add_test(worker, workers_killed_together_are_not_as_many_logins);
    tcase_add_test(worker, stopped_waiter_strands_nobody);
    tcase_add_test(worker, killed_waiter_strands_nobody);
    tcase_add_test(backend, ended_backends_are_replaced);
    return harness_main(suite);
}
