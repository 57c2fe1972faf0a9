/* SPDX-License-Identifier: ISC */
/*
 * pglendd.c - a private pglendd for tests: configuration, start, end, questions over admin.sock.
 */
#include "pglendd.h"
#include "harness.h"
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_SECONDS     20
#define END_SECONDS       20
#define ANSWER_SECONDS    20
#define CONNECTED_SECONDS 10 /* a visitor of the door has 5 to say what it wants */
#define PROCESSES_MAX     256

/* ---- configuration ---- */

static json_t *parse(const char *text)
{
    json_error_t error;
    char *copy = strdup(text);
    json_t *json;

    ck_assert_ptr_nonnull(copy);
    for (char *c = copy; *c != '\0'; c++)
        if (*c == '\'')
            *c = '"';
    json = json_loads(copy, 0, &error);
    ck_assert_msg(json != NULL, "the test's JSON \"%s\": %s", text, error.text);
    free(copy);
    return json;
}

bool pglendd_is_strict(const struct pglendd *d)
{
    return getenv("PGLEND_TEST_STRICT") != NULL && d->as_root;
}

/* All pools that may be, in isolation strict: workers are root there, and the supervisor is not. */
static void make_strict(json_t *config)
{
    json_t *pool;
    const char *name;

    json_object_foreach(json_object_get(config, "pools"), name, pool)
    {
        const json_t *reset = json_object_get(pool, "reset");
        const char *kind = reset == NULL ? "full" : json_string_value(reset);

        if (kind != NULL && (strcmp(kind, "full") == 0 || strcmp(kind, "replace") == 0) &&
            json_object_get(pool, "isolation") == NULL)
            ck_assert_int_eq(json_object_set_new(pool, "isolation", json_string("strict")), 0);
    }
}

void pglendd_configure(struct pglendd *d, const struct postgres *server, const char *overrides)
{
    char self[16], other[16];
    uid_t uid;
    gid_t gid;
    json_t *config;

    harness_unprivileged(&uid, &gid);
    (void)snprintf(self, sizeof self, "%u", (unsigned)geteuid());
    (void)snprintf(other, sizeof other, "%u", (unsigned)uid);
    config = json_pack("{s:s, s:{s:s}, s:s, s:{s:{s:[ss]}, s:{s:[ss]}, s:{s:[ss]}}, s:{s:{s:{s:s, s:i, s:s, s:s, s:s}, "
                       "s:{s:i, s:i}, s:{s:[ss]}}}}",
                       "runtime_dir", d->runtime_dir, "log", "level", "debug", "shutdown_timeout", "5s", "admin",
                       "read", "users", self, other, "operate", "users", self, other, "control", "users", self, other,
                       "pools", "clinic", "database", "host", server->directory, "port", server->port, "dbname",
                       "clinic", "user", "clinic", "password_file", d->password_file, "size", "min", 0, "max", 4,
                       "access", "users", self, other);
    ck_assert_ptr_nonnull(config);
    if (postgres_certificate() != NULL) {
        json_t *tls = json_pack("{s:{s:{s:{s:s, s:s, s:s}}}}", "pools", "clinic", "database", "host", "127.0.0.1",
                                "sslmode", "verify-full", "sslrootcert", postgres_certificate());

        ck_assert_int_eq(json_object_update_recursive(config, tls), 0);
        json_decref(tls);
    }
    if (d->as_root)
        ck_assert_int_eq(json_object_set_new(config, "user", json_string("nobody")), 0);
    if (overrides != NULL) {
        json_t *more = parse(overrides);

        ck_assert_int_eq(json_object_update_recursive(config, more), 0);
        json_decref(more);
    }
    if (pglendd_is_strict(d))
        make_strict(config);
    ck_assert_int_eq(json_dump_file(config, d->config, JSON_INDENT(2)), 0);
    ck_assert_int_eq(chmod(d->config, 0644), 0);
    json_decref(config);
}

