/* SPDX-License-Identifier: ISC */
/*
 * live_faults_test.c - each call of libpglend, of libpq under it, and of each of pglendd's processes into libc and
 * other libraries fails in each way that it can: once, and from then on for ever. A worker gets its connection or a
 * clear error, leaks nothing, and can borrow again as soon as calls succeed; no process crashes; everybody else is
 * served; a login that fails says why, and is tried again after a pause; what the audit trail lacks it says.
 *
 * The hard thing: the program is preloaded with faults.so itself, and executes itself for that; so the calls of a
 * forked worker are known by number before they fail.
 */
#include "crash/crash.h"
#include "faults/faults.h"
#include "pglend.h"
#include "preload.h"
#include "tls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERRORS_MAX    8
#define END_SECONDS   30
#define ACQUIRE_MS    300
#define ACT_MS        250
#define TRAIL_SECONDS 30
#define START_SECONDS 5
#define FAILURES_MOST 20
#define OF_A_PLACE    4  /* calls that fail each by itself: in a loop the fifth is like the fourth */
#define OF_MESSAGES   20 /* of these each is another, and all go through one place */
#define STARTS_MOST   8  /* of one process while an act goes on, where each fails: more would be without a pause */
#define FAILED        "login failed: "
#define SILENT        "the login process ended without an answer: exit"
#define UNCLEAR       50 /* how the worker ends: an error without a word */
#define UNUSABLE      51 /* calls succeed again, and it cannot borrow */

static struct fault_control *control;

static const int errors[FAILINGS][ERRORS_MAX] = {
    [MEMORY] = {ENOMEM},
    [DESCRIPTOR] = {EMFILE, ENFILE, ENOMEM},
    [CONNECTING] = {ECONNREFUSED, EAGAIN, EINTR},
    [SENDING] = {EPIPE, EAGAIN, EINTR, ENOBUFS, ETOOMANYREFS, SHORT},
    [RECEIVING] = {ECONNRESET, EAGAIN, EINTR, ENOMEM, SHORT},
    [WAITING] = {EINTR, ENOMEM},
    [STORING] = {ENOSPC, EIO, EINTR, SHORT},
    [ASKING] = {EIO},
    [SPAWNING] = {EAGAIN, ENOMEM, EMFILE},
    [LIBRARY] = {ENOMEM},
};

/* ---- what a worker does ---- */

struct play {
    bool used;  /* it has had a connection before */
    bool dirty; /* it gives back a session in a transaction */
};

static const char *runtime_dir;

static bool is_clear(const pglend *pool)
{
    return pglend_errcode(pool) != PGLEND_OK && pglend_errmessage(pool)[0] != '\0';
}

static int borrow(pglend *pool, const struct play *play, int timeout_ms)
{
    pid_t armed = atomic_load(&control->pid);
    PGconn *conn = pglend_acquire(pool, timeout_ms);

    if (conn == NULL)
        return is_clear(pool) ? 0 : UNCLEAR;
    /* What libpq makes of failures in the application's own calls is between the two of them. */
    atomic_store(&control->pid, 0);
    PQclear(PQexec(conn, play->dirty ? "begin; create temp table mine (i int)" : "select 1"));
    atomic_store(&control->pid, armed);
    return pglend_release(pool, conn) == PGLEND_OK || is_clear(pool) ? 0 : UNCLEAR;
}

static int work(void *argument, int sock)
{
    const struct play *play = argument;
    pglend *pool = pglend_open(runtime_dir, "clinic");
    int status = 0;
    PGconn *conn;

    (void)sock;
    if (play->used)
        status = borrow(pool, play, 10000);
    if (status == 0) {
        atomic_store(&control->pid, getpid());
        status = borrow(pool, play, ACQUIRE_MS);
        atomic_store(&control->pid, 0);
    }
    if (status == 0 && (conn = pglend_acquire(pool, 10000)) != NULL) {
        PGresult *result = PQexec(conn, "select 1");

        status = PQresultStatus(result) == PGRES_TUPLES_OK ? pglend_release(pool, conn) : UNUSABLE;
        PQclear(result);
    } else if (status == 0) {
        (void)fprintf(stderr, "cannot borrow again: %s\n", pglend_errmessage(pool));
        status = UNUSABLE;
    }
    pglend_close(pool);
    return status;
}

