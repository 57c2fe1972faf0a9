/* SPDX-License-Identifier: ISC */
/*
 * status.c - the statuses' names, which the audit trail uses too.
 */
#include <pglend.h>

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