static struct pglendd *prepare(const struct postgres *server, const char *overrides, bool as_root)
{
    struct pglendd *d = calloc(1, sizeof *d);
    uid_t uid;
    gid_t gid;
    FILE *f;

    ck_assert_ptr_nonnull(d);
    d->as_root = as_root;
    (void)snprintf(d->directory, sizeof d->directory, "%s/d-XXXXXX", harness_directory());
    ck_assert_ptr_nonnull(mkdtemp(d->directory));
    ck_assert_int_eq(chmod(d->directory, 0755), 0);
    (void)snprintf(d->runtime_dir, sizeof d->runtime_dir, "%s/run", d->directory);
    (void)snprintf(d->config, sizeof d->config, "%s/config", d->directory);
    (void)snprintf(d->log, sizeof d->log, "%s/log", d->directory);
    (void)snprintf(d->password_file, sizeof d->password_file, "%s/password", d->directory);
    ck_assert_ptr_nonnull(f = fopen(d->password_file, "w"));
    ck_assert_int_eq(fchmod(fileno(f), 0600), 0);
    ck_assert(fputs(POSTGRES_PASSWORD "\n", f) >= 0 && fclose(f) == 0);
    harness_unprivileged(&uid, &gid);
    if (!as_root && geteuid() == 0)
        ck_assert(chown(d->directory, uid, gid) == 0 && chown(d->password_file, uid, gid) == 0);
    pglendd_configure(d, server, overrides);
    return d;
}

/* ---- start ---- */

/* The program is opened before it drops root: the tree may be where nobody else may look. */
static _Noreturn void execute(const struct pglendd *d)
{
    char *argv[] = {"pglendd", "--foreground", "-c", (char *)d->config, NULL};
    int program = open(harness_product("pglendd"), O_RDONLY | O_CLOEXEC);
    int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (!d->as_root)
        harness_drop();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(nothing, 0);
    (void)dup2(nothing, 1);
    (void)dup2(log, 2);
    (void)fexecve(program, argv, environ);
    (void)dprintf(2, "cannot execute %s: %s\n", harness_product("pglendd"), strerror(errno));
    _exit(127);
}

/* -1: nobody listens there. */
static int try_connect(const struct pglendd *d, const char *name, int bound_s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval bound = {.tv_sec = bound_s};
    int type = strcmp(name, "worker.sock") == 0 ? SOCK_SEQPACKET : SOCK_STREAM;
    int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    ck_assert_int_ne(sock, -1);
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    (void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", d->runtime_dir, name);
    if (connect(sock, (struct sockaddr *)&address, sizeof address) == 0)
        return sock;
    (void)close(sock);
    return -1;
}

/* One request, one answer; NULL if there is nobody to answer. */
static json_t *request(const struct pglendd *d, const char *command, const char *arguments)
{
    json_t *json = json_pack("{s:i, s:s, s:o}", "id", 1, "command", command, "args",
                             arguments != NULL ? parse(arguments) : json_object());
    char *text = json_dumps(json, JSON_COMPACT);
    int sock = try_connect(d, "admin.sock", ANSWER_SECONDS);
    FILE *stream = sock != -1 ? fdopen(sock, "r+") : NULL;
    json_t *answer = NULL;

    ck_assert_ptr_nonnull(text);
    if (stream != NULL && fprintf(stream, "%s\n", text) > 0 && fflush(stream) == 0)
        answer = json_loadf(stream, JSON_DISABLE_EOF_CHECK, NULL);
    if (stream != NULL)
        (void)fclose(stream);
    free(text);
    json_decref(json);
    return answer;
}

static bool answers(const struct pglendd *d)
{
    json_t *status = request(d, "status", NULL);
    bool ok = json_is_true(json_object_get(status, "ok"));

    json_decref(status);
    return ok;
}

void pglendd_resume(struct pglendd *d)
{
    ck_assert_int_eq(d->pid, 0);
    ck_assert_int_eq(fflush(NULL), 0);
    d->pid = fork();
    ck_assert_int_ne(d->pid, -1);
    if (d->pid == 0)
        execute(d);
    wait_until(answers(d) || waitpid(d->pid, NULL, WNOHANG) == d->pid, START_SECONDS);
    ck_assert_msg(kill(d->pid, 0) == 0, "pglendd ended at once: see %s", d->log);
}

struct pglendd *pglendd_start(const struct postgres *server, const char *overrides)
{
    struct pglendd *d = prepare(server, overrides, geteuid() == 0);

    pglendd_resume(d);
    return d;
}

struct pglendd *pglendd_start_unprivileged(const struct postgres *server, const char *overrides)
{
    struct pglendd *d = prepare(server, overrides, false);

    pglendd_resume(d);
    return d;
}

int pglendd_run(const struct pglendd *d)
{
    int status = -1;
    pid_t pid;

    ck_assert_int_eq(fflush(NULL), 0);
    pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0)
        execute(d);
    wait_until(waitpid(pid, &status, WNOHANG) == pid, START_SECONDS);
    ck_assert_msg(WIFEXITED(status), "pglendd ended with status %#x: see %s", (unsigned)status, d->log);
    return WEXITSTATUS(status);
}

