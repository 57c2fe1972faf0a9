/* SPDX-License-Identifier: ISC */
/*
 * audit_report_test.c - what `pglend audit` shows of a trail: reports by each key, in each format, between two times;
 * the last records, and those that follow; the head.
 */
#include "audit_trail.h"
#include "audited.h"
#include "daemon.h"
#include "harness.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORDS 40 /* in four files */

static char directory[128];
static struct audit_trail trail;

static void set_up(void)
{
    char command[512], error[512];

    snprintf(directory, sizeof directory, "%s/trail", harness_directory());
    snprintf(command, sizeof command, "rm -rf '%s' && %s audit init '%s' >/dev/null 2>&1", directory,
             harness_product("pglend"), directory);
    ck_assert_int_eq(system(command), 0);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    ck_assert_msg(audit_trail_open(&trail, directory, 0, error, sizeof error) == 0, "%s", error);
}

static void tear_down(void)
{
    audit_trail_close(&trail);
}

static void add(enum audit_event event, const char *actor, int64_t uid, const char *outcome, int64_t records)
{
    struct audit_values values = {0};

    audit_set_text(&values, AUDIT_FIELD_POOL, "clinic");
    audit_set_number(&values, AUDIT_FIELD_UID, uid);
    audit_set_text(&values, AUDIT_FIELD_ACTOR, actor);
    if (event == AUDIT_LEASE_END)
        audit_set_number(&values, AUDIT_FIELD_DURATION, 1500000);
    if (event == AUDIT_COMMAND)
        audit_set_text(&values, AUDIT_FIELD_COMMAND_NAME, "pause");
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    if (records > 0)
        audit_set_number(&values, AUDIT_FIELD_RECORDS, records);
    ck_assert(audit_trail_add(&trail, event, &values));
}

/* As records have it, to the microsecond; no record is of the same. */
static void moment(char text[32])
{
    struct timespec now;
    struct tm utc;
    size_t length;

    harness_sleep_ms(3);
    ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
    harness_sleep_ms(3);
    (void)gmtime_r(&now.tv_sec, &utc);
    length = strftime(text, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + length, 32 - length, ".%06ldZ", now.tv_nsec / 1000);
}

/* One who leases, a moment, then others and what was denied and commanded. */
static void two_times(char between[32])
{
    add(AUDIT_LEASE_BEGIN, "dr.lee", 33, NULL, 0);
    add(AUDIT_LEASE_END, "dr.lee", 33, "kept", 0);
    add(AUDIT_LEASE_BEGIN, "dr.lee", 33, NULL, 0);
    add(AUDIT_LEASE_END, "dr.lee", 33, "kept", 0);
    ck_assert(audit_trail_sync(&trail));
    moment(between);
    add(AUDIT_LEASE_BEGIN, "=dr.kim()", 34, NULL, 0);
    add(AUDIT_LEASE_REVOKED, "=dr.kim()", 34, NULL, 0);
    add(AUDIT_DENIED, NULL, 35, "account", 0);
    add(AUDIT_DENIED, NULL, 35, "counted", 40);
    add(AUDIT_COMMAND, NULL, 36, "begun", 0);
    add(AUDIT_COMMAND, NULL, 36, "ok", 0);
    ck_assert(audit_trail_sync(&trail));
}

static json_int_t count_of(const char *who, const char *column)
{
    json_t *rows = json_loads(audited_output, 0, NULL), *row;
    json_int_t count = -1;
    size_t i;

    ck_assert_msg(rows != NULL, "%s", audited_output);
    json_array_foreach(rows, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "who")), who) == 0)
            count = json_integer_value(json_object_get(row, column));
    }
    json_decref(rows);
    return count;
}

