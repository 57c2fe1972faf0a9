/* SPDX-License-Identifier: ISC */
/*
 * live_daemon_test.c - the whole daemon ends and comes back, the database ends and comes back; and what a worker gets
 * wrong with a connection it was lent.
 */
#include "borrow.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pglendd *daemon_;

static int segments(void)
{
    DIR *dir = opendir("/dev/shm");
    struct dirent *entry;
    char prefix[64];
    char instance[17];
    int count = 0;

    segment_instance(daemon_->runtime_dir, instance);
    (void)snprintf(prefix, sizeof prefix, "pglend.%s.", instance);
    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    (void)closedir(dir);
    return count;
}

/* ---- the daemon ---- */

START_TEST(keeper_killed_and_started_again)
{
    pglend *pool;
    PGconn *conn, *cached;
    int pid;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    cached = borrow(pool, 5000);
    ck_assert_int_eq(pglend_release(pool, cached), PGLEND_OK);
    pid = PQbackendPID(conn);
    pglendd_kill(daemon_);
    one(conn); /* the lease goes on */
    ck_assert_ptr_null(pglend_acquire(pool, 300));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_NO_SUPERVISOR);
    pglendd_resume(daemon_);
    ck_assert_int_eq(segments(), 1);
    one(conn);
    cached = borrow(pool, 5000); /* the same handle finds the new daemon */
    one(cached);
    ck_assert_int_ne(PQbackendPID(cached), pid);
    ck_assert_int_eq(pglend_release(pool, cached), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    /* Its backend does not outlive this, its last user. */
    wait_until(postgres_sessions(harness_server()) == 2, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Whose server takes nothing any more, while much is on its way to it. */
START_TEST(last_user_waits_for_nobody)
{
    char junk[65536] = "";
    uint64_t began;
    pglend *pool;
    PGconn *conn;
    int pid;

    daemon_ = pglendd_start(harness_server(), NULL);
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    pid = PQbackendPID(conn);
    pglendd_kill(daemon_);
    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    while (send(PQsocket(conn), junk, sizeof junk, MSG_DONTWAIT) > 0)
        continue;
    pglendd_resume(daemon_);
    began = harness_now_ms();
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_lt(harness_now_ms() - began, 1000);
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    wait_until(postgres_sessions(harness_server()) == 0, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static int hold_over_shutdown(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);

    (void)argument;
    say(sock, 'h');
    (void)hear(sock, 30);
    one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

START_TEST(graceful_shutdown_waits_for_leases)
{
    struct worker_process worker;
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'shutdown_timeout': '20s', 'pools': {'clinic': {'size': {'min': 2}}}}");
    pool = open_pool(daemon_);
    worker_fork(&worker, hold_over_shutdown, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    ck_assert_int_eq(kill(daemon_->pid, SIGTERM), 0);
    wait_until(pglendd_logged(daemon_, "shutting down"), 5);
    ck_assert_ptr_null(pglend_acquire(pool, 1500));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_SHUTDOWN);
    wait_until(postgres_sessions(harness_server()) == 1, 5);
    ck_assert_int_eq(kill(daemon_->pid, 0), 0);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
    ck_assert_int_eq(postgres_sessions(harness_server()), 0);
}
END_TEST

/* How it ends though a lease is out, and whether that goes on. */
static const struct {
    const char *overrides;
    int first, second;
    bool goes_on;
    uint64_t least_ms;
} ends[] = {
    {"{'shutdown_timeout': '1s'}", SIGTERM, 0, true, 900},
    {"{'shutdown_timeout': '20s'}", SIGTERM, SIGTERM, true, 0},
    {"{'shutdown_timeout': '20s'}", SIGTERM, SIGINT, true, 0},
    {"{'shutdown_timeout': '20s'}", SIGINT, 0, false, 0},
};

static int hold_over_end(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);

    say(sock, 'h');
    (void)hear(sock, 30);
    if (*(const bool *)argument) {
        one(conn);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    } else {
        PGresult *result = PQexec(conn, "select 1");

        ck_assert_int_ne(PQresultStatus(result), PGRES_TUPLES_OK);
        PQclear(result);
        (void)pglend_release(pool, conn);
    }
    pglend_close(pool);
    return 0;
}

START_TEST(it_ends_as_it_is_told)
{
    struct worker_process worker;
    bool goes_on = ends[_i].goes_on;
    uint64_t began;
    int status = -1;

    daemon_ = pglendd_start(harness_server(), ends[_i].overrides);
    worker_fork(&worker, hold_over_end, &goes_on);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    began = harness_now_ms();
    ck_assert_int_eq(kill(daemon_->pid, ends[_i].first), 0);
    wait_until(pglendd_logged(daemon_, "shutting down"), 5);
    if (ends[_i].second != 0)
        ck_assert_int_eq(kill(daemon_->pid, ends[_i].second), 0);
    wait_until(waitpid(daemon_->pid, &status, WNOHANG) == daemon_->pid, 8);
    daemon_->pid = 0;
    ck_assert_int_eq(status, 0);
    ck_assert_uint_ge(harness_now_ms() - began, ends[_i].least_ms);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    wait_until(postgres_sessions(harness_server()) == 0, 5);
    pglendd_free(daemon_);
}
END_TEST

/* Without --foreground: exit status. */
static int start_in_background(void)
{
    char command[512];
    int status;

    (void)snprintf(command, sizeof command, "'%s' -c '%s' </dev/null 2>>'%s'", harness_product("pglendd"),
                   daemon_->config, daemon_->log);
    status = system(command); /* NOLINT(cert-env33-c) */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(it_goes_into_the_background)
{
    char path[128], there[128];
    pglend *pool;
    FILE *f;
    int pid;

    daemon_ = pglendd_start(harness_server(), NULL);
    pglendd_kill(daemon_);
    ck_assert_int_eq(start_in_background(), 0);
    pool = open_pool(daemon_);
    ck_assert_int_eq(pglend_release(pool, borrow(pool, 5000)), PGLEND_OK); /* it serves by then */
    (void)snprintf(path, sizeof path, "%s/pglendd.lock", daemon_->runtime_dir);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
    (void)fclose(f);
    ck_assert_int_eq(getsid(pid), pid);
    (void)snprintf(path, sizeof path, "/proc/%d/cwd", pid);
    ck_assert_int_eq(readlink(path, there, sizeof there), 1);
    ck_assert_int_eq(there[0], '/');
    /* One that cannot serve says why, and its starter returns that. */
    ck_assert_int_eq(start_in_background(), 1);
    (void)snprintf(path, sizeof path, "another pglendd (pid %d) serves ", pid);
    ck_assert(pglendd_logged(daemon_, path));
    pglend_close(pool);
    daemon_->pid = pid;
    pglendd_stop(daemon_);
}
END_TEST

/* As the unit's ExecReload does it. */
START_TEST(sighup_reads_the_configuration)
{
    pglend *pool;
    FILE *f;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 2}}}}");
    pool = open_pool(daemon_);
    pglendd_configure(daemon_, harness_server(), "{'pools': {'clinic': {'size': {'max': 3}, 'max_workers': 7}}}");
    ck_assert_int_eq(kill(daemon_->pid, SIGHUP), 0);
    wait_until(pglendd_count(daemon_, "max") == 3, 5);
    ck_assert(pglendd_logged(daemon_, "reload: pools.clinic.size.max: 2 -> 3: applied"));
    ck_assert(pglendd_logged(daemon_, "reload: pools.clinic.max_workers: 4096 -> 7: needs restart"));

    ck_assert_ptr_nonnull(f = fopen(daemon_->config, "w"));
    ck_assert(fputs("{", f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(kill(daemon_->pid, SIGHUP), 0);
    wait_until(pglendd_logged(daemon_, "reload refused, nothing changed: "), 5);
    ck_assert_int_eq(pglendd_count(daemon_, "max"), 3);
    ck_assert_int_eq(pglend_release(pool, borrow(pool, 5000)), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- the database ---- */

START_TEST(database_down_and_up_again)
{
    struct postgres *server = postgres_start(0);
    pglend *pool;
    PGconn *conn;
    uint64_t start;

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'max': 2}, 'unavailable_after': '1s',"
                                    " 'login': {'backoff_max': '200ms'}}}}");
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    postgres_stop(server, "immediate");
    start = harness_now_ms();
    ck_assert_ptr_null(pglend_acquire(pool, 10000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_NO_DATABASE);
    ck_assert_uint_ge(harness_now_ms() - start, 700);
    ck_assert_uint_le(harness_now_ms() - start, 4000);
    start = harness_now_ms();
    ck_assert_ptr_null(pglend_acquire(pool, 10000));
    ck_assert_uint_le(harness_now_ms() - start, 300);
    ck_assert_msg(strstr(pglend_errmessage(pool), "connection to server") != NULL, "%s", pglend_errmessage(pool));
    postgres_resume(server);
    /* Nobody waits; the pool sees by itself that it is back. */
    wait_until((conn = pglend_acquire(pool, 100)) != NULL, 5);
    one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

#define WAITERS       16
#define OUTAGE_MS     5400 /* by now the back-off alone would pause for seconds */
#define FULL_AGAIN_MS 2000 /* 1000 where nothing else runs on the machine */

static int acquire_when_back(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = NULL;

    (void)argument;
    say(sock, 'h');
    while (conn == NULL) {
        conn = pglend_acquire(pool, 2000);
        if (conn == NULL)
            harness_sleep_ms(20);
    }
    one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* Logins that are under way, as ps shows them. */
static int logins_running(void)
{
    pid_t child[64];
    size_t count = process_children(daemon_->pid, child, 64);
    char title[256];
    int running = 0;

    for (size_t i = 0; i < count; i++) {
        process_title(child[i], title);
        running += strncmp(title, "pglendd: login", 14) == 0;
    }
    return running;
}

/* A crowd waits for it: the pool is full soon after, and the server is not stormed. */
START_TEST(database_back_is_not_stormed)
{
    struct postgres *server = postgres_start(0);
    struct worker_process waiter[WAITERS];
    uint64_t back;
    int most = 0;

    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'min': 8, 'max': 8}, 'unavailable_after': '500ms', "
                                    "'login': {'parallel': 2}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 8, 10);
    postgres_stop(server, "immediate");
    for (int i = 0; i < WAITERS; i++) {
        worker_fork(&waiter[i], acquire_when_back, NULL);
        ck_assert_int_eq(hear(waiter[i].sock, 10), 'h');
    }
    harness_sleep_ms(OUTAGE_MS);
    postgres_resume(server);
    back = harness_now_ms();
    do {
        int running = logins_running();

        most = running > most ? running : most;
        ck_assert_int_le(pglendd_count(daemon_, "connecting"), 2);
        ck_assert_uint_lt(harness_now_ms() - back, FULL_AGAIN_MS);
    } while (pglendd_count(daemon_, "total") < 8);
    printf("full again %llu ms after the database was back, %d logins at a time\n",
           (unsigned long long)(harness_now_ms() - back), most);
    /* One that has answered may still be there, ending, while the next begins. */
    ck_assert_int_le(most, 4);
    for (int i = 0; i < WAITERS; i++)
        ck_assert_int_eq(worker_wait(&waiter[i], 15), 0);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

START_TEST(starts_while_the_database_is_down)
{
    struct postgres *server = postgres_start(0);
    pglend *pool;
    PGconn *conn;

    postgres_stop(server, "fast");
    daemon_ = pglendd_start(server, "{'pools': {'clinic': {'size': {'min': 1}, 'login': {'backoff_max': '200ms'}}}}");
    pool = open_pool(daemon_);
    postgres_resume(server);
    conn = borrow(pool, 5000);
    one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

/* ---- what a worker gets wrong ---- */

/* Somebody else's lease that must not be touched by the mistakes of the rest. */
static int query_until_told(void *argument, int sock)
{
    pglend *pool = open_pool(daemon_);
    PGconn *conn = borrow(pool, 5000);
    char byte = 0;

    (void)argument;
    say(sock, 'h');
    while (recv(sock, &byte, 1, MSG_DONTWAIT) != 1)
        one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

static void used_after_release(pglend *pool, PGconn *conn)
{
    PGresult *result;

    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_USAGE);
    ck_assert_int_eq(pglend_discard(pool, conn), PGLEND_USAGE);
    ck_assert_ptr_null(pglend_lease_id(pool, conn));
    result = PQexec(conn, "create table mistake()");
    ck_assert_int_eq(PQresultStatus(result), PGRES_FATAL_ERROR);
    PQclear(result);
}

/* libpq has closed its descriptor: the next file of the application gets the number, and must keep it. */
static void number_reused(pglend *pool, PGconn *conn)
{
    int sock = PQsocket(conn), lower = -1, file;
    char byte = 'x';

    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    PQclear(PQexec(conn, "select 1"));
    ck_assert_int_eq(PQsocket(conn), -1);
    if (pglendd_is_strict(daemon_)) /* the lent socket's number is free too */
        ck_assert_int_lt(lower = open("/dev/zero", O_RDONLY | O_CLOEXEC), sock);
    file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(file, sock);
    conn = borrow(pool, 5000);
    one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(read(file, &byte, 1), 1);
    ck_assert_int_eq(byte, 0);
    (void)close(file);
    if (lower != -1)
        (void)close(lower);
}

static void finished(pglend *pool, PGconn *conn)
{
    PQfinish(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_USAGE);
}

static void reset(pglend *pool, PGconn *conn)
{
    PQreset(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

static void released_by_a_child(pglend *pool, PGconn *conn)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        PGconn *own;
        bool ok = pglend_release(pool, conn) == PGLEND_USAGE && PQexec(conn, "create table mistake()") != NULL &&
                  PQstatus(conn) == CONNECTION_BAD;

        PQfinish(conn);
        own = pglend_acquire(pool, 5000);
        ok = ok && own != NULL && pglend_release(pool, own) == PGLEND_OK;
        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    one(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

static void never_lent(pglend *pool, PGconn *conn)
{
    PGconn *own = postgres_connect(harness_server(), "postgres");

    ck_assert_int_eq(pglend_release(pool, own), PGLEND_USAGE);
    one(own);
    PQfinish(own);
    ck_assert_int_eq(pglend_release(pool, NULL), PGLEND_USAGE);
    ck_assert_int_eq(pglend_discard(pool, conn), PGLEND_OK);
}

static void exiting_with_it(pglend *pool, PGconn *conn)
{
    pid_t child;
    int status;

    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    child = fork();
    if (child == 0) {
        conn = pglend_acquire(pool, 5000);
        PQclear(PQexec(conn, "begin"));
        exit(conn == NULL);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

/* What was still open in it is rolled back, and nobody else gets it. */
static void closed_with_it(pglend *pool, PGconn *conn)
{
    pglend *own = open_pool(daemon_);
    PGconn *held = borrow(own, 5000);
    char sql[96];

    (void)snprintf(sql, sizeof sql, "select count(*) from pg_stat_activity where pid = %d", PQbackendPID(held));
    PQclear(PQexec(held, "begin; create table mistake()"));
    pglend_close(own);
    wait_until(strcmp(postgres_ask(harness_server(), sql), "0") == 0, 5);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

static const struct {
    const char *name;
    void (*make)(pglend *pool, PGconn *conn);
} mistakes[] = {
    {"used after release", used_after_release},
    {"descriptor's number reused", number_reused},
    {"PQfinish", finished},
    {"PQreset", reset},
    {"released by a child", released_by_a_child},
    {"never lent", never_lent},
    {"exit with a lease", exiting_with_it},
    {"handle closed with a lease", closed_with_it},
};

START_TEST(mistake_hurts_nobody_else)
{
    struct worker_process other;
    pglend *pool;
    PGconn *conn, *second;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 3}}}}");
    worker_fork(&other, query_until_told, NULL);
    ck_assert_int_eq(hear(other.sock, 10), 'h');
    pool = open_pool(daemon_);
    mistakes[_i].make(pool, borrow(pool, 5000));
    conn = borrow(pool, 5000);
    second = borrow(pool, 5000);
    one(conn);
    one(second);
    ck_assert_int_eq(pglend_release(pool, second), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    say(other.sock, 'g');
    ck_assert_int_eq(worker_wait(&other, 10), 0);
    ck_assert_str_eq(postgres_ask(harness_server(), "select count(*) from pg_tables where tablename = 'mistake'"), "0");
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_daemon");
    TCase *restart = harness_live_case(suite, "restart", 60);
    TCase *database = harness_live_case(suite, "database", 60);
    TCase *mistake = harness_live_case(suite, "mistake", 30);

    tcase_add_test(restart, keeper_killed_and_started_again);
    tcase_add_test(restart, last_user_waits_for_nobody);
    tcase_add_test(restart, graceful_shutdown_waits_for_leases);
    tcase_add_loop_test(restart, it_ends_as_it_is_told, 0, (int)(sizeof ends / sizeof ends[0]));
    tcase_add_test(restart, it_goes_into_the_background);
    tcase_add_test(restart, sighup_reads_the_configuration);
    tcase_add_test(database, database_down_and_up_again);
    tcase_add_test(database, database_back_is_not_stormed);
    tcase_add_test(database, starts_while_the_database_is_down);
    tcase_add_loop_test(mistake, mistake_hurts_nobody_else, 0, (int)(sizeof mistakes / sizeof mistakes[0]));
    return harness_main(suite);
}
