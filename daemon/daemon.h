/* SPDX-License-Identifier: ISC */
/*
 * daemon.h - pglendd's table of contents: what its processes and modules offer each other.
 *
 * One program, several processes, told apart by argv[0] ("pglendd: login clinic"): the keeper executes
 * /proc/self/exe anew for each of the others, so that none inherits memory of another. Each has its channel to the
 * keeper as descriptor 3.
 */
#ifndef PGLEND_DAEMON_H
#define PGLEND_DAEMON_H

#include "config.h"
#include "lease.h"
#include "message.h"
#include "segment.h"
#include "wire.h"
#include <stdarg.h>
#include <sys/types.h>
#include <uv.h>

#define CHANNEL_FD     3
#define ADMIN_LINE_MAX 65536

/* main.c, keeper.c, supervisor.c, login.c, cancel.c, reload.c: the processes */
int keeper_main(struct config *config); /* takes CONFIG */
int supervisor_main(void);
int login_main(void);    /* title "login POOL" */
int cancel_main(void);   /* title "cancel POOL" */
int password_main(void); /* title "password POOL": looks whether a file changes */
int audit_main(void);    /* title "audit": writes the audit trail */
int reload_main(void);   /* title "config": reads the configuration again */

/* log.c: one line an event on standard error, as text or JSON. Never a secret, never query text. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
void log_open(const char *process); /* "keeper", "login clinic": stands in every line */
void log_set(enum log_level level, enum log_format format);
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool log_wanted(enum log_level level); /* would a line of it be written? */
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * Lines of one kind that a stranger can cause as often as it likes: each is written only if log_permitted(), which
 * withholds all but the first few of a period; "KIND: ... and N more in the last 10 s" follows at its end.
 */
