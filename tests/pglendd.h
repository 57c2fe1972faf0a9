/* SPDX-License-Identifier: ISC */
/*
 * pglendd.h - a private pglendd in front of a private PostgreSQL.
 *
 * Its one pool "clinic" lends sessions of role clinic in database clinic, by password file, over the Unix socket: 0 to
 * 4 of them, to whoever runs the tests and to the unprivileged account. Where PGLEND_TEST_STRICT is set and the tests
 * run as root, its pools have isolation strict, but for those whose reset that does not allow. OVERRIDES, an object in
 * JSON where ' stands for ", is laid over that: "{'pools': {'clinic': {'size': {'max': 1}}}}".
 */
#ifndef PGLEND_TESTS_PGLENDD_H
#define PGLEND_TESTS_PGLENDD_H

#include "postgres.h"
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct pglendd {
    char directory[64];     /* of everything below */
    char runtime_dir[80];   /* for pglend_open() */
    char config[80];        /* path */
    char log[80];           /* path of what it wrote to standard error */
    char password_file[80]; /* of pool clinic */
    pid_t pid;              /* of the keeper; 0: not running */
    bool as_root;
};

/* Is it run with isolation strict, for the tests' sake? */
bool pglendd_is_strict(const struct pglendd *d);

/* Started as whoever runs the tests: as root, it drops to nobody. Ready, admin.sock answers, when this returns. */
struct pglendd *pglendd_start(const struct postgres *server, const char *overrides);
/* Started by the unprivileged account, where the tests run as root. */
struct pglendd *pglendd_start_unprivileged(const struct postgres *server, const char *overrides);
/* SIGTERM, and wait for its end; fails the test unless it exits 0 and leaves no process and no shared memory. Frees. */
void pglendd_stop(struct pglendd *d);
/* SIGKILL the keeper, wait until all of its processes have gone. pglendd_resume() or pglendd_free() may follow. */
void pglendd_kill(struct pglendd *d);
/* Start again with the same configuration and directory. */
void pglendd_resume(struct pglendd *d);
/* After a kill: remove files and shared memory. */
void pglendd_free(struct pglendd *d);

/* Run one more pglendd on the same configuration, to its end: exit status. What it says is in D's log. */
int pglendd_run(const struct pglendd *d);

/* Connect to one of its sockets: "worker.sock", "admin.sock", ".s.PGSQL.6432". What does not go on in 10 s fails. */
int pglendd_connect(const struct pglendd *d, const char *name);

/* Write the configuration anew with OVERRIDES; it is for the caller to ask for a reload. */
void pglendd_configure(struct pglendd *d, const struct postgres *server, const char *overrides);
/* Set up an audit trail, alone in the harness's directory; its verification key is in PATH.key. */
void pglendd_trail(char path[128]);
/* How many lines of its log have TEXT. */
unsigned pglendd_logged(const struct pglendd *d, const char *text);

/* One request on admin.sock; ARGUMENTS as OVERRIDES above or NULL. The whole answer; caller decrefs. */
json_t *pglendd_request(const struct pglendd *d, const char *command, const char *arguments);
/* The result of a request that must succeed. */
json_t *pglendd_result(const struct pglendd *d, const char *command, const char *arguments);
/* Pool clinic's "idle", "leased", "waiting", …, from `pools`. */
int pglendd_count(const struct pglendd *d, const char *field);
/* The keeper's child whose title starts with "pglendd: PROCESS"; 0: none. */
pid_t pglendd_process(const struct pglendd *d, const char *process);
/* Signal that process, which must be there (kill() takes 0 for all of the test's own). Its pid. */
pid_t pglendd_signal(const struct pglendd *d, const char *process, int signal);
/* Is there one now, and another than the one that was OLD? */
bool pglendd_has_another(const struct pglendd *d, const char *process, pid_t old);
/* SIGKILL it, and wait for the one that the keeper starts in its place. That one's pid. */
pid_t pglendd_replace(const struct pglendd *d, const char *process);

#endif
