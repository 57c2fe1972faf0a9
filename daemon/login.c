/* SPDX-License-Identifier: ISC */
/*
 * login.c - log in to the database once, and hand over the socket.
 *
 * Short-lived, blocking, simple: whoever waits too long for it kills it. The hard thing: the session must outlive the
 * process, so a successful login never calls PQfinish(), which would end it. PQreset() connects rather than a loop of
 * PQconnectPoll(): it keeps to connect_timeout for each host and moves on from one that never answers.
 */
#include "login.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define TRACE_TEXT_MAX 262144

/* Static: a stream or string that grows leaves copies of secrets behind. */
static char trace_text[TRACE_TEXT_MAX], trace_buffer[4096];
static char password[PASSWORD_MAX], previous[PASSWORD_MAX], conninfo[CONNINFO_MAX];
static const struct {
    char *from;
    size_t length;
} secrets[] = {
    {password, sizeof password},     {previous, sizeof previous},         {conninfo, sizeof conninfo},
    {trace_text, sizeof trace_text}, {trace_buffer, sizeof trace_buffer},
};
#define SECRETS (sizeof secrets / sizeof secrets[0])
static struct message answer;
static char role[NAME_FIELD];
static uint64_t stamp; /* of the file with the password */

/* Of the first attempt: of a second one, with the password before, nobody needs to know why it failed. */
static struct {
    enum login_failure failure; /* 0: none */
    char text[2048];
} refusal;

/* First match decides. An SQLSTATE matches by its beginning. */
static const struct {
    const char *sqlstate;
    enum login_failure failure;
} failures[] = {
    {"28", LOGIN_FAILED_PASSWORD},
    {"53300", LOGIN_FAILED_TOO_MANY},
    {"", LOGIN_FAILED_OTHER},
};

typedef void ask_function(const struct job *job, PGconn *conn, struct message *answer);

/* What this process may be started for, other than a session to hand over. */
static const struct {
    const char *task;
    ask_function *ask;
} tasks[] = {
    {"cancel_query", ask_cancel},
    {"look", ask_state},
    {"probe", ask_role},
};

static ask_function *ask_of(const struct job *job)
{
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        if (strcmp(tasks[i].task, job->task) == 0)
            return tasks[i].ask;
    return NULL;
}

static void guard(void)
{
    for (size_t i = 0; i < SECRETS; i++)
        privilege_guard(secrets[i].from, secrets[i].length);
}

static void cleanse(void)
{
    for (size_t i = 0; i < SECRETS; i++)
        explicit_bzero(secrets[i].from, secrets[i].length);
}

static _Noreturn void failed(const struct job *job, enum login_failure failure, const char *text)
{
    cleanse();
    message_make(&answer, MESSAGE_LOGIN_FAILED, job->name, 0, text);
    answer.status = failure;
    answer.stamp = stamp;
    memcpy(answer.role, role, sizeof role);
    job_answer(&answer, -1);
}

/* Of fatal(): a login that fails is reported with them. */
static void last_words(const void *job, const char *text)
{
    failed(job, LOGIN_FAILED_OTHER, text);
}

static void note_refusal(const struct job *job, const PGconn *conn)
{
    char *line = refusal.text, sqlstate[6];
    size_t size = sizeof refusal.text;

    if (refusal.failure != 0)
        return;
    refusal.failure = LOGIN_FAILED_OTHER;
    trace_error(PQerrorMessage(conn), line, size, sqlstate);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
        if (strncmp(sqlstate, failures[i].sqlstate, strlen(failures[i].sqlstate)) == 0) {
            refusal.failure = failures[i].failure;
            break;
        }
    if (PQconnectionNeedsPassword(conn)) {
        refusal.failure = LOGIN_FAILED_PASSWORD;
        (void)snprintf(line + strlen(line), size - strlen(line), ": set password_file or passfile of pool \"%s\"",
                       job->name);
    }
    login_why(line, size);
}

/* NULL, noted why. What a relay would keep of this one's password is free memory, and wiped (login_detach.c). */
static PGconn *refused(const struct job *job, PGconn *conn, FILE *stream)
{
    note_refusal(job, conn);
    (void)fclose(stream);
    PQfinish(conn);
    return NULL;
}

/* Before it may take too long: of a session to hand over it is recorded. */
static void say_role(const struct job *job, const PGconn *conn)
{
    (void)snprintf(role, sizeof role, "%s", PQuser(conn) == NULL ? "" : PQuser(conn));
    if (ask_of(job) != NULL)
        return;
    message_make(&answer, MESSAGE_ROLE, job->name, 0, NULL);
    memcpy(answer.role, role, sizeof role);
    job_say(&answer, -1);
}

