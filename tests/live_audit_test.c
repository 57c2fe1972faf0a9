/* SPDX-License-Identifier: ISC */
/*
 * live_audit_test.c - the audit trail of a running pglendd: what happens stands in it, whoever dies meanwhile.
 */
#include "audited.h"
#include "harness.h"
#include "lease.h"
#include "pglend.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct pglendd *d;

/* ---- work ---- */

static int borrow(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(p, 5000);

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
    say(sock, 'b');
    (void)hear(sock, 10);
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    pglend_close(p);
    return 0;
}

static int be_denied(void *argument, int sock)
{
    pglend *p;

    (void)argument;
    (void)sock;
    if (setgid(12345) != 0 || setuid(12345) != 0)
        return 1;
    p = pglend_open(d->runtime_dir, "clinic");
    ck_assert_ptr_null(pglend_acquire(p, 5000));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_DENIED);
    pglend_close(p);
    return 0;
}

static int borrow_as(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire_as(p, "dr.lee", "treatment", 5000);

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
    say(sock, 'b');
    (void)hear(sock, 10);
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_LOST);
    pglend_close(p);
    return 0;
}

START_TEST(the_inventory_says_what_an_auditor_asks)
{
    json_t *inventory, *pool, *server, *worker, *access;
    uid_t uid;
    gid_t gid;
    struct worker_process held;
    const char *head;

    d = audited_start(harness_server(), "",
                      ", 'admin': {'operate': {'groups': ['60001']}}, 'pools': {'clinic': {'lease_max': '15m'}}");
    worker_fork(&held, borrow, NULL);
    (void)hear(held.sock, 5);
    wait_until(audited_has("lease.begin", "pool", "clinic"), 5);
    /* A checkpoint or a lease is the head: the trail is not shorter than what the inventory said. */
    inventory = pglendd_result(d, "inventory", NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(inventory, "audit"), "state")), "on");
    head = json_string_value(json_object_get(json_object_get(inventory, "audit"), "head"));
    ck_assert_ptr_nonnull(head);
    ck_assert_msg(audited_run("verify --key %s --anchor %s %s", audited_key, head, audited_directory) == 0, "%s",
                  audited_output);
    pool = json_array_get(json_object_get(inventory, "pools"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(pool, "settings"), "lease_max")), "15m");
    server = json_array_get(json_object_get(pool, "servers"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(server, "role")), "clinic");
    ck_assert_ptr_nonnull(json_string_value(json_object_get(server, "version")));
    ck_assert_int_ge(audited_number(server, "count"), 1);
    /* As far as it is encrypted: by what, and whose certificate it was. */
    ck_assert_int_eq(audited_text(server, "tls") != NULL, postgres_certificate() != NULL);
    if (postgres_certificate() != NULL) {
        ck_assert_ptr_nonnull(strstr(audited_text(server, "tls"), "TLSv1.3 TLS_"));
        ck_assert_ptr_nonnull(strstr(audited_text(server, "certificate"), "CN"));
        ck_assert_int_gt(audited_number(server, "certificate_expires"), time(NULL));
    }
    harness_unprivileged(&uid, &gid);
    ck_assert_str_eq(audited_text(inventory, "profile"), "none");
    ck_assert_str_eq(audited_text(inventory, "sandbox"), "enforce");
    ck_assert_str_eq(audited_text(inventory, "audit_user"), "");
    ck_assert_int_eq(audited_number(inventory, "uid"), uid);
    access = json_object_get(json_object_get(inventory, "admin"), "operate");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(access, "groups"), 0)), "60001");
    worker = json_array_get(json_object_get(pool, "workers"), 0);
    ck_assert_int_eq(audited_number(worker, "uid"), getuid());
    ck_assert_int_eq(audited_number(worker, "count"), 1);
    json_decref(inventory);
    say(held.sock, 'e');
    ck_assert_int_eq(worker_wait(&held, 5), 0);
    pglendd_stop(d);
}
END_TEST

