/* SPDX-License-Identifier: ISC */
/*
 * live_cli_test.c - pglend as people and monitors run it: what it prints, and its exit status.
 */
#include "cli.h"
#include "harness.h"
#include "manual.h"
#include "pglend.h"
#include "pglendd.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 8

static struct pglendd *daemon_;
static char said[65536]; /* by the last run, on standard output and standard error */

/* Run pglend with ARGUMENTS, words parted by blanks, against the daemon if there is one. Its exit status. */
static int cli(const char *arguments, bool dropped)
{
    int program = open(harness_product("pglend"), O_RDONLY | O_CLOEXEC), out[2], status = 0;
    char *argv[WORDS_MAX + 2] = {"pglend"}, text[256], *rest = NULL;
    size_t have = 0;
    ssize_t got;
    pid_t pid;

    (void)snprintf(text, sizeof text, "%s", arguments);
    for (int i = 1; i <= WORDS_MAX && (argv[i] = strtok_r(i == 1 ? text : NULL, " ", &rest)) != NULL; i++)
        continue;
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    ck_assert_int_ne(pid = fork(), -1);
    if (pid == 0) {
        (void)setenv("PGLEND_RUNTIME_DIR", daemon_ != NULL ? daemon_->runtime_dir : "/nonexistent", 1);
        (void)dup2(out[1], 1);
        (void)dup2(out[1], 2);
        if (dropped)
            harness_drop();
        (void)fexecve(program, argv, environ);
        _exit(127);
    }
    (void)close(program);
    (void)close(out[1]);
    while ((got = read(out[0], said + have, sizeof said - 1 - have)) > 0)
        have += (size_t)got;
    said[have] = '\0';
    (void)close(out[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct row {
    const char *arguments;
    int exit;
    const char *says; /* NULL: nothing in particular */
};

static void run_rows(const struct row *row, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        int status = cli(row[i].arguments, false);

        ck_assert_msg(status == row[i].exit, "pglend %s: exit %d, not %d: %s", row[i].arguments, status, row[i].exit,
                      said);
        ck_assert_msg(row[i].says == NULL || strstr(said, row[i].says) != NULL, "pglend %s: no \"%s\" in: %s",
                      row[i].arguments, row[i].says, said);
    }
}
#define RUN(rows) run_rows(rows, sizeof(rows) / sizeof((rows)[0]))

START_TEST(usage)
{
    static const struct row rows[] = {
        {"", 2, "usage: pglend"},
        {"--help", 0, "Exit status: 0 ok, 1 failed, 2 usage, 3 no supervisor, 4 denied, 5 timed out"},
        {"help", 0, "Commands:"},
        {"help slots", 0, "role read"},
        {"help nothing", 2, "unknown command"},
        {"slost", 2, "did you mean \"slots\"?"},
        {"--jsno status", 2, NULL},
        {"status clinic", 2, "takes no argument"},
        {"check a b", 2, "one argument too many: \"b\""},
        {"--timeout soon status", 2, "give seconds"},
        {"--timeout -1 status", 2, "give seconds"},
        {"--fast status", 2, "status takes no --fast"},
        {"status --wait", 2, "status takes no --wait"},
        {"status", 3, "is pglendd running"},
        {"--json pools", 3, "is pglendd running"},
        {"check clinic", 3, NULL},
        {"version", 0, "pglend"},
        {"--version", 0, "pglend"},
    };

    RUN(rows);
}
END_TEST

static const char *const commands[] = {"status", "pools",  "slots",   "workers", "waiters",
                                       "config", "reload", "version", "check"};

START_TEST(every_command_explains_itself)
{
    char arguments[64];

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        (void)snprintf(arguments, sizeof arguments, "%s --help", commands[i]);
        ck_assert_int_eq(cli(arguments, false), 0);
        ck_assert_ptr_nonnull(strstr(said, commands[i]));
        ck_assert_ptr_nonnull(strstr(said, "Needs "));
    }
    ck_assert_int_eq(cli("shutdown --help", false), 0);
    ck_assert_ptr_nonnull(strstr(said, "--wait"));
}
END_TEST

/* ---- with a daemon ---- */

/* The names of pools are the supervisor's. */
static void expect_completed(void)
{
    char command[512], text[64] = "";
    FILE *out;

    (void)snprintf(
        command, sizeof command,
        "PGLEND_RUNTIME_DIR='%s' bash -c '. <($0 completion); COMP_WORDS=($0 slots cl) COMP_CWORD=2; _pglend; "
        "echo ${COMPREPLY[@]}' '%s'",
        daemon_->runtime_dir, harness_product("pglend"));
    ck_assert_ptr_nonnull(out = popen(command, "re"));
    ck_assert_ptr_nonnull(fgets(text, sizeof text, out));
    ck_assert_int_eq(pclose(out), 0);
    ck_assert_str_eq(text, "clinic\n");
}

START_TEST(tables_and_json)
{
    static const struct row rows[] = {
        {"status", 0, "clinic"},       {"pools", 0, "POOL"},
        {"pools clinic", 0, "active"}, {"pools nosuch", 1, "nosuch"},
        {"slots", 0, "leased"},        {"workers", 0, "PID"},
        {"waiters", 0, NULL},          {"config", 0, "password_file"},
        {"reload", 0, "nothing"},      {"check", 0, "clinic: ok"},
        {"check clinic", 0, "ms"},     {"check nosuch", 1, "nosuch"},
        {"version", 0, "pglendd"},     {"--json check clinic", 0, "\"ok\": true"},
    };
    char arguments[64];
    pglend *pool;
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 5000);
    ck_assert_ptr_nonnull(conn);
    RUN(rows);
    expect_completed();
    ck_assert_int_eq(cli("slots", false), 0);
    ck_assert_ptr_nonnull(strstr(said, postgres_certificate() != NULL ? "relay  TLSv1.3 TLS_" : "plain  -"));
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        json_t *json;

        (void)snprintf(arguments, sizeof arguments, "--json %s", commands[i]);
        ck_assert_int_eq(cli(arguments, false), 0);
        json = json_loads(said, 0, NULL);
        ck_assert_msg(json != NULL, "pglend %s is not JSON: %s", arguments, said);
        json_decref(json);
    }
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Objects whose keys are not a result's own. */
static const char *const foreign[] = {"settings", "differs", "admin", "audit"};

