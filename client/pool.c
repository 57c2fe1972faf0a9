/* SPDX-License-Identifier: ISC */
/*
 * pool.c - a handle, and the table of what this process has for each slot of its pool.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    error_clear(p); /* it may have the address of one that was closed */
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
        for (struct loan *loan = at->displaced; loan != NULL; loan = loan->next)
            if (loan->conn == conn && loan->state == LOAN_LEASED)
                return loan;
    }
    return NULL;
}

bool loan_held(const struct loan *loan)
{
    const struct segment *s = &loan->at->segment;

    /* In strict isolation its entry may be of another lease by now, of the same slot. */
    return lease_held(s, loan->borrower, loan->slot) &&
           (!s->readonly || atomic_load_explicit(&s->slot[loan->slot].lease, memory_order_relaxed) == loan->version);
}

/* ---- making it ready ---- */

struct loan *loan_make(struct attachment *at, const struct wire_backend *backend, uint32_t borrower, int fd,
                       uint64_t until)
{
    struct loan *loan = calloc(1, sizeof *loan);
    char why[700];

    if (loan == NULL) {
        (void)close(fd);
        (void)error_set(at->pool, PGLEND_SYSTEM, "out of memory");
        return NULL;
    }
    loan->at = at;
    loan->slot = backend->slot;
    loan->generation = backend->generation;
    loan->lent = fd;
    loan->socket = -1;
    loan->borrower = borrower;
    loan->state = LOAN_ENDING; /* not a lease before it is whole */
    if (adopt_shell(loan, at->pool->runtime_dir, backend, until, why, sizeof why))
        return loan;
    (void)error_set(at->pool, PGLEND_SYSTEM, "pool \"%s\": %s", at->pool->name, why);
    adopt_free(loan);
    return NULL;
}

/* Under the lock: its session ended with its lease, and the slot's next one takes its place. */
static void displace(struct loan *loan)
{
    loan->next = loan->at->displaced;
    loan->at->displaced = loan;
}

/* Under the lock: it stands nowhere any more. */
static void take_out(struct loan *loan)
{
    struct attachment *at = loan->at;

    if (at->loan[loan->slot] == loan) {
        at->loan[loan->slot] = NULL;
        at->cached -= loan->state == LOAN_CACHED;
        return;
    }
    for (struct loan **link = &at->displaced; *link != NULL; link = &(*link)->next)
        if (*link == loan) {
            *link = loan->next;
            return;
        }
}

struct loan *loan_take(struct attachment *at, uint32_t slot, uint32_t generation, uint32_t borrower, bool *held)
{
    struct loan *loan, *stale = NULL;

    pool_lock(at->pool);
    loan = at->loan[slot];
    *held = loan != NULL && loan->state != LOAN_CACHED && loan->generation == generation;
    if (loan != NULL && loan->state != LOAN_CACHED) {
        if (!*held) {
            displace(loan);
            at->loan[slot] = NULL;
        }
        loan = NULL;
    } else if (loan != NULL) {
        at->cached--;
        loan->state = LOAN_LEASED;
        loan->borrower = borrower;
        if (loan->generation != generation) {
            at->loan[slot] = NULL;
            stale = loan;
            loan = NULL;
        }
    }
    pool_unlock(at->pool);
    if (stale != NULL)
        adopt_free(stale);
    return loan;
}

void loan_link(struct loan *loan)
{
    struct attachment *at = loan->at;
    struct loan *there;

    pool_lock(at->pool);
    there = at->loan[loan->slot];
    loan->state = LOAN_LEASED;
    if (there != NULL && there != loan)
        displace(there->generation < loan->generation ? there : loan);
    if (there == NULL || there->generation < loan->generation)
        at->loan[loan->slot] = loan;
    pool_unlock(at->pool);
}

void loan_unlink(struct loan *loan)
{
    pool_lock(loan->at->pool);
    take_out(loan);
    pool_unlock(loan->at->pool);
}

/* Under the lock: keep the entry for this process's next borrower. In strict isolation entries are the supervisor's. */
void loan_spare_borrower(struct attachment *at, uint32_t borrower)
{
    if (at->segment.readonly)
        return;
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

/* ---- putting it away ---- */

/* Under the lock: no more than cache_per_worker, least recently used out first. Returns one to free, or NULL. */
static struct loan *trim_cache(struct attachment *at)
{
    struct loan *oldest = NULL;

    if (at->cached <= at->policy->policy.cache_per_worker)
        return NULL;
    for (uint32_t i = 0; i < at->segment.slots; i++) {
        struct loan *loan = at->loan[i];

        if (loan != NULL && loan->state == LOAN_CACHED && (oldest == NULL || loan->used < oldest->used))
            oldest = loan;
    }
    if (oldest != NULL) {
        at->loan[oldest->slot] = NULL;
        at->cached--;
    }
    return oldest;
}

void loan_put_away(struct loan *loan, bool reusable)
{
    struct attachment *at = loan->at;
    struct loan *out = loan;

    /* Before the lease is over, for it counts on that. */
    if (at->segment.readonly && loan->lent != -1) {
        (void)close(loan->lent);
        loan->lent = -1;
    }
    pool_lock(at->pool);
    if (reusable && at->loan[loan->slot] == loan) {
        loan->state = LOAN_CACHED;
        loan->used = ++at->clock;
        at->own = loan->slot;
        at->cached++;
        out = trim_cache(at);
    } else {
        take_out(loan);
    }
    pool_unlock(at->pool);
    if (out != NULL)
        adopt_free(out);
}

/* The slot goes to the supervisor, which is told. */
void loan_surrender(struct attachment *at, uint32_t borrower, uint32_t slot, unsigned flags)
{
    if (lease_surrender(&at->segment, borrower, slot, flags) == LEASE_SUPERVISOR)
        attachment_tell(at, WIRE_RETURNED, slot);
}

const char *loan_name(struct loan *loan)
{
    (void)snprintf(loan->lease_id, sizeof loan->lease_id, "%s/%u/%llu", loan->at->pool->name, loan->slot,
                   (unsigned long long)loan->version);
    return loan->lease_id;
}

const char *pglend_lease_id(pglend *p, const PGconn *conn)
{
    struct loan *loan;

    error_clear(p);
    pool_lock(p);
    loan = loan_find(p, conn);
    if (loan != NULL)
        (void)loan_name(loan);
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
    for (at = p->all; at != NULL; at = at->next) {
        for (uint32_t i = 0; i < at->segment.slots; i++)
            while (at->loan[i] != NULL && at->loan[i]->state == LOAN_LEASED)
                (void)pglend_discard(p, at->loan[i]->conn);
        while (at->displaced != NULL)
            (void)pglend_discard(p, at->displaced->conn);
    }
    fork_forget(p);
    if (p->at != NULL)
        attachment_put(p->at);
    for (at = p->all; at != NULL; at = next) {
        next = at->next;
        attachment_put(at);
    }
    free(p);
}
