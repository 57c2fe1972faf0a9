/* SPDX-License-Identifier: ISC */
/*
 * live_login_test.c - logging in: password, passfile and service files, and what becomes of a login that fails.
 *
 * A failed login is told by the log, by the server's own log (how often it was tried) and by what an acquire says.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char overrides[8192];

/* ---- helpers ---- */

/* Where a role logs in: HOST NULL is the Unix socket. MORE: more keys of "database", beginning with a comma. */
static const char *login_of(const char *role, const char *host, const char *more)
{
    const struct postgres *server = harness_server();
    static char text[1024];

    (void)snprintf(text, sizeof text, "'dbname': 'clinic', 'user': '%s', 'host': '%s', 'port': %d%s", role,
                   host != NULL ? host : server->directory, server->port, more);
    return text;
}

/* One more pool into the overrides. */
static void add_pool(const char *name, int min, const char *database)
{
    size_t at = strlen(overrides);
    uid_t uid;
    gid_t gid;

    harness_unprivileged(&uid, &gid);
    if (at == 0)
        at = (size_t)snprintf(overrides, sizeof overrides, "{'pools': {");
    else
        at -= 2; /* its end */
    (void)snprintf(overrides + at, sizeof overrides - at,
                   "%s'%s': {'database': {%s}, 'size': {'min': %d, 'max': 2}, 'access': {'users': ['%u']}}}}",
                   overrides[at - 1] == '{' ? "" : ", ", name, database, min, (unsigned)uid);
}

/* PATH, in the program's directory, with TEXT and MODE; it belongs to whoever runs logins, or to root. */
static const char *make_file(const char *name, const char *text, mode_t mode, bool of_logins)
{
    static char path[128];
    uid_t uid;
    gid_t gid;
    FILE *f;

    harness_unprivileged(&uid, &gid);
    (void)snprintf(path, sizeof path, "%s/%s", harness_directory(), name);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fputs(text, f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(chmod(path, mode), 0);
    if (of_logins && geteuid() == 0)
        ck_assert_int_eq(chown(path, uid, gid), 0);
    return path;
}

/* How many lines of the file at PATH have TEXT. */
static int count_lines(const char *path, const char *text)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    int count = 0;

    ck_assert_ptr_nonnull(f);
    while (getline(&line, &size, f) != -1)
        count += strstr(line, text) != NULL;
    free(line);
    (void)fclose(f);
    return count;
}

static int server_said(const struct postgres *server, const char *text)
{
    char path[96];

    (void)snprintf(path, sizeof path, "%s/log", server->directory);
    return count_lines(path, text);
}

/* The answer of a session lent from POOL. */
static void expect_answer(const struct pglendd *d, const char *pool, const char *sql, const char *expected)
{
    pglend *p = pglend_open(d->runtime_dir, pool);
    PGconn *conn = pglend_acquire(p, 10000);
    char text[256];

    ck_assert_msg(conn != NULL, "pool %s: %s", pool, pglend_errmessage(p));
    ck_assert_str_eq(query(conn, sql, text, sizeof text), expected);
    ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    pglend_close(p);
}

/* An acquire from POOL within MS fails with STATUS, and its message has TEXT. */
static void expect_failure(const struct pglendd *d, const char *pool, int ms, pglend_status status, const char *text)
{
    pglend *p = pglend_open(d->runtime_dir, pool);

    ck_assert_ptr_null(pglend_acquire(p, ms));
    ck_assert_msg(pglend_errcode(p) == status, "%s instead of %s: %s", pglend_status_name(pglend_errcode(p)),
                  pglend_status_name(status), pglend_errmessage(p));
    ck_assert_msg(strstr(pglend_errmessage(p), text) != NULL, "no \"%s\" in \"%s\"", text, pglend_errmessage(p));
    pglend_close(p);
}

/* ---- where the password comes from ---- */

