/* SPDX-License-Identifier: ISC */
/*
 * lease.h - a slot's life: its word, its states, who may make which transition.
 *
 *  EMPTY ──supervisor──► SUPERVISOR ──login ok──► IDLE ◄──────────release─────────┐
 *                          ▲   ▲                    │                             │
 *                          │   └─ sweep, retire ────┤ acquire                     │
 *                          │                        ▼                             │
 *                          └─ broken, busy, ──── LEASED(borrower) ────────────────┤
 *                             reclaimed,            ▲      │ somebody waits       │
 *                             cancelling            │      ▼                      │
 *                                                accept ─ GRANTED(waiter) ────────┘ (taken back)
 *
 * The word is the whole truth about a slot; every transition is one compare-and-swap of it, and all of them are in
 * client/lease.c. But for one: a slot without a backend is nobody's, whatever a hostile worker wrote there, and the
 * supervisor stores EMPTY over it. Whoever is named by the word owns the slot and alone may move it on; the supervisor
 * may in addition take IDLE and GRANTED slots, slots of the dead, and set flags on a word that it read.
 *
 *  word = version:40 | borrower:16 | flags:4 | state:4
 *
 * The version grows on every change, so a compare-and-swap from a word read earlier cannot hit a later lease.
 *
 * A waiter is a borrower whose wait word is not NONE. wait word = ticket:46 | slot:16 | state:2, always compared and
 * swapped whole:
 *
 *  NONE ──(waiter)──► WAITING(ticket) ──(giver)──► CLAIMED(ticket, slot) ──(waiter, once the slot says GRANTED(it)
 *  and it has made that LEASED(it))──► NONE.   Deadline: WAITING or CLAIMED ──(waiter)──► NONE, where no slot is
 *  GRANTED to it. A giver that sees its claim gone takes the slot back. So does the supervisor where the waiter leaves
 *  a grant lying (it is stopped): CLAIMED ──(supervisor)──► NONE; a waiter that finds itself there queues anew. And
 *  where the giver does not make its grant (it is stopped): CLAIMED ──(waiter)──► WAITING, with the same ticket.
 */
#ifndef PGLEND_LEASE_H
#define PGLEND_LEASE_H

#include "segment.h"

enum slot_state { SLOT_EMPTY, SLOT_SUPERVISOR, SLOT_IDLE, SLOT_LEASED, SLOT_GRANTED, SLOT_STATES };

enum slot_flag {
    SLOT_RESET_PENDING = 1, /* the reset's answer is still to be read off the socket */
    SLOT_RETIRE = 2,        /* goes to the supervisor when its lease ends, to be replaced */
    SLOT_CANCELLING = 4,    /* a cancel request is on its way to the backend: goes to the supervisor at release */
    SLOT_BROKEN = 8 /* with SUPERVISOR: close and replace; without it: find the protocol position, reset, reuse */
};

enum wait_state { WAIT_NONE, WAIT_WAITING, WAIT_CLAIMED };

#define NO_SLOT     UINT32_MAX
#define NO_BORROWER UINT32_C(0xffff)

static inline enum slot_state word_state(uint64_t word)
{
    return (enum slot_state)(word & 15);
}
static inline unsigned word_flags(uint64_t word)
{
    return (unsigned)(word >> 4) & 15;
}
static inline uint32_t word_borrower(uint64_t word)
{
    return (uint32_t)(word >> 8) & 0xffff;
}
static inline uint64_t word_version(uint64_t word)
{
    return word >> 24;
}

/* Of a slot that is EMPTY, and has been nothing else. */
static inline uint64_t word_first(uint64_t version)
{
    return version << 24 | SLOT_EMPTY;
}

/* The word that follows WORD: one version later. */
static inline uint64_t word_next(uint64_t word, enum slot_state state, unsigned flags, uint32_t borrower)
{
    return ((word_version(word) + 1) << 24) | ((uint64_t)(borrower & 0xffff) << 8) | ((flags & 15U) << 4) |
           (unsigned)state;
}

static inline enum wait_state wait_state(uint64_t wait)
{
    return (enum wait_state)(wait & 3);
}
static inline uint32_t wait_slot(uint64_t wait)
{
    return (uint32_t)(wait >> 2) & 0xffff;
}
static inline uint64_t wait_ticket(uint64_t wait)
{
    return wait >> 18;
}
static inline uint64_t wait_make(enum wait_state state, uint32_t slot, uint64_t ticket)
{
    return (ticket << 18) | ((uint64_t)(slot & 0xffff) << 2) | (unsigned)state;
}

/* "idle", "leased", …: the names that administration prints. */
const char *slot_state_name(enum slot_state state);

/*
 * ---- For a worker. B is a borrower index that this process claimed; it holds or waits for one slot at a time. ----
 */

/* The worker that owns an entry, NO_OWNER if none does or there is no such entry. */
#define NO_OWNER UINT32_MAX
uint32_t borrower_worker(const struct segment *s, uint32_t borrower);
/* Claim a borrower entry for worker W. -1: all are taken. */
int borrower_claim(const struct segment *s, uint32_t worker, uint32_t *borrower);
/* Is the entry still W's? Another worker may have written over it. */
bool borrower_owned(const struct segment *s, uint32_t borrower, uint32_t worker);
void borrower_free(const struct segment *s, uint32_t borrower);
/* How many entries were ever claimed, within the limits of the mapping. */
uint32_t borrowers_used(const struct segment *s);
/* That number may have been lowered by whoever writes here: nobody who waits above it would be seen. */
void borrowers_mend_used(const struct segment *s);

