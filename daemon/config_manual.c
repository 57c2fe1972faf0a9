/* SPDX-License-Identifier: ISC */
/*
 * config_manual.c - the table for readers: the JSON schema, and the list of keys in pglend.json(5).
 *
 * The schema says what the table can say; what involves more than one key only the parser knows. Both texts are in the
 * tree, and tests/config_test.c fails if they are not what is generated here.
 */
#include "config_table.h"
#include <string.h>

/* Without "comment", which would have to be a pool too otherwise. */
#define POOL_NAME_PATTERN "^(?!comment$)[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}$"

/* ---- schema ---- */

/* The schema of an object that may have a comment and what is added to its properties, nothing else. */
static json_t *object_schema(void)
{
    return json_pack("{s:s, s:b, s:{s:b}}", "type", "object", "additionalProperties", 0, "properties", "comment", 1);
}

static json_t *row_schema(const struct config_row *row)
{
    json_t *schema = row->kind->schema(row);

    json_object_set_new(schema, "default", json_loads(row->fallback, JSON_DECODE_ANY, NULL));
    json_object_set_new(schema, "description", json_string(row->help));
    return schema;
}

/* Put the schema of ROW at its path in the schema of an object, making the objects on the way. */
static void put_schema(json_t *schema, const struct config_row *row)
{
    char names[CONFIG_NAME_MAX];
    char *rest = names;

    snprintf(names, sizeof names, "%s", row->path);
    for (;;) {
        json_t *properties = json_object_get(schema, "properties");
        const char *name = strsep(&rest, ".");

        if (rest == NULL) {
            json_object_set_new(properties, name, row_schema(row));
            return;
        }
        if (json_object_get(properties, name) == NULL)
            json_object_set_new(properties, name, object_schema());
        schema = json_object_get(properties, name);
    }
}

/* OWN: with the keys that say which database a pool is. */
static json_t *scope_schema(enum config_scope scope, bool own)
{
    json_t *schema = object_schema();

    for (size_t i = 0; i < config_rows; i++)
        if (config_row[i].scope == scope && (own || !config_row[i].own))
            put_schema(schema, &config_row[i]);
    return schema;
}

static json_t *pools_schema(void)
{
    json_t *pool = scope_schema(SCOPE_POOL, true);

    json_object_set_new(pool, "required", json_pack("[s]", "database"));
    return json_pack("{s:s, s:b, s:{s:b}, s:i, s:{s:o}, s:s}", "type", "object", "additionalProperties", 0,
                     "properties", "comment", 1, "minProperties", 1, "patternProperties", POOL_NAME_PATTERN, pool,
                     "description", "The pools by name.");
}

json_t *config_schema(void)
{
    json_t *schema = json_pack("{s:s, s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
                               "Configuration of pglendd");
    json_t *file = scope_schema(SCOPE_FILE, true);
    json_t *properties = json_object_get(file, "properties");
    json_t *defaults = scope_schema(SCOPE_POOL, false);

    json_object_set_new(defaults, "description", json_string("What pools have that do not say otherwise."));
    json_object_set_new(properties, "defaults", defaults);
    json_object_set_new(properties, "pools", pools_schema());
    json_object_set_new(file, "required", json_pack("[s]", "pools"));
    json_object_update(schema, file);
    json_decref(file);
    return schema;
}

/* ---- manual ---- */

/* Sentences one a line, as mdoc wants them; nothing in them is taken for markup. */
static void print_text(FILE *out, const char *text)
{
    bool line_start = true;

    for (; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        line_start = text[0] == '.' && text[1] == ' ';
        if (*text == '\\')
            fputs("\\e", out);
        else
            putc(*text, out);
        if (line_start) {
            putc('\n', out);
            text++;
        }
    }
    putc('\n', out);
}

static void print_row(FILE *out, const struct config_row *row)
{
    char may[CONFIG_TEXT_MAX], text[2 * CONFIG_TEXT_MAX];

    row->kind->describe(row, may);
    fprintf(out, ".It Cm %s\n", row->path);
    print_text(out, row->help);
    snprintf(text, sizeof text, "Write %s. Default: %s. Reload: %s%s.", may, row->fallback,
             config_takes_name(row->takes), row->own ? "; not in defaults" : "");
    print_text(out, text);
}

static void print_scope(FILE *out, const char *title, enum config_scope scope)
{
    fprintf(out, ".Ss %s\n.Bl -tag -width Ds\n", title);
    for (size_t i = 0; i < config_rows; i++)
        if (config_row[i].scope == scope)
            print_row(out, &config_row[i]);
    fprintf(out, ".El\n");
}

void config_print_manual(FILE *out)
{
    print_scope(out, "Keys of the file", SCOPE_FILE);
    print_scope(out, "Keys of a pool and of defaults", SCOPE_POOL);
    config_profile_manual(out);
}
