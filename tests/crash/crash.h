/* SPDX-License-Identifier: ISC */
/*
 * crash.h - kill or stop a process at a chosen point of its way, and look at what is left.
 *
 * A point is either an instruction (the nth time that the process comes by an address of the code under test) or a
 * system call (its nth stop at the entry to one or at its end). A script is first recorded, single-stepped, which tells
 * its points; then each point is tried in a process of its own.
 */
#ifndef PGLEND_CRASH_H
#define PGLEND_CRASH_H

#include "harness.h"
#include "pglendd.h"
#include "segment.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- code.c: the code under test ---- */

struct function {
    uint64_t from, to; /* as in the file: an address less the base that it is mapped at */
    char name[56];
};

struct code {
    char file[256];
    struct function *function; /* by address */
    size_t functions;
};

/* The functions of FILE; OBJECT, products up to a NULL: only those that they brought into FILE. Fails the test. */
void code_load(struct code *code, const char *file, const char *const object[]);
void code_free(struct code *code);
/* Where PID has FILE mapped; 0: nowhere. */
uint64_t code_base(const struct code *code, pid_t pid);
/* The function that OFFSET is in, NULL: none. */
const struct function *code_function(const struct code *code, uint64_t offset);
/* "lease_try+0x1c, client/lease.c:271" */
void code_name(const struct code *code, uint64_t offset, char text[256]);

/* ---- trace.c: a process under ptrace ---- */

enum point_kind { INSTRUCTION, SYSTEM_CALL };

struct point {
    enum point_kind kind;
    uint32_t nth;    /* time, from 1 */
    uint64_t offset; /* of an instruction */
};

struct trace {
    struct point *point;
    size_t points, size;
};
void trace_free(struct trace *trace);

struct breakpoint {
    uint64_t at;
    unsigned char byte; /* what is there without it */
};

struct tracee {
    pid_t pid;
    const struct code *code;
    uint64_t base;
    int memory; /* /proc/PID/mem */
    struct breakpoint *breakpoint;
    size_t breakpoints, size;
    uint64_t until_ms; /* of the run */
    bool ended;
    int status; /* as waitpid() says */
};

/* ENDED: the process ended first. TIME_UP: not within its time; it has been stopped. */
enum reached { REACHED, ENDED, TIME_UP };

/* PID is stopped when this returns. False: it may not be traced, or has ended. */
bool tracee_seize(struct tracee *t, pid_t pid, const struct code *code);
/* Single-step through the code under test until it ends or LIMIT_MS are over; adds the instructions to TRACE. */
enum reached tracee_record(struct tracee *t, struct trace *trace, unsigned limit_ms);
/* The same for system calls. */
enum reached tracee_record_calls(struct tracee *t, struct trace *trace, unsigned limit_ms);
/* Run to POINT; REACHED: it is stopped there. */
enum reached tracee_run(struct tracee *t, const struct point *point, unsigned limit_ms);
/* Let it go on untraced, or KILL_IT where it stands. */
void tracee_free(struct tracee *t, bool kill_it);

/* ---- mate.c: other workers of the pool, at a test's command ---- */

struct mate {
    struct worker_process process;
};

struct mate_answer {
    int status; /* PGLEND_OK, or why it failed */
    int backend;
    unsigned ms;
    char error[200];
};

enum mate_command {
    MATE_ACQUIRE = 'a',
    MATE_RELEASE = 'r',
    MATE_TOUR = 't', /* hold all slots at once, and give them back: their descriptors are known from then on */
    MATE_RELEASE_WHEN_WANTED = 'w' /* as soon as somebody waits, or the next command comes */
};

void mate_start(struct mate *mate, const struct pglendd *d);
void mate_tell(struct mate *mate, enum mate_command command);
/* The answer to the last command. False: none within SECONDS. */
bool mate_hear(struct mate *mate, struct mate_answer *answer, double seconds);
void mate_stop(struct mate *mate);

/* ---- check.c: the invariants, from outside ---- */

#define MATES        2   /* and as many slots */
#define MATE_SECONDS 8   /* deadline of their acquires */
#define RECLAIM_MS   200 /* I3: a dead worker's slot serves again */

struct campaign;

struct scene {
    char name[32]; /* of its sessions */
    struct pglendd *daemon;
    pid_t supervisor;
    struct segment segment;
    struct mate mate[MATES];
    struct mate_answer answer[MATES];
    char overrides[1500]; /* of its configuration; a reload is to bring acquire_timeout of RELOADS */
    unsigned reloads;
    PGconn *superuser; /* past pglend */
    bool strict;
    size_t supervisor_descriptors, keeper_descriptors;
    uint64_t since_ms;  /* when the slots' time to serve again began */
    unsigned within_ms; /* what it is; 0: none is measured */
    unsigned back_ms;   /* how long it took */
    bool late;          /* the slots came back too late, and nothing else is wrong */
    char why[600];      /* the invariant that failed */
};

