/* SPDX-License-Identifier: ISC */
/*
 * keeper_reload.c - take over a configuration that was read again, all of it or nothing.
 *
 * The hard thing: some keys cannot change while the daemon runs. They keep their old values, in the keeper and in
 * what the supervisor gets, and the answer to the reload says so key by key.
 */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RELOAD_BOUND_MS 10000 /* a user directory may have to answer */
#define POOLS_PREFIX    "pools."

static struct message out;

int keeper_config_file(const struct config *config)
{
    json_t *json = config_json(config);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(2));
    size_t length = text == NULL ? 0 : strlen(text);
    int fd = memfd_create("pglend-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    json_decref(json);
    if (fd != -1 && (length == 0 || write(fd, text, length) != (ssize_t)length ||
                     fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == -1)) {
        (void)close(fd);
        fd = -1;
    }
    free(text);
    return fd;
}

static void reloaded(struct keeper *k, const char *refusal, const char *changes)
{
    if (refusal != NULL)
        log_error("reload refused, nothing changed: %s", refusal);
    message_make(&out, MESSAGE_RELOADED, NULL, 0, refusal != NULL ? refusal : changes);
    out.status = refusal != NULL;
    keeper_tell(k, &out, -1);
}

/* ---- what changes ---- */

struct comparison {
    json_t *old, *new; /* normalised; new becomes what will be in force */
    json_t *changes;
};

/* The pool that PATH begins with: names may have dots, so the longest one. */
static const char *pool_of(json_t *pools, const char *path)
{
    const char *name, *best = NULL;
    json_t *value;

    json_object_foreach(pools, name, value)
    {
        size_t length = strlen(name);

        if (strncmp(path, name, length) == 0 && path[length] == '.' && (best == NULL || length > strlen(best)))
            best = name;
    }
    return best;
}

/* The object that has the last key of PATH, and that key; NULL if it is not there. WHOLE_POOL: that is the pool. */
static json_t *holder_of(json_t *root, const char *path, bool whole_pool, const char **key)
{
    json_t *at = root;
    const char *dot;

    if (strncmp(path, POOLS_PREFIX, sizeof POOLS_PREFIX - 1) == 0) {
        at = json_object_get(root, "pools");
        path += sizeof POOLS_PREFIX - 1;
        if (!whole_pool) {
            const char *pool = pool_of(at, path);

            at = pool == NULL ? NULL : json_object_get(at, pool);
            path += pool == NULL ? 0 : strlen(pool) + 1;
        }
    }
    for (; !whole_pool && (dot = strchr(path, '.')) != NULL; path = dot + 1)
        at = json_object_getn(at, path, (size_t)(dot - path));
    *key = path;
    return at;
}

static void note_change(void *context, const char *path, const char *old, const char *new, const char *takes)
{
    struct comparison *c = context;
    bool whole_pool = old == NULL || new == NULL;
    const char *old_key, *new_key;
    json_t *old_holder = holder_of(c->old, path, whole_pool, &old_key);
    json_t *new_holder = holder_of(c->new, path, whole_pool, &new_key);
    json_t *old_value = json_object_get(old_holder, old_key);

    log_info("reload: %s: %s -> %s: %s", path, old == NULL ? "absent" : old, new == NULL ? "absent" : new, takes);
    (void)json_array_append_new(
        c->changes, json_pack("{s:s, s:s?, s:s?, s:s}", "key", path, "old", old, "new", new, "takes", takes));
    if (strcmp(takes, CHANGE_RESTART) != 0)
        return;
    if (old_value == NULL)
        (void)json_object_del(new_holder, new_key);
    else
        (void)json_object_set_new(new_holder, new_key, json_deep_copy(old_value));
}

/* NEW with the old values of the keys that need a restart; NULL with a message. */
static struct config *merge(const struct config *old, const struct config *new, char **changes,
                            char error[CONFIG_ERROR_MAX])
{
    struct comparison c = {config_json(old), config_json(new), json_array()};
    struct config *merged = NULL;
    char *text = NULL;

    config_compare(old, new, note_change, &c);
    text = json_dumps(c.new, JSON_INDENT(2));
    *changes = json_dumps(c.changes, JSON_COMPACT);
    if (text != NULL && *changes != NULL)
        merged = config_parse(old->path, text, strlen(text), error);
    else
        (void)snprintf(error, CONFIG_ERROR_MAX, "out of memory");
    free(text);
    json_decref(c.old);
    json_decref(c.new);
    json_decref(c.changes);
    return merged;
}

