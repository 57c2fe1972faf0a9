/* SPDX-License-Identifier: ISC */
/*
 * race.c - the clients of a race are started once and have all ways open; a round lets them go one way after another.
 *
 * The hard thing: what stands in for a worker must not be slowed down by being measured. A client counts in memory of
 * its own pages and reads the clock twice a turn; everything else is worked out between the rounds.
 */
#include "race.h"
#include "bench.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS_MAX 512
#define ROUNDS_MAX  100
#define KEPT_MAX    8192 /* turns a client in a round whose time is kept */

struct lap {
    _Alignas(4096) double done, ns, cpu_us;
    uint32_t turns;
    float turn_us[KEPT_MAX], wait_us[KEPT_MAX];
};

static struct shared {
    pthread_barrier_t start, end;
    int way; /* -1: the race is over */
    _Atomic bool stop;
    struct lap lap[CLIENTS_MAX];
} * shared;

int race_client;
double race_waited_us;

struct times {
    double p50[ROUNDS_MAX], p99[ROUNDS_MAX], p999[ROUNDS_MAX];
};

struct figures {
    double rate[ROUNDS_MAX], jain[ROUNDS_MAX];
    struct times turn, wait;
    double client_us[ROUNDS_MAX], server_us[ROUNDS_MAX], pooler_us[ROUNDS_MAX], share[ROUNDS_MAX];
    double over[ROUNDS_MAX]; /* the first way's rate over this one's */
};

/* ---- a client ---- */

static double own_cpu_us(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void run_lap(const struct race_way *way, struct lap *lap)
{
    uint64_t start = bench_ns(), now = start, before;
    double cpu = own_cpu_us();

    lap->done = 0;
    for (lap->turns = 0; !shared->stop; lap->turns++) {
        before = now;
        lap->done += way->turn();
        now = bench_ns();
        if (lap->turns < KEPT_MAX) {
            lap->turn_us[lap->turns] = (float)(now - before) / 1000;
            lap->wait_us[lap->turns] = (float)race_waited_us;
        }
    }
    lap->ns = (double)(now - start);
    lap->cpu_us = own_cpu_us() - cpu;
}

static bool is_open(const struct race_way *way)
{
    return way->name != NULL && (way->needs == NULL || getenv(way->needs) != NULL);
}

static _Noreturn void client(const struct race *race, int number)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    race_client = number;
    srandom((unsigned)number + 1);
    for (int i = 0; i < RACE_WAYS; i++)
        if (is_open(&race->way[i]) && race->way[i].open != NULL)
            race->way[i].open();
    for (;;) {
        (void)pthread_barrier_wait(&shared->start);
        if (shared->way < 0)
            _exit(0);
        run_lap(&race->way[shared->way], &shared->lap[number]);
        (void)pthread_barrier_wait(&shared->end);
    }
}

/* ---- what the machine did meanwhile ---- */

/* Processor's time of process PID so far, in µs; 0 if there is none. */
static double cpu_us(long pid)
{
    unsigned long long ns = 0;
    char path[64];
    FILE *schedstat;

    (void)snprintf(path, sizeof path, "/proc/%ld/schedstat",
                   pid); /* in ns: a tick of stat's is a whole round's share */
    schedstat = fopen(path, "re");
    if (schedstat == NULL)
        return 0;
    if (fscanf(schedstat, "%llu", &ns) != 1)
        ns = 0;
    (void)fclose(schedstat);
    return (double)ns / 1000;
}

/* The same of PID and its children. */
static double family_cpu_us(long pid)
{
    double sum = cpu_us(pid);
    char path[64];
    FILE *children;
    long child;

    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", pid, pid);
    children = fopen(path, "re");
    while (children != NULL && fscanf(children, "%ld", &child) == 1)
        sum += cpu_us(child);
    if (children != NULL)
        (void)fclose(children);
    return sum;
}

static double server_cpu_us(void)
{
    long postmaster = bench_setting("BENCH_POSTMASTER", 0);

    return postmaster > 0 ? family_cpu_us(postmaster) : 0;
}

static double pooler_cpu_us(const struct race_way *way)
{
    return way->pooler != NULL ? cpu_us(bench_setting(way->pooler, 0)) : 0;
}

/* ---- rounds ---- */

static void take_times(const struct race *race, struct times *t, bool waits, long round)
{
    static double us[CLIENTS_MAX * KEPT_MAX];
    size_t count = 0;

    for (int i = 0; i < race->clients; i++)
        for (uint32_t k = 0; k < shared->lap[i].turns && k < KEPT_MAX; k++)
            us[count++] = (double)(waits ? shared->lap[i].wait_us : shared->lap[i].turn_us)[k];
    t->p50[round] = bench_percentile(us, count, 0.5);
    t->p99[round] = bench_percentile(us, count, 0.99);
    t->p999[round] = bench_percentile(us, count, 0.999);
}

