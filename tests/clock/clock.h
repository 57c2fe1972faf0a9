/* SPDX-License-Identifier: ISC */
/*
 * clock.h - the time of day of pglend's processes, as a test would have it. clock.so, preloaded, adds to it what is in
 * a file that they have mapped.
 */
#ifndef PGLEND_TESTS_CLOCK_H
#define PGLEND_TESTS_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CLOCK_FILE "PGLEND_CLOCK" /* the environment names the file: an _Atomic int64_t, in seconds */

#endif
