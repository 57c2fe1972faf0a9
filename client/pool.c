/* SPDX-License-Identifier: ISC */
/*
 * pool.c - a handle, and the table of what this process has for each slot of its pool.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pglend *pglend_open(const char *runtime_dir, const char *pool)
{
    const char *dir = runtime_dir != NULL ? runtime_dir : getenv("PGLEND_RUNTIME_DIR");
    pglend *p;

    if (dir == NULL || *dir == '\0')
        dir = "/run/pglend";
    if (pool == NULL || *pool == '\0') {
        errno = EINVAL;
        return NULL;
    }
    if (strlen(dir) > RUNTIME_DIR_MAX || strlen(pool) > POOL_NAME_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    /* libpq would take anything but an absolute path for a host to look up, and a comma for a list of them. */
    if (*dir != '/' || strchr(dir, ',') != NULL) {
        errno = EINVAL;
        return NULL;
    }
    /* Made here: the fork handler must not have to create it. */
    if (adopt_dead_socket() == -1 || (p = calloc(1, sizeof *p)) == NULL)
        return NULL;
    (void)snprintf(p->runtime_dir, sizeof p->runtime_dir, "%s", dir);
    (void)snprintf(p->name, sizeof p->name, "%s", pool);
    p->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    fork_guard(p);
    return p;
}

/* Under the lock. The pointer is compared, never followed: it may have been freed. */
struct loan *loan_find(const pglend *p, const PGconn *conn)
{
    for (const struct attachment *at = p->all; at != NULL; at = at->next) {
        struct loan *own = at->own < at->segment.slots ? at->loan[at->own] : NULL;

        if (own != NULL && own->conn == conn && own->state == LOAN_LEASED)
            return own;
        for (uint32_t i = 0; i < at->segment.slots; i++)
            if (at->loan[i] != NULL && at->loan[i]->conn == conn && at->loan[i]->state == LOAN_LEASED)
                return at->loan[i];
    }
    return NULL;
}

/* ---- making it ready ---- */

void loan_unlink(struct loan *loan)
{
    struct attachment *at = loan->at;

    pool_lock(at->pool);
    if (at->loan[loan->slot] == loan) {
        at->loan[loan->slot] = NULL;
        at->cached -= loan->state == LOAN_CACHED;
    }
    pool_unlock(at->pool);
}

/* Under the lock: keep the entry for this process's next borrower. */
void loan_spare_borrower(struct attachment *at, uint32_t borrower)
{
    if (at->spares == at->spare_size) {
        size_t size = at->spare_size == 0 ? 8 : at->spare_size * 2;
        uint16_t *grown = realloc(at->spare, size * sizeof *grown);

        if (grown == NULL) {
            borrower_free(&at->segment, borrower);
            return;
        }
        at->spare = grown;
        at->spare_size = size;
    }
    at->spare[at->spares++] = (uint16_t)borrower;
}

/* The slot goes to the supervisor, which is told. */
void loan_surrender(struct attachment *at, uint32_t borrower, uint32_t slot, unsigned flags)
{
    if (lease_surrender(&at->segment, borrower, slot, flags) == LEASE_SUPERVISOR)
        attachment_tell(at, WIRE_RETURNED, slot);
}

const char *pglend_lease_id(pglend *p, const PGconn *conn)
{
    struct loan *loan;

    error_clear(p);
    pool_lock(p);
    loan = loan_find(p, conn);
    if (loan != NULL)
        (void)snprintf(loan->lease_id, sizeof loan->lease_id, "%s/%u/%llu", p->name, loan->slot,
                       (unsigned long long)loan->version);
    pool_unlock(p);
    if (loan == NULL)
        (void)error_set(p, PGLEND_USAGE, "this PGconn is not leased from pool \"%s\" by this process", p->name);
    return loan != NULL ? loan->lease_id : NULL;
}

void pglend_close(pglend *p)
{
    struct attachment *at, *next;

    if (p == NULL)
        return;
    for (at = p->all; at != NULL; at = at->next)
        at->users++; /* ending the last lease of a retired one must not free it under our hands */
    for (at = p->all; at != NULL; at = at->next)
        for (uint32_t i = 0; i < at->segment.slots; i++)
            while (at->loan[i] != NULL && at->loan[i]->state == LOAN_LEASED)
                (void)pglend_discard(p, at->loan[i]->conn);
    fork_forget(p);
    if (p->at != NULL)
        attachment_put(p->at);
    for (at = p->all; at != NULL; at = next) {
        next = at->next;
        attachment_put(at);
    }
    free(p);
}
