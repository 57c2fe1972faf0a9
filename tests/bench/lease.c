/* SPDX-License-Identifier: ISC */
/*
 * lease.c - what acquire and release cost their caller.
 *
 * Where a cycle takes nanoseconds, a batch of them is timed as one. Where a reset is on its way after each release,
 * each cycle is timed alone, after a spin that gives the answer time to arrive: sleeping instead would time cold
 * caches. First use needs a process that has never seen the slot, so each sample of it is a child.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-events.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLES_MAX 100000
#define BATCH       1000
#define SLOTS       4
#define ANSWER_NS   500000 /* a reset's answer is in by then */
#define CPUS_MAX    1024

static void cycle(pglend *pool)
{
    bench_release(pool, bench_acquire(pool));
}

/* Median time of a cycle, in ns, with BATCH of them timed as one. */
static double batched(const char *name, long batches)
{
    static double ns[SAMPLES_MAX];
    pglend *pool = bench_open(name);

    for (long i = 0; i < BATCH; i++)
        cycle(pool);
    for (long b = 0; b < batches; b++) {
        uint64_t start = bench_ns();

        for (long i = 0; i < BATCH; i++)
            cycle(pool);
        ns[b] = (double)(bench_ns() - start) / BATCH;
    }
    pglend_close(pool);
    return bench_median(ns, (size_t)batches);
}

static void spin(uint64_t ns)
{
    uint64_t end = bench_ns() + ns;

    while (bench_ns() < end)
        ;
}

/* Median time of a cycle, in µs, whose predecessor's reset has been answered. */
static double settled(const char *name, long samples)
{
    static double us[SAMPLES_MAX];
    pglend *pool = bench_open(name);

    for (long i = 0; i < samples; i++) {
        uint64_t start;

        spin(ANSWER_NS);
        start = bench_ns();
        cycle(pool);
        us[i] = (double)(bench_ns() - start) / 1000;
    }
    pglend_close(pool);
    return bench_median(us, (size_t)samples);
}

/* Median time, in ns, of what the guard asks of the kernel in a cycle, alone: two dup3(). */
static double floor_guard(long batches)
{
    static double ns[SAMPLES_MAX];
    int from = open("/dev/null", O_RDWR | O_CLOEXEC), to = dup(from);

    if (to < 0)
        bench_fail("/dev/null", strerror(errno));
    for (long b = 0; b < batches; b++) {
        uint64_t start = bench_ns();

        for (long i = 0; i < 2L * BATCH; i++)
            (void)dup3(from, to, O_CLOEXEC);
        ns[b] = (double)(bench_ns() - start) / BATCH;
    }
    close(from);
    close(to);
    return bench_median(ns, (size_t)batches);
}

static int hear(PGEventId event, void *info, void *pass)
{
    (void)event;
    (void)info;
    (void)pass;
    return 1;
}

/*
 * Median time, in ns, of what a cycle asks of the clock and of libpq, alone: when it began and ended, and whether the
 * borrower has left the PGconn as it was, with its event procedures, which only an empty result tells.
 */
static double floor_cycle(long batches)
{
    static double ns[SAMPLES_MAX];
    PGconn *conn = bench_connect();

    if (PQregisterEventProc(conn, hear, "bench", NULL) == 0)
        bench_fail("PQregisterEventProc", PQerrorMessage(conn));
    for (long b = 0; b < batches; b++) {
        uint64_t start = bench_ns();

        for (long i = 0; i < BATCH; i++) {
            PGresult *empty = PQmakeEmptyPGresult(conn, PGRES_COMMAND_OK);
            PGnotify *notify = PQnotifies(conn);

            if (PQresultMemorySize(empty) == 0 || PQtransactionStatus(conn) != PQTRANS_IDLE || notify != NULL ||
                PQflush(conn) != 0 || PQisnonblocking(conn) || PQparameterStatus(conn, "server_encoding") == NULL)
                bench_fail("libpq", PQerrorMessage(conn));
            (void)PQsetNoticeReceiver(conn, NULL, NULL);
            (void)PQsetNoticeProcessor(conn, NULL, NULL);
            (void)PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
            (void)PQsetErrorContextVisibility(conn, PQSHOW_CONTEXT_ERRORS);
            PQuntrace(conn);
            PQclear(empty);
            (void)bench_ns();
            (void)bench_ns();
        }
        ns[b] = (double)(bench_ns() - start) / BATCH;
    }
    PQfinish(conn);
    return bench_median(ns, (size_t)batches);
}

/* Median time, in µs, of what a reset asks of the kernel in a cycle, alone: send it, receive the last one's answer. */
static double floor_full(long samples)
{
    static const char reset[] = "Q\0\0\0\20DISCARD ALL";
    static double us[SAMPLES_MAX];
    PGconn *conn = bench_connect();
    struct pollfd readable = {.fd = PQsocket(conn), .events = POLLIN};
    char answer[256];

    for (long i = 0; i <= samples; i++) {
        uint64_t start;

        if (i > 0)
            poll(&readable, 1, -1);
        start = bench_ns();
        if (i > 0 && recv(PQsocket(conn), answer, sizeof answer, 0) <= 0)
            bench_fail("recv", strerror(errno));
        if (send(PQsocket(conn), reset, sizeof reset, MSG_NOSIGNAL) != sizeof reset)
            bench_fail("send", strerror(errno));
        us[i > 0 ? i - 1 : 0] = (double)(bench_ns() - start) / 1000;
        spin(ANSWER_NS);
    }
    PQfinish(conn);
    return bench_median(us, (size_t)samples);
}