struct lease_wish {
    uint32_t own;          /* slot this process used last, or NO_SLOT */
    uint32_t max;          /* only slots below this one */
    const uint64_t *among; /* only slots of this bitmap (SLOTS_MAX bits); NULL: any */
    uint64_t now;          /* CLOCK_MONOTONIC, ns */
    uint64_t settled;      /* a reset sent longer ago than this has its answer in, as far as one can guess; ns */
};

/* Take an idle slot if nobody waits. Returns its index, or NO_SLOT. *word: the LEASED word. Never blocks. */
uint32_t lease_try(const struct segment *s, uint32_t borrower, const struct lease_wish *wish, uint64_t *word);

/* Join the queue: publish WAITING, then look at the slots once more (what is won goes to the oldest waiter). */
void lease_enqueue(const struct segment *s, uint32_t borrower, const struct lease_wish *wish);

/* Sleep until woken or UNTIL (ns, CLOCK_MONOTONIC), 100 ms at most, then look. Slot accepted, or NO_SLOT: go on. */
uint32_t lease_wait(const struct segment *s, uint32_t borrower, const struct lease_wish *wish, uint64_t until,
                    uint64_t *word);

/* Leave the queue. Returns a slot if one was granted in the last moment (it is LEASED then), else NO_SLOT. */
uint32_t lease_leave(const struct segment *s, uint32_t borrower, uint64_t *word);

/*
 * End a lease well: the slot goes to the oldest waiter or idle, with FLAGS (SLOT_RESET_PENDING or 0). Where the
 * supervisor has marked it (retire, cancelling) it goes to the supervisor instead. LEASE_GIVEN, _SUPERVISOR (send it
 * RETURNED), or _LOST: the slot is not this borrower's any more.
 */
enum lease_end { LEASE_GIVEN, LEASE_SUPERVISOR, LEASE_LOST };
enum lease_end lease_give(const struct segment *s, uint32_t borrower, uint32_t slot, unsigned flags);
/* The same where the time is known already. */
enum lease_end lease_give_at(const struct segment *s, uint32_t borrower, uint32_t slot, unsigned flags, uint64_t now);

/* End a lease badly: the slot goes to the supervisor, with SLOT_BROKEN or 0. LEASE_SUPERVISOR or LEASE_LOST. */
enum lease_end lease_surrender(const struct segment *s, uint32_t borrower, uint32_t slot, unsigned flags);

/* True while SLOT says LEASED(BORROWER). */
bool lease_held(const struct segment *s, uint32_t borrower, uint32_t slot);

/*
 * ---- For the supervisor, single-threaded. It never waits for a worker. ----
 */

uint64_t slot_word(const struct segment *s, uint32_t slot);

/* EXPECTED → SUPERVISOR with FLAGS, if the word is still EXPECTED. */
bool lease_take(const struct segment *s, uint32_t slot, uint64_t expected, unsigned flags);
/* Set or clear flags on a word, if it is still EXPECTED. */
bool lease_mark(const struct segment *s, uint32_t slot, uint64_t expected, unsigned set, unsigned clear);
/* SUPERVISOR → EMPTY. */
void lease_empty(const struct segment *s, uint32_t slot);
/* EMPTY → SUPERVISOR. */
bool lease_fill(const struct segment *s, uint32_t slot);
/* SUPERVISOR → the oldest waiter, or IDLE. */
void lease_supply(const struct segment *s, uint32_t slot, unsigned flags);

/*
 * Bring the words into order, whatever died or was corrupted: drop the waits of dead borrowers, revert claims whose
 * giver is gone, take back slots of the dead and grants nobody waits for or accepts within GRANT_BOUND_NS, pair idle
 * slots with waiters, wake everybody who waits, free borrower entries of dead workers that no word names. ALIVE says
 * whether a worker index is alive; TAKEN is called for each slot that is SUPERVISOR's as a result, with its flags
 * (SLOT_BROKEN: garbage in the word; SLOT_RESET_PENDING kept). GRANTS is the sweeper's own memory of what it saw, one a
 * slot, zero at first; NULL: grants may lie for ever. Idempotent; never waits.
 */
#define GRANT_BOUND_NS UINT64_C(1000000000) /* a waiter that runs looks ten times a second */
struct grant {
    uint64_t word; /* the GRANTED word that was seen */
    uint64_t seen; /* first; ns */
};
struct sweep {
    bool (*alive)(void *context, uint32_t worker);
    void (*taken)(void *context, uint32_t slot, unsigned flags, uint32_t worker);
    void *context;
    struct grant *grants;
    bool sole_writer; /* only the supervisor writes here: an entry that no word names is nobody's */
};
void lease_sweep(const struct segment *s, const struct sweep *sweep);

/* Number of borrowers that wait now; OLDEST_NS: since when the oldest does (0: nobody). */
uint32_t lease_waiting(const struct segment *s, uint64_t *oldest_ns);
/* Wake all who wait, so that they look at the pool's state again. */
void lease_wake_all(const struct segment *s);

/* CLOCK_MONOTONIC in nanoseconds: the clock of every time in the segment. */
uint64_t clock_ns(void);

#endif
