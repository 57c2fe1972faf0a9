/* SPDX-License-Identifier: ISC */
/*
 * lease.c - every transition of a slot and of a waiter, one compare-and-swap each (but lease_empty(), a store).
 *
 * No system calls but futex and the clock, no lock, no allocation. A process may die, or be stopped for good, between
 * any two instructions here: what it leaves behind names its owner, and lease_sweep() puts it right.
 *
 * Memory order: sequentially consistent wherever a slot word, a wait word or the bitmap is touched. A waiter
 * publishes its wait and then looks at the slots; a giver makes its slot idle and then looks at the waiters. Each
 * writes one location and reads the other's: with anything weaker both could miss the other, and a waiter would sleep
 * beside an idle slot. On x86-64 a compare-and-swap is a full barrier anyway. Reports (since, lease, uses) are relaxed.
 */
#include "lease.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* So often the supervisor tries, until its next sweep, where a hostile worker keeps changing words under its hand. */
#define SUPERVISOR_TRIES 10000

/* A sleeper looks again after this long without a wake: whoever should have woken it may have been stopped. */
#define SLEEP_MAX_NS UINT64_C(100000000)

uint64_t clock_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

const char *slot_state_name(enum slot_state state)
{
    static const char *const names[SLOT_STATES] = {
        [SLOT_EMPTY] = "empty",   [SLOT_SUPERVISOR] = "supervisor", [SLOT_IDLE] = "idle",
        [SLOT_LEASED] = "leased", [SLOT_GRANTED] = "granted",
    };

    return (unsigned)state < SLOT_STATES ? names[state] : "invalid";
}

uint64_t slot_word(const struct segment *s, uint32_t slot)
{
    return atomic_load(&s->slot[slot].word);
}

static bool slot_swap(const struct segment *s, uint32_t slot, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(&s->slot[slot].word, &from, to);
}

static bool wait_swap(const struct segment *s, uint32_t borrower, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(&s->borrower[borrower].wait, &from, to);
}

/* Does WORD name ME as owner? NO_BORROWER stands for the supervisor. */
static bool owned_by(uint64_t word, uint32_t me)
{
    if (me == NO_BORROWER)
        return word_state(word) == SLOT_SUPERVISOR;
    return word_state(word) == SLOT_LEASED && word_borrower(word) == me;
}

static uint64_t own_word(uint64_t word, unsigned flags, uint32_t me)
{
    return word_next(word, me == NO_BORROWER ? SLOT_SUPERVISOR : SLOT_LEASED, flags, me);
}

/* ---- sleeping and waking ---- */

static void futex_wake(_Atomic uint32_t *word)
{
    (void)atomic_fetch_add(word, 1);
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/*
 * True: it was woken. False when the time was up, or a signal came: in a process that gets one every few milliseconds
 * the time is never up. Not FUTEX_PRIVATE: the waker is another process.
 */
static bool futex_sleep(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

    return syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0) == 0 || errno == EAGAIN;
}

/* ---- who waits ---- */

static void show_waiting(const struct segment *s, uint32_t borrower)
{
    (void)atomic_fetch_or(&s->header->waiting[borrower / 64], UINT64_C(1) << (borrower % 64));
}

static void hide_waiting(const struct segment *s, uint32_t borrower)
{
    (void)atomic_fetch_and(&s->header->waiting[borrower / 64], ~(UINT64_C(1) << (borrower % 64)));
}

/* The borrower that has been WAITING longest, with its wait word; NO_BORROWER: nobody. */
static uint32_t oldest_waiter(const struct segment *s, uint64_t *wait)
{
    uint32_t used = borrowers_used(s), oldest = NO_BORROWER;

    for (uint32_t base = 0; base < used; base += 64)
        for (uint64_t bits = atomic_load(&s->header->waiting[base / 64]); bits != 0; bits &= bits - 1) {
            uint32_t b = base + (uint32_t)__builtin_ctzll(bits);
            uint64_t word;

            if (b >= used)
                break;
            word = atomic_load(&s->borrower[b].wait);
            if (wait_state(word) != WAIT_WAITING || (oldest != NO_BORROWER && wait_ticket(word) >= wait_ticket(*wait)))
                continue;
            oldest = b;
            *wait = word;
        }
    return oldest;
}

