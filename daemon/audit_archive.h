/* SPDX-License-Identifier: ISC */
/*
 * audit_archive.h - closed files of the audit trail go elsewhere.
 */
#ifndef PGLEND_AUDIT_ARCHIVE_H
#define PGLEND_AUDIT_ARCHIVE_H

#include "audit_trail.h"
#include "config.h"
#include <uv.h>

/* Once a second: start the archive command for a file that waits for it, remove what has been elsewhere long enough. */
void audit_archive_look(uv_loop_t *loop, struct audit_trail *trail, const struct audit_config *config);

#endif