START_TEST(files)
{
    const struct postgres *server = harness_server();
    char text[512], database[512], link[128];
    struct pglendd *d;

    overrides[0] = '\0';
    (void)snprintf(link, sizeof link, "%s/link", harness_directory());
    ck_assert_int_eq(symlink(make_file("target", POSTGRES_PASSWORD, 0600, false), link), 0);
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", link);
    add_pool("link", 0, login_of("clinic", NULL, database));

    (void)snprintf(database, sizeof database, ", 'password_file': '%s'",
                   make_file("group", POSTGRES_PASSWORD "\n", 0640, false));
    add_pool("group", 0, login_of("clinic", NULL, database));

    /* In a passfile backslashes are escaped. */
    (void)snprintf(text, sizeof text, "localhost:%d:clinic:clinic:correct horse 'battery\\\\ staple\n*:*:*:*:wrong\n",
                   server->port);
    (void)snprintf(database, sizeof database, ", 'passfile': '%s'",
                   make_file("passfile", "*:*:*:clinic:correct horse 'battery\\\\ staple\n", 0600, true));
    add_pool("passfile", 0, login_of("clinic", "127.0.0.1", database));

    (void)snprintf(
        text, sizeof text,
        "[office]\nhost=%s\nport=%d\ndbname=clinic\nuser=clinic_trust\noptions=-c geqo=off\nsslmode=disable\n",
        server->directory, server->port);
    (void)snprintf(database, sizeof database, "'service': 'office', 'servicefile': '%s'",
                   make_file("services", text, 0644, true));
    add_pool("service", 0, database);

    d = pglendd_start(server, overrides);
    expect_answer(d, "link", "select current_user", "clinic");
    expect_answer(d, "group", "select current_user", "clinic");
    expect_answer(d, "passfile", "select current_user || ' ' || host(inet_client_addr())", "clinic 127.0.0.1");
    expect_answer(d, "service", "select current_user || ' ' || current_setting('geqo')", "clinic_trust off");
    pglendd_stop(d);
    ck_assert_int_eq(unlink(link), 0);
}
END_TEST

/* Refused with its name and what to do, and never sent anywhere. */
static const struct {
    const char *text;
    mode_t mode;
    bool foreign;
    const char *said;
} bad_files[] = {
    {POSTGRES_PASSWORD "\n", 0644, false, "has mode 0644"},
    {POSTGRES_PASSWORD "\n", 0604, false, "gives access to everybody"},
    {POSTGRES_PASSWORD "\n", 0600, true, "is owned by"},
    {"", 0600, false, "is empty"},
    {"one\ntwo\n", 0600, false, "has more than one line"},
    {NULL, 0600, false, "No such file or directory: make it, or name another"},
};

START_TEST(password_file_refused)
{
    const char *text = bad_files[_i].text,
               *path = make_file("bad", text != NULL ? text : "", bad_files[_i].mode, false);
    int rejected = server_said(harness_server(), "password authentication failed");
    char database[256];
    struct pglendd *d;

    if (bad_files[_i].foreign && geteuid() != 0)
        return;
    if (bad_files[_i].foreign)
        ck_assert_int_eq(chown(path, 4711, 4711), 0);
    ck_assert(text != NULL || unlink(path) == 0);
    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", path);
    add_pool("clinic", 1, login_of("clinic", NULL, database));
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_logged(d, bad_files[_i].said), 5);
    (void)snprintf(database, sizeof database, "login failed: password file %s ", path);
    ck_assert_int_eq(count_lines(d->log, database), 1);
    expect_failure(d, "clinic", 100, PGLEND_TIMEOUT, bad_files[_i].said);
    /* Mended, it is used without anybody's help. */
    (void)unlink(path);
    (void)make_file("bad", POSTGRES_PASSWORD "\n", 0600, false);
    expect_answer(d, "clinic", "select current_user", "clinic");
    ck_assert_int_eq(server_said(harness_server(), "password authentication failed"), rejected);
    pglendd_stop(d);
}
END_TEST

START_TEST(no_password)
{
    static const char words[] = "no password supplied: set password_file or passfile of pool \"bare\"";
    struct pglendd *d;

    overrides[0] = '\0';
    add_pool("bare", 1, login_of("clinic", NULL, ""));
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_logged(d, words), 5);
    expect_failure(d, "bare", 100, PGLEND_TIMEOUT, words);
    pglendd_stop(d);
}
END_TEST

/* ---- a wrong password ---- */

