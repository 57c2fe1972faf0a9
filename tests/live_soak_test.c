/* SPDX-License-Identifier: ISC */
/*
 * live_soak_test.c - everything dies, at random, under load, for SOAK_SECONDS; the history must be one that can be,
 * all slots must serve again, and nothing may grow.
 *
 * In the second half the supervisor is left alive: what a process loses slowly shows only in one that lives.
 */
#include "clock/clock.h"
#include "harness.h"
#include "pglend.h"
#include "preload.h"
#include "soak.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLES_MAX    4096
#define GROWTH_SECONDS 120 /* a shorter run says nothing about memory */
#define GROWTH_KB      64  /* a minute; a leak of one small record a lease is twenty times that */

static struct soak soak;

static unsigned seconds(void)
{
    const char *set = getenv("SOAK_SECONDS");
    unsigned long wanted = set != NULL ? strtoul(set, NULL, 10) : 10;

    return wanted >= 1 && wanted <= 86400 ? (unsigned)wanted : 10;
}

static bool sanitized(void)
{
    const char *sanitize = getenv("SANITIZE");

    return sanitize != NULL && *sanitize != '\0';
}

/* ---- growth ---- */

struct sample {
    double at; /* s */
    double value[4];
};
static const char *const sampled[] = {"keeper, kB", "keeper, descriptors", "supervisor, kB", "supervisor, descriptors"};

static double resident_kb(pid_t pid)
{
    unsigned long total = 0, resident = 0;
    char path[64];
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    if ((f = fopen(path, "re")) != NULL) {
        if (fscanf(f, "%lu %lu", &total, &resident) != 2)
            resident = 0;
        (void)fclose(f);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static struct sample take_sample(void)
{
    pid_t keeper = soak.daemon->pid, supervisor = pglendd_process(soak.daemon, "supervisor");

    return (struct sample){(double)harness_now_ms() / 1000,
                           {resident_kb(keeper), (double)process_descriptors(keeper), resident_kb(supervisor),
                            (double)process_descriptors(supervisor)}};
}

/* Least squares; a minute. */
static double slope(const struct sample *sample, size_t count, int which)
{
    double at = 0, value = 0, above = 0, below = 0;

    for (size_t i = 0; i < count; i++) {
        at += sample[i].at / (double)count;
        value += sample[i].value[which] / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        above += (sample[i].at - at) * (sample[i].value[which] - value);
        below += (sample[i].at - at) * (sample[i].at - at);
    }
    return below > 0 ? above / below * 60 : 0;
}

static void show_growth(const struct sample *sample, size_t count)
{
    bool judged = seconds() >= GROWTH_SECONDS && !sanitized();

    for (int i = 0; i < 4 && count > 0; i++) {
        double a_minute = slope(sample, count, i);

        printf("%-24s %8.0f at the end, %+.2f a minute\n", sampled[i], sample[count - 1].value[i], a_minute);
        ck_assert_msg(!judged || a_minute < GROWTH_KB, "%s: grows by %.1f a minute", sampled[i], a_minute);
    }
}

/* ---- before and after ---- */

/* A disk that can be filled, in a namespace of our own: it goes with this process. NULL: that is not allowed here. */
static const char *audit_on_small_disk(void)
{
    static char ballast[128], overrides[512];
    char command[512], disk[80];
    uid_t uid;
    gid_t gid;

    (void)snprintf(disk, sizeof disk, "%s/disk", harness_directory());
    ck_assert_int_eq(mkdir(disk, 0755), 0);
    if (unshare(CLONE_NEWNS) == -1 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
        mount("pglend-soak", disk, "tmpfs", MS_NODEV | MS_NOSUID, "size=48m,mode=755") == -1) {
        printf("no disk to fill, and no audit trail: mount: %s\n", strerror(errno));
        return NULL;
    }
    harness_unprivileged(&uid, &gid);
    (void)snprintf(command, sizeof command,
                   "pglend=$(realpath %s) && cd '%s' && mkdir -m 700 disk/trail archive && "
                   "chown %u:%u disk/trail archive && $pglend audit init --key-out key disk/trail >/dev/null 2>&1",
                   harness_product("pglend"), harness_directory(), (unsigned)uid, (unsigned)gid);
    ck_assert_int_eq(system(command), 0);
    (void)snprintf(ballast, sizeof ballast, "%s/ballast", disk);
    soak.ballast = ballast;
    (void)snprintf(overrides, sizeof overrides,
                   ", 'audit': {'directory': '%s/trail', 'segment_size': 1048576, 'reserve': 1048576,"
                   " 'archive_command': ['/bin/cp', '-p', '-t', '%s/archive'], 'local_retention': '0s'}",
                   disk, harness_directory());
    return overrides;
}

static void start(void)
{
    const char *seed = getenv("SOAK_SEED"), *audit = audit_on_small_disk();
    char overrides[1024];

    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'size': {'min': %d, 'max': %d}, 'login': {'backoff_max': '200ms'}}}%s}",
                   SOAK_SLOTS, SOAK_SLOTS, audit != NULL ? audit : "");
    soak.seed = seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)harness_now_ms();
    printf("soak: %u s, %d workers on %d slots, SOAK_SEED=%u\n", seconds(), SOAK_WORKERS, SOAK_SLOTS, soak.seed);
    soak.server = postgres_start(0);
    soak_history_make(soak.server);
    soak.daemon = pglendd_start(soak.server, overrides);
    soak.shared = mmap(NULL, sizeof *soak.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(soak.shared, MAP_FAILED);
    wait_until(pglendd_count(soak.daemon, "idle") == SOAK_SLOTS, 20);
}

