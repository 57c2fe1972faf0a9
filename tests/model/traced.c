/* SPDX-License-Identifier: ISC */
/*
 * traced.c - traces of client/lease.c for the model to follow: traced DIRECTORY COUNT [SEED].
 *
 * The source itself is compiled in, with its atomic accesses, the futex and the clock replaced: before each access
 * another process may go on, as the seed says, and may be dead for good. Processes are contexts of this one thread, so
 * a seed is a trace. A line is an access to shared memory: who, what, of which, changed to what.
 */
#include "lease.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define WORKERS    3
#define SLOTS      2
#define LEASES     2
#define SUPERVISOR WORKERS
#define STACK_SIZE 65536
#define LINES_MAX  1000

struct process {
    ucontext_t context;
    bool ended, dead;
    _Atomic uint32_t *futex; /* it sleeps there */
    bool timed_out;
    char stack[STACK_SIZE];
};

static struct segment seg;
static struct process process[WORKERS + 1];
static ucontext_t scheduler;
static unsigned running, lines;
static bool tracing;
static uint64_t time_now;
static FILE *trace;

static unsigned choose(unsigned below)
{
    return (unsigned)random() % below;
}

static void line(unsigned who, char what, unsigned n, unsigned value)
{
    if (!tracing)
        return;
    fprintf(trace, "%u %c %u %u\n", who, what, n, value);
    lines++;
}

/* ---- what is put in place of an access ---- */

static void step(void)
{
    if (tracing)
        (void)swapcontext(&process[running].context, &scheduler);
}

static unsigned slot_value(uint64_t word)
{
    static const unsigned states[SLOT_STATES] = {[SLOT_LEASED] = 1, [SLOT_GRANTED] = 2, [SLOT_SUPERVISOR] = 3};
    unsigned state = states[word_state(word)];

    return state * 32 +
           (state == 1 || state == 2 ? word_borrower(word) * 2 + ((word_flags(word) & SLOT_RETIRE) != 0) : 0);
}

static void changed(const void *at)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (at == &seg.slot[i].word)
            line(running, 's', i, slot_value(atomic_load(&seg.slot[i].word)));
    for (unsigned b = 0; b < WORKERS; b++) {
        uint64_t wait = atomic_load(&seg.borrower[b].wait);

        if (at == &seg.borrower[b].wait)
            line(running, 'w', b, wait_state(wait) == WAIT_CLAIMED ? 2 + wait_slot(wait) : (unsigned)wait_state(wait));
        if (at == &seg.borrower[b].wake)
            line(running, '!', b, 0);
    }
    if (at == &seg.header->next_ticket)
        line(running, 't', 0, 0);
}

/* Seen, and left as it was. */
static void read_only(const void *at)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (at == &seg.slot[i].word)
            line(running, 'r', i, 0);
    for (unsigned b = 0; b < WORKERS; b++) {
        if (at == &seg.borrower[b].wait)
            line(running, 'q', b, 0);
        if (at == &seg.borrower[b].wake)
            line(running, 'k', b, 0);
    }
    if (at == &seg.header->waiting[0])
        line(running, 'B', 0, 0);
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    step();
    if (operation == FUTEX_WAKE) {
        for (unsigned w = 0; w < WORKERS; w++)
            if (process[w].futex == word)
                process[w].futex = NULL;
        return 0;
    }
    if (atomic_load(word) != value) {
        errno = EAGAIN;
        return -1;
    }
    process[running].futex = word;
    process[running].timed_out = false;
    step();
    errno = ETIMEDOUT;
    return process[running].timed_out ? -1 : 0;
}

static int tell_time(struct timespec *ts)
{
    time_now += 1000;
    ts->tv_sec = (time_t)(time_now / 1000000000);
    ts->tv_nsec = (long)(time_now % 1000000000);
    return 0;
}