/* ---- one fault ---- */

/* Who is hit while what happens. */
struct subject {
    const char *name;
    bool (*survives)(struct scene *scene, const struct subject *subject); /* false: WHY */
    const struct campaign *pool;
    const struct play *play; /* of a worker */
    const struct act *act;   /* beside a process of pglendd */
    const char *process;     /* that is hit; NULL: the keeper */
};

static void arm(uint32_t nth, int error, bool for_ever)
{
    control->nth = nth;
    control->error = error;
    control->for_ever = for_ever;
    control->hits = control->calls = 0;
}

static const char *say_error(int error)
{
    return error == SHORT ? "one byte" : strerrorname_np(error);
}

static void say_call(const struct fault_call *call, char text[400])
{
    static const char *const file[] = {"libpglend.so.0", NULL, "pglendd", NULL};
    struct code code;
    char place[256];

    (void)snprintf(place, sizeof place, "%s", call->module == MODULE_LIBPQ ? "libpq" : "libuv");
    if (file[call->module] != NULL) {
        code_load(&code, harness_product(file[call->module]), NULL);
        code_name(&code, call->offset - 1, place);
        code_free(&code);
    }
    (void)snprintf(text, 400, "%s from %s", call->function, place);
}

static bool worker_survives(struct scene *scene, const struct subject *subject)
{
    struct worker_process worker;
    int status = -1;

    runtime_dir = scene->daemon->runtime_dir;
    worker_fork(&worker, work, (void *)(uintptr_t)subject->play);
    for (uint64_t until = harness_now_ms() + END_SECONDS * 1000; status == -1 && harness_now_ms() < until;)
        if (waitpid(worker.pid, &status, WNOHANG) == 0)
            status = -1, harness_sleep_ms(1);
    if (status == -1)
        worker_kill(&worker, SIGKILL);
    else
        (void)close(worker.sock);
    if (status == 0)
        return scene_holds(scene);
    (void)snprintf(scene->why, sizeof scene->why, "the worker %s, status %#x",
                   status == -1              ? "had not ended in time"
                   : status == UNCLEAR << 8  ? "was told nothing"
                   : status == UNUSABLE << 8 ? "could not borrow again"
                   : (status & 0x7f) != 0    ? "crashed"
                                             : "failed",
                   (unsigned)status);
    return false;
}

static bool fails(struct scene *scene, const char *what, int number)
{
    (void)snprintf(scene->why, sizeof scene->why, "%s %d", what, number);
    return false;
}

/*
 * No process of pglendd has crashed; a supervisor may have ended with an error, and have a successor. Nor has one blamed
 * a worker for what none did.
 */
static bool daemon_is_whole(struct scene *scene)
{
    static const char *const words[] = {"signal 4 ", "signal 6 ",  "signal 7 ",
                                        "signal 8 ", "signal 11 ", "damaged the shared memory"};

    if (process_state(scene->daemon->pid) == 'Z')
        return fails(scene, "the keeper has ended, process", (int)scene->daemon->pid);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (pglendd_logged(scene->daemon, words[i]))
            return fails(scene, words[i], 0);
    scene->supervisor = pglendd_process(scene->daemon, "supervisor");
    return scene->supervisor != 0 || fails(scene, "there is no supervisor under process", (int)scene->daemon->pid);
}

static void disarm(void)
{
    atomic_store(&control->titled, false);
    atomic_store(&control->pid, 0);
}

/* Calls fail while the act goes on, and succeed again before it must have come to its end. */
static bool act_goes_on(struct scene *scene, const struct subject *subject)
{
    struct actor actor;
    int status;

    if (!actor_start(&actor, subject->act, scene))
        return false;
    if (!atomic_load(&control->titled))
        atomic_store(&control->pid,
                     subject->process == NULL ? scene->daemon->pid : pglendd_process(scene->daemon, subject->process));
    actor_go(&actor);
    harness_sleep_ms(ACT_MS);
    disarm();
    if (!actor_ends(&actor, &status) || !scene_comes_true(scene, daemon_is_whole, 5))
        return false;
    if (status != subject->act->status && status != 1) /* an error, and told */
        return fails(scene, "the actor ended with status", status);
    return true;
}

