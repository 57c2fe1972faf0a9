/* SPDX-License-Identifier: ISC */
/*
 * live_relay_test.c - a relay that dies, stands still or wants for descriptors is like a backend that dies; cancel
 * requests are as encrypted as the session; and whatever goes through one, at whatever pace, takes no more memory.
 */
#include "harness.h"
#include "pglend.h"
#include "tls.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

START_TEST(shown_as_it_is)
{
    json_t *slots;
    const json_t *slot;

    tls_start_good("");
    slots = pglendd_result(tls_daemon, "slots", NULL);
    slot = json_array_get(slots, 0);
    ck_assert_str_eq(json_string_value(json_object_get(slot, "mode")), "relay");
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(slot, "tls")), "TLSv1.3 TLS_"));
    ck_assert_str_eq(json_string_value(json_object_get(slot, "certificate")), "/CN=good");
    ck_assert_int_gt(json_integer_value(json_object_get(slot, "certificate_expires")), time(NULL) + 86400);
    ck_assert_int_ne(pglendd_process(tls_daemon, "relay clinic/0"), 0);
    json_decref(slots);
    pglendd_stop(tls_daemon);
}
END_TEST

static int query_status(PGconn *conn)
{
    PGresult *result = PQexec(conn, "select 1");
    int status = (int)PQresultStatus(result);

    PQclear(result);
    return status;
}

