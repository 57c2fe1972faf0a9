/* SPDX-License-Identifier: ISC */
/*
 * live_tls_test.c - encrypted sessions: servers that must not be talked to are refused, each with its own words, and
 * nothing of them is lent; and certificates that end, or change on disk.
 */
#include "harness.h"
#include "pglend.h"
#include "tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Not lent, and told why. */
static void expect_refused(const char *words)
{
    pglend *pool = pglend_open(tls_daemon->runtime_dir, "clinic");

    ck_assert_ptr_nonnull(pool);
    wait_until(pglendd_logged(tls_daemon, "login failed: "), 10);
    ck_assert_ptr_null(pglend_acquire(pool, 500));
    ck_assert_msg(strstr(pglend_errmessage(pool), words) != NULL, "no \"%s\" in: %s", words, pglend_errmessage(pool));
    ck_assert_int_eq(postgres_sessions(tls_server), 0);
    pglend_close(pool);
}

/* ---- servers that are not trusted, or do not trust us ---- */

static void no_more(void)
{
}

static void is_revoked(void)
{
    tls_revoke("revoked", "ours");
}

static void speaks_only_the_old(void)
{
    tls_set("ssl_min_protocol_version", "TLSv1");
    tls_set("ssl_max_protocol_version", "TLSv1.1");
}

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
     TLS_VERIFIED,
     {"does not match host name \"127.0.0.1\"", "write a name that the certificate has as host"}},
    {"alone",
     NULL,
     NULL,
     2,
     no_more,
     TLS_VERIFIED,
     {"(self-signed certificate)", "or name the certificate itself in sslrootcert"}},
    {"old", "ours", "IP:127.0.0.1", -1, no_more, TLS_VERIFIED, {"(certificate has expired)", "renew it on the server"}},
    {"revoked",
     "ours",
     "IP:127.0.0.1",
     2,
     is_revoked,
     TLS_VERIFIED ", 'sslcrl': '$/revoked.crl'",
     {"(certificate revoked)", "give the server another one"}},
    {"revoked",
     "ours",
     "IP:127.0.0.1",
     2,
     is_revoked,
     TLS_VERIFIED ", 'sslcrldir': '$/revoked.crls'",
     {"(certificate revoked)", "give the server another one"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     TLS_VERIFIED ", 'sslcrldir': '$'",
     {"(unable to get certificate CRL)", "has no list of the authority that signed it"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     TLS_VERIFIED ", 'sslcrl': '$/none.crl'",
     {"cannot read sslcrl", "nothing tells a revoked certificate from a good one"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     TLS_VERIFIED ", 'sslcrl': '$/good.key'",
     {"cannot read sslcrl", "nothing tells a revoked certificate from a good one"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     TLS_VERIFIED ", 'sslcrldir': '$/none.crls'",
     {"cannot look into sslcrldir", "No such file or directory"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     speaks_only_the_old,
     TLS_VERIFIED,
     {"tlsv1 alert protocol version", "let the server speak a newer TLS"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     TLS_VERIFIED ", 'ssl_min_protocol_version': 'TLSv1', 'ssl_max_protocol_version': 'TLSv1.1'",
     {"tlsv1 alert protocol version", "let the server speak a newer TLS"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     tls_end,
     TLS_VERIFIED,
     {"server does not support SSL, but SSL was required", "set \"ssl = on\" at the server"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     tls_end,
     "'sslmode': 'require'",
     {"server does not support SSL, but SSL was required", "set \"ssl = on\" at the server"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     tls_wants_certificate,
     TLS_VERIFIED ", 'user': 'clinic_certificate'",
     {"connection requires a valid client certificate", "set sslcert and sslkey"}},
    {"good",
     "ours",
     "IP:127.0.0.1",
     2,
     no_more,
     TLS_VERIFIED ", 'user': 'clinic_md5', 'channel_binding': 'require'",
     {"channel binding required", "let the server's pg_hba.conf ask for scram-sha-256"}},
};

START_TEST(untrusted_server_is_refused)
{
    const struct refusal *row = &refusals[_i];

    tls_authority("ours");
    tls_authority("theirs");
    if (row->authority != NULL)
        tls_certificate(row->served, row->authority, row->alt, row->days);
    else
        tls_authority(row->served);
    tls_serve(row->served);
    row->more();
    tls_start(row->database);
    for (int i = 0; i < 2; i++)
        expect_refused(row->words[i]);
    pglendd_stop(tls_daemon);
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

    server.sin_port = htons((uint16_t)tls_server->port);
    for (;;) {
        int client = accept(listener, NULL, NULL), sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char request[64], yes[16] = "";
        ssize_t got = recv(client, request, sizeof request, 0);

        if (got > 0 && connect(sock, (struct sockaddr *)&server, sizeof server) == 0 &&
            send(sock, request, (size_t)got, MSG_NOSIGNAL) == got && recv(sock, yes, 1, 0) == 1) {
            /* A notice, which libpq would have to read. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
            memcpy(yes + 1, "N\0\0\0\5\0", 6);
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

    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_serve("good");
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ck_assert_int_ne(pid = fork(), -1);
    if (pid == 0)
        stand_between(listener);
    (void)snprintf(database, sizeof database, TLS_VERIFIED ", 'port': %d", ntohs(address.sin_port));
    tls_start(database);
    expect_refused("received unencrypted data after SSL response");
    expect_refused("somebody on the way to the server may have put it there");
    pglendd_stop(tls_daemon);
    worker_kill(&(struct worker_process){.pid = pid, .sock = listener}, SIGKILL);
}
END_TEST

/* ---- servers on another host ---- */

/* An address that is not loopback by its form, and leads to this machine's all the same. */
#define ELSEWHERE "::ffff:127.0.0.1"

static void write_services(void)
{
    tls_shell("printf '[all]\\nhost=" ELSEWHERE "\\nport=%d\\ndbname=clinic\\nuser=clinic\\nsslmode=disable\\n[mode]\\n"
              "sslmode=disable\\n[address]\\nhostaddr=" ELSEWHERE "\\n[verified]\\nhostaddr=" ELSEWHERE "\\n"
              "sslmode=verify-full\\n' >services && chmod 644 services",
              tls_server->port);
}

#define SERVICE(host, name) "'host': '" host "', 'servicefile': '$/services', 'service': '" name "'"
#define FROM_SERVICE        SERVICE("", "all") ", 'port': '', 'dbname': '', 'user': ''"

static const struct {
    const char *database, *words;
} elsewhere[] = {
    {FROM_SERVICE, "service \"all\" leads to a server on another host, where sslmode \"disable\""},
    {SERVICE(ELSEWHERE, "mode"), "service \"mode\" leads to a server on another host, where sslmode \"disable\""},
    {SERVICE("localhost", "address") ", 'sslmode': 'prefer'", "where sslmode \"prefer\" lets"},
    /* What nobody says is verify-full, by the system's authorities. */
    {SERVICE("localhost", "address"), "(self-signed certificate in certificate chain)"},
    {SERVICE("127.0.0.1", "verified"), "(self-signed certificate in certificate chain)"},
};

START_TEST(service_is_as_safe_as_the_rest)
{
    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_shell("cat ours.crt >>good.crt");
    tls_serve("good");
    write_services();
    tls_start(elsewhere[_i].database);
    expect_refused(elsewhere[_i].words);
    pglendd_stop(tls_daemon);
}
END_TEST

static const char *const weaker[] = {FROM_SERVICE ", 'allow_insecure': true",
                                     "'host': '" ELSEWHERE "', 'sslmode': 'disable', 'allow_insecure': true"};

static bool is_insecure(const char *command)
{
    json_t *result = pglendd_result(tls_daemon, command, NULL);
    const json_t *pools = json_is_array(result) ? result : json_object_get(result, "pools");
    bool insecure = json_is_true(json_object_get(json_array_get(pools, 0), "insecure"));

    json_decref(result);
    return insecure;
}

/* Shown in status, and logged at each start. */
START_TEST(insecure_is_asked_for_and_told)
{
    static const char words[] = "sslmode \"disable\" to a server on another host";
    pglend *pool;
    PGconn *conn;

    write_services();
    tls_start(weaker[_i]);
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    ck_assert(is_insecure("status") && is_insecure("pools") && is_insecure("inventory"));
    ck_assert_uint_eq(pglendd_logged(tls_daemon, words), 1);
    (void)pglendd_signal(tls_daemon, "supervisor", SIGKILL);
    wait_until(pglendd_logged(tls_daemon, words) == 2, 10);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

/* ---- certificates that end, and others in their place ---- */

static bool is_due(void)
{
    json_t *pools = pglendd_result(tls_daemon, "pools", NULL);
    bool due = json_is_true(json_object_get(json_array_get(pools, 0), "certificate_due"));

    json_decref(pools);
    return due;
}

START_TEST(certificate_that_ends_is_warned_about)
{
    tls_start_good(""); /* for two days */
    ck_assert(is_due());
    wait_until(pglendd_logged(tls_daemon, "the server's certificate \"/CN=good\" ends on 20") == 1, 5);
    harness_sleep_ms(2500); /* more sweeps, and no more warnings */
    ck_assert_uint_eq(pglendd_logged(tls_daemon, "the server's certificate"), 1);
    pglendd_configure(tls_daemon, tls_server, tls_overrides(TLS_VERIFIED, "'certificate_warn': '1d'"));
    json_decref(pglendd_result(tls_daemon, "reload", NULL));
    wait_until(!is_due(), 5);
    pglendd_stop(tls_daemon);
}
END_TEST

START_TEST(client_certificate_that_ends_is_warned_about)
{
    uid_t uid;
    gid_t gid;

    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 20);
    tls_certificate("client", "ours", "DNS:client", 2);
    harness_unprivileged(&uid, &gid);
    tls_shell("chown %u client.key", (unsigned)uid);
    tls_serve("good");
    tls_start(TLS_VERIFIED ", 'sslcert': '$/client.crt', 'sslkey': '$/client.key'");
    wait_until(pglendd_logged(tls_daemon, "the client's certificate \"/CN=client\" ends on 20") == 1, 10);
    ck_assert(is_due());
    ck_assert_uint_eq(pglendd_logged(tls_daemon, "the server's certificate"), 0);
    pglendd_stop(tls_daemon);
}
END_TEST

/* The subject of slot INDEX's certificate; "" while there is none. */
static const char *subject(int index)
{
    static char text[64];
    json_t *slots = pglendd_result(tls_daemon, "slots", NULL);
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
    char text[16];

    tls_start_good("");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(old = pglend_acquire(pool, 5000));
    tls_authority("theirs");
    tls_certificate("newer", "theirs", "IP:127.0.0.1", 2);
    tls_shell("cp ours.crt was.crt && cat theirs.crt >ours.crt");
    tls_serve("newer");
    new = pglend_acquire(pool, 10000);
    ck_assert_msg(new != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(subject(0), "/CN=good");
    ck_assert_str_eq(subject(1), "/CN=newer");
    ck_assert_str_eq(query(old, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, old), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, new), PGLEND_OK);
    json_decref(pglendd_result(tls_daemon, "recycle", NULL));
    wait_until(strcmp(subject(0), "/CN=newer") == 0, 10);
    tls_shell("mv was.crt ours.crt");
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

START_TEST(certificate_revoked_on_disk_is_refused)
{
    pglend *pool;
    PGconn *conn;
    char text[16];

    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_certificate("revoked", "ours", "IP:127.0.0.1", 2);
    tls_revoke("revoked", "ours");
    tls_shell("cp -p revoked.crl now.crl");
    tls_serve("good");
    tls_start(TLS_VERIFIED ", 'sslcrl': '$/now.crl'");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    wait_until(pglendd_count(tls_daemon, "idle") == 1, 10);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    tls_revoke("good", "ours");
    tls_shell("cp -p good.crl now.crl");
    ck_assert_ptr_null(pglend_acquire(pool, 1000)); /* one more session */
    ck_assert(pglendd_logged(tls_daemon, "(certificate revoked)"));
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_tls");
    TCase *tc = harness_live_case(suite, "refused", 30);

    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_loop_test(tc, untrusted_server_is_refused, 0, (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(tc, injected_bytes_are_refused);
    tcase_add_loop_test(tc, service_is_as_safe_as_the_rest, 0, (int)(sizeof elsewhere / sizeof elsewhere[0]));
    tcase_add_loop_test(tc, insecure_is_asked_for_and_told, 0, (int)(sizeof weaker / sizeof weaker[0]));
    tc = harness_live_case(suite, "renewed", 30);
    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_test(tc, certificate_that_ends_is_warned_about);
    tcase_add_test(tc, client_certificate_that_ends_is_warned_about);
    tcase_add_test(tc, files_changed_on_disk_serve_new_logins);
    tcase_add_test(tc, certificate_revoked_on_disk_is_refused);
    return harness_main(suite);
}
