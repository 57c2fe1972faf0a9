/* SPDX-License-Identifier: ISC */
/*
 * trace.c - what libpq prints of a server at a login: a server's own words in lines made for people.
 *
 * Whatever they are, each name is whole and stands once, the key is hexadecimal or there is none, and a login's error
 * is one line with no control character in it.
 */
#include "login.h"
#include "stand.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static void check_trace(const struct trace *trace)
{
    unsigned char bytes[TRACE_KEY_MAX];
    size_t digits = strnlen(trace->key, sizeof trace->key);

    fuzz_require(trace->names <= TRACE_NAMES_MAX && digits <= TRACE_KEY_MAX);
    fuzz_require(digits == 0 || trace_hex(trace->key, digits, bytes, sizeof bytes) == digits / 2);
    for (size_t i = 0; i < trace->names; i++) {
        fuzz_require(memchr(trace->name[i], '\0', NAME_FIELD) != NULL && trace->name[i][0] != '\0');
        for (size_t k = 0; k < i; k++)
            fuzz_require(strcmp(trace->name[i], trace->name[k]) != 0);
    }
}

/* The first byte says which libpq printed it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct trace trace;
    char line[512], sqlstate[6], *text;

    if (size < 1)
        return -1;
    trace_parse((const char *)data + 1, size - 1, data[0] & 1 ? 180000 : 150018, &trace);
    check_trace(&trace);
    fuzz_require((text = strndup((const char *)data + 1, size - 1)) != NULL);
    trace_error(text, line, sizeof line, sqlstate);
    fuzz_require(memchr(line, '\0', sizeof line) != NULL && strchr(line, '\n') == NULL);
    fuzz_require(strlen(sqlstate) == 0 || strlen(sqlstate) == 5);
    free(text);
    return 0;
}
