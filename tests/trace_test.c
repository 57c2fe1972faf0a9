/* SPDX-License-Identifier: ISC */
/*
 * trace_test.c - what libpq prints at a session's start, in each of the ways its versions print it.
 */
#include "login.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define V15 150018
#define V18 180000

static struct trace trace;

static void parse(const char *text, int version)
{
    trace_parse(text, strlen(text), version, &trace);
}

START_TEST(parameters_and_decimal_key)
{
    parse("F\t54\tUnknown message: 70\nmismatched message length: consumed 4, expected 54\n"
          "B\t22\tParameterStatus\t \"application_name\" \"\"\n"
          "B\t23\tParameterStatus\t \"DateStyle\" \"ISO, MDY\"\n"
          "B\t23\tParameterStatus\t \"DateStyle\" \"again\"\n"
          "B\t16\tParameterStatus\t \".mode\" \"plain\"\n"
          "B\t12\tBackendKeyData\t 5686 -142404273\n"
          "B\t5\tReadyForQuery\t I\n",
          V15);
    ck_assert_uint_eq(trace.names, 2);
    ck_assert_str_eq(trace.name[0], "application_name");
    ck_assert_str_eq(trace.name[1], "DateStyle");
    ck_assert_int_eq(trace.backend_pid, 5686);
    ck_assert_str_eq(trace.key, "f783154f");
}
END_TEST

/* One row a way to print a key; NULL: it must count as unreadable. */
static const struct {
    int version;
    const char *line;
    const char *key;
} keys[] = {
    {V15, "B\t12\tBackendKeyData\t 7 0\n", "00000000"},
    {V15, "B\t12\tBackendKeyData\t 7 2147483647\n", "7fffffff"},
    {V15, "B\t12\tBackendKeyData\t 7 -2147483648\n", "80000000"},
    {V15, "B\t12\tBackendKeyData\t 7 12345678\n", "00bc614e"},
    {V15, "B\t12\tBackendKeyData\t 7 99999999999\n", NULL},
    {V15, "B\t12\tBackendKeyData\t 7 NNNN\n", NULL},
    {V15, "B\t12\tBackendKeyData\t 7\n", NULL},
    {V15, "B\t12\tBackendKeyData\t\n", NULL},
    {V15, "B\t8\tBackendKeyData\t 7 1\n", NULL},
    {V15, "B\t-1\tBackendKeyData\t 7 1\n", NULL},
    {V18, "B\t12\tBackendKeyData\t 7 12345678\n", "12345678"},
    {V18, "B\t12\tBackendKeyData\t 7 0xDEADbeef\n", "deadbeef"},
    {V18, "B\t14\tBackendKeyData\t 7 0xdeadbeef0001\n", "deadbeef0001"},
    {V18, "B\t14\tBackendKeyData\t 7 0xdeadbeef00\n", NULL},
    {V18, "B\t12\tBackendKeyData\t 7 0xdeadbeeg\n", NULL},
    {V18, "B\t12\tBackendKeyData\t 7 'ab\\x00\\xff'\n", "616200ff"},
    {V18, "B\t12\tBackendKeyData\t 7 'ab\\x00\\xffffffff'\n", "616200ff"},
    {V18, "B\t12\tBackendKeyData\t 7 'ab\\c'\n", "61625c63"},
    {V18, "B\t12\tBackendKeyData\t 7 'a' b'\n", "61272062"},
    {V18, "B\t12\tBackendKeyData\t 7 'abc\\x'\n", NULL},
    {V18, "B\t12\tBackendKeyData\t 7 'abc'\n", NULL},
    {V18, "B\t13\tBackendKeyData\t 7 'abc\\x'\n", "6162635c78"},
    {V18, "B\t40\tBackendKeyData\t 7 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\\x01\\x02'\n",
     "4141414141414141414141414141414141414141414141414141414141410102"},
    {V18, "B\t9999\tBackendKeyData\t 7 'a'\n", NULL},
};

START_TEST(cancel_keys)
{
    const char *expected = keys[_i].key == NULL ? "" : keys[_i].key;

    parse(keys[_i].line, keys[_i].version);
    ck_assert_msg(strcmp(trace.key, expected) == 0, "%s gave \"%s\", not \"%s\"", keys[_i].line, trace.key, expected);
}
END_TEST

START_TEST(last_session_counts)
{
    parse("B\t12\tBackendKeyData\t 1 1\nB\t109\tErrorResponse\t S \"FATAL\"\nB\t12\tBackendKeyData\t 2 unreadable\n",
          V15);
    ck_assert_int_eq(trace.backend_pid, 2);
    ck_assert_str_eq(trace.key, "");
}
END_TEST

