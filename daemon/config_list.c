/* SPDX-License-Identifier: ISC */
/*
 * config_list.c - the kinds of key that hold more than one value: list, settings, reset.
 *
 * Settings are an object in the file and "name=value" strings in memory, as a login sends them; a setting's name
 * therefore never has a '='. A list in the file replaces the list that the defaults made.
 */
#include "config_table.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct string_list *list_of(const struct config_row *row, const void *object)
{
    return (const struct string_list *)(const void *)((const char *)object + row->offset);
}

static void list_free(struct string_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->item[i]);
    free(list->item);
    *list = (struct string_list){0};
}

static void clear_list(const struct config_row *row, void *object)
{
    list_free((struct string_list *)(void *)((char *)object + row->offset));
}

static void replace_list(const struct config_row *row, void *object, struct string_list list)
{
    clear_list(row, object);
    *(struct string_list *)(void *)((char *)object + row->offset) = list;
}

/* Room for COUNT items. */
static int list_make(struct string_list *list, size_t count)
{
    *list = (struct string_list){.item = calloc(count == 0 ? 1 : count, sizeof *list->item)};
    return list->item == NULL ? ENOMEM : 0;
}

/* ---- list ---- */

static int list_fill(const struct config_row *row, const json_t *value, struct string_list *list)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);

        if (!config_text_fits(row, item) || json_string_length(item) == 0)
            return EINVAL;
        if ((list->item[list->count] = strdup(json_string_value(item))) == NULL)
            return ENOMEM;
        list->count++;
    }
    return 0;
}

static int parse_list(const struct config_row *row, const json_t *value, void *object)
{
    struct string_list list;
    int failure;

    if (!json_is_array(value))
        return EINVAL;
    if ((failure = list_make(&list, json_array_size(value))) != 0)
        return failure;
    if ((failure = list_fill(row, value, &list)) != 0) {
        list_free(&list);
        return failure;
    }
    replace_list(row, object, list);
    return 0;
}

