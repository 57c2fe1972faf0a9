/* SPDX-License-Identifier: ISC */
/*
 * soak_chaos.c - the faults of a soak run, a row each, and the workers they fall upon.
 *
 * Each row is made once, in order, before chance decides by weight: a short run has them all. The hard thing is the
 * time of a kill: it is read before kill(2), so that the history never has a holder live longer than it did.
 */
#include "harness.h"
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_MS_MAX     700
#define END_SECONDS     30
#define CLOCK_AHEAD_MAX 21600

struct labourer {
    pid_t pid;
    uint32_t serial;
    uint64_t stopped_until; /* ms; 0: it runs */
    uint64_t starved_until;
};

struct moment {
    uint32_t serial; /* of a worker that was killed; 0: a disturbance */
    uint64_t at;
};

struct fault {
    const char *name;
    unsigned weight, hold_ms;
    bool disturbs;                       /* reclaiming takes longer for reasons of its own */
    bool ends_calm;                      /* not made while the supervisor is measured */
    bool (*begin)(struct soak_chaos *c); /* false: cannot be made just now */
    void (*end)(struct soak_chaos *c);
};

struct soak_chaos {
    struct soak *soak;
    struct labourer worker[SOAK_WORKERS];
    uint32_t serials;
    struct moment *moment;
    size_t moments, moments_max;
    pid_t limited;      /* the supervisor that has few descriptors */
    uint64_t until[16]; /* ms, of each row that lasts; 0: not made */
    unsigned made[16];
    unsigned next; /* row of the first round */
};

static unsigned choose(struct soak_chaos *c, size_t among)
{
    return (unsigned)rand_r(&c->soak->seed) % (unsigned)among;
}

static void remember(struct soak_chaos *c, uint32_t serial, uint64_t at)
{
    if (c->moments == c->moments_max) {
        c->moments_max = c->moments_max * 2 + 1024;
        c->moment = realloc(c->moment, c->moments_max * sizeof *c->moment);
        ck_assert_ptr_nonnull(c->moment);
    }
    c->moment[c->moments++] = (struct moment){serial, at};
}

/* ---- workers ---- */

static void hire(struct soak_chaos *c, struct labourer *worker)
{
    *worker = (struct labourer){.serial = ++c->serials};
    ck_assert_int_eq(fflush(NULL), 0);
    worker->pid = fork();
    ck_assert_int_ne(worker->pid, -1);
    if (worker->pid > 0)
        return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(soak_worker(c->soak, worker->serial));
}

static bool kill_worker(struct soak_chaos *c)
{
    struct labourer *worker = &c->worker[choose(c, SOAK_WORKERS)];
    uint64_t at = soak_now_ns();

    ck_assert_int_eq(kill(worker->pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(worker->pid, NULL, 0), worker->pid);
    remember(c, worker->serial, at);
    hire(c, worker);
    return true;
}

static bool stop_worker(struct soak_chaos *c)
{
    struct labourer *worker = &c->worker[choose(c, SOAK_WORKERS)];

    if (worker->stopped_until != 0)
        return false;
    ck_assert_int_eq(kill(worker->pid, SIGSTOP), 0);
    worker->stopped_until = harness_now_ms() + 5 + choose(c, STOP_MS_MAX);
    return true;
}

static void set_limit(pid_t pid, rlim_t descriptors)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (descriptors < limit.rlim_cur)
        limit.rlim_cur = descriptors;
    ck_assert_msg(prlimit(pid, RLIMIT_NOFILE, &limit, NULL) == 0 || errno == ESRCH, "prlimit: %s", strerror(errno));
}

static bool starve_worker(struct soak_chaos *c)
{
    struct labourer *worker = &c->worker[choose(c, SOAK_WORKERS)];

    set_limit(worker->pid, 3 + choose(c, 8));
    worker->starved_until = harness_now_ms() + 20 + choose(c, 200);
    return true;
}

/* What lasted long enough ends; all of it if NOW is the end of time. */
static void relieve_workers(struct soak_chaos *c, uint64_t now)
{
    for (int i = 0; i < SOAK_WORKERS; i++) {
        struct labourer *worker = &c->worker[i];

        if (worker->stopped_until != 0 && worker->stopped_until <= now) {
            ck_assert_int_eq(kill(worker->pid, SIGCONT), 0);
            worker->stopped_until = 0;
        }
        if (worker->starved_until != 0 && worker->starved_until <= now) {
            set_limit(worker->pid, RLIM_INFINITY);
            worker->starved_until = 0;
        }
    }
}

/* ---- pglendd ---- */

static bool kill_process(struct soak_chaos *c, const char *name)
{
    pid_t pid = pglendd_process(c->soak->daemon, name);

    return pid > 0 && kill(pid, SIGKILL) == 0;
}

static bool kill_supervisor(struct soak_chaos *c)
{
    return kill_process(c, "supervisor");
}

static bool kill_audit(struct soak_chaos *c)
{
    return kill_process(c, "audit");
}

static bool kill_login(struct soak_chaos *c)
{
    return kill_process(c, "login");
}

/* Whichever comes first; where nothing is encrypted there is none. */
static bool kill_relay(struct soak_chaos *c)
{
    return kill_process(c, "relay");
}

struct wish {
    pid_t supervisor;
    rlim_t descriptors;
};

/* In a process of the supervisor's user: to set the limits of others takes more than being root. */
static int limit_as_its_user(void *argument, int sock)
{
    const struct wish *wish = argument;

    (void)sock;
    harness_drop();
    set_limit(wish->supervisor, wish->descriptors);
    return 0;
}

