/* SPDX-License-Identifier: ISC */
/*
 * live_steady_test.c - nothing goes wrong, for STEADY_SECONDS: lives are short and every timer of a pool is at work,
 * while 64 workers borrow in waves. No acquire may fail, PostgreSQL itself never see more sessions than there may be,
 * and keeper and supervisor not grow.
 *
 * The hard thing: what they need goes up and down with the waves. So each quarter of the run is judged by its lowest
 * sample, and the first quarter, in which everything is met for the first time, not at all.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORKERS        64
#define FEW            3 /* that go on between two waves */
#define WAVE_MS        6000
#define SLOTS          12
#define BESIDE         2   /* a replacement, and a question that no idle session could ask */
#define GROWTH_SECONDS 120 /* a shorter run says nothing about memory */
#define GROWTH_KB      256 /* from the second quarter to the last; one record lost a login would be more */
#define GROWTH_FDS     2

static struct pglendd *daemon_;

struct tally {
    _Atomic uint64_t leases, longest_ms;
    _Atomic bool stop;
};
static struct tally *tally;

#define PART_SECONDS 1800 /* Check counts a test's microseconds in an int: an hour is two tests */

static unsigned all_seconds(void)
{
    const char *set = getenv("STEADY_SECONDS");
    unsigned long wanted = set != NULL ? strtoul(set, NULL, 10) : 12;

    return wanted >= 8 && wanted <= 86400 ? (unsigned)wanted : 12;
}

static unsigned parts(void)
{
    return (all_seconds() + PART_SECONDS - 1) / PART_SECONDS;
}

static unsigned seconds(void)
{
    return all_seconds() / parts();
}

/* ---- load ---- */

static void use(PGconn *conn, unsigned turn)
{
    static const char *const sql[] = {"select 1", "begin; select 1; commit", "set work_mem = '1MB'",
                                      "create temp table if not exists mine(i int)", "select pg_sleep(0.002)"};
    char text[16];

    (void)query(conn, sql[turn % (sizeof sql / sizeof sql[0])], text, sizeof text);
}

