/* SPDX-License-Identifier: ISC */
/*
 * config_value_test.c - the configuration, value by value: defaults, units, limits, what follows from what.
 *
 * Whole files and their messages are in config_test.c; here are the edges, as tables of cases.
 */
#include "config.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DATABASE "\"database\": {\"dbname\": \"d\"}"

static struct config *parse(const char *text, char error[CONFIG_ERROR_MAX])
{
    return config_parse("test.json", text, strlen(text), error);
}

static struct config *parse_good(const char *text)
{
    char error[CONFIG_ERROR_MAX];
    struct config *config = parse(text, error);

    ck_assert_msg(config != NULL, "%s", error);
    return config;
}

/* Parse what cannot be parsed and find PART in the message. */
static void parse_bad(const char *text, const char *part)
{
    char error[CONFIG_ERROR_MAX];
    struct config *config = parse(text, error);

    ck_assert_msg(config == NULL, "accepted: %s", text);
    ck_assert_msg(strstr(error, part) != NULL, "\"%s\" is not in: %s", part, error);
}

START_TEST(defaults_as_documented)
{
    struct config *config = parse_good("{\"pools\": {\"a\": {" DATABASE "}}}");
    const struct pool_config *pool = config_pool(config, "a");

    ck_assert_str_eq(config->runtime_dir, "/run/pglend");
    ck_assert_int_eq(config->shutdown_timeout_ms, 30000);
    ck_assert_str_eq(config->admin_control.users.item[0], "root");
    ck_assert_int_eq(pool->size_min, 2);
    ck_assert_int_eq(pool->size_max, 20);
    ck_assert_int_eq(pool->size_limit, 100);
    ck_assert_int_eq(pool->max_workers, 4096);
    ck_assert_int_eq(pool->cache_per_worker, 8);
    ck_assert(pool->guard);
    ck_assert_int_eq(pool->isolation, ISOLATION_SHARED);
    ck_assert_int_eq(pool->reset, RESET_FULL);
    ck_assert_str_eq(pool->reset_query, "");
    ck_assert_int_eq(pool->reset_timeout_ms, 1000);
    ck_assert_int_eq(pool->acquire_timeout_ms, 5000);
    ck_assert_int_eq(pool->max_waiters, 0);
    ck_assert_int_eq(pool->unavailable_after_ms, 3000);
    ck_assert_int_eq(pool->idle_timeout_ms, 600000);
    ck_assert_int_eq(pool->max_lifetime_ms, 1800000);
    ck_assert_int_eq(pool->max_uses, 0);
    ck_assert_int_eq(pool->login_parallel, 4);
    ck_assert_int_eq(pool->login_timeout_ms, 15000);
    ck_assert_int_eq(pool->login_backoff_max_ms, 5000);
    ck_assert(pool->database.tcp_keepalives);
    ck_assert_int_eq(pool->database.tcp_user_timeout_ms, 30000);
    ck_assert_uint_eq(pool->access.users.count, 0);
    ck_assert_ptr_null(config_pool(config, "b"));
    config_free(config);
}
END_TEST

static const struct duration_case {
    const char *text;
    int64_t ms; /* -1: an error */
} durations[] = {{"1ms", 1},
                 {"5000us", 5},
                 {"0s", 0},
                 {"2m", 120000},
                 {"24h", 86400000},
                 {"1d", 86400000},
                 {"007s", 7000},
                 {"1us", -1},
                 {"25h", -1},
                 {"5", -1},
                 {"", -1},
                 {"s", -1},
                 {"-1s", -1},
                 {"1.5s", -1},
                 {"1 s", -1},
                 {" 1s", -1},
                 {"1S", -1},
                 {"1sec", -1},
                 {"9223372036854775807d", -1},
                 {"99999999999999999999s", -1},
                 {"18446744073709551617us", -1}};

START_TEST(duration_units)
{
    const struct duration_case *d = &durations[_i];
    char text[256];

    snprintf(text, sizeof text, "{\"pools\": {\"a\": {" DATABASE ", \"acquire_timeout\": \"%s\"}}}", d->text);
    if (d->ms < 0) {
        parse_bad(text, "write a duration from 0s to 1d, in whole us, ms, s, m, h or d, as \"5s\"");
        return;
    }
    struct config *config = parse_good(text);
    ck_assert_int_eq(config->pool[0].acquire_timeout_ms, d->ms);
    config_free(config);
}
END_TEST

