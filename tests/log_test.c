/* SPDX-License-Identifier: ISC */
/*
 * log_test.c - the form of a line, and what is counted because it was not written: lines nobody took, and lines over a
 * limit.
 *
 * Standard error is a pipe here, of which the test reads when it wants to.
 */
#include "daemon.h"
#include "harness.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int out;

static void listen_to_self(void)
{
    int ends[2];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    ck_assert_int_ne(dup2(ends[1], STDERR_FILENO), -1);
    (void)close(ends[1]);
    out = ends[0];
    log_open("test");
}

/* Everything that was written since the last call. */
static const char *written(void)
{
    static char text[1 << 20];
    size_t length = 0;
    ssize_t got;

    while ((got = read(out, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

/* Each is JSON, whatever a stranger's bytes are in it. */
START_TEST(json_is_not_broken)
{
    static char quotes[8192];
    static const struct {
        const char *message, *read; /* NULL: whatever fits */
    } rows[] = {
        {"a line", "a line"},
        {"\"two\"\n\033[2J \\ lines\177", "\"two\"  [2J \\ lines "},
        {"not UTF-8: \xff", "not UTF-8: ?"},
        {"\xc3\xa4", "\xc3\xa4"},
        {quotes, NULL},
    };

    memset(quotes, '"', sizeof quotes - 1);
    listen_to_self();
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *line, *level, *process, *message, *when;
        json_t *object;

        log_warning("%s", rows[i].message);
        line = written();
        ck_assert_msg((object = json_loads(line, 0, NULL)) != NULL, "not JSON: %s", line);
        ck_assert_uint_eq(count(line, "\n"), 1);
        ck_assert_int_eq(json_unpack_ex(object, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:s}", "time", &when, "level",
                                        &level, "process", &process, "message", &message),
                         0);
        ck_assert_str_eq(level, "warning");
        ck_assert_str_eq(process, "test");
        ck_assert_uint_eq(strlen(when), strlen("2026-11-22T11:10:58.104Z"));
        if (rows[i].read != NULL)
            ck_assert_str_eq(message, rows[i].read);
        json_decref(object);
    }
    (void)close(out);
}
END_TEST

START_TEST(what_is_less_important_is_left_out)
{
    static const char *const names[] = {" error test: e\n", " warning test: w\n", " info test: i\n",
                                        " debug test: d\n"};

    listen_to_self();
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        const char *text;

        log_set((enum log_level)level, LOG_FORMAT_TEXT);
        log_error("e");
        log_warning("w");
        log_info("i");
        log_debug("d");
        text = written();
        for (int i = 0; i < 4; i++)
            ck_assert_uint_eq(count(text, names[i]), i <= level);
    }
    (void)close(out);
}
END_TEST

START_TEST(dropped_lines_are_counted)
{
    unsigned said = 20000, taken, dropped;
    const char *text, *report;

    listen_to_self();
    for (unsigned i = 0; i < said; i++)
        log_info("a line");
    taken = count(written(), "a line\n");
    ck_assert_uint_gt(taken, 0);
    ck_assert_uint_lt(taken, said);
    log_info("after");
    text = written();
    report = strstr(text, " warning test: ");
    ck_assert_msg(report != NULL, "%s", text);
    ck_assert_int_eq(sscanf(report, " warning test: %u log lines were dropped", &dropped), 1);
    ck_assert_uint_eq(taken + dropped, said);
    ck_assert(strstr(report, "after\n") != NULL);
    log_info("once");
    ck_assert_uint_eq(count(written(), "dropped"), 0);
    (void)close(out);
}
END_TEST

START_TEST(a_tick_says_what_was_dropped)
{
    listen_to_self();
    for (unsigned i = 0; i < 20000; i++)
        log_info("a line");
    (void)written();
    log_tick();
    ck_assert_uint_eq(count(written(), "log lines were dropped"), 1);
    (void)close(out);
}
END_TEST

START_TEST(limited_lines_are_counted)
{
    static struct log_limit one = {.kind = "one"}, other = {.kind = "other"};
    uint64_t until = harness_now_ms() + 15000;
    unsigned permitted = 0;
    const char *text = "";

    listen_to_self();
    for (unsigned i = 0; i < 522; i++)
        permitted += log_permitted(&one);
    ck_assert_uint_eq(permitted, 10);
    ck_assert_msg(log_permitted(&other), "one kind is not another");
    for (; *text == '\0' && harness_now_ms() < until; text = written()) {
        harness_sleep_ms(50);
        log_tick();
    }
    ck_assert_msg(strstr(text, "one: ... and 512 more in the last 10 s\n") != NULL, "%s", text);
    ck_assert_uint_eq(count(text, "\n"), 1);
    ck_assert(log_permitted(&one));
    log_tick();
    ck_assert_str_eq(written(), "");
    (void)close(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = harness_case(suite, "log", 30);

    tcase_add_test(tc, json_is_not_broken);
    tcase_add_test(tc, what_is_less_important_is_left_out);
    tcase_add_test(tc, dropped_lines_are_counted);
    tcase_add_test(tc, a_tick_says_what_was_dropped);
    tcase_add_test(tc, limited_lines_are_counted);
    return harness_main(suite);
}
