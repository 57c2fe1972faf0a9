/* SPDX-License-Identifier: ISC */
/*
 * cli_csv.c - the output format CSV (RFC 4180): a table for a spreadsheet.
 *
 * A text that a spreadsheet would calculate gets an apostrophe before it: an actor's name comes from an application.
 */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

static void put_text(FILE *out, const char *text)
{
    (void)fputc('"', out);
    if (*text != '\0' && strchr("=+-@", *text) != NULL)
        (void)fputc('\'', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            (void)fputc('"', out);
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

static void put_value(FILE *out, const json_t *value)
{
    if (json_is_string(value)) {
        char *text = strdup(json_string_value(value));

        put_text(out, text == NULL ? "" : cli_clean(text));
        free(text);
    } else if (value != NULL && !json_is_null(value)) {
        (void)json_dumpf(value, out, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));
    }
}

/* The keys are the head: they are the same as in JSON, and a program may read this too. */
static bool print_csv(FILE *out, const struct cli_view *view, const json_t *result)
{
    const json_t *row;
    size_t i;

    for (size_t c = 0; c < view->columns; c++)
        (void)fprintf(out, "%s%s", c == 0 ? "" : ",", view->column[c].key);
    (void)fputs("\r\n", out);
    json_array_foreach(result, i, row)
    {
        for (size_t c = 0; c < view->columns; c++) {
            (void)fputs(c == 0 ? "" : ",", out);
            put_value(out, json_object_get(row, view->column[c].key));
        }
        (void)fputs("\r\n", out);
    }
    return true;
}

const struct cli_format cli_format_csv = {"csv", print_csv};