static int borrow_in_waves(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    unsigned self = *(const unsigned *)argument;

    (void)sock;
    for (unsigned turn = self; !atomic_load(&tally->stop); turn++) {
        uint64_t start = harness_now_ms(), took;
        PGconn *conn;

        if (self >= FEW && start % WAVE_MS >= WAVE_MS / 2) {
            harness_sleep_ms(20);
            continue;
        }
        conn = pglend_acquire(pool, 20000);
        ck_assert_msg(conn != NULL, "%s: %s", pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
        took = harness_now_ms() - start;
        if (took > atomic_load(&tally->longest_ms))
            atomic_store(&tally->longest_ms, took);
        use(conn, turn);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        atomic_fetch_add(&tally->leases, 1);
        harness_sleep_ms(10 + turn % 10);
    }
    pglend_close(pool);
    return 0;
}

/* ---- growth ---- */

enum measure { KEEPER_KB, KEEPER_FDS, SUPERVISOR_KB, SUPERVISOR_FDS, MEASURES };
static const char *const measured[MEASURES] = {"keeper, kB", "keeper, descriptors", "supervisor, kB",
                                               "supervisor, descriptors"};

/* Its own memory: the shared one is as large as it is made. */
static uint64_t own_kb(pid_t pid)
{
    char path[64], line[256];
    uint64_t kb = 0;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtoull(line + 8, NULL, 10);
    (void)fclose(f);
    return kb;
}

/* The lowest of each quarter. */
static void sample(pid_t supervisor, uint64_t lowest[MEASURES])
{
    const uint64_t now[MEASURES] = {own_kb(daemon_->pid), process_descriptors(daemon_->pid), own_kb(supervisor),
                                    process_descriptors(supervisor)};

    for (int i = 0; i < MEASURES; i++)
        if (lowest[i] == 0 || now[i] < lowest[i])
            lowest[i] = now[i];
}

static void judge_growth(uint64_t quarter[4][MEASURES])
{
    const char *sanitize = getenv("SANITIZE");
    bool judged = seconds() >= GROWTH_SECONDS && (sanitize == NULL || *sanitize == '\0');

    for (int i = 0; i < MEASURES; i++) {
        uint64_t bound = quarter[1][i] + (i == KEEPER_KB || i == SUPERVISOR_KB ? GROWTH_KB : GROWTH_FDS);

        printf("%-24s", measured[i]);
        for (int q = 0; q < 4; q++)
            printf(" %8llu", (unsigned long long)quarter[q][i]);
        printf("\n");
        ck_assert_msg(!judged || quarter[3][i] <= bound, "%s: %llu in the second quarter, %llu in the last",
                      measured[i], (unsigned long long)quarter[1][i], (unsigned long long)quarter[3][i]);
    }
}

/* ---- the run ---- */

static long long counted(const char *name)
{
    json_t *stats = pglendd_result(daemon_, "stats", NULL);
    long long value = json_integer_value(json_object_get(json_array_get(stats, 0), name));

    json_decref(stats);
    return value;
}

/* What the server says, several times a second, on one session of the superuser's. */
static int watch(pid_t supervisor, uint64_t quarter[4][MEASURES])
{
    PGconn *conn = postgres_connect(harness_server(), "postgres");
    uint64_t start = harness_now_ms(), length = (uint64_t)seconds() * 1000, now;
    int most = 0;

    for (uint64_t round = 0; (now = harness_now_ms() - start) < length; round++) {
        char text[16];
        int sessions = (int)strtol(
            query(conn, "select count(*) from pg_stat_activity where usename = 'clinic'", text, sizeof text), NULL, 10);

        if (sessions > most)
            most = sessions;
        ck_assert_int_le(sessions, SLOTS + BESIDE);
        if (round % 10 == 0)
            sample(supervisor, quarter[now * 4 / length]);
        ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
        harness_sleep_ms(50);
    }
    PQfinish(conn);
    return most;
}

static const char *const reasons[] = {"idle too long", "old enough", "borrowed often enough"};

START_TEST(steady)
{
    struct worker_process worker[WORKERS];
    unsigned self[WORKERS];
    uint64_t quarter[4][MEASURES] = {{0}};
    pid_t supervisor;
    int most;

    daemon_ = pglendd_start(harness_server(),
                            "{'log': {'level': 'info'}, 'pools': {'clinic': {'database': {'target_session_attrs': "
                            "'read-write', 'role_check': '1s'}, 'size': {'min': 3, 'max': 12}, 'idle_timeout': '1s', "
                            "'max_lifetime': '4s', 'max_uses': 300, 'keepalive': '1s', 'check_query': 'select 1', "
                            "'lease_warn': '20s', 'lease_max': '60s', 'lease_idle_max': '30s'}}}");
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(tally, MAP_FAILED);
    supervisor = pglendd_process(daemon_, "supervisor");
    for (unsigned i = 0; i < WORKERS; i++) {
        self[i] = i;
        worker_fork(&worker[i], borrow_in_waves, &self[i]);
    }
    most = watch(supervisor, quarter);
    atomic_store(&tally->stop, true);
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 30), 0);
    printf(
        "steady: %u s, %llu leases, none failed, longest acquire %llu ms; %lld logins, %lld failed, %lld replaced; %d "
        "sessions at most\n",
        seconds(), (unsigned long long)atomic_load(&tally->leases), (unsigned long long)atomic_load(&tally->longest_ms),
        counted("logins"), counted("login_failures_other"), counted("replacements"), most);
    judge_growth(quarter);
    ck_assert_int_eq(counted("timeouts"), 0);
    ck_assert_int_eq(counted("reclaims"), 0);
    ck_assert_int_eq(counted("login_failures_other"), 0);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        wait_until(pglendd_logged(daemon_, reasons[i]), 20);
    ck_assert(!pglendd_logged(daemon_, "check failed") && !pglendd_logged(daemon_, "changed its role"));
    pglendd_stop(daemon_);
    (void)munmap(tally, sizeof *tally);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_steady");
    TCase *tc = harness_live_case(suite, "steady", seconds() + 120);

    tcase_add_loop_test(tc, steady, 0, (int)parts());
    return harness_main(suite);
}
