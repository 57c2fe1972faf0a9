/* SPDX-License-Identifier: ISC */
/*
 * ring.c - the ring in which workers leave what the audit trail is to say.
 *
 * The hard thing: a worker may stop or die between any two instructions, and neither may another worker wait for it
 * nor may the reader take half an entry for a whole one. The stamp decides: who writes and who skips both compare and
 * swap it.
 */
#include "ring.h"

#include <string.h>

static uint64_t stamp(uint64_t seq, enum ring_stamp state)
{
    return seq << 2 | state;
}

/* Entry *SEQ is ours. KEEP: places that must be left. */
static bool claim(const struct segment *s, uint32_t keep, uint64_t *seq)
{
    struct segment_header *h = s->header;

    *seq = atomic_load_explicit(&h->ring_claimed, memory_order_relaxed);
    do {
        /* Acquire: what the reader had to say of the place is said before it is ours. */
        uint64_t used = *seq - atomic_load_explicit(&h->ring_drained, memory_order_acquire);

        /* Drained past *SEQ: that was claimed by others meanwhile, and the swap says so. */
        if (used <= INT64_MAX && used + keep >= s->records)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&h->ring_claimed, seq, *seq + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

bool ring_has_room(const struct segment *s)
{
    uint64_t drained = atomic_load_explicit(&s->header->ring_drained, memory_order_acquire);

    return atomic_load_explicit(&s->header->ring_claimed, memory_order_relaxed) - drained + s->slots < s->records;
}

/* ---- what it has of a slot's lease: slot.recorded ---- */

static uint64_t recorded(const struct ring_entry *event)
{
    return event->version << 2 | (event->kind == RING_BEGIN ? RECORDED_BEGUN : 0);
}

static uint64_t recording(const struct ring_entry *event, uint64_t seq)
{
    return seq << 2 | RECORDED_WRITING | (event->kind == RING_BEGIN ? RECORDED_BEGUN : 0);
}

/* What EVENT finds there. An end that finds something else is of a lease that the slot speaks of no more. */
static uint64_t recorded_before(const struct segment *s, const struct ring_entry *event)
{
    if (event->kind == RING_BEGIN)
        return atomic_load(&s->slot[event->slot].recorded);
    return event->version << 2 | RECORDED_BEGUN;
}

/* Where nobody has written of that slot meanwhile. */
static void note(const struct segment *s, const struct ring_entry *event, uint64_t *before, uint64_t now)
{
    uint64_t found = *before;

    if (event->kind != RING_REFUSED && atomic_compare_exchange_strong(&s->slot[event->slot].recorded, &found, now))
        *before = now;
}

bool ring_has_begun(const struct segment *s, uint32_t slot, uint64_t version)
{
    return atomic_load(&s->slot[slot].recorded) == (version << 2 | RECORDED_BEGUN);
}

/* One that is not READY will not be from now on; one that is another's by now was. */
static bool was_written(const struct segment *s, uint64_t seq)
{
    uint64_t seen = stamp(seq, RING_WRITING), skipped = stamp(seq, RING_SKIPPED);

    return !atomic_compare_exchange_strong(&s->ring[seq % s->records].stamp, &seen, skipped) && seen != skipped;
}

uint64_t ring_open(const struct segment *s, uint32_t slot)
{
    struct slot *at = &s->slot[slot];
    uint64_t now = atomic_load(&at->recorded);
    bool begun = (now & RECORDED_BEGUN) != 0;

    if (s->records == 0)
        return 0;
    if ((now & RECORDED_WRITING) != 0) {
        begun = was_written(s, now >> 2) == begun;
        now = atomic_load(&at->lease) << 2 | (begun ? RECORDED_BEGUN : 0);
        atomic_store(&at->recorded, now);
    }
    return begun ? now >> 2 : 0;
}

/* ---- writing ---- */

bool ring_put(const struct segment *s, const struct ring_entry *event)
{
    uint32_t keep = event->kind == RING_BEGIN || event->kind == RING_REFUSED ? s->slots : 0;
    uint64_t before = recorded_before(s, event), seq;

    /* Who writes over stamps must not keep the supervisor here. */
    for (uint32_t tries = 0; tries < s->records && claim(s, keep, &seq); tries++) {
        struct ring_entry *entry = &s->ring[seq % s->records];
        uint64_t older = atomic_load_explicit(&entry->stamp, memory_order_relaxed), writing = stamp(seq, RING_WRITING);

        if (older >= writing || !atomic_compare_exchange_strong(&entry->stamp, &older, writing))
            continue; /* skipped before it was begun */
        memcpy((char *)entry + sizeof entry->stamp, (const char *)event + sizeof event->stamp,
               sizeof *entry - sizeof entry->stamp);
        note(s, event, &before, recording(event, seq));
        /* Release: the data before the stamp that says they are whole. */
        if (!atomic_compare_exchange_strong_explicit(&entry->stamp, &writing, stamp(seq, RING_READY),
                                                     memory_order_release, memory_order_relaxed))
            continue;
        note(s, event, &before, recorded(event));
        return true;
    }
    return false;
}

void ring_miss(const struct segment *s, const struct ring_entry *event)
{
    uint64_t before = recorded_before(s, event);

    (void)atomic_fetch_add_explicit(&s->header->ring_lost, 1, memory_order_relaxed);
    note(s, event, &before, recorded(event));
}

void ring_reader_begin(struct ring_reader *reader, const struct segment *s)
{
    *reader = (struct ring_reader){.next = atomic_load_explicit(&s->header->ring_drained, memory_order_relaxed)};
}

/* Is there an entry to be waited for? A claim that cannot be is passed over: somebody wrote over it. */
static bool is_claimed(struct ring_reader *reader, const struct segment *s)
{
    uint64_t claimed = atomic_load_explicit(&s->header->ring_claimed, memory_order_relaxed);

    if (claimed - reader->next <= s->records)
        return claimed != reader->next;
    reader->damaged++;
    reader->next = claimed;
    atomic_store_explicit(&s->header->ring_drained, claimed, memory_order_release);
    return false;
}

/*
 * True: it was not finished, and is passed over. One with the stamp of a later claim is not waited for: somebody wrote
 * over it, or over what is claimed, and nobody will write there.
 */
static bool skip(struct ring_reader *reader, struct ring_entry *entry, uint64_t seen, uint64_t now)
{
    bool damaged = seen > stamp(reader->next, RING_SKIPPED);

    if (reader->stuck_since == 0)
        reader->stuck_since = now;
    if ((!damaged && now - reader->stuck_since < (uint64_t)RING_STUCK_MS * 1000000) ||
        !atomic_compare_exchange_strong(&entry->stamp, &seen, stamp(reader->next, RING_SKIPPED)))
        return false;
    reader->damaged += damaged;
    reader->skipped += !damaged;
    reader->next++;
    reader->stuck_since = 0;
    return true;
}

bool ring_take(struct ring_reader *reader, const struct segment *s, uint64_t now, struct ring_entry *event)
{
    while (is_claimed(reader, s)) {
        struct ring_entry *entry = &s->ring[reader->next % s->records];
        /* Acquire: the data are those that the stamp was put on. */
        uint64_t seen = atomic_load_explicit(&entry->stamp, memory_order_acquire);

        if (seen != stamp(reader->next, RING_READY)) {
            if (!skip(reader, entry, seen, now))
                return false;
            continue;
        }
        memcpy((char *)event + sizeof event->stamp, (const char *)entry + sizeof entry->stamp,
               sizeof *event - sizeof event->stamp);
        event->role.name[NAME_FIELD - 1] = '\0';
        event->said.actor[ACTOR_MAX] = event->said.purpose[ACTOR_MAX] = '\0';
        reader->next++;
        reader->stuck_since = 0;
        if (event->kind < RING_KINDS)
            return true;
        reader->damaged++;
    }
    return false;
}

void ring_free(const struct ring_reader *reader, const struct segment *s)
{
    /* Release: the places were read before they are given again. */
    atomic_store_explicit(&s->header->ring_drained, reader->next, memory_order_release);
}
