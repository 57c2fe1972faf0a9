/* SPDX-License-Identifier: ISC */
/*
 * cli_top_draw.c - one frame of pglend top: pools, longest leases, busiest workers, oldest waiters.
 *
 * The sections are the tables that the other commands print, sorted, and cut to the room there is: a section takes
 * what it needs, and those that need more share what the others leave.
 */
#include "cli_top.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS(table) .column = (table), .columns = sizeof(table) / sizeof((table)[0])

static const struct cli_column pool_columns[] = {
    {"POOL", "pool", CLI_TEXT},
    {"STATE", "state", CLI_TEXT},
    {"MAX", "max", CLI_NUMBER},
    {"IDLE", "idle", CLI_NUMBER},
    {"LEASED", "leased", CLI_NUMBER},
    {"WAITING", "waiting", CLI_NUMBER},
    {"PER S", "leases_per_s", CLI_RATE},
    {"WAIT P99", "wait.p99_s", CLI_SECONDS},
    {"HELD P99", "hold.p99_s", CLI_SECONDS},
};
static const struct cli_column lease_columns[] = {
    {"POOL", "pool", CLI_TEXT},           {"SLOT", "slot", CLI_NUMBER},     {"BACKEND", "backend_pid", CLI_NUMBER},
    {"WORKER", "worker_pid", CLI_NUMBER}, {"HELD", "since_s", CLI_SECONDS}, {"ACTOR", "actor", CLI_TEXT},
};
static const struct cli_column worker_columns[] = {
    {"PID", "pid", CLI_NUMBER},         {"UID", "uid", CLI_NUMBER},   {"LEASES", "leases", CLI_NUMBER},
    {"WAITING", "waiting", CLI_NUMBER}, {"POOLS", "pools", CLI_TEXT}, {"EXECUTABLE", "exe", CLI_TEXT},
};
static const struct cli_column waiter_columns[] = {
    {"POOL", "pool", CLI_TEXT},
    {"POSITION", "position", CLI_NUMBER},
    {"WORKER", "worker_pid", CLI_NUMBER},
    {"WAITED", "waited_s", CLI_SECONDS},
};