/* ---- end ---- */

/* Objects in /dev/shm that are this daemon's; UNLINK removes them. */
static int shared_memory(const struct pglendd *d, bool remove)
{
    char instance[17], prefix[32];
    DIR *dir = opendir("/dev/shm");
    int found = 0;

    ck_assert_ptr_nonnull(dir);
    segment_instance(d->runtime_dir, instance);
    (void)snprintf(prefix, sizeof prefix, "pglend.%s.", instance);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        found++;
        if (remove)
            (void)shm_unlink(e->d_name);
    }
    (void)closedir(dir);
    return found;
}

static bool all_gone(const pid_t *process, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)waitpid(process[i], NULL, WNOHANG); /* it may be this process's by now; others the test waits for */
        if (process_state(process[i]) != 0)
            return false;
    }
    return true;
}

/*
 * A relay ends by itself when nobody holds its socket any more, whoever started it: nobody waits for it. What is dying
 * already has no title any more.
 */
static bool may_linger(pid_t pid)
{
    char title[256];

    process_title(pid, title);
    return title[0] == '\0' || strncmp(title, "pglendd: relay", 14) == 0;
}

static bool has_ended(pid_t pid)
{
    return process_state(pid) == 0 || process_state(pid) == 'Z';
}

void pglendd_free(struct pglendd *d)
{
    ck_assert_int_eq(d->pid, 0);
    (void)shared_memory(d, true);
    if (getenv("PGLEND_TEST_KEEP") == NULL)
        (void)unlink(d->log); /* what stays is shown as the log of a failed test */
    free(d);
}

void pglendd_stop(struct pglendd *d)
{
    pid_t process[PROCESSES_MAX];
    bool lingers[PROCESSES_MAX];
    size_t count = process_children(d->pid, process, PROCESSES_MAX);
    int status = -1;

    for (size_t i = 0; i < count; i++)
        lingers[i] = may_linger(process[i]);
    ck_assert_int_eq(kill(d->pid, SIGTERM), 0);
    wait_until(waitpid(d->pid, &status, WNOHANG) == d->pid, END_SECONDS);
    d->pid = 0;
    ck_assert_msg(status == 0, "pglendd ended with status %#x: see %s", (unsigned)status, d->log);
    for (size_t i = 0; i < count; i++) {
        if (lingers[i])
            wait_until(has_ended(process[i]), 2);
        ck_assert_msg(has_ended(process[i]), "pglendd left process %d behind", (int)process[i]);
    }
    ck_assert_msg(shared_memory(d, false) == 0, "leaked: shared memory of %s", d->runtime_dir);
    ck_assert_msg(pglendd_logged(d, "sandbox: ") == 0, "a process was refused a system call: see %s", d->log);
    pglendd_free(d);
}

