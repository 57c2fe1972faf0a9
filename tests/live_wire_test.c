/* SPDX-License-Identifier: ISC */
/*
 * live_wire_test.c - what goes over the network of an encrypted pool says nothing: no query, no result, no cancel key.
 *
 * The packets are captured by tcpdump while every way to use a connection is gone. That the search would find them is
 * shown on a pool without encryption. Only root may capture; without tcpdump it is skipped, by name.
 */
#include "harness.h"
#include "pglend.h"
#include "tls.h"
#include "ways.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANARY     "a patient's name 4711"
#define CAPTURE_KB 16 /* at least so much is said */
#define LAST_TRIES 100

static const struct {
    const char *what, *bytes;
    size_t length;
} telling[] = {
    {"a query", "select", 6},
    {"what was asked for", CANARY, sizeof CANARY - 1},
    {"a cancel request", "\0\0\0\x10\x04\xd2\x16\x2e", 8},
    {"the test's own last word", "that was all of it", 18},
};
#define LAST (sizeof telling / sizeof telling[0] - 1)

static char path[128];

/*
 * True once it listens. What it says is read from *words, which is kept until its end: it says that it listens in
 * several writes, and one that nobody could read any more would end it.
 */
static bool start_capture(pid_t *capture, int *words)
{
    char filter[32], said[512] = "";
    size_t have = 0;
    int out[2];

    (void)snprintf(path, sizeof path, "%s/capture", harness_directory());
    (void)snprintf(filter, sizeof filter, "tcp port %d", tls_server->port);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    ck_assert_int_ne(*capture = fork(), -1);
    if (*capture == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out[1], 2);
        /* Room for 16,000 packets: there is one in the kernel for each snapshot's length, whatever a packet has. */
        (void)execlp("tcpdump", "tcpdump", "-Z", "root", "-i", "lo", "-U", "--immediate-mode", "-s", "4096", "-B",
                     "65536", "-w", path, filter, NULL);
        _exit(127);
    }
    (void)close(out[1]);
    while (strstr(said, "listening on") == NULL && have < sizeof said - 1) {
        ssize_t got = read(out[0], said + have, sizeof said - 1 - have);

        if (got <= 0)
            break;
        have += (size_t)got;
        said[have] = '\0';
    }
    *words = out[0];
    return strstr(said, "listening on") != NULL;
}

static off_t captured(void)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* Are the bytes of row I in what was captured up to now? */
static bool is_told(size_t i)
{
    size_t length = (size_t)captured();
    char *bytes = malloc(length + 1);
    FILE *f = fopen(path, "re");
    bool found;

    ck_assert(bytes != NULL && f != NULL);
    length = fread(bytes, 1, length, f);
    found = memmem(bytes, length, telling[i].bytes, telling[i].length) != NULL;
    (void)fclose(f);
    free(bytes);
    return found;
}

/* Packets are captured in their order: when these bytes are there, so is all that went before them. */
static void await_rest(void)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)tls_server->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s;

    for (int i = 0; i < LAST_TRIES && !is_told(LAST); i++) {
        s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(s, (const struct sockaddr *)&to, sizeof to), 0);
        ck_assert_int_eq(send(s, telling[LAST].bytes, telling[LAST].length, MSG_NOSIGNAL), telling[LAST].length);
        harness_sleep_ms(200);
        (void)close(s);
    }
    ck_assert(is_told(LAST));
    ck_assert_int_gt(captured(), CAPTURE_KB * 1024);
}

static void be_notified(PGconn *conn)
{
    char text[64];
    PGnotify *notice;

    PQclear(PQexec(conn, "listen telling"));
    (void)query(conn, "select pg_notify('telling', 'a patient''s name ' || 4711)", text, sizeof text);
    wait_until(PQconsumeInput(conn) == 1 && (notice = PQnotifies(conn)) != NULL, 5);
    ck_assert_str_eq(notice->extra, CANARY);
    PQfreemem(notice);
}

/* Dies in the middle of it. */
static int ask_and_wait(void *argument, int sock)
{
    pglend *pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 10000);

    (void)argument;
    ck_assert_ptr_nonnull(conn);
    ck_assert_int_eq(PQsendQuery(conn, "select 'a patient''s name ' || 4711, pg_sleep(20)"), 1);
    harness_sleep_ms(100);
    say(sock, 'a');
    (void)hear(sock, 60);
    return 1;
}

/* The sessions of the dead are cancelled and reset, those of nobody are asked for a sign of life. */
static void be_taken_back(void)
{
    struct worker_process worker;

    worker_fork(&worker, ask_and_wait, NULL);
    ck_assert_int_eq(hear(worker.sock, 20), 'a');
    worker_kill(&worker, SIGKILL);
    wait_until(pglendd_count(tls_daemon, "leased") == 0 && pglendd_count(tls_daemon, "idle") >= 1, 10);
    harness_sleep_ms(500);
}

static void use_in_all_ways(void)
{
    pglend *pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    char text[64], error[256];
    PGcancel *cancel;
    PGconn *conn;

    for (int i = 0; i < ways; i++) {
        conn = pglend_acquire(pool, 10000);
        ck_assert_msg(conn != NULL, "%s: %s", way[i].name, pglend_errmessage(pool));
        if (!way[i].also_direct)
            way[i].use(conn);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 10000));
    ck_assert_str_eq(query(conn, "select 'a patient''s name ' || 4711", text, sizeof text), CANARY);
    ck_assert_int_eq(PQsendQuery(conn, "select pg_sleep(10)"), 1);
    harness_sleep_ms(100);
    ck_assert_ptr_nonnull(cancel = PQgetCancel(conn));
    ck_assert_int_eq(PQcancel(cancel, error, sizeof error), 1);
    PQclear(PQgetResult(conn));
    ck_assert_ptr_null(PQgetResult(conn));
    PQfreeCancel(cancel);
    be_notified(conn);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    be_taken_back();
    pglend_close(pool);
}

static const struct {
    const char *database, *more;
    bool encrypted;
} pools[] = {
    {"'sslmode': 'disable'", "'keepalive': '100ms'", false},
    {TLS_VERIFIED, "'keepalive': '100ms'", true},
    {TLS_VERIFIED, "'keepalive': '100ms', 'isolation': 'strict'", true},
};

START_TEST(nothing_is_told)
{
    bool encrypted = pools[_i].encrypted;
    pid_t capture;
    int words;

    if (geteuid() != 0 || system("command -v tcpdump >/dev/null") != 0) { /* NOLINT(cert-env33-c) */
        printf("nothing_is_told: skipped, it takes root and tcpdump\n");
        return;
    }
    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_serve("good");
    if (!start_capture(&capture, &words)) {
        ck_assert_int_eq(waitpid(capture, NULL, 0), capture);
        (void)close(words);
        printf("nothing_is_told: skipped, tcpdump may not capture here\n");
        return;
    }
    tls_daemon = pglendd_start(tls_server, tls_overrides(pools[_i].database, pools[_i].more));
    use_in_all_ways();
    pglendd_stop(tls_daemon);
    await_rest();
    for (size_t i = 0; i < LAST; i++)
        ck_assert_msg(is_told(i) != encrypted, "%s is %sin the clear", telling[i].what, encrypted ? "" : "not ");
    ck_assert_int_eq(kill(capture, SIGINT), 0);
    ck_assert_int_eq(waitpid(capture, NULL, 0), capture);
    (void)close(words);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_wire");
    TCase *tc = harness_live_case(suite, "wire", 60);

    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_loop_test(tc, nothing_is_told, 0, (int)(sizeof pools / sizeof pools[0]));
    return harness_main(suite);
}