static double number_in(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static double pool_rank(const json_t *pool)
{
    return number_in(pool, "waiting") * 1e6 + number_in(pool, "leased");
}

static double lease_rank(const json_t *slot)
{
    const char *state = json_string_value(json_object_get(slot, "state"));

    return state != NULL && strcmp(state, "leased") == 0 ? number_in(slot, "since_s") : -1;
}

static double worker_rank(const json_t *worker)
{
    return number_in(worker, "leases") * 1e6 + number_in(worker, "waiting");
}

static double waiter_rank(const json_t *waiter)
{
    return number_in(waiter, "waited_s");
}

static const struct section {
    const char *title;
    double (*rank)(const json_t *row); /* the highest first; below 0: not shown */
    struct cli_view view;
} sections[] = {
    {"Pools", pool_rank, {.none = "none", COLUMNS(pool_columns)}},
    {"Longest leases", lease_rank, {.none = "nothing is lent", COLUMNS(lease_columns)}},
    {"Busiest workers", worker_rank, {.none = "no workers are attached", COLUMNS(worker_columns)}},
    {"Oldest waiters", waiter_rank, {.none = "nobody waits", COLUMNS(waiter_columns)}},
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

struct ranked {
    json_t *row;
    double rank;
};

static int by_rank(const void *a, const void *b)
{
    double x = ((const struct ranked *)a)->rank, y = ((const struct ranked *)b)->rank;

    return (x < y) - (x > y);
}

/* ROWS as SECTION shows them: sorted, without those that it does not show. */
static json_t *sorted(const struct section *section, const json_t *rows)
{
    size_t count = json_array_size(rows), kept = 0;
    struct ranked *list = calloc(count + 1, sizeof(*list));
    json_t *result = json_array();

    for (size_t i = 0; list != NULL && i < count; i++) {
        json_t *row = json_array_get(rows, i);
        double rank = section->rank(row);

        if (rank >= 0)
            list[kept++] = (struct ranked){row, rank};
    }
    if (kept > 0)
        qsort(list, kept, sizeof(*list), by_rank);
    for (size_t i = 0; i < kept; i++)
        (void)json_array_append(result, list[i].row);
    free(list);
    return result;
}

/* One line of at most COLUMNS characters, and the rest of the terminal's line cleared. */
static void put_line(FILE *out, const char *text, size_t length, unsigned columns)
{
    unsigned shown = 0;

    for (size_t i = 0; i < length; i++) {
        shown += ((unsigned char)text[i] & 0xc0) != 0x80;
        if (shown > columns)
            break;
        (void)fputc(text[i], out);
    }
    (void)fputs("\033[K\r\n", out);
}

static void put_bold(FILE *out, const char *text, unsigned columns)
{
    (void)fputs("\033[1m", out);
    put_line(out, text, strlen(text), columns);
    (void)fputs("\033[0m", out);
}

/* SECTION with ROWS, cut to LINES lines, its title one of them. */
static void put_section(FILE *out, const struct section *section, json_t *rows, unsigned lines, unsigned columns)
{
    char *text = NULL, *at;
    size_t length = 0;
    FILE *table;

    if (lines == 0)
        return;
    put_bold(out, section->title, columns);
    while (json_array_size(rows) > lines)
        (void)json_array_remove(rows, json_array_size(rows) - 1);
    table = open_memstream(&text, &length);
    if (table == NULL)
        return;
    (void)cli_format_table.print(table, &section->view, rows);
    (void)fclose(table);
    at = text;
    for (unsigned i = 1; i < lines && at != NULL && *at != '\0'; i++) {
        size_t line = strcspn(at, "\n");

        put_line(out, at, line, columns);
        at += line + (at[line] != '\0');
    }
    free(text);
}

/* How many lines of LINES each section gets, given what each WANTS. */
static void share(unsigned lines, const unsigned wants[SECTIONS], unsigned gets[SECTIONS])
{
    bool more = true;

    for (size_t i = 0; i < SECTIONS; i++)
        gets[i] = 0;
    while (lines > 0 && more) {
        more = false;
        for (size_t i = 0; i < SECTIONS && lines > 0; i++)
            if (gets[i] < wants[i]) {
                gets[i]++;
                lines--;
                more = true;
            }
    }
}

static void put_head(FILE *out, const struct cli *cli, const struct top_look *look, unsigned columns)
{
    const char *version = json_string_value(json_object_get(look->status, "version"));
    char line[CLI_MESSAGE_MAX + 64], up[64], clock[16] = "";
    time_t now = time(NULL);
    struct tm local;

    if (localtime_r(&now, &local) != NULL)
        (void)strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    cli_duration(up, sizeof(up), number_in(look->status, "uptime_s"));
    if (look->trouble[0] != '\0')
        snprintf(line, sizeof(line), "%s  %s", clock, look->trouble);
    else
        snprintf(line, sizeof(line), "%s  pglendd %.32s, up %s, %.200s  (q quits)", clock,
                 version != NULL ? version : "?", up, cli->runtime_dir);
    cli_clean(line);
    put_line(out, line, strlen(line), columns);
}

void top_draw(FILE *out, const struct cli *cli, const struct top_look *look, unsigned rows, unsigned columns)
{
    const json_t *shown[SECTIONS] = {look->pools, look->slots, look->workers, look->waiters};
    json_t *table[SECTIONS];
    unsigned wants[SECTIONS], gets[SECTIONS];

    (void)fputs("\033[H", out);
    put_head(out, cli, look, columns);
    for (size_t i = 0; i < SECTIONS; i++) {
        table[i] = sorted(&sections[i], shown[i]);
        wants[i] = (unsigned)json_array_size(table[i]) + 2; /* a title; the columns' heads, or that there is nothing */
    }
    share(rows > 2 ? rows - 2 : 0, wants, gets); /* the last line stays free: the cursor rests on it */
    for (size_t i = 0; i < SECTIONS; i++) {
        put_section(out, &sections[i], table[i], gets[i], columns);
        json_decref(table[i]);
    }
    (void)fputs("\033[J", out);
}
