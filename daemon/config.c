/* SPDX-License-Identifier: ISC */
/*
 * config.c - read the configuration file into a struct config.
 *
 * A pool is filled three times over: from the table, from "defaults", from its own object; what comes later wins. A
 * config is built whole and checked before anybody sees it, so a bad one never replaces a good one.
 */
#include "config_table.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool size_given(const json_t *pool, const char *key)
{
    return json_object_get(json_object_get(pool, "size"), key) != NULL;
}

/* A min or limit that nobody wrote follows the max that somebody did. */
static void fit_size(struct pool_config *pool, const json_t *defaults, const json_t *json)
{
    if (!size_given(defaults, "min") && !size_given(json, "min") && pool->size_min > pool->size_max)
        pool->size_min = pool->size_max;
    if (!size_given(defaults, "limit") && !size_given(json, "limit") && pool->size_limit < pool->size_max)
        pool->size_limit = pool->size_max;
}

static bool apply_defaults(struct config_parse *p, const json_t *defaults, struct pool_config *pool)
{
    struct config_parse at = *p;

    if (defaults == NULL)
        return true;
    at.key[0] = "defaults";
    at.depth = 1;
    return config_apply(&at, SCOPE_POOL, defaults, pool, false);
}

/* P is at the pool: pools.NAME. */
static bool read_pool(struct config_parse *p, const json_t *defaults, const char *name, const json_t *json,
                      enum profile profile, struct pool_config *pool)
{
    bool regulated = profile == PROFILE_REGULATED;

    if (!config_check_pool_name(p, name))
        return false;
    if ((pool->name = strdup(name)) == NULL)
        return config_fail(p, "out of memory");
    if (!config_fill(p, SCOPE_POOL, pool) || (regulated && !config_profile_fill(p, SCOPE_POOL, pool)) ||
        !apply_defaults(p, defaults, pool) || !config_apply(p, SCOPE_POOL, json, pool, true) ||
        (regulated && !config_profile_settle(p, pool)))
        return false;
    fit_size(pool, defaults, json);
    return true;
}

static void clear_pool(struct pool_config *pool)
{
    config_clear(SCOPE_POOL, pool);
    free(pool->name);
}

static bool read_pools(struct config_parse *p, const json_t *defaults, const json_t *pools, struct config *config)
{
    const char *name;
    json_t *json;

    p->key[0] = "pools";
    p->depth = 1;
    if (pools != NULL && !json_is_object(pools))
        return config_fail(p, "this is not an object; write {\"NAME\": {\"database\": {...}}}");
    if ((config->pool = calloc(json_object_size(pools) + 1, sizeof *config->pool)) == NULL)
        return config_fail(p, "out of memory");
    p->depth = 2;
    json_object_foreach((json_t *)pools, name, json)
    {
        if (strcmp(name, "comment") == 0)
            continue;
        p->key[1] = name;
        if (!read_pool(p, defaults, name, json, (enum profile)config->profile, &config->pool[config->pools++]))
            return false;
    }
    p->depth = 0;
    return true;
}

/* The profile first: it tells all at once, and more than what it asks for is checked of each pool alone. */
static bool check_pools(struct config_parse *p, struct config *config)
{
    struct config_parse at = *p;

    if (!config_profile_check(p, config))
        return false;
    at.key[0] = "pools";
    at.depth = 2;
    for (size_t i = 0; i < config->pools; i++) {
        at.key[1] = config->pool[i].name;
        if (!config_check_pool(&at, &config->pool[i]))
            return false;
    }
    return true;
}

/* Its defaults stand before what the file says: where there is a profile the file is read once more, over them. */
static bool read_file_keys(struct config_parse *p, const json_t *root, struct config *config)
{
    if (!config_fill(p, SCOPE_FILE, config) || !config_apply(p, SCOPE_FILE, root, config, true))
        return false;
    return config->profile != PROFILE_REGULATED ||
           (config_profile_fill(p, SCOPE_FILE, config) && config_apply(p, SCOPE_FILE, root, config, true));
}

/* "pools" and "defaults" are no rows: they are taken out of ROOT, and what remains must be rows. */
static bool read_root(struct config_parse *p, json_t *root, struct config *config)
{
    json_t *defaults = json_incref(json_object_get(root, "defaults"));
    json_t *pools = json_incref(json_object_get(root, "pools"));

    json_object_del(root, "defaults");
    json_object_del(root, "pools");
    bool ok = read_file_keys(p, root, config) && read_pools(p, defaults, pools, config) && check_pools(p, config) &&
              config_check_file(p, config);
    json_decref(defaults);
    json_decref(pools);
    return ok;
}