/* HIDDEN: the file is where only the keeper can look. */
START_TEST(wrong_password)
{
    static const char words[] = "password authentication failed for user \"clinic\"";
    bool hidden = _i == 1;
    char directory[128], path[160], aside[170], database[256];
    struct pglendd *d;
    int before = server_said(harness_server(), words);
    FILE *f;

    (void)snprintf(directory, sizeof directory, "%s/secret%d", harness_directory(), _i);
    ck_assert_int_eq(mkdir(directory, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/password", directory);
    (void)snprintf(aside, sizeof aside, "%s.new", path);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fputs("guess\n", f) >= 0 && fchmod(fileno(f), 0600) == 0 && fclose(f) == 0);
    ck_assert_int_eq(chmod(directory, hidden ? 0700 : 0755), 0);
    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", path);
    add_pool("clinic", 2, login_of("clinic", NULL, database));
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_logged(d, words), 5);

    /* Not again, whoever asks: a locked account is worse than a late one. */
    for (int i = 0; i < 4; i++)
        expect_failure(d, "clinic", 500, PGLEND_TIMEOUT, words);
    ck_assert_int_eq(server_said(harness_server(), words), before + 1);
    ck_assert_int_eq(count_lines(d->log, words), 1);
    wait_until(pglendd_count(d, "waiting") == 0, 2);

    ck_assert_ptr_nonnull(f = fopen(aside, "w"));
    ck_assert(fputs(POSTGRES_PASSWORD "\n", f) >= 0 && fchmod(fileno(f), 0600) == 0 && fclose(f) == 0);
    ck_assert_int_eq(rename(aside, path), 0);
    wait_until(pglendd_count(d, "total") == 2, 2);
    expect_answer(d, "clinic", "select current_user", "clinic");
    ck_assert_int_eq(server_said(harness_server(), words), before + 1);
    pglendd_stop(d);
}
END_TEST

static void write_password(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* Whoever wants the login, and however often the supervisor is another. */
START_TEST(once_a_minute)
{
    static const char words[] = "password authentication failed for user \"clinic\"";
    int before = server_said(harness_server(), words), tries;
    uint64_t began = harness_now_ms(), took;
    struct pglendd *d;
    char database[256];

    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", make_file("minute", "guess", 0600, false));
    add_pool("clinic", 2, login_of("clinic", NULL, database));
    ck_assert_int_eq(setenv("PGLEND_PASSWORD_RETRY_MS", "1000", 1), 0);
    d = pglendd_start(harness_server(), overrides);
    ck_assert_int_eq(unsetenv("PGLEND_PASSWORD_RETRY_MS"), 0);
    wait_until(pglendd_logged(d, words), 5);
    for (int i = 0; i < 12; i++) {
        harness_sleep_ms(250);
        (void)pglendd_replace(d, "supervisor");
    }
    tries = server_said(harness_server(), words) - before;
    took = harness_now_ms() - began;
    ck_assert_msg(tries >= 3 && (uint64_t)tries <= took / 1000 + 1, "%d logins in %d ms", tries, (int)took);
    pglendd_stop(d);
}
END_TEST

/* Two leases that are looked at, and where ROLES a server that is asked for its role, take logins too. */
START_TEST(looks_try_no_wrong_password)
{
    bool roles = _i == 1;
    static const char words[] = "password authentication failed for user \"clinic\"";
    int before = server_said(harness_server(), words);
    struct pglendd *d;
    char database[512], path[128], sql[160];
    pglend *pool;
    PGconn *conn[2];

    overrides[0] = '\0';
    (void)snprintf(path, sizeof path, "%s", make_file("looks", POSTGRES_PASSWORD, 0600, false));
    (void)snprintf(database, sizeof database,
                   ", 'password_file': '%s', 'target_session_attrs': 'primary', 'role_check': '%s'", path,
                   roles ? "100ms" : "1h");
    add_pool("clinic", 0, login_of("clinic", NULL, database));
    overrides[strlen(overrides) - 1] = '\0';
    (void)strcat(overrides, ", 'defaults': {'lease_warn': '1500ms'}}");
    d = pglendd_start(harness_server(), overrides);
    pool = pglend_open(d->runtime_dir, "clinic");
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_nonnull(conn[i] = pglend_acquire(pool, 5000));
    harness_sleep_ms(1100); /* no login has just succeeded */
    postgres_run(harness_server(), "alter role clinic password 'other'");
    wait_until(!roles || pglendd_logged(d, "cannot be asked whether it is still primary"), 5);
    wait_until(pglendd_logged(d, "what its session does is not known: ") == 2, 5);
    ck_assert_int_eq(server_said(harness_server(), words), before + 1);
    (void)pglendd_replace(d, "supervisor");
    ck_assert_int_eq(pglend_discard(pool, conn[1]), PGLEND_OK);
    ck_assert_ptr_null(pglend_acquire(pool, 1500));
    ck_assert_msg(strstr(pglend_errmessage(pool), words) != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(server_said(harness_server(), words), before + 1);
    write_password(path, "other");
    ck_assert_msg((conn[1] = pglend_acquire(pool, 5000)) != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(pool, conn[1]), PGLEND_OK);
    ck_assert_int_eq(server_said(harness_server(), words), before + 1);
    /* One that is wrong beside one that still works: nobody fails, and it is not tried at each login. */
    write_password(path, "guess");
    for (int i = 0; i < 3; i++) {
        (void)snprintf(sql, sizeof sql,
                       "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'clinic' and pid <> %d",
                       PQbackendPID(conn[0]));
        postgres_run(harness_server(), sql);
        wait_until(pglendd_count(d, "total") == 1, 5);
        ck_assert_msg((conn[1] = pglend_acquire(pool, 5000)) != NULL, "%s", pglend_errmessage(pool));
        ck_assert_int_eq(pglend_release(pool, conn[1]), PGLEND_OK);
    }
    ck_assert(pglendd_logged(d, "the one before it is still good"));
    ck_assert_int_eq(pglend_release(pool, conn[0]), PGLEND_OK);
    ck_assert_int_eq(server_said(harness_server(), words), before + 2);
    postgres_run(harness_server(), "alter role clinic password $p$" POSTGRES_PASSWORD "$p$");
    pglend_close(pool);
    pglendd_stop(d);
}
END_TEST

/* Whatever one before that failed has left. */
static void restore_password(void)
{
    postgres_run(harness_server(), "alter role clinic password $p$" POSTGRES_PASSWORD "$p$");
}

/* A reload that names another file is reason enough. */
START_TEST(another_password_file)
{
    static const char words[] = "password authentication failed for user \"clinic\"";
    struct pglendd *d;
    char database[256];

    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", make_file("one", "guess", 0600, false));
    add_pool("clinic", 1, login_of("clinic", NULL, database));
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_logged(d, words), 5);
    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'",
                   make_file("two", POSTGRES_PASSWORD, 0600, false));
    add_pool("clinic", 1, login_of("clinic", NULL, database));
    pglendd_configure(d, harness_server(), overrides);
    json_decref(pglendd_result(d, "reload", NULL));
    wait_until(pglendd_count(d, "total") == 1, 3);
    pglendd_stop(d);
}
END_TEST