/* The same question where only yes or no matters: ends at the first one found. */
static bool somebody_waits(const struct segment *s)
{
    uint32_t used = borrowers_used(s);

    for (uint32_t base = 0; base < used; base += 64)
        for (uint64_t bits = atomic_load(&s->header->waiting[base / 64]); bits != 0; bits &= bits - 1) {
            uint32_t b = base + (uint32_t)__builtin_ctzll(bits);

            if (b < used && wait_state(atomic_load(&s->borrower[b].wait)) == WAIT_WAITING)
                return true;
        }
    return false;
}

/* ---- giving ---- */

/*
 * SLOT was GRANTED by ME, and the waiter is gone: it is ME's again. A word that only a version separates from the grant
 * is the grant, marked by the supervisor meanwhile. (What the supervisor grants is marked by nobody.)
 */
static bool take_back(const struct segment *s, uint32_t slot, uint64_t granted, uint32_t me)
{
    uint64_t word;

    while (!slot_swap(s, slot, granted, own_word(granted, word_flags(granted), me))) {
        word = slot_word(s, slot);
        if (me == NO_BORROWER || word != word_next(granted, SLOT_GRANTED, word_flags(word), word_borrower(granted)))
            return false;
        granted = word;
    }
    return true;
}

/*
 * ME owns SLOT, whose word is WORD, and grants it to waiter TO, whose wait word is WAIT. False: it is not granted, and
 * still ME's or was taken from it.
 */
static bool grant(const struct segment *s, uint32_t slot, uint64_t word, unsigned flags, uint32_t me, uint32_t to,
                  uint64_t wait)
{
    uint64_t claim = wait_make(WAIT_CLAIMED, slot, wait_ticket(wait));
    uint64_t granted = word_next(word, SLOT_GRANTED, flags, to);

    if (!wait_swap(s, to, wait, claim))
        return false;
    if (!slot_swap(s, slot, word, granted)) {
        (void)wait_swap(s, to, claim, wait);
        return false;
    }
    /* A waiter whose deadline passed between claim and grant has left, and will not look at the slot again. */
    if (atomic_load(&s->borrower[to].wait) != claim && take_back(s, slot, granted, me))
        return false;
    futex_wake(&s->borrower[to].wake);
    return true;
}

/* ME owns SLOT and lets it go: to the oldest waiter, else idle. */
static enum lease_end pass_on_at(const struct segment *s, uint32_t slot, unsigned flags, uint32_t me, uint64_t now)
{
    atomic_store_explicit(&s->slot[slot].since, now, memory_order_relaxed);
    atomic_store_explicit(&s->slot[slot].idle_since, now, memory_order_relaxed);
    for (unsigned tries = 0; me != NO_BORROWER || tries < SUPERVISOR_TRIES; tries++) {
        uint64_t word = slot_word(s, slot), idle, wait = 0;
        uint32_t to;

        if (!owned_by(word, me))
            return LEASE_LOST;
        if (me != NO_BORROWER && (word_flags(word) & (SLOT_RETIRE | SLOT_CANCELLING)) != 0) {
            unsigned marked = word_flags(word) & (SLOT_RETIRE | SLOT_CANCELLING);

            if (slot_swap(s, slot, word, word_next(word, SLOT_SUPERVISOR, marked | flags, NO_BORROWER)))
                return LEASE_SUPERVISOR;
            continue;
        }
        to = oldest_waiter(s, &wait);
        if (to != NO_BORROWER && grant(s, slot, word, flags, me, to, wait))
            return LEASE_GIVEN;
        if (to != NO_BORROWER)
            continue;
        idle = word_next(word, SLOT_IDLE, flags, NO_BORROWER);
        if (!slot_swap(s, slot, word, idle))
            continue;
        /* Look again: who published its wait before the slot was idle may have looked at the slots before that, too. */
        if (!somebody_waits(s) || !slot_swap(s, slot, idle, own_word(idle, flags, me)))
            return LEASE_GIVEN;
    }
    return LEASE_LOST;
}

static enum lease_end pass_on(const struct segment *s, uint32_t slot, unsigned flags, uint32_t me)
{
    return pass_on_at(s, slot, flags, me, clock_ns());
}

