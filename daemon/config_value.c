/* SPDX-License-Identifier: ISC */
/*
 * config_value.c - the kinds of key that hold one value: boolean, integer, duration, size, string, file, port, choice.
 *
 * Each kind reads a JSON value into a field of struct config or struct pool_config and writes it back in a form that
 * reads as the same value again. Durations are kept in milliseconds; what a unit makes finer than that is refused, not
 * rounded.
 */
#include "config_table.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Greatest first; the last is 1. */
struct unit {
    const char *name; /* NULL: the end */
    int64_t is;
};
static const struct unit times[] = {
    {"d", INT64_C(86400000000)},
    {"h", INT64_C(3600000000)},
    {"m", 60000000},
    {"s", 1000000},
    {"ms", 1000},
    {"us", 1},
    {NULL, 0},
};
static const struct unit sizes[] = {
    {"GiB", 1 << 30}, {"GB", 1000000000}, {"MiB", 1 << 20}, {"MB", 1000000},
    {"KiB", 1 << 10}, {"kB", 1000},       {"B", 1},         {NULL, 0},
};

static void *field(const struct config_row *row, void *object)
{
    return (char *)object + row->offset;
}

static int64_t number(const struct config_row *row, const void *object)
{
    return *(const int64_t *)((const char *)object + row->offset);
}

static const char *text(const struct config_row *row, const void *object)
{
    return *(char *const *)((const char *)object + row->offset);
}

static int text_set(const struct config_row *row, void *object, const char *value)
{
    char **old = field(row, object);
    char *copy = strdup(value);

    if (copy == NULL)
        return ENOMEM;
    free(*old);
    *old = copy;
    return 0;
}

bool config_text_fits(const struct config_row *row, const json_t *value)
{
    const char *s = json_string_value(value);
    int64_t length = (int64_t)json_string_length(value);

    if (s == NULL || length < row->min || length > row->max)
        return false;
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    return true;
}

static void clear_nothing(const struct config_row *row, void *object)
{
    (void)row;
    (void)object;
}

static void clear_text(const struct config_row *row, void *object)
{
    char **value = field(row, object);

    free(*value);
    *value = NULL;
}

/* ---- boolean ---- */

static int parse_boolean(const struct config_row *row, const json_t *value, void *object)
{
    if (!json_is_boolean(value))
        return EINVAL;
    *(bool *)field(row, object) = json_is_true(value);
    return 0;
}

static json_t *json_of_boolean(const struct config_row *row, const void *object)
{
    return json_boolean(*(const bool *)((const char *)object + row->offset));
}

static void describe_boolean(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    (void)row;
    snprintf(out, CONFIG_TEXT_MAX, "true or false");
}

static json_t *schema_boolean(const struct config_row *row)
{
    (void)row;
    return json_pack("{s:s}", "type", "boolean");
}

/* ---- integer ---- */

static int set_number(const struct config_row *row, void *object, int64_t value)
{
    if (value < row->min || value > row->max)
        return EINVAL;
    *(int64_t *)field(row, object) = value;
    return 0;
}

static int parse_integer(const struct config_row *row, const json_t *value, void *object)
{
    if (!json_is_integer(value))
        return EINVAL;
    return set_number(row, object, json_integer_value(value));
}

static json_t *json_of_integer(const struct config_row *row, const void *object)
{
    return json_integer(number(row, object));
}

static void describe_integer(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    snprintf(out, CONFIG_TEXT_MAX, "an integer from %" PRId64 " to %" PRId64, row->min, row->max);
}

static json_t *schema_integer(const struct config_row *row)
{
    return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)row->min, "maximum",
                     (json_int_t)row->max);
}

/* ---- a number and its unit ---- */

static int quantity(const char *s, const struct unit *unit, int64_t *value)
{
    *value = 0;
    if (s == NULL || *s < '0' || *s > '9')
        return -1;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, *s - '0', value))
            return -1;
    while (unit->name != NULL && strcmp(unit->name, s) != 0)
        unit++;
    return unit->name == NULL || __builtin_mul_overflow(*value, unit->is, value) ? -1 : 0;
}

/* In the greatest unit that it is whole in. */
static void quantity_text(int64_t value, const struct unit *unit, char out[CONFIG_NAME_MAX])
{
    while (value % unit->is != 0)
        unit++;
    snprintf(out, CONFIG_NAME_MAX, "%" PRId64 "%s", value / unit->is, unit->name);
}

