/* SPDX-License-Identifier: ISC */
/*
 * stand.h - what fuzzers stand on: a real supervisor in a thread of the fuzzer, so that what it executes is seen.
 *
 * Its keeper is another thread, which answers each of its wishes as the real one would; the other end of each session
 * is the fuzzer's to write to. Input is cut up by the functions below, which never run out: they return zeros then.
 */
#ifndef PGLEND_TESTS_STAND_H
#define PGLEND_TESTS_STAND_H

#include "daemon.h"
#include <stddef.h>
#include <stdint.h>

#define STAND_SLOTS     4
#define STAND_BORROWERS 8

/* The pools; sessions of the last one, which is strict, are relayed in every other slot. Its workers must be root. */
enum stand_pool { STAND_CLINIC, STAND_LAB, STAND_WARD, STAND_POOLS };

int LLVMFuzzerInitialize(const int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Once. Ends the process if it cannot. */
void stand_start(void);
/* A connection to one of the supervisor's sockets; every wait on it is bounded. */
int stand_connect(enum listener which);
/* Say that no more is sent, and wait until the supervisor has closed its end, or for MS; close. */
void stand_finish(int sock, unsigned ms);
/* What the server of the session in SLOT sends; or it answers what it was asked, as a server would. */
void stand_serve(enum stand_pool pool, uint32_t slot, const void *bytes, size_t length);
void stand_answer(enum stand_pool pool, uint32_t slot);
/* A hello that is admitted: the worker's index, and the segment; its descriptor is closed. False: it was refused. */
bool stand_greet(int sock, enum stand_pool pool, uint32_t *worker, struct segment *segment);

struct input {
    const uint8_t *at;
    size_t left;
};
uint8_t input_byte(struct input *in);
uint32_t input_word(struct input *in); /* two bytes */
uint64_t input_long(struct input *in); /* eight */
/* At most LENGTH bytes of what is left. */
const uint8_t *input_bytes(struct input *in, size_t length, size_t *got);

/* A property of the code does not hold: say so and die, so that the input is kept. */
#define fuzz_require(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fuzz_failed(#condition, __FILE__, __LINE__);                                                               \
    } while (0)
_Noreturn void fuzz_failed(const char *condition, const char *file, int line);

#endif
