/* SPDX-License-Identifier: ISC */
/*
 * mate.c - a worker beside the one that is killed or stopped: it acquires and releases at the test's command, in a
 * process of its own, so that the test may trace meanwhile.
 */
#include "crash/crash.h"
#include "pglend.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct mate_state {
    pglend *pool;
    PGconn *conn;
    struct segment segment;
};

/* The session must be one's own and as new. False: WHY. */
static bool is_clean(PGconn *conn, char why[200])
{
    PGresult *result = PQexec(conn, "select pg_backend_pid(), to_regclass('pg_temp.mine') is null");
    bool clean = PQresultStatus(result) == PGRES_TUPLES_OK && atoi(PQgetvalue(result, 0, 0)) == PQbackendPID(conn) &&
                 strcmp(PQgetvalue(result, 0, 1), "t") == 0 && PQtransactionStatus(conn) == PQTRANS_IDLE;

    if (!clean)
        (void)snprintf(why, 200, "the session is not as it should be: %s", PQerrorMessage(conn));
    PQclear(result);
    return clean;
}

static void acquire(struct mate_state *state, struct mate_answer *answer)
{
    uint64_t start = harness_now_ms();

    state->conn = pglend_acquire(state->pool, MATE_SECONDS * 1000);
    answer->ms = (unsigned)(harness_now_ms() - start);
    if (state->conn == NULL) {
        answer->status = (int)pglend_errcode(state->pool);
        (void)snprintf(answer->error, sizeof answer->error, "%s", pglend_errmessage(state->pool));
        return;
    }
    answer->backend = PQbackendPID(state->conn);
    if (!is_clean(state->conn, answer->error))
        answer->status = PGLEND_SYSTEM;
}

static void release(struct mate_state *state, struct mate_answer *answer)
{
    if (state->conn != NULL)
        answer->status = pglend_release(state->pool, state->conn);
    if (answer->status != PGLEND_OK)
        (void)snprintf(answer->error, sizeof answer->error, "%s", pglend_errmessage(state->pool));
    state->conn = NULL;
}

static void tour(const struct mate_state *state, struct mate_answer *answer)
{
    PGconn *lent[MATES] = {NULL};

    for (int i = 0; i < MATES; i++)
        if ((lent[i] = pglend_acquire(state->pool, MATE_SECONDS * 1000)) == NULL)
            answer->status = (int)pglend_errcode(state->pool);
    for (int i = 0; i < MATES; i++)
        if (lent[i] != NULL)
            (void)pglend_release(state->pool, lent[i]);
}

/* As soon as somebody waits, or SOCK has another command. */
static void release_when_wanted(struct mate_state *state, int sock, struct mate_answer *answer)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};

    while (!somebody_waits_in(&state->segment) && poll(&wait, 1, 1) == 0)
        continue;
    release(state, answer);
}

static int mate_work(void *argument, int sock)
{
    const struct pglendd *d = argument;
    struct mate_state state = {.pool = pglend_open(d->runtime_dir, "clinic")};
    char command;

    ck_assert_ptr_nonnull(state.pool);
    scene_map(d, &state.segment);
    while (recv(sock, &command, 1, 0) == 1) {
        struct mate_answer answer = {.status = PGLEND_OK};

        switch ((enum mate_command)command) {
        case MATE_ACQUIRE:
            acquire(&state, &answer);
            break;
        case MATE_RELEASE:
            release(&state, &answer);
            break;
        case MATE_TOUR:
            tour(&state, &answer);
            break;
        case MATE_RELEASE_WHEN_WANTED:
            release_when_wanted(&state, sock, &answer);
            break;
        }
        if (send(sock, &answer, sizeof answer, MSG_NOSIGNAL) != (ssize_t)sizeof answer)
            break;
    }
    segment_unmap(&state.segment);
    pglend_close(state.pool);
    return 0;
}

void mate_start(struct mate *mate, const struct pglendd *d)
{
    worker_fork(&mate->process, mate_work, (void *)(uintptr_t)d);
}

void mate_tell(struct mate *mate, enum mate_command command)
{
    say(mate->process.sock, (char)command);
}

bool mate_hear(struct mate *mate, struct mate_answer *answer, double seconds)
{
    struct pollfd wait = {.fd = mate->process.sock, .events = POLLIN};

    return poll(&wait, 1, (int)(seconds * 1000)) == 1 &&
           recv(mate->process.sock, answer, sizeof *answer, MSG_WAITALL) == (ssize_t)sizeof *answer;
}

void mate_stop(struct mate *mate)
{
    (void)shutdown(mate->process.sock, SHUT_WR);
    ck_assert_int_eq(worker_wait(&mate->process, 20), 0);
}
