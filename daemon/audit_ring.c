/* SPDX-License-Identifier: ISC */
/*
 * audit_ring.c - leases' begin and end, and refusals, from the pools' shared memory into the audit trail.
 *
 * The hard thing: workers write there, and one of them may be hostile. Nothing that stands there can do more than
 * make a record that says what is not so, which "attested":false says of all of them; a segment that is truncated
 * under our eyes gets pages of zeros in the hole. In strict isolation only the supervisor can write there.
 */
#include "audit_ring.h"

#include "close_reason.h"
#include "daemon.h"
#include "ring.h"
#include "sigbus.h"

#include <pglend.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_MOST 4096 /* entries of a pool at a time */

struct pool_ring {
    struct pool_ring *next;
    char pool[NAME_FIELD];
    struct segment segment;
    struct ring_reader reader;
    bool attested;             /* the supervisor alone writes there; the keeper says so, for a segment could not */
    uint64_t skipped, damaged; /* as said */
};

static struct pool_ring *rings;

static bool is_of_a_ring(const char *page)
{
    for (const struct pool_ring *r = rings; r != NULL; r = r->next)
        if (sigbus_hit(&r->segment, page))
            return true;
    return false;
}

void audit_rings_guard(void)
{
    sigbus_survive(is_of_a_ring);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A number that a worker wrote: what no clock can have measured is left out. */
static void set_time(struct audit_values *values, enum audit_field field, uint64_t us)
{
    if (us <= (uint64_t)INT64_MAX)
        audit_set_number(values, field, (int64_t)us);
}

/*
 * As the keeper found it when that worker came. Another one may have its record by now, and then it is not said: who is
 * told by pid and start is told in that worker's "worker.attached" too.
 */
static void set_executable(struct audit_values *values, const struct segment *s, const struct ring_entry *e,
                           char text[EXECUTABLE_MAX])
{
    const struct worker_record *record = e->worker < s->borrowers ? &s->worker[e->worker] : NULL;

    if (record == NULL || atomic_load_explicit(&record->start_time, memory_order_acquire) != e->started)
        return;
    (void)snprintf(text, EXECUTABLE_MAX, "%.*s", EXECUTABLE_MAX - 1, record->executable);
    /* Another supervisor may have written another one there meanwhile. */
    atomic_thread_fence(memory_order_acquire);
    if (text[0] == '/' && atomic_load_explicit(&record->start_time, memory_order_relaxed) == e->started)
        audit_set_text(values, AUDIT_FIELD_EXECUTABLE, text);
}

static void set_lease(struct audit_values *values, const struct ring_entry *e, const char *pool, char *lease,
                      size_t size)
{
    (void)snprintf(lease, size, "%s/%" PRIu32 "/%" PRIu64, pool, e->slot, e->version);
    audit_set_text(values, AUDIT_FIELD_LEASE, lease);
    audit_set_number(values, AUDIT_FIELD_SLOT, e->slot);
    audit_set_number(values, AUDIT_FIELD_GENERATION, e->generation);
    audit_set_number(values, AUDIT_FIELD_BACKEND, e->backend_pid);
    audit_set_text(values, AUDIT_FIELD_ROLE, e->role.name);
}

/* Where it is known: of what a supervisor took, and died, its successor cannot tell. */
static void set_process(struct audit_values *values, const struct segment *s, const struct ring_entry *e,
                        char executable[EXECUTABLE_MAX])
{
    if (e->pid == 0)
        return;
    audit_set_number(values, AUDIT_FIELD_UID, e->uid);
    audit_set_number(values, AUDIT_FIELD_GID, e->gid);
    audit_set_number(values, AUDIT_FIELD_PID, e->pid);
    set_time(values, AUDIT_FIELD_STARTED, e->started);
    set_executable(values, s, e, executable);
}

static const char *reason_of(const struct ring_entry *e)
{
    if (e->kind == RING_RECLAIMED)
        return e->status == CLOSE_NONE ? "its worker has ended" : "its slot was damaged";
    return e->status < CLOSE_REASONS ? close_reasons[e->status].text : "";
}

static void record(struct audit_trail *t, const struct pool_ring *r, const struct ring_entry *e)
{
    static const struct {
        enum audit_event event;
        const char *outcome;
    } row[RING_KINDS] = {
        [RING_BEGIN] = {AUDIT_LEASE_BEGIN, NULL},         [RING_END] = {AUDIT_LEASE_END, "kept"},
        [RING_BROKEN] = {AUDIT_LEASE_END, "replaced"},    [RING_REFUSED] = {AUDIT_LEASE_REFUSED, NULL},
        [RING_RECLAIMED] = {AUDIT_LEASE_RECLAIMED, NULL}, [RING_REVOKED] = {AUDIT_LEASE_REVOKED, NULL},
    };
    struct audit_values values = {0};
    char lease[NAME_FIELD + 40], executable[EXECUTABLE_MAX];

    audit_set_text(&values, AUDIT_FIELD_POOL, r->pool);
    if (e->kind != RING_REFUSED)
        set_lease(&values, e, r->pool, lease, sizeof lease);
    set_process(&values, &r->segment, e, executable);
    audit_set_text(&values, AUDIT_FIELD_ACTOR, e->said.actor);
    audit_set_text(&values, AUDIT_FIELD_PURPOSE, e->said.purpose);
    audit_set_flag(&values, AUDIT_FIELD_ATTESTED, r->attested);
    if (row[e->kind].event == AUDIT_LEASE_END)
        set_time(&values, AUDIT_FIELD_DURATION, e->duration_us);
    else if (e->kind == RING_RECLAIMED || e->kind == RING_REVOKED)
        audit_set_text(&values, AUDIT_FIELD_REASON, reason_of(e));
    else
        set_time(&values, AUDIT_FIELD_WAIT, e->wait_us);
    if (e->kind == RING_REFUSED)
        audit_set_text(&values, AUDIT_FIELD_OUTCOME, pglend_status_name((pglend_status)e->status));
    else if (row[e->kind].outcome != NULL)
        audit_set_text(&values, AUDIT_FIELD_OUTCOME, row[e->kind].outcome);
    (void)audit_trail_add(t, row[e->kind].event, &values);
}

static void say_trouble(struct audit_trail *t, struct pool_ring *r)
{
    struct audit_values values = {0};

    if (r->reader.skipped == r->skipped && r->reader.damaged == r->damaged)
        return;
    audit_set_text(&values, AUDIT_FIELD_POOL, r->pool);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, r->reader.damaged != r->damaged ? "damaged" : "skipped");
    audit_set_text(&values, AUDIT_FIELD_REASON,
                   r->reader.damaged != r->damaged
                       ? "a worker wrote over the ring of leases: records of leases may be missing"
                       : "workers stopped or died before they had written of their lease, which had not begun");
    audit_set_number(&values, AUDIT_FIELD_RECORDS,
                     (int64_t)(r->reader.skipped - r->skipped + r->reader.damaged - r->damaged));
    (void)audit_trail_add(t, AUDIT_ERROR, &values);
    r->skipped = r->reader.skipped;
    r->damaged = r->reader.damaged;
}

