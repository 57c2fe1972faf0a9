/* SPDX-License-Identifier: ISC */
/* sandbox.h - the system calls that each of pglendd's processes may make. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdint.h>

/* The configuration's "sandbox". LOG: a call that is not allowed goes on, and the kernel's log names it. */
enum sandbox_mode { SANDBOX_ENFORCE, SANDBOX_LOG, SANDBOX_OFF };

/*
 * ARCHIVE: audit, where it executes an archive_command. SESSION: login, cancel; a login that stays as a relay becomes
 * RELAY. WATCH: password.
 */
enum sandbox_process {
    SANDBOX_KEEPER,
    SANDBOX_ARCHIVE,
    SANDBOX_AUDIT,
    SANDBOX_SUPERVISOR,
    SANDBOX_SESSION,
    SANDBOX_RELAY,
    SANDBOX_WATCH,
    SANDBOX_CONFIG,
    SANDBOX_PROCESSES
};

/*
 * From now on, for this process and all that it starts: what the table in sandbox.c does not have for PROCESS fails
 * with EPERM and is logged. Ends the process where the filter cannot be loaded. Needs privilege_harden() before.
 */
void sandbox_enter(enum sandbox_process process, int64_t mode);
/* Is this build one that can be confined? Sanitizers and coverage make calls of their own. */
int sandbox_works(void);

#endif
