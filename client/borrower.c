/* SPDX-License-Identifier: ISC */
/*
 * borrower.c - the entries of those who wait or hold: whose each is, and how many wait.
 *
 * The hard thing: an entry may be claimed by two at once, and written over by anybody. Who claims one takes it by
 * compare-and-swap, and looks again before each use whether it still is its own.
 */
#include "lease.h"

/* An owner word: version:48 | worker+1:16. */
static uint64_t owner_next(uint64_t owner, uint32_t worker)
{
    return ((owner >> 16) + 1) << 16 | (((uint64_t)worker + 1) & 0xffff);
}

static uint32_t owner_worker(uint64_t owner)
{
    return (owner & 0xffff) == 0 ? NO_OWNER : (uint32_t)(owner & 0xffff) - 1;
}

uint32_t borrower_worker(const struct segment *s, uint32_t borrower)
{
    return borrower < s->borrowers ? owner_worker(atomic_load(&s->borrower[borrower].owner)) : NO_OWNER;
}

uint32_t borrowers_used(const struct segment *s)
{
    uint32_t high = atomic_load(&s->header->borrowers_high);

    return high < s->borrowers ? high : s->borrowers;
}

static void raise_borrowers_high(const struct segment *s, uint32_t to)
{
    uint32_t high = atomic_load(&s->header->borrowers_high);

    while (high < to && !atomic_compare_exchange_weak(&s->header->borrowers_high, &high, to))
        continue;
}

void borrowers_mend_used(const struct segment *s)
{
    uint32_t b = s->borrowers, used = borrowers_used(s);

    while (b > used && borrower_worker(s, b - 1) == NO_OWNER)
        b--;
    raise_borrowers_high(s, b);
}

int borrower_claim(const struct segment *s, uint32_t worker, uint32_t *borrower)
{
    for (uint32_t b = 0; b < s->borrowers; b++) {
        uint64_t owner = atomic_load(&s->borrower[b].owner);

        if (owner_worker(owner) != NO_OWNER ||
            !atomic_compare_exchange_strong(&s->borrower[b].owner, &owner, owner_next(owner, worker)))
            continue;
        raise_borrowers_high(s, b + 1);
        *borrower = b;
        return 0;
    }
    return -1;
}

bool borrower_owned(const struct segment *s, uint32_t borrower, uint32_t worker)
{
    return worker != NO_OWNER && borrower_worker(s, borrower) == worker;
}

void borrower_free(const struct segment *s, uint32_t borrower)
{
    uint64_t owner = atomic_load(&s->borrower[borrower].owner);

    atomic_store(&s->borrower[borrower].owner, owner_next(owner, UINT32_MAX));
}

uint32_t lease_waiting(const struct segment *s, uint64_t *oldest_ns)
{
    uint32_t used = borrowers_used(s), count = 0;

    *oldest_ns = 0;
    for (uint32_t b = 0; b < used; b++) {
        uint64_t since;

        if (wait_state(atomic_load(&s->borrower[b].wait)) == WAIT_NONE)
            continue;
        count++;
        since = atomic_load_explicit(&s->borrower[b].wait_since, memory_order_relaxed);
        if (*oldest_ns == 0 || since < *oldest_ns)
            *oldest_ns = since;
    }
    return count;
}
