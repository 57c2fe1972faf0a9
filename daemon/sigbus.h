/* SPDX-License-Identifier: ISC */
/*
 * sigbus.h - shared memory that a worker makes shorter ends nobody who maps it.
 */
#ifndef PGLEND_SIGBUS_H
#define PGLEND_SIGBUS_H

#include "segment.h"

/* In the signal's handler: is PAGE of a segment that this process maps? It notes what it has to. */
typedef bool sigbus_known(const char *page);

/* From now on SIGBUS in a page that KNOWN says yes to finds zeros there; any other ends the process as ever. */
void sigbus_survive(sigbus_known *known);
/* Is PAGE of S? For KNOWN. */
bool sigbus_hit(const struct segment *s, const char *page);

#endif
