/* SPDX-License-Identifier: ISC */
/*
 * cli_check.c - a monitor's probe: borrow a connection as a worker would, ask `select 1`, give it back.
 *
 * It goes the whole way (supervisor, slot, adoption, database), so "ok" means that a worker would have been served.
 * The query is asked without blocking, because a database that hangs must not hang the monitor.
 */
#include "cli.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    pglend_status status;
    enum cli_exit exit;
} status_exits[] = {
    {PGLEND_OK, CLI_OK},
    {PGLEND_TIMEOUT, CLI_TIMED_OUT},
    {PGLEND_DENIED, CLI_DENIED},
    {PGLEND_NO_SUPERVISOR, CLI_NO_SUPERVISOR},
};

static enum cli_exit exit_of_status(pglend_status status)
{
    for (size_t i = 0; i < sizeof(status_exits) / sizeof(status_exits[0]); i++)
        if (status_exits[i].status == status)
            return status_exits[i].exit;
    return CLI_FAILED;
}

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Ask `select 1`. PGLEND_OK, PGLEND_TIMEOUT or PGLEND_LOST with MESSAGE. */
static pglend_status ask(PGconn *conn, int64_t deadline, char message[CLI_MESSAGE_MAX])
{
    struct pollfd wait = {.fd = PQsocket(conn), .events = POLLIN};
    pglend_status status = PGLEND_LOST;
    PGresult *result = NULL;

    if (!PQsendQuery(conn, "select 1"))
        goto broken;
    while (PQisBusy(conn)) {
        int ready = poll(&wait, 1, cli_left_ms(deadline));

        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0) {
            snprintf(message, CLI_MESSAGE_MAX, "the database (backend %d) did not answer `select 1` in time",
                     PQbackendPID(conn));
            return PGLEND_TIMEOUT;
        }
        if (!PQconsumeInput(conn))
            goto broken;
    }
    result = PQgetResult(conn);
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
        strcmp(PQgetvalue(result, 0, 0), "1") == 0)
        status = PGLEND_OK;
broken:
    if (status != PGLEND_OK)
        snprintf(message, CLI_MESSAGE_MAX, "`select 1` failed: %s",
                 result != NULL ? PQresultErrorMessage(result) : PQerrorMessage(conn));
    PQclear(result);
    return status;
}

/* The answer has been read but for its end; the end is behind it already. */
static void finish(PGconn *conn)
{
    PGresult *rest;

    while ((rest = PQgetResult(conn)) != NULL)
        PQclear(rest);
}

static pglend_status borrow_and_ask(const struct cli *cli, pglend *handle, int *backend, char message[CLI_MESSAGE_MAX])
{
    int64_t began = cli_now_ms();
    const char *purpose = cli_argument(cli, "purpose");
    PGconn *conn = pglend_acquire_as(handle, "pglend", purpose != NULL ? purpose : "check",
                                     cli->timeout_given ? cli->timeout_ms : -1);
    pglend_status status;

    if (conn == NULL) {
        snprintf(message, CLI_MESSAGE_MAX, "%s", pglend_errmessage(handle));
        return pglend_errcode(handle);
    }
    *backend = PQbackendPID(conn);
    /* Without --timeout the wait for the connection is the pool's, and none of it counts against the database. */
    status = ask(conn, (cli->timeout_given ? began : cli_now_ms()) + cli->timeout_ms, message);
    if (status != PGLEND_OK) {
        pglend_discard(handle, conn);
        return status;
    }
    finish(conn);
    status = (pglend_status)pglend_release(handle, conn);
    if (status != PGLEND_OK)
        snprintf(message, CLI_MESSAGE_MAX, "%s", pglend_errmessage(handle));
    return status;
}

static json_t *describe(const char *pool, pglend_status status, int backend, double took, const char *message)
{
    return json_pack("{s:s, s:b, s:s, s:o, s:f, s:s?}", "pool", pool, "ok", status == PGLEND_OK, "status",
                     pglend_status_name(status), "backend_pid", backend > 0 ? json_integer(backend) : json_null(), "ms",
                     took, "message", message[0] != '\0' ? message : NULL);
}

static json_t *probe(const struct cli *cli, const char *pool, enum cli_exit *exit_code)
{
    char message[CLI_MESSAGE_MAX] = "", absolute[PATH_MAX];
    bool relative = cli->runtime_dir[0] != '/'; /* which the library takes for a mistake */
    const char *dir = relative && realpath(cli->runtime_dir, absolute) != NULL ? absolute : cli->runtime_dir;
    pglend_status status = PGLEND_SYSTEM;
    double start = now_ms(), took;
    int backend = 0;
    json_t *shown;
    pglend *handle = pglend_open(dir, pool);

    if (handle == NULL)
        snprintf(message, sizeof(message), "cannot use pool name \"%s\" or runtime directory \"%s\": %s", pool,
                 cli->runtime_dir, strerror(errno));
    else
        status = borrow_and_ask(cli, handle, &backend, message);
    took = (double)(int64_t)((now_ms() - start) * 1000) / 1000;
    pglend_close(handle);
    for (size_t i = strlen(message); i > 0 && message[i - 1] == '\n'; i--)
        message[i - 1] = '\0';
    *exit_code = exit_of_status(status);
    shown = describe(pool, status, backend, took, message);
    if (shown == NULL) { /* the server's words need not be UTF-8, JSON's do */
        for (char *c = message; *c != '\0'; c++)
            *c = (*c & 0x80) != 0 ? '?' : *c;
        shown = describe(pool, status, backend, took, message);
    }
    return shown;
}

/* The names of all pools: an array of objects with "name". */
static enum cli_exit all_pools(const struct cli *cli, json_t **pools, char message[CLI_MESSAGE_MAX])
{
    char why[CLI_MESSAGE_MAX];
    enum cli_exit exit_code = cli_request(cli, "pools", NULL, pools, why);

    if (exit_code == CLI_DENIED)
        snprintf(message, CLI_MESSAGE_MAX, "%.900s; name the pool to check it without asking which there are", why);
    else if (exit_code != CLI_OK)
        memcpy(message, why, sizeof(why));
    return exit_code;
}

enum cli_exit cli_check(const struct cli *cli, json_t **result, char message[CLI_MESSAGE_MAX])
{
    enum cli_exit worst = CLI_OK, exit_code;
    json_t *pools = NULL, *pool;
    size_t i;

    if (cli_argument(cli, "pool") != NULL) {
        *result = probe(cli, cli_argument(cli, "pool"), &exit_code);
        return exit_code;
    }
    exit_code = all_pools(cli, &pools, message);
    if (exit_code != CLI_OK)
        return exit_code;
    *result = json_array();
    json_array_foreach(pools, i, pool)
    {
        const char *name = json_string_value(json_object_get(pool, "name"));

        if (name == NULL)
            continue;
        json_array_append_new(*result, probe(cli, name, &exit_code));
        if (worst == CLI_OK)
            worst = exit_code;
    }
    json_decref(pools);
    return worst;
}
