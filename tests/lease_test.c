/* SPDX-License-Identifier: ISC */
/*
 * lease_test.c - slots and waiters: single transitions, order of waiting, and a storm of processes that are killed.
 *
 * No database: the words alone. The test process plays the supervisor.
 */
#include "harness.h"
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define SLOTS   4
#define WORKERS 16

static struct segment seg;
static char shm_name[SEGMENT_NAME_MAX];

static void make_segment(void)
{
    int fd;

    (void)snprintf(shm_name, sizeof shm_name, "/pglend.test%d.lease", (int)getpid());
    fd = segment_create(shm_name, "lease", SLOTS, 64, 0);
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(shm_unlink(shm_name), 0);
    ck_assert_int_eq(segment_map(&seg, fd), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void drop_segment(void)
{
    segment_unmap(&seg);
}

static void supply(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        ck_assert(lease_fill(&seg, i));
        lease_supply(&seg, i, 0);
    }
}

static struct lease_wish wish(uint32_t own)
{
    return (struct lease_wish){.own = own, .max = SLOTS, .now = clock_ns(), .settled = 1000000};
}

static uint32_t claim(uint32_t worker)
{
    uint32_t b = NO_BORROWER;

    ck_assert_int_eq(borrower_claim(&seg, worker, &b), 0);
    return b;
}

static uint32_t try_slot(uint32_t b, uint32_t own)
{
    struct lease_wish w = wish(own);
    uint64_t word;

    return lease_try(&seg, b, &w, &word);
}

START_TEST(lowest_slot_first_own_slot_preferred)
{
    uint32_t a = claim(0), b = claim(1);

    ck_assert_uint_eq(try_slot(a, NO_SLOT), NO_SLOT);
    supply(3);
    ck_assert_uint_eq(try_slot(a, NO_SLOT), 0);
    ck_assert_uint_eq(try_slot(b, 2), 2);
    ck_assert_int_eq(lease_give(&seg, a, 0, 0), LEASE_GIVEN);
    ck_assert_int_eq(lease_give(&seg, b, 2, 0), LEASE_GIVEN);
    ck_assert_int_eq(lease_give(&seg, b, 2, 0), LEASE_LOST);
}
END_TEST

START_TEST(settled_slot_before_one_still_resetting)
{
    uint32_t a = claim(0), b = claim(1);
    struct lease_wish w;
    uint64_t word;

    supply(2);
    ck_assert_uint_eq(try_slot(a, NO_SLOT), 0);
    ck_assert_int_eq(lease_give(&seg, a, 0, SLOT_RESET_PENDING), LEASE_GIVEN);
    w = wish(0);
    w.settled = UINT64_C(3600000000000);
    ck_assert_uint_eq(lease_try(&seg, b, &w, &word), 1);
    ck_assert_uint_eq(lease_try(&seg, a, &w, &word), 0);
    ck_assert_uint_eq(word_flags(word), SLOT_RESET_PENDING);
}
END_TEST

START_TEST(version_grows_on_every_change)
{
    uint32_t a = claim(0);
    uint64_t before, after;

    supply(1);
    before = slot_word(&seg, 0);
    ck_assert_uint_eq(try_slot(a, NO_SLOT), 0);
    after = slot_word(&seg, 0);
    ck_assert_uint_eq(word_version(after), word_version(before) + 1);
    ck_assert(lease_mark(&seg, 0, after, SLOT_RETIRE, 0));
    ck_assert(!lease_mark(&seg, 0, after, SLOT_RETIRE, 0));
    ck_assert_uint_eq(word_version(slot_word(&seg, 0)), word_version(after) + 1);
    ck_assert_int_eq(lease_give(&seg, a, 0, 0), LEASE_SUPERVISOR);
    ck_assert_uint_eq(word_flags(slot_word(&seg, 0)), SLOT_RETIRE);
}
END_TEST

START_TEST(hand_over_goes_to_the_oldest_and_nobody_overtakes)
{
    uint32_t holder = claim(0), first = claim(1), second = claim(2), late = claim(3);
    struct lease_wish w = wish(NO_SLOT);
    uint64_t word, now = clock_ns();

    supply(1);
    ck_assert_uint_eq(try_slot(holder, NO_SLOT), 0);
    lease_enqueue(&seg, first, &w);
    lease_enqueue(&seg, second, &w);
    ck_assert_int_eq(lease_give(&seg, holder, 0, 0), LEASE_GIVEN);
    ck_assert_uint_eq(try_slot(late, NO_SLOT), NO_SLOT);
    ck_assert_uint_eq(lease_wait(&seg, second, &w, now, &word), NO_SLOT);
    ck_assert_uint_eq(lease_wait(&seg, first, &w, now, &word), 0);
    ck_assert_int_eq(lease_give(&seg, first, 0, SLOT_RESET_PENDING), LEASE_GIVEN);
    ck_assert_uint_eq(lease_leave(&seg, second, &word), 0);
    ck_assert_uint_eq(word_flags(word), SLOT_RESET_PENDING);
}
END_TEST

START_TEST(wait_ends_at_its_deadline)
{
    uint32_t holder = claim(0), waiter = claim(1);
    struct lease_wish w = wish(NO_SLOT);
    uint64_t word, start = clock_ns(), until = start + UINT64_C(250000000);
    uint32_t slot = NO_SLOT;

    supply(1);
    ck_assert_uint_eq(try_slot(holder, NO_SLOT), 0);
    lease_enqueue(&seg, waiter, &w);
    while (slot == NO_SLOT && clock_ns() < until)
        slot = lease_wait(&seg, waiter, &w, until, &word);
    ck_assert_uint_eq(slot, NO_SLOT);
    ck_assert_uint_eq(lease_leave(&seg, waiter, &word), NO_SLOT);
    ck_assert_uint_lt(clock_ns() - start, UINT64_C(400000000));
    /* Who left is not granted anything. */
    ck_assert_int_eq(lease_give(&seg, holder, 0, 0), LEASE_GIVEN);
    ck_assert_int_eq(word_state(slot_word(&seg, 0)), SLOT_IDLE);
}
END_TEST

static bool everybody_alive(void *context, uint32_t worker)
{
    (void)context;
    (void)worker;
    return true;
}

static void hide_bit(uint32_t b)
{
    (void)atomic_fetch_and(&seg.header->waiting[b / 64], ~(UINT64_C(1) << (b % 64)));
}

static void hide_entries(uint32_t b)
{
    atomic_store(&seg.header->borrowers_high, b);
}

/*
 * What shows others a wait was written over: beside idle slots it ends at its deadline, and the sweep shows it again.
 */
START_TEST(wait_that_nobody_sees_ends_at_its_deadline)
{
    static void (*const hide[])(uint32_t) = {hide_bit, hide_entries};
    const struct sweep sweep = {.alive = everybody_alive};
    uint32_t waiter = claim(0);
    struct lease_wish w = wish(NO_SLOT);
    uint64_t word, start;

    for (size_t i = 0; i < sizeof hide / sizeof hide[0]; i++) {
        lease_enqueue(&seg, waiter, &w);
        hide[i](waiter);
        supply(2);
        start = clock_ns();
        for (uint64_t until = start + UINT64_C(250000000); clock_ns() < until;)
            ck_assert_uint_eq(lease_wait(&seg, waiter, &w, until, &word), NO_SLOT);
        ck_assert_uint_lt(clock_ns() - start, UINT64_C(400000000));
        lease_sweep(&seg, &sweep);
        ck_assert_uint_ne(lease_wait(&seg, waiter, &w, clock_ns() + UINT64_C(150000000), &word), NO_SLOT);
        for (uint32_t slot = 0; slot < 2; slot++) {
            word = slot_word(&seg, slot);
            ck_assert(lease_take(&seg, slot, word, 0));
            lease_empty(&seg, slot);
        }
    }
}
END_TEST

/* What a policy says is bounded before anybody waits or counts by it. */
START_TEST(policy_of_ones_has_bounds)
{
    struct policy policy;
    uint32_t seq;

    (void)memset(&seg.header->policy, 0xff, sizeof seg.header->policy);
    ck_assert(segment_get_policy(&seg, &policy, &seq));
    ck_assert_uint_eq(policy.max, SLOTS);
    ck_assert_uint_eq(policy.reset, RESET_REPLACE);
    ck_assert_uint_eq(policy.reset_timeout_ms, RESET_TIMEOUT_MAX);
    ck_assert_uint_eq(policy.acquire_timeout_ms, WAIT_MAX);
    ck_assert_uint_eq(strlen(policy.reset_query), RESET_QUERY_MAX);
    ck_assert_uint_eq(strlen(policy.purposes), PURPOSES_MAX);
}
END_TEST

static bool nobody_alive(void *context, uint32_t worker)
{
    (void)context;
    (void)worker;
    return false;
}

static void supply_taken(void *context, uint32_t slot, unsigned flags, uint32_t worker)
{
    (void)worker;
    *(unsigned *)context += 1;
    lease_supply(&seg, slot, flags & SLOT_BROKEN ? 0 : flags & SLOT_RESET_PENDING);
}

START_TEST(sweep_mends_any_word)
{
    unsigned taken;
    struct sweep sweep = {.alive = nobody_alive, .taken = supply_taken, .context = &taken};

    supply(SLOTS);
    for (unsigned round = 0; round < 2000; round++) {
        srandom(round);
        for (uint32_t i = 0; i < SLOTS; i++)
            atomic_store(&seg.slot[i].word, (uint64_t)random() << 33 ^ (uint64_t)random());
        for (uint32_t b = 0; b < seg.borrowers; b++) {
            atomic_store(&seg.borrower[b].wait, (uint64_t)random() << 33 ^ (uint64_t)random());
            atomic_store(&seg.borrower[b].owner, (uint64_t)random() << 33 ^ (uint64_t)random());
        }
        atomic_store(&seg.header->waiting[0], (uint64_t)random() << 33 ^ (uint64_t)random());
        atomic_store(&seg.header->borrowers_high, (uint32_t)random());
        lease_sweep(&seg, &sweep);
        atomic_store(&seg.header->borrowers_high, seg.borrowers);
        lease_sweep(&seg, &sweep);
        for (uint32_t i = 0; i < SLOTS; i++) {
            enum slot_state state = word_state(slot_word(&seg, i));

            ck_assert_msg(state == SLOT_IDLE || state == SLOT_EMPTY || state == SLOT_SUPERVISOR, "slot %u: %d", i,
                          (int)state);
        }
    }
}
END_TEST

/* A grant that SWEEP has seen and that is as old as the bound. */
static void let_it_lie(const struct sweep *sweep, uint32_t slot)
{
    lease_sweep(&seg, sweep);
    ck_assert_uint_eq(sweep->grants[slot].word, slot_word(&seg, slot));
    sweep->grants[slot].seen -= GRANT_BOUND_NS + 1;
}

START_TEST(grant_left_lying_goes_to_the_next)
{
    uint32_t holder = claim(0), stopped = claim(1), next = claim(2);
    struct grant grants[SLOTS] = {0};
    unsigned taken = 0;
    struct sweep sweep = {.alive = everybody_alive, .taken = supply_taken, .context = &taken, .grants = grants};
    struct lease_wish w = wish(NO_SLOT);
    uint64_t word;

    supply(1);
    ck_assert_uint_eq(try_slot(holder, NO_SLOT), 0);
    lease_enqueue(&seg, stopped, &w);
    lease_enqueue(&seg, next, &w);
    ck_assert_int_eq(lease_give(&seg, holder, 0, SLOT_RESET_PENDING), LEASE_GIVEN);
    lease_sweep(&seg, &sweep);
    lease_sweep(&seg, &sweep);
    ck_assert_uint_eq(word_borrower(slot_word(&seg, 0)), stopped);
    let_it_lie(&sweep, 0);
    lease_sweep(&seg, &sweep);
    ck_assert_uint_eq(word_borrower(slot_word(&seg, 0)), next);
    ck_assert_uint_eq(lease_wait(&seg, next, &w, 0, &word), 0);
    ck_assert_uint_eq(word_flags(word), SLOT_RESET_PENDING);
    ck_assert_uint_eq(taken, 0);
    /* It goes on: what it was granted is another's, and it waits again, behind everybody. */
    ck_assert_uint_eq(lease_wait(&seg, stopped, &w, 0, &word), NO_SLOT);
    ck_assert(!lease_held(&seg, stopped, 0));
    ck_assert_uint_eq(lease_wait(&seg, stopped, &w, clock_ns() + UINT64_C(150000000), &word), NO_SLOT);
    ck_assert_int_eq(lease_give(&seg, next, 0, 0), LEASE_GIVEN);
    ck_assert_uint_eq(lease_leave(&seg, stopped, &word), 0);
    ck_assert_int_eq(lease_give(&seg, stopped, 0, 0), LEASE_GIVEN);
    ck_assert_int_eq(word_state(slot_word(&seg, 0)), SLOT_IDLE);
}
END_TEST

static void nothing(int number)
{
    (void)number;
}

/* A giver that was stopped between its claim and its grant keeps its own slot, not the waiter, be that one interrupted or not. */
START_TEST(claim_of_a_stopped_giver_is_left)
{
    const struct sigaction action = {.sa_handler = nothing};
    const struct itimerval often = {.it_interval.tv_usec = 10000, .it_value.tv_usec = 10000};
    uint32_t holder = claim(0), waiter = claim(1), slot = NO_SLOT;
    struct lease_wish w = wish(NO_SLOT);
    uint64_t word, wait, until;

    supply(1);
    ck_assert_uint_eq(try_slot(holder, NO_SLOT), 0);
    lease_enqueue(&seg, waiter, &w);
    wait = atomic_load(&seg.borrower[waiter].wait);
    atomic_store(&seg.borrower[waiter].wait, wait_make(WAIT_CLAIMED, 0, wait_ticket(wait)));
    ck_assert(lease_fill(&seg, 1));
    lease_supply(&seg, 1, 0);
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    if (_i == 1)
        ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
    until = clock_ns() + UINT64_C(1000000000);
    while (slot == NO_SLOT && clock_ns() < until)
        slot = lease_wait(&seg, waiter, &w, until, &word);
    ck_assert_uint_eq(slot, 1);
    ck_assert_uint_lt(clock_ns(), until - UINT64_C(300000000)); /* not when its time was all but up */
    ck_assert_int_eq(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL), 0);
    ck_assert_int_eq(lease_give(&seg, holder, 0, 0), LEASE_GIVEN);
    ck_assert_int_eq(word_state(slot_word(&seg, 0)), SLOT_IDLE);
}
END_TEST