START_TEST(reports_are_by_actor_uid_and_pool)
{
    char between[32];

    two_times(between);
    ck_assert_int_eq(audited_run("report --by actor --json %s", directory), 0);
    ck_assert_int_eq(count_of("dr.lee", "leases"), 2);
    ck_assert_int_eq(count_of("=dr.kim()", "leases"), 1);
    ck_assert_int_eq(count_of("=dr.kim()", "revoked"), 1);
    ck_assert_int_eq(audited_run("report --by uid --json %s", directory), 0);
    ck_assert_int_eq(count_of("33", "leases"), 2);
    ck_assert_int_eq(count_of("35", "refused"), 41);
    ck_assert_int_eq(count_of("36", "commands"), 1);
    ck_assert_int_eq(audited_run("report --by pool --json %s", directory), 0);
    ck_assert_int_eq(count_of("clinic", "leases"), 3);
    ck_assert_int_eq(count_of("clinic", "records"), 10);
}
END_TEST

START_TEST(reports_are_of_a_time)
{
    char between[32];

    two_times(between);
    ck_assert_int_eq(audited_run("report --by uid --json --until %s %s", between, directory), 0);
    ck_assert_int_eq(count_of("33", "leases"), 2);
    ck_assert_int_eq(count_of("34", "leases"), -1);
    ck_assert_int_eq(audited_run("report --by uid --json --since %s %s", between, directory), 0);
    ck_assert_int_eq(count_of("33", "leases"), -1);
    ck_assert_int_eq(count_of("34", "leases"), 1);
    ck_assert_int_eq(audited_run("report --by uid --json --since 1h %s", directory), 0);
    ck_assert_int_eq(count_of("33", "leases"), 2);
    ck_assert_int_eq(audited_run("report --by uid --json --until 1h %s", directory), 0);
    ck_assert_str_eq(audited_output, "[]\n");
    ck_assert_int_eq(audited_run("report --by uid --json --since %.10s %s", between, directory), 0);
    ck_assert_int_eq(count_of("34", "leases"), 1);
    ck_assert_int_eq(audited_run("report --since 2026-13 %s", directory), 0); /* a text that no record's is before */
    ck_assert_int_eq(audited_run("report --until 22.11.2026 %s", directory), 2);
}
END_TEST

/* A line of OUTPUT that begins with this. */
static const char *line_of(const char *begin)
{
    for (const char *line = audited_output; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, begin, strlen(begin)) == 0)
            return line;
    }
    ck_abort_msg("no line \"%s\" in: %s", begin, audited_output);
}

START_TEST(each_format_has_all)
{
    char between[32];

    two_times(between);
    ck_assert_int_eq(audited_run("report --by actor %s", directory), 0);
    ck_assert_ptr_nonnull(strstr(line_of("WHO "), "LEASES"));
    ck_assert_ptr_nonnull(strstr(line_of("dr.lee "), " 2 "));
    ck_assert_int_eq(audited_run("report --by actor --csv %s", directory), 0);
    ck_assert_ptr_nonnull(strstr(line_of("who,"), "leases,held_s,refused"));
    ck_assert_ptr_nonnull(strstr(line_of("\"dr.lee\",2,3.0,0,0,0,0,4,"), between[0] == '2' ? "2" : ""));
    (void)line_of("\"'=dr.kim()\",1,"); /* a spreadsheet must not compute it */
    ck_assert_int_eq(audited_run("report --csv %s", directory), 0);
    (void)line_of("seq,time,event,pool,");
    ck_assert_int_eq(audited_run("report %s", directory), 0);
    ck_assert_ptr_nonnull(strstr(line_of("SEQ "), "OUTCOME"));
    ck_assert_ptr_nonnull(strstr(audited_output, "access.denied"));
    ck_assert_int_eq(audited_run("report --json %s", directory), 0);
    ck_assert_ptr_nonnull(strstr(audited_output, "\"event\": \"access.denied\""));
}
END_TEST