static const struct bytes_case {
    const char *json, *printed; /* NULL: an error */
    int64_t bytes;
} bytes[] = {{"\"1GiB\"", "\"1GiB\"", 1 << 30},
             {"\"1GB\"", "\"1GB\"", 1000000000},
             {"\"64MiB\"", "\"64MiB\"", 1 << 26},
             {"\"64MB\"", "\"64MB\"", 64000000},
             {"\"1024KiB\"", "\"1MiB\"", 1 << 20},
             {"\"100kB\"", "\"100kB\"", 100000},
             {"\"65537B\"", "\"65537B\"", 65537},
             {"1048576", "\"1MiB\"", 1 << 20},
             {"1073741825", NULL, 0},
             {"\"1025MiB\"", NULL, 0},
             {"\"63KiB\"", NULL, 0},
             {"\"1mib\"", NULL, 0},
             {"\"1M\"", NULL, 0},
             {"\"1 MiB\"", NULL, 0},
             {"\"1048576\"", NULL, 0},
             {"\"MiB\"", NULL, 0},
             {"\"\"", NULL, 0},
             {"\"9007199254740993KiB\"", NULL, 0},
             {"1048576.0", NULL, 0}};

START_TEST(byte_units)
{
    const struct bytes_case *b = &bytes[_i];
    char text[256];

    snprintf(text, sizeof text, "{\"audit\": {\"segment_size\": %s}, \"pools\": {\"a\": {" DATABASE "}}}", b->json);
    if (b->printed == NULL) {
        parse_bad(text, "write a size from 64KiB to 1GiB, in whole B, kB, KiB, MB, MiB, GB or GiB, as \"64MiB\"");
        return;
    }
    struct config *config = parse_good(text);
    json_t *json = config_json(config);
    char *printed =
        json_dumps(json_object_get(json_object_get(json, "audit"), "segment_size"), JSON_ENCODE_ANY | JSON_COMPACT);
    ck_assert_int_eq(config->audit.segment_size, b->bytes);
    ck_assert_str_eq(printed, b->printed);
    free(printed);
    json_decref(json);
    config_free(config);
}
END_TEST

static const struct size_case {
    const char *defaults, *size;
    int64_t min, max, limit; /* max 0: an error */
} sizes[] = {
    {"{}", "{}", 2, 20, 100},
    {"{}", "{\"max\": 300}", 2, 300, 300},
    {"{}", "{\"max\": 1}", 1, 1, 100},
    {"{\"size\": {\"max\": 200}}", "{}", 2, 200, 200},
    {"{\"size\": {\"max\": 200}}", "{\"max\": 10}", 2, 10, 100},
    {"{\"size\": {\"limit\": 150}}", "{\"max\": 150}", 2, 150, 150},
    {"{\"size\": {\"limit\": 150}}", "{\"max\": 151}", 0, 0, 0},
    {"{\"size\": {\"min\": 5}}", "{\"max\": 3}", 0, 0, 0},
    {"{}", "{\"min\": 30}", 0, 0, 0},
    {"{}", "{\"min\": 0, \"max\": 4096}", 0, 4096, 4096},
    {"{}", "{\"max\": 4097}", 0, 0, 0},
    {"{}", "{\"max\": 0}", 0, 0, 0},
    {"{}", "{\"max\": \"20\"}", 0, 0, 0},
    {"{}", "{\"max\": 20.0}", 0, 0, 0},
};

START_TEST(size_follows)
{
    const struct size_case *s = &sizes[_i];
    char text[512];

    snprintf(text, sizeof text, "{\"defaults\": %s, \"pools\": {\"a\": {" DATABASE ", \"size\": %s}}}", s->defaults,
             s->size);
    if (s->max == 0) {
        parse_bad(text, "size.");
        return;
    }
    struct config *config = parse_good(text);
    ck_assert_int_eq(config->pool[0].size_min, s->min);
    ck_assert_int_eq(config->pool[0].size_max, s->max);
    ck_assert_int_eq(config->pool[0].size_limit, s->limit);
    config_free(config);
}
END_TEST

static const struct sslmode_case {
    const char *host, *service, *sslmode, *want;
} sslmodes[] = {
    {"", "", "", "disable"},
    {"/run/postgresql", "", "", "disable"},
    {"@abstract", "", "", "disable"},
    {"127.0.0.1", "", "", "disable"},
    {"127.8.9.10", "", "", "disable"},
    {"::1", "", "", "disable"},
    {"localhost", "", "", "disable"},
    {"localhost,/tmp", "", "", "disable"},
    {"128.0.0.1", "", "", "verify-full"},
    {"127.0.0.1.example.org", "", "", "verify-full"},
    {"localhost.example.org", "", "", "verify-full"},
    {"::2", "", "", "verify-full"},
    {"db1.internal", "", "", "verify-full"},
    {"localhost,db1", "", "", "verify-full"},
    {"db1,localhost", "", "", "verify-full"},
    {"", "clinic", "", "verify-full"},
    {"localhost", "clinic", "", "disable"},
    {"db1", "", "require", "require"},
    {"", "clinic", "disable", "disable"},
};