#define ORDERED memory_order_seq_cst
#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_fetch_add
#undef atomic_fetch_or
#undef atomic_fetch_and
#undef atomic_compare_exchange_strong
#define atomic_load(at)      (step(), read_only(at), atomic_load_explicit(at, ORDERED))
#define atomic_store(at, to) (step(), atomic_store_explicit(at, to, ORDERED), changed(at))
#define atomic_exchange(at, to)                                                                                        \
    ({                                                                                                                 \
        step();                                                                                                        \
        __auto_type was = atomic_exchange_explicit(at, to, ORDERED);                                                   \
        changed(at);                                                                                                   \
        was;                                                                                                           \
    })
#define atomic_fetch_add(at, more)                                                                                     \
    ({                                                                                                                 \
        step();                                                                                                        \
        __auto_type was = atomic_fetch_add_explicit(at, more, ORDERED);                                                \
        changed(at);                                                                                                   \
        was;                                                                                                           \
    })
#define atomic_compare_exchange_strong(at, from, to)                                                                   \
    ({                                                                                                                 \
        step();                                                                                                        \
        bool same = atomic_compare_exchange_strong_explicit(at, from, to, ORDERED, ORDERED);                           \
        if (same)                                                                                                      \
            changed(at);                                                                                               \
        else                                                                                                           \
            read_only(at);                                                                                             \
        same;                                                                                                          \
    })
/* Of the bitmap of those who wait. */
#define atomic_fetch_or(at, bits)                                                                                      \
    (step(), line(running, '+', (unsigned)__builtin_ctzll(bits), 0), atomic_fetch_or_explicit(at, bits, ORDERED))
#define atomic_fetch_and(at, bits)                                                                                     \
    (step(), line(running, '-', (unsigned)__builtin_ctzll(~(bits)), 0), atomic_fetch_and_explicit(at, bits, ORDERED))
#define clock_gettime(clock, ts)                               tell_time(ts)
#define syscall(number, word, operation, value, time, at, bit) futex(word, operation, (uint32_t)(value))

#ifndef LEASE_C
#define LEASE_C "../../client/lease.c"
#endif
#include LEASE_C /* NOLINT(bugprone-suspicious-include): its accesses are replaced */

/* ---- who runs ---- */

static void take_leases(void)
{
    uint32_t b = running;

    for (unsigned i = 0; i < LEASES; i++) {
        struct lease_wish wish = {.own = NO_SLOT, .max = SLOTS};
        unsigned patience = choose(8);
        uint64_t word;
        uint32_t slot = lease_try(&seg, b, &wish, &word);

        if (slot == NO_SLOT) {
            lease_enqueue(&seg, b, &wish);
            for (unsigned n = 0; slot == NO_SLOT && n <= patience; n++)
                slot = lease_wait(&seg, b, &wish, n < patience ? UINT64_MAX : 0, &word);
            if (slot == NO_SLOT) {
                line(b, 'v', 0, 0);
                slot = lease_leave(&seg, b, &word);
            }
        }
        if (slot == NO_SLOT)
            continue;
        for (unsigned n = choose(40); n > 0; n--)
            step();
        (void)lease_give(&seg, b, slot, 0);
    }
}

static unsigned gone; /* workers whose death this sweep knows of, a bit each */

static bool is_alive(void *context, uint32_t worker)
{
    (void)context;
    return (gone >> worker & 1) == 0;
}

static void is_taken(void *context, uint32_t slot, unsigned flags, uint32_t worker)
{
    (void)context;
    (void)slot;
    (void)flags;
    (void)worker;
}

static uint64_t slot_peek(uint32_t slot)
{
    return atomic_load_explicit(&seg.slot[slot].word, ORDERED);
}

/* Whether it must try again is no affair of the model's. */
static void mark(uint32_t slot)
{
    tracing = false;
    (void)lease_mark(&seg, slot, slot_peek(slot), SLOT_RETIRE, 0);
    tracing = true;
    changed(&seg.slot[slot].word);
}