static bool drain(struct audit_trail *t, struct pool_ring *r)
{
    struct ring_entry event;
    uint64_t now = now_ns();
    unsigned count = 0;

    while (count < DRAIN_MOST && t->bodies.length < AUDIT_WAITING_MAX / 2 &&
           ring_take(&r->reader, &r->segment, now, &event)) {
        record(t, r, &event);
        count++;
    }
    say_trouble(t, r);
    return count > 0;
}

bool audit_rings_drain(struct audit_trail *t)
{
    bool any = false;

    for (struct pool_ring *r = rings; r != NULL; r = r->next)
        if (r->segment.records != 0)
            any = drain(t, r) || any;
    return any;
}

void audit_rings_free(void)
{
    for (const struct pool_ring *r = rings; r != NULL; r = r->next)
        if (r->segment.records != 0)
            ring_free(&r->reader, &r->segment);
}

void audit_rings_add(struct audit_trail *t, const char *pool, int fd, bool attested)
{
    struct segment segment;
    struct pool_ring *r = rings;
    bool mapped = fd != -1 && segment_map(&segment, fd) == 0;

    if (!mapped)
        log_error("audit: cannot map the shared memory of pool %s: %s: its leases are not recorded", pool,
                  strerror(errno));
    if (fd != -1)
        (void)close(fd);
    if (!mapped)
        return;
    while (r != NULL && strcmp(r->pool, pool) != 0)
        r = r->next;
    if (r != NULL) {
        /* Another one takes its place: what its workers had written is still there. */
        while (r->segment.records != 0 && drain(t, r))
            if (!audit_trail_sync(t))
                break;
        segment_unmap(&r->segment);
    } else if ((r = calloc(1, sizeof *r)) != NULL) {
        (void)snprintf(r->pool, sizeof r->pool, "%s", pool);
        r->next = rings;
        rings = r;
    } else {
        segment_unmap(&segment);
        return;
    }
    r->segment = segment;
    r->attested = attested;
    r->skipped = r->damaged = 0;
    ring_reader_begin(&r->reader, &r->segment);
}
