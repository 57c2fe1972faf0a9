/* SPDX-License-Identifier: ISC */
/*
 * reply.c - what a server sends between two borrowers: the library's reader of a reset's answer, on bytes and on a
 * socket, and the supervisor's search for the position in the protocol.
 *
 * However the bytes are cut up, the reader must come to the same; and what came whole over a socket is no other thing.
 */
#include "client.h"
#include "stand.h"
#include "supervisor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool believe(void *context, const char *name, const char *value)
{
    size_t *seen = context;

    *seen += strlen(name) + strlen(value);
    return *name != '!';
}

/* In pieces of PIECE bytes (0: all at once). */
static enum reader_state read_in(const uint8_t *bytes, size_t length, bool due, bool discard_all, size_t piece,
                                 size_t *seen)
{
    struct reset_reader reader = {.due = due, .discard_all = discard_all, .parameter = believe, .context = seen};
    enum reader_state state = due ? READER_MORE : READER_CLEAN;

    *seen = 0;
    for (size_t at = 0; at < length && state != READER_BROKEN;) {
        size_t part = piece == 0 || piece > length - at ? length - at : piece;
        uint8_t *copy = malloc(part); /* so that a byte too far is seen */

        fuzz_require(copy != NULL);
        memcpy(copy, bytes + at, part);
        state = reset_reader_take(&reader, copy, part);
        free(copy);
        at += part;
    }
    fuzz_require(reader.body_length <= sizeof reader.body && reader.head_length <= sizeof reader.head);
    return state;
}

static void over_a_socket(const uint8_t *bytes, size_t length, bool due, bool discard_all)
{
    struct loan loan = {.conn = NULL};
    int pair[2];
    enum reader_state state;

    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    loan.lent = pair[0];
    fuzz_require(length == 0 || send(pair[1], bytes, length, MSG_DONTWAIT) == (ssize_t)length);
    state = adopt_settle(&loan, (due ? SETTLE_DUE : 0) | (discard_all ? SETTLE_DISCARD_ALL : 0), clock_ns());
    /* It knows no parameter here, and so believes none: broken it may be where believe() was content. */
    if (state == READER_CLEAN) {
        size_t seen;

        fuzz_require(read_in(bytes, length, due, discard_all, 0, &seen) == READER_CLEAN);
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
}

/* The tail is found if and only if it is there, however it is cut up; the input writes NONCE with '#'. */
#define NONCE_AT 11 /* in the DataRow that is expected: type, length, columns, length */

static void find_position(const uint8_t *bytes, size_t length, size_t piece)
{
    struct position position = {0};
    const uint8_t *nonce = position.expected + NONCE_AT;
    unsigned char question[SYNC_OUT_MAX];
    struct pg_buffer out = {.at = question, .size = sizeof question};
    uint8_t *filled = malloc(length + 1);
    bool found = false;

    fuzz_require(filled != NULL);
    position_ask(&position, &out);
    fuzz_require(!out.overflow);
    for (size_t i = 0, digit = 0; i < length; i++)
        filled[i] = bytes[i] == '#' ? nonce[digit++ % TOKEN_HEX] : bytes[i];
    for (size_t at = 0; at < length && !found;) {
        size_t part = piece == 0 || piece > length - at ? length - at : piece, used = 0;

        part = part < POSITION_TAKE_MAX ? part : POSITION_TAKE_MAX;
        found = position_take(&position, filled + at, part, &used);
        fuzz_require(!found || (used >= 1 && used <= part));
        at += part;
    }
    fuzz_require(!found || memmem(filled, length, nonce, TOKEN_HEX) != NULL);
    free(filled);
}

/* The first byte: what is due, and the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool due, discard_all;
    size_t piece, seen, seen_in_pieces;
    enum reader_state state;

    if (size < 1 || size > 65536)
        return -1;
    due = (data[0] & 1) != 0;
    discard_all = (data[0] & 2) != 0;
    piece = 1 + (data[0] >> 2);
    state = read_in(data + 1, size - 1, due, discard_all, 0, &seen);
    fuzz_require(read_in(data + 1, size - 1, due, discard_all, piece, &seen_in_pieces) == state);
    fuzz_require(seen == seen_in_pieces);
    over_a_socket(data + 1, size - 1, due, discard_all);
    find_position(data + 1, size - 1, piece);
    return 0;
}