/* Where a mark came just now, the slot is the supervisor's, and nobody here can tell it: pool_sweep() finds it. */
static void pass_on_untold(const struct segment *s, uint32_t slot, unsigned flags, uint32_t me)
{
    (void)pass_on(s, slot, flags, me);
}

enum lease_end lease_give(const struct segment *s, uint32_t borrower, uint32_t slot, unsigned flags)
{
    return pass_on(s, slot, flags, borrower);
}

enum lease_end lease_give_at(const struct segment *s, uint32_t borrower, uint32_t slot, unsigned flags, uint64_t now)
{
    return pass_on_at(s, slot, flags, borrower, now);
}

enum lease_end lease_surrender(const struct segment *s, uint32_t borrower, uint32_t slot, unsigned flags)
{
    uint64_t word;

    do {
        word = slot_word(s, slot);
        if (!owned_by(word, borrower))
            return LEASE_LOST;
    } while (!slot_swap(s, slot, word, word_next(word, SLOT_SUPERVISOR, word_flags(word) | flags, NO_BORROWER)));
    return LEASE_SUPERVISOR;
}

bool lease_held(const struct segment *s, uint32_t borrower, uint32_t slot)
{
    return owned_by(slot_word(s, slot), borrower);
}

/* ---- taking ---- */

static void lease_began(const struct segment *s, uint32_t slot, uint64_t word, uint64_t now)
{
    struct slot *at = &s->slot[slot];
    uint32_t uses = atomic_load_explicit(&at->uses, memory_order_relaxed);

    atomic_store_explicit(&at->lease, word_version(word), memory_order_relaxed);
    atomic_store_explicit(&at->since, now, memory_order_relaxed);
    atomic_store_explicit(&at->uses, uses + 1, memory_order_relaxed);
}

static bool take_idle(const struct segment *s, uint32_t borrower, uint32_t slot, uint64_t *word)
{
    uint64_t seen = slot_word(s, slot), leased;

    if (word_state(seen) != SLOT_IDLE)
        return false;
    leased = word_next(seen, SLOT_LEASED, word_flags(seen), borrower);
    if (!slot_swap(s, slot, seen, leased))
        return false;
    *word = leased;
    return true;
}

/* Idle, and the last reset's answer is in as far as its age tells. */
static bool is_settled(const struct segment *s, uint32_t slot, const struct lease_wish *wish)
{
    uint64_t word = slot_word(s, slot);

    if (word_state(word) != SLOT_IDLE)
        return false;
    return (word_flags(word) & SLOT_RESET_PENDING) == 0 ||
           wish->now - atomic_load_explicit(&s->slot[slot].since, memory_order_relaxed) >= wish->settled;
}

static bool is_wished(const struct lease_wish *wish, uint32_t slot)
{
    return wish->among == NULL || (wish->among[slot / 64] >> (slot % 64) & 1) != 0;
}

/* In this order: own and settled, any settled, own, lowest. High slots go idle and age out. */
static uint32_t take_any(const struct segment *s, uint32_t borrower, const struct lease_wish *wish, uint64_t *word)
{
    uint32_t max = wish->max < s->slots ? wish->max : s->slots;
    bool own = wish->own < max && is_wished(wish, wish->own);

    if (own && is_settled(s, wish->own, wish) && take_idle(s, borrower, wish->own, word))
        return wish->own;
    for (uint32_t i = 0; i < max; i++)
        if (is_wished(wish, i) && is_settled(s, i, wish) && take_idle(s, borrower, i, word))
            return i;
    if (own && take_idle(s, borrower, wish->own, word))
        return wish->own;
    for (uint32_t i = 0; i < max; i++)
        if (is_wished(wish, i) && take_idle(s, borrower, i, word))
            return i;
    return NO_SLOT;
}

uint32_t lease_try(const struct segment *s, uint32_t borrower, const struct lease_wish *wish, uint64_t *word)
{
    uint32_t slot;

    /* A newcomer must not overtake a waiter. */
    if (somebody_waits(s))
        return NO_SLOT;
    slot = take_any(s, borrower, wish, word);
    if (slot != NO_SLOT)
        lease_began(s, slot, *word, wish->now);
    return slot;
}

/* ---- waiting ---- */

/*
 * Idle slots beside waiters go to the oldest of them, until there are none or this one's turn has come. No more of them
 * than could wait before this one: where somebody wrote over what shows this wait, its own slots come back to it idle.
 */
