/* SPDX-License-Identifier: ISC */
/*
 * live_tls_test.c - encrypted sessions: servers that must not be talked to are refused, each with its own words, and
 * nothing of them is lent; a relay that dies, or stands still, is like a backend that does.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct pglendd *daemon_;

/* ---- certificates ---- */

/* In the program's directory: a CA, and what it or nobody signed. NAME.crt and NAME.key; mode of keys as libpq wants. */
static void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *format, ...)
{
    char command[2048];
    int length = snprintf(command, sizeof command, "cd %s && umask 077 && ", harness_directory());
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command + length, sizeof command - (size_t)length, format, args);
    va_end(args);
    ck_assert_msg(system(command) == 0, "%s", command); /* NOLINT(cert-env33-c) */
}

static void make_authority(const char *name)
{
    sh("[ -e %s.crt ] || openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=%s' -keyout %s.key -out %s.crt "
       ">%s.log 2>&1 && chmod 644 %s.crt",
       name, name, name, name, name, name);
}

/* Signed by AUTHORITY for SUBJECT_ALT_NAME, good for DAYS from now. */
static void make_certificate(const char *name, const char *authority, const char *alt, int days)
{
    sh("openssl req -newkey rsa:2048 -nodes -subj '/CN=%s' -keyout %s.key -out %s.csr >%s.log 2>&1 && "
       "printf 'subjectAltName=%s\\n' >%s.ext && openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key "
       "-CAcreateserial -days %d -extfile %s.ext -out %s.crt >>%s.log 2>&1 && chmod 644 %s.crt",
       name, name, name, name, alt, name, name, authority, authority, days, name, name, name, name);
}

/* The server has certificate NAME from now on. */
static void serve(const char *name)
{
    const struct postgres *server = harness_server();

    sh("install -m 600 %s.crt %s/data/server.crt && install -m 600 %s.key %s/data/server.key && chown "
       "--reference=%s/data "
       "%s/data/server.crt %s/data/server.key",
       name, server->directory, name, server->directory, server->directory, server->directory, server->directory);
    postgres_run(server, "alter system set ssl = on");
    postgres_signal(server, SIGHUP);
    wait_until(strcmp(postgres_ask(server, "show ssl"), "on") == 0, 5);
    harness_sleep_ms(100); /* each session reads the files anew once the postmaster has */
}

static void start_with(const char *database)
{
    char overrides[1024];

    (void)snprintf(
        overrides, sizeof overrides,
        "{'pools': {'clinic': {'size': {'min': 1, 'max': 2}, 'unavailable_after': '100ms', 'database': {'host': "
        "'127.0.0.1', %s}}}}",
        database);
    daemon_ = pglendd_start(harness_server(), overrides);
}

/* Not lent, and told why. */
static void expect_refused(const char *words)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    ck_assert_ptr_nonnull(pool);
    wait_until(pglendd_logged(daemon_, "login failed: "), 10);
    ck_assert_ptr_null(pglend_acquire(pool, 500));
    ck_assert_msg(strstr(pglend_errmessage(pool), words) != NULL, "no \"%s\" in: %s", words, pglend_errmessage(pool));
    ck_assert_int_eq(postgres_sessions(harness_server()), 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}

/* ---- servers that are not trusted ---- */

static const struct refusal {
    const char *served;          /* certificate */
    const char *authority, *alt; /* that signed it, for this; NULL: it is its own */
    int days;
    const char *trusted; /* authority; NULL: the system's */
    const char *words;
} refusals[] = {
    {"good", "ours", "IP:127.0.0.1", 2, "theirs", "certificate verify failed"},
    {"elsewhere", "ours", "DNS:elsewhere.example", 2, "ours", "does not match host name \"127.0.0.1\""},
    {"alone", NULL, NULL, 2, "ours", "certificate verify failed"},
    {"unknown", "ours", "IP:127.0.0.1", 2, NULL, "certificate verify failed"},
};

START_TEST(untrusted_server_is_refused)
{
    const struct refusal *row = &refusals[_i];
    char database[512];

    make_authority("ours");
    make_authority("theirs");
    if (row->authority != NULL)
        make_certificate(row->served, row->authority, row->alt, row->days);
    else
        make_authority(row->served);
    serve(row->served);
    if (row->trusted != NULL)
        (void)snprintf(database, sizeof database, "'sslmode': 'verify-full', 'sslrootcert': '%s/%s.crt'",
                       harness_directory(), row->trusted);
    else
        (void)snprintf(database, sizeof database,
                       "'sslmode': 'verify-full', 'sslrootcert': '/etc/ssl/certs/ca-certificates.crt'");
    start_with(database);
    expect_refused(row->words);
}
END_TEST

static void stop_encrypting(void)
{
    postgres_run(harness_server(), "alter system set ssl = off");
    postgres_signal(harness_server(), SIGHUP);
    wait_until(strcmp(postgres_ask(harness_server(), "show ssl"), "off") == 0, 5);
}

START_TEST(plaintext_server_is_refused)
{
    stop_encrypting();
    start_with("'sslmode': 'require'");
    expect_refused("server does not support SSL, but SSL was required");
}
END_TEST

