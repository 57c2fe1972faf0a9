/* SPDX-License-Identifier: ISC */
/*
 * segment.h - the shared memory of a pool.
 *
 * One POSIX shared-memory object a pool, /pglend.<instance>.<pool>, made by the keeper with all its space allocated,
 * lent by the supervisor to each worker that may borrow. It holds who holds what: a word a slot, a wait word a
 * borrower. The words are the truth; every other field is a hint, a report or a policy the supervisor publishes.
 *
 * In strict isolation workers get a descriptor that is open for reading alone, and only the supervisor writes here
 * (beside it the audit process, in the ring): "worker" below reads "supervisor, for a worker".
 *
 * In shared isolation every worker of the pool can write every byte, so nobody believes it: limits are copied out
 * once when it is mapped and checked against the file's size, every index read later is checked against that copy,
 * every value is read once into a local. The supervisor keeps what matters (descriptors, generations, who is who) in
 * memory of its own. A worker that truncates the object makes others take SIGBUS; the supervisor survives it.
 *
 * There is no lock in here: a process may die between any two instructions.
 *
 *   field              written by             read by       order
 *   magic … pool       keeper, at creation    all           before the descriptor is handed out
 *   retired            keeper, supervisor     workers       relaxed: a worker that misses it is told on its socket
 *   policy             supervisor             workers       under policy_seq (odd: being written), seqlock
 *   down_since, error  supervisor             workers       down_since release/acquire; error under error_seq
 *   next_ticket        waiters                waiters       relaxed: only needs to be unique and growing
 *   borrowers_high     who claims an entry    all           seq_cst: set before the entry's first wait is published
 *   waiting[]          each waiter its bit    givers        seq_cst: the bit is set before the wait word says WAITING
 *   slot.word          see lease.h            all           seq_cst: waiter and giver each write one word and then
 *                                                           read the other's; weaker orders let both miss it
 *   slot.generation    supervisor, as owner   workers       released by the word that hands the slot on
 *   slot.lost          supervisor             its loser     relaxed: a report; written before the word is taken
 *   slot.recorded      the slot's owner,      supervisor    seq_cst: see ring.h
 *                      supervisor
 *   slot.since, …      the slot's owner       all           relaxed: reports and hints
 *   borrower.owner     who claims or frees    all           seq_cst
 *   borrower.wait      see lease.h            all           seq_cst
 *   borrower.wake      givers, supervisor     the waiter    futex; any change means: look at your words again
 *   counter, stripe[]  see stats.h            all           relaxed: reports
 *   ring               workers, audit         both          see ring.h
 *   worker[]           supervisor             its successor relaxed: a restarted supervisor finds its workers here
 */
#ifndef PGLEND_SEGMENT_H
#define PGLEND_SEGMENT_H

#include "stats.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_MAGIC     UINT64_C(0x31646e656c677002) /* "\2pglend1" */
#define POOL_NAME_MAX     63
#define SLOTS_MAX         4096
#define BORROWERS_MAX     16384
#define ACTOR_MAX         127
#define RING_MAX          65536
#define RESET_QUERY_MAX   1023
#define RESET_TIMEOUT_MAX 600000   /* ms */
#define WAIT_MAX          86400000 /* ms */
#define PURPOSES_MAX      1023
#define SEGMENT_ERROR_MAX 511
#define NAME_FIELD        64
#define EXECUTABLE_MAX    256 /* a path that is known, with its NUL */

enum reset_kind { RESET_FULL, RESET_ROLLBACK, RESET_NONE, RESET_REPLACE, RESET_QUERY, RESET_KINDS };
enum pool_mode { POOL_ACTIVE, POOL_PAUSED, POOL_DISABLED, POOL_SHUTDOWN };

/* What the supervisor tells workers about the pool. Plain data without gaps, copied and compared whole. */
struct policy {
    uint32_t max; /* slots 0 … max-1 may be lent */
    uint32_t mode;
    uint32_t acquire_timeout_ms;
    uint32_t unavailable_after_ms;
    uint32_t reset_timeout_ms;
    uint32_t reset;
    uint32_t guard;
    uint32_t cache_per_worker;
    uint32_t max_waiters; /* 0: any number */
    uint16_t require_actor;
    uint16_t context;
    uint64_t mode_since; /* ns, CLOCK_MONOTONIC */
    char mode_by[NAME_FIELD];
    char reset_query[RESET_QUERY_MAX + 1];
    char purposes[PURPOSES_MAX + 1]; /* those that may be said, newlines between them; "": any, or none */
};