START_TEST(odd_lines)
{
    char long_name[200];

    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    parse("", V15);
    parse("\n\nB\nB\t\nB\t5\t\nB\t22\tParameterStatus\nB\t22\tParameterStatus\t\nB\t22\tParameterStatus\t \"\n"
          "B\t22\tParameterStatus\t \"\" \"x\"\nB\t22\tParameterStatus\t \"a b\" \"x\"\n"
          "F\t22\tParameterStatus\t \"sent_by_us\" \"x\"\nB\t22\tParameterStatus\t \"good\" \"x",
          V15);
    ck_assert_uint_eq(trace.names, 1);
    ck_assert_str_eq(trace.name[0], "good");
    {
        char line[256];

        (void)snprintf(line, sizeof line, "B\t22\tParameterStatus\t \"%s\" \"x\"\n", long_name);
        parse(line, V15);
    }
    ck_assert_uint_eq(trace.names, 0);
}
END_TEST

START_TEST(more_names_than_room)
{
    static char text[TRACE_NAMES_MAX * 2 * 64];
    size_t at = 0;

    for (int i = 0; i < TRACE_NAMES_MAX * 2; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "B\t9\tParameterStatus\t \"n%d\" \"\"\n", i);
    parse(text, V15);
    ck_assert_uint_eq(trace.names, TRACE_NAMES_MAX);
}
END_TEST

/* Any bytes, also cut anywhere: nothing but bounds to check, for the sanitizer. */
START_TEST(any_prefix_and_noise)
{
    static const char good[] =
        "B\t22\tParameterStatus\t \"a\" \"b\"\nB\t14\tBackendKeyData\t 7 'a\\x00\\xffffffff\\'\n";
    char noise[256];

    for (size_t n = 0; n <= sizeof good - 1; n++) {
        char *exact = malloc(n + 1);

        memcpy(exact, good, n);
        trace_parse(exact, n, V18, &trace);
        free(exact);
    }
    srand(1);
    for (int round = 0; round < 20000; round++) {
        memcpy(noise, good, sizeof good);
        for (int i = 0; i < 4; i++)
            noise[(size_t)rand() % sizeof good] = (char)rand();
        trace_parse(noise, sizeof good, round % 2 == 0 ? V15 : V18, &trace);
    }
}
END_TEST

static const struct {
    const char *verbose, *line, *sqlstate;
} errors[] = {
    {"connection to server at \"h\", port 1 failed: FATAL:  28P01: password authentication failed for user \"u\"\n"
     "LOCATION:  auth_failed, auth.c:334\n",
     "connection to server at \"h\", port 1 failed: FATAL:  password authentication failed for user \"u\"", "28P01"},
    {"FATAL:  22023: invalid value\nDETAIL:  List syntax is invalid.\nLOCATION:  x, y.c:1\n",
     "FATAL:  invalid value DETAIL:  List syntax is invalid.", "22023"},
    {"a failed: Connection refused\n\tIs the server running?\n", "a failed: Connection refused Is the server running?",
     ""},
    {"a: FATAL:  53300: many\nLOCATION:  x\nb: FATAL:  28000: no\n", "a: FATAL:  many b: FATAL:  no", "28000"},
    {"FATAL:  ABC: x", "FATAL:  ABC: x", ""},
    {"FATAL:  12345:", "FATAL:  12345:", ""},
    {"", "", ""},
    {"\n \n", "", ""},
};

START_TEST(error_messages)
{
    char line[512], sqlstate[6];

    trace_error(errors[_i].verbose, line, sizeof line, sqlstate);
    ck_assert_str_eq(line, errors[_i].line);
    ck_assert_str_eq(sqlstate, errors[_i].sqlstate);
    trace_error(errors[_i].verbose, line, 8, sqlstate);
    ck_assert_uint_lt(strlen(line), 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace");
    TCase *tc = tcase_create("trace");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, parameters_and_decimal_key);
    tcase_add_loop_test(tc, cancel_keys, 0, sizeof keys / sizeof keys[0]);
    tcase_add_test(tc, last_session_counts);
    tcase_add_test(tc, odd_lines);
    tcase_add_test(tc, more_names_than_room);
    tcase_add_test(tc, any_prefix_and_noise);
    tcase_add_loop_test(tc, error_messages, 0, sizeof errors / sizeof errors[0]);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
