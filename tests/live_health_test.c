/* SPDX-License-Identifier: ISC */
/*
 * live_health_test.c - what a pool does by itself to stay healthy: sessions that are idle too long.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#define MANY 3

static struct pglendd *daemon_;

/* MANY leases at a time, and back. */
static void fill_pool(pglend *pool)
{
    PGconn *conn[MANY];

    for (int i = 0; i < MANY; i++)
        ck_assert_msg((conn[i] = pglend_acquire(pool, 5000)) != NULL, "%s", pglend_errmessage(pool));
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_OK);
}

/* ---- idle_timeout ---- */

START_TEST(idle_ones_are_closed)
{
    pglend *pool;
    PGconn *conn;
    uint64_t filled;

    daemon_ =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'idle_timeout': '1s', 'size': {'min': 1, 'max': 3}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    fill_pool(pool);
    filled = harness_now_ms();
    ck_assert_int_eq(postgres_sessions(harness_server()), MANY);
    /* One that is lent is not idle, however long. */
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 0));
    wait_until(postgres_sessions(harness_server()) == 1, 5);
    ck_assert_uint_ge(harness_now_ms() - filled, 900);
    ck_assert(pglendd_logged(daemon_, "idle too long"));
    harness_sleep_ms(1500);
    ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    /* The last min stay. */
    harness_sleep_ms(2500);
    ck_assert_int_eq(postgres_sessions(harness_server()), 1);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(idle_timeout_is_off)
{
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'idle_timeout': '0s', 'size': {'max': 3}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    fill_pool(pool);
    harness_sleep_ms(2500);
    ck_assert_int_eq(postgres_sessions(harness_server()), MANY);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_health");
    TCase *tc = harness_live_case(suite, "idle", 20);

    tcase_add_test(tc, idle_ones_are_closed);
    tcase_add_test(tc, idle_timeout_is_off);
    return harness_main(suite);
}
