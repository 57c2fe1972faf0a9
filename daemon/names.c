/* SPDX-License-Identifier: ISC */
/*
 * names.c - the users and groups that the configuration names, as numbers.
 *
 * The hard thing: a directory service may take its time, and whoever waits for it serves nobody meanwhile. So names are
 * looked up by the process that reads the configuration, once; what the others get is a table. One that does not exist
 * is in it too, as null, and admits nobody.
 */
#include "daemon.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define NSS_BUFFER_LEAST 4096
#define NSS_BUFFER_MOST  (1 << 22) /* a group of very many members */

/* {"users": {NAME: NUMBER or null}, "groups": {…}}; NULL: nothing has been taken yet. */
static json_t *known;

/* ---- looking up ---- */

typedef int look_up(const char *name, char *buffer, size_t size, json_int_t *id);

static int look_up_user(const char *name, char *buffer, size_t size, json_int_t *id)
{
    struct passwd entry, *found = NULL;
    int error = getpwnam_r(name, &entry, buffer, size, &found);

    if (found == NULL)
        return error == 0 ? ENOENT : error;
    *id = found->pw_uid;
    return 0;
}

static int look_up_group(const char *name, char *buffer, size_t size, json_int_t *id)
{
    struct group entry, *found = NULL;
    int error = getgrnam_r(name, &entry, buffer, size, &found);

    if (found == NULL)
        return error == 0 ? ENOENT : error;
    *id = found->gr_gid;
    return 0;
}

static const struct kind {
    const char *key, *word;
    look_up *look_up;
} user_kind = {"users", "user", look_up_user}, group_kind = {"groups", "group", look_up_group};

/* All digits: an id, and never a name. */
static bool is_number(const char *text, unsigned long *number)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *number = strtoul(text, &end, 10);
    return *end == '\0' && errno == 0 && *number < UINT32_MAX;
}

static json_t *resolve_name(const struct kind *kind, const char *name)
{
    json_int_t id = 0;
    int error = ERANGE;

    for (size_t size = NSS_BUFFER_LEAST; error == ERANGE && size <= NSS_BUFFER_MOST; size *= 4) {
        char *buffer = malloc(size);

        error = buffer == NULL ? ENOMEM : kind->look_up(name, buffer, size, &id);
        free(buffer);
    }
    if (error == 0)
        return json_integer(id);
    log_warning("%s \"%s\" of the access lists %s%s: it admits nobody until the configuration is read again",
                kind->word, name,
                error == ENOENT ? "does not exist" : "cannot be looked up: ", error == ENOENT ? "" : strerror(error));
    return json_null();
}

static void resolve_list(json_t *names, const struct kind *kind, const struct string_list *list)
{
    json_t *table = json_object_get(names, kind->key);
    unsigned long number;

    for (size_t i = 0; i < list->count; i++)
        if (!is_number(list->item[i], &number) && json_object_get(table, list->item[i]) == NULL)
            (void)json_object_set_new(table, list->item[i], resolve_name(kind, list->item[i]));
}

static void resolve_access(json_t *names, const struct access_config *access)
{
    resolve_list(names, &user_kind, &access->users);
    resolve_list(names, &group_kind, &access->groups);
}

char *names_resolve(const struct config *config)
{
    json_t *names = json_pack("{s:{}, s:{}}", user_kind.key, group_kind.key);
    char *text;

    resolve_access(names, &config->admin_read);
    resolve_access(names, &config->admin_operate);
    resolve_access(names, &config->admin_control);
    resolve_access(names, &config->admin_override);
    for (size_t i = 0; i < config->pools; i++)
        resolve_access(names, &config->pool[i].access);
    text = json_dumps(names, JSON_COMPACT);
    json_decref(names);
    if (text == NULL || strlen(text) < MESSAGE_TEXT_MAX)
        return text;
    free(text);
    errno = E2BIG;
    return NULL;
}

char *names_merge(const char *old, const char *new)
{
    static const struct kind *const kinds[] = {&user_kind, &group_kind};
    json_t *merged = json_loads(old, 0, NULL), *more = json_loads(new, 0, NULL);
    char *text;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        (void)json_object_update(json_object_get(merged, kinds[i]->key), json_object_get(more, kinds[i]->key));
    text = merged == NULL ? NULL : json_dumps(merged, JSON_COMPACT);
    json_decref(merged);
    json_decref(more);
    if (text != NULL && strlen(text) < MESSAGE_TEXT_MAX)
        return text;
    free(text);
    return strdup(new);
}

/* ---- the table ---- */

void names_take(const char *text)
{
    json_t *now = json_loads(text, 0, NULL);

    if (now == NULL) {
        log_error("the names of users and groups are not to be read: those of before stay in force");
        return;
    }
    json_decref(known);
    known = now;
}

static bool number_of(const struct kind *kind, const char *name, unsigned long *number)
{
    const json_t *id = json_object_get(json_object_get(known, kind->key), name);

    if (is_number(name, number))
        return true;
    *number = (unsigned long)json_integer_value(id);
    return json_is_integer(id);
}

bool names_user_is(const char *name, uid_t uid)
{
    unsigned long number;

    return number_of(&user_kind, name, &number) && number == uid;
}

bool names_group(const char *name, gid_t *gid)
{
    unsigned long number;

    if (!number_of(&group_kind, name, &number))
        return false;
    *gid = (gid_t)number;
    return true;
}

const char *names_of_user(uid_t uid, char out[64])
{
    json_t *users = json_object_get(known, user_kind.key), *id;
    const char *name;

    if (uid == 0)
        (void)snprintf(out, 64, "root");
    else
        (void)snprintf(out, 64, "%u", (unsigned)uid);
    json_object_foreach(users, name, id)
    {
        if (json_is_integer(id) && json_integer_value(id) == (json_int_t)uid)
            (void)snprintf(out, 64, "%s", name);
    }
    return out;
}
