/* SPDX-License-Identifier: ISC */
/*
 * login_init.c - the pool's init_query, once a session, before it is handed over.
 *
 * The hard thing: a reset brings the session back to what it was after the start-up packet, so what the query SETs the
 * first borrower would have and no later one. Where it changes what the server reports, that would even look like a
 * broken session; such a query is refused.
 */
#include "login.h"

#include <stdlib.h>
#include <string.h>

/* What goes wrong, as text in WHY. */
static bool run(PGconn *conn, const char *sql, char *why, size_t size)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    char line[1024], sqlstate[6];
    bool done = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;

    trace_error(result != NULL ? PQresultErrorMessage(result) : PQerrorMessage(conn), line, sizeof line, sqlstate);
    PQclear(result);
    if (!done)
        (void)snprintf(why, size, "init_query failed: %s", line[0] != '\0' ? line : "it is no plain statement");
    else if (PQtransactionStatus(conn) != PQTRANS_IDLE)
        (void)snprintf(why, size, "init_query leaves a transaction open; end it with COMMIT");
    return done && PQtransactionStatus(conn) == PQTRANS_IDLE;
}

bool init_session(PGconn *conn, const char *sql, const struct trace *trace, char *why, size_t size)
{
    char *before[TRACE_NAMES_MAX] = {NULL};
    bool good;

    if (*sql == '\0')
        return true;
    for (size_t i = 0; i < trace->names; i++)
        before[i] =
            PQparameterStatus(conn, trace->name[i]) == NULL ? NULL : strdup(PQparameterStatus(conn, trace->name[i]));
    good = run(conn, sql, why, size);
    for (size_t i = 0; i < trace->names; i++) {
        const char *now = PQparameterStatus(conn, trace->name[i]);

        if (good && before[i] != NULL && (now == NULL || strcmp(now, before[i]) != 0)) {
            (void)snprintf(why, size,
                           "init_query changes %s, which the first reset would undo: set it in database.settings",
                           trace->name[i]);
            good = false;
        }
        free(before[i]);
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as many were freed as were kept */
    return good;
}