#ifdef __x86_64__
/* ---- others act between two instructions of a giver ---- */

#define TRAP_FLAG 0x100

static uint32_t leaver;

/* The waiter leaves as soon as it is claimed, the supervisor marks the slot as soon as it is granted. */
static void between_instructions(int number, siginfo_t *info, void *context)
{
    uint64_t word = slot_word(&seg, 0), mine;

    (void)number;
    (void)info;
    if (wait_state(atomic_load(&seg.borrower[leaver].wait)) == WAIT_CLAIMED)
        (void)lease_leave(&seg, leaver, &mine);
    if (word_state(word) != SLOT_GRANTED)
        return;
    (void)lease_mark(&seg, 0, word, SLOT_RETIRE, 0);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

START_TEST(a_mark_leaves_no_grant_to_nobody)
{
    struct sigaction action = {.sa_sigaction = between_instructions, .sa_flags = SA_SIGINFO};
    struct lease_wish w = wish(NO_SLOT);
    uint32_t holder = claim(0);
    enum lease_end end;

    if (getenv("PGLEND_TEST_VALGRIND") != NULL)
        return; /* whose processor knows no such trap */
    leaver = claim(1);
    supply(1);
    ck_assert_uint_eq(try_slot(holder, NO_SLOT), 0);
    lease_enqueue(&seg, leaver, &w);
    ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP_FLAG);
    end = lease_give(&seg, holder, 0, 0);
    ck_assert_int_eq(end, LEASE_SUPERVISOR);
    ck_assert_int_eq(word_state(slot_word(&seg, 0)), SLOT_SUPERVISOR);
    ck_assert_uint_eq(word_flags(slot_word(&seg, 0)), SLOT_RETIRE);
}
END_TEST
#endif

