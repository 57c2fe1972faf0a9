/* SPDX-License-Identifier: ISC */
/*
 * error.c - what a thread's last call came to.
 */
#include "client.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local struct {
    const pglend *pool;
    pglend_status status;
    char message[1024];
} last;

void error_clear(const pglend *p)
{
    last.pool = p;
    last.status = PGLEND_OK;
    last.message[0] = '\0';
}

pglend_status error_set(const pglend *p, pglend_status status, const char *format, ...)
{
    va_list args;

    last.pool = p;
    last.status = status;
    va_start(args, format);
    (void)vsnprintf(last.message, sizeof last.message, format, args);
    va_end(args);
    for (char *c = last.message; *c != '\0'; c++)
        if (*c == '\n')
            *c = c[1] == '\0' ? '\0' : ' ';
    return status;
}

pglend_status pglend_errcode(const pglend *p)
{
    return last.pool == p ? last.status : PGLEND_OK;
}

const char *pglend_errmessage(const pglend *p)
{
    return last.pool == p ? last.message : "";
}