/* Bytes between two sockets until one of them ends. */
static void pass_on(int a, int b)
{
    struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char bytes[16384];

    while (poll(p, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            ssize_t got = p[i].revents == 0 ? -1 : recv(p[i].fd, bytes, sizeof bytes, 0);

            if (got == 0)
                return;
            if (got > 0)
                (void)send(p[1 - i].fd, bytes, (size_t)got, MSG_NOSIGNAL);
        }
}

/* Stands between, and puts plain bytes behind the server's yes to TLS, to be taken for what came encrypted. */
static _Noreturn void stand_between(int listener)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    server.sin_port = htons((uint16_t)harness_server()->port);
    for (;;) {
        int client = accept(listener, NULL, NULL), sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char request[64], yes[16] = "";
        ssize_t got = recv(client, request, sizeof request, 0);

        if (got > 0 && connect(sock, (struct sockaddr *)&server, sizeof server) == 0 &&
            send(sock, request, (size_t)got, MSG_NOSIGNAL) == got && recv(sock, yes, 1, 0) == 1) {
            memcpy(yes + 1, "N\0\0\0\5\0", 6); /* a notice, which libpq would have to read */
            (void)send(client, yes, 7, MSG_NOSIGNAL);
            pass_on(client, sock);
        }
        (void)close(client);
        (void)close(sock);
    }
}

START_TEST(injected_bytes_are_refused)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char database[256];
    pid_t pid;

    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    serve("good");
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ck_assert_int_ne(pid = fork(), -1);
    if (pid == 0)
        stand_between(listener);
    (void)snprintf(database, sizeof database, "'sslmode': 'verify-full', 'sslrootcert': '%s/ours.crt', 'port': %d",
                   harness_directory(), ntohs(address.sin_port));
    start_with(database);
    expect_refused("received unencrypted data after SSL response");
    worker_kill(&(struct worker_process){.pid = pid, .sock = listener}, SIGKILL);
}
END_TEST

/* ---- a relay's end ---- */

static void start_good(void)
{
    char database[256];

    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    serve("good");
    (void)snprintf(database, sizeof database, "'sslmode': 'verify-full', 'sslrootcert': '%s/ours.crt'",
                   harness_directory());
    start_with(database);
    wait_until(pglendd_count(daemon_, "idle") == 1, 10);
}

START_TEST(shown_as_it_is)
{
    json_t *slots;
    const json_t *slot;

    start_good();
    slots = pglendd_result(daemon_, "slots", NULL);
    slot = json_array_get(slots, 0);
    ck_assert_str_eq(json_string_value(json_object_get(slot, "mode")), "relay");
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(slot, "tls")), "TLSv1.3 TLS_"));
    ck_assert_str_eq(json_string_value(json_object_get(slot, "certificate")), "/CN=good");
    ck_assert_int_gt(json_integer_value(json_object_get(slot, "certificate_expires")), time(NULL) + 86400);
    ck_assert_int_ne(pglendd_process(daemon_, "relay clinic/0"), 0);
    json_decref(slots);
    pglendd_stop(daemon_);
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

    start_good();
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    relay = pglendd_process(daemon_, "relay clinic/0");
    ck_assert_int_eq(kill(relay, SIGKILL), 0); /* while it is idle */
    wait_until(process_state(relay) == 0, 5);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    for (int i = 0; i < 2; i++) {
        char title[32];

        (void)snprintf(title, sizeof title, "relay clinic/%d", i);
        relay = pglendd_process(daemon_, title);
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
    pglendd_stop(daemon_);
}
END_TEST

/* ---- cancel requests ---- */

static void expect_cancel(PGconn *conn, bool arrives)
{
    PGcancel *cancel = PQgetCancel(conn);
    char error[256];
    PGresult *result;

    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(2)"), 1);
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

    start_good();
    pools = pglendd_result(daemon_, "pools", NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(pools, 0), "cancel")), "key");
    json_decref(pools);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    expect_cancel(conn, true);
    if (imposters[_i].served != NULL) {
        make_certificate("elsewhere", "ours", "DNS:elsewhere.example", 2);
        make_authority("alone");
        serve(imposters[_i].served);
    } else {
        stop_encrypting();
    }
    expect_cancel(conn, false);
    ck_assert(pglendd_logged(daemon_, imposters[_i].words));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* Much each way, in memory that does not grow. */
START_TEST(bulk_goes_both_ways)
{
    static char block[65536];
    char text[32];
    pglend *pool;
    PGconn *conn;
    PGresult *result;
    char *row;
    size_t got = 0;
    int length;

    start_good();
    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\n';
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    PQclear(PQexec(conn, "create temp table bulk(a text)"));
    PQclear(PQexec(conn, "copy bulk from stdin"));
    for (int i = 0; i < 512; i++)
        ck_assert_int_eq(PQputCopyData(conn, block, sizeof block), 1);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
    ck_assert_str_eq(query(conn, "select count(*) from bulk where length(a) = 65535", text, sizeof text), "512");
    PQclear(PQexec(conn, "copy bulk to stdout"));
    while ((length = PQgetCopyData(conn, &row, 0)) > 0) {
        got += (size_t)length;
        PQfreemem(row);
    }
    ck_assert_uint_eq(got, 512 * sizeof block);
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_tls");
    TCase *tc = harness_live_case(suite, "refused", 30);

    tcase_add_loop_test(tc, untrusted_server_is_refused, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(tc, plaintext_server_is_refused);
    tcase_add_test(tc, injected_bytes_are_refused);
    tc = harness_live_case(suite, "relay", 30);
    tcase_add_test(tc, shown_as_it_is);
    tcase_add_test(tc, killed_relay_is_a_dead_backend);
    tcase_add_test(tc, bulk_goes_both_ways);
    tcase_add_loop_test(tc, cancel_is_encrypted, 0, (int)(sizeof imposters / sizeof imposters[0]));
    return harness_main(suite);
}
