/* SPDX-License-Identifier: ISC */
/*
 * admin_text.c - text from workers, servers and the kernel, made fit for JSON.
 *
 * JSON is UTF-8 and the library that writes it refuses anything else, so one hostile byte would cost the whole answer.
 */
#include "admin_server.h"
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

/* Length of the well-formed UTF-8 sequence at S of at most SIZE bytes; 0: there is none. */
static size_t sequence(const unsigned char *s, size_t size)
{
    static const struct {
        unsigned char first, last;               /* range of the leading byte */
        unsigned char second_first, second_last; /* of the byte after it: no overlong forms, no surrogates */
        size_t length;
    } row[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    if (s[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        if (s[0] < row[i].first || s[0] > row[i].last)
            continue;
        if (size < row[i].length || s[1] < row[i].second_first || s[1] > row[i].second_last)
            return 0;
        for (size_t k = 2; k < row[i].length; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return row[i].length;
    }
    return 0;
}

static bool is_control(const unsigned char *s, size_t length)
{
    return s[0] < ' ' || s[0] == 0x7f || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

json_t *admin_text(const char *text, size_t size)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = strnlen(text, size), out_length = 0;
    char *out = malloc(length * (sizeof(REPLACEMENT) - 1) + 1);
    json_t *string;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < length;) {
        size_t step = sequence(s + i, length - i);

        if (s[i] == '\n' || s[i] == '\r' || s[i] == '\t') {
            out[out_length++] = ' ';
        } else if (step == 0 || is_control(s + i, step)) {
            memcpy(out + out_length, REPLACEMENT, sizeof(REPLACEMENT) - 1);
            out_length += sizeof(REPLACEMENT) - 1;
        } else {
            memcpy(out + out_length, s + i, step);
            out_length += step;
        }
        i += step > 0 ? step : 1;
    }
    while (out_length > 0 && out[out_length - 1] == ' ')
        out_length--;
    string = json_stringn(out, out_length);
    free(out);
    return string;
}