/* The segment of pool clinic. */
void scene_map(const struct pglendd *d, struct segment *segment);
/* Has somebody gone to sleep waiting? What he does before that is the same each time. */
bool somebody_waits_in(const struct segment *segment);
/* Wait for the end of the supervisor's next sweep: there is none in the second after that. */
void scene_await_sweep(struct scene *scene);

/* Start a pglendd whose pool has as many slots as there are mates, and the mates. */
void scene_open(struct scene *scene, const struct campaign *campaign);
void scene_close(struct scene *scene);
void scene_abandon(struct scene *scene); /* the same where nothing can be expected of it */
/* All mates do COMMAND; or hear one's answer. False: WHY. */
bool scene_mates(struct scene *scene, enum mate_command command);
/* Each mate has had every session that there is. False: WHY. */
bool scene_tour(struct scene *scene);
bool scene_hear(struct scene *scene, int mate);
/* I3: from now on all slots must serve again within MS, as scene_holds() sees it. */
void scene_expect_back(struct scene *scene, unsigned ms);
/* After a fault: all slots serve, each is one session that nobody else has, and nothing is left over. False: WHY. */
bool scene_holds(struct scene *scene);
/* Does IS come true within SECONDS? */
bool scene_comes_true(struct scene *scene, bool (*is)(struct scene *scene), double seconds);
/* One borrower gets a session while another process stands still. False: WHY. */
bool scene_serves(struct scene *scene);

/* ---- act.c: what happens meanwhile ---- */

struct act {
    int (*prepare)(const struct scene *scene);
    int (*play)(const struct scene *scene);
    int status;      /* of the process, or its signal: what must come out */
    bool crowded;    /* the mates hold all slots meanwhile */
    bool oversleeps; /* it is stopped as it waits, and does not come for what it is granted */
    bool spares;     /* of the slots that are not the mates' one stays idle, with the session that it has */
    bool (*followed)(struct scene *scene); /* what must come true in the end; NULL: nothing */
};
/*
 * A new worker borrows; one dies with a lease; one has its lease revoked; one dies waiting; a session ends; the
 * configuration is another one; a sweep takes back what nobody came for.
 */
extern const struct act act_grant, act_reclaim, act_revoke, act_waiter, act_login, act_reload, act_sweep;
/* Every session is used, and whatever becomes of that given back. */
extern const struct act act_use;

#define ACTOR_UNSERVED 3 /* its status where there is no supervisor */

struct actor {
    struct scene *scene;
    const struct act *act;
    struct worker_process process;
};
/* It stands before its part. False: WHY. */
bool actor_start(struct actor *actor, const struct act *act, struct scene *scene);
void actor_go(struct actor *actor);
/* Its exit status, or signal; the mates are free again. False: WHY. */
bool actor_ends(struct actor *actor, int *status);

/* ---- trail.c: the audit trail ---- */

/* Make one; SETTINGS: members of the configuration; MORE of the trail's, or NULL. */
void trail_begin(char *settings, size_t size, const char *more);
/* Every lease that was lent since the last time began once and ended once. False: WHY. */
bool trail_is_exact(struct scene *scene);
/* The same of all of it. False: WHY. */
bool trail_balances(struct scene *scene);
/* It is whole, and nobody but its owner wrote it. False: WHY. */
bool trail_verifies(struct scene *scene);

/* ---- campaign.c: all points of some scripts, in several lanes ---- */

enum fault { KILL, STOP, FAULTS };

struct script {
    const char *name;
    bool stops;             /* each point is tried with STOP too */
    const void *parameters; /* for record() and attempt() */
};

struct campaign {
    const char *name;
    const char *pool;     /* more members of its configuration: ", 'key': …" */
    const char *database; /* the same of its database; NULL: none */
    const char *trail;    /* and of the audit trail */
    bool strict;          /* in strict isolation: skipped where there are not two users for it */
    bool audited;
    const struct code *code;
    const struct script *script;
    size_t scripts;
    void (*record)(struct scene *scene, const struct script *script, struct trace *trace);
    /* False: WHY. *REACHED: it came by the point. */
    bool (*attempt)(struct scene *scene, const struct script *script, const struct point *point, enum fault fault,
                    bool *reached);
};

/*
 * $CRASH_SECONDS (0.2) for each script, 0: until all points have been tried; of these, each $CRASH_EVERY-th (1), in
 * $CRASH_LANES (4) lanes; $CRASH_ONLY: part of the names of the scripts to try. Prints what was tried; fails the test
 * if a point failed, or none was reached.
 */
void campaign_run(const struct campaign *campaign);
/* As harness_main(); prints the totals of the program's campaigns at the end. */
int campaign_main(Suite *suite);
double campaign_bound(void); /* seconds that a test of it may take */

#endif
