/* SPDX-License-Identifier: ISC */
/*
 * random.c - random bytes, many at a time from the kernel: each lease in strict isolation takes some.
 *
 * What was given out is wiped here. A process that forks would give its child the same ones, and the supervisor, whose
 * these are, does not.
 */
#include "daemon.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

void random_bytes(void *out, size_t count)
{
    static unsigned char
        store[256]; /* so many never block or come short, once the generator is seeded (getrandom(2)) */
    static size_t left;

    if (left < count) {
        if (getrandom(store, sizeof store, 0) != (ssize_t)sizeof store)
            fatal(1, "getrandom: %s", strerror(errno));
        left = sizeof store;
    }
    left -= count;
    memcpy(out, store + left, count);
    explicit_bzero(store + left, count);
}

void random_hex(char *out, size_t digits)
{
    static const char digit[] = "0123456789abcdef";
    unsigned char bytes[64];

    random_bytes(bytes, digits / 2);
    for (size_t i = 0; i < digits / 2; i++) {
        out[2 * i] = digit[bytes[i] >> 4];
        out[2 * i + 1] = digit[bytes[i] & 15];
    }
    out[digits] = '\0';
}