void pglendd_kill(struct pglendd *d)
{
    pid_t process[PROCESSES_MAX];
    size_t all = process_children(d->pid, process, PROCESSES_MAX), count = 0;

    for (size_t i = 0; i < all; i++)
        if (!may_linger(process[i]))
            process[count++] = process[i];
    ck_assert_int_eq(kill(d->pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(d->pid, NULL, 0), d->pid);
    d->pid = 0;
    wait_until(all_gone(process, count), END_SECONDS);
}

/* ---- questions ---- */

int pglendd_connect(const struct pglendd *d, const char *name)
{
    int sock = try_connect(d, name, CONNECTED_SECONDS);

    ck_assert_msg(sock != -1, "cannot connect to %s: %s", name, strerror(errno));
    return sock;
}

void pglendd_trail(char path[128])
{
    char command[600];
    uid_t uid;
    gid_t gid;

    harness_unprivileged(&uid, &gid);
    (void)snprintf(path, 128, "%s/trail", harness_directory());
    (void)snprintf(command, sizeof command, "rm -rf '%s' '%s.key'", path, path);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(chown(path, uid, gid), 0);
    (void)snprintf(command, sizeof command, "timeout 20 %s audit init --key-out '%s.key' '%s' >'%s/init' 2>&1",
                   harness_product("pglend"), path, path, harness_directory());
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
}

unsigned pglendd_logged(const struct pglendd *d, const char *text)
{
    FILE *f = fopen(d->log, "re");
    char *line = NULL;
    size_t size = 0;
    unsigned found = 0;

    while (f != NULL && getline(&line, &size, f) != -1)
        found += strstr(line, text) != NULL;
    free(line);
    if (f != NULL)
        (void)fclose(f);
    return found;
}

json_t *pglendd_request(const struct pglendd *d, const char *command, const char *arguments)
{
    json_t *answer = request(d, command, arguments);

    ck_assert_msg(answer != NULL, "no answer to \"%s\"", command);
    return answer;
}

json_t *pglendd_result(const struct pglendd *d, const char *command, const char *arguments)
{
    json_t *answer = pglendd_request(d, command, arguments);
    json_t *result = json_incref(json_object_get(answer, "result"));

    ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "\"%s\" failed: %s", command,
                  json_string_value(json_object_get(json_object_get(answer, "error"), "message")));
    json_decref(answer);
    return result;
}

int pglendd_count(const struct pglendd *d, const char *field)
{
    json_t *pools = pglendd_result(d, "pools", "{'pool': 'clinic'}");
    const json_t *value = json_object_get(json_array_get(pools, 0), field);
    int count = (int)json_integer_value(value);

    ck_assert_msg(json_is_integer(value), "pools has no number \"%s\"", field);
    json_decref(pools);
    return count;
}

pid_t pglendd_process(const struct pglendd *d, const char *process)
{
    pid_t child[PROCESSES_MAX];
    size_t count = process_children(d->pid, child, PROCESSES_MAX);
    char title[256], wanted[256];

    (void)snprintf(wanted, sizeof wanted, "pglendd: %s", process);
    for (size_t i = 0; i < count; i++) {
        process_title(child[i], title);
        if (strncmp(title, wanted, strlen(wanted)) == 0)
            return child[i];
    }
    return 0;
}

pid_t pglendd_signal(const struct pglendd *d, const char *process, int signal)
{
    pid_t pid = pglendd_process(d, process);

    ck_assert_msg(pid > 0, "there is no process \"pglendd: %s\"", process);
    ck_assert_int_eq(kill(pid, signal), 0);
    return pid;
}

bool pglendd_has_another(const struct pglendd *d, const char *process, pid_t old)
{
    pid_t now = pglendd_process(d, process);

    return now != 0 && now != old;
}

pid_t pglendd_replace(const struct pglendd *d, const char *process)
{
    pid_t old = pglendd_signal(d, process, SIGKILL);

    wait_until(pglendd_has_another(d, process, old), 5);
    return pglendd_process(d, process);
}
