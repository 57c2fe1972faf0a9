/* SPDX-License-Identifier: ISC */
/*
 * keeper.h - what the keeper keeps: descriptors, segments, listeners, children. All of it is memory of one
 * single-threaded process that handles no worker's bytes.
 */
#ifndef PGLEND_KEEPER_H
#define PGLEND_KEEPER_H

#include "daemon.h"

struct keeper;
struct child;

/* The backend in a slot, as its login handed it over. fd -1: none. */
struct keeper_slot {
    int fd;
    int32_t backend_pid;
    uint32_t generation;       /* of the last backend; grows by one with each */
    uint64_t connected;        /* when it logged in; ns */
    char *facts;               /* without the line of the cancel job */
    char *cancel_job;          /* JSON, with the cancel key; NULL: that could not be read */
    struct keeper_slot *spare; /* logged in beside it, to follow it; only the backend's own members are used */
    struct child *relay;       /* the process behind its socket; NULL: none, or it has ended */
    struct child *login;       /* under way */
    bool cancel_lost;          /* one may still hit it: see message.h */
};

struct keeper_pool {
    const struct pool_config *config; /* of keeper->config */
    char segment_name[SEGMENT_NAME_MAX];
    int segment_fd;
    int reader_fd; /* strict isolation: of the segment, for its workers; else -1 */
    uint32_t slots;
    uint32_t records; /* entries of the segment's ring, for the audit trail */
    struct keeper_slot *slot;
    char *steering;         /* what a supervisor must know to go on as the one before it was told to; NULL: nothing */
    struct child *password; /* waits for the file of a password that was refused to change */
    uint64_t refused_until; /* nobody tries that password before; ms of the loop */
    char *refusal;          /* what the server said of it; NULL: never */
    int secret;             /* a memory file with the password of the last login that had one; -1: none */
    uint64_t secret_stamp;  /* of the file it was read from */
};

/* A cancel that the supervisor asked for. */
struct cancel_wish {
    struct cancel_wish *next;
    struct keeper_pool *pool;
    uint32_t slot;
    uint32_t generation;
};

enum keeper_phase { KEEPER_SERVING, KEEPER_STOPPING, KEEPER_KILLING };

struct keeper {
    uv_loop_t loop;
    struct config *config;
    struct run_as run_as;        /* of the unprivileged processes */
    char secret[SECRET_HEX + 1]; /* for the supervisors: lets each know the cancel keys that the one before gave out */

    int lock;
    int listener[LISTENERS];
    struct keeper_pool *pool;
    size_t pools;

    struct child *children; /* all that run */
    struct child *supervisor;
    uint64_t supervisor_started; /* ms of the loop */
    uint64_t restart_delay;
    unsigned early_deaths; /* of supervisors, before the first of them served */
    bool served;
    bool failed; /* ends with status 1 */
    uv_timer_t restart_timer;

    struct cancel_wish *cancel_first, **cancel_last;
    size_t cancels_waiting, cancels_running;

    struct child *audit;                 /* the audit process */
    char audit_user[NAME_FIELD];         /* as whom it runs */
    uint64_t audit_started, audit_delay; /* ms of the loop */
    uv_timer_t audit_timer;

    struct child *reload;
    bool reload_again;
    char *names; /* names_resolve() of the configuration */

    enum keeper_phase phase;
    uv_timer_t stop_timer;
    uv_signal_t signal[3];
};

/* keeper.c */
struct keeper_pool *keeper_pool(struct keeper *k, const char *name);
/* Tell the supervisor, if there is one. */
void keeper_tell(struct keeper *k, const struct message *m, int fd);
/* A child was taken off the list. */
void keeper_child_gone(struct keeper *k);

/* keeper_runtime.c: what other processes find in the file system. -1 with a message. */
int runtime_open(struct keeper *k, char *error, size_t size);
void runtime_close(struct keeper *k);
/* Segments; one POOL's, after what the last run left was removed. */
int segments_open(struct keeper *k, char *error, size_t size);
int segment_open(struct keeper_pool *pool, const char *runtime_dir, char *error, size_t size);
void segment_close(struct keeper_pool *pool);

/* keeper_child.c: one process, its channel, its time */
struct child_kind {
    const char *role;                                                  /* as its title says it */
    void (*receive)(struct child *c, const struct message *m, int fd); /* takes FD */
    void (*ended)(struct child *c, const char *how);                   /* after its last message; HOW: "signal 9" */
    bool dropped;                                                      /* the unprivileged user from the start */
};
struct child {
    struct keeper *keeper;
    const struct child_kind *kind;
    struct child *next, **link;
    uv_process_t process;
    uv_timer_t timer;
    struct channel *channel;
    int handles_open;
    bool exited; /* its pid may be another's */
    bool timed_out;
    bool answered;  /* it did what it was started for */
    bool abandoned; /* nobody wants its answer any more */
    bool kept;      /* login: with the password that worked before, whatever that of the file is by now */

