/* SPDX-License-Identifier: ISC */
/*
 * close_reason.c - the table of why a session is closed. What is said of each is in pglendd(8), WHY A SESSION ENDS; a
 * test compares the two.
 */
#include "close_reason.h"

const struct close_reason_row close_reasons[CLOSE_REASONS] = {
    [CLOSE_NONE] = {"", LOST_UNKNOWN},
    [CLOSE_SPARED] = {"another pool needs its place", LOST_UNKNOWN},
    [CLOSE_USED_UP] = {"borrowed often enough", LOST_UNKNOWN},
    [CLOSE_BROKEN] = {"broken", LOST_UNKNOWN},
    [CLOSE_CANCEL_LOST] = {"cancel lost", LOST_UNKNOWN},
    [CLOSE_CHECK_FAILED] = {"check failed", LOST_UNKNOWN},
    [CLOSE_CHECK_TIMED_OUT] = {"check timed out", LOST_UNKNOWN},
    [CLOSE_IDLE] = {"idle too long", LOST_UNKNOWN},
    [CLOSE_LEASE_IDLE_IN_TRANSACTION] = {"lease idle in transaction too long", LOST_IDLE_IN_TRANSACTION},
    [CLOSE_LEASE_IDLE] = {"lease idle too long", LOST_IDLE},
    [CLOSE_LEASE_TOO_LONG] = {"lease too long", LOST_TOO_LONG},
    [CLOSE_NOT_TAKEN] = {"not taken by its borrower", LOST_NOT_TAKEN},
    [CLOSE_OLD] = {"old enough", LOST_UNKNOWN},
    [CLOSE_DISABLED] = {"pool disabled", LOST_UNKNOWN},
    [CLOSE_SMALLER] = {"pool made smaller", LOST_UNKNOWN},
    [CLOSE_PAUSED] = {"pool paused", LOST_UNKNOWN},
    [CLOSE_POSITION_LOST] = {"protocol position lost", LOST_UNKNOWN},
    [CLOSE_RECYCLED] = {"recycled", LOST_UNKNOWN},
    [CLOSE_REPLACED] = {"replaced after each lease", LOST_UNKNOWN},
    [CLOSE_RESET_FAILED] = {"reset failed", LOST_UNKNOWN},
    [CLOSE_RESET_TIMED_OUT] = {"reset timed out", LOST_UNKNOWN},
    [CLOSE_RESET_TOO_LONG] = {"reset too long", LOST_UNKNOWN},
    [CLOSE_REVOKED] = {"revoked", LOST_REVOKED},
    [CLOSE_CORRUPTED] = {"segment corrupted", LOST_UNKNOWN},
    [CLOSE_DAMAGED] = {"segment damaged", LOST_UNKNOWN},
    [CLOSE_ROLE] = {"server changed its role", LOST_ROLE},
    [CLOSE_GONE] = {"server closed the connection", LOST_UNKNOWN},
    [CLOSE_UNHEARD] = {"server spoke unheard", LOST_UNKNOWN},
    [CLOSE_SHUTDOWN] = {"shutdown", LOST_SHUTDOWN},
};
