/* SPDX-License-Identifier: ISC */
/*
 * live_crash_daemon_test.c - supervisor and keeper are killed, or stopped for a while, at each system call on their way
 * through grant, reclaim, a dead waiter, a new login and reload, and the supervisor at each instruction of client/lease.c
 * too. crash/crash.h tells how.
 *
 * The hard thing: both serve many things in one loop, so a script is what happens in a bounded time while an actor, a
 * process beside them, does its part; not everything happens at the same place each time.
 */
#include "crash/crash.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_MS 400U
#define STEPS_MS 800U /* where it is single-stepped */
#define STOP_MS  50U

enum target { SUPERVISOR, KEEPER };

struct part {
    const struct act *act;
    enum target target;
    enum point_kind kind;
};

static struct code lease_code;

/* ---- around it ---- */

static bool fails(struct scene *scene, const char *what, int number)
{
    (void)snprintf(scene->why, sizeof scene->why, "%s %d", what, number);
    return false;
}

static bool has_another_supervisor(struct scene *scene)
{
    pid_t now = pglendd_process(scene->daemon, "supervisor");

    if (now == 0 || now == scene->supervisor)
        return fails(scene, "I4: there is no other supervisor after process", (int)scene->supervisor);
    scene->supervisor = now;
    return true;
}

/* The target is dead: the keeper starts another supervisor; a whole new daemon is for the test to start. */
static bool succeed(struct scene *scene, enum target target)
{
    if (target == SUPERVISOR)
        return scene_comes_true(scene, has_another_supervisor, 5);
    pglendd_kill(scene->daemon);
    pglendd_resume(scene->daemon);
    scene->supervisor = pglendd_process(scene->daemon, "supervisor");
    segment_unmap(&scene->segment);
    scene_map(scene->daemon, &scene->segment);
    return true;
}

/* The actor stands before its part, and the target is traced. */
static bool raise_curtain(struct scene *scene, struct actor *actor, const struct part *part, struct tracee *tracee)
{
    if (!actor_start(actor, part->act, scene))
        return false;
    ck_assert(tracee_seize(tracee, part->target == SUPERVISOR ? scene->supervisor : scene->daemon->pid, &lease_code));
    actor_go(actor);
    return true;
}

static bool ends_well(struct actor *actor)
{
    int status;

    if (!actor_ends(actor, &status))
        return false;
    return status == actor->act->status || fails(actor->scene, "I4: the actor ended with status", status);
}

static bool attempt(struct scene *scene, const struct script *script, const struct point *point, enum fault fault,
                    bool *reached)
{
    const struct part *part = script->parameters;
    struct tracee tracee;
    struct actor actor;
    bool killed, ok;

    if (!raise_curtain(scene, &actor, part, &tracee))
        return false;
    *reached = tracee_run(&tracee, point, LIMIT_MS) == REACHED;
    if (*reached && fault == STOP)
        harness_sleep_ms(STOP_MS);
    killed = *reached && fault == KILL;
    if (part->target == KEEPER) {
        if (!killed)
            tracee_free(&tracee, false);
        ok = ends_well(&actor);
        ok = (!killed || succeed(scene, KEEPER)) && ok;
        if (killed)
            tracee_free(&tracee, false);
    } else {
        tracee_free(&tracee, killed);
        ok = !killed || succeed(scene, SUPERVISOR);
        ok = ends_well(&actor) && ok;
    }
    return ok && scene_holds(scene);
}

static void record(struct scene *scene, const struct script *script, struct trace *trace)
{
    const struct part *part = script->parameters;
    struct tracee tracee;
    struct actor actor;

    ck_assert_msg(raise_curtain(scene, &actor, part, &tracee), "%s", scene->why);
    if (part->kind == INSTRUCTION)
        ck_assert_int_eq(tracee_record(&tracee, trace, STEPS_MS), TIME_UP);
    else
        ck_assert_int_eq(tracee_record_calls(&tracee, trace, LIMIT_MS), TIME_UP);
    tracee_free(&tracee, false);
    ck_assert_msg(ends_well(&actor) && scene_holds(scene), "%s", scene->why);
}

/* ---- campaigns ---- */

static const struct part parts[] = {
    {&act_grant, SUPERVISOR, SYSTEM_CALL},   {&act_grant, SUPERVISOR, INSTRUCTION},
    {&act_reclaim, SUPERVISOR, SYSTEM_CALL}, {&act_reclaim, SUPERVISOR, INSTRUCTION},
    {&act_waiter, SUPERVISOR, SYSTEM_CALL},  {&act_waiter, SUPERVISOR, INSTRUCTION},
    {&act_login, SUPERVISOR, SYSTEM_CALL},   {&act_login, SUPERVISOR, INSTRUCTION},
    {&act_reload, SUPERVISOR, SYSTEM_CALL},
};
static const struct script supervisor_scripts[] = {
    {"grant", true, &parts[0]},       {"grant, client/lease.c", true, &parts[1]},
    {"reclaim", true, &parts[2]},     {"reclaim, client/lease.c", true, &parts[3]},
    {"dead waiter", true, &parts[4]}, {"dead waiter, client/lease.c", true, &parts[5]},
    {"login", true, &parts[6]},       {"login, client/lease.c", true, &parts[7]},
    {"reload", true, &parts[8]},
};
static const struct part keeper_parts[] = {
    {&act_reclaim, KEEPER, SYSTEM_CALL}, {&act_login, KEEPER, SYSTEM_CALL}, {&act_reload, KEEPER, SYSTEM_CALL}};
static const struct script keeper_scripts[] = {
    {"keeper: reclaim", true, &keeper_parts[0]},
    {"keeper: login", true, &keeper_parts[1]},
    {"keeper: reload", true, &keeper_parts[2]},
};

static void run(const char *name, const struct script *script, size_t count)
{
    const struct campaign campaign = {.name = name,
                                      .pool = "",
                                      .code = &lease_code,
                                      .script = script,
                                      .scripts = count,
                                      .record = record,
                                      .attempt = attempt};
    char object[256];

    if (geteuid() != 0) {
        printf("%s: skipped: only root may trace processes that hold secrets\n", name);
        return;
    }
    (void)snprintf(object, sizeof object, "%s", harness_product("client/lease.o"));
    code_load(&lease_code, harness_product("pglendd"), object);
    campaign_run(&campaign);
    code_free(&lease_code);
}

START_TEST(supervisor)
{
    run("supervisor", supervisor_scripts, sizeof supervisor_scripts / sizeof *supervisor_scripts);
}
END_TEST

START_TEST(keeper)
{
    run("keeper", keeper_scripts, sizeof keeper_scripts / sizeof *keeper_scripts);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_crash_daemon");
    TCase *daemon = harness_live_case(suite, "daemon", campaign_bound());

    tcase_add_test(daemon, supervisor);
    tcase_add_test(daemon, keeper);
    return harness_main(suite);
}
