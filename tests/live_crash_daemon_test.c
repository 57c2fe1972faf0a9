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
#include "pglend.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_MS 400U
#define STEPS_MS 800U /* where it is single-stepped */
#define STOP_MS  50U

struct act {
    int (*prepare)(const struct scene *scene);
    int (*play)(const struct scene *scene);
    int status;   /* of its process: what must come out */
    bool crowded; /* the mates hold all slots meanwhile */
};

enum target { SUPERVISOR, KEEPER };

struct part {
    const struct act *act;
    enum target target;
    enum point_kind kind;
};

struct actor {
    const struct scene *scene;
    const struct act *act;
};

static struct code lease_code;
static pglend *pool;
static PGconn *conn;

/* ---- what happens ---- */

static int nothing(const struct scene *scene)
{
    (void)scene;
    return 0;
}

static int acquire(const struct scene *scene)
{
    pool = pglend_open(scene->daemon->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 20000);
    return conn != NULL ? 0 : 1;
}

static int borrow(const struct scene *scene)
{
    char text[16];

    if (acquire(scene) != 0)
        return 1;
    (void)query(conn, "select 1", text, sizeof text);
    if (pglend_release(pool, conn) != PGLEND_OK)
        return 2;
    pglend_close(pool);
    return 0;
}

static int die_with_it(const struct scene *scene)
{
    (void)scene;
    PQclear(PQexec(conn, "begin; create temp table mine (i int)"));
    (void)raise(SIGKILL);
    return 1;
}

static int die_waiting(const struct scene *scene)
{
    (void)signal(SIGALRM, SIG_DFL);
    (void)ualarm(50000, 0);
    return acquire(scene);
}

static int prepare_superuser(const struct scene *scene)
{
    (void)scene;
    conn = postgres_connect(harness_server(), "postgres");
    return 0;
}

static int end_a_session(const struct scene *scene)
{
    const char *const name[] = {scene->name};

    PQclear(PQexecParams(conn,
                         "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 limit 1",
                         1, NULL, name, NULL, NULL, 0));
    PQfinish(conn);
    return 0;
}

/* Its answer is lost where the supervisor is; the keeper is told by signal too. */
static int reload(const struct scene *scene)
{
    (void)kill(scene->daemon->pid, SIGHUP);
    return 0;
}

static const struct act grant = {nothing, borrow, 0, false}, reclaim = {acquire, die_with_it, 128 + SIGKILL, false},
                        waiter = {nothing, die_waiting, 128 + SIGALRM, true},
                        login = {prepare_superuser, end_a_session, 0, false}, reloading = {nothing, reload, 0, false};

static int act_alone(void *argument, int sock)
{
    const struct actor *actor = argument;
    int status = actor->act->prepare(actor->scene);

    say(sock, status == 0 ? 'r' : 'x');
    (void)hear(sock, 60);
    _exit(actor->act->play(actor->scene));
}

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
static bool raise_curtain(struct scene *scene, struct actor *actor, const struct part *part,
                          struct worker_process *worker, struct tracee *tracee)
{
    *actor = (struct actor){.scene = scene, .act = part->act};
    worker_fork(worker, act_alone, actor);
    if (hear(worker->sock, 30) != 'r')
        return fails(scene, "I4: the actor cannot begin, process", (int)worker->pid);
    if (part->act->crowded && !scene_mates(scene, MATE_ACQUIRE))
        return false;
    ck_assert(tracee_seize(tracee, part->target == SUPERVISOR ? scene->supervisor : scene->daemon->pid, &lease_code));
    say(worker->sock, 'g');
    return true;
}

/* The actor has ended as it should, and the mates are free again. */
static bool ends_well(struct scene *scene, const struct part *part, struct worker_process *worker)
{
    int status = worker_wait(worker, 40);

    if (status != part->act->status)
        return fails(scene, "I4: the actor ended with status", status);
    return !part->act->crowded || scene_mates(scene, MATE_RELEASE);
}

static bool attempt(struct scene *scene, const struct script *script, const struct point *point, enum fault fault,
                    bool *reached)
{
    const struct part *part = script->parameters;
    struct worker_process worker;
    struct tracee tracee;
    struct actor actor;
    bool killed, ok;

    if (!raise_curtain(scene, &actor, part, &worker, &tracee)) {
        worker_kill(&worker, SIGKILL);
        return false;
    }
    *reached = tracee_run(&tracee, point, LIMIT_MS) == REACHED;
    if (*reached && fault == STOP)
        harness_sleep_ms(STOP_MS);
    killed = *reached && fault == KILL;
    if (part->target == KEEPER) {
        ok = ends_well(scene, part, &worker);
        ok = (!killed || succeed(scene, KEEPER)) && ok;
        tracee_free(&tracee, false);
    } else {
        tracee_free(&tracee, killed);
        ok = !killed || succeed(scene, SUPERVISOR);
        ok = ends_well(scene, part, &worker) && ok;
    }
    return ok && scene_holds(scene);
}

static void record(struct scene *scene, const struct script *script, struct trace *trace)
{
    const struct part *part = script->parameters;
    struct worker_process worker;
    struct tracee tracee;
    struct actor actor;

    ck_assert_msg(raise_curtain(scene, &actor, part, &worker, &tracee), "%s", scene->why);
    if (part->kind == INSTRUCTION)
        ck_assert_int_eq(tracee_record(&tracee, trace, STEPS_MS), TIME_UP);
    else
        ck_assert_int_eq(tracee_record_calls(&tracee, trace, LIMIT_MS), TIME_UP);
    tracee_free(&tracee, false);
    ck_assert_msg(ends_well(scene, part, &worker) && scene_holds(scene), "%s", scene->why);
}

/* ---- campaigns ---- */

static const struct part parts[] = {
    {&grant, SUPERVISOR, SYSTEM_CALL},   {&grant, SUPERVISOR, INSTRUCTION},  {&reclaim, SUPERVISOR, SYSTEM_CALL},
    {&reclaim, SUPERVISOR, INSTRUCTION}, {&waiter, SUPERVISOR, SYSTEM_CALL}, {&waiter, SUPERVISOR, INSTRUCTION},
    {&login, SUPERVISOR, SYSTEM_CALL},   {&login, SUPERVISOR, INSTRUCTION},  {&reloading, SUPERVISOR, SYSTEM_CALL},
};
static const struct script supervisor_scripts[] = {
    {"grant", true, &parts[0]},       {"grant, client/lease.c", true, &parts[1]},
    {"reclaim", true, &parts[2]},     {"reclaim, client/lease.c", true, &parts[3]},
    {"dead waiter", true, &parts[4]}, {"dead waiter, client/lease.c", true, &parts[5]},
    {"login", true, &parts[6]},       {"login, client/lease.c", true, &parts[7]},
    {"reload", true, &parts[8]},
};
static const struct part keeper_parts[] = {
    {&reclaim, KEEPER, SYSTEM_CALL}, {&login, KEEPER, SYSTEM_CALL}, {&reloading, KEEPER, SYSTEM_CALL}};
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