/* libpq would print what the server says unasked, of any length and content, between the lines of the log. */
static void ignore_notice(void *context, const PGresult *result)
{
    (void)context;
    (void)result;
}

static PGconn *connect_to(const struct job *job, struct trace *trace)
{
    FILE *stream = fmemopen(trace_text, sizeof trace_text, "w");
    PGconn *conn = PQconnectStart(conninfo);
    bool whole;

    if (conn == NULL || stream == NULL)
        failed(job, LOGIN_FAILED_OTHER, "out of memory");
    (void)PQsetNoticeReceiver(conn, ignore_notice, NULL);
    say_role(job, conn);
    /* What cannot even start has its message now; PQreset() would forget it. */
    (void)PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    if (PQstatus(conn) == CONNECTION_BAD)
        return refused(job, conn, stream);
    (void)setvbuf(stream, trace_buffer, _IOFBF, sizeof trace_buffer);
    PQtrace(conn, stream);
    PQsetTraceFlags(conn, PQTRACE_SUPPRESS_TIMESTAMPS);
    PQreset(conn);
    PQuntrace(conn);
    whole = fflush(stream) == 0 && ferror(stream) == 0;
    if (PQstatus(conn) != CONNECTION_OK)
        return refused(job, conn, stream);
    if (!whole) {
        PQfinish(conn);
        failed(job, LOGIN_FAILED_OTHER, "the server said more than 256 KiB while it logged the session in");
    }
    trace_parse(trace_text, strnlen(trace_text, sizeof trace_text), PQlibVersion(), trace);
    return conn;
}

/* Of what only the login needed; their memory reads as zeros from then on. */
static void return_pages(void)
{
    static const struct {
        char *from;
        size_t length;
    } rows[] = {{trace_text, sizeof trace_text}, {conninfo, sizeof conninfo}, {(char *)&answer, sizeof answer}};
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t skip = (size_t)(-(uintptr_t)rows[i].from & (page - 1));

        /* What is locked is not given back. */
        (void)munlock(rows[i].from, rows[i].length);
        if (skip < rows[i].length)
            (void)madvise(rows[i].from + skip, (rows[i].length - skip) & ~(page - 1), MADV_DONTNEED);
    }
}

/* In place of the session's own socket: what is lent, while this process stays as the session's relay. */
static _Noreturn void stay(const struct job *job, const struct pool_config *pool, PGconn *conn)
{
    char why[160] = "", title[NAME_FIELD + 16];
    int pair[2], server = -1;
    SSL *ssl = NULL;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == -1)
        (void)snprintf(why, sizeof why, "cannot make the socket to lend: %s", strerror(errno));
    else if ((ssl = login_detach(conn, &server)) == NULL)
        (void)snprintf(why, sizeof why, "cannot take the TLS session from libpq, and wipe what that knew: %s",
                       strerror(errno));
    if (ssl == NULL)
        failed(job, LOGIN_FAILED_OTHER, why);
    (void)snprintf(title, sizeof title, "relay %s/%lld", job->name,
                   (long long)json_integer_value(json_object_get(job->json, "slot")));
    job_retitle(title);
    log_open(title);
    if (pool->isolation != ISOLATION_STRICT) /* else leases come over it */
        descriptors_refuse(pair[0]);
    answer.status = BACKEND_RELAYED;
    job_say(&answer, pair[1]);
    fatal_tell(NULL, NULL); /* there is nobody to hear of the relay's */
    (void)close(pair[1]);
    (void)close(CHANNEL_FD);
    explicit_bzero(&answer, sizeof answer);
    return_pages();
    relay_run(job, ssl, server, pair[0], pool->isolation == ISOLATION_STRICT);
}

static _Noreturn void hand_over(const struct job *job, const struct pool_config *pool, PGconn *conn,
                                struct trace *trace)
{
    char why[1200];

    if (!init_session(conn, pool->init_query, trace, why, sizeof why)) {
        PQfinish(conn);
        failed(job, LOGIN_FAILED_OTHER, why);
    }
    message_make(&answer, MESSAGE_BACKEND, job->name, 0, NULL);
    answer.backend_pid = PQbackendPID(conn);
    if (!login_facts(&answer, conn, trace, why, sizeof why)) {
        PQfinish(conn);
        failed(job, LOGIN_FAILED_OTHER, why);
    }
    explicit_bzero(trace, sizeof *trace);
    cleanse();
    if (PQsslInUse(conn))
        stay(job, pool, conn);
    job_answer(&answer, PQsocket(conn));
}