/* ---- duration ---- */

int config_duration(const char *s, int64_t *ms)
{
    int64_t us;

    if (quantity(s, times, &us) == -1 || us % 1000 != 0)
        return -1;
    *ms = us / 1000;
    return 0;
}

static int parse_duration(const struct config_row *row, const json_t *value, void *object)
{
    int64_t ms;

    return config_duration(json_string_value(value), &ms) == -1 ? EINVAL : set_number(row, object, ms);
}

static void duration_text(int64_t ms, char out[CONFIG_NAME_MAX])
{
    if (ms == 0)
        snprintf(out, CONFIG_NAME_MAX, "0s");
    else
        quantity_text(ms * 1000, times, out);
}

static json_t *json_of_duration(const struct config_row *row, const void *object)
{
    char out[CONFIG_NAME_MAX];

    duration_text(number(row, object), out);
    return json_string(out);
}

static void describe_duration(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    char least[CONFIG_NAME_MAX], most[CONFIG_NAME_MAX];

    duration_text(row->min, least);
    duration_text(row->max, most);
    snprintf(out, CONFIG_TEXT_MAX, "a duration from %s to %s, in whole us, ms, s, m, h or d, as %s", least, most,
             row->fallback);
}

static json_t *schema_duration(const struct config_row *row)
{
    (void)row;
    return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9]+(us|ms|s|m|h|d)$");
}

/* ---- size: kept in bytes ---- */

static int parse_size(const struct config_row *row, const json_t *value, void *object)
{
    int64_t bytes;

    if (json_is_integer(value))
        return parse_integer(row, value, object);
    return quantity(json_string_value(value), sizes, &bytes) == -1 ? EINVAL : set_number(row, object, bytes);
}

static void size_text(int64_t bytes, char out[CONFIG_NAME_MAX])
{
    if (bytes == 0)
        snprintf(out, CONFIG_NAME_MAX, "0B");
    else
        quantity_text(bytes, sizes, out);
}

static json_t *json_of_size(const struct config_row *row, const void *object)
{
    char out[CONFIG_NAME_MAX];

    size_text(number(row, object), out);
    return json_string(out);
}

static void describe_size(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    char least[CONFIG_NAME_MAX], most[CONFIG_NAME_MAX];

    size_text(row->min, least);
    size_text(row->max, most);
    snprintf(out, CONFIG_TEXT_MAX, "a size from %s to %s, in whole B, kB, KiB, MB, MiB, GB or GiB, as %s, or in bytes",
             least, most, row->fallback);
}

static json_t *schema_size(const struct config_row *row)
{
    return json_pack("{s:[s,s], s:I, s:I, s:s}", "type", "integer", "string", "minimum", (json_int_t)row->min,
                     "maximum", (json_int_t)row->max, "pattern", "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)$");
}

/* ---- string ---- */

static int parse_string(const struct config_row *row, const json_t *value, void *object)
{
    if (!config_text_fits(row, value))
        return EINVAL;
    return text_set(row, object, json_string_value(value));
}

static json_t *json_of_string(const struct config_row *row, const void *object)
{
    return json_string(text(row, object));
}

static void describe_string(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    snprintf(out, CONFIG_TEXT_MAX, "a string of at most %" PRId64 " bytes, without control characters", row->max);
}

static json_t *schema_string(const struct config_row *row)
{
    return json_pack("{s:s, s:I, s:I}", "type", "string", "minLength", (json_int_t)row->min, "maxLength",
                     (json_int_t)row->max);
}

/* ---- file ---- */

static int parse_file(const struct config_row *row, const json_t *value, void *object)
{
    const char *path = json_string_value(value);

    if (path != NULL && path[0] != '\0' && path[0] != '/')
        return EINVAL;
    return parse_string(row, value, object);
}

static void describe_file(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    snprintf(out, CONFIG_TEXT_MAX, "an absolute path of at most %" PRId64 " bytes", row->max);
}

static json_t *schema_file(const struct config_row *row)
{
    return json_pack("{s:s, s:s, s:I}", "type", "string", "pattern", row->min > 0 ? "^/" : "^(/|$)", "maxLength",
                     (json_int_t)row->max);
}

/* ---- port ---- */

