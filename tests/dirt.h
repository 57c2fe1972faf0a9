/* SPDX-License-Identifier: ISC */
/*
 * dirt.h - every way to leave a connection to the next borrower.
 */
#ifndef PGLEND_TESTS_DIRT_H
#define PGLEND_TESTS_DIRT_H

#include <libpq-events.h>
#include <libpq-fe.h>
#include <stdio.h>

/* Of the backend: where a cancel is needed, a slow moment may cost it; where a message was cut off, it is lost. */
enum fate { KEPT, USUALLY_KEPT, ANY_FATE };

struct dirt {
    const char *name;
    void (*leave)(PGconn *conn, const char *sql);
    const char *sql;
    enum fate fate;
};

extern const struct dirt dirt[];
extern const int dirts;

/* What the rows that set something on the PGconn leave: calls of their procedures, the trace (NULL: none was made). */
extern unsigned dirt_called;
extern FILE *dirt_traced;
int dirt_event(PGEventId event, void *info, void *context);

#endif
