/* SPDX-License-Identifier: ISC */
/*
 * adopt.c - put a lent socket under an ordinary PGconn, and take it away again.
 *
 * The hard thing: only public libpq calls are used. libpq makes its connection object by a start-up against the
 * supervisor's door, which plays the server; then the backend's socket is duplicated over PQsocket(). libpq may close
 * its descriptor whenever it sees an error, and the application may then get that number for a file of its own: it is
 * touched only while PQstatus() and PQsocket() say that it is still libpq's.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FULL_NS UINT64_C(1000000) /* a socket that takes nothing for so long is full */

enum { APPLICATION_NAME = 5 };

/* Every parameter that a server marks GUC_REPORT, PostgreSQL 9.6 to 18 (documentation, 55.2.7). */
static const char *const parameters[PARAMETERS_CHECKED] = {
    "standard_conforming_strings",
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "IntervalStyle",
    [APPLICATION_NAME] = "application_name",
    "session_authorization",
    "is_superuser",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "search_path",
    "scram_iterations",
    "server_encoding",
    "server_version",
};

int adopt_dead_socket(void)
{
    static _Atomic int dead = -1;
    int now = dead, pair[2], none = -1;

    if (now != -1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
        return now;
    /* Shut down and without a peer: reads end at once, writes fail with EPIPE. */
    (void)shutdown(pair[0], SHUT_RDWR);
    (void)close(pair[1]);
    if (!atomic_compare_exchange_strong(&dead, &none, pair[0]))
        (void)close(pair[0]);
    return dead;
}

/* ---- the shell ---- */

static bool append_option(char *text, size_t size, const char *keyword, const char *value)
{
    size_t at = strlen(text);
    int head = snprintf(text + at, size - at, "%s%s='", at > 0 ? " " : "", keyword);

    if (head < 0 || (size_t)head >= size - at)
        return false;
    at += (size_t)head;
    for (; *value != '\0'; value++) {
        if (size - at < 4)
            return false;
        if (*value == '\'' || *value == '\\')
            text[at++] = '\\';
        text[at++] = *value;
    }
    if (size - at < 2)
        return false;
    text[at++] = '\'';
    text[at] = '\0';
    return true;
}

/*
 * Every keyword that this libpq could take from the environment is set: ours by the table, the others to their
 * compiled-in default. The token travels as "options", so that PQuser() and PQdb() say the truth.
 */
static bool shell_conninfo(char *text, size_t size, const char *runtime_dir, const struct wire_backend *backend)
{
    const struct {
        const char *keyword, *value;
    } ours[] = {
        {"host", runtime_dir},           {"port", DOOR_PORT},         {"user", backend->user},
        {"dbname", backend->dbname},     {"options", backend->token}, {"passfile", "/dev/null/none"}, /* cannot exist */
        {"sslmode", "disable"},          {"gssencmode", "disable"},   {"channel_binding", "disable"},
        {"target_session_attrs", "any"}, {"connect_timeout", "10"},
    };
    PQconninfoOption *options = PQconndefaults();
    bool ok = options != NULL;

    text[0] = '\0';
    for (PQconninfoOption *o = options; ok && o->keyword != NULL; o++) {
        const char *value = o->compiled != NULL ? o->compiled : o->envvar != NULL ? "" : NULL;

        /* An empty service would be looked up. */
        if (strcmp(o->keyword, "service") == 0 || strcmp(o->keyword, "servicefile") == 0)
            continue;
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
            if (strcmp(o->keyword, ours[i].keyword) == 0)
                value = ours[i].value;
        /* What has no variable and no default stays unset: libpq takes an empty number for a mistake. */
        ok = value == NULL || append_option(text, size, o->keyword, value);
    }
    PQconninfoFree(options);
    return ok;
}

/* Wait for EVENTS on FD until UNTIL. False: the time is up. */
static bool wait_for(int fd, short events, uint64_t until)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    uint64_t now = clock_ns();
    int n;

    if (now >= until)
        return false;
    do
        n = poll(&pfd, 1, (int)((until - now + 999999) / 1000000));
    while (n == -1 && errno == EINTR && (now = clock_ns()) < until);
    return n > 0;
}

