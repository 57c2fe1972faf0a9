/* SPDX-License-Identifier: ISC */
/*
 * cli_audit_report.c - what the audit trail tells, by actor, user or pool, or record by record in time.
 *
 * It reads the records and does not verify them; that is verify's, with the key. Lines that are no records are counted
 * and said, for a report that leaves something out in silence is worse than none.
 */
#include "cli_audit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIME_SIZE 28

static const struct cli_column group_columns[] = {
    {"WHO", "who", CLI_TEXT},
    {"LEASES", "leases", CLI_NUMBER},
    {"HELD", "held_s", CLI_SECONDS},
    {"REFUSED", "refused", CLI_NUMBER},
    {"REVOKED", "revoked", CLI_NUMBER},
    {"RECLAIMED", "reclaimed", CLI_NUMBER},
    {"COMMANDS", "commands", CLI_NUMBER},
    {"RECORDS", "records", CLI_NUMBER},
    {"FIRST", "first", CLI_TEXT},
    {"LAST", "last", CLI_TEXT},
};
static const struct cli_view group_view = {
    .none = "no records", .column = group_columns, .columns = sizeof group_columns / sizeof group_columns[0]};

static const struct cli_column record_columns[] = {
    {"SEQ", "seq", CLI_NUMBER},       {"TIME", "time", CLI_TEXT},       {"EVENT", "event", CLI_TEXT},
    {"POOL", "pool", CLI_TEXT},       {"LEASE", "lease", CLI_TEXT},     {"UID", "uid", CLI_NUMBER},
    {"PID", "pid", CLI_NUMBER},       {"EXECUTABLE", "exe", CLI_TEXT},  {"ACTOR", "actor", CLI_TEXT},
    {"PURPOSE", "purpose", CLI_TEXT}, {"COMMAND", "command", CLI_TEXT}, {"OUTCOME", "outcome", CLI_TEXT},
    {"REASON", "reason", CLI_TEXT},
};
static const struct cli_view record_view = {
    .none = "no records", .column = record_columns, .columns = sizeof record_columns / sizeof record_columns[0]};

/* What a report can be by; KEY is the record's member, NULL: no groups, each record. */
static const struct {
    const char *name;
    const char *key;
} bys[] = {{"time", NULL}, {"actor", "actor"}, {"uid", "uid"}, {"pool", "pool"}};
#define BYS (sizeof bys / sizeof bys[0])

/* In which column of its group an event counts. */
static const struct {
    enum audit_event event;
    const char *column;
} counted[] = {
    {AUDIT_LEASE_BEGIN, "leases"},    {AUDIT_LEASE_REFUSED, "refused"},     {AUDIT_DENIED, "refused"},
    {AUDIT_LEASE_REVOKED, "revoked"}, {AUDIT_LEASE_RECLAIMED, "reclaimed"}, {AUDIT_COMMAND, "commands"},
};

struct report {
    const char *key;
    char since[TIME_SIZE], until[TIME_SIZE];
    json_t *rows;   /* array: the records */
    json_t *groups; /* object: by value of KEY */
    size_t strange; /* lines that are no records */
};

