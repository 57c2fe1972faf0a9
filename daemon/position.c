/* SPDX-License-Identifier: ISC */
/*
 * position.c - find the position in the protocol again, and end whatever transaction is open.
 *
 * Whatever its borrower was at, the server answers the bytes below with a tail that is known byte for byte, because a
 * random nonce is in it. The hard thing: statements of a pipeline that was never synced make one transaction, and a
 * Sync would commit it. So a ROLLBACK goes before it, and one after it for a server that skips everything up to a Sync.
 */
#include "supervisor.h"

#include <stdio.h>
#include <string.h>

/* DataRow of the nonce, CommandComplete, ReadyForQuery 'I' (documentation, 55.7). */
static void expect_row(struct position *p, const char nonce[TOKEN_HEX + 1])
{
    struct pg_buffer out = {.at = p->expected, .size = sizeof p->expected};
    size_t begun = pg_begin(&out, 'D');

    pg_bytes(&out, "\0\1", 2);
    pg_int32(&out, TOKEN_HEX);
    pg_bytes(&out, nonce, TOKEN_HEX);
    pg_end(&out, begun);
    begun = pg_begin(&out, 'C');
    pg_string(&out, "SELECT 1");
    pg_end(&out, begun);
    begun = pg_begin(&out, 'Z');
    pg_bytes(&out, "I", 1);
    pg_end(&out, begun);
    p->expected_length = out.length;
}

void position_ask_again(struct position *p, struct pg_buffer *out)
{
    char nonce[TOKEN_HEX + 1], sql[TOKEN_HEX + 16];

    random_hex(nonce, TOKEN_HEX);
    (void)snprintf(sql, sizeof sql, "SELECT '%s'", nonce);
    expect_row(p, nonce);
    pg_query(out, sql);
}

/* By Parse, Bind and Execute of the unnamed statement: part of the transaction of the pipeline. */
static void rollback_of_pipeline(struct pg_buffer *out)
{
    size_t begun = pg_begin(out, 'P');

    pg_string(out, "");
    pg_string(out, "ROLLBACK");
    pg_bytes(out, "\0\0", 2); /* no parameter types */
    pg_end(out, begun);
    begun = pg_begin(out, 'B');
    pg_string(out, "");
    pg_string(out, "");
    pg_bytes(out, "\0\0\0\0\0\0", 6); /* no formats, no parameters, no formats of columns */
    pg_end(out, begun);
    begun = pg_begin(out, 'E');
    pg_string(out, "");
    pg_int32(out, 0); /* all rows */
    pg_end(out, begun);
}

void position_ask(struct position *p, struct pg_buffer *out)
{
    size_t begun = pg_begin(out, 'f'); /* CopyFail: ignored where no COPY is open */

    p->tail_length = 0;
    pg_string(out, "the borrower is gone");
    pg_end(out, begun);
    rollback_of_pipeline(out);
    pg_end(out, pg_begin(out, 'S'));
    pg_query(out, "ROLLBACK");
    position_ask_again(p, out);
}

#define NONCE_TYPES 4

/* ParseComplete, ParameterDescription of the nonce, NoData. */
static void expect_description(struct position *p, const unsigned char types[2 + 4 * NONCE_TYPES])
{
    struct pg_buffer out = {.at = p->expected, .size = sizeof p->expected};
    size_t begun;

    pg_end(&out, pg_begin(&out, '1'));
    begun = pg_begin(&out, 't');
    pg_bytes(&out, types, 2 + 4 * NONCE_TYPES);
    pg_end(&out, begun);
    pg_end(&out, pg_begin(&out, 'n'));
    p->expected_length = out.length;
}

/*
 * The cheapest thing that a server repeats: an empty statement's parameters may have any types, even such as there are
 * none of but 0 and 705 (unknown), and nothing is planned or run. It is answered with what comes next, in one piece.
 */
void position_ask_along(struct position *p, struct pg_buffer *out)
{
    unsigned char types[2 + 4 * NONCE_TYPES] = {0, NONCE_TYPES};
    size_t begun = pg_begin(out, 'P');

    p->tail_length = 0;
    random_bytes(types + 2, sizeof types - 2);
    for (size_t i = 0; i < NONCE_TYPES; i++)
        types[2 + 4 * i] |= 0x80;
    pg_string(out, "");
    pg_string(out, "");
    pg_bytes(out, types, sizeof types);
    pg_end(out, begun);
    begun = pg_begin(out, 'D');
    pg_bytes(out, "S", 2); /* of the unnamed statement */
    pg_end(out, begun);
    expect_description(p, types);
}

bool position_take(struct position *p, const unsigned char *bytes, size_t length, size_t *used)
{
    unsigned char window[POSITION_TAIL_MAX + POSITION_TAKE_MAX];
    size_t before = p->tail_length, have = before;
    const unsigned char *found;

    memcpy(window, p->tail, have);
    memcpy(window + have, bytes, length);
    have += length;
    found = memmem(window, have, p->expected, p->expected_length);
    if (found != NULL) {
        p->tail_length = 0;
        /* It was not complete before: it ends in these bytes. */
        *used = (size_t)(found - window) + p->expected_length - before;
        return true;
    }
    /* A part of it may have come. */
    p->tail_length = have < p->expected_length - 1 ? have : p->expected_length - 1;
    memcpy(p->tail, window + have - p->tail_length, p->tail_length);
    return false;
}