static void serve_waiters(const struct segment *s, uint32_t borrower, const struct lease_wish *wish)
{
    for (uint32_t given = 0;
         given < s->borrowers && wait_state(atomic_load(&s->borrower[borrower].wait)) == WAIT_WAITING; given++) {
        uint64_t word;
        uint32_t slot = take_any(s, borrower, wish, &word);

        if (slot == NO_SLOT)
            return;
        pass_on_untold(s, slot, word_flags(word), borrower);
    }
}

void lease_enqueue(const struct segment *s, uint32_t borrower, const struct lease_wish *wish)
{
    struct borrower *me = &s->borrower[borrower];
    uint64_t ticket = atomic_fetch_add(&s->header->next_ticket, 1);

    atomic_store_explicit(&me->wait_since, wish->now, memory_order_relaxed);
    show_waiting(s, borrower);
    atomic_store(&me->wait, wait_make(WAIT_WAITING, 0, ticket));
    serve_waiters(s, borrower, wish);
}

static void wait_over(const struct segment *s, uint32_t borrower)
{
    atomic_store(&s->borrower[borrower].wait, 0);
    hide_waiting(s, borrower);
}

/*
 * SLOT is had, so the wait is over. One that had left its claim on SLOT may have been claimed for another meanwhile; a
 * giver that has granted that one, and looked, is done with it: it goes on from here.
 */
static void wait_ends_with(const struct segment *s, uint32_t borrower, uint32_t slot)
{
    uint64_t wait = atomic_exchange(&s->borrower[borrower].wait, 0), seen;
    uint32_t other = wait_slot(wait);

    hide_waiting(s, borrower);
    if (wait_state(wait) != WAIT_CLAIMED || other == slot || other >= s->slots)
        return;
    seen = slot_word(s, other);
    if (word_state(seen) == SLOT_GRANTED && word_borrower(seen) == borrower && take_back(s, other, seen, borrower))
        pass_on_untold(s, other, word_flags(seen) & SLOT_RESET_PENDING, borrower);
}

/* GRANTED(me) → LEASED(me), then the wait ends. */
static uint32_t take_grant(const struct segment *s, uint32_t borrower, uint32_t slot, uint64_t *word)
{
    uint64_t seen, leased;

    if (slot >= s->slots)
        return NO_SLOT;
    do {
        seen = slot_word(s, slot);
        if (word_state(seen) != SLOT_GRANTED || word_borrower(seen) != borrower)
            return NO_SLOT;
        leased = word_next(seen, SLOT_LEASED, word_flags(seen), borrower);
    } while (!slot_swap(s, slot, seen, leased));
    wait_ends_with(s, borrower, slot);
    lease_began(s, slot, leased, clock_ns());
    *word = leased;
    return slot;
}

static uint32_t accept_grant(const struct segment *s, uint32_t borrower, uint64_t *word)
{
    uint64_t wait = atomic_load(&s->borrower[borrower].wait);

    return wait_state(wait) == WAIT_CLAIMED ? take_grant(s, borrower, wait_slot(wait), word) : NO_SLOT;
}

/*
 * The wait is to be TO instead of WAIT. Where that was a claim, its giver may have made the grant just before, and
 * looked at the claim: it will not take the slot back. So look once more. *SLOT: what was granted. False: the wait word
 * has changed.
 */
static bool change_wait(const struct segment *s, uint32_t borrower, uint64_t wait, uint64_t to, uint32_t *slot,
                        uint64_t *word)
{
    *slot = NO_SLOT;
    if (!wait_swap(s, borrower, wait, to))
        return false;
    if (wait_state(wait) == WAIT_CLAIMED)
        *slot = take_grant(s, borrower, wait_slot(wait), word);
    return true;
}

/* Nobody woke this waiter. Whoever should have may be stopped, for good. */
static uint32_t look_about(const struct segment *s, uint32_t borrower, const struct lease_wish *wish, uint64_t *word)
{
    uint64_t wait = atomic_load(&s->borrower[borrower].wait);
    uint32_t slot = NO_SLOT;

    /* Claimed, and not granted: another giver may serve it. */
    if (wait_state(wait) == WAIT_CLAIMED)
        (void)change_wait(s, borrower, wait, wait_make(WAIT_WAITING, 0, wait_ticket(wait)), &slot, word);
    if (slot != NO_SLOT)
        return slot;
    /* An idle slot, and its giver has not looked again. */
    if (wait_state(wait) == WAIT_NONE)
        lease_enqueue(s, borrower, wish); /* stopped, or corrupted: back to the end of the queue */
    else
        serve_waiters(s, borrower, wish);
    return accept_grant(s, borrower, word);
}

