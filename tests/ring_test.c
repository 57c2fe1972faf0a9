/* SPDX-License-Identifier: ISC */
/*
 * ring_test.c - the ring of leases: order, room, claimers that never finish, and what a hostile worker may write.
 */
#include "harness.h"
#include "ring.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define SLOTS   4
#define RECORDS 64
#define WRITERS 4
#define EACH    20000
#define SECOND  UINT64_C(1000000000)

static struct segment seg;
static struct ring_reader reader;

static void set_up(void)
{
    int fd = segment_create(NULL, "ring", SLOTS, 8, RECORDS);

    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(segment_map(&seg, fd), 0);
    ck_assert_int_eq(close(fd), 0);
    ring_reader_begin(&reader, &seg);
}

static void tear_down(void)
{
    segment_unmap(&seg);
}

static bool put(enum ring_kind kind, uint64_t version)
{
    struct ring_entry event = {.kind = kind, .version = version};

    return ring_put(&seg, &event);
}

static bool take_version(uint64_t now, uint64_t version)
{
    struct ring_entry event;

    return ring_take(&reader, &seg, now, &event) && event.version == version;
}

START_TEST(events_come_in_order_and_whole)
{
    struct ring_entry event = {.kind = RING_BEGIN, .slot = 3, .pid = 77, .said = {.actor = "a", .purpose = "p"}}, got;

    ck_assert(!ring_take(&reader, &seg, 0, &got));
    for (uint64_t i = 0; i < 10 * RECORDS; i++) {
        event.version = i;
        ck_assert(ring_put(&seg, &event));
        ck_assert(ring_take(&reader, &seg, 0, &got));
        ck_assert_uint_eq(got.version, i);
        ck_assert_int_eq(got.pid, 77);
        ck_assert_str_eq(got.said.purpose, "p");
        ring_free(&reader, &seg);
    }
}
END_TEST

/* Taken is not enough: a place is free when the record is on disk. */
START_TEST(a_begin_leaves_room_for_every_end)
{
    uint64_t count = 0;

    while (put(RING_BEGIN, count))
        count++;
    ck_assert_uint_eq(count, RECORDS - SLOTS);
    for (int i = 0; i < SLOTS; i++)
        ck_assert(put(RING_END, count + (uint64_t)i));
    ck_assert(!put(RING_END, 0));
    for (uint64_t i = 0; i < RECORDS; i++)
        ck_assert(take_version(0, i));
    ck_assert(!put(RING_BEGIN, 0));
    ring_free(&reader, &seg);
    ck_assert(put(RING_BEGIN, 0));
}
END_TEST

/* A worker that died between its claim and its last word holds up nobody for long, and no half event is taken. */
START_TEST(a_claim_that_is_not_finished_is_passed_over)
{
    ck_assert(put(RING_BEGIN, 1));
    atomic_fetch_add(&seg.header->ring_claimed, 1); /* died at once */
    atomic_fetch_add(&seg.header->ring_claimed, 1); /* died while it wrote */
    atomic_store(&seg.ring[2].stamp, 2 << 2 | RING_WRITING);
    ck_assert(put(RING_BEGIN, 4));
    ck_assert(take_version(SECOND, 1));
    ck_assert(!take_version(SECOND, 4));
    ck_assert(!take_version(SECOND + SECOND / 2, 4));
    ck_assert(!take_version(2 * SECOND, 4)); /* the first is skipped, the second is waited for */
    ck_assert(take_version(3 * SECOND, 4));
    ck_assert_uint_eq(reader.skipped, 2);
}
END_TEST

/* It was only stopped: what it says goes into another place. */
START_TEST(who_was_passed_over_and_lives_writes_again)
{
    struct ring_entry event;

    atomic_store(&seg.ring[0].stamp, 0 << 2 | RING_SKIPPED);
    ck_assert(put(RING_BEGIN, 9));
    ck_assert_uint_eq(atomic_load(&seg.header->ring_claimed), 2);
    ck_assert(!ring_take(&reader, &seg, SECOND, &event));
    ck_assert(take_version(2 * SECOND + 1, 9));
}
END_TEST

/*
 * The claims were set back, or every stamp ahead: no claimer writes where it has been later, and nobody waits for one.
 */
