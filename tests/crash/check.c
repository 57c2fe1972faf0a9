/* SPDX-License-Identifier: ISC */
/*
 * check.c - the invariants I1 to I8 of tests/README.md after a fault, from outside: by what other workers get, by
 * pg_stat_activity, /proc, the segment's words and the administration's answers.
 *
 * The hard thing: what a fault leaves may take a moment to be put right, so each state is waited for within a bound,
 * and what is told of a failure is the first thing that had not come true at its end.
 */
#include "crash/crash.h"
#include "lease.h"
#include "pglend.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SETTLED      5.0
#define CHILDREN_MAX 256

static bool broken(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool broken(struct scene *scene, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(scene->why, sizeof scene->why, format, args);
    va_end(args);
    return false;
}

/* ---- the segment ---- */

void scene_map(const struct pglendd *d, struct segment *segment)
{
    char instance[17], name[SEGMENT_NAME_MAX];
    int fd;

    segment_instance(d->runtime_dir, instance);
    ck_assert_int_eq(segment_name(name, instance, "clinic"), 0);
    fd = shm_open(name, O_RDWR, 0);
    ck_assert_msg(fd != -1 && segment_map(segment, fd) == 0, "cannot map %s", name);
    (void)close(fd);
}

bool somebody_waits_in(const struct segment *segment)
{
    for (uint32_t b = 0; b < borrowers_used(segment); b++) {
        uint32_t owner = borrower_worker(segment, b);

        if (wait_state(atomic_load(&segment->borrower[b].wait)) == WAIT_WAITING && owner < segment->borrowers &&
            process_state(atomic_load(&segment->worker[owner].pid)) == 'S')
            return true;
    }
    return false;
}

static bool has_no_error(const struct segment *segment)
{
    char text[SEGMENT_ERROR_MAX + 1];

    segment_get_error(segment, text);
    return text[0] == '\0';
}

/* A sweep says again what only the supervisor has to say. */
void scene_await_sweep(struct scene *scene)
{
    segment_set_error(&scene->segment, "not yet swept");
    wait_until(has_no_error(&scene->segment), 5);
}

static bool words_are_at_rest(struct scene *scene)
{
    const struct segment *s = &scene->segment;

    /* Another run of pglendd, or a supervisor that found the old one damaged, has made another. */
    if (atomic_load(&s->header->retired) != 0) {
        segment_unmap(&scene->segment);
        scene_map(scene->daemon, &scene->segment);
    }
    for (uint32_t i = 0; i < s->slots; i++) {
        uint64_t word = slot_word(s, i);

        if (word_state(word) != (i < MATES ? SLOT_IDLE : SLOT_EMPTY))
            return broken(scene, "I1: slot %u is %s, flags %#x, borrower %u", i, slot_state_name(word_state(word)),
                          word_flags(word), word_borrower(word));
    }
    return true;
}

/* No wait is left, and no entry belongs to a worker that has ended. */
static bool borrowers_are_at_rest(struct scene *scene)
{
    const struct segment *s = &scene->segment;

    for (uint32_t b = 0; b < borrowers_used(s); b++) {
        uint64_t wait = atomic_load(&s->borrower[b].wait);
        uint32_t owner = borrower_worker(s, b);
        pid_t pid = owner < s->borrowers ? atomic_load(&s->worker[owner].pid) : 0;
        bool known = false;

        if (wait_state(wait) != WAIT_NONE)
            return broken(scene, "I8: borrower %u of worker %u still waits, state %d", b, owner, wait_state(wait));
        for (int m = 0; m < MATES; m++)
            known = known || pid == scene->mate[m].process.pid;
        if (owner != NO_OWNER && !known)
            return broken(scene, "I6: borrower %u belongs to worker %u, pid %d, which has ended", b, owner, (int)pid);
    }
    return true;
}

/* ---- PostgreSQL ---- */

static bool sessions_are_at_rest(struct scene *scene)
{
    const char *const name[] = {scene->name};
    PGresult *result = PQexecParams(scene->superuser,
                                    "select count(*), count(*) filter (where state <> 'idle' or xact_start is not null)"
                                    ", string_agg(pid || ' ' || state || ': ' || query, '; ')"
                                    " from pg_stat_activity where usename = 'clinic' and application_name = $1",
                                    1, NULL, name, NULL, NULL, 0);
    int sessions = -1, busy = -1;
    bool rest;

    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        sessions = atoi(PQgetvalue(result, 0, 0));
        busy = atoi(PQgetvalue(result, 0, 1));
    }
    rest = sessions == MATES && busy == 0;
    if (!rest)
        (void)broken(scene, "%s: %d sessions, %d of them not idle: %s", busy > 0 ? "I7" : "I6", sessions, busy,
                     PQgetvalue(result, 0, 2));
    PQclear(result);
    return rest;
}

