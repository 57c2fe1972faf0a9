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

static int reload(const struct scene *scene)
{
    (void)kill(scene->daemon->pid, SIGHUP);
    return 0;
}

const struct act act_grant = {nothing, borrow, 0, false};
const struct act act_reclaim = {acquire, die_with_it, SIGKILL, false};
const struct act act_waiter = {nothing, die_waiting, SIGALRM, true};
const struct act act_login = {prepare_superuser, end_a_session, 0, false};
const struct act act_reload = {nothing, reload, 0, false};
const struct act act_use = {nothing, use_all, 0, false};

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
    worker_fork(&actor->process, work, actor);
    if (hear(actor->process.sock, 30) == 'r' && (!act->crowded || scene_mates(scene, MATE_ACQUIRE)))
        return true;
    (void)snprintf(scene->why, sizeof scene->why, "I4: the actor could not begin");
    worker_kill(&actor->process, SIGKILL);
    return false;
}

void actor_go(struct actor *actor)
{
    say(actor->process.sock, 'g');
}

bool actor_ends(struct actor *actor, int *status)
{
    struct scene *scene = actor->scene;
    int code = worker_wait(&actor->process, 40);

    *status = code > 128 ? code - 128 : code;
    return !actor->act->crowded || scene_mates(scene, MATE_RELEASE);
}
