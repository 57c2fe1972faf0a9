/* SPDX-License-Identifier: ISC */
/*
 * position.c - find the position in the protocol again, and end whatever transaction is open.
 *
 * Whatever its borrower was at, the server answers the bytes below with a tail that is known byte for byte, because a
 * random nonce is in it. The hard thing: statements of a pipeline that was never synced make one transaction, and a
 * Sync would commit it. So a ROLLBACK goes before it, and one after it for a server that skips everything up to a Sync.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static void make_nonce(char nonce[TOKEN_HEX + 1])
{
    unsigned char bytes[TOKEN_HEX / 2];

    /* 16 bytes never block or come short once the kernel's generator is seeded (getrandom(2)). */
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        fatal(1, "getrandom: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
}

void position_ask_again(struct position *p, struct pg_buffer *out)
{
    char sql[TOKEN_HEX + 16];

    make_nonce(p->nonce);
    (void)snprintf(sql, sizeof sql, "SELECT '%s'", p->nonce);
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

/* DataRow of the nonce, CommandComplete, ReadyForQuery 'I': what the newest question ends in (documentation, 55.7). */
static void expected_tail(const struct position *p, struct pg_buffer *out)
{
    size_t begun = pg_begin(out, 'D');

    pg_bytes(out, "\0\1", 2);
    pg_int32(out, TOKEN_HEX);
    pg_bytes(out, p->nonce, TOKEN_HEX);
    pg_end(out, begun);
    begun = pg_begin(out, 'C');
    pg_string(out, "SELECT 1");
    pg_end(out, begun);
    begun = pg_begin(out, 'Z');
    pg_bytes(out, "I", 1);
    pg_end(out, begun);
}

bool position_take(struct position *p, const unsigned char *bytes, size_t length, size_t *used)
{
    unsigned char bytes_of_tail[POSITION_TAIL_MAX], window[POSITION_TAIL_MAX + POSITION_TAKE_MAX];
    struct pg_buffer tail = {.at = bytes_of_tail, .size = sizeof bytes_of_tail};
    size_t before = p->tail_length, have = before;
    const unsigned char *found;

    expected_tail(p, &tail);
    memcpy(window, p->tail, have);
    memcpy(window + have, bytes, length);
    have += length;
    found = memmem(window, have, tail.at, tail.length);
    if (found != NULL) {
        p->tail_length = 0;
        /* It was not complete before: it ends in these bytes. */
        *used = (size_t)(found - window) + tail.length - before;
        return true;
    }
    /* A part of the tail may have come. */
    p->tail_length = have < tail.length - 1 ? have : tail.length - 1;
    memcpy(p->tail, window + have - p->tail_length, p->tail_length);
    return false;
}
