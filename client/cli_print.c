/* SPDX-License-Identifier: ISC */
/*
 * cli_print.c - the output formats: a table for people, JSON for programs.
 *
 * What is printed came from workers and database servers in part, so nothing reaches a terminal before the control
 * characters are out of it. Widths count characters, not bytes.
 */
#include "cli.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GAP 2 /* blanks between columns */

char *cli_clean(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        if (*c < ' ' || *c == 0x7f)
            *c = '?';
        else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* U+0080 to U+009F */
            c[0] = c[1] = '?';
    }
    return text;
}

void cli_error(const char *format, ...)
{
    char text[CLI_MESSAGE_MAX + 256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "pglend: %s\n", cli_clean(text));
}

void cli_duration(char *text, size_t size, double seconds)
{
    static const struct {
        const char *format;
        double below;
        long long large, small; /* seconds in each of the two units; what is left below the small one is cut off */
    } unit[] = {
        {"%lld s", 60, 1, 0},
        {"%lld m %lld s", 3600, 60, 1},
        {"%lld h %lld m", 86400, 3600, 60},
        {"%lld d %lld h", 1e12, 86400, 3600},
    };
    long long whole;
    size_t i = 0;

    if (!(seconds > 0))
        seconds = 0;
    if (seconds > 1e11)
        seconds = 1e11;
    whole = (long long)seconds;
    while (seconds >= unit[i].below)
        i++;
    if (seconds > 0 && seconds < 1e-3)
        snprintf(text, size, "%lld us", (long long)(seconds * 1e6));
    else if (seconds < 1)
        snprintf(text, size, "%lld ms", (long long)(seconds * 1000));
    else if (unit[i].small == 0)
        snprintf(text, size, "%lld s", whole);
    else
        snprintf(text, size, unit[i].format, whole / unit[i].large, whole % unit[i].large / unit[i].small);
}

static char *join(const json_t *list)
{
    char *text = NULL;
    size_t length = 0, i;
    FILE *out = open_memstream(&text, &length);
    json_t *item;

    if (out == NULL)
        return NULL;
    json_array_foreach(list, i, item)
    {
        fprintf(out, "%s%s", i > 0 ? "," : "", json_is_string(item) ? json_string_value(item) : "?");
    }
    return fclose(out) == 0 ? text : NULL;
}

/* VALUE as a table shows it, to be freed. */
static char *cell(const json_t *value, enum cli_kind kind)
{
    char text[64];
    char *shown;

    if (value == NULL || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0))
        return strdup("-");
    if (kind == CLI_FLAG)
        return strdup(json_is_true(value) ? "yes" : "no");
    if (kind == CLI_RATE && json_is_number(value)) {
        (void)snprintf(text, sizeof(text), "%.1f", json_number_value(value));
        return strdup(text);
    }
    if (kind == CLI_SECONDS && json_is_number(value)) {
        cli_duration(text, sizeof(text), json_number_value(value));
        return strdup(text);
    }
    if (json_is_string(value))
        shown = strdup(json_string_value(value));
    else if (json_is_array(value) && json_array_size(value) > 0)
        shown = join(value);
    else if (json_is_array(value))
        shown = strdup("-");
    else
        shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    return shown == NULL ? NULL : cli_clean(shown);
}

/* Member "A.B" of OBJECT is the member B of its member A. */
static const json_t *member_at(const json_t *object, const char *key)
{
    const char *dot = strchr(key, '.');

    return dot == NULL ? json_object_get(object, key)
                       : json_object_get(json_object_getn(object, key, (size_t)(dot - key)), dot + 1);
}

/* Characters in TEXT: bytes that do not continue a UTF-8 sequence. */
static size_t width(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void put(FILE *out, const char *text, size_t column_width, bool right, bool last)
{
    size_t have = width(text);
    int blanks = have < column_width ? (int)(column_width - have) : 0;

    if (right)
        fprintf(out, "%*s%s", blanks, "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : blanks, "");
    if (!last)
        fprintf(out, "%*s", GAP, "");
}

static bool coloured(FILE *out)
{
    const char *terminal = getenv("TERM");

    return isatty(fileno(out)) && getenv("NO_COLOR") == NULL && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

static void print_rows(FILE *out, const struct cli_view *view, const json_t *rows)
{
    size_t columns = view->columns, count = json_array_size(rows);
    size_t *widest = calloc(columns, sizeof(*widest));
    char **text = calloc(count * columns, sizeof(*text));
    bool colour = coloured(out);

    if (widest == NULL || text == NULL) {
        cli_error("out of memory for %zu rows", count);
        goto out;
    }
    for (size_t c = 0; c < columns; c++)
        widest[c] = width(view->column[c].title);
    for (size_t i = 0; i < count * columns; i++) {
        const struct cli_column *column = &view->column[i % columns];

        text[i] = cell(member_at(json_array_get(rows, i / columns), column->key), column->kind);
        if (text[i] != NULL && width(text[i]) > widest[i % columns])
            widest[i % columns] = width(text[i]);
    }
    fputs(colour ? "\033[1m" : "", out);
    for (size_t c = 0; c < columns; c++)
        put(out, view->column[c].title, widest[c], view->column[c].kind == CLI_NUMBER, c + 1 == columns);
    fputs(colour ? "\033[0m\n" : "\n", out);
    for (size_t i = 0; i < count * columns; i++) {
        size_t c = i % columns;

        put(out, text[i] != NULL ? text[i] : "?", widest[c], view->column[c].kind == CLI_NUMBER, c + 1 == columns);
        if (c + 1 == columns)
            fputc('\n', out);
    }
out:
    for (size_t i = 0; text != NULL && i < count * columns; i++)
        free(text[i]);
    free(text);
    free(widest);
}

static bool print_json(FILE *out, const struct cli_view *view, const json_t *result)
{
    (void)view;
    json_dumpf(result, out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    fputc('\n', out);
    return true;
}

static bool print_table(FILE *out, const struct cli_view *view, const json_t *result)
{
    const json_t *rows = view->rows != NULL ? json_object_get(result, view->rows) : result;
    json_t *item;
    size_t i;

    if (view->line == NULL && view->columns == 0)
        return print_json(out, view, result);
    if (view->columns > 0 && !json_is_array(rows)) {
        cli_error("the supervisor's answer is no table that this version knows; look at it with --json");
        return false;
    }
    if (view->line != NULL && json_is_object(result))
        view->line(out, result);
    else if (view->line != NULL)
        json_array_foreach(result, i, item) view->line(out, item);
    if (view->none != NULL && json_is_array(rows) && json_array_size(rows) == 0)
        fprintf(out, "%s\n", view->none);
    else if (view->columns > 0)
        print_rows(out, view, rows);
    return true;
}

const struct cli_format cli_format_table = {"table", print_table};
const struct cli_format cli_format_json = {"json", print_json};
