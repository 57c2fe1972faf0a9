/* SPDX-License-Identifier: ISC */
/*
 * ring.h - leases' begin and end, and refusals, on their way to the audit trail, through the pool's shared memory.
 *
 * In shared isolation workers hand connections on among themselves, and only they know of it. Each writes what it did
 * into the ring, before its application may use the connection and before it gives the connection away; the audit
 * process reads it. Whoever dies, what was written is there.
 *
 *   claim    ring_claimed N → N+1, one compare-and-swap: entry N (in place N mod records) is the claimer's
 *   write    stamp: anything older → N, WRITING; the data; stamp N, WRITING → N, READY (release)
 *   read     in order: N, READY (acquire): the data are whole. ring_drained goes past N once its record is on disk
 *   skip     an entry that is not ready for RING_STUCK_MS: its claimer is dead or stopped. Its stamp → N, SKIPPED; if
 *            the claimer lives it finds that, and writes another entry. One whose stamp is of a later claim: at once
 *
 * A begin or a refusal finds no room where fewer places are left than there are slots: so the end of each lease always finds one.
 *
 * Who writes may die between an entry and what it is of, and then another must know what is there. So slot.recorded
 * names the lease whose begin is in the ring and not its end; and, from before an entry is READY until that is said, the
 * entry, whose stamp then decides. The supervisor writes an end of what it takes from the dead, or from a borrower,
 * where by this there is none.
 *
 * What workers write is their word. The reader checks every number and believes none.
 */
#ifndef PGLEND_RING_H
#define PGLEND_RING_H

#include "segment.h"

#define RING_STUCK_MS 1000 /* a claimer that runs is done within microseconds */

/*
 * slot.recorded: VERSION << 2, with BEGUN until the end is there; and while an entry is written SEQ << 2 of that, with
 * WRITING, and with BEGUN if it is a begin.
 */
#define RECORDED_BEGUN   1
#define RECORDED_WRITING 2

enum ring_stamp { RING_WRITING = 1, RING_READY, RING_SKIPPED };
enum ring_kind { RING_BEGIN, RING_END, RING_BROKEN, RING_REFUSED, RING_RECLAIMED, RING_REVOKED, RING_KINDS };

/* Entries for a pool of SLOTS: room for a burst while the audit process waits for the disk. */
static inline uint32_t ring_size(uint32_t slots)
{
    return slots + 8192;
}

/* Would a begin find room? Sure where nobody else writes. */
bool ring_has_room(const struct segment *s);
/* Write EVENT, whose stamp does not count. False: there is no room. Does not block. */
bool ring_put(const struct segment *s, const struct ring_entry *event);
/* EVENT, a begin or an end, found no room, and is counted in its place. */
void ring_miss(const struct segment *s, const struct ring_entry *event);
/* Is the lease VERSION of SLOT begun there, and not ended? For its borrower. */
bool ring_has_begun(const struct segment *s, uint32_t slot, uint64_t version);
/* For the supervisor, of a lease whose borrower writes no more: which lease of SLOT is so; 0: none. */
uint64_t ring_open(const struct segment *s, uint32_t slot);

/* One reader's place. */
struct ring_reader {
    uint64_t next;        /* the entry to be read */
    uint64_t stuck_since; /* ns; 0: it is not waited for */
    uint64_t skipped;     /* entries whose claimers never finished them */
    uint64_t damaged;     /* times that the ring said what cannot be */
};
void ring_reader_begin(struct ring_reader *reader, const struct segment *s);
/* The next event that is ready, copied whole, its kind checked and its texts terminated: false if none is. NOW: ns. */
bool ring_take(struct ring_reader *reader, const struct segment *s, uint64_t now, struct ring_entry *event);
/* All that was taken is on disk: its places are free. */
void ring_free(const struct ring_reader *reader, const struct segment *s);

#endif
