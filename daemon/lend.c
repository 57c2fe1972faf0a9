/* SPDX-License-Identifier: ISC */
/*
 * lend.c - a backend's socket goes to a worker, with the facts and the one-time token that its connection object needs.
 *
 * The hard thing is whose it is: the callers have looked at the slot's word. A token is good at the door once, for the
 * process that it was made for, and for the backend that the slot held then. And a worker may keep a copy of what it was
 * lent: where a relay stands between, in strict isolation, each lease has a socket of its own, dead when it ends.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
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
    static const char digits[] = "0123456789abcdef";
    struct shell *shell = shell_of(w, b->slot);
    unsigned char random[TOKEN_HEX / 2];

    if (shell == NULL || getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return false;
    for (size_t i = 0; i < sizeof random; i++) {
        shell->token[2 * i] = digits[random[i] >> 4];
        shell->token[2 * i + 1] = digits[random[i] & 15];
    }
    shell->generation = b->generation;
    memcpy(token, shell->token, TOKEN_HEX + 1);
    return true;
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
            for (*shell = worker->shell; *shell != NULL; *shell = (*shell)->next)
                if (strcmp((*shell)->token, token) == 0)
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

/*
 * A pair for one lease: one end goes to the relay, over the socket that it has for good, the other to the borrower. What
 * the server said meanwhile (a parameter, a notice) is the borrower's, and goes before all else. A relay that is gone
 * takes nothing: the borrower then finds the end, as of a backend that died.
 */
static int lend_own_socket(struct backend *b)
{
    unsigned char bytes[4096];
    int pair[2];
    ssize_t got;

    lend_cut(b);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == -1)
        return -1;
    descriptors_refuse(pair[1]);
    do
        got = recv(b->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    while (got > 0 && send(pair[1], bytes, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL) == got);
    (void)wire_send_packet(b->fd, "", 1, pair[1], MSG_DONTWAIT);
    (void)close(pair[1]);
    b->lent = pair[0];
    return 0;
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
    if (b->pool->strict && b->relayed && lend_own_socket(b) == -1)
        return -1;
    (void)backend_fact(b, ".user", out->user, sizeof out->user);
    (void)backend_fact(b, ".dbname", out->dbname, sizeof out->dbname);
    return wire_send(w->sock, WIRE_BACKEND, &answer, b->lent != -1 ? b->lent : b->fd, MSG_DONTWAIT);
}

void lend_refuse(const struct worker *w, uint32_t serial, pglend_status status, const char *why)
{
    union wire_message answer = {.not_fetched = {.serial = serial, .status = (uint32_t)status}};

    (void)snprintf(answer.not_fetched.message, sizeof answer.not_fetched.message, "pool \"%s\": %s",
                   w->pool->config->name, why);
    (void)wire_send(w->sock, WIRE_NOT_FETCHED, &answer, -1, MSG_DONTWAIT);
}
