/* SPDX-License-Identifier: ISC */
/*
 * live_crash_test.c - a worker is killed, or stopped while others go on, at each instruction of libpglend and at each
 * system call on its way through acquire, query, release, wait, hand-over and time-out. crash/crash.h tells how.
 *
 * The hard thing is that each point needs the same circumstances: other workers hold or wait for slots as the script
 * wants it, and are brought back to rest whatever became of the one that was hit.
 */
#include "crash/crash.h"
#include "pglend.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_MS 30000U

/* What the mates do. */
enum company {
    ABSENT,
    HOLDING,  /* both slots, all the time */
    YIELDING, /* both slots, and one is given as soon as somebody waits */
    QUEUEING  /* one slot; one waits for that which the worker has */
};

struct part {
    void (*prepare)(void); /* not recorded; NULL: nothing */
    int (*play)(void);     /* 0: as it should be */
    enum company company;
};

static struct code library;

/* ---- what the worker does ---- */

static struct pglendd *daemon_; /* the lane's */
static pglend *pool;
static PGconn *conn;

static bool acquire(int timeout_ms)
{
    conn = pglend_acquire(pool, timeout_ms);
    return conn != NULL;
}

static bool ask(const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);

    PQclear(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

static bool release(void)
{
    return pglend_release(pool, conn) == PGLEND_OK;
}

static void open_pool(void)
{
    pool = pglend_open(daemon_->runtime_dir, "clinic");
}

/* Leaves both slots cached, so that what is recorded is the path without the supervisor. */
static void use_both(void)
{
    PGconn *first;

    open_pool();
    if (!acquire(10000))
        _exit(90);
    first = conn;
    if (!acquire(10000) || !release() || pglend_release(pool, first) != PGLEND_OK)
        _exit(91);
}

static void borrow_one(void)
{
    open_pool();
    if (!acquire(10000))
        _exit(92);
}

static int play_first(void)
{
    open_pool();
    if (!acquire(20000) || !ask("select 1") || !release())
        return 1;
    pglend_close(pool);
    return 0;
}

static int play_again(void)
{
    return acquire(20000) && ask("select 1") && release() ? 0 : 1;
}

static int play_transaction(void)
{
    return acquire(20000) && ask("begin; create temp table mine (i int)") && release() ? 0 : 1;
}

static int play_busy(void)
{
    return acquire(20000) && PQsendQuery(conn, "select pg_sleep(60)") == 1 && release() ? 0 : 1;
}

static int play_discard(void)
{
    return acquire(20000) && ask("select 1") && pglend_discard(pool, conn) == PGLEND_OK ? 0 : 1;
}

static int play_finish(void)
{
    if (!acquire(20000))
        return 1;
    PQfinish(conn);
    return 0;
}

static int play_release(void)
{
    return ask("select 1") && release() ? 0 : 1;
}

/* One that is stopped meanwhile may still find a slot when it goes on. */
static int play_time_out(void)
{
    if (acquire(200))
        return release() ? 0 : 1;
    return pglend_errcode(pool) == PGLEND_TIMEOUT ? 0 : 1;
}

static const struct part first = {NULL, play_first, ABSENT}, again = {use_both, play_again, ABSENT},
                         transaction = {use_both, play_transaction, ABSENT}, busy = {use_both, play_busy, ABSENT},
                         discard = {use_both, play_discard, ABSENT}, finish = {use_both, play_finish, ABSENT},
                         wait_ = {use_both, play_again, YIELDING}, first_wait = {NULL, play_first, YIELDING},
                         hand_over = {borrow_one, play_release, QUEUEING},
                         time_out = {use_both, play_time_out, HOLDING};

static int work(void *argument, int sock)
{
    const struct part *part = argument;

    if (part->prepare != NULL)
        part->prepare();
    say(sock, 'r');
    (void)hear(sock, 60);
    _exit(part->play());
}

/* ---- around it ---- */

static bool company_comes(struct scene *scene, enum company company)
{
    switch (company) {
    case ABSENT:
        break;
    case HOLDING:
    case YIELDING:
        return scene_mates(scene, MATE_ACQUIRE);
    case QUEUEING:
        mate_tell(&scene->mate[1], MATE_ACQUIRE);
        return scene_hear(scene, 1);
    }
    return true;
}

/* The worker stands before what it is to do. */
static bool company_takes_part(struct scene *scene, enum company company)
{
    uint64_t until = harness_now_ms() + 10000;

    if (company == YIELDING)
        mate_tell(&scene->mate[0], MATE_RELEASE_WHEN_WANTED);
    if (company != QUEUEING)
        return true;
    mate_tell(&scene->mate[0], MATE_ACQUIRE);
    while (!somebody_waits_in(&scene->segment) && harness_now_ms() < until)
        harness_sleep_ms(1);
    return somebody_waits_in(&scene->segment);
}

static bool mate_releases(struct scene *scene, int mate)
{
    mate_tell(&scene->mate[mate], MATE_RELEASE);
    return scene_hear(scene, mate);
}

/* Whoever waits must get what it waits for: from the dead one, and beside one that stands still the other slot. */
static bool company_goes(struct scene *scene, enum company company, enum fault fault)
{
    switch (company) {
    case ABSENT:
        return true;
    case HOLDING:
        return scene_mates(scene, MATE_RELEASE);
    case YIELDING:
        mate_tell(&scene->mate[0], MATE_RELEASE);
        if (!scene_hear(scene, 0)) /* to the command before */
            return false;
        return scene_hear(scene, 0) && mate_releases(scene, 1);
    case QUEUEING:
        if (fault == STOP && !mate_releases(scene, 1))
            return false;
        return scene_hear(scene, 0) && mate_releases(scene, 0) && (fault == STOP || mate_releases(scene, 1));
    }
    return true;
}

/* Its process stands before its part, and is traced. */
static bool raise_curtain(struct scene *scene, const struct part *part, struct worker_process *worker,
                          struct tracee *tracee)
{
    daemon_ = scene->daemon;
    worker_fork(worker, work, (void *)(uintptr_t)part);
    if (hear(worker->sock, 20) != 'r' || !company_comes(scene, part->company))
        return false;
    ck_assert(tracee_seize(tracee, worker->pid, &library));
    if (!company_takes_part(scene, part->company))
        return false;
    say(worker->sock, 'g');
    return true;
}

static int end_of(struct worker_process *worker, const struct tracee *tracee)
{
    if (!tracee->ended)
        return worker_wait(worker, 40);
    (void)close(worker->sock);
    return WIFSIGNALED(tracee->status) ? 128 + WTERMSIG(tracee->status) : WEXITSTATUS(tracee->status);
}

static bool ended_well(struct scene *scene, int status)
{
    if (status != 0)
        (void)snprintf(scene->why, sizeof scene->why, "I4: the worker ended with status %d", status);
    return status == 0;
}

static bool attempt(struct scene *scene, const struct script *script, const struct point *point, enum fault fault,
                    bool *reached)
{
    const struct part *part = script->parameters;
    struct worker_process worker;
    struct tracee tracee;
    bool ok = raise_curtain(scene, part, &worker, &tracee);
    enum reached how = ok ? tracee_run(&tracee, point, LIMIT_MS) : TIME_UP;
    int status;

    *reached = how == REACHED;
    if (how == REACHED && fault == STOP)
        ok = company_goes(scene, part->company, fault) && scene_serves(scene);
    if (how == REACHED && fault == KILL)
        scene_expect_back(scene, RECLAIM_MS);
    tracee_free(&tracee, how != ENDED && fault == KILL);
    status = end_of(&worker, &tracee);
    if (ok && (how == ENDED || fault == STOP))
        ok = ended_well(scene, status);
    if (ok && !(how == REACHED && fault == STOP))
        ok = company_goes(scene, part->company, fault);
    return ok && scene_holds(scene);
}

static void record_once(struct scene *scene, const struct part *part, struct trace *trace,
                        enum reached (*how)(struct tracee *t, struct trace *trace, unsigned limit_ms))
{
    struct worker_process worker;
    struct tracee tracee;

    ck_assert_msg(raise_curtain(scene, part, &worker, &tracee), "%s", scene->why);
    ck_assert_int_eq(how(&tracee, trace, LIMIT_MS), ENDED);
    tracee_free(&tracee, true);
    ck_assert_int_eq(end_of(&worker, &tracee), 0);
    ck_assert_msg(company_goes(scene, part->company, KILL) && scene_holds(scene), "%s", scene->why);
}

static void record(struct scene *scene, const struct script *script, struct trace *trace)
{
    record_once(scene, script->parameters, trace, tracee_record);
    record_once(scene, script->parameters, trace, tracee_record_calls);
}

/* ---- campaigns ---- */

static const struct script scripts[] = {
    {"first acquire, query, release", true, &first},
    {"acquire, query, release", true, &again},
    {"release in a transaction", true, &transaction},
    {"release during a query", true, &busy},
    {"discard", true, &discard},
    {"PQfinish", true, &finish},
    {"wait", true, &wait_},
    {"first acquire waits", true, &first_wait},
    {"hand over", true, &hand_over},
    {"time-out", true, &time_out},
};
static const struct script few_scripts[] = {
    {"acquire, query, release", true, &again},
    {"wait", true, &wait_},
    {"hand over", true, &hand_over},
};
#define ALL(of) .script = (of), .scripts = sizeof(of) / sizeof *(of)

static const struct campaign campaigns[] = {
    {.name = "shared", .pool = "", ALL(scripts)},
    {.name = "lean", .pool = ", 'reset': 'none', 'guard': false", ALL(few_scripts)},
    {.name = "audited", .pool = "", .audited = true, ALL(few_scripts)},
    {.name = "strict", .pool = "", .strict = true, ALL(scripts)},
    {.name = "strict, audited", .pool = "", .strict = true, .audited = true, ALL(few_scripts)},
};

START_TEST(worker)
{
    struct campaign campaign = campaigns[_i];

    code_load(&library, harness_product("libpglend.so.0"), NULL);
    campaign.code = &library;
    campaign.record = record;
    campaign.attempt = attempt;
    campaign_run(&campaign);
    code_free(&library);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_crash");
    TCase *tcase = harness_live_case(suite, "worker", campaign_bound());

    tcase_add_loop_test(tcase, worker, 0, (int)(sizeof campaigns / sizeof *campaigns));
    return campaign_main(suite);
}