static bool daemon_survives(struct scene *scene, const struct subject *subject)
{
    return act_goes_on(scene, subject) && scene_holds(scene);
}

/* From here on each process of the subject's title that starts is hit, from its first call on. */
static void arm_starts(const struct subject *subject)
{
    (void)snprintf(control->title, sizeof control->title, "pglendd: %s", subject->process);
    atomic_store(&control->starts, 0);
    atomic_store(&control->titled, true);
}

static bool starts_paused(struct scene *scene)
{
    uint32_t starts = atomic_load(&control->starts);

    return starts <= STARTS_MOST || fails(scene, "without a pause, starts:", (int)starts);
}

static bool has_started(struct scene *scene)
{
    return atomic_load(&control->starts) > 0 || fails(scene, "it was not started again within s", START_SECONDS);
}

/* It is killed, and each that comes after it is hit. */
static bool start_survives(struct scene *scene, const struct subject *subject)
{
    bool started;

    arm_starts(subject);
    (void)kill(pglendd_process(scene->daemon, subject->process), SIGKILL);
    started = scene_comes_true(scene, has_started, START_SECONDS);
    harness_sleep_ms(ACT_MS);
    disarm();
    return started && starts_paused(scene) && scene_comes_true(scene, daemon_is_whole, 5) && scene_holds(scene);
}

/* All of pglendd starts anew, for who dies again and again is waited for. */
static bool audit_survives(struct scene *scene, const struct subject *subject)
{
    pglendd_kill(scene->daemon);
    arm_starts(subject);
    pglendd_resume(scene->daemon);
    harness_sleep_ms(ACT_MS);
    disarm();
    segment_unmap(&scene->segment);
    scene_map(scene->daemon, &scene->segment);
    return starts_paused(scene) && scene_comes_true(scene, daemon_is_whole, 5) && scene_holds(scene);
}

/* What logins wrote themselves, before and after each knew that it is one. */
static unsigned own_words(const struct scene *scene)
{
    return pglendd_logged(scene->daemon, " error login") + pglendd_logged(scene->daemon, " error pglendd");
}

/*
 * One that failed is tried again, and what there is to read then says why; its own line where it could not tell it. One
 * that had become a relay has not failed as a login.
 */
static bool login_survives(struct scene *scene, const struct subject *subject)
{
    unsigned told = pglendd_logged(scene->daemon, FAILED), silent = pglendd_logged(scene->daemon, FAILED SILENT),
             own = own_words(scene), relays = pglendd_logged(scene->daemon, " error relay");

    arm_starts(subject);
    if (!act_goes_on(scene, subject) || !starts_paused(scene))
        return false;
    if (atomic_load(&control->starts) > 1 && pglendd_logged(scene->daemon, FAILED) == told &&
        pglendd_logged(scene->daemon, " error relay") == relays)
        return fails(scene, "no login is said to have failed, of", (int)atomic_load(&control->starts));
    if (pglendd_logged(scene->daemon, FAILED SILENT) - silent > own_words(scene) - own)
        return fails(scene, "a login failed without words, of", (int)atomic_load(&control->starts));
    return scene_holds(scene);
}

/* ---- all of them ---- */

static char tls_database[256];
#define SHORT_LOGIN ", 'login': {'timeout': '2s'}" /* libpq may wait for a server to which it could not send */
static const struct campaign shared = {.name = "shared", .pool = SHORT_LOGIN},
                             strict = {.name = "strict", .pool = "", .strict = true},
                             tls = {.name = "TLS", .pool = SHORT_LOGIN, .database = tls_database},
                             strict_tls = {.name = "strict, TLS", .pool = "", .database = tls_database, .strict = true},
                             batched = {.name = "audited", .pool = "", .audited = true},
                             durable = {.name = "durable", .pool = "", .audited = true, .trail = ", 'sync': 'durable'"};

struct tally {
    unsigned tried, hit, failed, places;
};

