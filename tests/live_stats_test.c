/* SPDX-License-Identifier: ISC */
/*
 * live_stats_test.c - what the daemon says that happened, against what was made to happen.
 */
#include "borrow.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "segment.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct pglendd *daemon_;

/* How long it took, in s: a busy machine wakes up late. */
static double lend(pglend *pool, unsigned hold_ms)
{
    uint64_t start = harness_now_ms();
    PGconn *conn = pglend_acquire(pool, 5000);

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    if (hold_ms > 0)
        harness_sleep_ms(hold_ms);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    return (double)(harness_now_ms() + 1 - start) / 1e3;
}

/* Member KEY of pool clinic's statistics, "hold.p50_s" of a member's. */
static double figure(const char *key)
{
    json_t *stats = pglendd_result(daemon_, "stats", "{'pool': 'clinic'}"), *object = json_array_get(stats, 0);
    const char *dot = strchr(key, '.');
    const json_t *value = dot == NULL ? json_object_get(object, key)
                                      : json_object_get(json_object_getn(object, key, (size_t)(dot - key)), dot + 1);
    double number = json_number_value(value);

    ck_assert_msg(json_is_number(value), "no number %s", key);
    json_decref(stats);
    return number;
}

static int hold_for_a_while(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = pglend_acquire(pool, 5000);

    (void)argument;
    ck_assert_ptr_nonnull(conn);
    say(sock, 'h');
    (void)hear(sock, 20);
    harness_sleep_ms(300);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

START_TEST(counted_as_it_was)
{
    struct worker_process worker;
    double longest = 0, sum = 0;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    for (int i = 0; i < 90; i++) {
        double took = lend(pool, i < 10 ? 50 : 0);

        longest = took > longest ? took : longest;
        sum += took;
    }
    ck_assert_double_eq(figure("leases"), 90);
    ck_assert_double_eq(figure("hold.count"), 90);
    ck_assert_double_eq(figure("resets"), 90);
    ck_assert_double_eq(figure("logins"), 1);
    ck_assert_double_ge(figure("hold.p95_s"), 0.05 * 0.95);
    ck_assert_double_le(figure("hold.p95_s"), longest * 1.05);
    ck_assert_double_lt(figure("hold.p50_s"), 0.02);
    ck_assert_double_ge(figure("hold.sum_s"), 0.5);
    ck_assert_double_le(figure("hold.sum_s"), sum);

    worker_fork(&worker, hold_for_a_while, NULL);
    ck_assert_int_eq(hear(worker.sock, 5), 'h');
    ck_assert_ptr_null(pglend_acquire(pool, 20));
    ck_assert_ptr_null(pglend_acquire(pool, 0));
    ck_assert_double_eq(figure("timeouts"), 2);
    say(worker.sock, 'g');
    lend(pool, 0); /* after some 300 ms */
    ck_assert_int_eq(worker_wait(&worker, 5), 0);
    ck_assert_double_eq(figure("leases"), 92);
    ck_assert_double_ge(figure("wait.sum_s"), 0.2);
    ck_assert_double_eq(figure("reclaims"), 0);

    worker_fork(&worker, hold_for_a_while, NULL);
    ck_assert_int_eq(hear(worker.sock, 5), 'h');
    worker_kill(&worker, SIGKILL);
    lend(pool, 0);
    ck_assert_double_eq(figure("reclaims"), 1);
    ck_assert_double_eq(figure("hold.count"), 94); /* how the lease ended does not matter */

    (void)pglendd_replace(daemon_, "supervisor");
    ck_assert_double_eq(figure("leases"), 94);
    ck_assert_double_eq(figure("logins"), 1);
    wait_until(figure("leases_per_s") == 0, 5);
    for (int i = 0; i < 100; i++)
        lend(pool, 0);
    wait_until(figure("leases_per_s") > 1, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A segment that was written over is replaced, and what it had counted goes on. */
START_TEST(counted_over_a_new_segment)
{
    char instance[17], name[SEGMENT_NAME_MAX];
    uint64_t nonsense = 0;
    pglend *pool;
    int fd;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    for (int i = 0; i < 7; i++)
        lend(pool, 0);
    segment_instance(daemon_->runtime_dir, instance);
    ck_assert_int_eq(segment_name(name, instance, "clinic"), 0);
    ck_assert_int_ne(fd = shm_open(name, O_RDWR | O_CLOEXEC, 0), -1);
    ck_assert_int_eq(pwrite(fd, &nonsense, sizeof nonsense, (off_t)offsetof(struct segment_header, magic)), 8);
    (void)close(fd);
    wait_until(pglendd_logged(daemon_, "damaged the shared memory"), 5);
    wait_until(pglendd_count(daemon_, "idle") == 1, 10);
    lend(pool, 0);
    ck_assert_double_eq(figure("leases"), 8);
    ck_assert_double_eq(figure("logins"), 2);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A worker that writes what it likes makes the numbers wrong, but not negative. */
START_TEST(nonsense_is_bounded)
{
    char instance[17], name[SEGMENT_NAME_MAX];
    struct segment segment = {0};
    pglend *pool;
    int fd;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = open_pool(daemon_);
    lend(pool, 0);
    segment_instance(daemon_->runtime_dir, instance);
    ck_assert_int_eq(segment_name(name, instance, "clinic"), 0);
    ck_assert_int_ne(fd = shm_open(name, O_RDWR | O_CLOEXEC, 0), -1);
    ck_assert_int_eq(segment_map(&segment, fd), 0);
    (void)close(fd);
    memset(segment.stripe, 0xff, STATS_STRIPES * sizeof *segment.stripe);
    for (unsigned i = 0; i < STATS_COUNTERS; i++)
        segment.header->counter[i] = UINT64_MAX;
    segment_unmap(&segment);
    ck_assert_double_gt(figure("leases"), 0);
    ck_assert_double_gt(figure("hold.sum_s"), 0);
    ck_assert_double_gt(figure("timeouts"), 0);
    lend(pool, 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(login_failures_by_reason)
{
    daemon_ = pglendd_start(harness_server(),
                            "{'pools': {'clinic': {'size': {'min': 1}, 'database': {'user': 'nobody_here'}}}}");
    wait_until(figure("login_failures_password") + figure("login_failures_other") >= 1, 5);
    ck_assert_double_gt(figure("last_login_failure_s"), 1.6e9);
    ck_assert_double_eq(figure("logins"), 0);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_stats");
    TCase *tc = harness_live_case(suite, "stats", 40);

    tcase_add_test(tc, counted_as_it_was);
    tcase_add_test(tc, counted_over_a_new_segment);
    tcase_add_test(tc, nonsense_is_bounded);
    tcase_add_test(tc, login_failures_by_reason);
    return harness_main(suite);
}