START_TEST(a_revoked_lease_is_recorded_with_who_revoked_it)
{
    struct worker_process worker;
    char arguments[64];
    json_t *record;
    pid_t pid;

    d = audited_start(harness_server(), "", "");
    worker_fork(&worker, borrow_as, NULL);
    pid = worker.pid;
    (void)hear(worker.sock, 5);
    (void)snprintf(arguments, sizeof arguments, "{'pid': '%d'}", pid);
    json_decref(pglendd_result(d, "revoke", arguments));
    say(worker.sock, 'e');
    ck_assert_int_eq(worker_wait(&worker, 5), 0);
    wait_until(audited_has("lease.revoked", "actor", "dr.lee"), 5);
    record = audited_record("lease.revoked", "actor", "dr.lee");
    ck_assert_int_eq(audited_number(record, "pid"), pid);
    ck_assert_str_eq(audited_text(record, "purpose"), "treatment");
    ck_assert_str_eq(audited_text(record, "reason"), "revoked");
    json_decref(record);
    wait_until(audited_has("admin.command", "command", "revoke"), 5);
    record = audited_record("admin.command", "command", "revoke");
    ck_assert_ptr_nonnull(strstr(audited_text(record, "args"), "pid"));
    json_decref(record);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* The supervisor dies, and what it had just done by then is done here: the one lease that is out is taken. */
static void take_and_die(unsigned flags, enum lost_reason lost)
{
    pid_t supervisor = pglendd_process(d, "supervisor");
    char instance[17], name[SEGMENT_NAME_MAX];
    struct segment s = {0};
    unsigned taken = 0;
    int fd;

    ck_assert_int_eq(kill(d->pid, SIGSTOP), 0); /* there is no next one yet */
    ck_assert_int_eq(kill(supervisor, SIGKILL), 0);
    wait_until(process_state(supervisor) == 'Z', 5);
    segment_instance(d->runtime_dir, instance);
    ck_assert_int_eq(segment_name(name, instance, "clinic"), 0);
    fd = shm_open(name, O_RDWR, 0);
    ck_assert(fd != -1 && segment_map(&s, fd) == 0 && close(fd) == 0);
    for (uint32_t i = 0; i < s.slots; i++) {
        uint64_t word = slot_word(&s, i);

        if (word_state(word) != SLOT_LEASED)
            continue;
        if (lost != LOST_UNKNOWN)
            atomic_store(&s.slot[i].lost, atomic_load(&s.slot[i].lease) << 8 | lost);
        taken += lease_take(&s, i, word, flags);
    }
    ck_assert_uint_eq(taken, 1);
    segment_unmap(&s);
    ck_assert_int_eq(kill(d->pid, SIGCONT), 0);
    wait_until(pglendd_has_another(d, "supervisor", supervisor), 5);
}

static bool has_ended(int64_t backend)
{
    char sql[100];

    (void)snprintf(sql, sizeof sql, "select count(*) from pg_stat_activity where pid = %lld", (long long)backend);
    return strcmp(postgres_ask(harness_server(), sql), "0") == 0;
}

/* And the session of a lease that was revoked is nobody's: whoever had it has its socket. In both isolations. */
START_TEST(what_a_supervisor_took_as_it_died_the_next_one_records)
{
    bool revoked = _i % 2 == 0, strict = _i >= 2;
    const char *event = revoked ? "lease.revoked" : "lease.reclaimed";
    struct worker_process worker;
    json_t *begin, *end;

    if (strict && geteuid() != 0)
        return;
    d = audited_start(harness_server(), "", strict ? ", 'pools': {'clinic': {'isolation': 'strict'}}" : "");
    worker_fork(&worker, borrow_as, NULL);
    (void)hear(worker.sock, 5);
    wait_until(audited_has("lease.begin", NULL, NULL), 5);
    take_and_die(revoked ? SLOT_RETIRE : 0, revoked ? LOST_TOO_LONG : LOST_UNKNOWN);
    wait_until(audited_has(event, NULL, NULL), 5);
    begin = audited_record("lease.begin", NULL, NULL);
    end = audited_record(event, NULL, NULL);
    ck_assert_str_eq(audited_text(end, "lease"), audited_text(begin, "lease"));
    ck_assert_str_eq(audited_text(end, "reason"), revoked ? "lease too long" : "its worker has ended");
    if (revoked)
        wait_until(has_ended(audited_number(begin, "backend_pid")), 5);
    json_decref(begin);
    json_decref(end);
    say(worker.sock, 'e');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert(!audited_has("lease.end", NULL, NULL));
}
END_TEST

/* ---- leases ---- */

#define LEASES 200

static int lease_often(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");

    (void)sock;
    for (int i = 0; i < LEASES; i++) {
        PGconn *conn = pglend_acquire_as(p, argument, "treatment", 20000);

        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
        ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    }
    pglend_close(p);
    return 0;
}

/*
 * Each lease that began has ended, under the same name, and not before it began; how many there were. What an audit
 * process wrote and was killed before it could say so stands twice.
 */
static size_t balanced_leases(void)
{
    json_t *records, *record, *open = json_object(), *ended = json_object();
    size_t i, count = 0;

    ck_assert_msg(audited_run("report --json %s", audited_directory) == 0, "%.300s", audited_output);
    records = json_loads(audited_output, 0, NULL);
    ck_assert_ptr_nonnull(records);
    json_array_foreach(records, i, record)
    {
        const char *event = audited_text(record, "event");
        const char *lease = audited_text(record, "lease");

        if (strcmp(event, "lease.begin") == 0) {
            if (json_object_get(ended, lease) != NULL || json_object_get(open, lease) != NULL)
                continue;
            json_object_set_new(open, lease, json_true());
            count++;
        } else if (strncmp(event, "lease.", 6) == 0 && lease != NULL) { /* a refusal is of none */
            ck_assert_msg(json_object_get(open, lease) != NULL || json_object_get(ended, lease) != NULL,
                          "%s of %s, which has not begun", event, lease);
            json_object_del(open, lease);
            json_object_set_new(ended, lease, json_true());
        }
    }
    ck_assert_uint_eq(json_object_size(open), 0);
    json_decref(records);
    json_decref(open);
    json_decref(ended);
    return count;
}

/* Every record of a lease says which session it was, and who had it, by the kernel's word. */
static void expect_all_known(void)
{
    static const char *const numbers[] = {"slot", "generation", "backend_pid", "uid", "gid", "pid", "started"};
    char self[256];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    json_t *records, *record;
    size_t i, leases = 0;

    ck_assert_int_gt(length, 0);
    self[length] = '\0';
    ck_assert_msg(audited_run("report --json %s", audited_directory) == 0, "%.300s", audited_output);
    records = json_loads(audited_output, 0, NULL);
    ck_assert_ptr_nonnull(records);
    json_array_foreach(records, i, record)
    {
        if (strncmp(audited_text(record, "event"), "lease.", 6) != 0)
            continue;
        leases++;
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            ck_assert_msg(json_is_integer(json_object_get(record, numbers[k])), "record %zu has no %s", i, numbers[k]);
        ck_assert_pstr_eq(audited_text(record, "exe"), self);
        ck_assert_pstr_eq(audited_text(record, "role"), "clinic");
    }
    ck_assert_uint_gt(leases, 0);
    json_decref(records);
}

START_TEST(each_lease_is_recorded_from_begin_to_end)
{
    struct worker_process worker[4];
    static char *const actors[] = {"dr.lee", "dr.kim", "nurse", "Śląsk"};
    json_t *record;
    bool attested;

    d = audited_start(harness_server(), "", "");
    attested = pglendd_is_strict(d);
    for (int i = 0; i < 4; i++)
        worker_fork(&worker[i], lease_often, actors[i]);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 20), 0);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_uint_eq(balanced_leases(), 4 * LEASES);
    expect_all_known();
    record = audited_record("lease.end", "actor", "Śląsk");
    ck_assert_int_eq(json_is_true(json_object_get(record, "attested")), attested);
    ck_assert_str_eq(audited_text(record, "purpose"), "treatment");
    ck_assert_str_eq(audited_text(record, "outcome"), "kept");
    ck_assert_int_gt(audited_number(record, "pid"), 0);
    ck_assert_int_gt(audited_number(record, "backend_pid"), 0);
    ck_assert(json_is_integer(json_object_get(record, "duration_us")));
    json_decref(record);
    ck_assert_int_eq(audited_run("report --by actor --csv %s", audited_directory), 0);
    ck_assert_ptr_nonnull(strstr(audited_output, "\"dr.kim\",200,"));
}
END_TEST

