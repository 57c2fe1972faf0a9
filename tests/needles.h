/* SPDX-License-Identifier: ISC */
/*
 * needles.h - secrets that must stay where they belong, looked for everywhere else.
 *
 * Needles are bytes; each search is for all of them at once. Only root may look into other processes, and only where
 * the kernel lets root trace. That a search would find them is shown on the test's own memory.
 */
#ifndef PGLEND_TESTS_NEEDLES_H
#define PGLEND_TESTS_NEEDLES_H

#include "pglendd.h"

#define NEEDLE_MAX 256

/* From now on; WHAT is said where it is found. */
void look_for(const char *what, const void *bytes, size_t length);
void look_no_more(size_t count); /* for the last COUNT of them */
/* A secret of DIGITS characters, at random: 64 are possible. */
void draw_secret(char *text, size_t digits);

/*
 * Hand VISIT all readable memory of PID, piece by piece, until it says true; false: the kernel does not let us. Pieces
 * overlap, so that whatever is no longer than a needle is whole in one, and a zero follows each.
 */
typedef bool visit_function(const char *bytes, size_t length, void *argument);
bool process_memory(pid_t pid, visit_function *visit, void *argument);

/* They fail the test where a needle is in memory, environment or arguments, or in a file, or nobody may look. */
void nowhere_in_process(pid_t pid);
void nowhere_in_children(pid_t parent); /* that live; one may end meanwhile */
void nowhere_in_directory(const char *directory);
/* It fails unless all needles are found in the test's own process. */
void everywhere_here(void);

/*
 * A worker that is forked before there is a secret: what it has of it, pglend gave it. It is sent runtime_dir, leases
 * NEEDLE_LEASES sessions of ROLE at once, gives back all but the first, says 'h' and stays until it hears something.
 */
#define NEEDLE_LEASES 3
int lease_and_stay(void *role, int sock);
/* The relays of those sessions, EXPECTED of them. */
void nowhere_in_relays(const struct pglendd *d, int expected);

/* Role clinic cannot log in any more, and that has failed: what libpq says of it goes to the log. */
void fail_a_login(const struct postgres *server, const struct pglendd *d);

#endif