START_TEST(sslmode_follows_host)
{
    const struct sslmode_case *s = &sslmodes[_i];
    const struct database_config database = {
        .host = (char *)s->host, .service = (char *)s->service, .sslmode = (char *)s->sslmode};

    ck_assert_str_eq(config_sslmode(&database), s->want);
}
END_TEST

static const struct port_case {
    const char *json, *want; /* NULL: an error */
} ports[] = {
    {"5432", "5432"},
    {"\"5432\"", "5432"},
    {"\"5432,5433\"", "5432,5433"},
    {"\"\"", ""},
    {"\",5433\"", ",5433"},
    {"0", NULL},
    {"65536", NULL},
    {"-1", NULL},
    {"\"0\"", NULL},
    {"\"65536\"", NULL},
    {"\"54 32\"", NULL},
    {"\"5432;\"", NULL},
    {"\"99999999999999999999\"", NULL},
    {"true", NULL},
    {"4294972728", NULL},
};

START_TEST(port_forms)
{
    const struct port_case *c = &ports[_i];
    char text[256];

    snprintf(text, sizeof text, "{\"pools\": {\"a\": {\"database\": {\"dbname\": \"d\", \"port\": %s}}}}", c->json);
    if (c->want == NULL) {
        parse_bad(text, "write a port from 1 to 65535");
        return;
    }
    struct config *config = parse_good(text);
    ck_assert_str_eq(config->pool[0].database.port, c->want);
    config_free(config);
}
END_TEST

/* The longest that fit and the first that do not. */
START_TEST(lengths)
{
    char word[2048], text[4096], name[80];

    memset(word, 'x', sizeof word);
    snprintf(text, sizeof text, "{\"runtime_dir\": \"/%.92s\", \"pools\": {\"a\": {" DATABASE "}}}", word);
    struct config *config = parse_good(text);
    ck_assert_uint_eq(strlen(config->runtime_dir) + strlen("/.s.PGSQL.6432"), 107);
    config_free(config);
    snprintf(text, sizeof text, "{\"runtime_dir\": \"/%.93s\", \"pools\": {\"a\": {" DATABASE "}}}", word);
    parse_bad(text, "an absolute path of at most 93 bytes");

    snprintf(text, sizeof text, "{\"pools\": {\"a\": {" DATABASE ", \"reset\": {\"query\": \"%.1023s\"}}}}", word);
    config = parse_good(text);
    ck_assert_int_eq(config->pool[0].reset, RESET_QUERY);
    ck_assert_uint_eq(strlen(config->pool[0].reset_query), RESET_QUERY_MAX);
    config_free(config);
    snprintf(text, sizeof text, "{\"pools\": {\"a\": {" DATABASE ", \"reset\": {\"query\": \"%.1024s\"}}}}", word);
    parse_bad(text, "with 1 to 1023 bytes");

    snprintf(name, sizeof name, "%.63s", word);
    snprintf(text, sizeof text, "{\"pools\": {\"%s\": {" DATABASE "}}}", name);
    config_free(parse_good(text));
    snprintf(text, sizeof text, "{\"pools\": {\"%sx\": {" DATABASE "}}}", name);
    parse_bad(text, "this cannot be a pool's name");
}
END_TEST

START_TEST(passwords_are_not_repeated)
{
    static const char *const texts[] = {
        "{\"pools\": {\"a\": {\"database\": {\"dbname\": \"d\", \"password\": \"hunter2\"}}}}",
        "{\"defaults\": {\"database\": {\"password\": \"hunter2\"}}, \"pools\": {\"a\": {" DATABASE "}}}",
        "{\"pools\": {\"a\": {\"database\": {\"dbname\": \"d\", \"password_file\": \"hunter2\"}}}}",
        "{\"pools\": {\"a\": {\"database\": {\"dbname\": \"d\", \"sslpassword\": [\"hunter2\"]}}}}",
    };
    char error[CONFIG_ERROR_MAX];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ck_assert_ptr_null(parse(texts[i], error));
        ck_assert_msg(strstr(error, "hunter2") == NULL, "%s", error);
        ck_assert_msg(strstr(error, "password") != NULL, "%s", error);
    }
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("config_value");
    TCase *values = tcase_create("values");

    tcase_add_test(values, defaults_as_documented);
    tcase_add_loop_test(values, duration_units, 0, COUNT(durations));
    tcase_add_loop_test(values, byte_units, 0, COUNT(bytes));
    tcase_add_loop_test(values, size_follows, 0, COUNT(sizes));
    tcase_add_loop_test(values, sslmode_follows_host, 0, COUNT(sslmodes));
    tcase_add_loop_test(values, port_forms, 0, COUNT(ports));
    tcase_add_test(values, lengths);
    tcase_add_test(values, passwords_are_not_repeated);
    suite_add_tcase(suite, values);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
