/* SPDX-License-Identifier: ISC */
/*
 * schema_test.c - config/pglend.schema.json judges a file as pglendd does, as far as a schema can.
 *
 * A validator for the words of JSON Schema that the generator writes; one that is not known here fails the test. Then
 * it is held against the example and the golden files: what pglendd takes it takes, and what pglendd refuses for a
 * key, a type, a limit or a spelling it refuses.
 */
#include "harness.h"

#include <dirent.h>
#include <jansson.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool valid(const json_t *schema, const json_t *value);

/* ---- one word each: does VALUE keep to WORD of SCHEMA? ---- */

static bool is_type(const char *type, const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "object", [JSON_ARRAY] = "array",  [JSON_STRING] = "string", [JSON_INTEGER] = "integer",
        [JSON_REAL] = "number",   [JSON_TRUE] = "boolean", [JSON_FALSE] = "boolean", [JSON_NULL] = "null"};

    return strcmp(names[json_typeof(value)], type) == 0;
}

static bool type(const json_t *schema, const json_t *word, const json_t *value)
{
    const json_t *one;
    size_t i;

    (void)schema;
    if (json_is_string(word))
        return is_type(json_string_value(word), value);
    json_array_foreach(word, i, one)
    {
        if (is_type(json_string_value(one), value))
            return true;
    }
    return false;
}

static bool one_of_values(const json_t *schema, const json_t *word, const json_t *value)
{
    const json_t *one;
    size_t i;

    (void)schema;
    json_array_foreach(word, i, one)
    {
        if (json_equal(one, value))
            return true;
    }
    return false;
}

static bool any_of(const json_t *schema, const json_t *word, const json_t *value)
{
    const json_t *one;
    size_t i;

    (void)schema;
    json_array_foreach(word, i, one)
    {
        if (valid(one, value))
            return true;
    }
    return false;
}

static bool minimum(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    return !json_is_number(value) || json_number_value(value) >= json_number_value(word);
}

static bool maximum(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    return !json_is_number(value) || json_number_value(value) <= json_number_value(word);
}

static bool min_length(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    return !json_is_string(value) || (json_int_t)json_string_length(value) >= json_integer_value(word);
}

static bool max_length(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    return !json_is_string(value) || (json_int_t)json_string_length(value) <= json_integer_value(word);
}

