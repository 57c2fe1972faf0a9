/* SPDX-License-Identifier: ISC */
/*
 * crowd.c - many workers over few connections, against as many direct connections as there are slots.
 *
 * All processes are started once; a round lets one group run after the other. A worker's loop is acquire, select 1,
 * release, without a pause, so there is always somebody who waits. A third group does the same without pglend and
 * libpq (bare.c): what it cannot reach is the machine's cost of waking so many processes.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS    64
#define DIRECT     8
#define ROUNDS_MAX 100
#define WAITS_MAX  (1 << 18) /* a worker's waits beyond that many in a round are not kept */

enum group { GROUP_LENT, GROUP_DIRECT, GROUP_BARE, GROUPS };
static const int members[GROUPS] = {WORKERS, DIRECT, BARE_MEMBERS};

struct shared {
    pthread_barrier_t start[GROUPS], end[GROUPS];
    _Atomic bool stop;
    _Atomic bool over;
    uint64_t count[GROUPS][WORKERS];
    float wait_us[WORKERS][WAITS_MAX];
};

static struct shared *shared;

static uint64_t lent_loop(pglend *pool, float *wait_us)
{
    uint64_t count = 0;

    while (!shared->stop) {
        uint64_t start = bench_ns();
        PGconn *conn = bench_acquire(pool);

        if (count < WAITS_MAX)
            wait_us[count] = (float)(bench_ns() - start) / 1000;
        count++;
        bench_select_1(conn);
        bench_release(pool, conn);
    }
    return count;
}

static uint64_t direct_loop(PGconn *conn)
{
    uint64_t count = 0;

    while (!shared->stop) {
        bench_select_1(conn);
        count++;
    }
    return count;
}

static uint64_t bare_loop(int index)
{
    uint64_t count = 0;

    while (!shared->stop) {
        bare_cycle(index);
        count++;
    }
    return count;
}

static _Noreturn void member(enum group group, int index)
{
    pglend *pool = bench_open("crowd");
    PGconn *direct = group == GROUP_DIRECT ? bench_connect() : NULL;

    for (;;) {
        pthread_barrier_wait(&shared->start[group]);
        if (shared->over)
            break;
        shared->count[group][index] = group == GROUP_DIRECT ? direct_loop(direct)
                                      : group == GROUP_BARE ? bare_loop(index)
                                                            : lent_loop(pool, shared->wait_us[index]);
        pthread_barrier_wait(&shared->end[group]);
    }
    PQfinish(direct);
    pglend_close(pool);
    exit(0);
}

static void start_group(enum group group)
{
    pthread_barrierattr_t attributes;
    pid_t parent = getpid();

    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->start[group], &attributes, (unsigned)members[group] + 1);
    pthread_barrier_init(&shared->end[group], &attributes, (unsigned)members[group] + 1);
    for (int i = 0; i < members[group]; i++) {
        pid_t pid = fork();

        if (pid < 0)
            bench_fail("fork", strerror(errno));
        if (pid > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        member(group, i);
    }
}

/* A member that failed never reaches the barrier, so nobody would ever leave it. */
static void child_ended(int number)
{
    static const char text[] = "bench: a process of the crowd failed\n";

    (void)number;
    if (!shared->over) {
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        _exit(1);
    }
}

/* Let GROUP run for MS. Returns its queries a second. */
static double run_group(enum group group, long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    uint64_t start, took, total = 0;

    shared->stop = false;
    pthread_barrier_wait(&shared->start[group]);
    start = bench_ns();
    nanosleep(&pause, NULL);
    shared->stop = true;
    took = bench_ns() - start;
    pthread_barrier_wait(&shared->end[group]);
    for (int i = 0; i < members[group]; i++)
        total += shared->count[group][i];
    return (double)total * 1e9 / (double)took;
}

/* How much more leases the luckiest worker had than the unluckiest, of the latter's. */
static double spread(void)
{
    const uint64_t *count = shared->count[GROUP_LENT];
    uint64_t least = count[0], most = count[0];

    for (int i = 1; i < WORKERS; i++) {
        least = count[i] < least ? count[i] : least;
        most = count[i] > most ? count[i] : most;
    }
    return least > 0 ? (double)(most - least) / (double)least : (double)most;
}

/* Median and 99th percentile of all waits of the round. */
static void waits(double *median, double *p99)
{
    static double wait[(size_t)WORKERS * WAITS_MAX];
    size_t n = 0;

    for (int w = 0; w < WORKERS; w++)
        for (uint64_t i = 0; i < shared->count[GROUP_LENT][w] && i < WAITS_MAX; i++)
            wait[n++] = (double)shared->wait_us[w][i];
    *median = bench_median(wait, n);
    *p99 = bench_percentile(wait, n, 0.99);
}

int main(void)
{
    static double lent[ROUNDS_MAX], direct[ROUNDS_MAX], bare[ROUNDS_MAX], spreads[ROUNDS_MAX], median[ROUNDS_MAX],
        p99[ROUNDS_MAX];
    long rounds = bench_setting("BENCH_ROUNDS", 9);
    long ms = bench_setting("BENCH_CROWD_MS", 2000);
    double lent_rate, direct_rate, bare_rate;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_fail("BENCH_ROUNDS", "must be 1 to 100");
    shared = bench_shared(sizeof *shared);
    signal(SIGCHLD, child_ended);
    bare_open();
    for (enum group group = 0; group < GROUPS; group++) {
        start_group(group);
        run_group(group, ms / 2);
    }
    for (long r = 0; r < rounds; r++) {
        lent[r] = run_group(GROUP_LENT, ms);
        spreads[r] = spread();
        waits(&median[r], &p99[r]);
        direct[r] = run_group(GROUP_DIRECT, ms);
        bare[r] = run_group(GROUP_BARE, ms);
    }
    shared->over = true;
    for (enum group group = 0; group < GROUPS; group++)
        pthread_barrier_wait(&shared->start[group]);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    lent_rate = bench_median(lent, (size_t)rounds);
    direct_rate = bench_median(direct, (size_t)rounds);
    bare_rate = bench_median(bare, (size_t)rounds);
    bench_report("crowd_lent", lent_rate);
    bench_report("crowd_direct", direct_rate);
    bench_report("crowd_ratio", lent_rate / direct_rate);
    bench_report("crowd_bare", bare_rate);
    bench_report("crowd_bare_ratio", bare_rate / direct_rate);
    bench_report("crowd_spread", bench_median(spreads, (size_t)rounds));
    bench_report("crowd_wait_p50_us", bench_median(median, (size_t)rounds));
    bench_report("crowd_wait_p99_us", bench_median(p99, (size_t)rounds));
    return 0;
}
