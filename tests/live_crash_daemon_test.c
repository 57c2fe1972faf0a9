/* SPDX-License-Identifier: ISC */
/*
 * live_crash_daemon_test.c - supervisor and keeper are killed, or stopped for a while, at each system call on their way
 * through grant, reclaim, revocation, a dead waiter, a new login, reload and sweep, and the supervisor at each instruction
 * of client/lease.c too, in strict isolation also of daemon/grant.c and lend.c, and where there is an audit trail of what
 * writes that. crash/crash.h tells how.
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
#define STEPS_MS 800U  /* where it is single-stepped */
#define SWEEP_MS 1300U /* with a sweep in it */
#define STOP_MS  50U
#define START_MS 1000U /* a supervisor that died has a successor */

enum target { SUPERVISOR, KEEPER };

struct part {
    const struct act *act;
    enum target target;
    enum point_kind kind;
};

static struct code supervisors;

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
    /* Acts before this one may have replaced sessions. */
    if ((part->act->spares && !scene_tour(scene)) || !actor_start(actor, part->act, scene))
        return false;
    ck_assert(tracee_seize(tracee, part->target == SUPERVISOR ? scene->supervisor : scene->daemon->pid, &supervisors));
    actor_go(actor);
    return true;
}

/* UNSERVED: the keeper was killed, and nobody serves. */
static bool ends_well(struct actor *actor, bool unserved)
{
    int status;

    if (!actor_ends(actor, &status))
        return false;
    return status == actor->act->status || (unserved && status == ACTOR_UNSERVED) ||
           fails(actor->scene, "I4: the actor ended with status", status);
}

static bool followed(struct scene *scene, const struct act *act)
{
    return act->followed == NULL || scene_comes_true(scene, act->followed, 5);
}

static unsigned limit_of(const struct part *part, unsigned otherwise)
{
    return part->act->oversleeps ? SWEEP_MS : otherwise;
}

/*
 * While it stands still a mate that has a slot gives it back, and it borrows: in shared isolation without the
 * supervisor, where a slot is idle that the mate has had before; otherwise as soon as that goes on.
 */
static bool others_go_on(struct scene *scene, const struct act *act, struct tracee *tracee)
{
    bool alone = act->spares && !scene->strict, ok = true;

    if (act->crowded) {
        mate_tell(&scene->mate[1], MATE_RELEASE);
        ok = scene_hear(scene, 1);
    }
    mate_tell(&scene->mate[1], MATE_ACQUIRE);
    if (alone)
        ok = scene_hear(scene, 1) && ok;
    else
        harness_sleep_ms(STOP_MS);
    tracee_free(tracee, false);
    if (!alone)
        ok = scene_hear(scene, 1) && ok;
    if (act->crowded)
        return ok;
    mate_tell(&scene->mate[1], MATE_RELEASE);
    return scene_hear(scene, 1) && ok;
}

/* The tracee has been killed, or stopped for a while, or neither: and the actor has done its part. */
static bool supervisor_hit(struct scene *scene, struct actor *actor, struct tracee *tracee, bool killed, bool stopped)
{
    bool ok = true;

    if (stopped)
        ok = others_go_on(scene, actor->act, tracee);
    else
        tracee_free(tracee, killed);
    if (!actor->act->oversleeps)
        scene_expect_back(scene, killed ? START_MS + RECLAIM_MS : RECLAIM_MS);
    ok = (!killed || succeed(scene, SUPERVISOR)) && ok;
    return ends_well(actor, false) && ok;
}

static bool keeper_hit(struct scene *scene, struct actor *actor, struct tracee *tracee, bool killed, bool stopped)
{
    bool ok;

    if (stopped)
        harness_sleep_ms(STOP_MS);
    if (stopped)
        scene_expect_back(scene, RECLAIM_MS);
    if (!killed)
        tracee_free(tracee, false);
    ok = !killed || succeed(scene, KEEPER);
    ok = ends_well(actor, killed) && ok;
    if (killed)
        tracee_free(tracee, false);
    return ok;
}

static bool attempt(struct scene *scene, const struct script *script, const struct point *point, enum fault fault,
                    bool *reached)
{
    const struct part *part = script->parameters;
    struct tracee tracee;
    struct actor actor;
    bool killed, stopped, ok;

    if (!raise_curtain(scene, &actor, part, &tracee))
        return false;
    *reached = tracee_run(&tracee, point, limit_of(part, LIMIT_MS)) == REACHED;
    killed = *reached && fault == KILL;
    stopped = *reached && fault == STOP;
    if (part->target == SUPERVISOR)
        ok = supervisor_hit(scene, &actor, &tracee, killed, stopped);
    else
        ok = keeper_hit(scene, &actor, &tracee, killed, stopped);
    return ok && followed(scene, part->act) && scene_holds(scene);
}

static void record(struct scene *scene, const struct script *script, struct trace *trace)
{
    const struct part *part = script->parameters;
    struct tracee tracee;
    struct actor actor;

    if (!part->act->oversleeps)
        scene_await_sweep(scene);
    ck_assert_msg(raise_curtain(scene, &actor, part, &tracee), "%s", scene->why);
    if (part->kind == INSTRUCTION)
        ck_assert_int_eq(tracee_record(&tracee, trace, limit_of(part, STEPS_MS)), TIME_UP);
    else
        ck_assert_int_eq(tracee_record_calls(&tracee, trace, limit_of(part, LIMIT_MS)), TIME_UP);
    tracee_free(&tracee, false);
    ck_assert_msg(ends_well(&actor, false) && followed(scene, part->act) && scene_holds(scene), "%s", scene->why);
}

