/* SPDX-License-Identifier: ISC */
/*
 * login_ask.c - what a login may be made for instead of a session to lend: a question about another one.
 *
 * Asked as the pool's own role, which sees what its sessions do. Never their query text: that is patients' data.
 */
#include "login.h"

#include <string.h>

static const char *pid_of(const struct job *job, char text[16])
{
    (void)snprintf(text, 16, "%lld", (long long)json_integer_value(json_object_get(job->json, "pid")));
    return text;
}

/* Nothing that a role's search_path puts before the server's own names is called. */
static PGresult *ask(PGconn *conn, const char *sql, const char *pid)
{
    const char *const values[] = {pid};

    PQclear(PQexec(conn, "SELECT pg_catalog.set_config('search_path', '', false)"));
    return PQexecParams(conn, sql, 1, NULL, values, NULL, NULL, 0);
}

/*
 * The cancel key of another session could not be read: the server is asked to cancel it. Where the connection is lost
 * meanwhile nobody knows whether it has.
 */
void ask_cancel(const struct job *job, PGconn *conn, struct message *answer)
{
    char pid[16], line[2048], sqlstate[6];
    PGresult *result = ask(conn, "SELECT pg_catalog.pg_cancel_backend($1::pg_catalog.int4)", pid_of(job, pid));
    bool done = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
                strcmp(PQgetvalue(result, 0, 0), "t") == 0;

    trace_error(PQresultErrorMessage(result), line, sizeof line, sqlstate);
    PQclear(result);
    message_make(answer, MESSAGE_CANCELLED, job->name, 0, done ? NULL : line);
    answer->status = done ? CANCEL_DONE : PQstatus(conn) == CONNECTION_OK ? CANCEL_NOT_SENT : CANCEL_LOST;
}

/* A row of pg_stat_activity as JSON; query_id by name, for servers before 14 do not have it. */
static const char state_sql[] = "SELECT pg_catalog.jsonb_build_object("
                                "'state', a.state, 'wait_event', a.wait_event_type || '/' || a.wait_event, "
                                "'transaction_s', EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), "
                                "'state_s', EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.state_change), "
                                "'query_id', pg_catalog.to_jsonb(a) -> 'query_id') "
                                "FROM pg_catalog.pg_stat_activity a WHERE a.pid = $1::pg_catalog.int4";

void ask_state(const struct job *job, PGconn *conn, struct message *answer)
{
    char pid[16], line[2048], sqlstate[6];
    PGresult *result = ask(conn, state_sql, pid_of(job, pid));
    bool seen = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;

    trace_error(PQresultErrorMessage(result), line, sizeof line, sqlstate);
    message_make(answer, MESSAGE_LOOKED, job->name, 0,
                 seen              ? PQgetvalue(result, 0, 0)
                 : line[0] != '\0' ? line
                                   : "the server does not show the session");
    answer->status = seen ? LOOK_SEEN : LOOK_FAILED;
    PQclear(result);
}
