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
        uint64_t drained = atomic_load_explicit(&h->ring_drained, memory_order_acquire);

        if (*seq - drained + keep >= s->records)
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

bool ring_put(const struct segment *s, const struct ring_entry *event)
{
    uint32_t keep = event->kind == RING_BEGIN || event->kind == RING_REFUSED ? s->slots : 0;
    uint64_t seq;

    while (claim(s, keep, &seq)) {
        struct ring_entry *entry = &s->ring[seq % s->records];
        uint64_t before = atomic_load_explicit(&entry->stamp, memory_order_relaxed), writing = stamp(seq, RING_WRITING);

        if (before >= writing || !atomic_compare_exchange_strong(&entry->stamp, &before, writing))
            continue; /* skipped before it was begun */
        memcpy((char *)entry + sizeof entry->stamp, (const char *)event + sizeof event->stamp,
               sizeof *entry - sizeof entry->stamp);
        /* Release: the data before the stamp that says they are whole. */
        if (atomic_compare_exchange_strong_explicit(&entry->stamp, &writing, stamp(seq, RING_READY),
                                                    memory_order_release, memory_order_relaxed))
            return true;
    }
    return false;
}

bool ring_last(const struct segment *s, struct ring_entry *event)
{
    uint64_t claimed = atomic_load_explicit(&s->header->ring_claimed, memory_order_relaxed);
    const struct ring_entry *entry;

    if (claimed == 0)
        return false;
    entry = &s->ring[(claimed - 1) % s->records];
    if (atomic_load_explicit(&entry->stamp, memory_order_acquire) != stamp(claimed - 1, RING_READY))
        return false;
    memcpy((char *)event + sizeof event->stamp, (const char *)entry + sizeof entry->stamp,
           sizeof *event - sizeof event->stamp);
    return true;
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
