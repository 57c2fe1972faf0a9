/* SPDX-License-Identifier: ISC */
/*
 * record.c - each lease's begin and end, and who got none, for the audit trail.
 *
 * A begin is written when the slot has been won and before the application gets its connection: without room for it
 * the lease waits, to its deadline. An end is written before the slot is given away. Where there is no audit trail the
 * segment has no ring, and nothing of this costs more than a look.
 */
#include "client.h"
#include "ring.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ROOM_EVERY_NS 1000000 /* a full ring is looked at again, until the audit process has made room */

static void fill_self(struct ring_entry *event, const struct attachment *at, enum ring_kind kind)
{
    const struct worker_record *self = &at->segment.worker[at->worker];

    *event = (struct ring_entry){
        .started = atomic_load_explicit(&self->start_time, memory_order_relaxed),
        .kind = kind,
        .pid = atomic_load_explicit(&self->pid, memory_order_relaxed),
        .uid = atomic_load_explicit(&self->uid, memory_order_relaxed),
        .gid = atomic_load_explicit(&self->gid, memory_order_relaxed),
        .worker = at->worker,
    };
}

static void fill(struct ring_entry *event, const struct attachment *at, uint32_t slot, uint32_t borrower,
                 uint64_t version, enum ring_kind kind)
{
    const struct slot *in = &at->segment.slot[slot];

    fill_self(event, at, kind);
    event->version = version;
    event->slot = slot;
    event->generation = atomic_load_explicit(&in->generation, memory_order_relaxed);
    event->backend_pid = atomic_load_explicit(&in->backend_pid, memory_order_relaxed);
    event->role = at->segment.role[slot];
    event->said = at->segment.asserted[borrower];
}

static uint32_t mode_of(const struct attachment *at)
{
    return atomic_load_explicit(&at->segment.header->ring_mode, memory_order_relaxed);
}

bool record_begin(const struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t version, uint64_t wait_ns,
                  uint64_t until)
{
    const struct timespec pause = {.tv_nsec = ROOM_EVERY_NS};
    struct ring_entry event;

    if (at->segment.records == 0)
        return true;
    fill(&event, at, slot, borrower, version, RING_BEGIN);
    event.wait_us = wait_ns / 1000;
    for (;;) {
        uint32_t mode = mode_of(at);

        if (mode != RING_HELD && ring_put(&at->segment, &event))
            return true;
        if (mode == RING_UNRECORDED) {
            ring_miss(&at->segment, &event);
            return true;
        }
        /* It may be taken away meanwhile, and be another's by now. */
        if (clock_ns() + ROOM_EVERY_NS >= until || attachment_retired(at) || !lease_held(&at->segment, borrower, slot))
            return false;
        (void)nanosleep(&pause, NULL);
    }
}

void record_end(const struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t version, uint64_t began,
                bool broken)
{
    struct ring_entry event;
    uint64_t now;

    /* One that was taken away has its end. */
    if (at->segment.records == 0 || !ring_has_begun(&at->segment, slot, version))
        return;
    now = clock_ns();
    fill(&event, at, slot, borrower, version, broken ? RING_BROKEN : RING_END);
    event.duration_us = began < now ? (now - began) / 1000 : 0;
    if (!ring_put(&at->segment, &event))
        ring_miss(&at->segment, &event);
}

void record_refusal(const struct attachment *at, const struct policy *policy, const char *actor, const char *purpose,
                    uint64_t wait_ns, pglend_status status)
{
    struct ring_entry event;

    if (at->segment.records == 0)
        return;
    fill_self(&event, at, RING_REFUSED);
    event.status = (uint32_t)status;
    event.wait_us = wait_ns / 1000;
    if (actor != NULL)
        (void)snprintf(event.said.actor, sizeof event.said.actor, "%s", actor);
    if (purpose != NULL && (policy->purposes[0] == '\0' || asserted_purpose_known(policy, purpose)))
        (void)snprintf(event.said.purpose, sizeof event.said.purpose, "%s", purpose);
    /* Without room it is only counted, with the statistics: it must not take the room of a lease. */
    (void)ring_put(&at->segment, &event);
}
