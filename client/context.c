/* SPDX-License-Identifier: ISC */
/*
 * context.c - what a lease is for, told to its session: pglend.lease, pglend.actor, pglend.purpose, application_name.
 *
 * One awaited round trip. The texts travel as parameters of the statement, so that none of them is ever SQL. The hard
 * thing: libpq then believes the lease's application_name, which is no doing of the borrower's, and which the reset
 * takes back behind this object's back; adopt.c knows both names. Every lease of such a pool sets it anew.
 */
#include "client.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 63                  /* PostgreSQL cuts application_name there, and says so in a notice */
#define TEXT_OID       25                  /* so that the server need not guess */
#define ANSWER_NS      UINT64_C(200000000) /* for a round trip, where one does not want to wait */

static const char statement[] = "select pg_catalog.set_config('pglend.lease', $1, false), "
                                "pg_catalog.set_config('pglend.actor', $2, false), "
                                "pg_catalog.set_config('pglend.purpose', $3, false), "
                                "pg_catalog.set_config('application_name', $4, false)";

static void make_ascii(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c > 0x7e)
            *c = '?';
}

/* The lease first: what is cut off is the actor's. PostgreSQL's own form of the name is ASCII. */
static void make_name(char name[NAME_MAX_BYTES + 1], const char *lease, const char *actor)
{
    (void)snprintf(name, NAME_MAX_BYTES + 1, "%s%s%s", lease, *actor != '\0' ? " " : "", actor);
    make_ascii(name);
}

/* False: see what became of CONN. */
static bool ask(PGconn *conn, const char *const value[4], uint64_t until)
{
    const Oid type[] = {TEXT_OID, TEXT_OID, TEXT_OID, TEXT_OID};

    return PQsendQueryParams(conn, statement, 4, type, value, NULL, NULL, 0) == 1 && adopt_await(conn, until);
}

static bool has_refused(const PGconn *conn)
{
    return PQstatus(conn) == CONNECTION_OK && PQtransactionStatus(conn) == PQTRANS_IDLE;
}

/* The round trip was not what it should be. MORE: the session may be sound, and the supervisor finds out. */
static enum reader_state judge(struct request *r, PGconn *conn)
{
    if (PQstatus(conn) != CONNECTION_OK || PQflush(conn) != 0)
        return READER_BROKEN;
    if (has_refused(conn)) {
        r->refused = true;
        (void)error_set(r->pool, PGLEND_SYSTEM,
                        "pool \"%s\": the server does not take the lease's context as settings of its session: %s",
                        r->pool->name, PQerrorMessage(conn));
    }
    return READER_MORE;
}

/* As adopt_settle(). */
static enum reader_state tell(struct request *r, struct loan *loan)
{
    const char *lease = loan_name(loan), *reported;
    char actor[ACTOR_MAX + 1], purpose[ACTOR_MAX + 1], name[NAME_MAX_BYTES + 1];
    const char *const value[] = {lease, actor, purpose, name};
    uint64_t now = clock_ns(), until = now + (uint64_t)r->policy->reset_timeout_ms * 1000000;
    PGconn *conn = loan->conn;
    bool told;

    if (until > r->until)
        until = r->until > now + ANSWER_NS ? r->until : now + ANSWER_NS;
    (void)snprintf(actor, sizeof actor, "%s", r->actor != NULL ? r->actor : "");
    (void)snprintf(purpose, sizeof purpose, "%s", r->purpose != NULL ? r->purpose : "");
    make_name(name, lease, r->actor != NULL ? r->actor : "");
    if (PQsetnonblocking(conn, 1) != 0)
        return READER_BROKEN;
    told = ask(conn, value, until);
    if (!told && has_refused(conn)) {
        /* For a letter that the database's encoding lacks, or a cancel request that came late: once more, in ASCII. */
        make_ascii(actor);
        make_ascii(purpose);
        told = ask(conn, value, until);
    }
    if (!told)
        return judge(r, conn);
    reported = PQparameterStatus(conn, "application_name");
    (void)snprintf(loan->named, sizeof loan->named, "%s", reported != NULL ? reported : "");
    return PQsetnonblocking(conn, 0) == 0 ? READER_CLEAN : READER_BROKEN;
}

enum reader_state context_set(struct request *r, struct loan *loan)
{
    return r->policy->context == 0 ? READER_CLEAN : tell(r, loan);
}