static bool connect_shell(PGconn *conn, uint64_t until)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;

    while (PQstatus(conn) != CONNECTION_BAD) {
        if (next == PGRES_POLLING_OK)
            return true;
        if (next == PGRES_POLLING_FAILED ||
            !wait_for(PQsocket(conn), next == PGRES_POLLING_READING ? POLLIN : POLLOUT, until))
            return false;
        next = PQconnectPoll(conn);
    }
    return false;
}

static size_t empty_result_size(PGconn *conn)
{
    PGresult *result = PQmakeEmptyPGresult(conn, PGRES_COMMAND_OK);
    size_t size = result == NULL ? 0 : PQresultMemorySize(result);

    PQclear(result);
    return size;
}

static bool remember_facts(struct loan *loan)
{
    loan->encoding = PQclientEncoding(loan->conn);
    loan->hooks.receiver = PQsetNoticeReceiver(loan->conn, NULL, NULL);
    loan->hooks.processor = PQsetNoticeProcessor(loan->conn, NULL, NULL);
    loan->hooks.events = empty_result_size(loan->conn);
    for (size_t i = 0; i < PARAMETERS_CHECKED; i++) {
        const char *value = PQparameterStatus(loan->conn, parameters[i]);

        if (value != NULL && (loan->parameter[i] = strdup(value)) == NULL)
            return false;
    }
    return true;
}

bool adopt_shell(struct loan *loan, const char *runtime_dir, const struct wire_backend *backend, uint64_t until,
                 char *message, size_t size)
{
    char conninfo[4096];

    if (!shell_conninfo(conninfo, sizeof conninfo, runtime_dir, backend) ||
        (loan->conn = PQconnectStart(conninfo)) == NULL) {
        (void)snprintf(message, size, "out of memory for a connection object");
        return false;
    }
    if (!connect_shell(loan->conn, until)) {
        const char *service = getenv("PGSERVICE"), *words = PQerrorMessage(loan->conn);

        (void)snprintf(message, size, "libpq could not make a connection object: %s%s%s",
                       *words != '\0' ? words : "no answer from the supervisor in time",
                       service != NULL
                           ? " (PGSERVICE is set in the environment, and libpq looks it up whatever else is "
                             "asked: unset it, value: "
                           : "",
                       service != NULL ? service : "");
        if (service != NULL && strlen(message) + 2 < size)
            memcpy(message + strlen(message), ")", 2);
        return false;
    }
    loan->socket = PQsocket(loan->conn);
    if (PQregisterEventProc(loan->conn, lease_event, "pglend", loan) == 0 || !remember_facts(loan)) {
        (void)snprintf(message, size, "out of memory for a connection object");
        return false;
    }
    return true;
}

static bool is_whole(const struct loan *loan)
{
    return PQstatus(loan->conn) == CONNECTION_OK && PQsocket(loan->conn) == loan->socket;
}

bool adopt_arm(struct loan *loan)
{
    if (!is_whole(loan))
        return false;
    /* Said before and unsaid behind: a child that is forked in between gets the dead socket. */
    if (!atomic_exchange(&loan->armed, true) && dup3(loan->lent, loan->socket, O_CLOEXEC) == -1) {
        loan->armed = false;
        return false;
    }
    (void)PQsetNoticeReceiver(loan->conn, loan->hooks.receiver, NULL);
    return true;
}

bool adopt_disarm(struct loan *loan)
{
    bool away = loan->conn == NULL || loan->socket == -1 || PQsocket(loan->conn) != loan->socket;

    while (!away && dup3(adopt_dead_socket(), loan->socket, O_CLOEXEC) == -1)
        if (errno != EINTR && errno != EBUSY) {
            /* Whoever has it next must have it alone: better nobody has. */
            (void)shutdown(loan->socket, SHUT_RDWR);
            return false;
        }
    loan->armed = false;
    return true;
}

