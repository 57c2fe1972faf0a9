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

const char *pglend_status_name(pglend_status status)
{
    static const char *const names[] = {
        [PGLEND_OK] = "PGLEND_OK",
        [PGLEND_TIMEOUT] = "PGLEND_TIMEOUT",
        [PGLEND_DENIED] = "PGLEND_DENIED",
        [PGLEND_NO_POOL] = "PGLEND_NO_POOL",
        [PGLEND_NO_SUPERVISOR] = "PGLEND_NO_SUPERVISOR",
        [PGLEND_NO_DATABASE] = "PGLEND_NO_DATABASE",
        [PGLEND_SHUTDOWN] = "PGLEND_SHUTDOWN",
        [PGLEND_LOST] = "PGLEND_LOST",
        [PGLEND_USAGE] = "PGLEND_USAGE",
        [PGLEND_SYSTEM] = "PGLEND_SYSTEM",
        [PGLEND_MISMATCH] = "PGLEND_MISMATCH",
        [PGLEND_QUEUE_FULL] = "PGLEND_QUEUE_FULL",
    };

    return (unsigned)status < sizeof names / sizeof names[0] ? names[status] : "PGLEND_UNKNOWN";
}