static json_t *read_json(const char *path, const char *text, size_t length, char error[CONFIG_ERROR_MAX])
{
    json_error_t e = {.line = 0}; /* out of memory, jansson may leave it alone */
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &e);

    if (root != NULL)
        return root;
    const char *what = "this is not JSON";
    if (json_error_code(&e) == json_error_duplicate_key)
        what = "a key stands twice in one object; remove one of the two";
    else if (json_error_code(&e) == json_error_numeric_overflow)
        what = "this number is too big; no key takes it";
    snprintf(error, CONFIG_ERROR_MAX, "%.200s:%d:%d: %s (%s)", path, e.line < 1 ? 1 : e.line,
             e.column < 1 ? 1 : e.column, what, e.text[0] == '\0' ? "out of memory" : e.text);
    return NULL;
}

struct config *config_parse(const char *path, const char *text, size_t length, char error[CONFIG_ERROR_MAX])
{
    struct config_parse p = {.path = path, .text = text, .length = length, .error = error};
    struct config *config = NULL;
    bool ok = false;

    error[0] = '\0';
    json_t *root = read_json(path, text, length, error);
    if (root == NULL)
        return NULL;
    if ((config = calloc(1, sizeof *config)) == NULL || (config->path = strdup(path)) == NULL)
        config_fail(&p, "out of memory");
    else
        ok = read_root(&p, root, config);
    json_decref(root);
    if (ok)
        return config;
    config_free(config);
    return NULL;
}

/* Read the open file whole: a length, or -1 with errno. */
static ssize_t read_text(int fd, char *text, size_t size)
{
    size_t length = 0;

    while (length < size) {
        ssize_t n = read(fd, text + length, size - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        length += (size_t)n;
    }
    return (ssize_t)length;
}

struct config *config_load(const char *path, char error[CONFIG_ERROR_MAX])
{
    struct config *config = NULL;
    char *text = NULL;
    ssize_t length;
    struct stat st;
    /* Not blocking, so that a FIFO by mistake is an error and no wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%.200s: cannot open the configuration: %s; name another with -c FILE", path,
                 strerror(errno));
        goto done;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > CONFIG_FILE_MAX) {
        snprintf(error, CONFIG_ERROR_MAX, "%.200s: the configuration must be a regular file of at most %d bytes", path,
                 CONFIG_FILE_MAX);
        goto done;
    }
    if ((text = malloc(CONFIG_FILE_MAX)) == NULL || (length = read_text(fd, text, CONFIG_FILE_MAX)) < 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%.200s: cannot read the configuration: %s", path, strerror(errno));
        goto done;
    }
    config = config_parse(path, text, (size_t)length, error);
done:
    free(text);
    if (fd >= 0)
        close(fd);
    return config;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->pools; i++)
        clear_pool(&config->pool[i]);
    free(config->pool);
    config_clear(SCOPE_FILE, config);
    free(config->path);
    free(config);
}

struct pool_config *config_pool_parse(const char *name, json_t *pool, char error[CONFIG_ERROR_MAX])
{
    struct config_parse p = {.key = {"pools", name}, .depth = 2, .error = error};
    struct pool_config *made = calloc(1, sizeof *made);

    error[0] = '\0';
    if (made == NULL) {
        config_fail(&p, "out of memory");
        return NULL;
    }
    if (read_pool(&p, NULL, name, pool, PROFILE_NONE, made) && config_check_pool(&p, made))
        return made;
    config_pool_free(made);
    return NULL;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written through what is made of it */
bool config_audit_parse(const json_t *audit, struct config *config, char error[CONFIG_ERROR_MAX])
{
    struct config_parse p = {.error = error};
    json_t *root = json_pack("{s:O}", "audit", (json_t *)audit);
    bool ok = config_fill(&p, SCOPE_FILE, config) && root != NULL && config_apply(&p, SCOPE_FILE, root, config, true);

    json_decref(root);
    return ok;
}

void config_pool_free(struct pool_config *pool)
{
    if (pool == NULL)
        return;
    clear_pool(pool);
    free(pool);
}

const struct pool_config *config_pool(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->pools; i++)
        if (strcmp(config->pool[i].name, name) == 0)
            return &config->pool[i];
    return NULL;
}

const char *config_password_path(const struct pool_config *pool)
{
    const struct database_config *database = &pool->database;
    static char path[PATH_MAX];

    if (*database->password_credential != '\0') {
        const char *directory = getenv(CREDENTIALS);

        (void)snprintf(path, sizeof path, "%s/%s", directory != NULL ? directory : "", database->password_credential);
        return path;
    }
    return *database->password_file != '\0' ? database->password_file : database->passfile;
}
