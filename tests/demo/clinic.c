/* SPDX-License-Identifier: ISC */
/*
 * clinic.c - a small clinic's appointments, straight from PostgreSQL.
 *
 * A lease is held from just before the first query of a request until just after its last, never while bytes go to
 * the client: a slow reader must not keep a database connection. The one exception is /report, which shows the lease
 * it works under before it has the rows.
 */
#include "clinic.h"

#include "board.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"
#define HTML "text/html; charset=utf-8"

/* One request while it is worked on. */
struct visit {
    const struct http *http;
    const struct http_request *request;
    const char *argument; /* what follows the route's path */
    size_t index;
    pglend *pool;
    PGconn *conn; /* NULL: the route needs none */
    FILE *out;
    const char *type;
};

/* Answers a visit into V->out; returns the HTTP status. */
typedef int page_function(struct visit *v);

static int fail(struct visit *v, int status, const char *message)
{
    v->type = TEXT;
    fprintf(v->out, "%.*s\n", (int)strcspn(message, "\n"), message);
    return status;
}

static int fail_query(struct visit *v, const PGresult *result)
{
    static const struct {
        const char *sqlstate;
        int status;
    } rows[] = {{"22", 400}, {"23505", 409}, {"23", 400}};
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    for (size_t i = 0; sqlstate != NULL && i < sizeof rows / sizeof rows[0]; i++)
        if (strncmp(sqlstate, rows[i].sqlstate, strlen(rows[i].sqlstate)) == 0)
            return fail(v, rows[i].status, PQresultErrorMessage(result));
    return fail(v, 500, PQresultErrorMessage(result));
}

static PGresult *query(struct visit *v, const char *sql, const char *parameter)
{
    return PQexecParams(v->conn, sql, parameter != NULL, NULL, &parameter, NULL, NULL, 0);
}

/* Print the one value of SQL's one row with STATUS; no row is 404. */
static int print_value(struct visit *v, const char *sql, const char *parameter, int status)
{
    PGresult *result = query(v, sql, parameter);

    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = fail_query(v, result);
    } else if (PQntuples(result) == 0) {
        status = fail(v, 404, "no such appointment, doctor or patient");
    } else {
        v->type = JSON;
        fprintf(v->out, "%s\n", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return status;
}

static int list_json(struct visit *v)
{
    return print_value(v,
                       "select coalesce(json_agg(a order by starts_at, id), '[]') from agenda a"
                       " where starts_at >= current_date and starts_at < current_date + 1",
                       NULL, 200);
}

static int show_one(struct visit *v)
{
    if (v->argument[0] == '\0' || strspn(v->argument, "0123456789") != strlen(v->argument))
        return fail(v, 404, "appointments are numbered: GET /appointments/1");
    return print_value(v, "select row_to_json(a) from agenda a where id = $1::numeric", v->argument, 200);
}

/*
 * Book the doctor's next time. The doctor's row is locked until commit, so two bookings never get the same time, and a
 * worker killed in between leaves neither half: its transaction is rolled back before the slot is lent again.
 */
static int book_in_transaction(struct visit *v)
{
    static const char *const prepare[] = {
        "insert into patient (name) select trim($1::json->>'patient') on conflict do nothing",
        "update doctor set booked = case when booked::time >= '17:45'"
        " then booked::date + 1 + time '08:00' else booked + interval '15 minutes' end"
        " where id = ($1::json->>'doctor')::int",
    };

    for (size_t i = 0; i < sizeof prepare / sizeof prepare[0]; i++) {
        PGresult *result = query(v, prepare[i], v->request->body);
        int status = PQresultStatus(result) == PGRES_COMMAND_OK ? 0 : fail_query(v, result);

        PQclear(result);
        if (status != 0)
            return status;
    }
    return print_value(v,
                       "with new as (insert into appointment (doctor, patient, starts_at, reason)"
                       " select d.id, p.id, d.booked, coalesce($1::json->>'reason', 'check-up')"
                       " from doctor d, patient p where d.id = ($1::json->>'doctor')::int"
                       " and p.name = trim($1::json->>'patient') returning *),"
                       " noted as (insert into journal (appointment) select id from new)"
                       " select row_to_json(new) from new",
                       v->request->body, 201);
}

static int book(struct visit *v)
{
    PGresult *result = PQexec(v->conn, "begin");
    int status;

    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        status = fail_query(v, result);
        PQclear(result);
        return status;
    }
    PQclear(result);
    status = book_in_transaction(v);
    result = PQexec(v->conn, status == 201 ? "commit" : "rollback");
    if (status == 201 && PQresultStatus(result) != PGRES_COMMAND_OK)
        status = fail_query(v, result);
    PQclear(result);
    return status;
}

static int whoami(struct visit *v)
{
    v->type = JSON;
    fprintf(v->out, "{\"worker\":%d,\"backend\":%d,\"lease\":\"%s\"}\n", (int)getpid(), PQbackendPID(v->conn),
            pglend_lease_id(v->pool, v->conn));
    return 200;
}

static void print_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        default:
            fputc(*text, out);
        }
}