uint32_t lease_wait(const struct segment *s, uint32_t borrower, const struct lease_wish *wish, uint64_t until,
                    uint64_t *word)
{
    struct borrower *me = &s->borrower[borrower];
    uint32_t seen = atomic_load(&me->wake), slot = accept_grant(s, borrower, word);
    uint64_t now = clock_ns();
    bool woken;

    if (slot != NO_SLOT || now >= until)
        return slot;
    woken = futex_sleep(&me->wake, seen, until - now < SLEEP_MAX_NS ? until - now : SLEEP_MAX_NS);
    slot = accept_grant(s, borrower, word);
    if (slot != NO_SLOT || woken)
        return slot;
    return look_about(s, borrower, wish, word);
}

uint32_t lease_leave(const struct segment *s, uint32_t borrower, uint64_t *word)
{
    uint32_t slot = accept_grant(s, borrower, word);

    while (slot == NO_SLOT) {
        uint64_t wait = atomic_load(&s->borrower[borrower].wait);

        if (change_wait(s, borrower, wait, 0, &slot, word)) {
            hide_waiting(s, borrower);
            break;
        }
        slot = accept_grant(s, borrower, word);
    }
    return slot;
}

void lease_wake_all(const struct segment *s)
{
    uint32_t used = borrowers_used(s);

    for (uint32_t b = 0; b < used; b++)
        if (wait_state(atomic_load(&s->borrower[b].wait)) != WAIT_NONE)
            futex_wake(&s->borrower[b].wake);
}

/* ---- the supervisor ---- */

bool lease_take(const struct segment *s, uint32_t slot, uint64_t expected, unsigned flags)
{
    return slot_swap(s, slot, expected, word_next(expected, SLOT_SUPERVISOR, flags, NO_BORROWER));
}

bool lease_mark(const struct segment *s, uint32_t slot, uint64_t expected, unsigned set, unsigned clear)
{
    unsigned flags = (word_flags(expected) | set) & ~clear;

    return slot_swap(s, slot, expected, word_next(expected, word_state(expected), flags, word_borrower(expected)));
}

void lease_empty(const struct segment *s, uint32_t slot)
{
    atomic_store(&s->slot[slot].word, word_next(slot_word(s, slot), SLOT_EMPTY, 0, NO_BORROWER));
}

bool lease_fill(const struct segment *s, uint32_t slot)
{
    uint64_t word = slot_word(s, slot);

    return word_state(word) == SLOT_EMPTY && slot_swap(s, slot, word, word_next(word, SLOT_SUPERVISOR, 0, NO_BORROWER));
}

void lease_supply(const struct segment *s, uint32_t slot, unsigned flags)
{
    (void)pass_on(s, slot, flags, NO_BORROWER);
}

/* ---- the sweep ---- */

/* The live worker that owns entry B, or NO_OWNER. */
static uint32_t live_owner(const struct segment *s, const struct sweep *sweep, uint32_t b)
{
    uint32_t worker = borrower_worker(s, b);

    return worker != NO_OWNER && sweep->alive(sweep->context, worker) ? worker : NO_OWNER;
}

static void sweep_wait(const struct segment *s, const struct sweep *sweep, uint32_t b)
{
    uint64_t wait = atomic_load(&s->borrower[b].wait), word;
    uint32_t slot = wait_slot(wait);

    if (live_owner(s, sweep, b) == NO_OWNER) {
        /* A claim on it by a live giver: the giver looks again and takes its slot back. */
        wait_over(s, b);
        return;
    }
    /* A bit too many costs a look, one too few would cost this wait its turn. */
    show_waiting(s, b);
    if (wait_state(wait) != WAIT_CLAIMED)
        return;
    word = slot < s->slots ? slot_word(s, slot) : 0;
    if (word_state(word) == SLOT_GRANTED && word_borrower(word) == b)
        return;
    if (word_state(word) == SLOT_LEASED && live_owner(s, sweep, word_borrower(word)) != NO_OWNER)
        return; /* its giver lives, or it is accepting just now */
    (void)wait_swap(s, b, wait, wait_make(WAIT_WAITING, 0, wait_ticket(wait)));
}

