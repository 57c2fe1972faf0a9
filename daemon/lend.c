/* SPDX-License-Identifier: ISC */
/*
 * lend.c - a backend's socket goes to a worker, with the facts and the one-time token that its connection object needs.
 *
 * The hard thing is whose it is: the callers have looked at the slot's word. A token is good at the door once, for the
 * process that it was made for, and for the backend that the slot held then. And a worker may keep a copy of what it
 * was lent: where a relay stands between, in strict isolation, each lease has a socket of its own, dead when it ends.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct shell *shell_of(struct worker *w, uint32_t slot)
{
    struct shell *shell;

    for (shell = w->shell; shell != NULL; shell = shell->next)
        if (shell->slot == slot)
            return shell;
    shell = calloc(1, sizeof *shell);
    if (shell != NULL) {
        shell->slot = slot;
        shell->next = w->shell;
        w->shell = shell;
    }
    return shell;
}

static bool make_shell(struct worker *w, const struct backend *b, char token[TOKEN_HEX + 1])
{
    struct shell *shell = shell_of(w, b->slot);

    if (shell == NULL)
        return false;
    random_hex(shell->token, TOKEN_HEX);
    shell->generation = b->generation;
    memcpy(token, shell->token, TOKEN_HEX + 1);
    return true;
}

static struct shell *shell_by_token(const struct worker *w, const char *token)
{
    struct shell *shell = w->shell;

    while (shell != NULL && strcmp(shell->token, token) != 0)
        shell = shell->next;
    return shell;
}

struct worker *worker_by_token(struct supervisor *s, const struct identity *who, const char *token,
                               struct shell **shell)
{
    if (strlen(token) != TOKEN_HEX)
        return NULL;
    for (size_t i = 0; i < s->pools; i++)
        for (uint32_t w = 0; w < s->pool[i]->segment.borrowers; w++) {
            struct worker *worker = s->pool[i]->worker[w];

            if (worker == NULL || worker->identity.pid != who->pid || worker->identity.uid != who->uid)
                continue;
            *shell = shell_by_token(worker, token);
            if (*shell != NULL)
                return worker;
        }
    return NULL;
}

void lend_cut(struct backend *b)
{
    if (b->lent == -1)
        return;
    (void)shutdown(b->lent, SHUT_RDWR);
    (void)close(b->lent);
    b->lent = -1;
}

/* ---- a socket for each lease ---- */

/*
 * A pair: one end goes to the relay, over the socket that it has for good, with a byte that stands for nothing; the
 * other will be the borrower's. Made as the lease before it ends, for then the relay has to wake anyway.
 */
bool lend_prepare(struct backend *b, const void *bytes, size_t length)
{
    unsigned char packet[SYNC_OUT_MAX + 1];
    int pair[2];

    if (length >= sizeof packet || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == -1)
        return false;
    descriptors_refuse(pair[1]);
    memcpy(packet, bytes, length);
    packet[length] = 0;
    /* A stream takes so little whole or not at all. */
    if (wire_send_packet(b->fd, packet, length + 1, pair[1], MSG_DONTWAIT) == -1) {
        (void)close(pair[0]);
        (void)close(pair[1]);
        return false;
    }
    lend_drop(b);
    memcpy(b->next, pair, sizeof pair);
    return true;
}

void lend_drop(struct backend *b)
{
    for (int i = 0; i < 2; i++) {
        if (b->next[i] != -1)
            (void)close(b->next[i]);
        b->next[i] = -1;
    }
}

/*
 * A parameter that has changed, or a notice, is the next borrower's, and goes before all else. What comes here when the
 * descriptor has gone out crossed it on its way; by now the relay may be writing to that end.
 */
bool lend_hear(struct backend *b)
{
    unsigned char bytes[4096];
    ssize_t got = recv(b->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (got == -1)
        return errno == EAGAIN || errno == EINTR;
    b->heard = got > 0 && b->next[1] != -1 && send(b->next[1], bytes, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL) == got;
    return b->heard;
}

static int lend_own_socket(struct backend *b)
{
    if (b->next[0] == -1 && !lend_prepare(b, "", 0))
        return -1;
    lend_cut(b);
    (void)fcntl(b->next[1], F_SETFL, O_NONBLOCK | LEASE_IS_OUT);
    b->lent = b->next[0];
    b->next[0] = -1;
    lend_drop(b);
    return 0;
}

/*
 * Without a relay each lease has the same open file. What was not waited for, nobody says is taken: it counts as that,
 * so that another supervisor can tell.
 */
void lend_await_taken(struct backend *b, bool waited)
{
    if (!backend_is_base(b))
        (void)fcntl(b->fd, F_SETFL, waited ? O_NONBLOCK : O_NONBLOCK | LEASE_TAKEN);
}

bool lend_is_taken(const struct backend *b)
{
    int flags = fcntl(b->lent != -1 ? b->lent : b->fd, F_GETFL);

    return flags != -1 && (flags & LEASE_TAKEN) != 0;
}

int lend_send(struct worker *w, struct backend *b, uint32_t serial, uint64_t word, bool waited)
{
    union wire_message answer;
    struct wire_backend *out = &answer.backend;

    *out = (struct wire_backend){.serial = serial,
                                 .slot = b->slot,
                                 .generation = b->generation,
                                 .backend_pid = b->pid,
                                 .borrower = word_borrower(word),
                                 .version = word_version(word),
                                 .waited = waited};
    if (!make_shell(w, b, out->token)) {
        errno = ENOMEM;
        return -1;
    }
    if (backend_is_base(b) && lend_own_socket(b) == -1)
        return -1;
    (void)backend_fact(b, ".user", out->user, sizeof out->user);
    (void)backend_fact(b, ".dbname", out->dbname, sizeof out->dbname);
    if (wire_send(w->sock, WIRE_BACKEND, &answer, b->lent != -1 ? b->lent : b->fd, MSG_DONTWAIT) == -1)
        return -1;
    b->heard = false;
    return 0;
}

bool lend_refuse(const struct worker *w, uint32_t serial, pglend_status status, const char *why)
{
    union wire_message answer = {.not_fetched = {.serial = serial, .status = (uint32_t)status}};

    (void)snprintf(answer.not_fetched.message, sizeof answer.not_fetched.message, "pool \"%s\": %s",
                   w->pool->config->name, why);
    return wire_send(w->sock, WIRE_NOT_FETCHED, &answer, -1, MSG_DONTWAIT) == 0;
}