static void supervise(void)
{
    struct grant grants[SLOTS] = {0};
    struct sweep sweep = {.alive = is_alive, .taken = is_taken, .grants = grants};

    for (;;) {
        uint32_t slot = choose(SLOTS);
        enum slot_state state;

        step();
        state = word_state(slot_peek(slot));
        if (state == SLOT_SUPERVISOR)
            lease_supply(&seg, slot, 0);
        else if ((state == SLOT_LEASED || state == SLOT_GRANTED) && choose(16) == 0)
            mark(slot);
        if (choose(4) != 0)
            continue;
        for (unsigned w = 0; w < WORKERS; w++)
            gone |= (unsigned)process[w].dead << w;
        time_now += choose(2) * GRANT_BOUND_NS;
        line(SUPERVISOR, 'b', 0, 0);
        lease_sweep(&seg, &sweep);
    }
}

static void run(void)
{
    if (running == SUPERVISOR)
        supervise();
    else
        take_leases();
    process[running].ended = true;
}

static void begin(unsigned p)
{
    struct process *at = &process[p];

    at->ended = at->dead = false;
    at->futex = NULL;
    (void)getcontext(&at->context);
    at->context.uc_stack.ss_sp = at->stack;
    at->context.uc_stack.ss_size = sizeof at->stack;
    at->context.uc_link = &scheduler;
    makecontext(&at->context, run, 0);
}

static void die(unsigned p)
{
    line(p, 'x', 0, 0);
    if (p == SUPERVISOR)
        begin(p);
    else
        process[p].dead = process[p].ended = true;
}

static bool is_over(void)
{
    for (unsigned w = 0; w < WORKERS; w++)
        if (!process[w].ended)
            return false;
    return true;
}

static void follow(bool deaths)
{
    while (!is_over() && lines < LINES_MAX) {
        running = choose(WORKERS + 1);
        if (process[running].ended)
            continue;
        if (process[running].futex != NULL) {
            if (choose(64) != 0)
                continue;
            process[running].futex = NULL;
            process[running].timed_out = true;
            line(running, 'l', 0, 0);
        }
        if (deaths && choose(150) == 0)
            die(running);
        else
            (void)swapcontext(&scheduler, &process[running].context);
    }
}

static int make_segment(void)
{
    char name[SEGMENT_NAME_MAX];
    int fd, mapped;
    uint32_t b;

    (void)snprintf(name, sizeof name, "/pglend.test%d.traced", (int)getpid());
    fd = segment_create(name, "lease", SLOTS, WORKERS, 0);
    if (fd == -1 || shm_unlink(name) == -1)
        return -1;
    mapped = segment_map(&seg, fd);
    (void)close(fd);
    if (mapped == -1)
        return -1;
    for (uint32_t w = 0; w < WORKERS; w++)
        if (borrower_claim(&seg, w, &b) == -1 || b != w)
            return -1;
    for (uint32_t i = 0; i < SLOTS; i++) {
        (void)lease_fill(&seg, i);
        lease_supply(&seg, i, 0);
    }
    return 0;
}

static int trace_one(const char *directory, unsigned seed)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%u", directory, seed);
    trace = fopen(path, "w");
    if (trace == NULL || make_segment() == -1)
        return -1;
    srandom(seed);
    lines = gone = 0;
    for (unsigned p = 0; p <= WORKERS; p++)
        begin(p);
    tracing = true;
    follow(seed % 2 == 1);
    tracing = false;
    segment_unmap(&seg);
    return fclose(trace);
}

int main(int argc, char **argv)
{
    unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    unsigned seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;

    if (count == 0) {
        fprintf(stderr, "usage: traced DIRECTORY COUNT [SEED]\n");
        return 2;
    }
    for (unsigned i = 0; i < count; i++)
        if (trace_one(argv[1], seed + i) != 0) {
            perror("traced");
            return 1;
        }
    return 0;
}
