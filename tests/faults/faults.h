/* SPDX-License-Identifier: ISC */
/*
 * faults.h - what a test tells the interposing object, faults.so, in memory that both have mapped.
 *
 * The object is preloaded into the test and all that it starts. While it is armed for a process, calls that the code
 * under test makes there are counted and listed; the nth of them fails.
 */
#ifndef PGLEND_FAULTS_H
#define PGLEND_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAULTS_FILE  "PGLEND_FAULTS" /* the environment names the file */
#define CALLS_MAX    20000
#define SHORT        (-1) /* no error: one byte is read or written, of more */
#define FUNCTION_MAX 32
#define TITLE_MAX    32
/* EINTR comes so often, at most. */
#define INTERRUPTIONS 100

/* What a function can fail with; the result besides errno is its row's in faults.c. */
enum failing {
    MEMORY,
    DESCRIPTOR,
    CONNECTING,
    SENDING,
    RECEIVING,
    WAITING,
    STORING,
    ASKING,
    SPAWNING,
    LIBRARY,
    FAILINGS
};

/* Whose calls fail. */
enum module { MODULE_LIBRARY, MODULE_LIBPQ, MODULE_DAEMON, MODULE_LIBUV, MODULES };

struct fault_call {
    uint64_t offset; /* of the return address in its module */
    uint8_t module;
    uint8_t failing;
    char function[FUNCTION_MAX];
};

struct fault_control {
    _Atomic pid_t pid; /* armed for; 0: nobody */
    /* Each process that starts by this title is what it is armed for from then on. */
    char title[TITLE_MAX];
    _Atomic bool titled; /* TITLE counts */
    _Atomic uint32_t starts;
    bool module[MODULES];
    /* The call that fails, from 1, and with what; 0: none does. */
    uint32_t nth;
    int error;
    bool for_ever; /* all later calls from the same place do, too */
    uint64_t place;
    _Atomic uint32_t hits;
    _Atomic uint32_t calls;
    struct fault_call call[CALLS_MAX];
};

#endif