/* Why a lease was taken away: for the message of whoever held it. */
enum lost_reason {
    LOST_UNKNOWN,
    LOST_REVOKED,
    LOST_SHUTDOWN,
    LOST_TOO_LONG,
    LOST_IDLE,
    LOST_IDLE_IN_TRANSACTION,
    LOST_ROLE,
    LOST_NOT_TAKEN,
    LOST_REASONS
};

/* One slot, one cache line. */
struct slot {
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uint64_t since;      /* when the word last changed hands; ns, CLOCK_MONOTONIC */
    _Atomic uint64_t idle_since; /* when it was last given back; ns */
    _Atomic uint64_t lease;      /* version under which the present lease began */
    _Atomic uint32_t generation; /* 0: never had a backend */
    _Atomic int32_t backend_pid;
    _Atomic uint32_t uses;     /* leases since this backend logged in */
    _Atomic uint64_t lost;     /* the last lease that was taken away: its version << 8 | enum lost_reason */
    _Atomic uint64_t recorded; /* which lease has its begin in the ring, and not its end; told by ring.h */
};

/* Whom the server takes the slot's backend for: its database role, NUL-terminated if its writer is honest. */
struct slot_role {
    char name[NAME_FIELD];
};

/* One thread that waits or holds. */
struct borrower {
    _Alignas(64) _Atomic uint64_t owner; /* version:48 | worker+1:16; worker part 0: free */
    _Atomic uint64_t wait;
    _Atomic uint64_t wait_since;
    _Atomic uint32_t wake;
};

/* What the application says a borrower is for; a report, NUL-terminated if its writer is honest. */
struct asserted {
    char actor[ACTOR_MAX + 1];
    char purpose[ACTOR_MAX + 1];
};

/* TEXT: well-formed UTF-8 of at most ACTOR_MAX bytes, without control characters; NULL: nothing is said. */
bool asserted_fits(const char *text);
/* Is PURPOSE one that POLICY names? */
bool asserted_purpose_known(const struct policy *policy, const char *purpose);
/* Does POLICY lend to who says this? */
bool asserted_enough(const struct policy *policy, const char *actor, const char *purpose);

/*
 * A worker, as the supervisor that greeted it recorded it for its successor. pid 0: free. The seal is made with a
 * secret that no worker has: a record that somebody else wrote counts for nothing.
 */
struct worker_record {
    _Atomic int32_t pid;
    _Atomic uint32_t uid;
    _Atomic uint32_t gid;
    _Atomic uint32_t overriding; /* an override alone let it in */
    _Atomic uint64_t start_time; /* field 22 of /proc/PID/stat, clock ticks after boot: tells a reused pid */
    _Atomic uint64_t since;      /* CLOCK_REALTIME, s */
    _Atomic uint64_t seal;       /* of all else here, the pool and the place */
    char executable[EXECUTABLE_MAX];
};

/*
 * A lease's begin or end, for the audit trail; told by ring.h. The stamp is SEQ << 2 | enum ring_stamp, the rest is
 * plain data that whoever claimed the entry wrote.
 */
struct ring_entry {
    _Alignas(64) _Atomic uint64_t stamp;
    uint64_t version; /* the lease is POOL/SLOT/VERSION */
    uint64_t started; /* of the worker, clock ticks after boot */
    uint64_t wait_us, duration_us;
    uint32_t kind;   /* enum ring_kind */
    uint32_t status; /* of a refusal: pglend_status; of what was revoked or reclaimed: enum close_reason */
    uint32_t slot, generation;
    int32_t backend_pid, pid;
    uint32_t uid, gid;
    uint32_t worker; /* its record, where its executable stands */
    struct slot_role role;
    struct asserted said;
};

/* What becomes of a lease that the ring has no room for. */
enum ring_mode {
    RING_OPEN,      /* it waits until there is room */
    RING_HELD,      /* none is recorded: the trail is not written, and nothing may be lent without it */
    RING_UNRECORDED /* it begins unrecorded, and is counted: the trail is not written, and lending goes on */
};