START_TEST(killed_relay_is_a_dead_backend)
{
    pglend *pool;
    PGconn *conn;
    pid_t relay;

    tls_start_good("");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    relay = pglendd_process(tls_daemon, "relay clinic/0");
    ck_assert_int_eq(kill(relay, SIGKILL), 0); /* while it is idle */
    wait_until(process_state(relay) == 0, 5);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    for (int i = 0; i < 2; i++) {
        char title[32];

        (void)snprintf(title, sizeof title, "relay clinic/%d", i);
        relay = pglendd_process(tls_daemon, title);
        if (relay != 0)
            ck_assert_int_eq(kill(relay, SIGKILL), 0); /* while it is lent */
        wait_until(relay == 0 || process_state(relay) == 0, 5);
    }
    ck_assert_int_ne(query_status(conn), PGRES_TUPLES_OK);
    (void)pglend_release(pool, conn);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* The relay of slot INDEX. */
static pid_t relay_of(int index)
{
    char title[32];

    (void)snprintf(title, sizeof title, "relay clinic/%d", index);
    return pglendd_process(tls_daemon, title);
}

static void stop_relay(pid_t relay)
{
    ck_assert_int_ne(relay, 0);
    ck_assert_int_eq(kill(relay, SIGSTOP), 0);
    wait_until(process_state(relay) == 'T', 5);
}

START_TEST(stopped_relay_fails_its_check)
{
    pid_t relay;

    tls_start_good("'keepalive': '100ms', 'check_timeout': '1s'");
    wait_until((relay = relay_of(0)) != 0 && pglendd_count(tls_daemon, "idle") == 1, 10);
    stop_relay(relay);
    wait_until(pglendd_logged(tls_daemon, "check timed out"), 10);
    wait_until(pglendd_count(tls_daemon, "idle") == 1 && relay_of(0) != relay, 15);
    /* Nobody asks it to go on; it is ended, and its session with it. */
    wait_until(process_state(relay) == 0, 30);
    wait_until(postgres_sessions(tls_server) == 1, 10);
    pglendd_stop(tls_daemon);
}
END_TEST

START_TEST(stopped_relay_ends_its_lease)
{
    pglend *pool;
    PGconn *conn;
    pid_t relay;

    tls_start_good("'lease_max': '2s'");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    relay = relay_of(0);
    stop_relay(relay);
    ck_assert_int_ne(query_status(conn), PGRES_TUPLES_OK); /* when it is revoked */
    (void)pglend_release(pool, conn);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(kill(relay, SIGKILL), 0);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* The reset's answer does not come. */
START_TEST(stopped_relay_is_not_lent_again)
{
    pglend *pool;
    PGconn *conn;
    pid_t relay;

    tls_start_good("");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    relay = relay_of(0);
    stop_relay(relay);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 20000));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(kill(relay, SIGKILL), 0);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* ---- ends ---- */

/* Who says that nothing more comes hears the rest, however long that takes. */
START_TEST(half_close_waits_for_the_answer)
{
    static const char sql[] = "select 'late' from pg_sleep(6)";
    struct pollfd p = {.events = POLLIN};
    char query[64] = "Q", answer[512];
    uint32_t length = htonl(sizeof sql + 4);
    size_t got = 0;
    ssize_t more;
    pglend *pool;
    PGconn *conn;

    tls_start_good("");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    p.fd = PQsocket(conn);
    memcpy(query + 1, &length, sizeof length);
    memcpy(query + 5, sql, sizeof sql);
    ck_assert_int_eq(send(p.fd, query, 5 + sizeof sql, 0), 5 + sizeof sql);
    ck_assert_int_eq(shutdown(p.fd, SHUT_WR), 0);
    do {
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        more = recv(p.fd, answer + got, sizeof answer - got, 0);
        got += more > 0 ? (size_t)more : 0;
    } while (more > 0);
    ck_assert_msg(memmem(answer, got, "late", 4) != NULL, "the answer did not come");
    wait_until(relay_of(0) == 0, 2);
    (void)pglend_discard(pool, conn);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* Its answer is larger than all that stands between here and the server. */
static int ask_for_much(void *argument, int sock)
{
    pglend *pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 10000);

    (void)argument;
    ck_assert_ptr_nonnull(conn);
    ck_assert_int_eq(PQsendQuery(conn, "select repeat('x', 1000), generate_series(1, 1000000000)"), 1);
    say(sock, 'a');
    (void)hear(sock, 60);
    return 1;
}

/* No supervisor, no keeper, no borrower: nobody hears, and the server need not go on. */
START_TEST(nobody_is_left)
{
    struct worker_process worker;
    pid_t relay;

    tls_start_good("");
    worker_fork(&worker, ask_for_much, NULL);
    ck_assert_int_eq(hear(worker.sock, 10), 'a');
    ck_assert_int_ne(relay = relay_of(0), 0);
    pglendd_kill(tls_daemon);
    ck_assert_int_ne(process_state(relay), 0);
    worker_kill(&worker, SIGKILL);
    wait_until(waitpid(relay, NULL, WNOHANG) == relay, 10); /* its parent was the keeper, and is the test now */
    wait_until(postgres_sessions(tls_server) == 0, 10);
    pglendd_free(tls_daemon);
}
END_TEST

/* ---- out of descriptors ---- */

#define DESCRIPTORS 3 /* it has more, and needs none below */

/* In a process of its user: to set the limits of others takes more than being root. */
static int starve(void *argument, int sock)
{
    const struct rlimit limit = {DESCRIPTORS, DESCRIPTORS};

    (void)sock;
    harness_drop();
    ck_assert_int_eq(prlimit(*(const pid_t *)argument, RLIMIT_NOFILE, &limit, NULL), 0);
    return 0;
}

/* In strict isolation each lease has a socket of its own, which comes to the relay. */
START_TEST(starved_relay_is_a_dead_backend)
{
    pglend *pool;
    PGconn *conn;
    pid_t relay;
    int backend;

    if (geteuid() != 0) {
        printf("starved_relay_is_a_dead_backend: skipped, strict isolation takes root\n");
        return;
    }
    tls_start_good("'isolation': 'strict'");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    backend = PQbackendPID(conn);
    ck_assert_int_ne(relay = relay_of(0), 0);
    in_worker(starve, &relay, 10);
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK); /* the next one's socket is not taken */
    wait_until(process_state(relay) == 0, 5);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_ne(PQbackendPID(conn), backend);
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    wait_until(pglendd_count(tls_daemon, "idle") >= 1 && postgres_sessions(tls_server) <= 2, 5);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* ---- cancel requests ---- */

static void expect_cancel(PGconn *conn, bool arrives)
{
    PGcancel *cancel = PQgetCancel(conn);
    char error[256];
    PGresult *result;

    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(1)"), 1);
    harness_sleep_ms(100);
    (void)PQcancel(cancel, error, sizeof error);
    result = PQgetResult(conn);
    ck_assert_int_eq(PQresultStatus(result), arrives ? PGRES_FATAL_ERROR : PGRES_TUPLES_OK);
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(conn));
    PQfreeCancel(cancel);
}

/* By the key, which a login of its own would not need, and sent to nobody but the server that the session is with. */
static const struct {
    const char *served; /* in place of the right one; NULL: none, the server no longer encrypts */
    const char *words;
} imposters[] = {
    {"elsewhere", "certificate is not for host \"127.0.0.1\""},
    {"alone", "TLS handshake: self-signed certificate"},
    {NULL, "does not speak TLS"},
};

START_TEST(cancel_is_encrypted)
{
    pglend *pool;
    PGconn *conn;
    json_t *pools;

    tls_start_good("");
    pools = pglendd_result(tls_daemon, "pools", NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(pools, 0), "cancel")), "key");
    json_decref(pools);
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    expect_cancel(conn, true);
    if (imposters[_i].served != NULL) {
        tls_certificate("elsewhere", "ours", "DNS:elsewhere.example", 2);
        tls_authority("alone");
        tls_serve(imposters[_i].served);
    } else {
        tls_end();
    }
    expect_cancel(conn, false);
    ck_assert(pglendd_logged(tls_daemon, imposters[_i].words));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* All that both sides may ask for, and that the cancel request is verified by too. */
