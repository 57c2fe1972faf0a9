/* SPDX-License-Identifier: ISC */
/*
 * campaign.c - try the points of some scripts, in several lanes at once: each with a pglendd of its own on the one
 * PostgreSQL.
 *
 * The hard thing is to spend a bounded time well: where not all points are tried, those that are lie evenly over the
 * script, and the same ones are tried in each run. A lane goes through its points in strides of the golden section.
 */
#include "crash/crash.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FAILURES_MAX   5 /* of a lane: then it gives up */
#define LANES_MAX      16
#define POINTS_MAX     (1 << 17) /* of a script */
#define RECORDINGS     3         /* where a script has a second or more: a sample has no time for them */
#define RECORD_SECONDS 120
/*
 * A busy machine makes slots late now and then, a defect makes them late each time; and no two runs are quite the same.
 */
#define TRIES 5
/* Of the points of a script no more may never be come by: it would not be the script that was recorded. */
#define MISSED_FEW     2
#define MISSED_PERCENT 2
/* The trail waits a second for an entry of its ring that somebody who died had begun. */
#define WRITTEN_SECONDS 5
#define TRAIL_SECONDS   120

/* Of one script, shared by the lanes. */
struct tally {
    _Atomic bool recorded;
    _Atomic unsigned tried, missed, failed, again, longest_ms;
    size_t points;
    struct point point[POINTS_MAX];
};

struct lane {
    const struct campaign *campaign;
    struct tally *tally; /* one a script */
    unsigned lane, lanes;
};

/* Of the program, whose tests are processes. */
static struct totals {
    unsigned tried, missed, failed;
} * totals;

static double setting(const char *name, double otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtod(text, NULL) : otherwise;
}

/* For each script in each lane; 0: as long as it takes. */
static double seconds_each(void)
{
    return setting("CRASH_SECONDS", 0.2);
}

double campaign_bound(void)
{
    return seconds_each() > 0 ? 120 + 20 * seconds_each() : 7200;
}