START_TEST(leases_are_recorded_though_worker_supervisor_and_audit_process_die)
{
    static const char *const victims[] = {"supervisor", "audit", "supervisor", "audit"};
    struct worker_process worker, other;

    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    worker_fork(&worker, lease_often, "dr.lee");
    for (size_t i = 0; i < sizeof victims / sizeof victims[0]; i++) {
        pid_t pid;

        worker_fork(&other, borrow, NULL);
        (void)hear(other.sock, 5);
        pid = pglendd_signal(d, victims[i], SIGKILL);
        worker_kill(&other, SIGKILL);
        wait_until(pglendd_has_another(d, victims[i], pid), 5);
        wait_until(audited_has("lease.begin", "pool", "clinic") && pglendd_count(d, "leased") <= 1, 5);
    }
    ck_assert_int_eq(worker_wait(&worker, 20), 0);
    wait_until(pglendd_count(d, "leased") == 0, 5);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_uint_eq(balanced_leases(), LEASES + 4);
}
END_TEST

/* Whoever may not have one, or waits in vain, is recorded; a purpose that is not the pool's is not repeated. */
START_TEST(who_got_none_is_recorded)
{
    static const struct {
        const char *actor, *purpose;
        pglend_status status;
    } row[] = {
        {NULL, "treatment", PGLEND_DENIED},
        {"", "treatment", PGLEND_DENIED},
        {"dr.lee", NULL, PGLEND_DENIED},
        {"dr.lee", "", PGLEND_DENIED},
        {"dr.lee", "Mrs Smith's results", PGLEND_DENIED},
        {"dr.lee", "treat", PGLEND_DENIED},
        {"dr.lee", "treatment\npayment", PGLEND_USAGE},
        {"dr.lee", "treatment", PGLEND_OK},
        {"dr.lee", "payment", PGLEND_OK},
    };
    json_t *record;
    PGconn *conn, *none;
    bool attested;
    pglend *p;

    d = audited_start(harness_server(), "",
                      ", 'pools': {'clinic': {'size': {'max': 1}, 'require_actor': true,"
                      " 'purposes': ['treatment', 'payment']}}");
    attested = pglendd_is_strict(d);
    p = pglend_open(d->runtime_dir, "clinic");
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        conn = pglend_acquire_as(p, row[i].actor, row[i].purpose, 5000);
        ck_assert_msg(pglend_errcode(p) == row[i].status, "row %zu: %s", i, pglend_errmessage(p));
        ck_assert_int_eq(conn != NULL, row[i].status == PGLEND_OK);
        if (conn != NULL)
            ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    }
    ck_assert_ptr_null(pglend_acquire(p, 5000));
    ck_assert_ptr_nonnull(strstr(pglend_errmessage(p), "require_actor"));
    ck_assert_ptr_null(pglend_acquire_as(p, "x", "y", 5000));
    ck_assert_ptr_nonnull(strstr(pglend_errmessage(p), "treatment,payment"));
    ck_assert_ptr_nonnull(conn = pglend_acquire_as(p, "dr.lee", "treatment", 5000));
    none = pglend_acquire_as(p, "dr.kim", "payment", 20);
    ck_assert_ptr_null(none);
    ck_assert_ptr_null(pglend_acquire_as(p, "dr.ask", "payment", 0)); /* who only asks is not recorded */
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    pglend_close(p);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_uint_eq(balanced_leases(), 3);
    record = audited_record("lease.refused", "outcome", "PGLEND_TIMEOUT");
    ck_assert_ptr_nonnull(record);
    ck_assert_str_eq(audited_text(record, "actor"), "dr.kim");
    ck_assert_int_ge(audited_number(record, "wait_us"), 20000);
    ck_assert_int_eq(json_is_true(json_object_get(record, "attested")), attested);
    ck_assert_int_eq(audited_number(record, "pid"), getpid());
    json_decref(record);
    ck_assert(audited_has("lease.refused", "outcome", "PGLEND_DENIED"));
    ck_assert(!audited_has("lease.refused", "actor", "dr.ask"));
    ck_assert_int_eq(audited_run("report --json %s", audited_directory), 0);
    ck_assert_ptr_null(strstr(audited_output, "Smith"));
}
END_TEST