struct log_limit {
    const char *kind;
    struct log_limit *next;
    time_t since; /* the period's begin; CLOCK_MONOTONIC */
    unsigned written, withheld;
};
bool log_permitted(struct log_limit *limit);
/* Say what is due by now: what was withheld, and how many lines standard error did not take. Once a second. */
void log_tick(void);
/* Start-up errors and broken invariants only: never reached by what the outside sends. Exits with STATUS. */
_Noreturn void fatal(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Before it exits, fatal() calls TELL with what it said. NULL: no more. */
void fatal_tell(void (*tell)(const void *context, const char *text), const void *context);

/* facts.c: the start-up facts in a message's text, and in copies of it. False: no room. A NULL value says nothing */
bool fact_add(struct message *m, const char *name, const char *value);
/* VALUE, or NULL if FACTS (NULL: there are none) do not have it; cut to SIZE */
const char *fact_value(const char *facts, const char *name, char *value, size_t size);
/* the same, taken out of FACTS; for free(). NULL too where memory is out */
char *fact_take(char *facts, const char *name);

/* channel.c: messages between two of our processes over a SOCK_SEQPACKET pair, in the uv loop, never blocking */
struct channel;
/*
 * MESSAGE is checked (length, terminated strings) and valid during the call; FD is the receiver's or -1. MESSAGE NULL:
 * the other end is gone (called once; the channel may be closed from within the call).
 */
typedef void channel_receive(void *context, const struct message *message, int fd);
struct channel *channel_open(uv_loop_t *loop, int sock, channel_receive *receive, void *context);
/* Queue MESSAGE; FD (-1: none) is duplicated. Sent in order. */
void channel_send(struct channel *channel, const struct message *message, int fd);
/* The other end's process has ended: take what it sent before, without waiting for the loop. */
void channel_drain(struct channel *channel);
/* Stop and close; what is queued is dropped. Freed by the loop. */
void channel_close(struct channel *channel);
/* Blocking forms for login and cancel. 0, or -1 with errno. */
int channel_send_blocking(int sock, const struct message *message, int fd);
int channel_receive_blocking(int sock, struct message *message, int *fd);
/* Fill a message. TEXT may be NULL; it is cut at MESSAGE_TEXT_MAX - 1 bytes. */
void message_make(struct message *m, enum message_verb verb, const char *pool, uint32_t slot, const char *text);

/* login_role.c: what tells whether a server is what target_session_attrs ATTRS wants; NULL: any server is */
struct role_question {
    const char *sql, *answer; /* a statement of one row and column; what it says if so */
};
const struct role_question *role_question(const char *attrs);

/* listening.c: accept on a socket, in the uv loop; out of descriptors it pauses instead of spinning */
struct listening {
    uv_poll_t poll;
    uv_timer_t pause;
    int fd;
    void (*accepted)(void *context, int fd); /* takes FD: close-on-exec, non-blocking */
    void *context;
};
int listening_start(struct listening *l, uv_loop_t *loop, int fd, void (*accepted)(void *context, int fd),
                    void *context);
/*
 * Nobody sends descriptors to SOCK, where the kernel can see to it; elsewhere it drops them as they are received
 * without room for one (wire.h), but only after they hung in the socket.
 */
void descriptors_refuse(int sock);

/*
 * Strict isolation over TLS: the socket of a lease to come is with the relay before the lease is anybody's. Who has it
 * is told without a message that would wake the relay, by a status flag (fcntl(2), F_SETFL) of the open file that both
 * share; to a socket it means nothing else.
 */
#define LEASE_IS_OUT O_APPEND

/* random.c: for the supervisor alone; COUNT is 256 at most, DIGITS even and 128 at most. OUT: that many, and a NUL. */
void random_bytes(void *out, size_t count);
void random_hex(char *out, size_t digits);

/* privilege.c: users, groups, capabilities */
/* Become USER and GROUP for good when root (initgroups, setresgid, setresuid, verified); nothing otherwise. */
int privilege_drop(const char *user, const char *group, char *error, size_t size);
/* No core dumps, no ptrace by the same user, no gain of privileges by exec; called in every process. */
void privilege_harden(void);
/* LENGTH bytes that will hold a secret: in no dump, and not swapped where the limit of locked memory allows it. */
void privilege_guard(void *from, size_t length);
/* As many descriptors as the hard limit allows; processes started later inherit it. */
void privilege_raise_descriptors(void);
/* A keeper that is root: give up all capabilities but the few it needs. 0, or -1 with a message. */
int privilege_keep_few(const struct config *config, char *error, size_t size);
/* Home directory of the present user. 0, or -1 if there is none. */
int privilege_home(char *home, size_t size);
/* The user and group pglendd's unprivileged processes run as, resolved from the configuration. */
struct run_as {
    uid_t uid;
    gid_t gid;
    char user[NAME_FIELD];
};
int privilege_resolve(const struct config *config, struct run_as *as, char *error, size_t size);
/* The user the audit process runs as: USER, that of the others, where neither configuration nor system has another. */
int privilege_resolve_audit(const struct config *config, const char *user, char *name, size_t size, char *error,
                            size_t error_size);

/* identity.c: who a peer is, by the kernel's word */
struct identity {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    int pidfd; /* -1 if it could not be had */
    uint64_t start_time;
    gid_t groups[64]; /* supplementary, as of the call */
    size_t group_count;
};
/* 0, or -1 with a message. PGLEND_NO_PEERPIDFD in the environment forces the pidfd_open fallback. Close the pidfd. */
int identity_of_peer(int sock, struct identity *who, char *error, size_t size);
/* Start time of PID from /proc, or 0. */
uint64_t identity_start_time(pid_t pid);
/* Does ACCESS name this peer by user, group or supplementary group? Names count as names_take() was told. */
bool identity_allowed(const struct identity *who, const struct access_config *access);
/* Name of UID, or its number. Asks a directory service, maybe: not for an event loop. */
const char *identity_user_name(uid_t uid, char name[64]);
/* The process itself has ended: what was read by its number since may be another's. */
bool identity_ended(const struct identity *who);
/* The other end of SOCK is closed, whatever is still to be read. */
bool identity_hung_up(int sock);
/* Path of the executable of PID; "[name]", which it chooses, where the kernel shows no more; "" if it is gone. */
void identity_executable(pid_t pid, char path[EXECUTABLE_MAX]);

/* names.c: the users and groups of the access lists, looked up by who reads the configuration, as text for the others
 */
/* Caller frees. NULL with errno (E2BIG: longer than a message). */
char *names_resolve(const struct config *config);
/* OLD, with what NEW says instead or besides; NEW alone if that is too long for a message. Caller frees. NULL: no
 * memory. */
char *names_merge(const char *old, const char *new);
/* Use TEXT in this process from now on. These look nothing up. */
void names_take(const char *text);
bool names_user_is(const char *name, uid_t uid);
bool names_group(const char *name, gid_t *gid);
const char *names_of_user(uid_t uid, char out[64]); /* or its number */

#endif