/* How many calls before the Nth came from its place. */
static unsigned earlier_ones(const struct fault_call *call, size_t n)
{
    unsigned earlier = 0;

    for (size_t i = 0; i < n; i++)
        earlier += call[i].offset == call[n].offset && call[i].module == call[n].module;
    return earlier;
}

static unsigned most_of(const struct fault_call *call)
{
    return strcmp(call->function, "sendmsg") == 0 || strcmp(call->function, "recvmsg") == 0 ? OF_MESSAGES : OF_A_PLACE;
}

static void try_call(struct scene *scene, const struct subject *subject, const struct fault_call *call, uint32_t nth,
                     struct tally *tally, uint64_t until)
{
    char where[400];

    for (int i = 0; i < ERRORS_MAX && errors[call->failing][i] != 0; i++)
        for (int for_ever = 0; for_ever < 2 && (until == 0 || harness_now_ms() < until); for_ever++) {
            arm(nth, errors[call->failing][i], for_ever != 0);
            tally->tried++;
            if (subject->survives(scene, subject)) {
                tally->hit += control->hits > 0;
                continue;
            }
            tally->failed++;
            say_call(control->hits > 0 ? &control->call[nth - 1] : call, where);
            printf("%s, call %u: %s: %s %s: %s\n", subject->name, nth, where, say_error(errors[call->failing][i]),
                   for_ever ? "for ever" : "once", scene->why);
            (void)fflush(stdout);
            scene_abandon(scene);
            scene_open(scene, subject->pool);
        }
}

/* One call of each place, as far as SECONDS reach; without a bound (0) some of each. */
static void try_all(struct scene *scene, const struct subject *subject, double seconds)
{
    struct tally tally = {0};
    struct fault_call *call;
    uint64_t until;
    uint32_t calls;

    arm(0, 0, false);
    ck_assert_msg(subject->survives(scene, subject), "%s: %s", subject->name, scene->why);
    calls = control->calls;
    ck_assert(calls > 0 && calls < CALLS_MAX);
    call = malloc(calls * sizeof *call);
    ck_assert_ptr_nonnull(call);
    memcpy(call, control->call, calls * sizeof *call);
    until = seconds > 0 ? harness_now_ms() + (uint64_t)(seconds * 1000) : 0;
    for (uint32_t n = 0; n < calls; n++)
        tally.places += earlier_ones(call, n) == 0;
    for (uint32_t i = 0; i < calls && tally.failed < FAILURES_MOST && (until == 0 || harness_now_ms() < until); i++) {
        uint32_t n = (uint32_t)((uint64_t)i * 7919 % calls);

        if (earlier_ones(call, n) < (seconds > 0 ? 1 : most_of(&call[n])))
            try_call(scene, subject, &call[n], n + 1, &tally, until);
    }
    free(call);
    printf("%-26s %5u calls from %3u places, %5u faults tried, %5u met, %u failed\n", subject->name, calls,
           tally.places, tally.tried, tally.hit, tally.failed);
    (void)fflush(stdout);
    ck_assert_uint_eq(tally.failed, 0);
    ck_assert_uint_gt(tally.hit, 0);
}

static double seconds_each(void)
{
    const char *text = getenv("FAULT_SECONDS");

    return text != NULL ? strtod(text, NULL) : 1;
}