/* Is each member of VALUE, and of what is in it, in ITEM of the manual page? */
static void expect_told(const char *command, const char *item, const json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;

    json_array_foreach(value, i, member) expect_told(command, item, member);
    json_object_foreach((json_t *)value, key, member)
    {
        bool own = true;

        ck_assert_msg(manual_has(item, key), "pglend(1) does not tell of \"%s\" in what %s prints", key, command);
        for (size_t k = 0; k < sizeof foreign / sizeof foreign[0]; k++)
            own = own && strcmp(key, foreign[k]) != 0;
        if (own && !(strcmp(command, "status") == 0 && strcmp(key, "pools") == 0))
            expect_told(command, item, member);
    }
}

static void expect_json_told(const char *section, const char *arguments)
{
    char words[96], name[32], *item;
    json_t *json;

    (void)snprintf(words, sizeof words, "--json %s", arguments);
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(arguments, " "), arguments);
    (void)cli(words, false);
    json = json_loads(said, 0, NULL);
    ck_assert_msg(json_array_size(json) + json_object_size(json) > 0, "pglend %s: %s", words, said);
    ck_assert_msg((item = manual_item(section, name)) != NULL, "pglend(1) has no JSON of %s", name);
    expect_told(name, item, json);
    free(item);
    json_decref(json);
}

static int borrow_once(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 20000);

    (void)argument;
    (void)sock;
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