/*
 * Median time, in µs, of what strict isolation asks of the kernel in a cycle, alone: a message to another process,
 * which sleeps until it comes, and its answer.
 */
static double floor_trip(long samples)
{
    static double us[SAMPLES_MAX];
    int pair[2];
    char byte = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        bench_fail("socketpair", strerror(errno));
    switch (fork()) {
    case -1:
        bench_fail("fork", strerror(errno));
    case 0:
        (void)close(pair[0]);
        while (recv(pair[1], &byte, 1, 0) == 1 && send(pair[1], &byte, 1, MSG_NOSIGNAL) == 1)
            continue;
        _exit(0);
    default:
        (void)close(pair[1]);
    }
    for (long i = 0; i < samples; i++) {
        uint64_t start;

        spin(ANSWER_NS);
        start = bench_ns();
        if (send(pair[0], &byte, 1, MSG_NOSIGNAL) != 1 || recv(pair[0], &byte, 1, 0) != 1)
            bench_fail("round trip", strerror(errno));
        us[i] = (double)(bench_ns() - start) / 1000;
    }
    (void)close(pair[0]);
    (void)wait(NULL);
    return bench_median(us, (size_t)samples);
}

/* In a fresh process: time[0] is attach and first use, the rest first uses of one more slot each; µs. */
static void first_uses(pglend *pool, double time[SLOTS])
{
    PGconn *conn[SLOTS];

    for (int i = 0; i < SLOTS; i++) {
        uint64_t start = bench_ns();

        conn[i] = bench_acquire(pool);
        time[i] = (double)(bench_ns() - start) / 1000;
    }
    for (int i = 0; i < SLOTS; i++)
        bench_release(pool, conn[i]);
}

static void measure_first_use(const char *name, long samples)
{
    static double fresh[SAMPLES_MAX], more[SAMPLES_MAX * (SLOTS - 1)];
    pglend *pool = bench_open(name);
    double *time = bench_shared(SLOTS * sizeof *time);

    for (long s = 0; s < samples; s++) {
        int status = 0;
        pid_t pid = fork();

        if (pid < 0)
            bench_fail("fork", strerror(errno));
        if (pid == 0) {
            first_uses(pool, time);
            _exit(0);
        }
        if (waitpid(pid, &status, 0) != pid || status != 0)
            bench_fail("first use", "the process that measured it failed");
        fresh[s] = time[0];
        memcpy(&more[s * (SLOTS - 1)], &time[1], (SLOTS - 1) * sizeof *time);
    }
    pglend_close(pool);
    bench_report("first_fresh_us", bench_median(fresh, (size_t)samples));
    bench_report("first_us", bench_median(more, (size_t)samples * (SLOTS - 1)));
}

/*
 * No processor sleeps while a process is there that runs wherever nobody else does. To wake one that does sleep costs a
 * virtual machine several times what is measured here.
 */
static void keep_awake(pid_t *pid, long count)
{
    const struct sched_param none = {0};

    for (long i = 0; i < count; i++) {
        pid[i] = fork();
        if (pid[i] == -1 || (pid[i] == 0 && sched_setscheduler(0, SCHED_IDLE, &none) == -1))
            bench_fail("keep awake", strerror(errno));
        if (pid[i] > 0)
            continue;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            continue;
    }
}

static void let_sleep(const pid_t *pid, long count)
{
    for (long i = 0; i < count; i++)
        (void)kill(pid[i], SIGKILL);
    while (wait(NULL) > 0)
        continue;
}

/* Strict isolation takes workers of another user than the supervisor's, and so a pglendd of its own and root. */
static void measure_strict(long samples)
{
    const char *shared = getenv("PGLEND_RUNTIME_DIR"), *strict = getenv("BENCH_STRICT_DIR");
    static const char *const name[][3] = {
        {"cycle_strict_us", "cycle_strict_more_us", "floor_trip_us"},
        {"cycle_strict_awake_us", "cycle_strict_awake_more_us", "floor_trip_awake_us"},
    };
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    pid_t awake[CPUS_MAX];

    if (shared == NULL || strict == NULL || count > CPUS_MAX)
        return;
    for (int i = 0; i < 2; i++) {
        double full, us;

        if (i > 0)
            keep_awake(awake, count);
        (void)setenv("PGLEND_RUNTIME_DIR", shared, 1);
        full = settled("full", samples);
        (void)setenv("PGLEND_RUNTIME_DIR", strict, 1);
        us = settled("strict", samples);
        bench_report(name[i][0], us);
        bench_report(name[i][1], us - full);
        bench_report(name[i][2], floor_trip(samples));
        if (i > 0)
            let_sleep(awake, count);
    }
}

int main(void)
{
    double full;
    long batches = bench_setting("BENCH_BATCHES", 500);
    long samples = bench_setting("BENCH_SAMPLES", 1000);

    if (batches < 1 || batches > SAMPLES_MAX || samples < 1 || samples > SAMPLES_MAX)
        bench_fail("BENCH_BATCHES, BENCH_SAMPLES", "must be 1 to 100000");
    bench_report("floor_guard_ns", floor_guard(batches));
    bench_report("floor_ns", floor_cycle(batches));
    bench_report("floor_full_us", floor_full(samples));
    bench_report("cycle_guard_ns", batched("none", batches));
    bench_report("cycle_ns", batched("unguarded", batches));
    full = settled("full", samples);
    bench_report("cycle_full_us", full);
    bench_report("cycle_full_unix_us", settled("full_unix", samples));
    bench_report("cycle_context_more_us", settled("context", samples) - full);
    measure_first_use("none", samples / 5 + 1);
    measure_strict(samples);
    return 0;
}