static void print_table(FILE *out, const PGresult *result)
{
    fputs("<table>\n", out);
    for (int row = 0; row < PQntuples(result); row++) {
        fputs("<tr>", out);
        for (int column = 0; column < PQnfields(result); column++) {
            fputs("<td>", out);
            print_escaped(out, PQgetvalue(result, row, column));
        }
        fputc('\n', out);
    }
    fputs("</table>\n", out);
}

static int list_html(struct visit *v)
{
    PGresult *result = query(v,
                             "select to_char(starts_at, 'HH24:MI'), patient, doctor, reason from agenda"
                             " where starts_at >= current_date and starts_at < current_date + 1"
                             " order by starts_at, id",
                             NULL);
    int status = 200;

    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = fail_query(v, result);
    } else {
        v->type = HTML;
        fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Today's appointments</title>\n"
              "<style>body{font:16px sans-serif;margin:2em}td{padding:.2em 1.5em .2em 0}</style>\n"
              "<h1>Today's appointments</h1>\n",
              v->out);
        print_table(v->out, result);
        fprintf(v->out, "<p>Worker %d, backend %d, lease %s\n", (int)getpid(), PQbackendPID(v->conn),
                pglend_lease_id(v->pool, v->conn));
    }
    PQclear(result);
    return status;
}

static int status_text(struct visit *v)
{
    v->type = TEXT;
    board_print(v->out);
    return 200;
}

/* A report that takes SECONDS (at most 60): sends under which lease it works, then the rows. */
static int report(struct visit *v)
{
    const char *seconds = strncmp(v->request->query, "seconds=", 8) == 0 ? v->request->query + 8 : "1";
    char line[256];
    PGresult *result;
    int length = snprintf(line, sizeof line, "worker %d backend %d lease %s\n", (int)getpid(), PQbackendPID(v->conn),
                          pglend_lease_id(v->pool, v->conn));

    if (http_send_head(v->http, 200, TEXT) != 0 || http_send_bytes(v->http, line, (size_t)length) != 0)
        return 0;
    result = query(v,
                   "select string_agg(name || ' ' || n, E'\\n' order by name) || E'\\n' from"
                   " (select d.name, count(*) n from doctor d join appointment a on a.doctor = d.id group by 1) c,"
                   " pg_sleep(least($1::float8, 60))",
                   seconds);
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        http_send_bytes(v->http, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
    else
        http_send_bytes(v->http, PQresultErrorMessage(result), strlen(PQresultErrorMessage(result)));
    PQclear(result);
    return 0;
}

/* A path that ends in '/' takes an argument. Status 0 from a page: it has sent its reply, close. */
static const struct route {
    const char *method;
    const char *path;
    page_function *page;
    bool borrows;
} routes[] = {
    {"GET", "/", list_html, true},
    {"GET", "/appointments", list_json, true},
    {"GET", "/appointments/", show_one, true},
    {"POST", "/appointments", book, true},
    {"GET", "/whoami", whoami, true},
    {"GET", "/report", report, true},
    {"GET", "/status", status_text, false},
};

static bool matches(const struct route *route, const char *path)
{
    size_t length = strlen(route->path);

    if (length > 1 && route->path[length - 1] == '/')
        return strncmp(path, route->path, length) == 0;
    return strcmp(path, route->path) == 0;
}

/* The route for REQUEST, or NULL with the reason in *STATUS. */
static const struct route *find_route(const struct http_request *request, int *status)
{
    *status = 404;
    for (const struct route *r = routes; r < routes + sizeof routes / sizeof routes[0]; r++) {
        if (!matches(r, request->path))
            continue;
        if (strcmp(r->method, request->method) == 0)
            return r;
        *status = 405;
    }
    return NULL;
}

static int borrow_and_answer(struct visit *v, const struct route *route)
{
    int status;

    board_wait(v->index);
    v->conn = pglend_acquire_as(v->pool, NULL, route->path, -1);
    if (v->conn == NULL) {
        board_free(v->index);
        return fail(v, 503, pglend_errmessage(v->pool));
    }
    board_lease(v->index, pglend_lease_id(v->pool, v->conn));
    status = route->page(v);
    board_return(v->index);
    if (pglend_release(v->pool, v->conn) != PGLEND_OK)
        fprintf(stderr, "worker %d: release: %s\n", (int)getpid(), pglend_errmessage(v->pool));
    return status;
}

bool clinic_answer(struct http *h, const struct http_request *request, pglend *pool, size_t index)
{
    struct visit v = {.http = h, .request = request, .index = index, .pool = pool, .type = TEXT};
    struct http_reply reply = {0};
    char *text = NULL;
    const struct route *route = find_route(request, &reply.status);
    bool keep = false;

    v.out = open_memstream(&text, &reply.length);
    if (v.out == NULL)
        return false;
    if (route == NULL) {
        reply.status = fail(&v, reply.status, "see /, /appointments, /appointments/ID, /whoami, /report, /status");
    } else {
        v.argument = request->path + strlen(route->path);
        reply.status = route->borrows ? borrow_and_answer(&v, route) : route->page(&v);
    }
    if (fclose(v.out) == 0 && reply.status != 0) {
        reply.type = v.type;
        reply.body = text;
        keep = http_send(h, &reply, request->keep_alive) == 0 && request->keep_alive;
    }
    free(text);
    return keep;
}
