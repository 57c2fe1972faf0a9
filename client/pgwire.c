/* SPDX-License-Identifier: ISC */
/*
 * pgwire.c - build and read single messages of PostgreSQL's protocol, version 3.
 *
 * The hard thing: a server's answer is input like any other. Lengths are checked before they are believed; a message
 * that does not belong where it stands ends the session rather than being guessed at.
 */
#include "pgwire.h"

#include <string.h>

#define MESSAGE_MAX (UINT32_C(1) << 24) /* no answer to a reset comes near it */

void pg_bytes(struct pg_buffer *b, const void *bytes, size_t length)
{
    if (b->overflow || length > b->size - b->length) {
        b->overflow = true;
        return;
    }
    memcpy(b->at + b->length, bytes, length);
    b->length += length;
}

void pg_int32(struct pg_buffer *b, uint32_t value)
{
    unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16), (unsigned char)(value >> 8),
                              (unsigned char)value};

    pg_bytes(b, bytes, sizeof bytes);
}

void pg_string(struct pg_buffer *b, const char *text)
{
    pg_bytes(b, text, strlen(text) + 1);
}

size_t pg_begin(struct pg_buffer *b, char type)
{
    size_t begun;

    if (type != 0)
        pg_bytes(b, &type, 1);
    begun = b->length;
    pg_int32(b, 0);
    return begun;
}

void pg_end(struct pg_buffer *b, size_t begun)
{
    struct pg_buffer at = {.at = b->at + begun, .size = 4};

    if (!b->overflow)
        pg_int32(&at, (uint32_t)(b->length - begun));
}

void pg_query(struct pg_buffer *b, const char *sql)
{
    size_t begun = pg_begin(b, 'Q');

    pg_string(b, sql);
    pg_end(b, begun);
}

void pg_terminate(struct pg_buffer *b)
{
    pg_end(b, pg_begin(b, 'X'));
}

uint32_t pg_get_int32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool check_parameter(const struct reset_reader *r)
{
    const char *name = (const char *)r->body, *value;
    size_t name_length = strnlen(name, r->body_length);

    /* Kept whole, and two terminated strings. */
    if (pg_get_int32(r->head + 1) - 4 != r->body_length || name_length >= r->body_length)
        return false;
    value = name + name_length + 1;
    if (strnlen(value, r->body_length - name_length - 1) != r->body_length - name_length - 2)
        return false;
    return r->parameter == NULL || r->parameter(r->context, name, value);
}

/* The message in head and body is whole. False: it does not belong here. */
static bool accept_message(struct reset_reader *r)
{
    static const char tag[] = "DISCARD ALL";

    switch (r->head[0]) {
    case 'N':
    case 'A':
        return true;
    case 'S':
        return check_parameter(r);
    case 'C':
        if (!r->due || (r->discard_all && (r->body_length != sizeof tag || memcmp(r->body, tag, sizeof tag) != 0)))
            return false;
        r->completed = true;
        return true;
    case 'D':
        if (r->due && !r->discard_all && r->row != NULL)
            r->row(r->context, r->body, r->body_length);
        return r->due && !r->discard_all;
    case 'T':
        return r->due && !r->discard_all;
    case 'I':
        if (!r->due || r->discard_all)
            return false;
        r->completed = true;
        return true;
    case 'Z':
        if (!r->due || !r->completed || r->body_length != 1 || r->body[0] != 'I')
            return false;
        r->due = false;
        return true;
    default:
        return false;
    }
}

enum reader_state reset_reader_take(struct reset_reader *r, const unsigned char *bytes, size_t length)
{
    while (length > 0 || (r->head_length == sizeof r->head && r->left == 0)) {
        size_t part;

        if (r->head_length < sizeof r->head) {
            r->head[r->head_length++] = *bytes++;
            length--;
            if (r->head_length < sizeof r->head)
                continue;
            r->left = pg_get_int32(r->head + 1);
            if (r->left < 4 || r->left > MESSAGE_MAX)
                return READER_BROKEN;
            r->left -= 4;
            r->body_length = 0;
        }
        part = length < r->left ? length : r->left;
        if (r->body_length < sizeof r->body) {
            size_t keep = sizeof r->body - r->body_length < part ? sizeof r->body - r->body_length : part;

            memcpy(r->body + r->body_length, bytes, keep);
            r->body_length += keep;
        }
        bytes += part;
        length -= part;
        r->left -= (uint32_t)part;
        if (r->left > 0)
            continue;
        if (!accept_message(r))
            return READER_BROKEN;
        r->head_length = 0;
    }
    return !r->due && r->head_length == 0 ? READER_CLEAN : READER_MORE;
}
