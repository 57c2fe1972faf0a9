/* SPDX-License-Identifier: ISC */
/*
 * close_reason.h - why a session is closed: one fixed text a reason, which the log, the audit trail and pglendd(8)
 * have alike.
 */
#ifndef PGLEND_CLOSE_REASON_H
#define PGLEND_CLOSE_REASON_H

#include "segment.h"

enum close_reason {
    CLOSE_NONE,
    CLOSE_SPARED,
    CLOSE_USED_UP,
    CLOSE_BROKEN,
    CLOSE_CANCEL_LOST,
    CLOSE_CHECK_FAILED,
    CLOSE_CHECK_TIMED_OUT,
    CLOSE_IDLE,
    CLOSE_LEASE_IDLE_IN_TRANSACTION,
    CLOSE_LEASE_IDLE,
    CLOSE_LEASE_TOO_LONG,
    CLOSE_NOT_TAKEN,
    CLOSE_OLD,
    CLOSE_DISABLED,
    CLOSE_SMALLER,
    CLOSE_PAUSED,
    CLOSE_POSITION_LOST,
    CLOSE_RECYCLED,
    CLOSE_REPLACED,
    CLOSE_RESET_FAILED,
    CLOSE_RESET_TIMED_OUT,
    CLOSE_RESET_TOO_LONG,
    CLOSE_REVOKED,
    CLOSE_CORRUPTED,
    CLOSE_DAMAGED,
    CLOSE_ROLE,
    CLOSE_GONE,
    CLOSE_UNHEARD,
    CLOSE_SHUTDOWN,
    CLOSE_REASONS
};

struct close_reason_row {
    const char *text;
    enum lost_reason lost; /* what its borrower is told, where a lease is taken away for it */
};

extern const struct close_reason_row close_reasons[CLOSE_REASONS];

#endif
