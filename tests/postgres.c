/* SPDX-License-Identifier: ISC */
/*
 * postgres.c - a private PostgreSQL for tests.
 *
 * One initdb a program makes a template, roles and all; each server runs on a copy. The server is a child, not a
 * daemon: the kernel ends it with the process that started it.
 */
#include "postgres.h"
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TRIES 5
#define START_MS    60000U

static const char hba[] = "local all,replication postgres trust\n"
                          "local clinic clinic_trust  trust\n"
                          "local clinic clinic_md5    md5\n"
                          "local clinic clinic_peer   peer map=anybody\n"
                          "local clinic,other clinic  scram-sha-256\n"
                          "host  clinic clinic_trust  127.0.0.1/32 trust\n"
                          "host  clinic clinic_md5    127.0.0.1/32 md5\n"
                          "host  clinic,other clinic  127.0.0.1/32 scram-sha-256\n"
                          "hostssl clinic clinic_certificate 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n";
static const char ident[] = "anybody /^.*$ clinic_peer\n";
static const char roles[] =
    "create role clinic_reader nologin;\n"
    "create role clinic login password 'correct horse ''battery\\ staple' in role clinic_reader;\n"
    "create role clinic_trust login;\n"
    "create role clinic_peer login;\n"
    "create role clinic_certificate login password 'correct horse ''battery\\ staple';\n"
    "set password_encryption = md5;\n"
    "create role clinic_md5 login password 'correct horse ''battery\\ staple';\n"
    "create database clinic owner clinic;\n";

/* The server's programs: in the newest of Debian's directories, else in PATH. */
static const char *program(const char *name)
{
    static char path[PATH_MAX];
    glob_t found = {0};

    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0 && found.gl_pathc > 0)
        (void)snprintf(path, sizeof path, "%s/%s", found.gl_pathv[found.gl_pathc - 1], name);
    else
        (void)snprintf(path, sizeof path, "%s", name);
    globfree(&found);
    return path;
}

static const struct passwd *account(void)
{
    const struct passwd *found = getpwnam("postgres");

    if (found == NULL)
        found = getpwnam("nobody");
    ck_assert_msg(found != NULL, "there is neither a user postgres nor nobody to run the server as");
    return found;
}

/* PostgreSQL refuses to run as root. */
static void become_server(const struct passwd *as)
{
    if (geteuid() == 0 && (setgroups(0, NULL) == -1 || setresgid(as->pw_gid, as->pw_gid, as->pw_gid) == -1 ||
                           setresuid(as->pw_uid, as->pw_uid, as->pw_uid) == -1))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
}

/* Run ARGV with INPUT (NULL: nothing) as standard input, output to LOG. */
static pid_t spawn(char *const argv[], const char *input, const char *log)
{
    const struct passwd *as = account();
    pid_t pid = fork();
    sigset_t none;

    ck_assert_int_ne(pid, -1);
    if (pid > 0)
        return pid;
    (void)setpgid(0, 0); /* Check kills the test's group at once; the server is to be told first */
    become_server(as);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)umask(077);
    if (dup2(open(input != NULL ? input : "/dev/null", O_RDONLY), 0) == -1 ||
        dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0644), 1) == -1 || dup2(1, 2) == -1 || chdir("/") == -1)
        _exit(126);
    for (int fd = 3; fd < 64; fd++)
        (void)close(fd);
    (void)execvp(argv[0], argv);
    _exit(127);
}

static void run(char *const argv[], const char *input, const char *log)
{
    int status = -1;
    pid_t pid = spawn(argv, input, log);

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(status == 0, "%s failed (status %#x): see %s", argv[0], (unsigned)status, log);
}

static void write_file(const char *path, const char *text, const char *mode)
{
    FILE *f = fopen(path, mode);

    ck_assert_msg(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, "cannot write %s: %s", path, strerror(errno));
}

static void make_directory(const char *path)
{
    ck_assert_msg(mkdir(path, 0755) == 0, "cannot make %s: %s", path, strerror(errno));
    if (geteuid() == 0)
        ck_assert_int_eq(chown(path, account()->pw_uid, account()->pw_gid), 0);
}

const char *postgres_certificate(void)
{
    static char path[96];

    if (getenv("PGLEND_TEST_TLS") == NULL)
        return NULL;
    (void)snprintf(path, sizeof path, "%s/server.crt", harness_directory());
    return path;
}