/* A session that ended may have done so together with its password: one alone tries it. */
START_TEST(one_tries_a_password_that_may_be_another)
{
    static const char words[] = "password authentication failed for user \"clinic\"";
    int before = server_said(harness_server(), words);
    struct pglendd *d;
    char database[256], path[128];

    overrides[0] = '\0';
    (void)snprintf(path, sizeof path, "%s", make_file("ended", POSTGRES_PASSWORD, 0600, false));
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", path);
    add_pool("clinic", 2, login_of("clinic", NULL, database));
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_count(d, "idle") == 2, 5);
    harness_sleep_ms(1100);
    postgres_run(harness_server(), "alter role clinic password 'other'");
    postgres_run(harness_server(), "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'clinic'");
    wait_until(pglendd_logged(d, words), 5);
    harness_sleep_ms(300);
    ck_assert_int_eq(server_said(harness_server(), words), before + 1);
    pglendd_stop(d);
    postgres_run(harness_server(), "alter role clinic password $p$" POSTGRES_PASSWORD "$p$");
}
END_TEST

/* The file system it is on may hang whoever looks, or the one who looks may be killed: the daemon goes on. */
START_TEST(nobody_waits_for_a_look_at_the_password)
{
    struct pglendd *d;
    char database[256];
    pid_t looks = 0;

    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", make_file("stuck", "guess", 0600, false));
    add_pool("clinic", 1, login_of("clinic", NULL, database));
    d = pglendd_start(harness_server(), overrides);
    wait_until((looks = pglendd_process(d, "password clinic")) != 0, 5);
    ck_assert_int_eq(kill(looks, SIGSTOP), 0);
    json_decref(pglendd_result(d, "reload", NULL));
    ck_assert_int_eq(pglendd_process(d, "password clinic"), looks);
    ck_assert_int_eq(kill(looks, SIGKILL), 0);
    wait_until(pglendd_logged(d, "nobody looks any more whether the password file of pool \"clinic\" changes"), 5);
    pglendd_stop(d);
}
END_TEST

