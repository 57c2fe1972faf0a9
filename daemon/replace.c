/* SPDX-License-Identifier: ISC */
/*
 * replace.c - a second session for a slot, logged in beside the first, which it then follows.
 *
 * The hard thing: the first is lent and cancelled as ever while the second waits, so keeper and supervisor must never
 * disagree on which is which. The keeper keeps the second as the slot's spare until it is told to FORGET the first; the
 * supervisor keeps it here until the first has ended (closed() in backend.c). Whatever ends the first, the second is
 * there. One that is not used is shut down; the keeper's copy of it is dead then, and goes with the next.
 */
#include "supervisor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void replace_begin(struct backend *b, enum close_reason reason)
{
    if (b->phase != BACKEND_LENDABLE || b->replacement.state != REPLACEMENT_NONE)
        return;
    b->replacement.state = REPLACEMENT_CONNECTING;
    b->replacement.reason = reason;
    supervisor_tell(b->pool->supervisor, MESSAGE_REPLACE, b->pool->config->name, b->slot, 0);
}

bool replace_arrived(struct backend *b, const struct message *m, int fd)
{
    struct replacement *r = &b->replacement;

    if (r->state != REPLACEMENT_CONNECTING)
        return false;
    r->facts = malloc(sizeof *r->facts);
    if (r->facts == NULL)
        return false;
    memcpy(r->facts, m, sizeof *m);
    r->fd = fd;
    r->state = REPLACEMENT_READY;
    r->since = clock_ns();
    stats_count(&b->pool->segment, STATS_REPLACEMENTS);
    backend_retire(b, r->reason);
    return true;
}

bool replace_ended(struct backend *b)
{
    bool any = b->replacement.state != REPLACEMENT_NONE;

    free(b->replacement.facts);
    b->replacement = (struct replacement){.fd = -1};
    return any;
}

void replace_drop(struct backend *b)
{
    if (b->replacement.fd != -1) {
        (void)shutdown(b->replacement.fd, SHUT_RDWR);
        (void)close(b->replacement.fd);
    }
    (void)replace_ended(b);
}

void replace_give_up(struct backend *b)
{
    replace_drop(b);
    backend_stay(b);
}
