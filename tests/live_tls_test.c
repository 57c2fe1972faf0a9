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
static const struct postgres *server_;

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
    sh("[ -e %s.crt ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
       "'/CN=%s' -keyout %s.key -out %s.crt "
       ">%s.log 2>&1 && chmod 644 %s.crt",
       name, name, name, name, name, name);
}

/* Signed by AUTHORITY for SUBJECT_ALT_NAME, good for DAYS from now. */
static void make_certificate(const char *name, const char *authority, const char *alt, int days)
{
    sh("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=%s' -keyout %s.key -out %s.csr "
       ">%s.log 2>&1 && "
       "printf 'subjectAltName=%s\\n' >%s.ext && openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key "
       "-CAcreateserial -days %d -extfile %s.ext -out %s.crt >>%s.log 2>&1 && chmod 644 %s.crt",
       name, name, name, name, alt, name, name, authority, authority, days, name, name, name, name);
}

/* NAME.crl revokes certificate NAME, and the directory NAME.crls says so too. */
static void revoke_certificate(const char *name, const char *authority)
{
    sh("printf '[ca]\\ndefault_ca=a\\n[a]\\ndatabase=%s.db\\ndefault_md=sha256\\ndefault_crl_days=2\\n' >%s.cnf && "
       ": >%s.db && ca='openssl ca -config %s.cnf -cert %s.crt -keyfile %s.key' && $ca -revoke %s.crt >%s.log 2>&1 && "
       "$ca -gencrl -out %s.crl >>%s.log 2>&1 && chmod 644 %s.crl && rm -rf %s.crls && mkdir -m 755 %s.crls && "
       "cp -p %s.crl %s.crls && openssl rehash %s.crls",
       name, name, name, name, authority, authority, name, name, name, name, name, name, name, name, name, name);
}

/* The server has this SETTING from now on, once what it reads has been read. */
static void set(const char *setting, const char *value)
{
    char sql[512];

    (void)snprintf(sql, sizeof sql, "alter system set %s = '%s'", setting, value);
    postgres_run(server_, sql);
    postgres_signal(server_, SIGHUP);
    (void)snprintf(sql, sizeof sql, "show %s", setting);
    wait_until(strcmp(postgres_ask(server_, sql), value) == 0, 5);
}

/* The server has certificate NAME from now on. */
static void serve(const char *name)
{
    sh("install -m 600 %s.crt %s/data/server.crt && install -m 600 %s.key %s/data/server.key && chown "
       "--reference=%s/data "
       "%s/data/server.crt %s/data/server.key",
       name, server_->directory, name, server_->directory, server_->directory, server_->directory, server_->directory);
    set("ssl", "on");
    harness_sleep_ms(100); /* each session reads the files anew once the postmaster has */
}

/* Before each test: the server as the program started it. */
static void as_it_was(void)
{
    server_ = harness_server();
    postgres_run(server_, "alter system reset all");
    postgres_signal(server_, SIGHUP);
}

/* For a configuration: the pool with DATABASE, where $ stands for the directory, and MORE beside it. Static. */
static const char *overrides(const char *database, const char *more)
{
    static char text[4096];
    int at = snprintf(text, sizeof text,
                      "{'pools': {'clinic': {'size': {'min': 1, 'max': 2}, 'unavailable_after': '100ms', %s%s"
                      "'database': {'host': '127.0.0.1', ",
                      more, *more != '\0' ? ", " : "");

    for (; *database != '\0'; database++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%.*s", *database == '$' ? 64 : 1,
                       *database == '$' ? harness_directory() : database);
    (void)snprintf(text + at, sizeof text - (size_t)at, "}}}}");
    return text;
}

static void start_with(const char *database)
{
    daemon_ = pglendd_start(server_, overrides(database, ""));
}

/* Not lent, and told why. */
static void expect_refused(const char *words)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    ck_assert_ptr_nonnull(pool);
    wait_until(pglendd_logged(daemon_, "login failed: "), 10);
    ck_assert_ptr_null(pglend_acquire(pool, 500));
    ck_assert_msg(strstr(pglend_errmessage(pool), words) != NULL, "no \"%s\" in: %s", words, pglend_errmessage(pool));
    ck_assert_int_eq(postgres_sessions(server_), 0);
    pglend_close(pool);
}