/* Not the same grant: one that came and went between two sweeps has its own time. */
START_TEST(every_grant_has_its_time)
{
    uint32_t holder = claim(0), waiter = claim(1);
    struct grant grants[SLOTS] = {0};
    unsigned taken = 0;
    struct sweep sweep = {.alive = everybody_alive, .taken = supply_taken, .context = &taken, .grants = grants};
    struct lease_wish w = wish(NO_SLOT);
    uint64_t word;

    supply(1);
    ck_assert_uint_eq(try_slot(holder, NO_SLOT), 0);
    for (int i = 0; i < 3; i++) {
        lease_enqueue(&seg, waiter, &w);
        ck_assert_int_eq(lease_give(&seg, holder, 0, 0), LEASE_GIVEN);
        let_it_lie(&sweep, 0);
        ck_assert_uint_eq(lease_wait(&seg, waiter, &w, 0, &word), 0);
        lease_enqueue(&seg, holder, &w);
        ck_assert_int_eq(lease_give(&seg, waiter, 0, 0), LEASE_GIVEN);
        lease_sweep(&seg, &sweep);
        ck_assert_uint_eq(word_borrower(slot_word(&seg, 0)), holder);
        ck_assert_uint_eq(lease_wait(&seg, holder, &w, 0, &word), 0);
    }
}
END_TEST