START_TEST(wrong_password_for_long)
{
    static const char words[] = "password authentication failed for user \"clinic_md5\"";
    struct pglendd *d;
    char database[256];

    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'", make_file("guess", "guess", 0600, false));
    add_pool("clinic", 1, login_of("clinic_md5", NULL, database));
    overrides[strlen(overrides) - 1] = '\0';
    (void)strcat(overrides, ", 'defaults': {'unavailable_after': '100ms'}}");
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_logged(d, words), 5);
    harness_sleep_ms(150);
    expect_failure(d, "clinic", 5000, PGLEND_NO_DATABASE, words);
    pglendd_stop(d);
}
END_TEST

/* ---- other failures ---- */

/* Said once; tried again after pauses that grow. */
START_TEST(back_off)
{
    static const char words[] = "database \"nowhere\" does not exist";
    int before = server_said(harness_server(), words), tries;
    struct pglendd *d;

    if (postgres_certificate() != NULL)
        return; /* only over the Unix socket may somebody ask for a database that is none */
    d = pglendd_start(harness_server(), "{'pools': {'clinic': {'database': {'dbname': 'nowhere', 'user': 'postgres'}, "
                                        "'size': {'min': 1}}}}");
    wait_until(pglendd_logged(d, words), 5);
    harness_sleep_ms(2000);
    tries = server_said(harness_server(), words) - before;
    ck_assert_msg(tries >= 3 && tries <= 12, "%d logins in 2 s", tries);
    ck_assert_int_eq(count_lines(d->log, words), 1);
    pglendd_stop(d);
}
END_TEST

START_TEST(too_many_connections)
{
    struct postgres *full = postgres_start(4);
    PGconn *other = postgres_connect(full, "clinic_trust");
    struct pglendd *d = pglendd_start(full, "{'defaults': {'login': {'backoff_max': '200ms'}, 'unavailable_after': "
                                            "'100ms'}, 'pools': {'clinic': {'size': {'min': 1}}}}");
    json_t *pools;

    wait_until(pglendd_logged(d, "login failed"), 5);
    ck_assert_int_eq(count_lines(d->log, "login failed"), 1);
    harness_sleep_ms(300);
    /* Somebody may let go at any moment: waiting is not in vain. */
    expect_failure(d, "clinic", 500, PGLEND_TIMEOUT, "remaining connection slots are reserved");
    pools = pglendd_result(d, "pools", NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(pools, 0), "state")), "active");
    json_decref(pools);
    PQfinish(other);
    expect_answer(d, "clinic", "select current_user", "clinic");
    ck_assert(pglendd_logged(d, "logins succeed again"));
    pglendd_stop(d);
    postgres_free(full);
}
END_TEST