/* All slots at once: as many leases as there are slots, whatever anybody's books say. */
static int borrow_all(void *argument, int sock)
{
    PGconn *conn[SOAK_SLOTS];
    pglend *pool = pglend_open(soak.daemon->runtime_dir, "clinic");
    char text[16];

    (void)argument;
    (void)sock;
    for (int i = 0; i < SOAK_SLOTS; i++) {
        conn[i] = pglend_acquire(pool, 5000);
        ck_assert_msg(conn[i] != NULL, "lost: %d of %d slots: %s", SOAK_SLOTS - i, SOAK_SLOTS, pglend_errmessage(pool));
        ck_assert_str_eq(query(conn[i], "select 1", text, sizeof text), "1");
    }
    for (int i = 0; i < SOAK_SLOTS; i++)
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

static void show_descriptors(pid_t pid)
{
    char path[64], target[256];

    for (int fd = 0; fd < 1024; fd++) {
        ssize_t length;

        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        length = readlink(path, target, sizeof target - 1);
        if (length > 0)
            printf("process %d: %d is %.*s\n", (int)pid, fd, (int)length, target);
    }
}

/* As many descriptors as before the load, or fewer. */
static void expect_descriptors(const struct sample *before)
{
    uint64_t until = harness_now_ms() + 10000;
    struct sample now = take_sample();

    while ((now.value[1] > before->value[1] || now.value[3] > before->value[3]) && harness_now_ms() < until) {
        harness_sleep_ms(20);
        now = take_sample();
    }
    if (now.value[1] > before->value[1])
        show_descriptors(soak.daemon->pid);
    if (now.value[3] > before->value[3])
        show_descriptors(pglendd_process(soak.daemon, "supervisor"));
    (void)fflush(stdout);
    ck_assert_msg(now.value[1] <= before->value[1], "leaked: the keeper has %.0f descriptors, %.0f before",
                  now.value[1], before->value[1]);
    ck_assert_msg(now.value[3] <= before->value[3], "leaked: the supervisor has %.0f descriptors, %.0f before",
                  now.value[3], before->value[3]);
}

/* What the disk, the clock and the deaths of the audit process left of it. */
static void trail_verifies(void)
{
    char command[512];

    if (soak.ballast == NULL)
        return;
    (void)snprintf(command, sizeof command,
                   "pglend=$(realpath %s) && cd '%s' && cp -p disk/trail/* archive && "
                   "timeout 60 $pglend audit verify --key key archive >&2",
                   harness_product("pglend"), harness_directory());
    ck_assert_msg(system(command) == 0, "failed: %s", command); /* NOLINT(cert-env33-c) */
}

static void nothing_is_lost(const struct sample *before)
{
    wait_until(pglendd_count(soak.daemon, "idle") == SOAK_SLOTS, 20);
    in_worker(borrow_all, NULL, 40);
    printf("lost slots: 0 of %d\n", SOAK_SLOTS);
    (void)fflush(stdout);
    wait_until(pglendd_count(soak.daemon, "idle") == SOAK_SLOTS, 20);
    /* One that was replaced just now may still be on its way out. */
    wait_until(postgres_sessions(soak.server) == SOAK_SLOTS, 10);
    ck_assert_str_eq(postgres_ask(soak.server, "select count(*) from pg_stat_activity where usename = 'clinic' and "
                                               "(state <> 'idle' or xact_start is not null)"),
                     "0");
    expect_descriptors(before);
}

static void still_right(void)
{
    ck_assert_msg(atomic_load(&soak.shared->wrong) == 0, "%llu times wrong; first: %s",
                  (unsigned long long)atomic_load(&soak.shared->wrong), soak.shared->first_wrong);
}

START_TEST(everything_dies)
{
    static struct sample sample[SAMPLES_MAX], before;
    uint64_t began, length = (uint64_t)seconds() * 1000, every = length / SAMPLES_MAX + 100, now;
    struct soak_chaos *chaos;
    size_t samples = 0;

    start();
    before = take_sample();
    chaos = soak_chaos_start(&soak);
    began = harness_now_ms();
    while ((now = harness_now_ms()) - began < length) {
        bool calm = now - began > length / 2;

        soak_chaos_step(chaos, calm);
        still_right();
        if (now - began > length * 6 / 10 && samples < SAMPLES_MAX &&
            (samples == 0 || (double)now / 1000 - sample[samples - 1].at >= (double)every / 1000))
            sample[samples++] = take_sample();
        harness_sleep_ms(5 + (unsigned)rand_r(&soak.seed) % 50);
    }
    soak_chaos_stop(chaos);
    still_right();
    printf("%llu leases, %llu refusals and %llu broken leases while something was down\n",
           (unsigned long long)atomic_load(&soak.shared->leases),
           (unsigned long long)atomic_load(&soak.shared->refused),
           (unsigned long long)atomic_load(&soak.shared->broken));
    show_growth(sample, samples);
    soak_history_check(soak.server);
    nothing_is_lost(&before);
    pglendd_stop(soak.daemon);
    trail_verifies();
    postgres_free(soak.server);
    (void)munmap(soak.shared, sizeof *soak.shared);
}
END_TEST

/* What the history must not say is seen where it does. */
static const struct {
    const char *rows; /* backend, slot, version, worker, begun, ended */
    long overlaps, stale, old;
} histories[] = {
    {"(7, 0, 1, 1, 10, 20), (7, 0, 2, 2, 20, 30), (7, 0, 3, 1, 31, null)", 0, 0, 0},
    {"(7, 0, 1, 1, 10, 20), (7, 0, 2, 2, 19, 30)", 1, 0, 0},
    {"(7, 0, 1, 1, 10, 90), (7, 0, 2, 2, 20, 30), (7, 0, 3, 1, 40, 50)", 2, 0, 0},
    {"(7, 0, 1, 3, 10, null), (7, 0, 2, 2, 20, 30)", 1, 0, 0}, /* worker 3 was killed at 25 */
    {"(7, 0, 1, 3, 1, null), (7, 0, 2, 2, 5, 6), (8, 1, 1, 3, 20, null)", 0, 0, 0},
    {"(7, 0, 2, 1, 10, 20), (7, 0, 2, 2, 20, 30)", 0, 1, 0},
    {"(7, 0, 1, 1, 10, 20), (8, 0, 2, 2, 20, 30), (7, 0, 3, 1, 31, 40)", 0, 0, 1},
};

START_TEST(what_cannot_be_is_seen)
{
    struct postgres *server = harness_server();
    struct soak_verdict verdict;
    char sql[512];

    soak_history_make(server);
    (void)snprintf(sql, sizeof sql,
                   "insert into soak_owner (backend, slot, version, worker, begun, ended, started)"
                   " select *, 'epoch' from (values %s) x",
                   histories[_i].rows);
    postgres_run(server, sql);
    postgres_run(server, "insert into soak_killed values (3, 25)");
    soak_history_judge(server, &verdict);
    ck_assert_int_eq(verdict.overlaps, histories[_i].overlaps);
    ck_assert_int_eq(verdict.stale, histories[_i].stale);
    ck_assert_int_eq(verdict.old, histories[_i].old);
    postgres_run(server, "drop table soak_owner, soak_killed, soak_disturbed; drop function soak_begin, soak_end");
}
END_TEST

int main(int argc, char **argv)
{
    int status;
    Suite *suite = suite_create("live_soak");
    TCase *tc = harness_live_case(suite, "history", 20);

    (void)argc;
    if (!sanitized())
        soak.clock = preload(argv, "clock.so", CLOCK_FILE, 0644, sizeof *soak.clock);
    tcase_add_loop_test(tc, what_cannot_be_is_seen, 0, sizeof histories / sizeof histories[0]);
    tc = harness_case(suite, "soak", seconds() + 180);
    tcase_add_test(tc, everything_dies);
    status = harness_main(suite);
    preload_end(CLOCK_FILE);
    return status;
}
