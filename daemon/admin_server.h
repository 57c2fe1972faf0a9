/* SPDX-License-Identifier: ISC */
/*
 * admin_server.h - the supervisor's side of admin.sock: connections (admin.c), requests (admin_request.c), commands
 * (admin_commands.c) and what they show (admin_report.c, admin_text.c).
 */
#ifndef PGLEND_ADMIN_SERVER_H
#define PGLEND_ADMIN_SERVER_H

#include "admin.h"
#include "supervisor.h"

#define ADMIN_CONNECTIONS_MAX 64

/*
 *  READING ──a line──► (its command runs) ──► WRITING ──all taken──► READING, or closed
 *                             ├─reload─► QUEUED ──► ASKED ──keeper's answer──► WRITING
 *                             └─to wait─► WAITING ──it holds, or time is up──► WRITING
 */
enum admin_phase {
    ADMIN_READING,
    ADMIN_QUEUED,
    ADMIN_ASKED,
    ADMIN_WAITING,
    ADMIN_WRITING,
    ADMIN_CLOSING,
    ADMIN_PHASES
};

struct admin_connection {
    struct supervisor *supervisor;
    struct admin_connection *next;
    enum admin_phase phase;
    uv_pipe_t pipe;
    uv_timer_t timer; /* how long the phase may last */
    int handles_open;
    struct identity peer; /* its pidfd is closed already */
    char executable[EXECUTABLE_MAX];
    bool (*over)(struct admin_connection *c);        /* WAITING */
    const char *(*left)(struct admin_connection *c); /* WAITING */
    const struct admin_verb *verb;                   /* of a request of admin_steer.c */
    uint64_t until;                                  /* how long it may wait; ns */
    uint32_t serial;                                 /* of the audit event that an override waits for */
    bool denial_logged;
    const char *command; /* its name, a row's; NULL: none of them */
    bool last;           /* close when the answer has been taken */
    json_t *id;          /* of the request that is being answered */
    json_t *args;        /* its arguments: strings, of the names its row has */
    json_t *result;      /* of one that waits, where it is not what became of the pools; NULL: it is */
    uv_write_t write;
    char *output;
    size_t length;
    char line[ADMIN_LINE_MAX];
};

/* admin.c: send ANSWER (taken; NULL: out of memory) as one line, which ends the request. */
void admin_send(struct admin_connection *c, json_t *answer);
/* Ask the keeper to reload; the request is answered when the keeper has. */
void admin_ask_reload(struct admin_connection *c);

/*
 * Ask OVER now and every few milliseconds, until it has answered the request and says so; or LEFT once, when the peer
 * is gone: what becomes of the command.
 */
void admin_await(struct admin_connection *c, bool (*over)(struct admin_connection *c),
                 const char *(*left)(struct admin_connection *c));

/* admin_request.c: understand LINE, check who may, run the command. The request is answered exactly once. */
void admin_request(struct admin_connection *c, const char *line, size_t length);
/* The highest role of C's peer, override aside, or -1. */
int admin_peer_role(const struct admin_connection *c);
void admin_answer(struct admin_connection *c, json_t *result); /* takes RESULT; NULL: out of memory */
void admin_fail(struct admin_connection *c, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The pools that the request is about: those its argument "pool" names, separated by blanks, else all. Names that there
 * are not: false, answered already.
 */
bool admin_names_known(struct admin_connection *c);
bool admin_is_chosen(const struct admin_connection *c, const struct pool *pool);

/* admin_steer.c: the commands that change what a pool does, and may wait until it has come about */
struct admin_verb {
    const char *name;
    void (*act)(struct admin_connection *c, struct pool *pool, const char *by);
    bool (*settled)(const struct pool *pool); /* has it come about? */
    const char *unsettled;                    /* what holds it up, for the message of one whose time is up */
    unsigned wait_s;                          /* without "wait" */
};
/* Do VERB to each chosen pool, wait if that is wanted, and answer: c->result, or else what became of the pools. */
void admin_carry_out(struct admin_connection *c, const struct admin_verb *verb);
const char *admin_argument(const struct admin_connection *c, const char *name); /* NULL: not given */
bool admin_is_said(const struct admin_connection *c, const char *name);         /* given, and not "no" */
void command_pause(struct admin_connection *c);
void command_resume(struct admin_connection *c);
void command_disable(struct admin_connection *c);
void command_enable(struct admin_connection *c);
void command_resize(struct admin_connection *c);
void command_recycle(struct admin_connection *c);
/* admin_revoke.c */
void command_revoke(struct admin_connection *c);

/* admin_override.c */
void command_override(struct admin_connection *c);

/* admin_inventory.c */
void command_inventory(struct admin_connection *c);
/* One more of those of ARRAY that say the same as WHAT (taken over) in every member but "count". */
void admin_count_in(json_t *array, json_t *what);

/* admin_commands.c */
struct admin_command {
    const char *name;
    const char *arguments; /* names, separated by blanks */
    const char *usage;
    enum admin_role role;
    const char *help;
    void (*run)(struct admin_connection *c);
};
extern const struct admin_command admin_commands[];
extern const size_t admin_command_count;
/* The row called NAME, or NULL with the nearest name, or NULL, in *NEAR. */
const struct admin_command *admin_command_find(const char *name, const char **near);

/*
 * admin_text.c: at most SIZE bytes of TEXT, up to its NUL, as a JSON string. Whoever wrote TEXT need not have written
 * UTF-8: what is not becomes U+FFFD, as do control characters; line ends become blanks.
 */
json_t *admin_text(const char *text, size_t size);

/* admin_report.c: append what there is of POOL to ARRAY. False: out of memory. */
bool admin_report_pool(json_t *array, struct pool *pool);
bool admin_report_slots(json_t *array, struct pool *pool);
bool admin_report_waiters(json_t *array, struct pool *pool);
bool admin_report_stats(json_t *array, struct pool *pool);
bool admin_report_steered(json_t *array, struct pool *pool);
bool admin_report_override(json_t *array, struct pool *pool);
/* {"by", "reason", "left_s"} of the override in force, or null. */
json_t *admin_override_of(const struct pool *pool);
/* Several handles of one process are one row. */
bool admin_report_workers(json_t *array, const struct admin_connection *c);

#endif