START_TEST(timeout_kills_it)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[256];
    struct pglendd *d;
    pid_t login, before;

    ck_assert_int_eq(bind(silent, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(silent, 8), 0);
    ck_assert_int_eq(getsockname(silent, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(text, sizeof text,
                   "{'pools': {'clinic': {'database': {'host': '127.0.0.1', 'port': %d}, 'size': {'min': 1}, 'login': "
                   "{'timeout': '500ms'}}}}",
                   ntohs(address.sin_port));
    d = pglendd_start(harness_server(), text);
    wait_until((login = pglendd_process(d, "login")) != 0, 5);
    process_title(login, text);
    ck_assert_str_eq(text, "pglendd: login clinic");
    wait_until(process_state(login) == 0, 2);
    wait_until(pglendd_logged(d, "login took longer than 0.5s (login.timeout): the server at \"127.0.0.1\""), 2);
    /* Killed, and tried again. */
    before = login;
    wait_until((login = pglendd_process(d, "login")) != 0 && login != before, 2);
    pglendd_stop(d);
    (void)close(silent);
}
END_TEST

/* ---- encryption ---- */

static void turn_tls(bool on)
{
    const struct postgres *server = harness_server();

    postgres_run(server, on ? "alter system set ssl = on" : "alter system reset ssl");
    postgres_signal(server, SIGHUP);
    wait_until(strcmp(postgres_ask(server, "show ssl"), on ? "on" : "off") == 0, 5);
}

static void make_certificate(void)
{
    const struct postgres *server = harness_server();
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "cd %s/data && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout "
                   "server.key -out server.crt >/dev/null 2>&1 && chmod 0600 server.key && chown --reference=. "
                   "server.key server.crt",
                   server->directory);
    ck_assert_msg(system(command) == 0, "cannot make a certificate with openssl"); /* NOLINT(cert-env33-c) */
}

START_TEST(encrypted_connection_is_lent)
{
    struct pglendd *d;
    char database[256];

    if (postgres_certificate() != NULL)
        return; /* each session of this program is encrypted, and it has a certificate already */
    make_certificate();
    turn_tls(true);
    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'sslmode': 'require', 'password_file': '%s'",
                   make_file("tls", POSTGRES_PASSWORD, 0600, false));
    add_pool("clinic", 1, login_of("clinic", "127.0.0.1", database));
    (void)snprintf(database, sizeof database, ", 'password_file': '%s/tls'", harness_directory());
    add_pool("plain", 0, login_of("clinic", "127.0.0.1", database));
    d = pglendd_start(harness_server(), overrides);
    expect_answer(d, "clinic", "select ssl from pg_stat_ssl where pid = pg_backend_pid()", "t");
    expect_answer(d, "plain", "select ssl from pg_stat_ssl where pid = pg_backend_pid()", "f");
    pglendd_stop(d);
    turn_tls(false);
}
END_TEST

/* ---- max_backends ---- */

START_TEST(pools_share_max_backends)
{
    PGconn *conn[2], *other;
    pglend *clinic, *ward;
    struct pglendd *d;
    char database[256];

    overrides[0] = '\0';
    (void)snprintf(database, sizeof database, ", 'password_file': '%s'",
                   make_file("shared", POSTGRES_PASSWORD, 0600, false));
    add_pool("clinic", 0, login_of("clinic", NULL, database));
    add_pool("ward", 0, login_of("clinic", NULL, database));
    overrides[strlen(overrides) - 1] = '\0';
    (void)strcat(overrides, ", 'max_backends': 2}");
    d = pglendd_start(harness_server(), overrides);
    clinic = pglend_open(d->runtime_dir, "clinic");
    ward = pglend_open(d->runtime_dir, "ward");
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_nonnull(conn[i] = pglend_acquire(clinic, 5000));
    ck_assert_ptr_null(pglend_acquire(ward, 1500)); /* nothing is to spare */
    ck_assert_int_le(postgres_sessions(harness_server()), 2);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pglend_release(clinic, conn[i]), PGLEND_OK);
    ck_assert_msg((other = pglend_acquire(ward, 5000)) != NULL, "%s", pglend_errmessage(ward));
    ck_assert(pglendd_logged(d, "another pool needs its place"));
    ck_assert_int_le(postgres_sessions(harness_server()), 2);
    ck_assert_int_eq(pglend_release(ward, other), PGLEND_OK);
    ck_assert_ptr_nonnull(conn[0] = pglend_acquire(clinic, 5000));
    ck_assert_int_eq(pglend_release(clinic, conn[0]), PGLEND_OK);
    pglend_close(clinic);
    pglend_close(ward);
    pglendd_stop(d);
}
END_TEST

/* ---- init_query ---- */

START_TEST(init_query_runs_once)
{
    static const struct {
        const char *query, *words; /* NULL: good */
    } rows[] = {
        {"create temp table seen as select 1 as a", NULL},
        {"select nothing_of_the_kind()", "function nothing_of_the_kind() does not exist"},
        {"begin", "init_query leaves a transaction open"},
        {"set timezone = Japan", "init_query changes TimeZone, which the first reset would undo"},
        {"copy (select 1) to stdout", "init_query failed"},
    };
    char text[512];
    struct pglendd *d;

    (void)snprintf(text, sizeof text, "{'pools': {'clinic': {'size': {'max': 1}, 'init_query': \"%s\"}}}",
                   rows[_i].query);
    d = pglendd_start(harness_server(), text);
    if (rows[_i].words == NULL) {
        expect_answer(d, "clinic", "select a from seen", "1");
    } else {
        expect_failure(d, "clinic", 500, PGLEND_TIMEOUT, rows[_i].words);
        wait_until(postgres_sessions(harness_server()) == 0, 10);
    }
    pglendd_stop(d);
}
END_TEST

