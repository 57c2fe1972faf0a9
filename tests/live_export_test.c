/* SPDX-License-Identifier: ISC */
/*
 * live_export_test.c - pglend export: what Prometheus gets is well formed and says what happened; whoever is slow,
 * huge or many at its port keeps nobody else from it.
 *
 * The text is read by a parser of its own that takes nothing the format (0.0.4) does not allow.
 */
#include "harness.h"
#include "manual.h"
#include "pglend.h"
#include "pglendd.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HTTP_MAX 262144

static struct pglendd *daemon_;
static pid_t exporter;
static int port;
static char answer[HTTP_MAX];

/* The exporter as the unprivileged account, on a free port, which it says. */
static void start_exporter(void)
{
    char listen[] = "127.0.0.1:0", said[256] = "";
    int out[2];
    size_t have = 0;

    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    ck_assert_int_ne(exporter = fork(), -1);
    if (exporter == 0) {
        const char *program = harness_product("pglend-export");
        int fd = open(program, O_RDONLY | O_CLOEXEC);
        char *argv[] = {"pglend-export", "--listen", listen, "--runtime-dir", daemon_->runtime_dir, NULL};

        (void)dup2(out[1], 2);
        harness_drop();
        (void)fexecve(fd, argv, environ);
        _exit(127);
    }
    (void)close(out[1]);
    while (strchr(said, '\n') == NULL) {
        ssize_t got = read(out[0], said + have, sizeof said - 1 - have);

        ck_assert_msg(got > 0, "the exporter ended: %s", said);
        have += (size_t)got;
    }
    (void)close(out[0]);
    ck_assert_msg(sscanf(said, "pglend: listening on port %d", &port) == 1, "%s", said);
}

