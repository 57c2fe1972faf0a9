/* SPDX-License-Identifier: ISC */
/*
 * pgwire_test.c - the reader of what a backend sends between two borrowers, byte by byte and with every kind of damage.
 */
#include "pgwire.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char done[] = "C\0\0\0\x10"
                           "DISCARD ALL\0Z\0\0\0\5I";
#define DONE_LENGTH (sizeof done - 1)

static bool same_zone(void *context, const char *name, const char *value)
{
    (void)context;
    return strcmp(name, "TimeZone") == 0 && strcmp(value, "UTC") == 0;
}

static struct reset_reader reader(bool due, bool discard_all)
{
    return (struct reset_reader){.due = due, .discard_all = discard_all, .parameter = same_zone};
}

static enum reader_state take(struct reset_reader *r, const char *bytes, size_t length)
{
    return reset_reader_take(r, (const unsigned char *)bytes, length);
}

START_TEST(answer_in_any_pieces)
{
    for (size_t first = 0; first <= DONE_LENGTH; first++) {
        struct reset_reader r = reader(true, true);
        enum reader_state state = take(&r, done, first);

        ck_assert_int_eq(state, first < DONE_LENGTH ? READER_MORE : READER_CLEAN);
        ck_assert_int_eq(take(&r, done + first, DONE_LENGTH - first), READER_CLEAN);
    }
}
END_TEST

/* Every byte of the answer changed to every value: only the untouched one is clean. */
START_TEST(any_changed_byte_is_seen)
{
    for (size_t at = 0; at < DONE_LENGTH; at++)
        for (int value = 0; value < 256; value++) {
            struct reset_reader r = reader(true, true);
            char bytes[DONE_LENGTH];

            memcpy(bytes, done, DONE_LENGTH);
            if (bytes[at] == (char)value)
                continue;
            bytes[at] = (char)value;
            ck_assert_int_ne(take(&r, bytes, DONE_LENGTH), READER_CLEAN);
        }
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t length;
    bool due, discard_all;
    enum reader_state state;
} rows[] = {
#define ROW(name, bytes, due, all, state)                                                                              \
    {                                                                                                                  \
        name, bytes, sizeof bytes - 1, due, all, state                                                                 \
    }
    ROW("nothing while idle", "", false, false, READER_CLEAN),
    ROW("nothing while due", "", true, true, READER_MORE),
    ROW("notice while idle", "N\0\0\0\5\0", false, false, READER_CLEAN),
    ROW("notification while idle", "A\0\0\0\x0a\0\0\0\1a\0", false, false, READER_CLEAN),
    ROW("half a notification", "A\0\0\0\x0a\0\0", false, false, READER_MORE),
    ROW("known parameter", "S\0\0\0\x11TimeZone\0UTC\0", false, false, READER_CLEAN),
    ROW("changed parameter", "S\0\0\0\x11TimeZone\0CET\0", false, false, READER_BROKEN),
    ROW("parameter without its end", "S\0\0\0\x10TimeZone\0UTC", false, false, READER_BROKEN),
    ROW("parameter without a value", "S\0\0\0\x0dTimeZone\0", false, false, READER_BROKEN),
    ROW("error while idle", "E\0\0\0\5\0", false, false, READER_BROKEN),
    ROW("ready while idle", "Z\0\0\0\5I", false, false, READER_BROKEN),
    ROW("error while due", "E\0\0\0\5\0Z\0\0\0\5I", true, true, READER_BROKEN),
    ROW("another command",
        "C\0\0\0\x0d"
        "ROLLBACK\0Z\0\0\0\5I",
        true, true, READER_BROKEN),
    ROW("another command, own query", "C\0\0\0\x0dROLLBACK\0Z\0\0\0\5I", true, false, READER_CLEAN),
    ROW("rows, own query", "T\0\0\0\6\0\0D\0\0\0\6\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\5I", true, false, READER_CLEAN),
    ROW("rows, full reset", "T\0\0\0\6\0\0", true, true, READER_BROKEN),
    ROW("ready without a command", "Z\0\0\0\5I", true, true, READER_BROKEN),
    ROW("still in a transaction",
        "C\0\0\0\x10"
        "DISCARD ALL\0Z\0\0\0\5T",
        true, true, READER_BROKEN),
    ROW("length too small", "N\0\0\0\3", false, false, READER_BROKEN),
    ROW("length absurd", "N\x7f\xff\xff\xff", false, false, READER_BROKEN),
    ROW("negative length", "N\xff\xff\xff\xff", false, false, READER_BROKEN),
    ROW("unknown type", "\0\0\0\0\4", false, false, READER_BROKEN),
    ROW("two answers",
        "C\0\0\0\x10"
        "DISCARD ALL\0Z\0\0\0\5IZ\0\0\0\5I",
        true, true, READER_BROKEN),
    ROW("answer, then a notice",
        "C\0\0\0\x10"
        "DISCARD ALL\0Z\0\0\0\5IN\0\0\0\5\0",
        true, true, READER_CLEAN),
    ROW("answer, then half a notice",
        "C\0\0\0\x10"
        "DISCARD ALL\0Z\0\0\0\5IN\0\0\0\5",
        true, true, READER_MORE),
};

START_TEST(messages_where_they_belong)
{
    struct reset_reader r = reader(rows[_i].due, rows[_i].discard_all);

    ck_assert_msg(take(&r, rows[_i].bytes, rows[_i].length) == rows[_i].state, "%s", rows[_i].name);
}
END_TEST

START_TEST(long_message_is_skipped)
{
    struct reset_reader r = reader(false, false);
    char head[5] = {'N', 0, 1, 0, 4}, body[65536] = {0};

    ck_assert_int_eq(take(&r, head, sizeof head), READER_MORE);
    ck_assert_int_eq(take(&r, body, sizeof body - 1), READER_MORE);
    ck_assert_int_eq(take(&r, body, 1), READER_CLEAN);
}
END_TEST

START_TEST(buffer_remembers_an_overflow)
{
    unsigned char bytes[16];
    struct pg_buffer b = {.at = bytes, .size = sizeof bytes};

    pg_query(&b, "SELECT 1");
    ck_assert(!b.overflow);
    ck_assert_uint_eq(b.length, 14);
    ck_assert_uint_eq(pg_get_int32(bytes + 1), 13);
    pg_query(&b, "SELECT 2");
    ck_assert(b.overflow);
    ck_assert_uint_le(b.length, sizeof bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pgwire");
    TCase *tc = tcase_create("reader");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, answer_in_any_pieces);
    tcase_add_test(tc, any_changed_byte_is_seen);
    tcase_add_loop_test(tc, messages_where_they_belong, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(tc, long_message_is_skipped);
    tcase_add_test(tc, buffer_remembers_an_overflow);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