void adopt_free(struct loan *loan)
{
    if (loan->conn != NULL) {
        (void)adopt_disarm(loan);
        loan->state = LOAN_ENDING;
        PQfinish(loan->conn);
    }
    if (loan->lent != -1)
        (void)close(loan->lent);
    for (size_t i = 0; i < PARAMETERS_CHECKED; i++)
        free(loan->parameter[i]);
    free(loan);
}

/* ---- what state is it in ---- */

/* Is VALUE of parameter I what the lease's context made it? */
static bool is_context(const struct loan *loan, size_t i, const char *value)
{
    return i == APPLICATION_NAME && loan->named[0] != '\0' && value != NULL && strcmp(value, loan->named) == 0;
}

static bool parameters_unchanged(const struct loan *loan, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *now = PQparameterStatus(loan->conn, parameters[i]), *then = loan->parameter[i];

        if (now != then && (now == NULL || then == NULL || strcmp(now, then) != 0) && !is_context(loan, i, now))
            return false;
    }
    return true;
}

enum rest adopt_rest(struct loan *loan, bool all_parameters)
{
    PGconn *conn = loan->conn;
    PGnotify *notify;

    if (!is_whole(loan))
        return WRECKED;
    if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF && PQexitPipelineMode(conn) == 0)
        return BUSY;
    switch (PQtransactionStatus(conn)) {
    case PQTRANS_IDLE:
        break;
    case PQTRANS_INTRANS:
    case PQTRANS_INERROR:
        return PQflush(conn) == 0 ? IN_TRANSACTION : BUSY;
    case PQTRANS_ACTIVE:
        return BUSY;
    case PQTRANS_UNKNOWN:
        return WRECKED;
    }
    if (PQflush(conn) != 0)
        return BUSY;
    while ((notify = PQnotifies(conn)) != NULL)
        PQfreemem(notify);
    /* The first two decide how libpq quotes; all must be what the next borrower of this object believes. */
    if (PQclientEncoding(conn) != loan->encoding ||
        !parameters_unchanged(loan, all_parameters ? PARAMETERS_CHECKED : 1))
        return CHANGED;
    return AT_REST;
}

/* What the server says while a lease ends is not the application's, and libpq's own receiver would print it. */
static void hear_nothing(void *context, const PGresult *notice)
{
    (void)context;
    (void)notice;
}

bool adopt_restore_hooks(struct loan *loan)
{
    PGconn *conn = loan->conn;

    (void)PQsetNoticeReceiver(conn, hear_nothing, NULL); /* until it is lent again */
    (void)PQsetNoticeProcessor(conn, loan->hooks.processor, NULL);
    (void)PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    (void)PQsetErrorContextVisibility(conn, PQSHOW_CONTEXT_ERRORS);
    PQuntrace(conn);
    /* Changing the mode sends what is not sent yet and waits for that; busy, this object is not kept anyway. */
    if (PQtransactionStatus(conn) == PQTRANS_ACTIVE)
        return false;
    /* An error message may quote the last borrower's data. Changing the mode is the public call that empties it. */
    if (*PQerrorMessage(conn) != '\0' && !PQisnonblocking(conn))
        (void)PQsetnonblocking(conn, 1);
    if (PQisnonblocking(conn))
        (void)PQsetnonblocking(conn, 0);
    return empty_result_size(conn) == loan->hooks.events;
}

/* ---- mending ---- */

bool adopt_await(PGconn *conn, uint64_t until)
{
    PGresult *result;
    bool ok = true;

    for (;;) {
        while (PQisBusy(conn)) {
            int unsent = PQflush(conn);

            if (unsent == -1 || !wait_for(PQsocket(conn), unsent == 1 ? POLLIN | POLLOUT : POLLIN, until) ||
                PQconsumeInput(conn) == 0)
                return false;
        }
        result = PQgetResult(conn);
        if (result == NULL)
            return ok && PQstatus(conn) == CONNECTION_OK;
        switch (PQresultStatus(result)) {
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
        case PGRES_EMPTY_QUERY:
            break;
        case PGRES_COPY_IN:
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH:
            PQclear(result); /* libpq says so again and again, until somebody copies */
            return false;
        default:
            ok = false;
        }
        PQclear(result);
    }
}