    struct keeper_pool *pool; /* login, cancel, password */
    uint32_t slot;
    uint32_t generation;
    char role[NAME_FIELD]; /* login: whom it logs in, as far as it has said that */
};
/* Start this program as "pglendd: ROLE POOL" (POOL may be NULL). NULL with a message in ERROR. */
struct child *child_start(struct keeper *k, const struct child_kind *kind, const char *pool, char *error, size_t size);
/* Kill it if it still runs after MS. */
void child_bound(struct child *c, uint64_t ms);
void child_kill(struct child *c);
/* It stays, and is not waited for any more: keeper_relay_gone() is all that follows. */
void child_detach(struct child *c);
/*
 * Give it its JOB: TASK with the members of DETAILS (taken; NULL: none) and what every job has. -1 if that cannot be
 * said in one message.
 */
int child_give_job(struct child *c, const char *task, json_t *details);

/* keeper_backend.c: logins and the backends they brought */
void keeper_login(struct keeper *k, const struct message *m);
void keeper_forget(struct keeper *k, const struct message *m);
void keeper_hand_over_backends(struct keeper *k);
void keeper_drop_backend(struct keeper_slot *slot);
void keeper_drop_slot(struct keeper_slot *slot); /* and its spare */
/* C, which had been detached, has ended. */
void keeper_relay_gone(const struct child *c);
/* The supervisor that asked is gone. */
void keeper_forget_logins(struct keeper *k);

/*
 * keeper_password.c: a login, whatever it is for, says M: that its password was refused, or that it was right, or
 * neither. After a refusal a process of its own looks whether the file changes, for it may lie on a network file system
 * that does not answer, or where the supervisor's user cannot look. PGLEND_PASSWORD_RETRY_MS in the environment
 * shortens the minute.
 */
void keeper_password_told(struct child *c, const struct message *m);
/* How long the password of POOL's file is still not to be tried, ms; 0: it may be. */
uint64_t keeper_password_wait(const struct keeper_pool *pool, const struct keeper *k);
/* May a login be tried, with that one or with the one that worked before? */
bool keeper_password_may(const struct keeper_pool *pool, const struct keeper *k);
const char *keeper_password_refusal(const struct keeper_pool *pool); /* what to say if not */
/* The configuration says another one, maybe: try that, if the last was refused. */
void keeper_password_anew(struct keeper_pool *pool, struct keeper *k);
/*
 * The password that a login of a pool succeeded with is in a memory file; the next one gets it, in case that it finds
 * another which is refused. Nobody here looks into it. What a login is to know of it is added to its job's DETAILS.
 */
json_t *keeper_give_secret(struct child *c, json_t *details);
/* True: M was a login's SECRET; FD (-1 and a text: the file's was refused, the one before was right) is taken. */
bool keeper_secret_told(struct child *c, const struct message *m, int fd);
void keeper_drop_secret(struct keeper_pool *pool);
/* POOL will be configured as NEXT says (NULL: not at all): what was another role's or server's is not kept. */
void keeper_judge_secret(struct keeper_pool *pool, const struct pool_config *next);

/* keeper_audit.c: the audit process, where one is configured */
int keeper_audit_open(struct keeper *k, char *error, size_t size); /* as whom it runs; -1 with a message */
void keeper_audit_start(struct keeper *k);
/* The supervisor or the audit process is a new one: join them, if both are there. */
void keeper_audit_join(struct keeper *k);
/* POOL's shared memory is a new one. */
void keeper_audit_segment(struct keeper *k, const struct keeper_pool *pool);
/* Is C the audit process? Then it was told to write its last records and end. */
bool keeper_audit_stop(struct keeper *k, const struct child *c);

/* keeper_cancel.c */
void keeper_cancel(struct keeper *k, const struct message *m);
/* The supervisor that asked is gone. What has been started goes on: the next one must know when it is through. */
void keeper_forget_cancels(struct keeper *k);
/* For the next one: what may still come over the backend in slot INDEX of POOL. */
enum cancel_status keeper_cancel_status(const struct keeper *k, const struct keeper_pool *pool, uint32_t index);

/* keeper_look.c: LOOK and PROBE */
void keeper_look(struct keeper *k, const struct message *m);
void keeper_forget_looks(struct keeper *k);

/* keeper_who.c: WHO */
void keeper_who(struct keeper *k, const struct message *m, int pidfd);

/* keeper_reload.c */
void keeper_reload(struct keeper *k);
/* A sealed memory file with the configuration in force, -1 with errno. */
int keeper_config_file(const struct config *config);

/* ready.c: tell those who started us */
void ready_open(void);
void ready_serving(void);
void ready_stopping(void);

#endif
