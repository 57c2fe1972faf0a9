/* SPDX-License-Identifier: ISC */
/*
 * live_scarce_test.c - no descriptors left, in a worker, in the supervisor and in the keeper; and a directory that is
 * taken, or full of what a dead daemon left.
 */
#include "audited.h"
#include "harness.h"
#include "pglend.h"
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDLES 40

static struct pglendd *daemon_;

/* ---- helpers ---- */

static int lend_anew(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, argument != NULL ? *(int *)argument : 5000);
    char text[16];

    (void)sock;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* The lowest number that is free, which is one more than there are descriptors where there are no gaps. */
static int next_descriptor(void)
{
    int fd = dup(0);

    (void)close(fd);
    return fd;
}

static void limit_self(rlim_t descriptors)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = descriptors < limit.rlim_max ? descriptors : limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* User and system time of PID, ms. */
static long cpu_ms(pid_t pid)
{
    unsigned long user = 0, system = 0;
    char path[64], text[1024] = "";
    const char *at;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    ck_assert_ptr_nonnull(fgets(text, sizeof text, f));
    (void)fclose(f);
    at = strrchr(text, ')');
    ck_assert_int_eq(sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    return (long)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

/* ---- a worker without descriptors ---- */

/* Whatever is missing, it is told so in time; and what it could not take is there for others at once. */
static int acquire_with_few(void *argument, int sock)
{
    int spare = *(int *)argument, first = next_descriptor();
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    uint64_t started = harness_now_ms();
    PGconn *conn;

    limit_self((rlim_t)(first + spare));
    conn = pglend_acquire(pool, 500);
    ck_assert_uint_lt(harness_now_ms() - started, 1500);
    limit_self(1024);
    if (conn == NULL) {
        ck_assert_msg(pglend_errcode(pool) == PGLEND_SYSTEM, "with %d: %s: %s", spare,
                      pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
        ck_assert_msg(strstr(pglend_errmessage(pool), "oo many open files") != NULL, "with %d: %s", spare,
                      pglend_errmessage(pool));
    } else {
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    say(sock, conn != NULL ? 'y' : 'n');
    (void)hear(sock, 10);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

START_TEST(worker_without_descriptors)
{
    struct worker_process worker;
    int at_once = 300, had = 0;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    in_worker(lend_anew, NULL, 10);
    for (int spare = 0; spare < 8; spare++) {
        worker_fork(&worker, acquire_with_few, &spare);
        had += hear(worker.sock, 5) == 'y';
        in_worker(lend_anew, &at_once, 5);
        say(worker.sock, 'g');
        ck_assert_int_eq(worker_wait(&worker, 10), 0);
    }
    ck_assert_msg(had > 0 && had < 6, "%d of 8 had enough", had);
    pglendd_stop(daemon_);
}
END_TEST

/* What it has cached it can lend, whatever else is idle. In strict isolation a descriptor comes with each lease. */
START_TEST(worker_falls_back)
{
    PGconn *mine, *again, *other;
    pglend *pool, *another;
    int backend;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    if (pglendd_is_strict(daemon_)) {
        pglendd_stop(daemon_);
        return;
    }
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    another = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(mine = pglend_acquire(pool, 5000));
    backend = PQbackendPID(mine);
    ck_assert_int_eq(pglend_release(pool, mine), PGLEND_OK);
    /* Whoever takes mine, leaves me another that I cannot fetch. */
    while ((other = pglend_acquire(another, 5000)) != NULL && PQbackendPID(other) != backend) {
        PGconn *first = other;

        ck_assert_ptr_nonnull(other = pglend_acquire(another, 5000));
        ck_assert_int_eq(pglend_release(another, first), PGLEND_OK);
        ck_assert_int_eq(PQbackendPID(other), backend);
        break;
    }
    ck_assert_ptr_nonnull(other);
    limit_self((rlim_t)next_descriptor());
    ck_assert_ptr_null(pglend_acquire(pool, 200));
    ck_assert_msg(pglend_errcode(pool) == PGLEND_TIMEOUT && strstr(pglend_errmessage(pool), "cached") != NULL &&
                      strstr(pglend_errmessage(pool), "oo many open files") != NULL,
                  "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(another, other), PGLEND_OK);
    for (int i = 0; i < 20; i++) {
        again = pglend_acquire(pool, 2000);
        ck_assert_msg(again != NULL, "%s", pglend_errmessage(pool));
        ck_assert_int_eq(PQbackendPID(again), backend);
        ck_assert_int_eq(pglend_release(pool, again), PGLEND_OK);
    }
    limit_self(1024);
    pglend_close(pool);
    pglend_close(another);
    pglendd_stop(daemon_);
}
END_TEST

/* A new supervisor's answer to who holds a lease, and has no descriptor left for it, is there when he has one. */
START_TEST(worker_greets_without)
{
    PGconn *conn, *second;
    pid_t supervisor;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    supervisor = pglendd_process(daemon_, "supervisor");
    ck_assert_int_eq(kill(daemon_->pid, SIGSTOP), 0);
    ck_assert_int_eq(kill(supervisor, SIGKILL), 0);
    ck_assert_ptr_null(pglend_acquire(pool, 100)); /* it has said hello, to nobody yet */
    ck_assert_int_eq(kill(daemon_->pid, SIGCONT), 0);
    wait_until(pglendd_process(daemon_, "supervisor") > 0 && pglendd_count(daemon_, "leased") == 1, 10);
    limit_self((rlim_t)next_descriptor());
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_null(pglend_acquire(pool, 100));
        ck_assert_msg(strstr(pglend_errmessage(pool), "oo many open files") != NULL, "%s", pglend_errmessage(pool));
    }
    limit_self(1024);
    ck_assert(!pglendd_logged(daemon_, "reclaimed"));
    second = pglend_acquire(pool, 5000);
    ck_assert_msg(second != NULL, "%s", pglend_errmessage(pool));
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(pool, second), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- the supervisor without ---- */

struct limit_wish {
    pid_t process;
    size_t descriptors; /* 0: as many as may be */
};

/* In a process of the same user: to set the limits of others takes more than being root. */
static int set_limit(void *argument, int sock)
{
    const struct limit_wish *wish = argument;
    struct rlimit limit;

    (void)sock;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = wish->descriptors > 0 ? wish->descriptors : limit.rlim_max;
    if (wish->process != daemon_->pid)
        harness_drop();
    ck_assert_msg(prlimit(wish->process, RLIMIT_NOFILE, &limit, NULL) == 0, "prlimit: %s", strerror(errno));
    return 0;
}

static void limit_process(pid_t process, size_t limit)
{
    in_worker(set_limit, &(struct limit_wish){process, limit}, 5);
}

START_TEST(supervisor_without_descriptors)
{
    pglend *pool[HANDLES], *first;
    PGconn *conn, *held;
    pid_t supervisor;
    char text[16];
    long cpu;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 3}, 'login': "
                                              "{'backoff_max': '200ms'}}}}");
    first = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(held = pglend_acquire(first, 5000));
    supervisor = pglendd_process(daemon_, "supervisor");
    for (size_t spare = 1; spare <= 4; spare++) {
        limit_process(supervisor, process_descriptors(supervisor) + spare);
        cpu = cpu_ms(supervisor);
        for (int i = 0; i < HANDLES; i++) {
            pool[i] = pglend_open(daemon_->runtime_dir, "clinic");
            conn = pglend_acquire(pool[i], 10);
            if (conn != NULL)
                ck_assert_int_eq(pglend_release(pool[i], conn), PGLEND_OK);
        }
        harness_sleep_ms(500);
        cpu = cpu_ms(supervisor) - cpu;
        ck_assert_msg(cpu < 300, "it used %ld ms of processor time", cpu);
        ck_assert_str_eq(query(held, "select 1", text, sizeof text), "1");
        limit_process(supervisor, 0);
        for (int i = 0; i < HANDLES; i++) {
            conn = pglend_acquire(pool[i], 5000);
            ck_assert_msg(conn != NULL, "with %zu, handle %d: %s", spare, i, pglend_errmessage(pool[i]));
            ck_assert_int_eq(pglend_release(pool[i], conn), PGLEND_OK);
        }
        for (int i = 0; i < HANDLES; i++)
            pglend_close(pool[i]);
        ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
        /* Another login, next time. */
        postgres_run(harness_server(), "select pg_terminate_backend(pid) from pg_stat_activity where usename = "
                                       "'clinic' and query not like 'select 1%'");
    }
    ck_assert_int_eq(pglend_release(first, held), PGLEND_OK);
    pglend_close(first);
    pglendd_stop(daemon_);
}
END_TEST

/* A login whose socket does not arrive is a failed one, said and tried again. */
START_TEST(login_without_descriptor)
{
    pid_t supervisor;
    pglend *pool;
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    supervisor = pglendd_process(daemon_, "supervisor");
    limit_process(supervisor, 3);
    ck_assert_int_eq(pglend_discard(pool, conn), PGLEND_OK);
    ck_assert_ptr_null(pglend_acquire(pool, 500));
    wait_until(pglendd_logged(daemon_, "too many files open"), 5);
    limit_process(supervisor, 0);
    conn = pglend_acquire(pool, 8000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    wait_until(postgres_sessions(harness_server()) == 1, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Cut its shared memory off. */
static void damage(void)
{
    char instance[17], name[SEGMENT_NAME_MAX];
    int fd;

    segment_instance(daemon_->runtime_dir, instance);
    ck_assert_int_eq(segment_name(name, instance, "clinic"), 0);
    ck_assert_int_ne(fd = shm_open(name, O_RDWR, 0), -1);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    (void)close(fd);
}

/* The descriptor of a new segment does not arrive: it is asked for until it does. */
START_TEST(segment_without_descriptor)
{
    pid_t supervisor;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    in_worker(lend_anew, NULL, 10);
    supervisor = pglendd_process(daemon_, "supervisor");
    limit_process(supervisor, 3);
    damage();
    wait_until(pglendd_logged(daemon_, "too many files open to take its shared memory"), 5);
    limit_process(supervisor, 0);
    in_worker(lend_anew, NULL, 10);
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    pglendd_stop(daemon_);
}
END_TEST

/* The way to a new audit process does not arrive: it is asked for until it does. */
START_TEST(audit_process_without_descriptor)
{
    pid_t supervisor;

    daemon_ = audited_start(harness_server(), "", "");
    wait_until(audited_is(daemon_, "on"), 5);
    supervisor = pglendd_process(daemon_, "supervisor");
    limit_process(supervisor, 3);
    ck_assert_int_eq(kill(pglendd_process(daemon_, "audit"), SIGKILL), 0);
    wait_until(pglendd_logged(daemon_, "too many files open to be joined to the audit process"), 5);
    limit_process(supervisor, 0);
    wait_until(audited_is(daemon_, "on"), 10);
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    pglendd_stop(daemon_);
    audited_expect_intact();
}
END_TEST

/* ---- the keeper without ---- */

/* It cannot make a segment, for this supervisor or for the next one, and does when it can. */
START_TEST(segment_that_cannot_be_made)
{
    pid_t supervisor;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    for (int killed = 0; killed < 2; killed++) {
        unsigned failed = pglendd_logged(daemon_, "cannot create shared memory for pool clinic");

        in_worker(lend_anew, NULL, 10);
        supervisor = pglendd_process(daemon_, "supervisor");
        limit_process(daemon_->pid, 3);
        damage();
        wait_until(pglendd_logged(daemon_, "cannot create shared memory for pool clinic") > failed, 5);
        if (killed)
            ck_assert_int_eq(kill(supervisor, SIGKILL), 0);
        limit_process(daemon_->pid, 0);
        in_worker(lend_anew, NULL, 10);
        ck_assert_int_eq(pglendd_process(daemon_, "supervisor") == supervisor, !killed);
    }
    pglendd_stop(daemon_);
}
END_TEST

/* What a login sends does not arrive. That is no word of the server's on the password, which nobody would try for long. */
START_TEST(login_that_cannot_be_taken)
{
    struct worker_process worker;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 0, 'max': 1}}}}");
    postgres_signal(harness_server(), SIGSTOP);
    worker_fork(&worker, lend_anew, &(int){15000});
    wait_until(pglendd_process(daemon_, "login") != 0, 5);
    limit_process(daemon_->pid, 3);
    postgres_signal(harness_server(), SIGCONT);
    wait_until(pglendd_logged(daemon_, "channel: too many open files"), 5);
    wait_until(pglendd_logged(daemon_, "login failed"), 5);
    limit_process(daemon_->pid, 0);
    ck_assert_int_eq(worker_wait(&worker, 15), 0);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- one directory, one daemon ---- */

START_TEST(second_daemon)
{
    char said[256];
    pglend *pool;
    PGconn *conn;
    int backend;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    backend = PQbackendPID(conn);
    ck_assert_int_eq(pglendd_run(daemon_), 1);
    (void)snprintf(said, sizeof said, "another pglendd (pid %d) serves %s", (int)daemon_->pid, daemon_->runtime_dir);
    ck_assert_msg(pglendd_logged(daemon_, said), "not said: %s", said);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 1000));
    ck_assert_int_eq(PQbackendPID(conn), backend);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    in_worker(lend_anew, NULL, 10);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static bool exists(const char *format, const char *directory, const char *name)
{
    char path[256];
    struct stat st;

    (void)snprintf(path, sizeof path, format, directory, name);
    return lstat(path, &st) == 0;
}

START_TEST(stale_things)
{
    static const char *const left[] = {"worker.sock", "admin.sock", ".s.PGSQL.6432", "pglendd.lock"};
    char instance[17], mine[SEGMENT_NAME_MAX], other[SEGMENT_NAME_MAX];
    int fd;

    daemon_ = pglendd_start(harness_server(), NULL);
    pglendd_kill(daemon_);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        ck_assert(exists("%s/%s", daemon_->runtime_dir, left[i]));
    /* A pool that is not configured any more, cut off; and another daemon's. */
    segment_instance(daemon_->runtime_dir, instance);
    (void)snprintf(mine, sizeof mine, "/pglend.%s.gone", instance);
    (void)snprintf(other, sizeof other, "/pglend.%.15s%c.gone", instance, instance[15] == '0' ? '1' : '0');
    ck_assert_int_ne(fd = shm_open(mine, O_RDWR | O_CREAT | O_EXCL, 0600), -1);
    (void)close(fd);
    ck_assert_int_ne(fd = shm_open(other, O_RDWR | O_CREAT | O_EXCL, 0600), -1);
    (void)close(fd);
    pglendd_resume(daemon_);
    ck_assert(!exists("%s%s", "/dev/shm", mine));
    ck_assert(exists("%s%s", "/dev/shm", other));
    ck_assert_int_eq(shm_unlink(other), 0);
    in_worker(lend_anew, NULL, 10);
    pglendd_stop(daemon_);
}
END_TEST

/* What is not a socket is not ours to remove. */
/* Who owns the runtime directory, or may write to it, could put a socket of his own in the place of ours. */
static const struct {
    mode_t mode;
    bool foreign;
    const char *said;
} directories[] = {
    {0777, false, "has mode 0777, and others could replace its sockets: run chmod 0711 "},
    {0771, false, "has mode 0771, "},
    {0711, true, "who could replace its sockets: run chown "},
};

START_TEST(directory_of_others)
{
    uid_t uid;
    gid_t gid;

    if (directories[_i].foreign && geteuid() != 0)
        return;
    harness_unprivileged(&uid, &gid);
    daemon_ = pglendd_start(harness_server(), NULL);
    pglendd_kill(daemon_);
    ck_assert_int_eq(chmod(daemon_->runtime_dir, directories[_i].mode), 0);
    ck_assert(!directories[_i].foreign || chown(daemon_->runtime_dir, uid, gid) == 0);
    ck_assert_int_eq(pglendd_run(daemon_), 1);
    ck_assert_msg(pglendd_logged(daemon_, directories[_i].said), "not said: %s", directories[_i].said);
    ck_assert_int_eq(chmod(daemon_->runtime_dir, 0711), 0);
    ck_assert_int_eq(chown(daemon_->runtime_dir, geteuid(), getegid()), 0);
    pglendd_resume(daemon_);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(file_in_the_way)
{
    char path[128], said[256];
    FILE *f;

    daemon_ = pglendd_start(harness_server(), NULL);
    pglendd_kill(daemon_);
    (void)snprintf(path, sizeof path, "%s/worker.sock", daemon_->runtime_dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    (void)fclose(f);
    ck_assert_int_eq(pglendd_run(daemon_), 1);
    (void)snprintf(said, sizeof said, "cannot listen on %s: something that is no socket stands there: remove it", path);
    ck_assert_msg(pglendd_logged(daemon_, said), "not said: %s", said);
    ck_assert(exists("%s%s", path, ""));
    ck_assert_int_eq(unlink(path), 0);
    pglendd_resume(daemon_);
    in_worker(lend_anew, NULL, 10);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_scarce");
    TCase *tc = harness_live_case(suite, "descriptors", 60);

    tcase_add_test(tc, worker_without_descriptors);
    tcase_add_test(tc, worker_falls_back);
    tcase_add_test(tc, worker_greets_without);
    tcase_add_test(tc, supervisor_without_descriptors);
    tcase_add_test(tc, login_without_descriptor);
    tcase_add_test(tc, segment_without_descriptor);
    tc = harness_live_case(suite, "audit", 60);
    tcase_add_checked_fixture(tc, audited_set_up, audited_tear_down);
    tcase_add_test(tc, audit_process_without_descriptor);
    tc = harness_live_case(suite, "keeper", 60);
    tcase_add_test(tc, segment_that_cannot_be_made);
    tcase_add_test(tc, login_that_cannot_be_taken);
    tc = harness_live_case(suite, "directory", 40);
    tcase_add_test(tc, second_daemon);
    tcase_add_test(tc, stale_things);
    tcase_add_loop_test(tc, directory_of_others, 0, (int)(sizeof directories / sizeof directories[0]));
    tcase_add_test(tc, file_in_the_way);
    return harness_main(suite);
}