static json_t *json_of_list(const struct config_row *row, const void *object)
{
    const struct string_list *list = list_of(row, object);
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        if (json_array_append_new(array, json_string(list->item[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static void describe_list(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    if (row->example != NULL)
        snprintf(out, CONFIG_TEXT_MAX, "a list of strings, as %s", row->example);
    else
        snprintf(out, CONFIG_TEXT_MAX, "a list of strings, names or numbers, as [\"www-data\", \"1000\"]");
}

static json_t *schema_list(const struct config_row *row)
{
    return json_pack("{s:s, s:{s:s, s:i, s:I}}", "type", "array", "items", "type", "string", "minLength", 1,
                     "maxLength", (json_int_t)row->max);
}

/* ---- settings ---- */

/* A server's setting, "work_mem" or "myapp.tenant". */
static bool setting_name_valid(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    for (; *name != '\0'; name++)
        if (!isalnum((unsigned char)*name) && strchr("_.$", *name) == NULL)
            return false;
    return true;
}

static int settings_fill(const struct config_row *row, json_t *value, struct string_list *list)
{
    const char *name;
    json_t *setting;

    json_object_foreach(value, name, setting)
    {
        if (strcmp(name, "comment") == 0)
            continue;
        if (!setting_name_valid(name) || !config_text_fits(row, setting))
            return EINVAL;
        if (asprintf(&list->item[list->count], "%s=%s", name, json_string_value(setting)) < 0)
            return ENOMEM;
        list->count++;
    }
    return 0;
}

static int parse_settings(const struct config_row *row, const json_t *value, void *object)
{
    struct string_list list;
    int failure;

    if (!json_is_object(value))
        return EINVAL;
    if ((failure = list_make(&list, json_object_size(value))) != 0)
        return failure;
    if ((failure = settings_fill(row, (json_t *)value, &list)) != 0) {
        list_free(&list);
        return failure;
    }
    replace_list(row, object, list);
    return 0;
}

static json_t *json_of_settings(const struct config_row *row, const void *object)
{
    const struct string_list *list = list_of(row, object);
    json_t *settings = json_object();

    for (size_t i = 0; i < list->count; i++) {
        const char *value = strchr(list->item[i], '=');
        json_t *name = json_stringn(list->item[i], (size_t)(value - list->item[i]));
        int failure = json_object_set_new(settings, json_string_value(name), json_string(value + 1));

        json_decref(name);
        if (failure != 0) {
            json_decref(settings);
            return NULL;
        }
    }
    return settings;
}

static void describe_settings(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    (void)row;
    snprintf(out, CONFIG_TEXT_MAX, "an object of strings, as {\"statement_timeout\": \"30s\"}");
}

static json_t *schema_settings(const struct config_row *row)
{
    return json_pack("{s:s, s:{s:b}, s:{s:s}, s:{s:s, s:I}}", "type", "object", "properties", "comment", 1,
                     "propertyNames", "pattern", "^[A-Za-z_][A-Za-z0-9_.$]*$", "additionalProperties", "type", "string",
                     "maxLength", (json_int_t)row->max);
}

/* ---- reset ---- */

/* Those that are written as a word; RESET_QUERY is an object. */
static const char *const reset_name[RESET_KINDS] = {
    [RESET_FULL] = "full", [RESET_ROLLBACK] = "rollback", [RESET_NONE] = "none", [RESET_REPLACE] = "replace"};

static int reset_set(struct pool_config *pool, enum reset_kind kind, const char *query)
{
    char *copy = strdup(query);

    if (copy == NULL)
        return ENOMEM;
    free(pool->reset_query);
    pool->reset_query = copy;
    pool->reset = kind;
    return 0;
}

static int parse_reset(const struct config_row *row, const json_t *value, void *object)
{
    const json_t *query = json_object_get(value, "query");
    size_t others = json_object_get(value, "comment") != NULL;

    for (int i = 0; json_is_string(value) && i < RESET_KINDS; i++)
        if (reset_name[i] != NULL && strcmp(reset_name[i], json_string_value(value)) == 0)
            return reset_set(object, (enum reset_kind)i, "");
    if (!json_is_string(query) || json_object_size(value) != 1 + others)
        return EINVAL;
    if (json_string_length(query) == 0 || (int64_t)json_string_length(query) > row->max)
        return EINVAL;
    return reset_set(object, RESET_QUERY, json_string_value(query));
}

static json_t *json_of_reset(const struct config_row *row, const void *object)
{
    const struct pool_config *pool = object;

    (void)row;
    if (pool->reset == RESET_QUERY)
        return json_pack("{s:s}", "query", pool->reset_query);
    return json_string(reset_name[pool->reset]);
}

static void clear_reset(const struct config_row *row, void *object)
{
    struct pool_config *pool = object;

    (void)row;
    free(pool->reset_query);
    pool->reset_query = NULL;
}

static void describe_reset(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    snprintf(out, CONFIG_TEXT_MAX,
             "\"full\", \"rollback\", \"none\", \"replace\" or {\"query\": \"...\"} with 1 to %" PRId64 " bytes",
             row->max);
}

static json_t *schema_reset(const struct config_row *row)
{
    json_t *names = json_array();

    for (int i = 0; i < RESET_KINDS; i++)
        if (reset_name[i] != NULL)
            json_array_append_new(names, json_string(reset_name[i]));
    return json_pack("{s:[{s:o}, {s:s, s:[s], s:b, s:{s:b, s:{s:s, s:i, s:I}}}]}", "anyOf", "enum", names, "type",
                     "object", "required", "query", "additionalProperties", 0, "properties", "comment", 1, "query",
                     "type", "string", "minLength", 1, "maxLength", (json_int_t)row->max);
}

const struct config_kind kind_list = {"list", parse_list, json_of_list, clear_list, describe_list, schema_list};
const struct config_kind kind_settings = {"settings", parse_settings,    json_of_settings,
                                          clear_list, describe_settings, schema_settings};
const struct config_kind kind_reset = {"reset", parse_reset, json_of_reset, clear_reset, describe_reset, schema_reset};