static int find_password(const struct pool_config *pool, char *error, size_t size)
{
    const struct database_config *database = &pool->database;

    if (database->password_command.count > 0)
        return password_ask(&database->password_command, pool->login_timeout_ms * 3 / 4, password, error, size);
    if (*database->password_credential != '\0' && getenv(CREDENTIALS) == NULL) {
        (void)snprintf(error, size,
                       "there is no credential \"%s\", for " CREDENTIALS " is not set: give it to the service with "
                       "LoadCredential=%s:FILE",
                       database->password_credential, database->password_credential);
        return -1;
    }
    if (*database->password_credential == '\0' && *database->password_file == '\0')
        return 0;
    return password_read(config_password_path(pool), password, error, size);
}

static void say_secret(const struct job *job, const char *text, int secret)
{
    message_make(&answer, MESSAGE_SECRET, job->name, 0, text);
    answer.stamp = stamp;
    job_say(&answer, secret);
}

/* At the server that the job is of, with WORD for the password. */
static void aim(const struct job *job, const struct pool_config *pool, const char *word)
{
    char error[CONFIG_ERROR_MAX];

    if (conninfo_make(pool, word, conninfo, error, sizeof error) == -1)
        failed(job, LOGIN_FAILED_OTHER, error);
    if (!role_aim(job, conninfo))
        failed(job, LOGIN_FAILED_OTHER, "the session's address cannot be connected to");
}

static PGconn *connect_with(const struct job *job, const struct pool_config *pool, const char *word,
                            struct trace *trace)
{
    refusal.failure = 0;
    aim(job, pool, word);
    return connect_to(job, trace);
}

/*
 * With the file's password, and where that is refused with the one before: the server may not have the new one yet. The
 * other way round, where the file's was refused a moment ago. SECRET is the file's, for the next login, where it is
 * good.
 */
static PGconn *connect_with_either(const struct job *job, const struct pool_config *pool, int secret,
                                   struct trace *trace)
{
    bool kept = *previous != '\0' && json_is_true(json_object_get(job->json, "kept"));
    bool files = !kept;
    PGconn *conn = connect_with(job, pool, kept ? previous : password, trace);

    if (conn == NULL && refusal.failure == LOGIN_FAILED_PASSWORD && *previous != '\0') {
        char said[sizeof refusal.text];

        memcpy(said, refusal.text, sizeof said);
        files = kept;
        conn = connect_with(job, pool, kept ? password : previous, trace);
        if (conn != NULL && !files) {
            log_warning("the password was refused, and the one before it is still good: %s", said);
            say_secret(job, said, -1);
        }
    }
    if (conn != NULL && files && secret != -1)
        say_secret(job, NULL, secret);
    return conn;
}

/* The file's password, and the one that the last login succeeded with, where that is another. */
static void find_passwords(const struct job *job, const struct pool_config *pool)
{
    char error[CONFIG_ERROR_MAX];

    stamp = password_stamp(config_password_path(pool));
    if (find_password(pool, error, sizeof error) == -1)
        failed(job, LOGIN_FAILED_OTHER, error);
    if (secret_read(job->secret, previous) && strcmp(previous, password) == 0)
        explicit_bzero(previous, sizeof previous);
    if (job->secret != -1)
        (void)close(job->secret);
}

int login_main(void)
{
    static struct trace trace;
    char error[CONFIG_ERROR_MAX];
    struct pool_config *pool;
    int secret = -1;
    struct job job;
    PGconn *conn;

    job_take("login", &job);
    fatal_tell(last_words, &job);
    pool = config_pool_parse(job.name, json_object_get(job.json, "pool"), error);
    if (pool == NULL)
        failed(&job, LOGIN_FAILED_OTHER, error);
    guard();
    find_passwords(&job, pool);
    if (*password != '\0' && ask_of(&job) == NULL)
        secret = secret_make(password);
    job_settle(&job, SANDBOX_SESSION);
    conninfo_environment(&pool->database);
    login_why_watch();
    if (!login_has_revoked(&pool->database, error, sizeof error))
        failed(&job, LOGIN_FAILED_OTHER, error);
    conn = connect_with_either(&job, pool, secret, &trace);
    if (conn == NULL)
        failed(&job, refusal.failure, refusal.text);
    if (secret != -1)
        (void)close(secret);
    if (ask_of(&job) == NULL)
        hand_over(&job, pool, conn, &trace);
    ask_of (&job)(&job, conn, &answer);
    PQfinish(conn);
    cleanse();
    job_answer(&answer, -1);
}