static bool starve_supervisor(struct soak_chaos *c)
{
    struct wish wish;

    c->limited = wish.supervisor = pglendd_process(c->soak->daemon, "supervisor");
    if (c->limited == 0)
        return false;
    wish.descriptors = process_descriptors(c->limited) + choose(c, 3);
    in_worker(limit_as_its_user, &wish, 10);
    return true;
}

static void feed_supervisor(struct soak_chaos *c)
{
    struct wish wish = {c->limited, RLIM_INFINITY};

    in_worker(limit_as_its_user, &wish, 10);
}

static bool fill_disk(struct soak_chaos *c)
{
    static const char block[65536];
    int fd;

    if (c->soak->ballast == NULL)
        return false;
    ck_assert_int_ne(fd = open(c->soak->ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
    while (write(fd, block, sizeof block) > 0)
        continue;
    ck_assert_int_eq(errno, ENOSPC);
    (void)close(fd);
    return true;
}

static void empty_disk(struct soak_chaos *c)
{
    ck_assert_int_eq(unlink(c->soak->ballast), 0);
}

/* Forth and back by hours. Never behind the machine's, where a certificate may not be good yet. */
static bool step_clock(struct soak_chaos *c)
{
    if (c->soak->clock == NULL)
        return false;
    atomic_store(c->soak->clock, (int64_t)choose(c, CLOCK_AHEAD_MAX));
    return true;
}

/* ---- PostgreSQL ---- */

static bool terminate_one(struct soak_chaos *c)
{
    postgres_run(c->soak->server, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'clinic'"
                                  " order by random() limit 1");
    return true;
}

static bool terminate_all(struct soak_chaos *c)
{
    postgres_run(c->soak->server, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'clinic'");
    return true;
}

static bool restart_server(struct soak_chaos *c)
{
    postgres_stop(c->soak->server, "fast");
    postgres_resume(c->soak->server);
    remember(c, 0, soak_now_ns());
    return true;
}

/* ---- all of them ---- */

static const struct fault faults[] = {
    {"worker killed", 500, 0, false, false, kill_worker, NULL},
    {"worker stopped and resumed", 100, 0, false, false, stop_worker, NULL},
    {"worker without descriptors", 30, 0, false, false, starve_worker, NULL},
    {"backend terminated", 100, 0, false, false, terminate_one, NULL},
    {"relay killed", 50, 0, false, false, kill_relay, NULL},
    {"login killed", 3, 0, true, false, kill_login, NULL},
    {"audit trail's disk full", 2, 400, true, false, fill_disk, empty_disk},
    {"clock stepped", 10, 0, false, false, step_clock, NULL},
    {"audit process killed", 2, 0, true, false, kill_audit, NULL},
    {"all backends terminated", 2, 0, true, false, terminate_all, NULL},
    {"supervisor killed", 5, 0, true, true, kill_supervisor, NULL},
    {"PostgreSQL restarted", 1, 0, true, false, restart_server, NULL},
    {"supervisor without descriptors", 3, 300, true, false, starve_supervisor, feed_supervisor},
};
#define FAULTS (sizeof faults / sizeof faults[0])

struct soak_chaos *soak_chaos_start(struct soak *soak)
{
    struct soak_chaos *c = calloc(1, sizeof *c);

    ck_assert_ptr_nonnull(c);
    c->soak = soak;
    for (int i = 0; i < SOAK_WORKERS; i++)
        hire(c, &c->worker[i]);
    return c;
}

static size_t choose_fault(struct soak_chaos *c)
{
    unsigned total = 0, at;
    size_t i = 0;

    for (size_t k = 0; k < FAULTS; k++)
        total += faults[k].weight;
    at = choose(c, total);
    while (at >= faults[i].weight)
        at -= faults[i++].weight;
    return i;
}

static void end_faults(struct soak_chaos *c, uint64_t now)
{
    for (size_t i = 0; i < FAULTS; i++)
        if (c->until[i] != 0 && c->until[i] <= now) {
            faults[i].end(c);
            c->until[i] = 0;
            remember(c, 0, soak_now_ns());
        }
    relieve_workers(c, now);
}

void soak_chaos_step(struct soak_chaos *c, bool calm)
{
    size_t i = c->next < FAULTS ? c->next++ : choose_fault(c);
    uint64_t now = harness_now_ms(), at = soak_now_ns();

    end_faults(c, now);
    if (c->until[i] != 0 || (calm && faults[i].ends_calm) || !faults[i].begin(c))
        return;
    c->made[i]++;
    if (faults[i].end != NULL)
        c->until[i] = now + faults[i].hold_ms;
    if (faults[i].disturbs)
        remember(c, 0, at);
}

static bool ended(const struct labourer *worker)
{
    return waitpid(worker->pid, NULL, WNOHANG) == worker->pid;
}

void soak_chaos_stop(struct soak_chaos *c)
{
    PGconn *conn;

    end_faults(c, UINT64_MAX);
    atomic_store(&c->soak->shared->stop, true);
    for (int i = 0; i < SOAK_WORKERS; i++)
        wait_until(ended(&c->worker[i]), END_SECONDS);
    conn = postgres_connect(c->soak->server, "postgres");
    for (size_t i = 0; i < c->moments; i++)
        if (c->moment[i].serial != 0)
            soak_history_killed(conn, c->moment[i].serial, c->moment[i].at);
        else
            soak_history_disturbed(conn, c->moment[i].at);
    PQfinish(conn);
    for (size_t i = 0; i < FAULTS; i++)
        printf("%6u %s%s\n", c->made[i], faults[i].name,
               faults[i].begin == fill_disk && c->soak->ballast == NULL  ? " (skipped: mount is not allowed)"
               : faults[i].begin == step_clock && c->soak->clock == NULL ? " (skipped: a sanitizer comes first)"
                                                                         : "");
    free(c->moment);
    free(c);
}