static bool matches(const char *pattern, const char *text)
{
    char rest[256];
    regex_t regex;
    bool found;

    /* "^(?!WORD$)", but not this word, is what regcomp() does not know. */
    if (strncmp(pattern, "^(?!", 4) == 0) {
        size_t length = strcspn(pattern + 4, "$");

        if (strlen(text) == length && strncmp(pattern + 4, text, length) == 0)
            return false;
        (void)snprintf(rest, sizeof rest, "^%s", pattern + 4 + length + 2);
        pattern = rest;
    }
    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static bool pattern(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    return !json_is_string(value) || matches(json_string_value(word), json_string_value(value));
}

static bool items(const json_t *schema, const json_t *word, const json_t *value)
{
    const json_t *one;
    size_t i;

    (void)schema;
    json_array_foreach(value, i, one)
    {
        if (!valid(word, one))
            return false;
    }
    return true;
}

static bool required(const json_t *schema, const json_t *word, const json_t *value)
{
    const json_t *one;
    size_t i;

    (void)schema;
    json_array_foreach(word, i, one)
    {
        if (json_is_object(value) && json_object_get(value, json_string_value(one)) == NULL)
            return false;
    }
    return true;
}

static bool min_properties(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    return !json_is_object(value) || (json_int_t)json_object_size(value) >= json_integer_value(word);
}

static bool property_names(const json_t *schema, const json_t *word, const json_t *value)
{
    const char *name;
    json_t *member;

    (void)schema;
    json_object_foreach((json_t *)value, name, member)
    {
        json_t *text = json_string(name);
        bool good = valid(word, text);

        json_decref(text);
        if (!good)
            return false;
    }
    return true;
}

/* Each member against what "properties" says of it, else "patternProperties", else "additionalProperties". */
static bool properties(const json_t *schema, const json_t *word, const json_t *value)
{
    const json_t *known = json_object_get(schema, "properties");
    const char *name, *like;
    json_t *member, *rule;

    (void)word;
    json_object_foreach((json_t *)value, name, member)
    {
        const json_t *holds = json_object_get(known, name);

        json_object_foreach(json_object_get(schema, "patternProperties"), like, rule)
        {
            if (holds == NULL && matches(like, name))
                holds = rule;
        }
        if (holds == NULL)
            holds = json_object_get(schema, "additionalProperties");
        if (holds != NULL && !valid(holds, member))
            return false;
    }
    return true;
}

static bool says_nothing(const json_t *schema, const json_t *word, const json_t *value)
{
    (void)schema;
    (void)word;
    (void)value;
    return true;
}

static const struct {
    const char *word;
    bool (*keeps)(const json_t *schema, const json_t *word, const json_t *value);
} words[] = {
    {"type", type},
    {"enum", one_of_values},
    {"anyOf", any_of},
    {"minimum", minimum},
    {"maximum", maximum},
    {"minLength", min_length},
    {"maxLength", max_length},
    {"pattern", pattern},
    {"items", items},
    {"required", required},
    {"minProperties", min_properties},
    {"propertyNames", property_names},
    {"properties", properties},
    {"patternProperties", properties},
    {"additionalProperties", properties},
    {"$schema", says_nothing},
    {"title", says_nothing},
    {"description", says_nothing},
    {"default", says_nothing},
};
#define WORDS (sizeof words / sizeof words[0])

static bool valid(const json_t *schema, const json_t *value)
{
    const char *name;
    json_t *word;

    if (json_is_boolean(schema))
        return json_is_true(schema);
    json_object_foreach((json_t *)schema, name, word)
    {
        size_t i = 0;

        while (i < WORDS && strcmp(words[i].word, name) != 0)
            i++;
        ck_assert_msg(i < WORDS, "the schema says \"%s\", which is not known here", name);
        if (!words[i].keeps(schema, word, value))
            return false;
    }
    return true;
}

/* ---- files ---- */

static const char *source_path(const char *file)
{
    static char path[4096];
    const char *source = getenv("PGLEND_SOURCE");

    (void)snprintf(path, sizeof path, "%s/%s", source == NULL ? "." : source, file);
    return path;
}

static json_t *load(const char *file)
{
    return json_load_file(source_path(file), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

/* NAME.err says what a schema can say too. */
static bool refused_by_form(const char *name)
{
    static const char *const forms[] = {"is not valid; write ",  "there is no such key", "cannot be a pool's name",
                                        "this is not an object", "there is no pool",     "a password is never written"};
    /* The limits of a number with a unit, control characters; and a comment counts as a pool. */
    static const char *const beyond[] = {"duration_fine", "duration_range", "size_range", "control_character",
                                         "no_pool"};
    char file[300], text[4096];
    bool form = false;
    FILE *f;

    (void)snprintf(file, sizeof file, "tests/config/%s.err", name);
    ck_assert_ptr_nonnull(f = fopen(source_path(file), "re"));
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
        if (strcmp(beyond[i], name) == 0)
            return false;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        form = form || strstr(text, forms[i]) != NULL;
    return form;
}

START_TEST(judges_as_the_daemon_does)
{
    json_t *schema = load("config/pglend.schema.json");
    DIR *dir = opendir(source_path("tests/config"));
    unsigned good = 0, bad = 0;
    struct dirent *entry;

    ck_assert(schema != NULL && dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char name[256], file[300];
        json_t *config;
        bool takes;

        if (strstr(entry->d_name, ".json") == NULL || sscanf(entry->d_name, "%255[^.]", name) != 1)
            continue;
        (void)snprintf(file, sizeof file, "tests/config/%s.json", name);
        if ((config = load(file)) == NULL)
            continue; /* not JSON at all */
        takes = valid(schema, config);
        json_decref(config);
        (void)snprintf(file, sizeof file, "tests/config/%s.ok", name);
        if (access(source_path(file), R_OK) == 0) {
            ck_assert_msg(takes, "%s is good", name);
            good++;
        } else if (refused_by_form(name)) {
            ck_assert_msg(!takes, "%s is bad", name);
            bad++;
        }
    }
    (void)closedir(dir);
    json_decref(schema);
    ck_assert_uint_ge(good, 4);
    ck_assert_uint_ge(bad, 35);
}
END_TEST

/* What is printed is the same configuration, all keys of it. */
START_TEST(takes_the_example_and_what_is_printed)
{
    static const char *const files[] = {"config/pglend.json", "tests/config/full.ok", "tests/config/minimal.ok",
                                        "tests/config/regulated.ok"};
    json_t *schema = load("config/pglend.schema.json");

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        json_t *config = load(files[i]);

        ck_assert_ptr_nonnull(config);
        ck_assert_msg(valid(schema, config), "%s", files[i]);
        json_decref(config);
    }
    json_decref(schema);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema");
    TCase *tc = harness_case(suite, "schema", 20);

    tcase_add_test(tc, judges_as_the_daemon_does);
    tcase_add_test(tc, takes_the_example_and_what_is_printed);
    return harness_main(suite);
}