START_TEST(stamps_of_later_claims_hold_up_nobody)
{
    struct ring_entry event;

    for (unsigned i = 0; i < RECORDS; i++)
        atomic_store(&seg.ring[i].stamp, UINT64_C(1000000) << 2 | RING_READY);
    ck_assert(!put(RING_BEGIN, 1));
    while (!put(RING_BEGIN, 2)) {
        ck_assert(!ring_take(&reader, &seg, SECOND, &event));
        ring_free(&reader, &seg);
    }
    ck_assert(take_version(SECOND, 2));
    ck_assert_uint_eq(reader.skipped, 0);
    ck_assert_uint_eq(reader.damaged, RECORDS);
}
END_TEST

START_TEST(nonsense_ends_nothing)
{
    struct ring_entry event;

    memset(&event, 0, sizeof event);
    for (unsigned n = 0; n < 20000; n++) {
        uint64_t *word = (uint64_t *)seg.ring + (unsigned)rand() % (RECORDS * sizeof(struct ring_entry) / 8);

        *word = (uint64_t)rand() << 33 ^ (uint64_t)rand();
        if (n % 7 == 0)
            atomic_store(&seg.header->ring_claimed, (uint64_t)rand() << 33 ^ (uint64_t)rand());
        if (n % 11 == 0)
            atomic_store(&seg.header->ring_drained, (uint64_t)rand());
        (void)put(RING_BEGIN, n);
        while (ring_take(&reader, &seg, (uint64_t)n * SECOND, &event))
            ck_assert_uint_le(strlen(event.said.actor), ACTOR_MAX);
        ring_free(&reader, &seg);
    }
    ck_assert_uint_gt(reader.damaged, 0);
}
END_TEST

static void *write_many(void *argument)
{
    uint64_t who = (uint64_t)(uintptr_t)argument;

    for (uint64_t i = 0; i < EACH;)
        if (put(i % 2 == 0 ? RING_BEGIN : RING_END, who << 32 | i))
            i++;
    return NULL;
}

START_TEST(many_write_and_none_is_missing)
{
    pthread_t thread[WRITERS];
    uint64_t next[WRITERS] = {0}, total = 0, deadline = harness_now_ms() + 60000;
    struct ring_entry event;

    for (uintptr_t i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, write_many, (void *)i), 0);
    while (total < (uint64_t)WRITERS * EACH) {
        ck_assert_uint_lt(harness_now_ms(), deadline);
        while (ring_take(&reader, &seg, 0, &event)) {
            ck_assert_uint_lt(event.version >> 32, WRITERS);
            ck_assert_uint_eq((uint32_t)event.version, next[event.version >> 32]++);
            total++;
        }
        ring_free(&reader, &seg);
    }
    for (int i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    ck_assert_uint_eq(reader.skipped + reader.damaged, 0);
}
END_TEST

#ifdef __x86_64__
/* ---- others act between two instructions of a writer ---- */

#define TRAP_FLAG 0x100

static unsigned steps, acts_at;

static void drain(void)
{
    struct ring_entry event;

    while (ring_take(&reader, &seg, 0, &event))
        continue;
    ring_free(&reader, &seg);
}

static void between_instructions(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    if (++steps != acts_at)
        return;
    ck_assert(put(RING_END, 0));
    drain();
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

/* Wherever another claims a place and the reader frees it: the ring is not full. */
START_TEST(a_ring_that_is_drained_meanwhile_has_room)
{
    struct sigaction action = {.sa_sigaction = between_instructions, .sa_flags = SA_SIGINFO};
    bool room;

    if (getenv("PGLEND_TEST_VALGRIND") != NULL)
        return; /* whose processor knows no such trap */
    ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
    do {
        acts_at++;
        steps = 0;
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP_FLAG);
        room = put(RING_END, 0);
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(uint64_t)TRAP_FLAG);
        ck_assert_msg(room, "no room, after instruction %u", acts_at);
        drain();
    } while (steps >= acts_at);
    ck_assert_uint_gt(acts_at, 20);
}
END_TEST
#endif

START_TEST(a_ring_has_room_for_the_ends_of_all_slots)
{
    ck_assert_int_eq(segment_create(NULL, "ring", SLOTS, 8, SLOTS), -1);
    ck_assert_int_eq(segment_create(NULL, "ring", SLOTS, 8, RING_MAX + 1), -1);
    ck_assert_uint_gt(ring_size(SLOTS_MAX), SLOTS_MAX);
    ck_assert_uint_le(ring_size(SLOTS_MAX), RING_MAX);
}
END_TEST

