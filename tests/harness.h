/* SPDX-License-Identifier: ISC */
/*
 * harness.h - what every test program stands on.
 *
 * A program is one suite: main() makes its cases with harness_case() or harness_live_case() and ends with
 * harness_main(). Each test runs in a process of its own (Check's fork mode), with a bound on its time, and fails if
 * it leaves behind a descriptor, a process or, in a live case, a session of the server.
 */
#ifndef PGLEND_HARNESS_H
#define PGLEND_HARNESS_H

#include "postgres.h"
#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A case whose tests may each take SECONDS; its checks for leaks are in place. */
TCase *harness_case(Suite *suite, const char *name, double seconds);
/* The same for tests that need a PostgreSQL: harness_main() starts one for the program; harness_server() is it. */
TCase *harness_live_case(Suite *suite, const char *name, double seconds);
struct postgres *harness_server(void);

/* Run SUITE. Returns main()'s status. Everything the program started is ended and its directory removed. */
int harness_main(Suite *suite);

/* A directory for this program's files, /tmp/pglend-XXXXXX: others may enter it, so that no run as root is needed. */
const char *harness_directory(void);
/* Path of a product of the build, "pglendd": in $PGLEND_BUILD, or else build/. Static, until the next call. */
const char *harness_product(const char *name);
/* How often to do what is left to chance: ORDINARY times, and $PGLEND_TEST_ROUNDS times that. */
unsigned harness_rounds(unsigned ordinary);
/* The account that stands for "not root": uid and gid of nobody as root, else one's own. */
void harness_unprivileged(uid_t *uid, gid_t *gid);
/* Become it for good; nothing when not root. Ends the process if it cannot. */
void harness_drop(void);

/* Evaluates CONDITION every 2 ms until it is true; fails the test after SECONDS. */
#define wait_until(condition, seconds)                                                                                 \
    do {                                                                                                               \
        uint64_t deadline_ = harness_now_ms() + (uint64_t)((seconds)*1000);                                            \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(harness_now_ms() < deadline_, "not within %g s: %s", (double)(seconds), #condition);         \
            harness_sleep_ms(2);                                                                                       \
        }                                                                                                              \
    } while (0)
uint64_t harness_now_ms(void); /* CLOCK_MONOTONIC */
void harness_sleep_ms(unsigned ms);

/*
 * A worker: a forked child that runs WORK and exits with what it returns. WORK talks to the test over SOCK: one end
 * of a stream socket pair, the other of which is worker->sock. It may use ck_assert: what fails there is the test's
 * failure, and the worker exits with 1. It dies with the test, and fails if it leaks a descriptor.
 */
struct worker_process {
    pid_t pid;
    int sock;
};
typedef int worker_function(void *argument, int sock);
void worker_fork(struct worker_process *worker, worker_function *work, void *argument);
/* Say one byte, or hear one within SECONDS: the test fails if it does not come. Both ends use them. */
void say(int sock, char byte);
char hear(int sock, double seconds);
/* Wait for its end: exit status, or 128 + signal. Fails the test after SECONDS. */
int worker_wait(struct worker_process *worker, double seconds);
/* Kill and reap it. */
void worker_kill(struct worker_process *worker, int signal);
/* worker_fork() and worker_wait() in one; the test fails unless WORK returned 0. */
void in_worker(worker_function *work, void *argument, double seconds);

/* Children of PID, up to MAX of them; returns their number. Titles as ps shows them (argv). */
size_t process_children(pid_t pid, pid_t *child, size_t max);
void process_title(pid_t pid, char title[256]);
/* State letter as in ps ('Z': a zombie), 0: no such process. */
char process_state(pid_t pid);
size_t process_descriptors(pid_t pid);
/* The number after NAME in /proc/PID/status, in BASE; -1: not there. */
long long process_status(pid_t pid, const char *name, int base);

#endif
