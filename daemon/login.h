/* SPDX-License-Identifier: ISC */
/*
 * login.h - what the short-lived processes share: their job, the password file, libpq's trace, the conninfo string.
 */
#ifndef PGLEND_LOGIN_H
#define PGLEND_LOGIN_H

#include "daemon.h"
#include "sandbox.h"

#include <libpq-fe.h>
#include <openssl/types.h>

/* job.c: what the keeper asks of a login, a cancel, a reload; keeper_job.c makes it */
struct job {
    json_t *json;
    const char *task, *name, *user, *group; /* of json; name: the pool's */
    int secret;                             /* what the last login succeeded with, see secret_read(); -1: nothing */
};
/* First thing in such a process: harden, take the JOB from CHANNEL_FD, set the log. Exits if there is none. */
void job_take(const char *process, struct job *job);
/* The next one, in a process that does several; _exits if none comes. */
void job_take_another(const char *process, struct job *job);
/* Become the job's user for good, and die with the keeper from now on. Exits if that cannot be. */
void job_settle(const struct job *job, enum sandbox_process process);
/* As the job says. */
void job_confine(const struct job *job, enum sandbox_process process);
/* The latter alone, for one that keeps the keeper's rights. */
void job_die_with_keeper(void);
/* "pglendd: NAME" is what ps(1) shows from now on, as far as there is room. */
void job_retitle(const char *name);
/* Send the answer; _exits with 1 if that cannot be. FD: -1 for none. */
void job_say(const struct message *m, int fd);
/* The same, and _exit: 0. */
_Noreturn void job_answer(const struct message *m, int fd);

/* password.c */
#define PASSWORD_MAX 4096
/* Read the password in PATH's one line. 0, or -1 with a message that names file, mode, owner and what to do. */
int password_read(const char *path, char password[PASSWORD_MAX], char *error, size_t size);

/*
 * Strip the newline from PASSWORD, LENGTH bytes with room for a NUL. 0, or -1 with a message that begins with WHAT:
 * what is left is not one line.
 */
int password_check(const char *what, char *password, size_t length, char *error, size_t size);

/* password_command.c: run COMMAND, for BOUND_MS at most. 0 with what it said, or -1 with a message. */
int password_ask(const struct string_list *command, int64_t bound_ms, char password[PASSWORD_MAX], char *error,
                 size_t size);

/* secret.c: PASSWORD in a memory file, which others keep without reading it. -1: that cannot be had. */
int secret_make(const char *password);
/* False: there is none. */
bool secret_read(int fd, char password[PASSWORD_MAX]);

/* Changes whenever the file does; 0: there is none to be seen. */
uint64_t password_stamp(const char *path);

/* trace.c: what libpq prints of a session's start, as PQtrace and as error message */
#define TRACE_NAMES_MAX 64
#define TRACE_KEY_MAX   512 /* hexadecimal digits */
struct trace {
    char name[TRACE_NAMES_MAX][NAME_FIELD]; /* of ParameterStatus, each once */
    size_t names;
    int32_t backend_pid;
    char key[TRACE_KEY_MAX + 1]; /* cancel key in hexadecimal; "" if there was none or it could not be read */
};
/* Bytes of LENGTH hexadecimal digits; 0 if they are not such, or more than SIZE bytes. */
size_t trace_hex(const char *text, size_t length, unsigned char *bytes, size_t size);
/* LIBPQ_VERSION: PQlibVersion(), which decides how the key is printed. */
void trace_parse(const char *text, size_t length, int libpq_version, struct trace *trace);
/*
 * PQerrorMessage() under PQERRORS_VERBOSE, which is the only public way to the SQLSTATE of a login that was refused
 * before AuthenticationOk (the trace does not show that ErrorResponse): one line as it would read without the
 * verbosity, and the last SQLSTATE in it, "" if there is none.
 */
void trace_error(const char *verbose, char *line, size_t size, char sqlstate[6]);

#define CONNINFO_MAX 32768

/* login_ask.c: ask the server about the session of the job's pid; *ANSWER is what it said */
void ask_cancel(const struct job *job, PGconn *conn, struct message *answer);
void ask_state(const struct job *job, PGconn *conn, struct message *answer);

/* login_role.c: a job may name an address: connect to that, whatever CONNINFO says. False: there cannot be such */
bool role_aim(const struct job *job, char conninfo[CONNINFO_MAX]);
/* Ask the server whether it is what the job's attrs want. */
void ask_role(const struct job *job, PGconn *conn, struct message *answer);

/* login_init.c: run the pool's init_query. False: why not is in WHY, and the session is of no use */
bool init_session(PGconn *conn, const char *sql, const struct trace *trace, char *why, size_t size);

/*
 * login_why.c: from now on remember why OpenSSL did not trust a server, and add that and what to do to a LINE of libpq
 */
void login_why_watch(void);
void login_why(char *line, size_t size);
/* False, with a message: there is a list of revoked certificates to go by, and it cannot be read. */
bool login_has_revoked(const struct database_config *database, char *error, size_t size);

/*
 * login_facts.c: all that is said of the new session into M's text. False: why not is in WHY. PGLEND_NO_CANCEL_KEY in
 * the environment makes its cancel key an unreadable one.
 */
bool login_facts(struct message *m, PGconn *conn, const struct trace *trace, char *why, size_t size);

/* cancel.c: wait for EVENTS of poll until UNTIL (ms of CLOCK_MONOTONIC): 0, or -1 with errno */
int cancel_wait(int sock, short events, int64_t until);
/*
 * cancel_tls.c: speak TLS on SOCK, newly connected and non-blocking, as TLS says (the job's member "tls"), and send
 * REQUEST. DONE: it is sent; else why not is in WHY.
 */
enum cancel_status cancel_tls(int sock, const json_t *tls, const unsigned char *request, size_t size, int64_t until,
                              char *why, size_t why_size);

/*
 * login_detach.c: take the TLS session from CONN, which is gone then, and its socket, in *SERVER; and wipe from this
 * process's memory what libpq knew. NULL, with errno: one of that cannot be, and the process is of no use any more.
 */
SSL *login_detach(PGconn *conn, int *server);

/*
 * relay.c: be the way between a TLS session, on the socket SERVER, and BASE until one of the two ends, and, if STRICT,
 * in its place the sockets of single leases that come over it
 */
_Noreturn void relay_run(const struct job *job, SSL *ssl, int server, int base, bool strict);

/* conninfo.c */
/* The environment says nothing to libpq: no PG variable but pglend's own, HOME of the present user. */
void conninfo_environment(const struct database_config *database);
/* Every keyword that has a value, as one string. 0, or -1 with a message. */
int conninfo_make(const struct pool_config *pool, const char *password, char conninfo[CONNINFO_MAX], char *error,
                  size_t size);
/* The value that KEYWORD has in OPTIONS; "": none. */
const char *conninfo_value(const PQconninfoOption *options, const char *keyword);
/* May what is said to a server on another host be read or changed on the way, under OPTIONS? */
bool conninfo_is_insecure(const PQconninfoOption *options);

#endif