/* One statement to its end. True: it succeeded. */
static bool run(PGconn *conn, const char *sql, uint64_t until)
{
    return PQsendQuery(conn, sql) == 1 && adopt_await(conn, until);
}

bool adopt_mend(struct loan *loan, const char *sql, uint64_t until)
{
    PGconn *conn = loan->conn;
    bool ok = PQsetnonblocking(conn, 1) == 0;

    ok = ok && (PQtransactionStatus(conn) == PQTRANS_IDLE || run(conn, "ROLLBACK", until));
    ok = ok && (sql == NULL || run(conn, sql, until));
    return ok && PQsetnonblocking(conn, 0) == 0;
}

bool adopt_flush(struct loan *loan, uint64_t until)
{
    int unsent;

    /* Leaving blocking mode, libpq would wait without bound for a server that does not read. */
    if (!PQisnonblocking(loan->conn) && !wait_for(loan->lent, POLLOUT, clock_ns() + FULL_NS))
        return false;
    if (PQsetnonblocking(loan->conn, 1) != 0)
        return false;
    while ((unsent = PQflush(loan->conn)) == 1)
        if (!wait_for(PQsocket(loan->conn), POLLIN | POLLOUT, until) || PQconsumeInput(loan->conn) == 0)
            return false;
    return unsent == 0;
}

/* ---- the pipelined reset ---- */

bool adopt_send_reset(const struct loan *loan, const char *sql)
{
    unsigned char bytes[RESET_QUERY_MAX + 16];
    struct pg_buffer query = {.at = bytes, .size = sizeof bytes};

    pg_query(&query, sql);
    return !query.overflow &&
           send(loan->lent, bytes, query.length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)query.length;
}

static bool parameter_believed(void *context, const char *name, const char *value)
{
    const struct loan *loan = context;
    const char *known = PQparameterStatus(loan->conn, name), *before = loan->parameter[APPLICATION_NAME];

    if (known != NULL && strcmp(known, value) == 0)
        return true;
    /* The reset takes a lease's name back, of which this object hears at its next lease, with that one's name. */
    return loan->named[0] != '\0' && before != NULL && strcmp(name, parameters[APPLICATION_NAME]) == 0 &&
           strcmp(value, before) == 0;
}

enum reader_state adopt_settle(struct loan *loan, unsigned how, uint64_t until)
{
    struct reset_reader reader;
    bool due = (how & SETTLE_DUE) != 0;
    enum reader_state state = due ? READER_MORE : READER_CLEAN;
    unsigned char bytes[1024];

    if ((how & SETTLE_EARLY) != 0 && !wait_for(loan->lent, POLLIN, until))
        return state;
    reader.due = due;
    reader.discard_all = (how & SETTLE_DISCARD_ALL) != 0;
    reader.completed = false;
    reader.parameter = parameter_believed;
    reader.row = NULL;
    reader.context = loan;
    reader.head_length = 0;
    for (;;) {
        ssize_t got = recv(loan->lent, bytes, sizeof bytes, MSG_DONTWAIT);

        if (got > 0)
            state = reset_reader_take(&reader, bytes, (size_t)got);
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return READER_BROKEN;
        else if (state == READER_CLEAN || (state == READER_MORE && !wait_for(loan->lent, POLLIN, until)))
            return state;
        /* Behind a whole answer the session's end may stand. */
        if (state == READER_BROKEN ||
            (state == READER_CLEAN && (how & SETTLE_ALIVE) != 0 && got < (ssize_t)sizeof bytes))
            return state;
    }
}
