/* SPDX-License-Identifier: ISC */
/*
 * tls.c - encrypted sessions: through relays, direct by libpq's TLS, through PgBouncer where BENCH_BOUNCER says how, and
 * through the barest process that can be in between.
 */
#include "bench.h"
#include "race.h"

#include <stdio.h>
#include <string.h>

#define CLIENTS 8
#define COPY_MB 100 /* of all clients together */

static PGconn *relay, *direct, *bouncer;
static int pump;

static PGconn *encrypted(PGconn *conn)
{
    PGresult *result = PQexec(conn, "select ssl from pg_stat_ssl where pid = pg_backend_pid()");

    if (PQntuples(result) != 1 || strcmp(PQgetvalue(result, 0, 0), "t") != 0)
        bench_fail("pg_stat_ssl", "the session is not encrypted");
    PQclear(result);
    return conn;
}

static void open_relay(void)
{
    relay = encrypted(bench_acquire(bench_open("tls")));
}

static void open_direct(void)
{
    direct = encrypted(bench_connect_to("BENCH_TLS"));
}

static void open_bouncer(void)
{
    bouncer = encrypted(bench_connect_to("BENCH_BOUNCER"));
}

static void open_pump(void)
{
    pump = pump_open(encrypted(bench_connect_to("BENCH_TLS")));
}

static double one(PGconn *conn)
{
    bench_select_1(conn);
    return 1;
}

static const char *copy_sql(void)
{
    static char sql[128];

    (void)snprintf(sql, sizeof sql, "copy (select repeat('x', 999) from generate_series(1, %d)) to stdout",
                   COPY_MB * 1000 / CLIENTS);
    return sql;
}

/* MB that came. */
static double copy(PGconn *conn)
{
    char *row;
    double bytes = 0;
    PGresult *result;
    int length;

    PQclear(PQexec(conn, copy_sql()));
    while ((length = PQgetCopyData(conn, &row, 0)) > 0) {
        bytes += length;
        PQfreemem(row);
    }
    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            bench_fail("copy", PQerrorMessage(conn));
        PQclear(result);
    }
    return bytes / 1e6;
}

/* MB that went; no row of it is stored. */
static double copy_in(PGconn *conn)
{
    static char block[65536];
    double bytes = 0;
    PGresult *result;

    memset(block, 'x', sizeof block);
    for (size_t i = 999; i < sizeof block; i += 1000)
        block[i] = '\n';
    PQclear(PQexec(conn, "create temp table if not exists sink(a text)"));
    PQclear(PQexec(conn, "copy sink from stdin where false"));
    while (bytes < COPY_MB * 1e6 / CLIENTS) {
        if (PQputCopyData(conn, block, sizeof block) != 1)
            bench_fail("copy in", PQerrorMessage(conn));
        bytes += sizeof block;
    }
    (void)PQputCopyEnd(conn, NULL);
    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            bench_fail("copy in", PQerrorMessage(conn));
        PQclear(result);
    }
    return bytes / 1e6;
}

static double one_relay(void)
{
    return one(relay);
}

static double one_direct(void)
{
    return one(direct);
}

static double one_bouncer(void)
{
    return one(bouncer);
}

static double one_pump(void)
{
    (void)pump_ask(pump, "select 1");
    return 1;
}

static double copy_relay(void)
{
    return copy(relay);
}

static double copy_direct(void)
{
    return copy(direct);
}

static double copy_bouncer(void)
{
    return copy(bouncer);
}

static double copy_pump(void)
{
    return (double)pump_ask(pump, copy_sql()) / 1e6;
}

static double copy_in_relay(void)
{
    return copy_in(relay);
}

static double copy_in_direct(void)
{
    return copy_in(direct);
}

static double copy_in_bouncer(void)
{
    return copy_in(bouncer);
}

static const struct race races[] = {
    {"tls_select",
     CLIENTS,
     {{"relay", NULL, open_relay, one_relay, NULL},
      {"direct", NULL, open_direct, one_direct, NULL},
      {"bouncer", "BENCH_BOUNCER", open_bouncer, one_bouncer, NULL},
      {"pump", NULL, open_pump, one_pump, NULL}},
     NULL},
    {"tls_copy",
     CLIENTS,
     {{"relay", NULL, open_relay, copy_relay, NULL},
      {"direct", NULL, open_direct, copy_direct, NULL},
      {"bouncer", "BENCH_BOUNCER", open_bouncer, copy_bouncer, NULL},
      {"pump", NULL, open_pump, copy_pump, NULL}},
     NULL},
    {"tls_copy_in",
     CLIENTS,
     {{"relay", NULL, open_relay, copy_in_relay, NULL},
      {"direct", NULL, open_direct, copy_in_direct, NULL},
      {"bouncer", "BENCH_BOUNCER", open_bouncer, copy_in_bouncer, NULL}},
     NULL},
};

int main(void)
{
    for (size_t i = 0; i < sizeof races / sizeof races[0]; i++)
        race_run(&races[i]);
    return 0;
}
