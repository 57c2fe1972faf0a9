/* SPDX-License-Identifier: ISC */
/*
 * config_parse.c - read JSON objects by the table, and say what is wrong with them.
 *
 * The parse carries the keys that lead to where it is; a message is made from them: the position in the text, the path,
 * what is wrong and what may be written instead. What a message repeats from the file is clipped, and never what may
 * be a password.
 */
#include "admin.h"
#include "config_table.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CLIP       64 /* bytes of a key or value that a message repeats */
#define KNOWN_MAX  32 /* keys of one object */
#define KNOWN_SIZE 48

/* Where config_apply() reads to: row paths begin at key[base]. */
struct target {
    enum config_scope scope;
    size_t base;
    void *object;
    bool own;
};

/* ---- messages ---- */

/* Append TEXT to OUT, its control characters replaced, cut after CLIP bytes at the end of a character. */
static void append_clipped(char out[CONFIG_TEXT_MAX], const char *text)
{
    size_t used = strlen(out);
    size_t length = strlen(text);
    size_t kept = length;

    if (length > CLIP)
        for (kept = CLIP; kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80; kept--)
            ;
    if (used + kept + sizeof "..." > CONFIG_TEXT_MAX)
        return;
    for (size_t i = 0; i < kept; i++)
        out[used++] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    snprintf(out + used, CONFIG_TEXT_MAX - used, "%s", kept < length ? "..." : "");
}

static void path_text(const struct config_parse *p, char out[CONFIG_TEXT_MAX])
{
    out[0] = '\0';
    for (size_t i = 0; i < p->depth; i++) {
        if (i > 0)
            append_clipped(out, ".");
        append_clipped(out, p->key[i]);
    }
}

static void value_text(const json_t *value, char out[CONFIG_TEXT_MAX])
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    out[0] = '\0';
    append_clipped(out, text == NULL ? "?" : text);
    free(text);
}

static void fail(struct config_parse *p, const char *what)
{
    char path[CONFIG_TEXT_MAX];
    size_t used = 0;

    if (p->text != NULL) {
        struct config_position at = config_locate(p->text, p->length, p->key, p->depth);

        used = (size_t)snprintf(p->error, CONFIG_ERROR_MAX, "%.200s:%d:%d: ", p->path, at.line, at.column);
    }
    path_text(p, path);
    if (p->depth > 0)
        used += (size_t)snprintf(p->error + used, CONFIG_ERROR_MAX - used, "\"%.400s\": ", path);
    snprintf(p->error + used, CONFIG_ERROR_MAX - used, "%s", what);
}

bool config_fail(struct config_parse *p, const char *format, ...)
{
    char what[CONFIG_ERROR_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    fail(p, what);
    return false;
}

bool config_fail_key(struct config_parse *p, const char *path, const char *format, ...)
{
    char names[CONFIG_NAME_MAX], what[CONFIG_ERROR_MAX];
    char *rest = names;
    size_t depth = p->depth;
    va_list args;

    snprintf(names, sizeof names, "%s", path);
    while (rest != NULL && p->depth < CONFIG_DEPTH)
        p->key[p->depth++] = strsep(&rest, ".");
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    fail(p, what);
    p->depth = depth;
    return false;
}

static bool fail_value(struct config_parse *p, const struct config_row *row, const json_t *value)
{
    char wrong[CONFIG_TEXT_MAX], right[CONFIG_TEXT_MAX];

    value_text(value, wrong);
    row->kind->describe(row, right);
    if (row->secret)
        return config_fail(p, "what is written here (not repeated: it may be a secret) is not valid; write %s", right);
    return config_fail(p, "%s is not valid; write %s", wrong, right);
}

/* ---- rows ---- */

/* How much of ROW's path the COUNT keys are: all of it, its beginning, or none of it. */
enum match { MATCH_NOT, MATCH_GROUP, MATCH_ROW };

static enum match match(const struct config_row *row, const char *const *keys, size_t count, const char **rest)
{
    const char *path = row->path;

    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(path, ".");

        if (strlen(keys[i]) != length || strncmp(path, keys[i], length) != 0)
            return MATCH_NOT;
        path += length;
        if (*path == '\0')
            return i + 1 == count ? MATCH_ROW : MATCH_NOT;
        path++;
    }
    *rest = path;
    return MATCH_GROUP;
}

/* The row that the parse is at. *GROUP: it is at an object that has rows in it. */
static const struct config_row *row_here(const struct config_parse *p, const struct target *t, bool *group)
{
    const char *rest;

    *group = false;
    for (size_t i = 0; i < config_rows; i++) {
        if (config_row[i].scope != t->scope)
            continue;
        switch (match(&config_row[i], p->key + t->base, p->depth - t->base, &rest)) {
        case MATCH_ROW:
            return &config_row[i];
        case MATCH_GROUP:
            *group = true;
            break;
        case MATCH_NOT:
            break;
        }
    }
    return NULL;
}