/* ---- the storm ---- */

struct storm {
    _Atomic int holder[SLOTS];
    _Atomic uint64_t leases, timeouts, violations;
    _Atomic int stop;
};

static struct storm *storm;

static void storm_worker(uint32_t worker)
{
    uint32_t b = claim(worker);
    unsigned seed = (unsigned)getpid();

    while (!storm->stop) {
        struct lease_wish w = wish(NO_SLOT);
        uint64_t word, until = w.now + UINT64_C(1000000) * (unsigned)(1 + rand_r(&seed) % 400);
        uint32_t slot = lease_try(&seg, b, &w, &word);
        int nobody = 0;

        if (slot == NO_SLOT) {
            lease_enqueue(&seg, b, &w);
            while (slot == NO_SLOT && clock_ns() < until)
                slot = lease_wait(&seg, b, &w, until, &word);
            if (slot == NO_SLOT)
                slot = lease_leave(&seg, b, &word);
        }
        if (slot == NO_SLOT) {
            storm->timeouts++;
            continue;
        }
        if (!atomic_compare_exchange_strong(&storm->holder[slot], &nobody, getpid()))
            storm->violations++;
        if (rand_r(&seed) % 64 == 0)
            (void)usleep(200);
        storm->holder[slot] = 0;
        storm->leases++;
        (void)lease_give(&seg, b, slot, 0);
    }
    _exit(0);
}