/* ---- servers that are not trusted, or do not trust us ---- */

static void no_more(void)
{
}

static void is_revoked(void)
{
    revoke_certificate("revoked", "ours");
}

static void speaks_only_the_old(void)
{
    set("ssl_min_protocol_version", "TLSv1");
    set("ssl_max_protocol_version", "TLSv1.1");
}

static void does_not_encrypt(void)
{
    set("ssl", "off");
}

static void wants_our_certificate(void)
{
    sh("install -m 644 ours.crt %s/data/ca.crt", server_->directory);
    set("ssl_ca_file", "ca.crt");
}

#define VERIFIED "'sslmode': 'verify-full', 'sslrootcert': '$/ours.crt'"

static const struct refusal {
    const char *served;          /* certificate */
    const char *authority, *alt; /* that signed it, for this; NULL: it is its own */
    int days;
    void (*more)(void);
    const char *database; /* of the configuration; $ stands for the directory */
    const char *words[2]; /* what is wrong, and what to do */
} refusals[] = {
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     "'sslmode': 'verify-full', 'sslrootcert': '$/theirs.crt'",
     {"(unable to get local issuer certificate)", "name the file of the authority that signed it in sslrootcert"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     "'sslmode': 'verify-full', 'sslrootcert': '/etc/ssl/certs/ca-certificates.crt'",
     {"(unable to get local issuer certificate)", "name the file of the authority that signed it in sslrootcert"}},
    {"elsewhere",
     "ours",
     "DNS:elsewhere.example",
     2,
     no_more,
     VERIFIED,
     {"does not match host name \"127.0.0.1\"", "write a name that the certificate has as host"}},
    {"alone",
     NULL,
     NULL,
     2,
     no_more,
     VERIFIED,
     {"(self-signed certificate)", "or name the certificate itself in sslrootcert"}},
    {"old", "ours", "IP:127.0.0.1", -1, no_more, VERIFIED, {"(certificate has expired)", "renew it on the server"}},
    {"revoked",
     "ours",
     "IP:127.0.0.1",
     2,
     is_revoked,
     VERIFIED ", 'sslcrl': '$/revoked.crl'",
     {"(certificate revoked)", "give the server another one"}},
    {"revoked",
     "ours",
     "IP:127.0.0.1",
     2,
     is_revoked,
     VERIFIED ", 'sslcrldir': '$/revoked.crls'",
     {"(certificate revoked)", "give the server another one"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     VERIFIED ", 'sslcrldir': '$'",
     {"(unable to get certificate CRL)", "has no list of the authority that signed it"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     VERIFIED ", 'sslcrl': '$/none.crl'",
     {"cannot read sslcrl", "nothing tells a revoked certificate from a good one"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     VERIFIED ", 'sslcrl': '$/good.key'",
     {"cannot read sslcrl", "nothing tells a revoked certificate from a good one"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     VERIFIED ", 'sslcrldir': '$/none.crls'",
     {"cannot look into sslcrldir", "No such file or directory"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     speaks_only_the_old,
     VERIFIED,
     {"tlsv1 alert protocol version", "let the server speak a newer TLS"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     VERIFIED ", 'ssl_min_protocol_version': 'TLSv1', 'ssl_max_protocol_version': 'TLSv1.1'",
     {"tlsv1 alert protocol version", "let the server speak a newer TLS"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     does_not_encrypt,
     VERIFIED,
     {"server does not support SSL, but SSL was required", "set \"ssl = on\" at the server"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     does_not_encrypt,
     "'sslmode': 'require'",
     {"server does not support SSL, but SSL was required", "set \"ssl = on\" at the server"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     wants_our_certificate,
     VERIFIED ", 'user': 'clinic_certificate'",
     {"connection requires a valid client certificate", "set sslcert and sslkey"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     VERIFIED ", 'user': 'clinic_md5', 'channel_binding': 'require'",
     {"channel binding required", "let the server's pg_hba.conf ask for scram-sha-256"}},
};

START_TEST(untrusted_server_is_refused)
{
    const struct refusal *row = &refusals[_i];

    make_authority("ours");
    make_authority("theirs");
    if (row->authority != NULL)
        make_certificate(row->served, row->authority, row->alt, row->days);
    else
        make_authority(row->served);
    serve(row->served);
    row->more();
    start_with(row->database);
    for (int i = 0; i < 2; i++)
        expect_refused(row->words[i]);
    pglendd_stop(daemon_);
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

    server.sin_port = htons((uint16_t)server_->port);
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
    (void)snprintf(database, sizeof database, VERIFIED ", 'port': %d", ntohs(address.sin_port));
    start_with(database);
    expect_refused("received unencrypted data after SSL response");
    expect_refused("somebody on the way to the server may have put it there");
    pglendd_stop(daemon_);
    worker_kill(&(struct worker_process){.pid = pid, .sock = listener}, SIGKILL);
}
END_TEST

/* ---- a relay's end ---- */

static void start_good(void)
{
    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    serve("good");
    start_with(VERIFIED);
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

/* The relay of slot INDEX. */
static pid_t relay_of(int index)
{
    char title[32];

    (void)snprintf(title, sizeof title, "relay clinic/%d", index);
    return pglendd_process(daemon_, title);
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

    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    serve("good");
    daemon_ = pglendd_start(server_, overrides(VERIFIED, "'keepalive': '100ms', 'check_timeout': '1s'"));
    wait_until((relay = relay_of(0)) != 0 && pglendd_count(daemon_, "idle") == 1, 10);
    stop_relay(relay);
    wait_until(pglendd_logged(daemon_, "check timed out"), 10);
    wait_until(pglendd_count(daemon_, "idle") == 1 && relay_of(0) != relay, 15);
    /* Nobody asks it to go on; it is ended, and its session with it. */
    wait_until(process_state(relay) == 0, 30);
    wait_until(postgres_sessions(server_) == 1, 10);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(stopped_relay_ends_its_lease)
{
    pglend *pool;
    PGconn *conn;
    pid_t relay;

    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    serve("good");
    daemon_ = pglendd_start(server_, overrides(VERIFIED, "'lease_max': '2s'"));
    pool = pglend_open(daemon_->runtime_dir, "clinic");
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
    pglendd_stop(daemon_);
}
END_TEST

/* The reset's answer does not come. */
START_TEST(stopped_relay_is_not_lent_again)
{
    pglend *pool;
    PGconn *conn;
    pid_t relay;

    start_good();
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    relay = relay_of(0);
    stop_relay(relay);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 20000));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert_int_eq(kill(relay, SIGKILL), 0);
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
        does_not_encrypt();
    }
    expect_cancel(conn, false);
    ck_assert(pglendd_logged(daemon_, imposters[_i].words));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* All that both sides may ask for, and that the cancel request is verified by too. */
START_TEST(trusted_both_ways)
{
    uid_t uid;
    gid_t gid;
    pglend *pool;
    PGconn *conn;

    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    make_certificate("revoked", "ours", "IP:127.0.0.1", 2);
    make_certificate("client", "ours", "DNS:client", 2);
    revoke_certificate("revoked", "ours");
    harness_unprivileged(&uid, &gid);
    sh("chown %u client.key", (unsigned)uid); /* the login reads it as who it is then */
    serve("good");
    wants_our_certificate();
    start_with(VERIFIED ", 'user': 'clinic_certificate', 'sslcert': '$/client.crt', 'sslkey': '$/client.key', "
                        "'sslcrl': '$/revoked.crl', 'sslcrldir': '$/revoked.crls', 'sslsni': false, "
                        "'ssl_min_protocol_version': 'TLSv1.2', 'ssl_max_protocol_version': 'TLSv1.2', "
                        "'channel_binding': 'require'");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 10000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    expect_cancel(conn, true);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- certificates that end, and others in their place ---- */

static bool is_due(void)
{
    json_t *pools = pglendd_result(daemon_, "pools", NULL);
    bool due = json_is_true(json_object_get(json_array_get(pools, 0), "certificate_due"));

    json_decref(pools);
    return due;
}

/* Lines of the log that have TEXT. */
static unsigned logged(const char *text)
{
    FILE *f = fopen(daemon_->log, "re");
    char line[4096];
    unsigned count = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL)
        count += strstr(line, text) != NULL;
    (void)fclose(f);
    return count;
}

START_TEST(certificate_that_ends_is_warned_about)
{
    start_good(); /* for two days */
    ck_assert(is_due());
    wait_until(logged("the server's certificate \"/CN=good\" ends on 20") == 1, 5);
    harness_sleep_ms(2500); /* more sweeps, and no more warnings */
    ck_assert_uint_eq(logged("the server's certificate"), 1);
    pglendd_configure(daemon_, server_, overrides(VERIFIED, "'certificate_warn': '1d'"));
    json_decref(pglendd_result(daemon_, "reload", NULL));
    wait_until(!is_due(), 5);
    pglendd_stop(daemon_);
}
END_TEST

/* The subject of slot INDEX's certificate; "" while there is none. */
static const char *subject(int index)
{
    static char text[64];
    json_t *slots = pglendd_result(daemon_, "slots", NULL);
    const char *found = json_string_value(json_object_get(json_array_get(slots, (size_t)index), "certificate"));

    (void)snprintf(text, sizeof text, "%s", found != NULL ? found : "");
    json_decref(slots);
    return text;
}

/* The daemon is told nothing: each login reads the files as they are then. */
START_TEST(files_changed_on_disk_serve_new_logins)
{
    pglend *pool;
    PGconn *old, *new;

    start_good();
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(old = pglend_acquire(pool, 5000));
    make_authority("theirs");
    make_certificate("newer", "theirs", "IP:127.0.0.1", 2);
    sh("cp ours.crt was.crt && cat theirs.crt >ours.crt");
    serve("newer");
    new = pglend_acquire(pool, 10000);
    ck_assert_msg(new != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(subject(0), "/CN=good");
    ck_assert_str_eq(subject(1), "/CN=newer");
    ck_assert_int_eq(query_status(old), PGRES_TUPLES_OK);
    ck_assert_int_eq(pglend_release(pool, old), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, new), PGLEND_OK);
    json_decref(pglendd_result(daemon_, "recycle", NULL));
    wait_until(strcmp(subject(0), "/CN=newer") == 0, 10);
    sh("mv was.crt ours.crt");
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(certificate_revoked_on_disk_is_refused)
{
    pglend *pool;
    PGconn *conn;

    make_authority("ours");
    make_certificate("good", "ours", "IP:127.0.0.1", 2);
    make_certificate("revoked", "ours", "IP:127.0.0.1", 2);
    revoke_certificate("revoked", "ours");
    sh("cp -p revoked.crl now.crl");
    serve("good");
    start_with(VERIFIED ", 'sslcrl': '$/now.crl'");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    wait_until(pglendd_count(daemon_, "idle") == 1, 10);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    revoke_certificate("good", "ours");
    sh("cp -p good.crl now.crl");
    ck_assert_ptr_null(pglend_acquire(pool, 1000)); /* one more session */
    ck_assert(pglendd_logged(daemon_, "(certificate revoked)"));
    ck_assert_int_eq(query_status(conn), PGRES_TUPLES_OK);
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

    tcase_add_checked_fixture(tc, as_it_was, NULL);
    tcase_add_loop_test(tc, untrusted_server_is_refused, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(tc, injected_bytes_are_refused);
    tc = harness_live_case(suite, "relay", 60);
    tcase_add_checked_fixture(tc, as_it_was, NULL);
    tcase_add_test(tc, shown_as_it_is);
    tcase_add_test(tc, killed_relay_is_a_dead_backend);
    tcase_add_test(tc, stopped_relay_fails_its_check);
    tcase_add_test(tc, stopped_relay_ends_its_lease);
    tcase_add_test(tc, stopped_relay_is_not_lent_again);
    tcase_add_test(tc, bulk_goes_both_ways);
    tcase_add_test(tc, trusted_both_ways);
    tcase_add_test(tc, certificate_that_ends_is_warned_about);
    tcase_add_test(tc, files_changed_on_disk_serve_new_logins);
    tcase_add_test(tc, certificate_revoked_on_disk_is_refused);
    tcase_add_loop_test(tc, cancel_is_encrypted, 0, (int)(sizeof imposters / sizeof imposters[0]));
    return harness_main(suite);
}
