/* SPDX-License-Identifier: ISC */
/*
 * live_restart_test.c - the whole of pglendd is replaced under load, as a service manager does it for an upgrade: it is
 * told to end, and another is started. No query of a lease fails, the same handles go on with the new one.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define WORKERS 8
#define SLOTS   4
#define TIMES   3
#define ENOUGH  20 /* leases of a worker */

static struct pglendd *daemon_;

struct tally {
    _Atomic uint64_t leases, refused, longest_ms;
    _Atomic uint64_t since[WORKERS]; /* leases of each since it was last set to 0 */
    _Atomic bool stop;
};
static struct tally *tally;

/* ---- workers ---- */

static void use(PGconn *conn)
{
    char text[16];

    (void)query(conn, "begin", text, sizeof text);
    ck_assert_str_eq(query(conn, "select 7 from pg_sleep(0.005)", text, sizeof text), "7");
    (void)query(conn, "commit", text, sizeof text);
}

static int borrow_all_the_time(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    unsigned self = *(const unsigned *)argument;

    (void)sock;
    while (!atomic_load(&tally->stop)) {
        uint64_t start = harness_now_ms(), took;
        PGconn *conn = pglend_acquire(pool, 5000);

        took = harness_now_ms() - start;
        if (took > atomic_load(&tally->longest_ms))
            atomic_store(&tally->longest_ms, took);
        if (conn == NULL) {
            pglend_status status = pglend_errcode(pool);

            ck_assert_msg(status == PGLEND_SHUTDOWN || status == PGLEND_NO_SUPERVISOR, "%s: %s",
                          pglend_status_name(status), pglend_errmessage(pool));
            atomic_fetch_add(&tally->refused, 1);
            harness_sleep_ms(10);
            continue;
        }
        use(conn);
        ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s", pglend_errmessage(pool));
        atomic_fetch_add(&tally->leases, 1);
        atomic_fetch_add(&tally->since[self], 1);
    }
    pglend_close(pool);
    return 0;
}

/* One lease from before the first end to after the last start. */
static int hold_until_told(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 5000);
    char text[16], byte;

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    (void)query(conn, "create temp table mine as select 7 as i", text, sizeof text);
    say(sock, 'h');
    while (recv(sock, &byte, 1, MSG_DONTWAIT) != 1) {
        ck_assert_str_eq(query(conn, "select i from mine", text, sizeof text), "7");
        harness_sleep_ms(5);
    }
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s", pglend_errmessage(pool));
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    use(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* ---- the daemon ---- */

static bool ended(void)
{
    int status = -1;

    /* What is still lent keeps its session; the next one's are beside it. */
    ck_assert_int_le(postgres_sessions(harness_server()), SLOTS + 1);
    if (waitpid(daemon_->pid, &status, WNOHANG) != daemon_->pid)
        return false;
    ck_assert_int_eq(status, 0);
    daemon_->pid = 0;
    return true;
}

static void end_daemon(void)
{
    ck_assert_int_eq(kill(daemon_->pid, SIGTERM), 0);
    wait_until(ended(), 20);
}

static bool all_borrow(void)
{
    for (int i = 0; i < WORKERS; i++)
        if (atomic_load(&tally->since[i]) < ENOUGH)
            return false;
    return true;
}

/* END it, start another; every worker gets a lease of that. */
static void replace_daemon(void (*end)(void))
{
    uint64_t start = harness_now_ms(), up;

    end();
    for (int i = 0; i < WORKERS; i++)
        atomic_store(&tally->since[i], 0);
    pglendd_resume(daemon_);
    up = harness_now_ms();
    wait_until(all_borrow(), 15);
    wait_until(postgres_sessions(harness_server()) <= SLOTS + 1, 10);
    printf("ended and up again in %llu ms, all workers have had "
           "leases %llu ms later\n",
           (unsigned long long)(up - start), (unsigned long long)(harness_now_ms() - up));
}

static void kill_daemon(void)
{
    pglendd_kill(daemon_);
}

static void replaced_under_load(void (*end)(void), unsigned times)
{
    struct worker_process worker[WORKERS], holder;
    unsigned self[WORKERS];

    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(tally, MAP_FAILED);
    daemon_ = pglendd_start(harness_server(),
                            "{'shutdown_timeout': '1s', 'pools': {'clinic': {'size': {'min': 2, 'max': 4}}}}");
    worker_fork(&holder, hold_until_told, NULL);
    ck_assert_int_eq(hear(holder.sock, 10), 'h');
    for (unsigned i = 0; i < WORKERS; i++) {
        self[i] = i;
        worker_fork(&worker[i], borrow_all_the_time, &self[i]);
    }
    wait_until(all_borrow(), 15);
    for (unsigned i = 0; i < times; i++)
        replace_daemon(end);
    say(holder.sock, 'g');
    ck_assert_int_eq(worker_wait(&holder, 15), 0);
    atomic_store(&tally->stop, true);
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 15), 0);
    printf("%llu leases, none failed; %llu refused while there was none to lend, longest acquire %llu ms\n",
           (unsigned long long)atomic_load(&tally->leases), (unsigned long long)atomic_load(&tally->refused),
           (unsigned long long)atomic_load(&tally->longest_ms));
    pglendd_stop(daemon_);
    (void)munmap(tally, sizeof *tally);
}

START_TEST(ended_and_started)
{
    replaced_under_load(end_daemon, TIMES);
}
END_TEST

START_TEST(killed_and_started)
{
    replaced_under_load(kill_daemon, TIMES);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_restart");
    TCase *tc = harness_live_case(suite, "restart", 60);

    tcase_add_test(tc, ended_and_started);
    tcase_add_test(tc, killed_and_started);
    return harness_main(suite);
}