/* Has the very grant WORD been lying there for too long? */
static bool is_left_lying(const struct sweep *sweep, uint32_t slot, uint64_t word)
{
    struct grant *grant = sweep->grants == NULL ? NULL : &sweep->grants[slot];
    uint64_t now;

    if (grant == NULL)
        return false;
    now = clock_ns();
    if (grant->word != word)
        *grant = (struct grant){.word = word, .seen = now};
    return now - grant->seen > GRANT_BOUND_NS;
}

/*
 * B did not come for what CLAIM and a GRANTED word offered it. Its bit goes first: once it may queue anew, it sets the
 * bit itself.
 */
static void drop_claim(const struct segment *s, uint32_t b, uint64_t claim)
{
    hide_waiting(s, b);
    if (!wait_swap(s, b, claim, 0))
        show_waiting(s, b);
}

static void sweep_grant(const struct segment *s, const struct sweep *sweep, uint32_t slot, uint64_t word)
{
    uint32_t b = word_borrower(word);
    uint64_t wait = b < s->borrowers ? atomic_load(&s->borrower[b].wait) : 0;
    bool awaited = live_owner(s, sweep, b) != NO_OWNER && wait_state(wait) == WAIT_CLAIMED && wait_slot(wait) == slot;

    if ((awaited && !is_left_lying(sweep, slot, word)) || !lease_take(s, slot, word, word_flags(word)))
        return;
    if (awaited)
        drop_claim(s, b, wait);
    /* Nobody has touched the session since it was given: it is as good as it was. */
    if ((word_flags(word) & SLOT_RETIRE) != 0)
        sweep->taken(sweep->context, slot, word_flags(word), NO_OWNER);
    else
        (void)pass_on(s, slot, word_flags(word), NO_BORROWER);
}

static void sweep_slot(const struct segment *s, const struct sweep *sweep, uint32_t slot)
{
    uint64_t word = slot_word(s, slot);
    uint32_t b = word_borrower(word);

    switch (word_state(word)) {
    case SLOT_EMPTY:
    case SLOT_SUPERVISOR:
        return;
    case SLOT_IDLE:
        if (somebody_waits(s) && lease_take(s, slot, word, word_flags(word)))
            (void)pass_on(s, slot, word_flags(word), NO_BORROWER);
        return;
    case SLOT_GRANTED:
        sweep_grant(s, sweep, slot, word);
        return;
    case SLOT_LEASED:
        if (live_owner(s, sweep, b) == NO_OWNER && lease_take(s, slot, word, word_flags(word)))
            sweep->taken(sweep->context, slot, word_flags(word), borrower_worker(s, b));
        return;
    case SLOT_STATES:
        break;
    }
    if (lease_take(s, slot, word, SLOT_BROKEN))
        sweep->taken(sweep->context, slot, SLOT_BROKEN, NO_OWNER);
}

/* May be given to another worker only while no word names it. */
static bool is_named(const struct segment *s, uint32_t b)
{
    for (uint32_t i = 0; i < s->slots; i++) {
        uint64_t word = slot_word(s, i);

        if ((word_state(word) == SLOT_LEASED || word_state(word) == SLOT_GRANTED) && word_borrower(word) == b)
            return true;
    }
    return wait_state(atomic_load(&s->borrower[b].wait)) != WAIT_NONE;
}

void lease_sweep(const struct segment *s, const struct sweep *sweep)
{
    uint32_t used;

    borrowers_mend_used(s);
    used = borrowers_used(s);
    for (uint32_t b = 0; b < used; b++)
        if (wait_state(atomic_load(&s->borrower[b].wait)) != WAIT_NONE)
            sweep_wait(s, sweep, b);
    for (uint32_t i = 0; i < s->slots; i++)
        sweep_slot(s, sweep, i);
    for (uint32_t b = 0; b < used; b++)
        if (borrower_worker(s, b) != NO_OWNER && (sweep->sole_writer || live_owner(s, sweep, b) == NO_OWNER) &&
            !is_named(s, b))
            borrower_free(s, b);
    lease_wake_all(s);
}