START_TEST(a_lease_is_open_from_its_begin_to_its_end)
{
    static const enum ring_kind ends[] = {RING_END, RING_BROKEN, RING_RECLAIMED, RING_REVOKED};

    ck_assert_uint_eq(ring_open(&seg, 0), 0);
    for (uint64_t v = 1; v <= sizeof ends / sizeof *ends; v++) {
        ck_assert(put(RING_BEGIN, v) && put(RING_REFUSED, 0));
        ck_assert_uint_eq(ring_open(&seg, 0), v);
        ck_assert(ring_has_begun(&seg, 0, v) && !ring_has_begun(&seg, 0, v + 1));
        ck_assert(put(RING_END, v + 1)); /* of another */
        ck_assert_uint_eq(ring_open(&seg, 0), v);
        ck_assert(put(ends[v - 1], v));
        ck_assert_uint_eq(ring_open(&seg, 0), 0);
        ck_assert(!ring_has_begun(&seg, 0, v));
    }
}
END_TEST

/* Whatever it was in the middle of; and of what was decided no entry comes any more. */
START_TEST(of_a_writer_that_died_it_is_known_what_it_wrote)
{
    static const struct {
        unsigned recorded, stamp, seq;
        bool open;
    } row[] = {
        {RECORDED_BEGUN, RING_WRITING, 5, false},
        {RECORDED_BEGUN, RING_SKIPPED, 5, false},
        {RECORDED_BEGUN, RING_READY, 5, true},
        {RECORDED_BEGUN, RING_WRITING, 5 + RECORDS, true},
        {0, RING_WRITING, 5, true},
        {0, RING_SKIPPED, 5, true},
        {0, RING_READY, 5, false},
        {0, RING_WRITING, 5 + RECORDS, false},
    };

    atomic_store(&seg.slot[2].lease, 7);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint64_t stamp = (uint64_t)row[i].seq << 2 | row[i].stamp;

        atomic_store(&seg.ring[5].stamp, stamp);
        atomic_store(&seg.slot[2].recorded, UINT64_C(5) << 2 | RECORDED_WRITING | row[i].recorded);
        for (int again = 0; again < 2; again++)
            ck_assert_uint_eq(ring_open(&seg, 2), row[i].open ? 7 : 0);
        ck_assert_uint_eq(ring_has_begun(&seg, 2, 7), row[i].open);
        if (stamp == (5 << 2 | RING_WRITING))
            ck_assert_uint_eq(atomic_load(&seg.ring[5].stamp), 5 << 2 | RING_SKIPPED);
    }
}
END_TEST

/* It is counted, and the lease is as one that was recorded. */
START_TEST(what_finds_no_room_begins_and_ends_all_the_same)
{
    struct ring_entry event = {.kind = RING_BEGIN, .version = 9};

    ring_miss(&seg, &event);
    ck_assert_uint_eq(ring_open(&seg, 0), 9);
    event.kind = RING_END;
    ring_miss(&seg, &event);
    ck_assert_uint_eq(ring_open(&seg, 0), 0);
    ck_assert_uint_eq(atomic_load(&seg.header->ring_lost), 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *ring = harness_case(suite, "ring", 90);

    tcase_add_checked_fixture(ring, set_up, tear_down);
    tcase_add_test(ring, events_come_in_order_and_whole);
    tcase_add_test(ring, a_begin_leaves_room_for_every_end);
    tcase_add_test(ring, a_claim_that_is_not_finished_is_passed_over);
    tcase_add_test(ring, who_was_passed_over_and_lives_writes_again);
    tcase_add_test(ring, stamps_of_later_claims_hold_up_nobody);
    tcase_add_test(ring, nonsense_ends_nothing);
    tcase_add_test(ring, many_write_and_none_is_missing);
#ifdef __x86_64__
    tcase_add_test(ring, a_ring_that_is_drained_meanwhile_has_room);
#endif
    tcase_add_test(ring, a_ring_has_room_for_the_ends_of_all_slots);
    tcase_add_test(ring, a_lease_is_open_from_its_begin_to_its_end);
    tcase_add_test(ring, of_a_writer_that_died_it_is_known_what_it_wrote);
    tcase_add_test(ring, what_finds_no_room_begins_and_ends_all_the_same);
    return harness_main(suite);
}
