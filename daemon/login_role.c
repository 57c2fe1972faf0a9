/* SPDX-License-Identifier: ISC */
/*
 * login_role.c - what a server is asked to learn whether it is still what target_session_attrs asks for; and a login
 * that asks the server of one certain session.
 *
 * The hard thing: the name that the session's login was given may lead elsewhere by now. The login goes to the address
 * that the session has.
 */
#include "login.h"

#include <string.h>

/*
 * As libpq asks while it connects. A value that is not here is met by any server. What a session answers holds for it
 * alone where its borrower may have changed default_transaction_read_only; a new session answers for the server.
 */
static const struct {
    const char *attrs;
    struct role_question question;
} roles[] = {
    {"read-write", {"SHOW transaction_read_only", "off"}},
    {"read-only", {"SHOW transaction_read_only", "on"}},
    {"primary", {"SELECT pg_catalog.pg_is_in_recovery()", "f"}},
    {"standby", {"SELECT pg_catalog.pg_is_in_recovery()", "t"}},
};

const struct role_question *role_question(const char *attrs)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(roles[i].attrs, attrs) == 0)
            return &roles[i].question;
    return NULL;
}

/* Of two values of a keyword the last counts. */
bool role_aim(const struct job *job, char conninfo[CONNINFO_MAX])
{
    const char *address = json_string_value(json_object_get(job->json, "address"));
    size_t length = strlen(conninfo);

    if (address == NULL || *address == '\0')
        return true;
    if (address[strspn(address, "0123456789abcdefABCDEF:.")] != '\0' ||
        length + strlen(address) + sizeof "hostaddr=''" > CONNINFO_MAX)
        return false;
    (void)snprintf(conninfo + length, CONNINFO_MAX - length, "hostaddr='%s'", address);
    return true;
}

void ask_role(const struct job *job, PGconn *conn, struct message *answer)
{
    const char *attrs = json_string_value(json_object_get(job->json, "attrs"));
    const struct role_question *question = role_question(attrs == NULL ? "" : attrs);
    PGresult *result = question == NULL ? NULL : PQexec(conn, question->sql);
    bool answered = question != NULL && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    char line[2048], sqlstate[6];

    trace_error(PQresultErrorMessage(result), line, sizeof line, sqlstate);
    message_make(answer, MESSAGE_PROBED, job->name, 0,
                 !answered                                                 ? line
                 : strcmp(PQgetvalue(result, 0, 0), question->answer) == 0 ? "t"
                                                                           : "f");
    answer->status = answered ? LOOK_SEEN : LOOK_FAILED;
    PQclear(result);
}
