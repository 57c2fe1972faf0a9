/* SPDX-License-Identifier: ISC */
/*
 * audit_ring.h - the audit process reads what workers wrote of their leases.
 */
#ifndef PGLEND_AUDIT_RING_H
#define PGLEND_AUDIT_RING_H

#include "audit_trail.h"

/* Before the first segment: one that a worker truncates must not end the process. */
void audit_rings_guard(void);
/* POOL's shared memory, maybe in place of another. Takes FD. ATTESTED: only the supervisor writes there. */
void audit_rings_add(struct audit_trail *trail, const char *pool, int fd, bool attested);
/* Make records of what is there, of each pool so much at a time. Was there anything? */
bool audit_rings_drain(struct audit_trail *trail);
/* All that was drained is on disk. */
void audit_rings_free(void);

#endif
