/* SPDX-License-Identifier: ISC */
/*
 * live_regulated_test.c - the profile "regulated" at work: what its defaults do on a server with TLS, and that nothing
 * weaker gets through at a start or a reload.
 *
 * What it asks for, strict isolation, takes two users, and so root; without it these tests say so and pass.
 */
#include "harness.h"
#include "pglend.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char trail[128];

static bool as_root(void)
{
    if (geteuid() != 0)
        (void)printf("not root: skipped\n");
    return geteuid() == 0;
}

static void set_up(void)
{
    tls_begin();
    pglendd_trail(trail);
}

/* The profile, and of all that it asks for only what has no default: a trail, and what a certificate is verified by. */
static const char *regulated(const char *database, const char *pool)
{
    static char text[2048];

    (void)snprintf(text, sizeof text,
                   "{'profile': 'regulated', 'audit': {'directory': '%s'}, 'pools': {'clinic': {'size': {'min': 1, "
                   "'max': 2}, 'unavailable_after': '100ms', 'database': {'host': '127.0.0.1', 'sslrootcert': "
                   "'%s/ours.crt'%s}%s}}}",
                   trail, harness_directory(), database, pool);
    return text;
}

static void serve(void)
{
    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_serve("good");
}

/* Is there a record of this lease whose other text is WORDS? */
static bool trail_says(const char *lease, const char *words)
{
    char command[600];

    (void)snprintf(command, sizeof command, "cat '%s'/*.jsonl | grep '%s' | grep -q '%s'", trail, lease, words);
    return system(command) == 0;
}

static pglend *open_pool(void)
{
    pglend *pool = pglend_open(tls_daemon->runtime_dir, "clinic");

    ck_assert_ptr_nonnull(pool);
    return pool;
}

START_TEST(a_lease_is_encrypted_recorded_on_disk_and_for_somebody)
{
    char text[64];
    pglend *pool;
    PGconn *conn;

    if (!as_root())
        return;
    serve();
    tls_daemon = pglendd_start(tls_server, regulated("", ""));
    pool = open_pool();
    ck_assert_ptr_null(pglend_acquire(pool, 5000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_DENIED);
    conn = pglend_acquire_as(pool, "dr.lee", "treatment", 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert(trail_says(pglend_lease_id(pool, conn), "\"lease.begin\".*\"dr.lee\""));
    ck_assert(trail_says(pglend_lease_id(pool, conn), "\"attested\":true"));
    ck_assert(trail_says("\"worker.attached\"", "\"exe\":\"/.*live_regulated_test\""));
    ck_assert_str_eq(query(conn, "select ssl from pg_stat_ssl where pid = pg_backend_pid()", text, sizeof text), "t");
    (void)query(conn, "set application_name = 'patient 7'", text, sizeof text);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    conn = pglend_acquire_as(pool, "dr.who", "treatment", 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_ne(query(conn, "show application_name", text, sizeof text), "patient 7");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

START_TEST(an_idle_lease_is_logged_off)
{
    char lease[64];
    pglend *pool;
    PGconn *conn;

    if (!as_root())
        return;
    serve();
    tls_daemon = pglendd_start(tls_server, regulated("", ", 'lease_idle_max': '300ms'"));
    pool = open_pool();
    conn = pglend_acquire_as(pool, "dr.lee", "treatment", 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    (void)snprintf(lease, sizeof lease, "%s", pglend_lease_id(pool, conn));
    wait_until(trail_says(lease, "\"lease.revoked\""), 10);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_LOST);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

START_TEST(a_server_that_asks_for_md5_is_refused)
{
    pglend *pool;

    if (!as_root())
        return;
    serve();
    tls_daemon = pglendd_start(tls_server, regulated(", 'user': 'clinic_md5'", ""));
    wait_until(pglendd_logged(tls_daemon, "channel binding required"), 10);
    pool = open_pool();
    ck_assert_ptr_null(pglend_acquire_as(pool, "dr.lee", "treatment", 500));
    wait_until(postgres_sessions(tls_server) == 0, 5);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

START_TEST(a_server_without_tls_is_refused)
{
    pglend *pool;

    if (!as_root())
        return;
    serve();
    tls_end();
    tls_daemon = pglendd_start(tls_server, regulated("", ""));
    wait_until(pglendd_logged(tls_daemon, "login failed: "), 10);
    pool = open_pool();
    ck_assert_ptr_null(pglend_acquire_as(pool, "dr.lee", "treatment", 500));
    ck_assert_int_eq(postgres_sessions(tls_server), 0);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* All that is too weak is told, and what is in force stays. */
START_TEST(a_reload_with_weaker_keys_changes_nothing)
{
    json_t *answer;
    const json_t *pool;
    const char *words;

    if (!as_root())
        return;
    serve();
    tls_daemon = pglendd_start(tls_server, regulated("", ""));
    pglendd_configure(tls_daemon, tls_server, regulated("", ", 'lease_max': '16m', 'require_actor': false"));
    answer = pglendd_request(tls_daemon, "reload", NULL);
    words = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    ck_assert_ptr_nonnull(words);
    ck_assert_msg(strstr(words, "lease_max") != NULL && strstr(words, "require_actor") != NULL, "%s", words);
    json_decref(answer);
    answer = pglendd_result(tls_daemon, "config", NULL);
    pool = json_object_get(json_object_get(answer, "pools"), "clinic");
    ck_assert_str_eq(json_string_value(json_object_get(pool, "lease_max")), "15m");
    ck_assert(json_is_true(json_object_get(pool, "require_actor")));
    json_decref(answer);
    pglendd_stop(tls_daemon);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_regulated");
    TCase *live = harness_live_case(suite, "regulated", 40);

    tcase_add_checked_fixture(live, set_up, NULL);
    tcase_add_test(live, a_lease_is_encrypted_recorded_on_disk_and_for_somebody);
    tcase_add_test(live, an_idle_lease_is_logged_off);
    tcase_add_test(live, a_server_that_asks_for_md5_is_refused);
    tcase_add_test(live, a_server_without_tls_is_refused);
    tcase_add_test(live, a_reload_with_weaker_keys_changes_nothing);
    return harness_main(suite);
}
