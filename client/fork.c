/* SPDX-License-Identifier: ISC */
/*
 * fork.c - a child of a worker is not that worker.
 *
 * The handler runs in the child of a process that may have had other threads in the middle of anything: it takes no
 * lock, frees nothing, and calls only what is async-signal-safe (PQsocket() but reads a member). What it finds half
 * changed is still consistent enough: a loan is unlinked before it is freed, and its descriptors are single words.
 */
#include "client.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic(pglend *) handles;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;

static void abandon_loan(struct loan *loan)
{
    /* libpq may have closed it, and the number be the application's own file by now. */
    if (loan->armed && PQsocket(loan->conn) == loan->socket)
        (void)dup3(adopt_dead_socket(), loan->socket, O_CLOEXEC);
    loan->armed = false;
    loan->abandoned = true;
    if (loan->lent != -1)
        (void)close(loan->lent);
    loan->lent = -1;
}

/* A PGconn that the child inherited gets the dead socket; the lent one and the supervisor's are closed. */
static void abandon(struct attachment *at)
{
    for (uint32_t i = 0; i < at->segment.slots; i++)
        if (at->loan[i] != NULL)
            abandon_loan(at->loan[i]);
    for (struct loan *loan = at->displaced; loan != NULL; loan = loan->next)
        abandon_loan(loan);
    if (at->sock != -1)
        (void)close(at->sock);
    at->sock = -1;
}

static void in_child(void)
{
    for (pglend *p = handles; p != NULL; p = p->next) {
        p->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        for (struct attachment *at = p->all; at != NULL; at = at->next)
            abandon(at);
        p->inherited = p->all;
        p->all = NULL;
        p->at = NULL;
    }
    handles_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void install(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

void fork_guard(pglend *p)
{
    (void)pthread_once(&once, install);
    (void)pthread_mutex_lock(&handles_lock);
    p->next = handles;
    handles = p;
    (void)pthread_mutex_unlock(&handles_lock);
}

void fork_forget(pglend *p)
{
    (void)pthread_mutex_lock(&handles_lock);
    if (handles == p)
        handles = p->next;
    else
        for (pglend *q = handles; q != NULL; q = q->next)
            if (q->next == p) {
                q->next = p->next;
                break;
            }
    (void)pthread_mutex_unlock(&handles_lock);
}