static void go(const struct race *race, int way, long ms, struct figures *f, long round)
{
    double server, pooler, turns = 0, sum = 0, squares = 0, client_us = 0;

    shared->way = way;
    shared->stop = false;
    server = server_cpu_us();
    pooler = pooler_cpu_us(&race->way[way]);
    (void)pthread_barrier_wait(&shared->start);
    (void)usleep((useconds_t)ms * 1000);
    shared->stop = true;
    (void)pthread_barrier_wait(&shared->end);
    for (int i = 0; i < race->clients; i++) {
        double rate = shared->lap[i].done / (shared->lap[i].ns / 1e9);

        sum += rate;
        squares += rate * rate;
        turns += shared->lap[i].turns;
        client_us += shared->lap[i].cpu_us;
    }
    f->rate[round] = sum;
    f->jain[round] = sum * sum / (race->clients * squares);
    f->client_us[round] = client_us / turns;
    f->server_us[round] = (server_cpu_us() - server) / turns;
    f->pooler_us[round] = (pooler_cpu_us(&race->way[way]) - pooler) / turns;
    f->share[round] = f->pooler_us[round] / (f->pooler_us[round] + f->client_us[round] + f->server_us[round]);
    take_times(race, &f->turn, false, round);
    take_times(race, &f->wait, true, round);
}

static void report(const struct race *race, const char *way, const char *what, double value)
{
    char name[128];

    (void)snprintf(name, sizeof name, "%s_%s%s", race->name, way, what);
    bench_report(name, value);
}

static void report_times(const struct race *race, const char *way, const char *what, struct times *t, size_t rounds)
{
    static const char *const suffix[] = {"p50", "p99", "p999"};
    double *const each[] = {t->p50, t->p99, t->p999};
    char name[64];

    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        (void)snprintf(name, sizeof name, "%s_%s_us", what, suffix[i]);
        report(race, way, name, bench_median(each[i], rounds));
    }
}

static void report_all(const struct race *race, int way, struct figures *f, size_t rounds)
{
    const char *name = race->way[way].name;
    char over[64];

    report(race, name, "", bench_median(f->rate, rounds));
    report(race, name, "_low", f->rate[0]); /* sorted by now */
    report(race, name, "_high", f->rate[rounds - 1]);
    report(race, name, "_jain", bench_median(f->jain, rounds));
    report_times(race, name, "", &f->turn, rounds);
    if (f->wait.p50[0] > 0)
        report_times(race, name, "_wait", &f->wait, rounds);
    report(race, name, "_client_us", bench_median(f->client_us, rounds));
    report(race, name, "_server_us", bench_median(f->server_us, rounds));
    if (race->way[way].pooler != NULL) {
        report(race, name, "_pooler_us", bench_median(f->pooler_us, rounds));
        report(race, name, "_share", bench_median(f->share, rounds));
    }
    if (way == 0)
        return;
    (void)snprintf(over, sizeof over, "over_%s", name);
    report(race, over, "", bench_median(f->over, rounds));
}

/* A client that failed has said why, and would be waited for. */
static void on_client_gone(int number)
{
    (void)number;
    _exit(1);
}

static void start_clients(const struct race *race)
{
    pthread_barrierattr_t between;

    shared = bench_shared(sizeof *shared);
    (void)pthread_barrierattr_init(&between);
    (void)pthread_barrierattr_setpshared(&between, PTHREAD_PROCESS_SHARED);
    (void)pthread_barrier_init(&shared->start, &between, (unsigned)race->clients + 1);
    (void)pthread_barrier_init(&shared->end, &between, (unsigned)race->clients + 1);
    (void)signal(SIGCHLD, on_client_gone);
    for (int i = 0; i < race->clients; i++)
        switch (fork()) {
        case -1:
            bench_fail("fork", race->name);
        case 0:
            client(race, i);
        default:
            break;
        }
}

void race_run(const struct race *race)
{
    static struct figures figures[RACE_WAYS];
    long rounds = bench_setting("BENCH_ROUNDS", 9), ms = bench_setting("BENCH_RACE_MS", 1000);

    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_fail("BENCH_ROUNDS", "must be 1 to 100");
    if (race->clients > CLIENTS_MAX)
        bench_fail(race->name, "too many clients");
    if (!is_open(&race->way[0]))
        return;
    if (race->prepare != NULL)
        race->prepare();
    start_clients(race);
    for (long round = -1; round < rounds; round++) /* the first to warm up */
        for (int i = 0; i < RACE_WAYS; i++) {
            int way = (int)((i + round + 1) % RACE_WAYS);

            if (is_open(&race->way[way]))
                go(race, way, ms, &figures[way], round < 0 ? 0 : round);
        }
    /* A machine that is shared is slow for both ways of a round alike, so they are compared round by round. */
    for (int i = 0; i < RACE_WAYS; i++)
        for (long round = 0; is_open(&race->way[i]) && round < rounds; round++)
            figures[i].over[round] = figures[0].rate[round] / figures[i].rate[round];
    for (int i = 0; i < RACE_WAYS; i++)
        if (is_open(&race->way[i]))
            report_all(race, i, &figures[i], (size_t)rounds);
    (void)signal(SIGCHLD, SIG_DFL);
    shared->way = -1;
    (void)pthread_barrier_wait(&shared->start);
    while (wait(NULL) > 0)
        continue;
    bench_unshare(shared, sizeof *shared);
}