/* ---- descriptors, shared memory ---- */

static size_t shared_objects(const struct scene *scene)
{
    char instance[17];
    DIR *dir = opendir("/dev/shm");
    size_t found = 0;

    segment_instance(scene->daemon->runtime_dir, instance);
    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
        found += strstr(e->d_name, instance) != NULL;
    if (dir != NULL)
        (void)closedir(dir);
    return found;
}

static bool resources_are_back(struct scene *scene)
{
    size_t supervisor = process_descriptors(scene->supervisor), keeper = process_descriptors(scene->daemon->pid);
    size_t objects = shared_objects(scene);

    /* Fewer where workers have not yet had to greet a new one. */
    if (supervisor > scene->supervisor_descriptors)
        return broken(scene, "I6: the supervisor has %zu descriptors, not %zu", supervisor,
                      scene->supervisor_descriptors);
    if (keeper > scene->keeper_descriptors)
        return broken(scene, "I6: the keeper has %zu descriptors, not %zu", keeper, scene->keeper_descriptors);
    if (objects != 1)
        return broken(scene, "I6: %zu objects of shared memory", objects);
    return true;
}

/* Nobody waits for it. */
static bool no_child_is_left(struct scene *scene)
{
    pid_t child[CHILDREN_MAX];
    size_t count = process_children(scene->daemon->pid, child, CHILDREN_MAX);

    for (size_t i = 0; i < count; i++)
        if (process_state(child[i]) == 'Z')
            return broken(scene, "I6: the keeper does not wait for process %d, which has ended", (int)child[i]);
    return true;
}

/* ---- all together ---- */

bool scene_comes_true(struct scene *scene, bool (*is)(struct scene *scene), double seconds)
{
    uint64_t until = harness_now_ms() + (uint64_t)(seconds * 1000);

    while (!is(scene)) {
        if (harness_now_ms() >= until)
            return false;
        harness_sleep_ms(1);
    }
    return true;
}

bool scene_mates(struct scene *scene, enum mate_command command)
{
    for (int m = 0; m < MATES; m++)
        mate_tell(&scene->mate[m], command);
    for (int m = 0; m < MATES; m++)
        if (!scene_hear(scene, m))
            return false;
    return true;
}

bool scene_hear(struct scene *scene, int mate)
{
    struct mate_answer *answer = &scene->answer[mate];

    if (!mate_hear(&scene->mate[mate], answer, MATE_SECONDS * 1.5 + 5))
        return broken(scene, "I8: a call with a deadline of %d s had not returned after %g s", MATE_SECONDS,
                      MATE_SECONDS * 1.5 + 5);
    if (answer->status != PGLEND_OK)
        return broken(scene, "I4: after %u ms: %s: %s", answer->ms, pglend_status_name((pglend_status)answer->status),
                      answer->error);
    return true;
}

/* What administration says of the slots while the mates hold them all. */
static bool slots_are_reported(struct scene *scene)
{
    json_t *slots = pglendd_result(scene->daemon, "slots", NULL), *slot;
    int found = 0;
    size_t i;

    json_array_foreach(slots, i, slot)
    {
        int backend = (int)json_integer_value(json_object_get(slot, "backend_pid"));
        pid_t worker = (pid_t)json_integer_value(json_object_get(slot, "worker_pid"));
        const char *state = json_string_value(json_object_get(slot, "state"));

        for (int m = 0; m < MATES; m++)
            found += backend == scene->answer[m].backend && worker == scene->mate[m].process.pid &&
                     strcmp(state, "leased") == 0;
    }
    json_decref(slots);
    return found == MATES || broken(scene, "I1: of %d leased slots, %d are reported as what they are", MATES, found);
}

void scene_expect_back(struct scene *scene, unsigned ms)
{
    scene->since_ms = harness_now_ms();
    scene->within_ms = ms;
}