static void stop_exporter(void)
{
    int status;

    ck_assert_int_eq(kill(exporter, SIGTERM), 0);
    ck_assert_int_eq(waitpid(exporter, &status, 0), exporter);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

static int http_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval bound = {.tv_sec = 10};
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    (void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    ck_assert_int_eq(connect(sock, (struct sockaddr *)&to, sizeof to), 0);
    return sock;
}

/* Send REQUEST; the whole answer into ANSWER. Its status, 0: closed without one. */
static int http(const char *request)
{
    int sock = http_connect(), status = 0;
    size_t have = 0;
    ssize_t got;

    (void)send(sock, request, strlen(request), MSG_NOSIGNAL);
    while (have < sizeof answer - 1 && (got = recv(sock, answer + have, sizeof answer - 1 - have, 0)) > 0)
        have += (size_t)got;
    answer[have] = '\0';
    (void)close(sock);
    (void)sscanf(answer, "HTTP/1.1 %d", &status);
    return status;
}

/* The newest metrics: answers are kept for a second. */
static char *scrape(void)
{
    char *body;

    ck_assert_int_eq(http("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 200);
    ck_assert_ptr_nonnull(strstr(answer, "text/plain; version=0.0.4"));
    body = strstr(answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(body);
    return body + 4;
}

/* ---- the format ---- */

static size_t name_length(const char *at)
{
    size_t length = 0;

    if (isalpha((unsigned char)*at) || *at == '_' || *at == ':')
        while (isalnum((unsigned char)at[length]) || at[length] == '_' || at[length] == ':')
            length++;
    return length;
}

/* After "{": name="value",… "}". */
static const char *parse_labels(const char *at)
{
    do {
        size_t length = name_length(++at);

        ck_assert_msg(length > 0 && at[length] == '=' && at[length + 1] == '"', "label at: %.60s", at);
        for (at += length + 2; *at != '"'; at++) {
            ck_assert_msg(*at != '\0' && *at != '\n', "a label's value does not end");
            if (*at == '\\')
                ck_assert_msg(*++at == '\\' || *at == '"' || *at == 'n', "escape at: %.60s", at);
        }
        at++;
    } while (*at == ',');
    ck_assert_msg(*at == '}', "labels at: %.60s", at);
    return at + 1;
}

struct family {
    char name[128], type[16];
    double last_bucket; /* of the series that is being read */
    bool inf;
};

static void check_sample(const char *line, struct family *f)
{
    static const char *const parts[] = {"_bucket", "_sum", "_count"};
    size_t length = name_length(line), base = strlen(f->name);
    bool histogram = strcmp(f->type, "histogram") == 0, fits = !histogram && length == base;
    const char *at = line + length, *le;
    char *end;
    double value;

    for (size_t i = 0; histogram && i < 3; i++)
        fits = fits || (length == base + strlen(parts[i]) && strncmp(line + base, parts[i], strlen(parts[i])) == 0);
    ck_assert_msg(fits && strncmp(line, f->name, base) == 0, "a sample outside its family %s: %.80s", f->name, line);
    if (*at == '{')
        at = parse_labels(at);
    ck_assert_msg(*at == ' ', "no blank before the value: %.80s", line);
    value = strtod(at + 1, &end);
    ck_assert_msg(end != at + 1 && (*end == '\n'), "value: %.80s", line);
    if (strcmp(f->type, "gauge") != 0)
        ck_assert_msg(value >= 0, "%.80s", line);
    le = strstr(line, "le=\"");
    if (histogram && strncmp(line + base, "_bucket{", 8) == 0) {
        ck_assert_msg(le != NULL && le < at, "a bucket without bound: %.80s", line);
        ck_assert_msg(f->inf || value >= f->last_bucket, "buckets shrink: %.80s", line);
        f->last_bucket = value;
        f->inf = strncmp(le, "le=\"+Inf\"", 9) == 0;
    } else if (histogram && strncmp(line + base, "_count", 6) == 0) {
        ck_assert_msg(f->inf && value == f->last_bucket, "count is not the last bucket: %.80s", line);
    }
}

/* How many families there are. All are in the manual. */
static unsigned check_format(const char *text)
{
    char *page = manual_section("client/pglend.1", ".Ss Metrics");
    struct family f = {0};
    unsigned families = 0;
    char help[128] = "";

    for (const char *line = text, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        ck_assert_msg(end != NULL, "the last line has no end: %.80s", line);
        ck_assert_msg(end != line, "an empty line");
        if (strncmp(line, "# HELP ", 7) == 0) {
            ck_assert_int_eq(sscanf(line, "# HELP %127s", help), 1);
            ck_assert_msg(end - line > (long)strlen(help) + 8, "no help: %.80s", line);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            f = (struct family){.inf = true};
            ck_assert_int_eq(sscanf(line, "# TYPE %127s %15s", f.name, f.type), 2);
            ck_assert_str_eq(f.name, help);
            ck_assert_msg(manual_has(page, f.name), "pglend(1) does not tell of %s", f.name);
            ck_assert_msg(strcmp(f.type, "counter") != 0 || strstr(f.name, "_total") != NULL, "%s", f.name);
            ck_assert_msg(strcmp(f.type, "histogram") != 0 || strstr(f.name, "_seconds") != NULL, "%s", f.name);
            families++;
        } else {
            ck_assert_msg(*line != '#', "a comment of no kind: %.80s", line);
            check_sample(line, &f);
        }
    }
    free(page);
    return families;
}

/* The value of the sample that begins with SERIES. */
static double value_of(const char *text, const char *series)
{
    size_t length = strlen(series);

    for (const char *line = text; line != NULL && *line != '\0';
         line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, series, length) == 0 && line[length] == ' ')
            return strtod(line + length, NULL);
    ck_abort_msg("no %s in:\n%.4000s", series, text);
    return 0;
}

/* ---- tests ---- */

#define LEASES  7
#define HOLD_MS 20

static int borrow(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    (void)argument;
    (void)sock;
    for (unsigned i = 0; i < LEASES; i++) {
        PGconn *conn = pglend_acquire(pool, 5000);

        ck_assert_ptr_nonnull(conn);
        harness_sleep_ms(HOLD_MS);
        ck_assert_int_eq(pglend_release(pool, conn), 0);
    }
    pglend_close(pool);
    return 0;
}

static void start(void)
{
    daemon_ = pglendd_start(harness_server(), "{'admin': {'read': {'users': ['root', 'nobody']}},"
                                              " 'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    wait_until(pglendd_count(daemon_, "idle") == 1, 5);
    start_exporter();
}

START_TEST(numbers_are_those_of_what_happened)
{
    const char *text;

    start();
    in_worker(borrow, NULL, 10);
    text = scrape();
    ck_assert_uint_eq(check_format(text), 26);
    ck_assert(value_of(text, "pglend_up") == 1);
    ck_assert(value_of(text, "pglend_pool_max{pool=\"clinic\"}") == 1);
    ck_assert(value_of(text, postgres_certificate() != NULL
                                 ? "pglend_session_tls_info{pool=\"clinic\",mode=\"relay\",protocol=\"TLSv1.3\","
                                   "cipher=\"TLS_AES_256_GCM_SHA384\",subject=\"/CN=pglend test\"}"
                                 : "pglend_session_tls_info{pool=\"clinic\",mode=\"plain\",protocol=\"\",cipher=\"\","
                                   "subject=\"\"}") == 1);
    if (postgres_certificate() != NULL)
        ck_assert(value_of(text, "pglend_certificate_expiry_timestamp_seconds{pool=\"clinic\"}") > (double)time(NULL));
    ck_assert(value_of(text, "pglend_pool_total{pool=\"clinic\"}") == 1);
    ck_assert(value_of(text, "pglend_pool_leased{pool=\"clinic\"}") == 0);
    ck_assert(value_of(text, "pglend_pool_leases_total{pool=\"clinic\"}") == LEASES);
    ck_assert(value_of(text, "pglend_pool_logins_total{pool=\"clinic\"}") == 1);
    ck_assert(value_of(text, "pglend_pool_timeouts_total{pool=\"clinic\"}") == 0);
    ck_assert(value_of(text, "pglend_pool_database_up{pool=\"clinic\"}") == 1);
    ck_assert(value_of(text, "pglend_pool_login_failures_total{pool=\"clinic\",reason=\"password\"}") == 0);
    ck_assert(value_of(text, "pglend_pool_lease_hold_seconds_count{pool=\"clinic\"}") == LEASES);
    ck_assert(value_of(text, "pglend_pool_lease_hold_seconds_bucket{pool=\"clinic\",le=\"0.01\"}") == 0);
    ck_assert(value_of(text, "pglend_pool_lease_hold_seconds_bucket{pool=\"clinic\",le=\"10\"}") == LEASES);
    ck_assert(value_of(text, "pglend_pool_lease_hold_seconds_sum{pool=\"clinic\"}") >= LEASES * HOLD_MS / 1e3);
    ck_assert(value_of(text, "pglend_pool_acquire_wait_seconds_count{pool=\"clinic\"}") == LEASES);
    stop_exporter();
    pglendd_stop(daemon_);
}
END_TEST

/* Nothing is said of it where there is none. */
START_TEST(the_audit_trail)
{
    char trail[128], overrides[512];

    start();
    ck_assert_ptr_null(strstr(scrape(), "pglend_audit"));
    stop_exporter();
    pglendd_stop(daemon_);
    pglendd_trail(trail);
    (void)snprintf(overrides, sizeof overrides,
                   "{'admin': {'read': {'users': ['root', 'nobody']}},"
                   " 'audit': {'directory': '%s', 'checkpoint': '1s', 'syslog': '%s/none'}}",
                   trail, harness_directory());
    daemon_ = pglendd_start(harness_server(), overrides);
    start_exporter();
    wait_until(value_of(scrape(), "pglend_audit_syslog_lost_total") > 0, 20);
    ck_assert(value_of(scrape(), "pglend_audit_up") == 1);
    (void)check_format(scrape());
    stop_exporter();
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(a_supervisor_that_is_away_is_down)
{
    start();
    ck_assert(value_of(scrape(), "pglend_up") == 1);
    pglendd_kill(daemon_);
    wait_until(value_of(scrape(), "pglend_up") == 0, 5);
    ck_assert_uint_eq(check_format(scrape()), 1);
    pglendd_resume(daemon_);
    wait_until(value_of(scrape(), "pglend_up") == 1, 5);
    stop_exporter();
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(other_requests)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200},
        {"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200},
        {"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200},
        {"GET /metrics HTTP/1.0\r\n\r\n", 200},
        {"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404},
        {"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 405},
        {"DELETE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405},
        {"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 0},
        {"\x16\x03\x01\x02\r\n\r\n", 0},
    };

    start();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = http(rows[i].request);

        ck_assert_msg(rows[i].status != 0 ? status == rows[i].status : status == 0 || status >= 400, "%.40s: %d",
                      rows[i].request, status);
    }
    ck_assert(value_of(scrape(), "pglend_up") == 1);
    stop_exporter();
    pglendd_stop(daemon_);
}
END_TEST

#define MANY 200

START_TEST(slow_huge_and_many)
{
    static char huge[1 << 20];
    int sock[MANY];

    start();
    (void)memset(huge, 'a', sizeof huge - 1);
    (void)memcpy(huge, "GET /", 5); /* NOLINT(bugprone-not-null-terminated-result) */
    ck_assert_int_ne(http(huge), 200);
    /* Many that say half a word: they fill its table, and are shown out. */
    for (unsigned i = 0; i < MANY; i++) {
        sock[i] = http_connect();
        (void)send(sock[i], "GET /me", 7, MSG_NOSIGNAL);
    }
    wait_until(http("GET /metrics HTTP/1.0\r\n\r\n") == 200, 15);
    for (unsigned i = 0; i < MANY; i++)
        (void)close(sock[i]);
    ck_assert_uint_eq(check_format(scrape()), 26);
    ck_assert_uint_lt(process_descriptors(exporter), 100);
    stop_exporter();
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_export");
    TCase *tc = harness_live_case(suite, "export", 40);

    tcase_add_test(tc, numbers_are_those_of_what_happened);
    tcase_add_test(tc, the_audit_trail);
    tcase_add_test(tc, a_supervisor_that_is_away_is_down);
    tcase_add_test(tc, other_requests);
    tcase_add_test(tc, slow_huge_and_many);
    return harness_main(suite);
}
