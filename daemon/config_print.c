/* SPDX-License-Identifier: ISC */
/*
 * config_print.c - what the table says, printed: the normalised configuration, the differences between two.
 *
 * The normalised form has every key, so that what a reader sees is what is in force; out of memory is never a shorter
 * configuration, but none.
 */
#include "config_table.h"
#include <stdlib.h>
#include <string.h>

/* Put VALUE (taken over) at PATH in ROOT, making the objects on the way. */
static bool put(json_t *root, const char *path, json_t *value)
{
    char names[CONFIG_NAME_MAX];
    char *rest = names;
    json_t *object = root;

    snprintf(names, sizeof names, "%s", path);
    for (;;) {
        const char *name = strsep(&rest, ".");

        if (rest == NULL)
            return json_object_set_new(object, name, value) == 0;
        if (json_object_get(object, name) == NULL)
            json_object_set_new(object, name, json_object());
        object = json_object_get(object, name);
    }
}

static json_t *scope_json(enum config_scope scope, const void *object)
{
    json_t *root = json_object();

    for (size_t i = 0; i < config_rows; i++) {
        const struct config_row *row = &config_row[i];

        if (row->scope == scope && !put(root, row->path, row->kind->json(row, object))) {
            json_decref(root);
            return NULL;
        }
    }
    return root;
}

json_t *config_pool_json(const struct pool_config *pool)
{
    return scope_json(SCOPE_POOL, pool);
}

json_t *config_json(const struct config *config)
{
    json_t *root = scope_json(SCOPE_FILE, config);
    json_t *pools = json_object();
    bool ok = true;

    for (size_t i = 0; i < config->pools; i++)
        ok = json_object_set_new(pools, config->pool[i].name, config_pool_json(&config->pool[i])) == 0 && ok;
    ok = json_object_set_new(root, "pools", pools) == 0 && ok;
    if (ok)
        return root;
    json_decref(root);
    return NULL;
}

/* ---- differences ---- */

struct comparison {
    config_change *change;
    void *context;
};

/* Report a difference between A and B (taken over; NULL: there is none). */
static void compare_json(const struct comparison *c, const char *path, json_t *a, json_t *b, enum config_takes takes)
{
    if (!json_equal(a, b)) {
        char *old = a == NULL ? NULL : json_dumps(a, JSON_ENCODE_ANY | JSON_COMPACT);
        char *new = b == NULL ? NULL : json_dumps(b, JSON_ENCODE_ANY | JSON_COMPACT);

        c->change(c->context, path, old, new, config_takes_name(takes));
        free(old);
        free(new);
    }
    json_decref(a);
    json_decref(b);
}

static void compare_scope(const struct comparison *c, enum config_scope scope, const char *prefix, const void *old,
                          const void *new)
{
    char path[CONFIG_TEXT_MAX];

    for (size_t i = 0; i < config_rows; i++) {
        const struct config_row *row = &config_row[i];
        json_t *before, *now;

        if (row->scope != scope)
            continue;
        snprintf(path, sizeof path, "%s%s", prefix, row->path);
        before = row->kind->json(row, old);
        now = row->kind->json(row, new);
        /* Each row has a value: none is want of memory, and no difference. */
        if (before != NULL && now != NULL) {
            compare_json(c, path, before, now, row->takes);
        } else {
            json_decref(before);
            json_decref(now);
        }
    }
}

static void compare_pool(const struct comparison *c, const struct pool_config *old, const struct pool_config *new)
{
    char path[CONFIG_NAME_MAX];

    snprintf(path, sizeof path, "pools.%s.", old->name);
    compare_scope(c, SCOPE_POOL, path, old, new);
}

/* A pool that only one of the two has; the other is NULL. */
static void note_pool(const struct comparison *c, const char *name, json_t *old, json_t *new)
{
    char path[CONFIG_NAME_MAX];

    snprintf(path, sizeof path, "pools.%s", name);
    compare_json(c, path, old, new, TAKES_RESTART);
}

void config_compare(const struct config *old, const struct config *new, config_change *change, void *context)
{
    struct comparison c = {change, context};

    compare_scope(&c, SCOPE_FILE, "", old, new);
    for (size_t i = 0; i < old->pools; i++) {
        const struct pool_config *pool = &old->pool[i], *now = config_pool(new, pool->name);

        if (now != NULL)
            compare_pool(&c, pool, now);
        else
            note_pool(&c, pool->name, config_pool_json(pool), NULL);
    }
    for (size_t i = 0; i < new->pools; i++)
        if (config_pool(old, new->pool[i].name) == NULL)
            note_pool(&c, new->pool[i].name, NULL, config_pool_json(&new->pool[i]));
}