/* Last, so that a scene whose slots were late is otherwise at rest. */
static bool was_in_time(struct scene *scene)
{
    unsigned within_ms = scene->within_ms;

    scene->within_ms = 0;
    scene->late = within_ms != 0 && scene->back_ms > within_ms;
    return !scene->late || broken(scene, "I3: all slots served after %u ms, not %u", scene->back_ms, within_ms);
}

bool scene_holds(struct scene *scene)
{
    if (!scene_mates(scene, MATE_ACQUIRE))
        return false;
    if (scene->within_ms != 0)
        scene->back_ms = (unsigned)(harness_now_ms() - scene->since_ms);
    if (scene->answer[0].backend == scene->answer[1].backend)
        return broken(scene, "I2: two borrowers have backend %d", scene->answer[0].backend);
    return scene_comes_true(scene, slots_are_reported, SETTLED) && scene_mates(scene, MATE_RELEASE) &&
           scene_comes_true(scene, words_are_at_rest, SETTLED) &&
           scene_comes_true(scene, borrowers_are_at_rest, SETTLED) &&
           scene_comes_true(scene, sessions_are_at_rest, SETTLED) &&
           scene_comes_true(scene, resources_are_back, SETTLED) && scene_comes_true(scene, no_child_is_left, SETTLED) &&
           was_in_time(scene);
}

bool scene_serves(struct scene *scene)
{
    mate_tell(&scene->mate[0], MATE_ACQUIRE);
    if (!scene_hear(scene, 0))
        return false;
    mate_tell(&scene->mate[0], MATE_RELEASE);
    return scene_hear(scene, 0);
}

/* ---- begin and end ---- */

bool scene_tour(struct scene *scene)
{
    for (int m = 0; m < MATES; m++) {
        mate_tell(&scene->mate[m], MATE_TOUR);
        if (!scene_hear(scene, m))
            return false;
    }
    return true;
}

/* What the first round leaves open on purpose, in caches, is part of the baseline. */
static void take_baseline(struct scene *scene)
{
    ck_assert_msg(scene_tour(scene), "%s", scene->why);
    ck_assert_msg(scene_comes_true(scene, words_are_at_rest, SETTLED), "%s", scene->why);
    harness_sleep_ms(50);
    scene->supervisor = pglendd_process(scene->daemon, "supervisor");
    scene->supervisor_descriptors = process_descriptors(scene->supervisor);
    scene->keeper_descriptors = process_descriptors(scene->daemon->pid);
    ck_assert_msg(scene_holds(scene), "before the first fault: %s", scene->why);
}

void scene_open(struct scene *scene, const struct campaign *campaign)
{
    char audit[400] = "";

    *scene = (struct scene){0};
    if (campaign->audited)
        trail_begin(audit, sizeof audit, campaign->trail);
    scene->strict = campaign->strict;
    /* Tells its sessions from those of others on the same server. */
    (void)snprintf(scene->name, sizeof scene->name, "scene %d", (int)getpid());
    (void)snprintf(scene->overrides, sizeof scene->overrides,
                   "{'pools': {'clinic': {'database': {'application_name': '%s'%s},"
                   " 'isolation': '%s', 'size': {'min': %d, 'max': %d, 'limit': 4}%s}}%s}",
                   scene->name, campaign->database != NULL ? campaign->database : "",
                   campaign->strict ? "strict" : "shared", MATES, MATES, campaign->pool, audit);
    scene->daemon = pglendd_start(harness_server(), scene->overrides);
    scene->superuser = postgres_connect(harness_server(), "postgres");
    wait_until(pglendd_count(scene->daemon, "idle") == MATES, 10);
    scene_map(scene->daemon, &scene->segment);
    for (int m = 0; m < MATES; m++)
        mate_start(&scene->mate[m], scene->daemon);
    take_baseline(scene);
}

void scene_close(struct scene *scene)
{
    for (int m = 0; m < MATES; m++)
        mate_stop(&scene->mate[m]);
    segment_unmap(&scene->segment);
    PQfinish(scene->superuser);
    pglendd_stop(scene->daemon);
}

void scene_abandon(struct scene *scene)
{
    for (int m = 0; m < MATES; m++)
        worker_kill(&scene->mate[m].process, SIGKILL);
    segment_unmap(&scene->segment);
    PQfinish(scene->superuser);
    pglendd_kill(scene->daemon);
    pglendd_free(scene->daemon);
}