START_TEST(what_json_has_is_in_the_manual)
{
    static const char *const printed[] = {"status",
                                          "pools",
                                          "slots",
                                          "workers",
                                          "waiters",
                                          "stats",
                                          "inventory",
                                          "reload",
                                          "version",
                                          "resize --max 1",
                                          "check clinic --timeout 0.1"};
    char *section = manual_section("client/pglend.1", ".Ss JSON"), revoke[64];
    struct worker_process waiter;
    pglend *pool;
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire_as(pool, "nurse", "treatment", 5000));
    worker_fork(&waiter, borrow_once, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == 1, 5);
    pglendd_configure(daemon_, harness_server(),
                      "{'shutdown_timeout': '7s', 'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    for (size_t i = 0; i < sizeof printed / sizeof printed[0]; i++)
        expect_json_told(section, printed[i]);
    (void)snprintf(revoke, sizeof revoke, "revoke --pid %d", getpid());
    expect_json_told(section, revoke);
    (void)pglend_release(pool, conn);
    ck_assert_int_eq(worker_wait(&waiter, 20), 0);
    pglend_close(pool);
    free(section);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(steering_is_told)
{
    static const struct row rows[] = {
        {"pause clinic", 0, "clinic: paused, size 1 to "},
        {"--timeout 5 pause clinic --wait", 0, " 0 leased"},
        {"resume clinic --wait", 0, "clinic: active, size 1 to "},
        {"resize --max 0 clinic", 2, "is not a number from 1 to "},
        {"revoke", 2, "say whose"},
    };

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1}}}}");
    RUN(rows);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(who_may_not_is_told)
{
    if (geteuid() != 0)
        return;
    daemon_ = pglendd_start(
        harness_server(),
        "{'user': 'daemon', 'admin': {'read': {'users': ['root']},"
        " 'operate': {'users': ['root']}, 'control': {'users': ['root']}}, 'pools': {'clinic': {'size': {'min': 1}}}}");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i], "version") != 0)
            ck_assert_msg(cli(commands[i], true) == 4, "%s: %s", commands[i], said);
    ck_assert_int_eq(cli("shutdown", true), 4);
    ck_assert_ptr_nonnull(strstr(said, "control"));
    ck_assert_int_eq(cli("check clinic", true), 0); /* it may borrow */
    ck_assert_int_eq(cli("--runtime-dir /root status", true), 4);
    ck_assert_ptr_nonnull(strstr(said, "may not connect to /root/admin.sock"));
    ck_assert_int_eq(cli("--runtime-dir /root check clinic", true), 4);
    ck_assert_ptr_nonnull(strstr(said,
                                 "cannot connect to /root/worker.sock: Permission denied; run this as a user who may "
                                 "enter the directory"));
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(every_wait_ends)
{
    static const struct row stopped[] = {
        {"--timeout 0.3 status", 5, "no answer within 300 ms"},
        {"--timeout 0.3 check clinic", 3, "did not answer"},
    };
    static const struct row busy[] = {{"--timeout 0.3 check clinic", 5, "1 leased"}};
    static const struct row silent[] = {{"--timeout 0.3 check clinic", 5, "did not answer `select 1` in time"}};
    pid_t supervisor, backend;
    pglend *pool;
    PGconn *conn;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 5000);
    ck_assert_ptr_nonnull(conn);
    RUN(busy);
    supervisor = pglendd_signal(daemon_, "supervisor", SIGSTOP);
    RUN(stopped);
    ck_assert_int_eq(kill(supervisor, SIGCONT), 0);
    backend = PQbackendPID(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000)); /* with the reset's answer */
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    harness_sleep_ms(200);
    ck_assert_int_eq(kill(backend, SIGSTOP), 0);
    RUN(silent);
    ck_assert_int_eq(kill(backend, SIGCONT), 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static int hold_for_long(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 5000);
    int backend = PQbackendPID(conn);

    (void)argument;
    ck_assert_ptr_nonnull(conn);
    say(sock, 'h');
    harness_sleep_ms(CLI_TIMEOUT_DEFAULT_MS + 500);
    ck_assert_int_eq(kill(backend, SIGSTOP), 0);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    harness_sleep_ms(300); /* for the query to take */
    ck_assert_int_eq(kill(backend, SIGCONT), 0);
    pglend_close(pool);
    return 0;
}

