/* SPDX-License-Identifier: ISC */
/*
 * trail.c - an audit trail for a scene, and invariant I5: each lease has one begin and one end.
 *
 * The hard thing: the audit process writes what it reads a moment later, and a trail that is written may end in half a
 * line; so what is asked of it is waited for.
 */
#include "crash/crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[128];

/* Of the present trail, by trail_is_exact(). */
static struct {
    unsigned file; /* number of the file that is read */
    long at;       /* where its next line begins */
    json_t *open;  /* leases that are not known to have one begin and one end */
    uint64_t begun;
} looked;

void trail_begin(char *settings, size_t size, const char *more)
{
    char command[600];
    uid_t uid;
    gid_t gid;

    (void)snprintf(directory, sizeof directory, "%s/trail-XXXXXX", harness_directory());
    ck_assert_ptr_nonnull(mkdtemp(directory));
    json_decref(looked.open);
    looked.file = 1;
    looked.at = 0;
    looked.open = json_object();
    looked.begun = 0;
    harness_unprivileged(&uid, &gid);
    ck_assert_int_eq(chown(directory, uid, gid), 0);
    (void)snprintf(command, sizeof command, "timeout 20 %s audit init --key-out %s.key %s 2>/dev/null",
                   harness_product("pglend"), directory, directory);
    ck_assert_msg(system(command) == 0, "failed: %s", command);
    (void)snprintf(settings, size, ", 'audit': {'directory': '%s', 'window': '5ms'%s}", directory,
                   more != NULL ? more : "");
}

static json_t *read_trail(void)
{
    char command[400];
    json_t *records;
    FILE *report;

    (void)snprintf(command, sizeof command, "timeout 60 %s audit report --json %s 2>/dev/null",
                   harness_product("pglend"), directory);
    ck_assert_ptr_nonnull(report = popen(command, "re"));
    records = json_loadf(report, 0, NULL);
    (void)pclose(report);
    return records;
}

bool trail_verifies(struct scene *scene)
{
    char command[400];

    (void)snprintf(command, sizeof command, "timeout 60 %s audit verify --key %s.key %s >/dev/null 2>&1",
                   harness_product("pglend"), directory, directory);
    if (system(command) == 0) /* NOLINT(cert-env33-c) */
        return true;
    (void)snprintf(scene->why, sizeof scene->why, "I5: failed: %s", command);
    return false;
}

enum { BEGIN, END, RECLAIMED, REVOKED, EVENTS, PID = EVENTS, OTHERS };

static void note(json_t *leases, const json_t *record)
{
    static const char *const events[EVENTS] = {"lease.begin", "lease.end", "lease.reclaimed", "lease.revoked"};
    const char *event = json_string_value(json_object_get(record, "event"));
    const char *lease = json_string_value(json_object_get(record, "lease"));
    json_int_t pid = json_integer_value(json_object_get(record, "pid"));
    json_t *counts = json_object_get(leases, lease);

    for (size_t i = 0; i < EVENTS && lease != NULL; i++) {
        if (strcmp(event, events[i]) != 0)
            continue;
        if (counts == NULL)
            json_object_set_new(leases, lease, counts = json_pack("[iiiiIi]", 0, 0, 0, 0, pid, 0));
        if (pid != 0 && json_integer_value(json_array_get(counts, PID)) != pid)
            json_array_set_new(counts, OTHERS, json_integer(pid));
        json_array_set_new(counts, i, json_integer(json_integer_value(json_array_get(counts, i)) + 1));
    }
}

/* It is one process's, as far as that is said. */
static bool is_exact(const json_t *counts)
{
    json_int_t n[OTHERS + 1];

    for (size_t i = 0; i <= OTHERS; i++)
        n[i] = json_integer_value(json_array_get(counts, i));
    return n[BEGIN] == 1 && n[END] + n[RECLAIMED] + n[REVOKED] == 1 && n[OTHERS] == 0;
}

bool trail_balances(struct scene *scene)
{
    json_t *records = read_trail(), *leases = json_object(), *record, *counts;
    bool right = true;
    const char *lease;
    size_t i;

    json_array_foreach(records, i, record) note(leases, record);
    json_object_foreach(leases, lease, counts)
    {
        char *text = is_exact(counts) ? NULL : json_dumps(counts, JSON_COMPACT);

        if (text == NULL)
            continue;
        (void)snprintf(scene->why, sizeof scene->why,
                       "I5: lease %s [begins, ends, reclaimed, revoked, pid, another's pid] %s", lease, text);
        free(text);
        right = false;
    }
    if (json_object_size(leases) == 0) {
        (void)snprintf(scene->why, sizeof scene->why, "I5: the trail has no lease at all");
        right = false;
    }
    json_decref(leases);
    json_decref(records);
    return right;
}

/* ---- after each point ---- */

static FILE *open_file(unsigned number)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/audit-%08u.jsonl", directory, number);
    return fopen(path, "re");
}

/* Note what has been written since the last time: whole lines. */
static void read_on(void)
{
    FILE *file = open_file(looked.file), *next;
    char *line = NULL;
    size_t size = 0;
    ssize_t length;

    while (file != NULL) {
        (void)fseek(file, looked.at, SEEK_SET);
        while ((length = getline(&line, &size, file)) > 0 && line[length - 1] == '\n') {
            json_t *record = json_loads(line, 0, NULL);
            const char *event = json_string_value(json_object_get(record, "event"));

            looked.begun += event != NULL && strcmp(event, "lease.begin") == 0;
            note(looked.open, record);
            json_decref(record);
            looked.at += length;
        }
        (void)fclose(file);
        if ((next = open_file(looked.file + 1)) != NULL) {
            looked.file++;
            looked.at = 0;
        }
        file = next;
    }
    free(line);
}

/* As whoever lends them has counted them. */
static uint64_t leases_begun(const struct segment *s)
{
    uint64_t begun = 0;

    for (unsigned i = 0; i < STATS_STRIPES; i++)
        for (unsigned b = 0; b < STATS_BUCKETS; b++)
            begun += atomic_load_explicit(&s->stripe[i].wait.bucket[b], memory_order_relaxed);
    return begun;
}

bool trail_is_exact(struct scene *scene)
{
    uint64_t counted = leases_begun(&scene->segment);
    const char *lease;
    json_t *counts;
    void *next;

    read_on();
    json_object_foreach_safe(looked.open, next, lease, counts)
    {
        char *text = is_exact(counts) ? NULL : json_dumps(counts, JSON_COMPACT);

        if (text == NULL) {
            (void)json_object_del(looked.open, lease); /* whatever is still written of it is too much */
            continue;
        }
        (void)snprintf(scene->why, sizeof scene->why,
                       "I5: lease %s [begins, ends, reclaimed, revoked, pid, another's pid] %s", lease, text);
        free(text);
    }
    if (json_object_size(looked.open) > 0)
        return false;
    (void)snprintf(scene->why, sizeof scene->why, "I5: %llu leases were lent, %llu have begun in the trail",
                   (unsigned long long)counted, (unsigned long long)looked.begun);
    if (looked.begun < counted)
        return false;
    looked.begun =
        counted; /* who dies just then has not counted what it recorded; nor is what could not be used counted */
    return true;
}