/* The keys that the object round the parse's last key may have. */
struct known {
    char name[KNOWN_MAX][KNOWN_SIZE];
    size_t count;
};

static void known_add(struct known *known, const char *name, size_t length)
{
    char *last = known->count == 0 ? NULL : known->name[known->count - 1];

    if (known->count == KNOWN_MAX || length >= KNOWN_SIZE)
        return;
    if (last != NULL && strlen(last) == length && strncmp(last, name, length) == 0)
        return;
    snprintf(known->name[known->count++], KNOWN_SIZE, "%.*s", (int)length, name);
}

static void known_here(const struct config_parse *p, const struct target *t, struct known *known)
{
    const char *rest;

    known->count = 0;
    for (size_t i = 0; i < config_rows; i++)
        if (config_row[i].scope == t->scope &&
            match(&config_row[i], p->key + t->base, p->depth - 1 - t->base, &rest) == MATCH_GROUP)
            known_add(known, rest, strcspn(rest, "."));
    if (t->scope == SCOPE_FILE && p->depth == 1) {
        known_add(known, "defaults", strlen("defaults"));
        known_add(known, "pools", strlen("pools"));
    }
}

static bool fail_unknown(struct config_parse *p, const struct target *t)
{
    const char *key = p->key[p->depth - 1];
    struct nearest nearest = {.word = key};
    struct known known;
    char all[CONFIG_TEXT_MAX] = "";

    if (t->scope == SCOPE_POOL && strcmp(p->key[t->base], "database") == 0 && strstr(key, "password") != NULL)
        return config_fail(p, "a password is never written into the configuration; put it into a file of its own and "
                              "name that file in \"password_file\"");
    known_here(p, t, &known);
    for (size_t i = 0; i < known.count; i++) {
        nearest_consider(&nearest, known.name[i]);
        append_clipped(all, i == 0 ? "" : ", ");
        append_clipped(all, known.name[i]);
    }
    if (nearest.best != NULL)
        return config_fail(p, "there is no such key; did you mean \"%s\"?", nearest.best);
    return config_fail(p, "there is no such key; those known here are %s", all);
}

/* ---- objects ---- */

static bool apply_object(struct config_parse *p, const struct target *t, const json_t *json);

static bool apply_key(struct config_parse *p, const struct target *t, const json_t *value)
{
    bool group;
    const struct config_row *row = row_here(p, t, &group);

    if (row == NULL)
        return group ? apply_object(p, t, value) : fail_unknown(p, t);
    if (row->own && !t->own)
        return config_fail(p, "this says which database a pool is; write it in the pool, not in the defaults");
    switch (row->kind->parse(row, value, t->object)) {
    case 0:
        return true;
    case ENOMEM:
        return config_fail(p, "out of memory");
    default:
        return fail_value(p, row, value);
    }
}

/* The recursion ends: a key that the table does not have as an object is not entered. */
static bool apply_object(struct config_parse *p, const struct target *t, const json_t *json)
{
    const char *key;
    json_t *value;
    char wrong[CONFIG_TEXT_MAX];

    if (!json_is_object(json)) {
        value_text(json, wrong);
        return config_fail(p, "%s is not valid; write an object, {...}", wrong);
    }
    json_object_foreach((json_t *)json, key, value)
    {
        if (strcmp(key, "comment") == 0)
            continue;
        p->key[p->depth++] = key;
        bool ok = apply_key(p, t, value);
        p->depth--;
        if (!ok)
            return false;
    }
    return true;
}

bool config_apply(struct config_parse *p, enum config_scope scope, const json_t *json, void *object, bool own)
{
    struct target target = {.scope = scope, .base = p->depth, .object = object, .own = own};

    return apply_object(p, &target, json);
}

bool config_fill(struct config_parse *p, enum config_scope scope, void *object)
{
    for (size_t i = 0; i < config_rows; i++) {
        const struct config_row *row = &config_row[i];

        if (row->scope != scope)
            continue;
        json_t *value = json_loads(row->fallback, JSON_DECODE_ANY, NULL);
        int failure = value == NULL ? ENOMEM : row->kind->parse(row, value, object);
        json_decref(value);
        if (failure != 0)
            return config_fail_key(p, row->path, "cannot set the default: %s", strerror(failure));
    }
    return true;
}

void config_clear(enum config_scope scope, void *object)
{
    for (size_t i = 0; i < config_rows; i++)
        if (config_row[i].scope == scope)
            config_row[i].kind->clear(&config_row[i], object);
}