/* A probe has a purpose too, and one of the pool's where it lends for no other. */
START_TEST(check_says_what_it_is_for)
{
    static const struct row rows[] = {
        {"check clinic", 4, "is none of them: treatment,monitoring\n"},
        {"check --purpose monitoring clinic", 0, "clinic: ok"},
        {"--json check --purpose idle", 4, "PGLEND_DENIED"},
        {"slots --purpose monitoring", 2, "slots takes no --purpose"},
    };

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'purposes': ['treatment', 'monitoring']}}}");
    RUN(rows);
    pglendd_stop(daemon_);
}
END_TEST

/* A pool that is busy for longer than a query may take is no reason to find its database slow. */
START_TEST(check_waits_as_long_as_the_pool_says)
{
    static const struct row row[] = {{"check clinic", 0, "clinic: ok"}};
    struct worker_process holder;

    daemon_ = pglendd_start(harness_server(),
                            "{'pools': {'clinic': {'acquire_timeout': '20s', 'size': {'max': 1}, 'reset': 'none'}}}");
    worker_fork(&holder, hold_for_long, NULL);
    ck_assert_int_eq(hear(holder.sock, 5), 'h');
    RUN(row);
    ck_assert_int_eq(worker_wait(&holder, 5), 0);
    pglendd_stop(daemon_);
}
END_TEST

/* Also by a supervisor that was handed the sessions. */
START_TEST(cancels_by_query_are_shown)
{
    static const struct row row[] = {{"status", 0, "pool clinic: a cancel request takes a login"},
                                     {"--json pools", 0, "\"cancel\": \"query\""}};

    ck_assert_int_eq(setenv("PGLEND_NO_CANCEL_KEY", "1", 1), 0);
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1}}}}");
    ck_assert_int_eq(unsetenv("PGLEND_NO_CANCEL_KEY"), 0);
    wait_until(pglendd_count(daemon_, "idle") == 1, 5);
    RUN(row);
    (void)pglendd_replace(daemon_, "supervisor");
    wait_until(cli("status", false) == 0, 5);
    RUN(row);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(shutdown_waits_for_the_end)
{
    struct pglendd *d;
    pglend *pool;
    PGconn *conn;

    daemon_ = d =
        pglendd_start(harness_server(), "{'shutdown_timeout': '20s', 'pools': {'clinic': {'size': {'min': 1}}}}");
    pool = pglend_open(d->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 5000);
    ck_assert_ptr_nonnull(conn);
    ck_assert_int_eq(cli("shutdown --wait --timeout 0.5", false), 5);
    ck_assert_ptr_nonnull(strstr(said, "still runs after 500 ms"));
    ck_assert_int_eq(kill(d->pid, 0), 0);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    ck_assert_int_eq(cli("shutdown --wait", false) % 3, 0); /* 3: it has ended before it could be asked again */
    wait_until(process_state(d->pid) == 'Z', 2);
    ck_assert_int_eq(waitpid(d->pid, NULL, 0), d->pid);
    d->pid = 0;
    pglendd_free(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_cli");
    TCase *tc = harness_live_case(suite, "cli", 30);

    tcase_add_test(tc, usage);
    tcase_add_test(tc, every_command_explains_itself);
    tcase_add_test(tc, tables_and_json);
    tcase_add_test(tc, what_json_has_is_in_the_manual);
    tcase_add_test(tc, steering_is_told);
    tcase_add_test(tc, who_may_not_is_told);
    tcase_add_test(tc, every_wait_ends);
    tcase_add_test(tc, check_says_what_it_is_for);
    tcase_add_test(tc, check_waits_as_long_as_the_pool_says);
    tcase_add_test(tc, cancels_by_query_are_shown);
    tcase_add_test(tc, shutdown_waits_for_the_end);
    return harness_main(suite);
}