static pid_t pids[WORKERS];

static bool storm_alive(void *context, uint32_t worker)
{
    (void)context;
    return worker < WORKERS && pids[worker] > 0;
}

static void storm_taken(void *context, uint32_t slot, unsigned flags, uint32_t worker)
{
    (void)flags;
    (void)worker;
    (void)context;
    storm->holder[slot] = 0;
    lease_supply(&seg, slot, 0);
}

static void spawn(uint32_t worker)
{
    pids[worker] = fork();
    if (pids[worker] == 0)
        storm_worker(worker);
    ck_assert_int_gt(pids[worker], 0);
}

START_TEST(storm_of_killed_and_stopped_workers)
{
    struct grant grants[SLOTS] = {0};
    struct sweep sweep = {.alive = storm_alive, .taken = storm_taken, .grants = grants};
    uint64_t end;
    unsigned kills = 0;
    int status;

    storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(storm, MAP_FAILED);
    supply(SLOTS);
    for (uint32_t w = 0; w < WORKERS; w++)
        spawn(w);
    end = clock_ns() + UINT64_C(5000000000);
    while (clock_ns() < end) {
        uint32_t victim = (uint32_t)random() % WORKERS, other = (uint32_t)random() % WORKERS;

        (void)usleep((useconds_t)(random() % 8000));
        (void)kill(pids[other], SIGSTOP);
        (void)kill(pids[victim], SIGKILL);
        ck_assert_int_eq(waitpid(pids[victim], &status, 0), pids[victim]);
        pids[victim] = 0;
        kills++;
        lease_sweep(&seg, &sweep);
        for (uint32_t i = 0; i < SLOTS; i++)
            grants[i].seen = 0; /* what lies there now is taken back: its waiter may be stopped, or about to come */
        lease_sweep(&seg, &sweep);
        if (other != victim)
            (void)kill(pids[other], SIGCONT);
        spawn(victim);
    }
    storm->stop = 1;
    for (uint32_t w = 0; w < WORKERS; w++) {
        ck_assert_int_eq(waitpid(pids[w], &status, 0), pids[w]);
        ck_assert(WIFEXITED(status));
        pids[w] = 0;
    }
    lease_sweep(&seg, &sweep);
    printf("storm: %llu leases, %u kills, %llu time-outs, %llu violations\n", (unsigned long long)storm->leases, kills,
           (unsigned long long)storm->timeouts, (unsigned long long)storm->violations);
    ck_assert_uint_eq(storm->violations, 0);
    ck_assert_uint_gt(storm->leases, 1000);
    for (uint32_t i = 0; i < SLOTS; i++)
        ck_assert_int_eq(word_state(slot_word(&seg, i)), SLOT_IDLE);
    for (uint32_t b = 0; b < seg.borrowers; b++)
        ck_assert_uint_eq(atomic_load(&seg.borrower[b].owner) & 0xffff, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease");
    TCase *tc = harness_case(suite, "words", 60);

    tcase_add_checked_fixture(tc, make_segment, drop_segment);
    tcase_add_test(tc, lowest_slot_first_own_slot_preferred);
    tcase_add_test(tc, settled_slot_before_one_still_resetting);
    tcase_add_test(tc, version_grows_on_every_change);
    tcase_add_test(tc, hand_over_goes_to_the_oldest_and_nobody_overtakes);
    tcase_add_test(tc, wait_ends_at_its_deadline);
    tcase_add_test(tc, wait_that_nobody_sees_ends_at_its_deadline);
    tcase_add_test(tc, policy_of_ones_has_bounds);
    tcase_add_test(tc, sweep_mends_any_word);
    tcase_add_test(tc, grant_left_lying_goes_to_the_next);
    tcase_add_test(tc, every_grant_has_its_time);
    tcase_add_loop_test(tc, claim_of_a_stopped_giver_is_left, 0, 2);
#ifdef __x86_64__
    tcase_add_test(tc, a_mark_leaves_no_grant_to_nobody);
#endif
    tcase_add_test(tc, storm_of_killed_and_stopped_workers);
    return harness_main(suite);
}