static const struct play first = {false, false}, again = {true, false}, dirty = {true, true};
static const struct subject workers[] = {
    {"worker: first acquire", worker_survives, &shared, .play = &first},
    {"worker: acquire", worker_survives, &shared, .play = &again},
    {"worker: in a transaction", worker_survives, &shared, .play = &dirty},
    {"worker, strict: first acquire", worker_survives, &strict, .play = &first},
    {"worker, strict: acquire", worker_survives, &strict, .play = &again},
    {"worker, strict: in a transaction", worker_survives, &strict, .play = &dirty},
};
static const struct subject daemons[] = {
    {"supervisor: grant", daemon_survives, &shared, .act = &act_grant, .process = "supervisor"},
    {"supervisor: reclaim", daemon_survives, &shared, .act = &act_reclaim, .process = "supervisor"},
    {"supervisor: dead waiter", daemon_survives, &shared, .act = &act_waiter, .process = "supervisor"},
    {"supervisor: login", daemon_survives, &shared, .act = &act_login, .process = "supervisor"},
    {"supervisor: reload", daemon_survives, &shared, .act = &act_reload, .process = "supervisor"},
    {"supervisor: start", start_survives, &shared, .process = "supervisor"},
    {"supervisor, strict: start", start_survives, &strict, .process = "supervisor"},
    {"supervisor, strict: grant", daemon_survives, &strict, .act = &act_use, .process = "supervisor"},
    {"supervisor, strict: reclaim", daemon_survives, &strict, .act = &act_reclaim, .process = "supervisor"},
    {"supervisor, strict: dead waiter", daemon_survives, &strict, .act = &act_waiter, .process = "supervisor"},
    {"supervisor, strict: TLS", daemon_survives, &strict_tls, .act = &act_use, .process = "supervisor"},
    {"supervisor: audited", daemon_survives, &durable, .act = &act_grant, .process = "supervisor"},
    {"keeper: login", daemon_survives, &shared, .act = &act_login},
    {"keeper: login, TLS", daemon_survives, &tls, .act = &act_login},
    {"keeper: reload", daemon_survives, &shared, .act = &act_reload},
    {"login", login_survives, &shared, .act = &act_login, .process = "login"},
    {"login, TLS", login_survives, &tls, .act = &act_login, .process = "login"},
    {"relay", daemon_survives, &tls, .act = &act_use, .process = "relay"},
    {"relay, strict", daemon_survives, &strict_tls, .act = &act_use, .process = "relay"},
    {"audit, batched", daemon_survives, &batched, .act = &act_grant, .process = "audit"},
    {"audit, durable", daemon_survives, &durable, .act = &act_grant, .process = "audit"},
    {"audit: start", audit_survives, &durable, .process = "audit"},
};

static void encrypt(void)
{
    tls_begin();
    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_serve("good");
    (void)snprintf(tls_database, sizeof tls_database,
                   ", 'host': '127.0.0.1', 'sslmode': 'verify-full', 'sslrootcert': '%s/ours.crt'",
                   harness_directory());
}

static void run(const struct subject *subject)
{
    const char *only = getenv("FAULT_ONLY"); /* part of the names of those to try */
    struct scene scene;

    if (only != NULL && strstr(subject->name, only) == NULL)
        return;
    if (subject->pool->strict && geteuid() != 0) {
        printf("%s: skipped: strict isolation needs two users, and so root\n", subject->name);
        return;
    }
    if (subject->pool->database != NULL)
        encrypt();
    scene_open(&scene, subject->pool);
    try_all(&scene, subject, seconds_each());
    if (subject->pool->audited)
        ck_assert_msg(scene_comes_true(&scene, trail_verifies, TRAIL_SECONDS) &&
                          scene_comes_true(&scene, trail_balances, TRAIL_SECONDS),
                      "%s: %s", subject->name, scene.why);
    scene_close(&scene);
    if (subject->pool->database != NULL)
        tls_end();
}

START_TEST(worker)
{
    control->module[MODULE_LIBRARY] = control->module[MODULE_LIBPQ] = true;
    run(&workers[_i]);
}
END_TEST

START_TEST(process_of_pglendd)
{
    const struct subject *subject = &daemons[_i];

    control->module[MODULE_DAEMON] = true;
    /* It alone makes processes. In others libuv only begins, and aborts where it has no pipe for that. */
    control->module[MODULE_LIBUV] = subject->process == NULL;
    control->module[MODULE_LIBPQ] = subject->survives == login_survives;
    run(subject);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("live_faults");
    TCase *tc = harness_live_case(suite, "faults", seconds_each() > 0 ? 120 : 7200);
    int status;

    (void)argc;
    control = preload(argv, "faults.so", FAULTS_FILE, 0666, sizeof *control);
    tcase_add_loop_test(tc, worker, 0, sizeof workers / sizeof *workers);
    tcase_add_loop_test(tc, process_of_pglendd, 0, sizeof daemons / sizeof *daemons);
    status = harness_main(suite);
    preload_end(FAULTS_FILE);
    return status;
}