/* ---- taking over ---- */

static bool logs_in_otherwise(const struct pool_config *old, const struct pool_config *new)
{
    json_t *before = config_pool_json(old), *after = config_pool_json(new);
    bool other = !json_equal(json_object_get(before, "database"), json_object_get(after, "database"));

    json_decref(before);
    json_decref(after);
    return other;
}

/* NAMES (taken over): of its access lists. */
static void put_in_force(struct keeper *k, struct config *config, char *names, const char *changes)
{
    int fd;

    for (size_t i = 0; i < k->pools; i++) {
        const struct pool_config *old = k->pool[i].config, *next = config_pool(config, old->name);

        keeper_judge_secret(&k->pool[i], next);
        k->pool[i].config = next;
        if (logs_in_otherwise(old, next))
            keeper_password_anew(&k->pool[i], k);
    }
    config_free(k->config);
    k->config = config;
    free(k->names);
    k->names = names;
    log_set((enum log_level)config->log_level, (enum log_format)config->log_format);
    fd = keeper_config_file(config);
    if (fd == -1) {
        /* A successor of the supervisor gets it; this one goes on with what it has. */
        reloaded(k, strerror(errno), NULL);
        return;
    }
    message_make(&out, MESSAGE_CONFIG, NULL, 0, k->names);
    keeper_tell(k, &out, fd);
    (void)close(fd);
    log_info("configuration reloaded");
    reloaded(k, NULL, changes);
}

static char *read_memory_file(int fd)
{
    struct stat st;
    char *text;

    if (fstat(fd, &st) == -1 || st.st_size <= 0 || st.st_size > CONFIG_FILE_MAX)
        return NULL;
    text = calloc(1, (size_t)st.st_size + 1);
    if (text != NULL && pread(fd, text, (size_t)st.st_size, 0) != st.st_size) {
        free(text);
        return NULL;
    }
    return text;
}

static void take_over(struct keeper *k, const char *names, int fd)
{
    char error[CONFIG_ERROR_MAX] = "the parsed configuration cannot be read", *changes = NULL;
    char *text = read_memory_file(fd);
    struct config *new = text == NULL ? NULL : config_parse(k->config->path, text, strlen(text), error);
    struct config *merged = new == NULL ? NULL : merge(k->config, new, &changes, error);
    /* A pool that is not in the new file goes on with its old access list. */
    char *all_names = names_merge(k->names, names);
    char why[CONFIG_ERROR_MAX + 64];

    (void)snprintf(why, sizeof why, "%s%s",
                   new == NULL ? "" : "keys that need a restart kept their old values, and then: ", error);
    if (merged != NULL && all_names != NULL) {
        put_in_force(k, merged, all_names, changes);
    } else {
        reloaded(k, why, NULL);
        free(all_names);
        config_free(merged);
    }
    free(changes);
    free(text);
    config_free(new);
}

static void reload_receive(struct child *c, const struct message *m, int fd)
{
    if (!c->answered) {
        c->answered = true;
        if (m->verb == MESSAGE_CONFIG && fd != -1)
            take_over(c->keeper, m->text, fd);
        else
            reloaded(c->keeper, m->text, NULL);
    }
    if (fd != -1)
        (void)close(fd);
}

static void reload_ended(struct child *c, const char *how)
{
    struct keeper *k = c->keeper;
    char text[128];

    (void)snprintf(text, sizeof text, "the process that read it ended: %s", how);
    if (!c->answered)
        reloaded(k, text, NULL);
    k->reload = NULL;
    if (k->reload_again) {
        k->reload_again = false;
        keeper_reload(k);
    }
}

static const struct child_kind reload_kind = {.role = "config", .receive = reload_receive, .ended = reload_ended};

void keeper_reload(struct keeper *k)
{
    char error[256];

    /* The file may have changed after it was read: once more when that is done. */
    if (k->reload != NULL) {
        k->reload_again = true;
        return;
    }
    if (k->phase != KEEPER_SERVING) {
        reloaded(k, "shutting down", NULL);
        return;
    }
    log_info("reading %s again", k->config->path);
    k->reload = child_start(k, &reload_kind, NULL, error, sizeof error);
    if (k->reload == NULL) {
        reloaded(k, error, NULL);
        return;
    }
    child_bound(k->reload, RELOAD_BOUND_MS);
    if (child_give_job(k->reload, "config", json_pack("{s:s}", "path", k->config->path)) == -1)
        child_kill(k->reload);
}