/* Numbers from 1 to 65535, or nothing, between commas. */
static bool ports_valid(const char *s)
{
    for (;;) {
        int port = 0, digits = 0;

        for (; *s >= '0' && *s <= '9'; s++, digits++) {
            port = port * 10 + (*s - '0');
            if (port > 65535)
                return false;
        }
        if (digits > 0 && port == 0)
            return false;
        if (*s == '\0')
            return true;
        if (*s++ != ',')
            return false;
    }
}

static int parse_port(const struct config_row *row, const json_t *value, void *object)
{
    char digits[24];

    if (json_is_integer(value)) {
        if (json_integer_value(value) < 1 || json_integer_value(value) > 65535)
            return EINVAL;
        snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return text_set(row, object, digits);
    }
    if (!config_text_fits(row, value) || !ports_valid(json_string_value(value)))
        return EINVAL;
    return text_set(row, object, json_string_value(value));
}

static void describe_port(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    (void)row;
    snprintf(out, CONFIG_TEXT_MAX, "a port from 1 to 65535, or a string of several, as \"5432,5433\"");
}

static json_t *schema_port(const struct config_row *row)
{
    (void)row;
    return json_pack("{s:[s,s], s:i, s:i, s:s}", "type", "integer", "string", "minimum", 1, "maximum", 65535, "pattern",
                     "^([0-9]{0,5})(,[0-9]{0,5})*$");
}

/* ---- choice: kept as a string; enum: kept as the place of its name ---- */

/* Place of the name VALUE, or -1. */
static int choice_of(const struct config_row *row, const json_t *value)
{
    const char *s = json_string_value(value);

    for (int i = 0; s != NULL && row->names[i] != NULL; i++)
        if (strcmp(row->names[i], s) == 0)
            return i;
    return -1;
}

static int parse_choice(const struct config_row *row, const json_t *value, void *object)
{
    bool unset = strcmp(row->fallback, "\"\"") == 0 && json_is_string(value) && json_string_length(value) == 0;

    if (!unset && choice_of(row, value) < 0)
        return EINVAL;
    return text_set(row, object, json_string_value(value));
}

static int parse_enum(const struct config_row *row, const json_t *value, void *object)
{
    int place = choice_of(row, value);

    if (place < 0)
        return EINVAL;
    *(int64_t *)field(row, object) = place;
    return 0;
}

static json_t *json_of_enum(const struct config_row *row, const void *object)
{
    return json_string(row->names[number(row, object)]);
}

static void describe_choice(const struct config_row *row, char out[CONFIG_TEXT_MAX])
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; row->names[i] != NULL && used < CONFIG_TEXT_MAX; i++) {
        const char *before = i == 0 ? "" : row->names[i + 1] == NULL ? " or " : ", ";

        used += (size_t)snprintf(out + used, CONFIG_TEXT_MAX - used, "%s\"%s\"", before, row->names[i]);
    }
}

static json_t *schema_choice(const struct config_row *row)
{
    json_t *names = json_array();

    if (strcmp(row->fallback, "\"\"") == 0)
        json_array_append_new(names, json_string(""));
    for (size_t i = 0; row->names[i] != NULL; i++)
        json_array_append_new(names, json_string(row->names[i]));
    return json_pack("{s:o}", "enum", names);
}

const struct config_kind kind_boolean = {"boolean",     parse_boolean,    json_of_boolean,
                                         clear_nothing, describe_boolean, schema_boolean};
const struct config_kind kind_integer = {"integer",     parse_integer,    json_of_integer,
                                         clear_nothing, describe_integer, schema_integer};
const struct config_kind kind_duration = {"duration",    parse_duration,    json_of_duration,
                                          clear_nothing, describe_duration, schema_duration};
const struct config_kind kind_size = {"size", parse_size, json_of_size, clear_nothing, describe_size, schema_size};
const struct config_kind kind_string = {"string",   parse_string,    json_of_string,
                                        clear_text, describe_string, schema_string};
const struct config_kind kind_file = {"file", parse_file, json_of_string, clear_text, describe_file, schema_file};
const struct config_kind kind_port = {"port", parse_port, json_of_string, clear_text, describe_port, schema_port};
const struct config_kind kind_choice = {"choice",   parse_choice,    json_of_string,
                                        clear_text, describe_choice, schema_choice};
const struct config_kind kind_enum = {"choice",      parse_enum,      json_of_enum,
                                      clear_nothing, describe_choice, schema_choice};