START_TEST(the_head_is_the_last_record)
{
    char between[32], head[AUDIT_ANCHOR_MAX], expected[AUDIT_ANCHOR_MAX + 1];
    json_t *json;

    two_times(between);
    audit_trail_head(&trail, head);
    ck_assert_int_eq(audited_run("head %s", directory), 0);
    snprintf(expected, sizeof expected, "%s\n", head);
    ck_assert_str_eq(audited_output, expected);
    ck_assert_int_eq(audited_run("head --json %s", directory), 0);
    json = json_loads(audited_output, 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "seq")), (json_int_t)trail.durable.seq);
    ck_assert_str_eq(json_string_value(json_object_get(json, "hash")), strchr(head, ':') + 1);
    ck_assert_str_eq(json_string_value(json_object_get(json, "log")), trail.durable.log);
    ck_assert_int_gt(strcmp(json_string_value(json_object_get(json, "time")), between), 0);
    json_decref(json);
}
END_TEST

/* The numbers of the records in TEXT: from FIRST on, each one more. How many. */
static unsigned in_a_row(const char *text, uint64_t first)
{
    unsigned count = 0;

    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        struct audit_line record;
        size_t length = strcspn(line, "\n") + 1;

        if (line[length - 1] != '\n')
            break; /* the rest is on its way */
        ck_assert_msg(audit_line_parse(line, length, &record), "%.*s", (int)length, line);
        ck_assert_uint_eq(record.seq, first + count);
        count++;
    }
    return count;
}

START_TEST(tail_shows_the_last_ones)
{
    char between[32];
    uint64_t last;

    two_times(between);
    last = trail.durable.seq;
    ck_assert_int_eq(audited_run("tail %s", directory), 0);
    ck_assert_uint_eq(in_a_row(audited_output, last - 9), 10);
    ck_assert_int_eq(audited_run("tail -n 3 %s", directory), 0);
    ck_assert_uint_eq(in_a_row(audited_output, last - 2), 3);
    ck_assert_int_eq(audited_run("tail --lines 0 %s", directory), 0);
    ck_assert_str_eq(audited_output, "");
    ck_assert_int_eq(audited_run("tail -n 1000 %s", directory), 0);
    ck_assert_uint_eq(in_a_row(audited_output, 1), (unsigned)last);
}
END_TEST

/* Over the end of a file none is missing, and none comes twice. */
START_TEST(tail_follows_over_a_rotation)
{
    uint64_t first = trail.durable.seq + 1;
    unsigned seen = 0;
    size_t length = 0;
    int out[2], status;
    pid_t pid;

    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        (void)signal(SIGPIPE, SIG_IGN); /* as under many who start it */
        (void)dup2(out[1], STDOUT_FILENO);
        (void)execl(harness_product("pglend"), "pglend", "audit", "tail", "-n", "1", "-f", directory, (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    for (unsigned added = 0; added < RECORDS || seen < trail.durable.seq - first + 2;) {
        struct pollfd ready = {.fd = out[0], .events = POLLIN};

        if (seen > 0 && added < RECORDS) { /* it looks */
            add(AUDIT_LEASE_BEGIN, "dr.lee", 33, NULL, 0);
            ck_assert(++added % 10 == 0 ? audit_trail_rotate(&trail) : audit_trail_sync(&trail));
        }
        if (poll(&ready, 1, 10) == 1) {
            ssize_t got = read(out[0], audited_output + length, sizeof audited_output - 1 - length);

            ck_assert_int_gt(got, 0);
            length += (size_t)got;
        }
        audited_output[length] = '\0';
        seen = in_a_row(audited_output, first - 1);
    }
    ck_assert_uint_eq(trail.number, 5);
    /* It ends when nobody reads, and says so. */
    (void)close(out[0]);
    add(AUDIT_LEASE_BEGIN, "dr.lee", 33, NULL, 0);
    ck_assert(audit_trail_sync(&trail));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit_report");
    TCase *tc = harness_case(suite, "report", 30);

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, reports_are_by_actor_uid_and_pool);
    tcase_add_test(tc, reports_are_of_a_time);
    tcase_add_test(tc, each_format_has_all);
    tcase_add_test(tc, the_head_is_the_last_record);
    tcase_add_test(tc, tail_shows_the_last_ones);
    tcase_add_test(tc, tail_follows_over_a_rotation);
    return harness_main(suite);
}