struct segment_header { /* NOLINT(clang-analyzer-optin.performance.Padding): lines of a cache are kept apart */
    uint64_t magic;
    uint64_t layout; /* of the sizes below: mismatched builds refuse each other */
    uint64_t size;
    uint32_t slots;
    uint32_t borrowers; /* also the number of worker records */
    uint32_t records;   /* entries of the ring; 0: there is no audit trail */
    char pool[NAME_FIELD];
    _Atomic uint32_t retired;

    _Alignas(64) _Atomic uint32_t policy_seq;
    struct policy policy;
    _Atomic uint32_t error_seq;
    char error[SEGMENT_ERROR_MAX + 1];
    _Atomic uint64_t down_since; /* nothing is connected and a login has failed since then; 0: no such trouble */

    _Alignas(64) _Atomic uint64_t next_ticket;
    _Alignas(64) _Atomic uint32_t borrowers_high; /* entries at and above it were never claimed */
    _Atomic uint64_t reset_ns;                    /* how long a reset's answer took of late; a hint */
    _Alignas(64) _Atomic uint64_t waiting[BORROWERS_MAX / 64];
    _Alignas(64) _Atomic uint64_t counter[STATS_COUNTERS];
    _Alignas(64) _Atomic uint64_t ring_claimed; /* entries claimed so far */
    _Alignas(64) _Atomic uint64_t ring_drained; /* and read into the trail, on disk */
    _Atomic uint64_t ring_lost;                 /* found no room under RING_UNRECORDED */
    _Atomic uint32_t ring_mode;
};

_Static_assert(sizeof(struct slot) == 64, "a slot is one cache line");
_Static_assert(sizeof(struct borrower) == 64, "a borrower is one cache line");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit compare-and-swap must not take a lock");

/* A mapped segment: the pointers and the limits, checked once, in memory that nobody else writes. */
struct segment {
    struct segment_header *header;
    struct slot *slot;
    struct slot_role *role; /* of each slot */
    struct borrower *borrower;
    struct asserted *asserted;
    struct worker_record *worker;
    struct stats_stripe *stripe; /* STATS_STRIPES of them */
    struct ring_entry *ring;
    uint32_t slots;
    uint32_t borrowers;
    uint32_t records;
    size_t size;
    bool readonly; /* the descriptor was open for reading alone: strict isolation */
};

/* "/pglend.<instance>.<pool>" into NAME. INSTANCE: 16 hex digits, the same for every run on one runtime directory. */
#define SEGMENT_NAME_MAX 128
void segment_instance(const char *runtime_dir, char instance[17]);
int segment_name(char name[SEGMENT_NAME_MAX], const char *instance, const char *pool);

/*
 * Create the object NAME (0600, space allocated, header and first words written) for SLOTS and BORROWERS, with a ring of
 * RECORDS entries (0: none, else from SLOTS + 1 to RING_MAX). Returns a descriptor, or -1 with errno; EEXIST if there is
 * one of that name. NAME NULL: nobody else can open it.
 */
int segment_create(const char *name, const char *pool, uint32_t slots, uint32_t borrowers, uint32_t records);
/* Another descriptor of the object behind FD, that can only read; -1 with errno. */
int segment_reader(int fd);
/* Mark the object behind FD retired without mapping it (a truncated one would raise SIGBUS). */
int segment_retire(int fd);

/*
 * Map FD, for writing if it is open for that, and check it: 0, or -1 with errno (EPROTO: not a segment of this build;
 * EINVAL: sizes disagree).
 */
int segment_map(struct segment *s, int fd);
void segment_unmap(struct segment *s);
/* Is the object behind FD, mapped as S, in use and still of the size and shape it had? */
bool segment_intact(const struct segment *s, int fd);

void segment_set_policy(const struct segment *s, const struct policy *policy);
/* Copy the policy out. False: it was being written all the while (a writer died in it): keep what you have. */
bool segment_get_policy(const struct segment *s, struct policy *policy, uint32_t *seq);
/* Does it say POLICY? */
bool segment_has_policy(const struct segment *s, const struct policy *policy);
void segment_set_error(const struct segment *s, const char *text);
void segment_get_error(const struct segment *s, char text[SEGMENT_ERROR_MAX + 1]);

#endif