/* "36h": so long ago. */
static bool time_ago(const char *text, char out[TIME_SIZE])
{
    static const struct {
        char unit;
        long seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    long number = strtol(text, &end, 10);
    struct tm utc;
    time_t then;

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (end != text && end[0] == units[i].unit && end[1] == '\0' && number >= 0 && number <= 1000000) {
            then = time(NULL) - number * units[i].seconds;
            (void)gmtime_r(&then, &utc);
            return strftime(out, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &utc) > 0;
        }
    return false;
}

/* The beginning of a time as records have it: those compare as texts. */
static bool time_point(const char *text, char out[TIME_SIZE])
{
    static const char form[] = "0000-00-00T00:00:00.000000Z";
    size_t length = strlen(text);

    if (length < 4 || length >= sizeof form)
        return false;
    for (size_t i = 0; i < length; i++)
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool time_fits(const char *option, const char *text, char out[TIME_SIZE])
{
    out[0] = '\0';
    if (text == NULL || time_ago(text, out) || time_point(text, out))
        return true;
    cli_error("--%s %s: write a time in UTC, as 2026-11-22 or 2026-11-22T11:10, or how long ago, as 36h", option, text);
    return false;
}

/* The row of --by, BYS after a message. */
static size_t find_by(const char *name)
{
    for (size_t i = 0; i < BYS; i++)
        if (name == NULL || strcmp(bys[i].name, name) == 0)
            return i;
    cli_error("--by %s: write actor, uid, pool or time", name);
    return BYS;
}

static void add_to(json_t *group, const char *column, json_int_t more)
{
    (void)json_object_set_new(group, column, json_integer(json_integer_value(json_object_get(group, column)) + more));
}

static json_t *new_group(const char *who)
{
    return json_pack("{s:s, s:i, s:i, s:f, s:i, s:i, s:i, s:i}", "who", who, "records", 0, "leases", 0, "held_s", 0.0,
                     "refused", 0, "revoked", 0, "reclaimed", 0, "commands", 0);
}

/* A denial may stand for many; a command that waits has a record of its beginning too. */
static json_int_t times(const json_t *record, enum audit_event event)
{
    const json_t *many = json_object_get(record, "records");
    const char *outcome = json_string_value(json_object_get(record, "outcome"));

    if (event == AUDIT_DENIED && json_is_integer(many))
        return json_integer_value(many);
    return event != AUDIT_COMMAND || outcome == NULL || strcmp(outcome, "begun") != 0;
}

static void add_to_group(struct report *r, const json_t *record, const struct audit_line *line)
{
    const json_t *value = json_object_get(record, r->key), *held = json_object_get(record, "duration_us");
    char number[32];
    const char *who = json_string_value(value);
    json_t *group;

    if (json_is_integer(value)) {
        (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        who = number;
    }
    if (who == NULL)
        who = "";
    group = json_object_get(r->groups, who);
    if (group == NULL) {
        group = new_group(who);
        (void)json_object_set_new(r->groups, who, group);
        (void)json_object_set_new(group, "first", json_string(line->time));
    }
    add_to(group, "records", 1);
    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++)
        if (counted[i].event == line->event)
            add_to(group, counted[i].column, times(record, line->event));
    if (held != NULL)
        (void)json_object_set_new(
            group, "held_s",
            json_real(json_real_value(json_object_get(group, "held_s")) + json_number_value(held) / 1e6));
    (void)json_object_set_new(group, "last", json_string(line->time));
}

static void take_record(struct report *r, const char *text, size_t length)
{
    struct audit_line line;
    json_t *record;

    if (!audit_line_parse(text, length, &line) || (record = json_loadb(text, length, 0, NULL)) == NULL) {
        r->strange++;
        return;
    }
    if ((r->since[0] == '\0' || strcmp(line.time, r->since) >= 0) &&
        (r->until[0] == '\0' || strcmp(line.time, r->until) < 0)) {
        if (r->key == NULL)
            (void)json_array_append(r->rows, record);
        else
            add_to_group(r, record, &line);
    }
    json_decref(record);
}

static void take_file(struct report *r, const char *text, size_t length)
{
    for (size_t used = 0; used < length;) {
        const char *end = memchr(text + used, '\n', length - used);
        size_t size = end == NULL ? length - used : (size_t)(end - text) + 1 - used;

        take_record(r, text + used, size);
        used += size;
    }
}

static void finish(struct report *r)
{
    const char *who;
    json_t *group;

    json_object_foreach(r->groups, who, group)
    {
        (void)json_array_append(r->rows, group);
    }
    if (r->strange > 0)
        cli_error("%zu lines of the trail are no records and are not in this report; run pglend audit verify",
                  r->strange);
}

int cli_audit_report(const struct cli_audit *a)
{
    struct report r = {.rows = json_array(), .groups = json_object()};
    struct audit_files files = {.directory = -1};
    size_t by = find_by(a->by);
    int status = CLI_USAGE;

    if (by == BYS || !time_fits("since", a->since, r.since) || !time_fits("until", a->until, r.until))
        goto done;
    r.key = bys[by].key;
    status = CLI_FAILED;
    if (!audit_files_open(&files, a->directory))
        goto done;
    status = CLI_OK;
    for (size_t i = 0; i < files.count; i++) {
        char name[AUDIT_FILE_NAME_MAX];
        size_t length = 0;

        /* One that was archived may be removed since it was listed. */
        audit_file_name(name, files.number[i]);
        if (faccessat(files.directory, name, F_OK, 0) == -1)
            continue;
        char *text = audit_file_read(&files, files.number[i], &length);

        if (text == NULL)
            status = CLI_FAILED;
        else
            take_file(&r, text, length);
        free(text);
    }
    finish(&r);
    if (!a->format->print(stdout, r.key == NULL ? &record_view : &group_view, r.rows))
        status = CLI_FAILED;
done:
    audit_files_close(&files);
    json_decref(r.rows);
    json_decref(r.groups);
    return status;
}