static int lease_until_full(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");
    unsigned count = 0;
    PGconn *conn;
    char byte;

    while ((conn = pglend_acquire_as(p, argument, NULL, 300)) != NULL) {
        ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
        ck_assert_uint_lt(++count, 10000);
    }
    ck_assert_int_eq(pglend_errcode(p), PGLEND_TIMEOUT);
    ck_assert_msg(strstr(pglend_errmessage(p), "the audit trail takes no more records") != NULL, "%s",
                  pglend_errmessage(p));
    ck_assert_uint_gt(count, 1000);
    say(sock, 'f');
    byte = hear(sock, 10);
    /* The next one waits for room, and gets it. */
    conn = pglend_acquire_as(p, "next", NULL, 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    pglend_close(p);
    return byte != 'g' || send(sock, &count, sizeof count, 0) != sizeof count;
}

START_TEST(a_full_ring_holds_leases_and_drops_none)
{
    struct worker_process worker;
    unsigned count = 0;
    pid_t pid;

    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    pid = pglendd_signal(d, "audit", SIGSTOP);
    worker_fork(&worker, lease_until_full, "dr.lee");
    (void)hear(worker.sock, 20);
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    say(worker.sock, 'g');
    ck_assert_int_eq(recv(worker.sock, &count, sizeof count, MSG_WAITALL), sizeof count);
    ck_assert_int_eq(worker_wait(&worker, 5), 0);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_uint_eq(balanced_leases(), count + 1);
}
END_TEST

static int be_held(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");

    (void)argument;
    (void)sock;
    ck_assert_ptr_null(pglend_acquire(p, 2000)); /* long enough for a login, where nothing is connected yet */
    ck_assert_int_eq(pglend_errcode(p), PGLEND_TIMEOUT);
    ck_assert_msg(strstr(pglend_errmessage(p), "nothing is lent without it") != NULL, "%s", pglend_errmessage(p));
    pglend_close(p);
    return 0;
}

START_TEST(deny_lends_nothing_while_the_trail_is_not_written)
{
    char from[160], to[160];
    struct worker_process worker;

    (void)snprintf(from, sizeof from, "%s/seal.key", audited_directory);
    (void)snprintf(to, sizeof to, "%s/seal.away", audited_directory);
    ck_assert_int_eq(rename(from, to), 0);
    d = audited_start(harness_server(), ", 'on_audit_failure': 'deny'", "");
    in_worker(be_held, NULL, 10);
    ck_assert_int_eq(rename(to, from), 0);
    wait_until(audited_is(d, "on"), 15);
    worker_fork(&worker, borrow, NULL);
    (void)hear(worker.sock, 5);
    say(worker.sock, 'e');
    ck_assert_int_eq(worker_wait(&worker, 5), 0);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_uint_eq(balanced_leases(), 1);
}
END_TEST

static void kill_while_it_holds(void)
{
    struct worker_process worker;

    worker_fork(&worker, borrow, NULL);
    (void)hear(worker.sock, 5);
    worker_kill(&worker, SIGKILL);
}

START_TEST(without_the_section_there_is_no_trail)
{
    d = pglendd_start(harness_server(), NULL);
    ck_assert(audited_is(d, "off"));
    ck_assert_int_eq(pglendd_process(d, "audit"), 0);
    pglendd_stop(d);
}
END_TEST

START_TEST(what_happens_is_recorded)
{
    json_t *record;

    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    json_decref(pglendd_request(d, "shutdown", "{'mode': 'later'}"));
    kill_while_it_holds();
    if (geteuid() == 0)
        in_worker(be_denied, NULL, 10);
    wait_until(audited_has("lease.reclaimed", "pool", "clinic"), 5);
    record = audited_record("lease.reclaimed", "pool", "clinic");
    ck_assert_int_gt(audited_number(record, "pid"), 0);
    ck_assert_int_gt(audited_number(record, "backend_pid"), 0);
    ck_assert_ptr_nonnull(json_object_get(record, "exe"));
    json_decref(record);
    pglendd_stop(d);
    audited_expect_intact();

    ck_assert(audited_has("supervisor.start", "outcome", "serving"));
    ck_assert(audited_has("session.login", "role", "clinic"));
    ck_assert(audited_has("admin.command", "command", "status"));
    ck_assert(audited_has("supervisor.stop", "outcome", "graceful"));
    ck_assert(audited_has("audit.checkpoint", "reason", "stop"));
    record = audited_record("admin.command", "command", "shutdown");
    ck_assert_str_eq(audited_text(record, "outcome"), "bad_request");
    ck_assert_int_eq(audited_number(record, "pid"), getpid());
    ck_assert_int_eq(audited_number(record, "uid"), geteuid());
    json_decref(record);
    if (geteuid() == 0) {
        record = audited_record("access.denied", "pool", "clinic");
        ck_assert_int_eq(audited_number(record, "uid"), 12345);
        json_decref(record);
    }
}
END_TEST

START_TEST(a_reload_is_recorded)
{
    char overrides[512];
    json_t *record;
    FILE *f;

    d = audited_start(harness_server(), "", "");
    (void)snprintf(overrides, sizeof overrides,
                   "{'audit': {'directory': '%s', 'window': '5ms'}, 'pools': {'clinic': {'size': {'max': 3}}}}",
                   audited_directory);
    pglendd_configure(d, harness_server(), overrides);
    json_decref(pglendd_result(d, "reload", NULL));
    wait_until(audited_has("config.change", "key", "pools.clinic.size.max"), 5);
    record = audited_record("config.change", "key", "pools.clinic.size.max");
    ck_assert_str_eq(audited_text(record, "new"), "3");
    json_decref(record);
    wait_until(audited_has("audit.checkpoint", "reason", "config"), 5);

    ck_assert_ptr_nonnull(f = fopen(d->config, "w"));
    ck_assert(fputs("{", f) >= 0 && fclose(f) == 0);
    json_decref(pglendd_request(d, "reload", NULL));
    wait_until(audited_has("config.change", "outcome", "refused"), 5);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

START_TEST(events_wait_for_an_audit_process_that_died)
{
    json_t *records, *record;
    json_int_t last = 0;
    size_t count = 0, i;

    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    for (int n = 0; n < 5; n++) {
        pid_t pid = pglendd_signal(d, "audit", SIGKILL);

        /* Nobody writes now. */
        json_decref(pglendd_request(d, "shutdown", "{'mode': 'later'}"));
        wait_until(pglendd_has_another(d, "audit", pid), 5);
        wait_until(audited_is(d, "on"), 5);
    }
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_int_eq(audited_run("report --json %s", audited_directory), 0);
    records = json_loads(audited_output, 0, NULL);
    json_array_foreach(records, i, record)
    {
        const char *command = audited_text(record, "command");
        json_int_t number = audited_number(record, "serial");

        /* None is missing; one may stand twice. */
        ck_assert_msg(number <= last + 1, "serial %lld after %lld", (long long)number, (long long)last);
        count += number > last && command != NULL && strcmp(command, "shutdown") == 0;
        last = number > last ? number : last;
    }
    json_decref(records);
    ck_assert_uint_eq(count, 5);
}
END_TEST

START_TEST(a_new_supervisor_is_joined_and_a_killed_keeper_ends_the_trail_well)
{
    d = audited_start(harness_server(), "", "");
    wait_until(audited_is(d, "on"), 5);
    (void)pglendd_replace(d, "supervisor");
    harness_sleep_ms(50);
    wait_until(audited_is(d, "on"), 5);
    pglendd_kill(d);
    audited_expect_intact();
    pglendd_resume(d);
    wait_until(audited_is(d, "on"), 5);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

START_TEST(without_keys_it_lends_on_and_says_so)
{
    struct worker_process worker;
    char command[300];

    (void)snprintf(command, sizeof command, "rm '%s/seal.key'", audited_directory);
    ck_assert_int_eq(system(command), 0);
    d = audited_start(harness_server(), "", "");
    wait_until(pglendd_logged(d, "pglend audit init"), 5);
    ck_assert(audited_is(d, "failing"));
    worker_fork(&worker, borrow, NULL);
    (void)hear(worker.sock, 5);
    say(worker.sock, 'e');
    ck_assert_int_eq(worker_wait(&worker, 5), 0);
    pglendd_stop(d);
}
END_TEST

START_TEST(durable_records_are_on_disk_at_once)
{
    d = audited_start(harness_server(), ", 'sync': 'durable', 'checkpoint': '1h'", "");
    wait_until(audited_is(d, "on"), 5);
    kill_while_it_holds();
    wait_until(audited_has("lease.reclaimed", NULL, NULL), 5);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* Of all that it holds. */
static bool trail_says(const char *lease)
{
    char command[400];

    (void)snprintf(command, sizeof command, "cat '%s'/*.jsonl | grep -q '\"lease.begin\".*\"%s\"'", audited_directory,
                   lease);
    return system(command) == 0;
}

/* In strict isolation nobody has a connection whose record is not on disk, however long that takes. */
START_TEST(durable_leases_begin_on_disk)
{
    PGconn *conn;
    pid_t process;
    pglend *p;

    if (geteuid() != 0)
        return; /* strict isolation takes two users */
    d = audited_start(harness_server(), ", 'sync': 'durable', 'on_audit_failure': 'deny'",
                      ", 'pools': {'clinic': {'isolation': 'strict'}}");
    wait_until(audited_is(d, "on"), 5);
    p = pglend_open(d->runtime_dir, "clinic");
    for (int i = 0; i < 20; i++) {
        ck_assert_msg((conn = pglend_acquire(p, 5000)) != NULL, "%s", pglend_errmessage(p));
        ck_assert_msg(trail_says(pglend_lease_id(p, conn)), "%s is not on disk", pglend_lease_id(p, conn));
        ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    }
    process = pglendd_signal(d, "audit", SIGSTOP);
    ck_assert_ptr_null(pglend_acquire(p, 500));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_TIMEOUT);
    ck_assert_int_eq(kill(process, SIGCONT), 0);
    ck_assert_msg((conn = pglend_acquire(p, 5000)) != NULL, "%s", pglend_errmessage(p));
    ck_assert(trail_says(pglend_lease_id(p, conn)));
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    pglend_close(p);
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_uint_eq(balanced_leases(), 22);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_audit");
    TCase *live = harness_live_case(suite, "trail", 40);

    tcase_add_checked_fixture(live, audited_set_up, audited_tear_down);
    tcase_add_test(live, without_the_section_there_is_no_trail);
    tcase_add_test(live, what_happens_is_recorded);
    tcase_add_test(live, the_inventory_says_what_an_auditor_asks);
    tcase_add_test(live, a_revoked_lease_is_recorded_with_who_revoked_it);
    tcase_add_loop_test(live, what_a_supervisor_took_as_it_died_the_next_one_records, 0, 4);
    tcase_add_test(live, each_lease_is_recorded_from_begin_to_end);
    tcase_add_test(live, who_got_none_is_recorded);
    tcase_add_test(live, leases_are_recorded_though_worker_supervisor_and_audit_process_die);
    tcase_add_test(live, a_full_ring_holds_leases_and_drops_none);
    tcase_add_test(live, deny_lends_nothing_while_the_trail_is_not_written);
    tcase_add_test(live, a_reload_is_recorded);
    tcase_add_test(live, events_wait_for_an_audit_process_that_died);
    tcase_add_test(live, a_new_supervisor_is_joined_and_a_killed_keeper_ends_the_trail_well);
    tcase_add_test(live, without_keys_it_lends_on_and_says_so);
    tcase_add_test(live, durable_records_are_on_disk_at_once);
    tcase_add_test(live, durable_leases_begin_on_disk);
    return harness_main(suite);
}