static size_t common_divisor(size_t a, size_t b)
{
    while (b != 0) {
        size_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* About the golden section of COUNT, and without a common divisor: it comes by all of them. */
static size_t stride_of(size_t count)
{
    size_t stride = (size_t)((double)count * 0.618);

    while (stride > 1 && common_divisor(count, stride) != 1)
        stride--;
    return stride > 0 ? stride : 1;
}

static void report(const struct campaign *c, const struct script *script, const struct point *point, enum fault fault,
                   const char *why)
{
    char where[256];

    if (point->kind == INSTRUCTION)
        code_name(c->code, point->offset, where);
    else
        (void)snprintf(where, sizeof where, "system call stop");
    printf("%s: %s, %s at %s, time %u: %s\n", c->name, script->name, fault == KILL ? "killed" : "stopped", where,
           point->nth, why);
    (void)fflush(stdout);
}

static void count(struct tally *tally, const struct scene *scene, bool reached, bool ok)
{
    tally->tried++;
    tally->missed += !reached;
    tally->failed += !ok;
    if (scene->back_ms > tally->longest_ms)
        tally->longest_ms = scene->back_ms;
}

/* A point that is not come by, or after which the slots come back too late, is tried again. */
static bool try_point(const struct campaign *c, struct scene *scene, const struct script *script,
                      const struct point *point, enum fault fault, struct tally *tally)
{
    bool reached, ok;

    for (unsigned tries = 1;; tries++) {
        reached = scene->late = false;
        scene->back_ms = 0;
        ok = c->attempt(scene, script, point, fault, &reached) &&
             (!c->audited || scene_comes_true(scene, trail_is_exact, WRITTEN_SECONDS));
        if ((ok ? reached : !scene->late) || tries == TRIES)
            break;
        tally->again++;
    }
    count(tally, scene, reached, ok);
    return ok;
}

/* The lane's share of one script. False: it gave up. */
static bool run_script(const struct lane *lane, struct scene *scene, const struct script *script, struct tally *tally)
{
    const struct campaign *c = lane->campaign;
    unsigned every = (unsigned)setting("CRASH_EVERY", 1), failures = 0;
    double seconds = seconds_each();
    size_t all, share, stride;
    uint64_t until;

    wait_until(tally->recorded, RECORD_SECONDS);
    all = tally->points * (script->stops ? FAULTS : 1);
    share = (all + lane->lanes - 1 - lane->lane) / lane->lanes;
    stride = stride_of(share);
    until = harness_now_ms() + (uint64_t)(seconds * 1000);
    for (size_t i = 0; i * (every > 0 ? every : 1) < share && failures < FAILURES_MAX; i++) {
        size_t index = i * stride % share * lane->lanes + lane->lane;
        const struct point *point = &tally->point[index % tally->points];
        enum fault fault = index < tally->points ? KILL : STOP;

        if (seconds > 0 && harness_now_ms() >= until)
            break;
        if (try_point(c, scene, script, point, fault, tally))
            continue;
        report(c, script, point, fault, scene->why);
        failures++;
        scene_abandon(scene);
        scene_open(scene, c);
    }
    return failures < FAILURES_MAX;
}

/*
 * One lane does it, so that all agree which points there are. The shortest of some traces counts: what chance brings,
 * another round of a wait, makes it longer, and would not be come by again.
 */
static void record_script(const struct campaign *c, struct scene *scene, const struct script *script,
                          struct tally *tally)
{
    bool sample = seconds_each() > 0 && seconds_each() < 1;

    for (unsigned i = 0; i < (sample ? 1 : RECORDINGS); i++) {
        struct trace trace = {0};

        c->record(scene, script, &trace);
        ck_assert_uint_le(trace.points, POINTS_MAX);
        if (i == 0 || trace.points < tally->points) {
            memcpy(tally->point, trace.point, trace.points * sizeof *trace.point);
            tally->points = trace.points;
        }
        trace_free(&trace);
    }
    tally->recorded = true;
}

/* $CRASH_ONLY: part of the names of the campaigns and scripts to run, "CAMPAIGN: SCRIPT". */
static bool is_wanted(const struct campaign *c, const struct script *script)
{
    const char *only = getenv("CRASH_ONLY");
    char name[128];

    (void)snprintf(name, sizeof name, "%s: %s", c->name, script->name);
    return only == NULL || strstr(name, only) != NULL;
}

/* Where the time is bounded half of the lanes try a script: the others have another one meanwhile. */
static bool takes_part(const struct lane *lane, size_t script)
{
    return seconds_each() == 0 || lane->lanes == 1 || (script + lane->lane) % 2 == 0;
}

static int run_lane(void *argument, int sock)
{
    const struct lane *lane = argument;
    const struct campaign *c = lane->campaign;
    struct scene scene;

    (void)sock;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    scene_open(&scene, c);
    for (size_t i = lane->lane; i < c->scripts; i += lane->lanes)
        if (is_wanted(c, &c->script[i]))
            record_script(c, &scene, &c->script[i], &lane->tally[i]);
    for (size_t i = 0; i < c->scripts; i++)
        if (is_wanted(c, &c->script[i]) && takes_part(lane, i) &&
            !run_script(lane, &scene, &c->script[i], &lane->tally[i]))
            break;
    ck_assert_msg(!c->audited || scene_comes_true(&scene, trail_balances, TRAIL_SECONDS), "%s: %s", c->name, scene.why);
    scene_close(&scene);
    return 0;
}

/* False: a point failed, or too many were not come by. */
static bool sum_up(const struct campaign *c, const struct script *script, const struct tally *t)
{
    bool missed = t->missed > MISSED_FEW + t->tried * MISSED_PERCENT / 100;

    printf("%s: %-30s %6zu points, %6u tried, %4u not come by%s, %u failed, %u tried again, slots back within %u ms\n",
           c->name, script->name, t->points * (script->stops ? FAULTS : 1), t->tried, t->missed,
           missed ? " (too many)" : "", t->failed, t->again, t->longest_ms);
    totals->tried += t->tried;
    totals->missed += t->missed;
    totals->failed += t->failed;
    return t->failed == 0 && !missed && t->tried > t->missed;
}

static void run_lanes(const struct campaign *campaign)
{
    size_t size = campaign->scripts * sizeof(struct tally);
    struct tally *tally = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct worker_process worker[LANES_MAX];
    struct lane lane[LANES_MAX];
    unsigned lanes = (unsigned)setting("CRASH_LANES", 4);
    uint64_t start = harness_now_ms();
    bool good = true;

    ck_assert_ptr_ne(tally, MAP_FAILED);
    ck_assert(lanes > 0 && lanes <= LANES_MAX);
    for (unsigned i = 0; i < lanes; i++) {
        lane[i] = (struct lane){.campaign = campaign, .tally = tally, .lane = i, .lanes = lanes};
        worker_fork(&worker[i], run_lane, &lane[i]);
    }
    for (unsigned i = 0; i < lanes; i++)
        ck_assert_int_eq(worker_wait(&worker[i], campaign_bound()), 0);
    for (size_t i = 0; i < campaign->scripts; i++)
        if (is_wanted(campaign, &campaign->script[i]))
            good = sum_up(campaign, &campaign->script[i], &tally[i]) && good;
    printf("%s: %u s\n", campaign->name, (unsigned)((harness_now_ms() - start) / 1000));
    (void)fflush(stdout);
    ck_assert_msg(good, "%s: points failed, or were not come by", campaign->name);
    (void)munmap(tally, size);
}

void campaign_run(const struct campaign *campaign)
{
    bool wanted = false;

    for (size_t i = 0; i < campaign->scripts; i++)
        wanted = wanted || is_wanted(campaign, &campaign->script[i]);
    if (wanted && campaign->strict && geteuid() != 0)
        printf("%s: skipped: strict isolation needs two users, and so root\n", campaign->name);
    else if (wanted)
        run_lanes(campaign);
}

int campaign_main(Suite *suite)
{
    uint64_t start = harness_now_ms();
    int status;

    totals = mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (totals == MAP_FAILED)
        return 1;
    status = harness_main(suite);
    printf("total: %u tried, %u failed, %u not come by, %u s\n", totals->tried, totals->failed, totals->missed,
           (unsigned)((harness_now_ms() - start) / 1000));
    (void)munmap(totals, sizeof *totals);
    return status;
}
