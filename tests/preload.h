/* SPDX-License-Identifier: ISC */
/*
 * preload.h - a test program under an object of its own, which is in all that it starts, too. They share a file.
 */
#ifndef PGLEND_TESTS_PRELOAD_H
#define PGLEND_TESTS_PRELOAD_H

#include <stddef.h>
#include <sys/types.h>

/*
 * For main(): the first time, execute the program again with OBJECT (below tests/ of the build) preloaded, and a new
 * file of SIZE bytes and MODE named in VARIABLE; then map that. Ends the program if it cannot.
 */
void *preload(char **argv, const char *object, const char *variable, mode_t mode, size_t size);
/* Remove the file. */
void preload_end(const char *variable);

#endif
