/* SPDX-License-Identifier: ISC */
/*
 * lease.c - the lease table as threads, for ThreadSanitizer: lease OPERATIONS.
 *
 * Threads stand for workers, the first one for the supervisor, which sweeps and marks slots all the while. An operation
 * is an acquire, a wait or a release. The hard thing is to show memory order and not only exclusion: what a slot
 * protects is plain memory here, so that a lease which does not happen before the next one is a data race, and
 * reported. Overlaps are counted besides.
 */
#include "lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SLOTS   4
#define WORKERS 8

/* What a lease gives the right to: nothing in here is atomic but the count of those who believe they have it. */
struct session {
    _Alignas(64) uint64_t uses;
    uint32_t last;
    _Atomic int holders;
};

static struct segment seg;
static struct session session[SLOTS];
static _Atomic uint64_t operations, leases, waits, timeouts, overlaps, sweeps, marked;
static uint64_t wanted;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "tsan: %s\n", what);
    exit(1);
}

static void use(uint32_t slot, uint32_t borrower)
{
    if (atomic_fetch_add_explicit(&session[slot].holders, 1, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&overlaps, 1, memory_order_relaxed);
    session[slot].uses++;
    session[slot].last = borrower;
    atomic_fetch_sub_explicit(&session[slot].holders, 1, memory_order_relaxed);
}

static uint32_t wait_for(uint32_t b, const struct lease_wish *wish, uint64_t until)
{
    uint32_t slot = NO_SLOT;
    uint64_t word;

    atomic_fetch_add_explicit(&waits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
    lease_enqueue(&seg, b, wish);
    while (slot == NO_SLOT && clock_ns() < until)
        slot = lease_wait(&seg, b, wish, until, &word);
    return slot != NO_SLOT ? slot : lease_leave(&seg, b, &word);
}

static void *worker(void *argument)
{
    uint32_t me = (uint32_t)(uintptr_t)argument, b = NO_BORROWER, own = NO_SLOT;
    unsigned seed = me + 1;

    if (borrower_claim(&seg, me, &b) == -1)
        fail("no borrower entry is free");
    while (atomic_load_explicit(&operations, memory_order_relaxed) < wanted) {
        struct lease_wish wish = {.own = own, .max = SLOTS, .now = clock_ns(), .settled = 1000};
        uint64_t word;
        /* Deadlines about as short as a hand-over, now and then: leaving must meet granting. */
        uint64_t patience = rand_r(&seed) % 8 == 0 ? (uint64_t)rand_r(&seed) % 20000 : UINT64_C(1000000000);
        uint32_t slot = lease_try(&seg, b, &wish, &word);

        if (slot == NO_SLOT)
            slot = wait_for(b, &wish, wish.now + patience);
        if (slot == NO_SLOT) {
            atomic_fetch_add_explicit(&timeouts, 1, memory_order_relaxed);
            continue;
        }
        use(slot, b);
        own = slot;
        if (lease_give(&seg, b, slot, seed % 2 == 0 ? SLOT_RESET_PENDING : 0) == LEASE_LOST)
            fail("a lease was lost while its holder lived");
        atomic_fetch_add_explicit(&leases, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&operations, 2, memory_order_relaxed);
    }
    return NULL;
}

static bool alive(void *context, uint32_t worker_index)
{
    (void)context;
    return worker_index < WORKERS;
}

static void taken(void *context, uint32_t slot, unsigned flags, uint32_t worker_index)
{
    (void)context, (void)slot, (void)flags, (void)worker_index; /* supervise() supplies it */
}

/* One round: sweep, mark a lent slot, supply what came back. */
static void supervise(const struct sweep *sweep, uint32_t mark)
{
    uint64_t word = slot_word(&seg, mark);

    lease_sweep(&seg, sweep);
    atomic_fetch_add_explicit(&sweeps, 1, memory_order_relaxed);
    if (word_state(word) == SLOT_LEASED && lease_mark(&seg, mark, word, SLOT_RETIRE, 0))
        atomic_fetch_add_explicit(&marked, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < SLOTS; i++)
        if (word_state(slot_word(&seg, i)) == SLOT_SUPERVISOR) {
            use(i, NO_BORROWER);
            lease_supply(&seg, i, 0);
        }
}

static void make_table(void)
{
    int fd = segment_create(NULL, "tsan", SLOTS, WORKERS, 0);

    if (fd == -1 || segment_map(&seg, fd) == -1)
        fail("no segment: is /dev/shm there, and not full?");
    (void)close(fd);
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (!lease_fill(&seg, i))
            fail("a new slot is not empty");
        lease_supply(&seg, i, 0);
    }
}

/* Nobody borrows any more: after a sweep each slot is idle, and nobody waits. */
static unsigned lost_slots(const struct sweep *sweep)
{
    uint64_t oldest;
    unsigned lost = 0;

    supervise(sweep, 0);
    for (uint32_t i = 0; i < SLOTS; i++)
        lost += word_state(slot_word(&seg, i)) != SLOT_IDLE;
    return lost + lease_waiting(&seg, &oldest);
}

int main(int argc, char **argv)
{
    struct grant grants[SLOTS] = {{0}};
    const struct sweep sweep = {.alive = alive, .taken = taken, .grants = grants};
    pthread_t thread[WORKERS];
    uint64_t start = clock_ns(), used = 0;
    unsigned lost;

    wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    make_table();
    for (uintptr_t i = 0; i < WORKERS; i++)
        if (pthread_create(&thread[i], NULL, worker, (void *)i) != 0)
            fail("no thread");
    for (uint32_t round = 0; atomic_load_explicit(&operations, memory_order_relaxed) < wanted; round++) {
        supervise(&sweep, round % SLOTS);
        (void)usleep(500);
    }
    lease_wake_all(&seg);
    for (unsigned i = 0; i < WORKERS; i++)
        (void)pthread_join(thread[i], NULL);
    lost = lost_slots(&sweep);
    for (uint32_t i = 0; i < SLOTS; i++)
        used += session[i].uses;
    printf("tsan: %llu operations, %llu leases by %d threads on %d slots, %llu waits, %llu time-outs, %llu sweeps, "
           "%llu marks, "
           "%llu uses, %llu overlaps, %u lost, %.1f s\n",
           (unsigned long long)operations, (unsigned long long)leases, WORKERS, SLOTS, (unsigned long long)waits,
           (unsigned long long)timeouts, (unsigned long long)sweeps, (unsigned long long)marked,
           (unsigned long long)used, (unsigned long long)overlaps, lost, (double)(clock_ns() - start) / 1e9);
    return overlaps == 0 && lost == 0 && used >= leases ? 0 : 1;
}