/* One that signs itself, for the address that the servers listen on; a copy where everybody can read it. */
static void make_certificate(const char *data, const char *log)
{
    char key[128], certificate[128], command[512];

    (void)snprintf(key, sizeof key, "%s/server.key", data);
    (void)snprintf(certificate, sizeof certificate, "%s/server.crt", data);
    run((char *[]){"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pglend test",
                   "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate, NULL},
        NULL, log);
    (void)snprintf(command, sizeof command, "install -m 644 %s %s", certificate, postgres_certificate());
    ck_assert_msg(system(command) == 0, "%s", command); /* NOLINT(cert-env33-c) */
}

/* The program's template of a cluster, made at first use. */
static const char *template(void)
{
    static char path[80];
    char initdb[PATH_MAX], postgres[PATH_MAX], data[96], log[96], file[128], input[128];

    if (path[0] != '\0')
        return path;
    (void)snprintf(path, sizeof path, "%s/template", harness_directory());
    (void)snprintf(data, sizeof data, "%s/data", path);
    (void)snprintf(log, sizeof log, "%s/log", path);
    (void)snprintf(initdb, sizeof initdb, "%s", program("initdb"));
    (void)snprintf(postgres, sizeof postgres, "%s", program("postgres"));
    make_directory(path);
    run((char *[]){initdb, "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--auth=reject",
                   NULL},
        NULL, log);
    (void)snprintf(file, sizeof file, "%s/pg_hba.conf", data);
    write_file(file, hba, "w");
    (void)snprintf(file, sizeof file, "%s/pg_ident.conf", data);
    write_file(file, ident, "w");
    (void)snprintf(input, sizeof input, "%s/roles.sql", path);
    write_file(input, roles, "w");
    if (postgres_certificate() != NULL)
        make_certificate(data, log);
    run((char *[]){postgres, "--single", "-F", "-D", data, "postgres", NULL}, input, log);
    return path;
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(sock, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(getsockname(sock, (struct sockaddr *)&address, &length), 0);
    (void)close(sock);
    return ntohs(address.sin_port);
}

/* True once the server takes connections, false if it ended. */
static bool started(struct postgres *s)
{
    char conninfo[160];
    uint64_t until = harness_now_ms() + START_MS;

    (void)snprintf(conninfo, sizeof conninfo, "host=%s port=%d user=postgres dbname=postgres connect_timeout=5",
                   s->directory, s->port);
    while (harness_now_ms() < until) {
        if (PQping(conninfo) == PQPING_OK)
            return true;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
            break;
        harness_sleep_ms(10);
    }
    return false;
}

static bool launch(struct postgres *s)
{
    char path[PATH_MAX], data[96], log[96], port[16], connections[48];

    (void)snprintf(path, sizeof path, "%s", program("postgres"));
    (void)snprintf(data, sizeof data, "%s/data", s->directory);
    (void)snprintf(log, sizeof log, "%s/log", s->directory);
    (void)snprintf(port, sizeof port, "%d", s->port);
    (void)snprintf(connections, sizeof connections, "max_connections=%d", s->max_connections);
    s->pid = spawn((char *[]){path,         "-D",
                              data,         "-p",
                              port,         "-k",
                              s->directory, "-F",
                              "-c",         connections,
                              "-c",         "listen_addresses=127.0.0.1",
                              "-c",         "shared_buffers=16MB",
                              "-c",         "synchronous_commit=off",
                              "-c",         "full_page_writes=off",
                              "-c",         "autovacuum=off",
                              "-c",         s->replicates ? "max_wal_senders=5" : "max_wal_senders=0",
                              "-c",         s->replicates ? "wal_level=replica" : "wal_level=minimal",
                              "-c",         "jit=off",
                              "-c",         postgres_certificate() != NULL ? "ssl=on" : "jit=off",
                              "-c",         "log_line_prefix=%m [%p] %u %a ",
                              "-c",         "log_min_messages=warning",
                              NULL},
                   NULL, log);
    if (started(s))
        return true;
    s->pid = 0;
    return false;
}

/* A server without data yet. */
static struct postgres *prepare(int max_connections)
{
    struct postgres *s = calloc(1, sizeof *s);

    ck_assert_ptr_nonnull(s);
    s->max_connections = max_connections > 0 ? max_connections : 100;
    (void)snprintf(s->directory, sizeof s->directory, "%s/p-XXXXXX", harness_directory());
    ck_assert_ptr_nonnull(mkdtemp(s->directory));
    ck_assert_int_eq(chmod(s->directory, 0755), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(chown(s->directory, account()->pw_uid, account()->pw_gid), 0);
    return s;
}

static struct postgres *start(struct postgres *s)
{
    /* Between finding a port free and taking it, somebody else may. */
    for (int i = 0; i < START_TRIES; i++) {
        s->port = free_port();
        if (launch(s))
            return s;
    }
    ck_abort_msg("PostgreSQL does not start: see %s/log", s->directory);
    return NULL;
}

static struct postgres *start_copy(struct postgres *s)
{
    char from[96];

    (void)snprintf(from, sizeof from, "%s/data", template());
    run((char *[]){"cp", "-a", "--reflink=auto", from, s->directory, NULL}, NULL, "/dev/null");
    return start(s);
}

struct postgres *postgres_start(int max_connections)
{
    return start_copy(prepare(max_connections));
}

/* ---- primary and standby ---- */

struct postgres *postgres_start_primary(void)
{
    struct postgres *s = prepare(0);

    s->replicates = true;
    return start_copy(s);
}

struct postgres *postgres_start_standby(const struct postgres *primary)
{
    struct postgres *s = prepare(0);
    char basebackup[PATH_MAX], data[96], log[96], port[16];

    s->replicates = true;
    (void)snprintf(basebackup, sizeof basebackup, "%s", program("pg_basebackup"));
    (void)snprintf(data, sizeof data, "%s/data", s->directory);
    (void)snprintf(log, sizeof log, "%s/log", s->directory);
    (void)snprintf(port, sizeof port, "%d", primary->port);
    run((char *[]){basebackup, "-h", (char *)primary->directory, "-p", port, "-U", "postgres", "-D", data, "-X",
                   "stream", "-c", "fast", "-R", "--no-sync", NULL},
        NULL, log);
    return start(s);
}

void postgres_promote(const struct postgres *standby)
{
    ck_assert_str_eq(postgres_ask(standby, "select pg_promote(true, 60)"), "t");
}

void postgres_demote(const struct postgres *server, const struct postgres *primary)
{
    char path[128], line[256];

    (void)snprintf(path, sizeof path, "%s/data/standby.signal", server->directory);
    write_file(path, "", "w");
    if (geteuid() == 0)
        ck_assert_int_eq(chown(path, account()->pw_uid, account()->pw_gid), 0);
    (void)snprintf(path, sizeof path, "%s/data/postgresql.auto.conf", server->directory);
    (void)snprintf(line, sizeof line, "primary_conninfo = 'host=%s port=%d user=postgres'\n", primary->directory,
                   primary->port);
    write_file(path, line, "a");
}

void postgres_stop(struct postgres *s, const char *mode)
{
    static const struct {
        const char *mode;
        int signal;
    } rows[] = {{"smart", SIGTERM}, {"fast", SIGINT}, {"immediate", SIGQUIT}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(mode, rows[i].mode) == 0)
            ck_assert_int_eq(kill(s->pid, rows[i].signal), 0);
    ck_assert_msg(waitpid(s->pid, NULL, 0) == s->pid, "this server is the program's, not the test's to stop");
    s->pid = 0;
}

void postgres_resume(struct postgres *s)
{
    ck_assert_msg(launch(s), "PostgreSQL does not start again: see %s/log", s->directory);
}

void postgres_free(struct postgres *s)
{
    if (s->pid != 0)
        postgres_stop(s, "immediate");
    free(s);
}

void postgres_signal(const struct postgres *s, int signal)
{
    ck_assert_int_eq(kill(s->pid, signal), 0);
}

/* ---- asking ---- */

PGconn *postgres_connect(const struct postgres *s, const char *role)
{
    char port[16];
    PGconn *conn;

    (void)snprintf(port, sizeof port, "%d", s->port);
    conn = PQsetdbLogin(s->directory, port, NULL, NULL, "clinic", role, POSTGRES_PASSWORD);
    /* The server may not have noticed yet that another one has hung up. */
    for (int i = 0; i < 100 && strstr(PQerrorMessage(conn), "remaining connection slots") != NULL; i++) {
        harness_sleep_ms(50);
        PQreset(conn);
    }
    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    return conn;
}

const char *query(PGconn *conn, const char *sql, char *text, size_t size)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);

    ck_assert_msg(status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK, "%s: %s", sql, PQerrorMessage(conn));
    (void)snprintf(text, size, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return text;
}

const char *postgres_ask(const struct postgres *s, const char *sql)
{
    static char text[8192];
    PGconn *conn = postgres_connect(s, "postgres");

    (void)query(conn, sql, text, sizeof text);
    PQfinish(conn);
    return text;
}

void postgres_run(const struct postgres *s, const char *sql)
{
    (void)postgres_ask(s, sql);
}

int postgres_sessions(const struct postgres *s)
{
    return (int)strtol(postgres_ask(s, "select count(*) from pg_stat_activity where backend_type = 'client backend' "
                                       "and usename <> 'postgres'"),
                       NULL, 10);
}
