/* SPDX-License-Identifier: ISC */
/*
 * pgwire.h - the little of PostgreSQL's protocol (documentation, chapter 55) that both sides speak themselves: a query
 * written without waiting, its answer read later by somebody else, and the server's side of a start-up.
 */
#ifndef PGLEND_PGWIRE_H
#define PGLEND_PGWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Append to a buffer of fixed size. An overflow is remembered, not written. */
struct pg_buffer {
    unsigned char *at;
    size_t size, length;
    bool overflow;
};

void pg_bytes(struct pg_buffer *b, const void *bytes, size_t length);
void pg_int32(struct pg_buffer *b, uint32_t value);
void pg_string(struct pg_buffer *b, const char *text); /* with its NUL */
/* Begin a message of TYPE (0: without a type byte); pg_end() fills in its length. */
size_t pg_begin(struct pg_buffer *b, char type);
void pg_end(struct pg_buffer *b, size_t begun);
void pg_query(struct pg_buffer *b, const char *sql);
void pg_terminate(struct pg_buffer *b);

uint32_t pg_get_int32(const unsigned char *bytes);

/* What a connection may begin with in place of a version (documentation, 55.7). */
#define PG_CODE_CANCEL 80877102
#define PG_CODE_SSL    80877103
#define PG_CODE_GSS    80877104

/*
 * Reads what comes off a backend's socket between two borrowers: the answer to a reset, if one is due, and
 * NoticeResponse, ParameterStatus and NotificationResponse at any time (documentation, 55.2.7). Anything else, an
 * ErrorResponse above all, makes it broken.
 */
#define PG_BODY_MAX 512

struct reset_reader {
    bool due;         /* the reset's ReadyForQuery has not come yet */
    bool discard_all; /* its CommandComplete must say DISCARD ALL */
    bool completed;
    /* Asked for each ParameterStatus: is that what the borrowers believe? False makes the answer broken. */
    bool (*parameter)(void *context, const char *name, const char *value);
    /* Told of each row that is allowed, LENGTH bytes of it, PG_BODY_MAX at most. NULL: of none. */
    void (*row)(void *context, const unsigned char *row, size_t length);
    void *context;

    unsigned char head[5];
    size_t head_length;
    uint32_t left; /* bytes of the body still to come */
    unsigned char body[PG_BODY_MAX];
    size_t body_length; /* bytes of the body kept: the first PG_BODY_MAX */
};

enum reader_state { READER_MORE, READER_CLEAN, READER_BROKEN };

/* Take LENGTH more bytes. CLEAN: nothing is due, and the last message is whole. */
enum reader_state reset_reader_take(struct reset_reader *r, const unsigned char *bytes, size_t length);

#endif