/* ---- campaigns ---- */

static const struct part parts[] = {
    {&act_grant, SUPERVISOR, SYSTEM_CALL},   {&act_grant, SUPERVISOR, INSTRUCTION},
    {&act_reclaim, SUPERVISOR, SYSTEM_CALL}, {&act_reclaim, SUPERVISOR, INSTRUCTION},
    {&act_waiter, SUPERVISOR, SYSTEM_CALL},  {&act_waiter, SUPERVISOR, INSTRUCTION},
    {&act_login, SUPERVISOR, SYSTEM_CALL},   {&act_login, SUPERVISOR, INSTRUCTION},
    {&act_sweep, SUPERVISOR, SYSTEM_CALL},   {&act_sweep, SUPERVISOR, INSTRUCTION},
    {&act_reload, SUPERVISOR, SYSTEM_CALL},  {&act_revoke, SUPERVISOR, SYSTEM_CALL},
    {&act_revoke, SUPERVISOR, INSTRUCTION},
};
static const struct script supervisor_scripts[] = {
    {"grant", true, &parts[0]},
    {"grant, instructions", true, &parts[1]},
    {"reclaim", true, &parts[2]},
    {"reclaim, instructions", true, &parts[3]},
    {"dead waiter", true, &parts[4]},
    {"dead waiter, instructions", true, &parts[5]},
    {"login", true, &parts[6]},
    {"login, instructions", true, &parts[7]},
    {"sweep", true, &parts[8]},
    {"sweep, instructions", true, &parts[9]},
    {"reload", true, &parts[10]},
    {"revoke", true, &parts[11]},
    {"revoke, instructions", true, &parts[12]},
};
/* In a grant the keeper has a part where a new worker comes: it says which program that runs. */
static const struct part keeper_parts[] = {{&act_grant, KEEPER, SYSTEM_CALL},
                                           {&act_reclaim, KEEPER, SYSTEM_CALL},
                                           {&act_login, KEEPER, SYSTEM_CALL},
                                           {&act_reload, KEEPER, SYSTEM_CALL}};
static const struct script keeper_scripts[] = {
    {"grant", true, &keeper_parts[0]},
    {"reclaim", true, &keeper_parts[1]},
    {"login", true, &keeper_parts[2]},
    {"reload", true, &keeper_parts[3]},
};
static const struct script lease_scripts[] = {
    {"grant", true, &parts[0]},   {"grant, instructions", true, &parts[1]},
    {"reclaim", true, &parts[2]}, {"reclaim, instructions", true, &parts[3]},
    {"revoke", true, &parts[11]}, {"revoke, instructions", true, &parts[12]},
};
/* In shared isolation it writes only of what it takes away. */
static const struct script taking_scripts[] = {
    {"reclaim", true, &parts[2]},
    {"reclaim, instructions", true, &parts[3]},
    {"revoke", true, &parts[11]},
    {"revoke, instructions", true, &parts[12]},
};
#define ALL(of) .script = (of), .scripts = sizeof(of) / sizeof *(of)

/* Whose instructions: in strict isolation the supervisor makes each transition itself. */
static const char *const transitions[] = {"client/lease.o", NULL};
static const char *const grants[] = {"client/lease.o", "daemon/grant.o", "daemon/lend.o", NULL};
/* And who writes of leases for the audit trail. */
static const char *const records[] = {"client/ring.o", "daemon/lease_record.o", "daemon/revoke.o", NULL};
static const char *const recorded_grants[] = {"client/lease.o",
                                              "client/ring.o",
                                              "daemon/grant.o",
                                              "daemon/lease_record.o",
                                              "daemon/lend.o",
                                              "daemon/revoke.o",
                                              NULL};

static const struct row {
    struct campaign campaign;
    const char *const *objects;
} rows[] = {
    {{.name = "supervisor", .pool = "", ALL(supervisor_scripts)}, transitions},
    {{.name = "supervisor, strict", .pool = "", .strict = true, ALL(supervisor_scripts)}, grants},
    {{.name = "supervisor, audited", .pool = "", .audited = true, ALL(taking_scripts)}, records},
    {{.name = "supervisor, strict, audited", .pool = "", .strict = true, .audited = true, ALL(lease_scripts)},
     recorded_grants},
    {{.name = "keeper", .pool = "", ALL(keeper_scripts)}, transitions},
    {{.name = "keeper, strict", .pool = "", .strict = true, ALL(keeper_scripts)}, grants},
};

START_TEST(process)
{
    struct campaign campaign = rows[_i].campaign;

    if (geteuid() != 0) {
        printf("%s: skipped: only root may trace processes that hold secrets\n", campaign.name);
        return;
    }
    code_load(&supervisors, harness_product("pglendd"), rows[_i].objects);
    campaign.code = &supervisors;
    campaign.record = record;
    campaign.attempt = attempt;
    campaign_run(&campaign);
    code_free(&supervisors);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_crash_daemon");
    TCase *tcase = harness_live_case(suite, "daemon", campaign_bound());

    tcase_add_loop_test(tcase, process, 0, (int)(sizeof rows / sizeof *rows));
    return campaign_main(suite);
}