START_TEST(trusted_both_ways)
{
    uid_t uid;
    gid_t gid;
    pglend *pool;
    PGconn *conn;

    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_certificate("revoked", "ours", "IP:127.0.0.1", 2);
    tls_certificate("client", "ours", "DNS:client", 2);
    tls_revoke("revoked", "ours");
    harness_unprivileged(&uid, &gid);
    tls_shell("chown %u client.key", (unsigned)uid); /* the login reads it as who it is then */
    tls_serve("good");
    tls_wants_certificate();
    tls_start(TLS_VERIFIED ", 'user': 'clinic_certificate', 'sslcert': '$/client.crt', 'sslkey': '$/client.key', "
                           "'sslcrl': '$/revoked.crl', 'sslcrldir': '$/revoked.crls', 'sslsni': false, "
                           "'ssl_min_protocol_version': 'TLSv1.2', 'ssl_max_protocol_version': 'TLSv1.2', "
                           "'channel_binding': 'require'");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    expect_cancel(conn, true);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* ---- much of it ---- */

#define BLOCK  65536
#define BLOCKS 512 /* 32 MiB; a GiB in make check-bulk */

#define RELAY_KIB_MAX  2048
#define RELAY_KIB_MORE 256

/* What PID has written to its memory, and shares with nobody, KiB; 0: we may not look. Pages of files cost nobody. */
static long private_kib(pid_t pid)
{
    char path[64], line[256];
    long sum = 0, kib;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Private_Dirty: %ld", &kib) == 1)
            sum += kib;
    if (f != NULL)
        (void)fclose(f);
    return sum;
}

static void send_blocks(PGconn *conn, unsigned blocks)
{
    static char block[BLOCK];
    PGresult *result;

    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\n';
    PQclear(PQexec(conn, "copy bulk from stdin"));
    for (unsigned i = 0; i < blocks; i++)
        ck_assert_int_eq(PQputCopyData(conn, block, sizeof block), 1);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
}

static uint64_t receive_all(PGconn *conn)
{
    uint64_t got = 0;
    PGresult *result;
    char *row;
    int length;

    PQclear(PQexec(conn, "copy bulk to stdout"));
    while ((length = PQgetCopyData(conn, &row, 0)) > 0) {
        got += (uint64_t)length;
        PQfreemem(row);
    }
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
    return got;
}

/* Each way, in memory that does not grow. */
START_TEST(bulk_goes_both_ways)
{
    const char *sanitizers;
    unsigned blocks = harness_rounds(BLOCKS);
    long before, after;
    char text[32];
    pglend *pool;
    PGconn *conn;

    tls_start_good("");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    PQclear(PQexec(conn, "create temp table bulk(a text)"));
    send_blocks(conn, 1);
    ck_assert_uint_eq(receive_all(conn), BLOCK);
    before = private_kib(relay_of(0));
    send_blocks(conn, blocks - 1);
    ck_assert_uint_eq(receive_all(conn), (uint64_t)blocks * BLOCK);
    after = private_kib(relay_of(0));
    ck_assert_int_eq(
        (int)strtol(query(conn, "select count(*) from bulk where length(a) = 65535", text, sizeof text), NULL, 10),
        (int)blocks);
    sanitizers = getenv("SANITIZE");
    if (sanitizers == NULL || *sanitizers == '\0') {
        ck_assert_msg(after - before <= RELAY_KIB_MORE, "%ld KiB before, %ld KiB after", before, after);
        ck_assert_msg(after <= RELAY_KIB_MAX, "a relay has %ld KiB", after);
    }
    printf("a relay's own memory: %ld KiB, after %u MiB each way %ld KiB\n", before, blocks / 16, after);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* ---- at its pace ---- */

static void start_bulk(pglend **pool, PGconn **conn)
{
    tls_start_good("");
    *pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(*conn = pglend_acquire(*pool, 5000));
    PQclear(PQexec(*conn, "create temp table bulk(a text)"));
    send_blocks(*conn, 16);
    ck_assert_uint_eq(receive_all(*conn), 16 * BLOCK);
}

static void end_bulk(pglend *pool, PGconn *conn)
{
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}

static void expect_no_more_memory(long before)
{
    const char *sanitizers = getenv("SANITIZE");
    long after = private_kib(relay_of(0));

    if (sanitizers == NULL || *sanitizers == '\0')
        ck_assert_msg(after - before <= RELAY_KIB_MORE, "%ld KiB before, %ld KiB after", before, after);
}

#define ROWS 50000 /* of a kB each */

START_TEST(slow_reader_holds_the_server_up)
{
    unsigned rows = 0;
    pglend *pool;
    PGconn *conn;
    long before;
    char *row;

    start_bulk(&pool, &conn);
    before = private_kib(relay_of(0));
    PQclear(PQexec(conn, "copy (select repeat('x', 1000) from generate_series(1, 50000)) to stdout"));
    harness_sleep_ms(2000);
    expect_no_more_memory(before);
    /* The server is not done: it waits for the reader. */
    ck_assert_str_eq(postgres_ask(tls_server,
                                  "select count(*) from pg_stat_activity where usename = 'clinic' and state "
                                  "= 'active' and wait_event = 'ClientWrite'"),
                     "1");
    for (; PQgetCopyData(conn, &row, 0) > 0; rows++)
        PQfreemem(row);
    ck_assert_uint_eq(rows, ROWS);
    PQclear(PQgetResult(conn));
    ck_assert_ptr_null(PQgetResult(conn));
    end_bulk(pool, conn);
}
END_TEST

/* How many blocks a server that does not read lets us send. */
static unsigned send_until_full(PGconn *conn)
{
    static char block[BLOCK];
    struct pollfd p = {.fd = PQsocket(conn), .events = POLLOUT};
    unsigned sent = 0;

    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\n';
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    do {
        ck_assert_int_eq(PQputCopyData(conn, block, sizeof block), 1);
        sent++;
        while (PQflush(conn) == 1 && poll(&p, 1, 500) == 1)
            continue;
    } while (PQflush(conn) == 0);
    return sent;
}

START_TEST(blocked_server_holds_the_writer_up)
{
    PGresult *result;
    pglend *pool;
    PGconn *conn;
    unsigned sent;
    char text[32];
    long before;
    int server;

    start_bulk(&pool, &conn);
    before = private_kib(relay_of(0));
    server = PQbackendPID(conn);
    PQclear(PQexec(conn, "copy bulk from stdin"));
    ck_assert_int_eq(kill(server, SIGSTOP), 0);
    sent = send_until_full(conn);
    expect_no_more_memory(before);
    ck_assert_int_eq(kill(server, SIGCONT), 0);
    wait_until(PQflush(conn) == 0, 10);
    ck_assert_int_eq(PQsetnonblocking(conn, 0), 0);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
    ck_assert_int_eq((int)strtol(query(conn, "select count(*) from bulk", text, sizeof text), NULL, 10),
                     (int)sent + 16);
    end_bulk(pool, conn);
}
END_TEST

#define QUERIES 1000

/* How often PID went to sleep. */
static long sleeps(pid_t pid)
{
    char path[64], line[256];
    long count = -1;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    while (fgets(line, sizeof line, f) != NULL)
        (void)sscanf(line, "voluntary_ctxt_switches: %ld", &count);
    (void)fclose(f);
    return count;
}

/* One for what is asked, one for the answer, and none besides. */
START_TEST(no_wake_up_without_work)
{
    pglend *pool;
    PGconn *conn;
    long before, after;

    start_bulk(&pool, &conn);
    before = sleeps(relay_of(0));
    harness_sleep_ms(500);
    after = sleeps(relay_of(0));
    ck_assert_int_le(after - before, 1);
    for (int i = 0; i < QUERIES; i++)
        ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    after = sleeps(relay_of(0));
    ck_assert_msg(after - before <= 2 * QUERIES + 20, "%ld sleeps for %d queries", after - before, QUERIES);
    end_bulk(pool, conn);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_relay");
    TCase *tc = harness_live_case(suite, "relay", 60);

    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_test(tc, shown_as_it_is);
    tcase_add_test(tc, killed_relay_is_a_dead_backend);
    tcase_add_test(tc, stopped_relay_fails_its_check);
    tcase_add_test(tc, stopped_relay_ends_its_lease);
    tcase_add_test(tc, stopped_relay_is_not_lent_again);
    tcase_add_test(tc, half_close_waits_for_the_answer);
    tcase_add_test(tc, nobody_is_left);
    tcase_add_test(tc, starved_relay_is_a_dead_backend);
    tcase_add_loop_test(tc, cancel_is_encrypted, 0, (int)(sizeof imposters / sizeof imposters[0]));
    tcase_add_test(tc, trusted_both_ways);
    tc = harness_live_case(suite, "bulk", harness_rounds(30));
    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_test(tc, bulk_goes_both_ways);
    tc = harness_live_case(suite, "pace", 30);
    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_test(tc, slow_reader_holds_the_server_up);
    tcase_add_test(tc, blocked_server_holds_the_writer_up);
    tcase_add_test(tc, no_wake_up_without_work);
    return harness_main(suite);
}