/* Which may be of anybody, and of several lines. */
START_TEST(what_the_server_says_unasked_is_not_in_the_log)
{
    struct pglendd *d = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'max': 1}, 'init_query': 'drop "
                                                        "table if exists of_a_patient'}}}");

    expect_answer(d, "clinic", "select 1", "1");
    ck_assert_uint_eq(pglendd_logged(d, "of_a_patient"), 0);
    pglendd_stop(d);
}
END_TEST

/* ---- settings ---- */

/* They come with the login, so that DISCARD ALL goes back to them; the daemon's environment does not count. */
START_TEST(settings)
{
    static const char *const environment[][2] = {
        {"PGOPTIONS", "-c search_path=evil -c geqo=off"},
        {"PGTZ", "Asia/Tokyo"},
        {"PGCLIENTENCODING", "LATIN1"},
        {"PGHOST", "/nowhere"},
        {"PGPORT", "1"},
        {"PGUSER", "mallory"},
        {"PGSERVICE", "none"},
        {"PGSSLMODE", "require"},
        {"PGREQUIREPEER", "mallory"},
        {"PGAPPNAME", "mallory"},
    };
    static const char sql[] = "select concat_ws('|', current_setting('search_path'), current_setting('work_mem'), "
                              "current_setting('clinic.note'), current_setting('geqo'), current_setting('TimeZone') = "
                              "'Asia/Tokyo', current_setting('client_encoding'), current_setting('application_name'))";
    static const char expected[] = "ward, public|7MB|a b \\ 'c'|on|f|UTF8|pglend:clinic";
    struct pglendd *d;
    pglend *pool;
    PGconn *conn;
    char text[256];

    for (size_t i = 0; i < sizeof environment / sizeof environment[0]; i++)
        ck_assert_int_eq(setenv(environment[i][0], environment[i][1], 1), 0);
    d = pglendd_start(harness_server(),
                      "{'pools': {'clinic': {'size': {'max': 1}, 'database': {'settings': {'search_path': "
                      "'ward, public', 'work_mem': '7MB', 'clinic.note': 'a b \\\\ \\u0027c\\u0027'}}}}}");
    for (size_t i = 0; i < sizeof environment / sizeof environment[0]; i++)
        ck_assert_int_eq(unsetenv(environment[i][0]), 0);
    pool = pglend_open(d->runtime_dir, "clinic");
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
        ck_assert_str_eq(query(conn, sql, text, sizeof text), expected);
        (void)query(conn, "set search_path = x", text, sizeof text);
        (void)query(conn, "set work_mem = '1MB'", text, sizeof text);
        (void)query(conn, "set clinic.note = ''", text, sizeof text);
        ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    }
    pglend_close(pool);
    pglendd_stop(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_login");
    TCase *tc = harness_live_case(suite, "files", 30);

    tcase_add_checked_fixture(tc, restore_password, NULL);
    tcase_add_test(tc, files);
    tcase_add_loop_test(tc, password_file_refused, 0, (int)(sizeof bad_files / sizeof bad_files[0]));
    tcase_add_test(tc, no_password);
    tcase_add_loop_test(tc, wrong_password, 0, 2);
    tcase_add_test(tc, once_a_minute);
    tcase_add_loop_test(tc, looks_try_no_wrong_password, 0, 2);
    tcase_add_test(tc, another_password_file);
    tcase_add_test(tc, one_tries_a_password_that_may_be_another);
    tcase_add_test(tc, nobody_waits_for_a_look_at_the_password);
    tcase_add_test(tc, wrong_password_for_long);
    tc = harness_live_case(suite, "failures", 40);
    tcase_add_test(tc, back_off);
    tcase_add_test(tc, too_many_connections);
    tcase_add_test(tc, timeout_kills_it);
    tcase_add_test(tc, encrypted_connection_is_lent);
    tcase_add_test(tc, pools_share_max_backends);
    tcase_add_loop_test(tc, init_query_runs_once, 0, 5);
    tcase_add_test(tc, what_the_server_says_unasked_is_not_in_the_log);
    tcase_add_test(tc, settings);
    return harness_main(suite);
}
