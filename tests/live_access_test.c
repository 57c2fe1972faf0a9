/* SPDX-License-Identifier: ISC */
/*
 * live_access_test.c - who may borrow, who a worker is, when it is dead, and what it keeps for itself.
 *
 * To be somebody else needs root: without it those tests only see their own account.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "wire.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRANGER 4711
#define GROUP    4242
#define CACHED   2
#define MAX      5

static struct pglendd *daemon_;

/* ---- helpers ---- */

/* Who a worker becomes before it borrows. */
struct account {
    uid_t uid;
    gid_t gid;
    gid_t supplementary; /* 0: none */
    const char *pool;
    pglend_status expected;
    const char *said;
};

static void become(const struct account *who)
{
    if (geteuid() != 0)
        return;
    ck_assert_int_eq(setgroups(who->supplementary != 0, &who->supplementary), 0);
    ck_assert_int_eq(setresgid(who->gid, who->gid, who->gid), 0);
    ck_assert_int_eq(setresuid(who->uid, who->uid, who->uid), 0);
}

static int borrow_once(void *argument, int sock)
{
    const struct account *who = argument;
    pglend *pool;
    PGconn *conn;

    (void)sock;
    become(who);
    pool = pglend_open(daemon_->runtime_dir, who->pool);
    conn = pglend_acquire(pool, 5000);
    if (who->uid == 65534 && pglendd_is_strict(daemon_)) {
        ck_assert_ptr_nonnull(strstr(pglend_errmessage(pool), "run pglendd as another user"));
        pglend_close(pool);
        return 0;
    }
    ck_assert_msg(pglend_errcode(pool) == who->expected, "%s as uid %u: %s, %s", who->pool, (unsigned)who->uid,
                  pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
    ck_assert_msg((conn == NULL) == (who->expected != PGLEND_OK) && strstr(pglend_errmessage(pool), who->said) != NULL,
                  "no \"%s\" in \"%s\"", who->said, pglend_errmessage(pool));
    if (conn != NULL)
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

static void ask(PGconn *conn, const char *sql, const char *expected)
{
    char text[256];

    ck_assert_str_eq(query(conn, sql, text, sizeof text), expected);
}

/* Pool clinic, with one slot, lends within SECONDS. */
static void still_lends(double seconds)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, (int)(seconds * 1000));

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ask(conn, "select 1", "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
}

/* ---- who may borrow ---- */

static const struct account accounts[] = {
    {STRANGER, STRANGER, 0, "by_user", PGLEND_OK, ""},
    {STRANGER + 1, GROUP, 0, "by_group", PGLEND_OK, ""},
    {STRANGER + 1, STRANGER, GROUP, "by_group", PGLEND_OK, ""},
    {STRANGER + 1, STRANGER, 0, "by_name", PGLEND_DENIED, "user 4712 (uid 4712, gid 4711) may not borrow from pool"},
    {1, 1, 0, "by_name", PGLEND_OK, ""},
    {2, 1, 0, "by_name", PGLEND_OK, ""},
    {1, 2, 0, "nobodys", PGLEND_DENIED, "user daemon (uid 1, gid 2) may not borrow from pool \"nobodys\""},
    {STRANGER, GROUP, 0, "nobodys", PGLEND_DENIED, "pools.nobodys.access.users"},
    {0, 0, 0, "nobodys", PGLEND_OK, ""},
    {65534, 65534, 0, "nobodys", PGLEND_OK, ""}, /* the supervisor's own */
    {STRANGER, STRANGER, 0, "by_group", PGLEND_DENIED, "\"by_group\""},
    {STRANGER, GROUP, 0, "no_such", PGLEND_NO_POOL, "no pool \"no_such\""},
};

static void start_with_accounts(void)
{
    static const struct {
        const char *name, *access;
    } pools[] = {{"by_user", "'users': ['4711']"},
                 {"by_group", "'groups': ['4242']"},
                 {"by_name", "'users': ['daemon'], 'groups': ['daemon']"},
                 {"nobodys", ""}};
    const struct postgres *server = harness_server();
    char overrides[2048] = "{'pools': {";

    for (size_t i = 0; i < sizeof pools / sizeof pools[0]; i++) {
        size_t at = strlen(overrides);

        (void)snprintf(overrides + at, sizeof overrides - at,
                       "%s'%s': {'database': {'host': '%s', 'port': %d, 'dbname': 'clinic', 'user': 'clinic_trust'}, "
                       "'size': {'min': 0, 'max': 1}, 'access': {%s}}",
                       i > 0 ? ", " : "", pools[i].name, server->directory, server->port, pools[i].access);
    }
    (void)strcat(overrides, "}}");
    daemon_ = pglendd_start(server, overrides);
}

START_TEST(access_by_account)
{
    size_t descriptors;
    pid_t supervisor;

    if (geteuid() != 0)
        return;
    start_with_accounts();
    supervisor = pglendd_process(daemon_, "supervisor");
    for (size_t i = 0; i < sizeof accounts / sizeof accounts[0]; i++)
        in_worker(borrow_once, (void *)(uintptr_t)&accounts[i], 10);
    /* Those who are turned away leave nothing behind. */
    descriptors = process_descriptors(supervisor);
    for (int i = 0; i < 100; i++)
        in_worker(borrow_once, (void *)(uintptr_t)&accounts[3 + i % 2 * 4], 10);
    wait_until(process_descriptors(supervisor) == descriptors, 5);
    in_worker(borrow_once, (void *)(uintptr_t)&accounts[0], 10);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(no_such_pool)
{
    static const char *const names[] = {
        "clinics",    "",          "%s%n",
        "a \"b\" \\", "../clinic", "0123456789012345678901234567890123456789012345678901234567890123"};
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), NULL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pool = pglend_open(daemon_->runtime_dir, names[i]);
        if (names[i][0] == '\0' || strlen(names[i]) > 63) {
            ck_assert_ptr_null(pool);
            continue;
        }
        ck_assert_ptr_null(pglend_acquire(pool, 1000));
        ck_assert_int_eq(pglend_errcode(pool), PGLEND_NO_POOL);
        ck_assert_ptr_nonnull(strstr(pglend_errmessage(pool), names[i]));
        pglend_close(pool);
    }
    still_lends(5);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- who a worker is: the process that connected ---- */

static enum wire_type greet(int sock)
{
    struct timeval bound = {.tv_sec = 5};
    union wire_message message = {.hello = {.pool = "clinic", .worker = NO_WORKER}};
    int segment = -1;

    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    ck_assert_int_eq(wire_send(sock, WIRE_HELLO, &message, -1, 0), 0);
    ck_assert_int_gt(wire_receive_packet(sock, &message, sizeof message, &segment, 0), 0);
    if (segment != -1)
        (void)close(segment);
    return (enum wire_type)message.header.type;
}

/* Connects as who may not, gives the socket to who may, and stays. */
static int connect_for_another(void *argument, int sock)
{
    int mine;

    become(argument);
    mine = pglendd_connect(daemon_, "worker.sock");
    ck_assert_int_eq(wire_send_packet(sock, "x", 1, mine, 0), 0);
    (void)close(mine);
    (void)hear(sock, 20);
    return 0;
}

START_TEST(identity_is_of_who_connected)
{
    struct account stranger = {.uid = STRANGER, .gid = STRANGER};
    struct worker_process worker;
    char byte;
    int sock, allowed;

    daemon_ = pglendd_start(harness_server(), NULL);
    for (allowed = geteuid() == 0 ? 0 : 1; allowed < 2; allowed++) {
        if (allowed && pglendd_is_strict(daemon_))
            stranger.uid = stranger.gid = 0; /* the other would be the supervisor's own */
        else if (allowed)
            harness_unprivileged(&stranger.uid, &stranger.gid);
        worker_fork(&worker, connect_for_another, &stranger);
        ck_assert_int_eq(wire_receive_packet(worker.sock, &byte, 1, &sock, 0), 1);
        ck_assert_int_eq(greet(sock), allowed ? WIRE_WELCOME : WIRE_REFUSED);
        say(worker.sock, 'g');
        ck_assert_int_eq(worker_wait(&worker, 5), 0);
        /* It has ended: so has what it connected, though we hold its socket. */
        ck_assert_int_eq(recv(sock, &byte, 1, 0), 0);
        (void)close(sock);
    }
    pglendd_stop(daemon_);
}
END_TEST

/* ---- how many ---- */

static int hold_until_told(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 5000);

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    say(sock, 'h');
    (void)hear(sock, 30);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

static void expect_no_room(pglend *pool, const char *said)
{
    ck_assert_ptr_null(pglend_acquire(pool, 1000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_SYSTEM);
    ck_assert_msg(strstr(pglend_errmessage(pool), said) != NULL, "%s", pglend_errmessage(pool));
}

/* Of processes, and of leases in one; who ends makes room. */
START_TEST(max_workers_are_not_exceeded)
{
    struct worker_process worker[2];
    pglend *pool;
    PGconn *conn, *second;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'max_workers': 2, 'size': {'max': 4}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (int i = 0; i < 2; i++) {
        worker_fork(&worker[i], hold_until_told, NULL);
        ck_assert_int_eq(hear(worker[i].sock, 10), 'h');
    }
    expect_no_room(pool, "has 2 workers attached already: raise max_workers");
    for (int i = 0; i < 2; i++) {
        say(worker[i].sock, 'g');
        ck_assert_int_eq(worker_wait(&worker[i], 10), 0);
    }
    wait_until((conn = pglend_acquire(pool, 1000)) != NULL, 5);
    ck_assert_ptr_nonnull(second = pglend_acquire(pool, 5000));
    expect_no_room(pool, "borrower entries are taken: raise max_workers");
    ck_assert_int_eq(pglend_release(pool, second), PGLEND_OK);
    ck_assert_ptr_nonnull(second = pglend_acquire(pool, 5000));
    ck_assert_int_eq(pglend_release(pool, second), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- its death ---- */

/* Its child, made behind the library's back, keeps every descriptor. */
static int leave_a_child(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 5000);
    pid_t child;

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(60)"), 1);
    child = _Fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    ck_assert_int_eq(send(sock, &child, sizeof child, 0), sizeof child);
    (void)hear(sock, 60);
    return 0;
}

/* By SO_PEERPIDFD, where the kernel has it, and by number. */
START_TEST(death_is_of_the_process)
{
    struct worker_process worker;
    pid_t child;

    if (_i == 1)
        ck_assert_int_eq(setenv("PGLEND_NO_PEERPIDFD", "1", 1), 0);
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    (void)unsetenv("PGLEND_NO_PEERPIDFD");
    worker_fork(&worker, leave_a_child, NULL);
    ck_assert_int_eq(recv(worker.sock, &child, sizeof child, MSG_WAITALL), sizeof child);
    ck_assert_int_eq(pglendd_count(daemon_, "leased"), 1);
    worker_kill(&worker, SIGKILL);
    still_lends(0.5);
    ck_assert_int_ne(process_state(child), 0);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    wait_until(waitpid(child, NULL, WNOHANG) == child, 5);
    pglendd_stop(daemon_);
}
END_TEST

/* In a pid namespace of its own, as in a container: there it is number 1, and here it is seen all the same. */
static int borrow_from_below(void *argument, int sock)
{
    pid_t below;
    int status;

    (void)argument;
    ck_assert_int_eq(unshare(CLONE_NEWPID), 0);
    ck_assert_int_ne(below = fork(), -1);
    if (below == 0) {
        pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

        if (pglend_acquire(pool, 5000) != NULL && getpid() == 1)
            say(sock, 'h');
        (void)pause();
    }
    (void)hear(sock, 30);
    ck_assert_int_eq(kill(below, SIGKILL), 0);
    ck_assert_int_eq(waitpid(below, &status, 0), below);
    return 0;
}

START_TEST(death_in_a_pid_namespace_below)
{
    struct worker_process worker;

    if (geteuid() != 0) {
        printf("death_in_a_pid_namespace_below: skipped, it takes root\n");
        return;
    }
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    worker_fork(&worker, borrow_from_below, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'h');
    ck_assert_int_eq(pglendd_count(daemon_, "leased"), 1);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 5), 0);
    still_lends(0.5);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- its environment ---- */

/* A service is looked up whatever else is said: that of one that exists must not count for anything. */
START_TEST(service_in_the_environment)
{
    static const char text[] = "[evil]\nhost=/nowhere\nport=1\nuser=mallory\ndbname=evil\npassword=x\nsslmode=require\n"
                               "options=-c search_path=evil\nclient_encoding=LATIN1\nchannel_binding=require\n"
                               "target_session_attrs=standby\napplication_name=evil\nrequirepeer=mallory\n"
                               "gssencmode=require\n";
    char file[128];
    pglend *pool;
    PGconn *conn;
    FILE *f;

    (void)snprintf(file, sizeof file, "%s/services", harness_directory());
    ck_assert_ptr_nonnull(f = fopen(file, "w"));
    ck_assert(fputs(text, f) >= 0 && fclose(f) == 0);
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_int_eq(setenv("PGSERVICEFILE", file, 1), 0);

    /* Refused by name, and the slot is there for others at once. */
    ck_assert_int_eq(setenv("PGSERVICE", "nowhere", 1), 0);
    ck_assert_ptr_null(pglend_acquire(pool, 1000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_SYSTEM);
    ck_assert_ptr_nonnull(strstr(pglend_errmessage(pool), "PGSERVICE"));
    ck_assert_ptr_nonnull(strstr(pglend_errmessage(pool), "nowhere"));
    ck_assert_int_eq(unsetenv("PGSERVICE"), 0);
    still_lends(0.2);

    ck_assert_int_eq(setenv("PGSERVICE", "evil", 1), 0);
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ask(conn, "select concat_ws(' ', current_user, current_database(), current_setting('search_path'))",
        "clinic clinic \"$user\", public");
    ask(conn, "show client_encoding", "UTF8");
    ck_assert_str_eq(PQuser(conn), "clinic");
    ck_assert_str_eq(PQdb(conn), "clinic");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(unsetenv("PGSERVICE"), 0);
    ck_assert_int_eq(unsetenv("PGSERVICEFILE"), 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- what it keeps ---- */

START_TEST(cache_is_bounded)
{
    PGconn *conn[MAX], *again;
    int backend[MAX];
    size_t attached, found = 0;
    pglend *pool;

    daemon_ =
        pglendd_start(harness_server(), "{'pools': {'clinic': {'cache_per_worker': 2, 'size': {'min': 5, 'max': 5}}}}");
    wait_until(pglendd_count(daemon_, "idle") == MAX, 5);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn[0] = pglend_acquire(pool, 5000));
    attached = process_descriptors(getpid()) - 2; /* a lease's: the lent socket, and the one libpq made */
    for (int i = 1; i < MAX; i++)
        ck_assert_ptr_nonnull(conn[i] = pglend_acquire(pool, 5000));
    ck_assert_uint_eq(process_descriptors(getpid()), attached + 2U * MAX);
    for (int i = 0; i < MAX; i++) {
        backend[i] = PQbackendPID(conn[i]);
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_OK);
    }
    ck_assert_uint_eq(process_descriptors(getpid()),
                      attached + (pglendd_is_strict(daemon_) ? 1U : 2U) * CACHED); /* strict: no lent one */

    /* The last that were given back are the ones that stayed. */
    for (int i = 0; i < MAX; i++) {
        ck_assert_ptr_nonnull(again = pglend_acquire(pool, 5000));
        for (int j = MAX - CACHED; j < MAX; j++)
            found += again == conn[j] && PQbackendPID(again) == backend[j];
    }
    ck_assert_uint_eq(found, CACHED);
    ck_assert_uint_eq(process_descriptors(getpid()), attached + 2U * MAX);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- what it says ---- */

static const struct {
    const char *text;
    bool fit;
} sayings[] = {
    {"", true},
    {"Dr. M\xc3\xbcller \"\\ %s\xf0\x9f\x92\x89", true},
    {"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xc2\xa0", true},
    {"a\nb", false},
    {"\x1b[31m", false},
    {"\x7f", false},
    {"\xc2\x85", false},         /* a C1 control */
    {"\xc0\xaf", false},         /* overlong */
    {"\xe0\x80\xaf", false},     /* overlong */
    {"\xf0\x80\x80\xaf", false}, /* overlong */
    {"\xed\xa0\x80", false},     /* a surrogate */
    {"\xf4\x90\x80\x80", false}, /* beyond Unicode */
    {"\xf5\x80\x80\x80", false},
    {"\xff", false},
    {"M\xfcller", false},
    {"cut short \xc3", false},
    {"cut short \xe2\x82", false},
};

static void expect_said(const char *actor, const char *purpose)
{
    json_t *slots = pglendd_result(daemon_, "slots", NULL), *slot = json_array_get(slots, 0);
    const char *said = json_string_value(json_object_get(slot, "actor"));

    ck_assert_str_eq(said != NULL ? said : "", actor);
    said = json_string_value(json_object_get(slot, "purpose"));
    ck_assert_str_eq(said != NULL ? said : "", purpose);
    json_decref(slots);
}

static void say_as(pglend *pool, const char *actor, const char *purpose, bool fit)
{
    PGconn *conn = pglend_acquire_as(pool, actor, purpose, 5000);

    ck_assert_int_eq(pglend_errcode(pool), fit ? PGLEND_OK : PGLEND_USAGE);
    ck_assert_msg((conn != NULL) == fit, "\"%s\" was%s taken", actor != NULL ? actor : purpose, fit ? " not" : "");
    if (!fit)
        return;
    expect_said(actor != NULL ? actor : "", purpose != NULL ? purpose : "");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
}

START_TEST(sayings_are_checked)
{
    char longest[129];
    pglend *pool;

    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (size_t i = 0; i < sizeof sayings / sizeof sayings[0]; i++) {
        say_as(pool, sayings[i].text, NULL, sayings[i].fit);
        say_as(pool, "job", sayings[i].text, sayings[i].fit);
    }
    (void)memset(longest, 'x', sizeof longest);
    longest[128] = '\0';
    say_as(pool, longest, NULL, false);
    longest[127] = '\0';
    say_as(pool, longest, longest, true);
    /* Nobody speaks for the next. */
    say_as(pool, NULL, NULL, true);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* As another user, who gave up root as forking servers do, so that the kernel hides its program from its like. */
static int borrow_as_nobody(void *argument, int sock)
{
    const struct pglendd *d = argument;
    pglend *pool;
    PGconn *conn;

    harness_drop();
    pool = pglend_open(d->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 5000);
    say(sock, conn != NULL ? 'y' : pglend_errcode(pool) == PGLEND_DENIED ? 'n' : '?');
    if (conn == NULL && strstr(pglend_errmessage(pool), "access.executables") == NULL)
        return 2;
    if (conn != NULL)
        (void)pglend_release(pool, conn);
    pglend_close(pool);
    return 0;
}

static void expect_borrower(const struct pglendd *d, char answer)
{
    struct worker_process worker;

    worker_fork(&worker, borrow_as_nobody, (void *)(uintptr_t)d);
    ck_assert_int_eq(hear(worker.sock, 20), answer);
    ck_assert_int_eq(worker_wait(&worker, 20), 0);
}

START_TEST(access_by_program)
{
    char self[256], overrides[400];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    struct pglendd *d;

    ck_assert_int_gt(length, 0);
    self[length] = '\0';
    (void)snprintf(overrides, sizeof overrides,
                   "{'user': 'uucp', 'pools': {'clinic': {'access': {'executables': ['%s']}}}}", self);
    if (geteuid() != 0)
        return; /* it takes other users */
    d = pglendd_start(harness_server(), overrides);
    expect_borrower(d, 'y');
    pglendd_stop(d);
    d = pglendd_start(harness_server(),
                      "{'user': 'uucp', 'pools': {'clinic': {'access': {'executables': ['/usr/bin/true']}}}}");
    expect_borrower(d, 'n');
    pglendd_stop(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_access");
    TCase *tc = harness_live_case(suite, "accounts", 60);

    tcase_add_test(tc, access_by_account);
    tcase_add_test(tc, no_such_pool);
    tcase_add_test(tc, identity_is_of_who_connected);
    tcase_add_test(tc, access_by_program);
    tcase_add_test(tc, max_workers_are_not_exceeded);
    tcase_add_loop_test(tc, death_is_of_the_process, 0, 2);
    tcase_add_test(tc, death_in_a_pid_namespace_below);
    tc = harness_live_case(suite, "process", 40);
    tcase_add_test(tc, service_in_the_environment);
    tcase_add_test(tc, cache_is_bounded);
    tcase_add_test(tc, sayings_are_checked);
    return harness_main(suite);
}
