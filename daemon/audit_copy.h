/* SPDX-License-Identifier: ISC */
/* audit_copy.h - checkpoints, where the trail is not. */
#ifndef AUDIT_COPY_H
#define AUDIT_COPY_H

#include "audit.h"

#include <stdbool.h>
#include <stdint.h>

/* PATH: of syslog's socket; "": none. */
void audit_copy_open(const char *path);
/* The checkpoint LINE, without its newline, and the trail's HEAD with it. Does not wait. */
void audit_copy(const char *head, const char *line);
/* How many syslog did not take. */
uint64_t audit_copy_lost(void);

#endif
