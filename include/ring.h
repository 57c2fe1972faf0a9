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
 * A begin or a refusal finds no room where fewer places are left than there are slots: so the end of each lease always
 * finds one. What workers write is their word. The reader checks every number and believes none.
 */
#ifndef PGLEND_RING_H
#define PGLEND_RING_H

#include "segment.h"

#define RING_STUCK_MS 1000 /* a claimer that runs is done within microseconds */

enum ring_stamp { RING_WRITING = 1, RING_READY, RING_SKIPPED };
enum ring_kind { RING_BEGIN, RING_END, RING_BROKEN, RING_REFUSED, RING_RECLAIMED, RING_KINDS };

/* Entries for a pool of SLOTS: room for a burst while the audit process waits for the disk. */
static inline uint32_t ring_size(uint32_t slots)
{
    return slots + 8192;
}

/* Would a begin find room? Sure where nobody else writes. */
bool ring_has_room(const struct segment *s);
/* Write EVENT, whose stamp does not count. False: there is no room. Does not block. */
bool ring_put(const struct segment *s, const struct ring_entry *event);
/* What was written last, where there is one writer; drained or not. False: nothing, or its writer died in it. */
bool ring_last(const struct segment *s, struct ring_entry *event);

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
