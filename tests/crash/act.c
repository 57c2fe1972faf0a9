/* SPDX-License-Identifier: ISC */
/*
 * act.c - what may happen while supervisor or keeper are hit: an actor, a process beside them, does its part.
 *
 * The hard thing: an act is short, and begins when the test says so; all that takes long comes before.
 */
#include "crash/crash.h"
#include "pglend.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pglend *pool;
static PGconn *conn;

static int nothing(const struct scene *scene)
{
    (void)scene;
    return 0;
}

static int acquire(const struct scene *scene)
{
    pool = pglend_open(scene->daemon->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 20000);
    if (conn != NULL)
        return 0;
    if (pglend_errcode(pool) == PGLEND_NO_SUPERVISOR || pglend_errcode(pool) == PGLEND_SHUTDOWN)
        return ACTOR_UNSERVED; /* the supervisor ends with the keeper, and says so where it can */
    printf("the actor: %s\n", pglend_errmessage(pool));
    (void)fflush(stdout);
    return 1;
}

static int borrow(const struct scene *scene)
{
    char text[16];

    int status = acquire(scene);

    if (status != 0)
        return status;
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

/* A supervisor that dies may not have come to it. */
static int lose_it(const struct scene *scene)
{
    char command[400];
    bool revoked;
    int status;

    (void)snprintf(command, sizeof command, "timeout 20 %s --runtime-dir %s revoke --pid %d >/dev/null 2>&1",
                   harness_product("pglend"), scene->daemon->runtime_dir, (int)getpid());
    revoked = system(command) == 0; /* NOLINT(cert-env33-c) */
    status = pglend_release(pool, conn);
    pglend_close(pool);
    return status == PGLEND_LOST || (status == PGLEND_OK && !revoked) ? 0 : 1;
}

static int die_waiting(const struct scene *scene)
{
    (void)signal(SIGALRM, SIG_DFL);
    (void)ualarm(50000, 0);
    return acquire(scene);
}

#define LONG_ROW "select repeat('x', 300000)" /* more than a socket holds */

static int use_all(const struct scene *scene)
{
    PGconn *lent[MATES] = {NULL};
    int count = 0;

    pool = pglend_open(scene->daemon->runtime_dir, "clinic");
    while (count < MATES && (lent[count] = pglend_acquire(pool, 20000)) != NULL)
        PQclear(PQexec(lent[count++], LONG_ROW));
    for (int i = 0; i < count; i++)
        (void)pglend_release(pool, lent[i]);
    pglend_close(pool);
    return count == MATES ? 0 : 1;
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

    PQclear(PQexecParams(
        conn, "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = $1 limit 1", 1,
        NULL, name, NULL, NULL, 0));
    PQfinish(conn);
    return 0;
}

static unsigned timeout_of(const struct scene *scene)
{
    return 20 + scene->reloads % 2;
}

/* Another policy for the workers; and another setting, so that all sessions are replaced. */
static int configure(const struct scene *scene)
{
    char overrides[sizeof scene->overrides + 200];
    const char *rest = strchr(scene->overrides, '{') + 1;

    (void)snprintf(overrides, sizeof overrides,
                   "{'defaults': {'acquire_timeout': '%us', 'database': {'settings': {'work_mem': '%uMB'}}}, %s",
                   timeout_of(scene), timeout_of(scene), rest);
    pglendd_configure(scene->daemon, harness_server(), overrides);
    return 0;
}

static int reload(const struct scene *scene)
{
    (void)kill(scene->daemon->pid, SIGHUP);
    return 0;
}

static bool is_reloaded(struct scene *scene)
{
    struct policy policy = {0};
    uint32_t seq;

    if (segment_get_policy(&scene->segment, &policy, &seq) && policy.acquire_timeout_ms == 1000 * timeout_of(scene))
        return true;
    (void)snprintf(scene->why, sizeof scene->why, "I4: acquire_timeout is %u ms, not %u s, after a reload",
                   (unsigned)policy.acquire_timeout_ms, timeout_of(scene));
    return false;
}

const struct act act_grant = {.prepare = nothing, .play = borrow, .spares = true};
const struct act act_reclaim = {.prepare = acquire, .play = die_with_it, .status = SIGKILL, .spares = true};
const struct act act_revoke = {.prepare = acquire, .play = lose_it};
const struct act act_waiter = {.prepare = nothing, .play = die_waiting, .status = SIGALRM, .crowded = true};
const struct act act_login = {.prepare = prepare_superuser, .play = end_a_session};
const struct act act_sweep = {.prepare = nothing, .play = borrow, .crowded = true, .oversleeps = true, .spares = true};
const struct act act_reload = {.prepare = configure, .play = reload, .followed = is_reloaded};
const struct act act_use = {.prepare = nothing, .play = use_all};

/* ---- one that oversleeps ---- */

static int knock(void *argument, int sock)
{
    const struct scene *scene = argument;

    (void)sock;
    pool = pglend_open(scene->daemon->runtime_dir, "clinic");
    (void)pglend_acquire(pool, 0); /* it is a worker now, and its end brings a sweep */
    pglend_close(pool);
    return 0;
}

/*
 * It is stopped, has been granted a slot, and a sweep has seen that; then the periodic ones: of two, the second comes
 * more than a second after that, and takes the slot back. Returns after the first.
 */
static bool oversleep(struct actor *actor)
{
    struct scene *scene = actor->scene;

    say(actor->process.sock, 'g');
    wait_until(somebody_waits_in(&scene->segment), 10);
    (void)kill(actor->process.pid, SIGSTOP);
    mate_tell(&scene->mate[0], MATE_RELEASE);
    if (!scene_hear(scene, 0))
        return false;
    in_worker(knock, scene, 20);
    scene_await_sweep(scene);
    return true;
}

/* Another gets the slot, while it still sleeps; then it may go on. */
static bool wake_up(struct actor *actor)
{
    bool served;

    mate_tell(&actor->scene->mate[0], MATE_ACQUIRE);
    served = scene_hear(actor->scene, 0);
    (void)kill(actor->process.pid, SIGCONT);
    return served && scene_mates(actor->scene, MATE_RELEASE);
}

/* ---- the actor ---- */

static int work(void *argument, int sock)
{
    const struct actor *actor = argument;
    int status = actor->act->prepare(actor->scene);

    say(sock, status == 0 ? 'r' : 'x');
    (void)hear(sock, 60);
    _exit(actor->act->play(actor->scene));
}

bool actor_start(struct actor *actor, const struct act *act, struct scene *scene)
{
    *actor = (struct actor){.scene = scene, .act = act};
    scene->reloads++;
    worker_fork(&actor->process, work, actor);
    if (hear(actor->process.sock, 30) == 'r' && (!act->crowded || scene_mates(scene, MATE_ACQUIRE)) &&
        (!act->oversleeps || oversleep(actor)))
        return true;
    (void)snprintf(scene->why, sizeof scene->why, "I4: the actor could not begin");
    worker_kill(&actor->process, SIGKILL);
    return false;
}

void actor_go(struct actor *actor)
{
    if (!actor->act->oversleeps)
        say(actor->process.sock, 'g');
}

bool actor_ends(struct actor *actor, int *status)
{
    const struct act *act = actor->act;
    struct scene *scene = actor->scene;
    bool ok = !act->oversleeps || wake_up(actor);
    int code = worker_wait(&actor->process, 40);

    *status = code > 128 ? code - 128 : code;
    return ok && (!act->crowded || act->oversleeps || scene_mates(scene, MATE_RELEASE));
}
