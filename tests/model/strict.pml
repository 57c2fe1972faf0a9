/* SPDX-License-Identifier: ISC */
/*
 * strict.pml - daemon/grant.c and client/call.c as a Spin model: strict isolation, where the supervisor makes every
 * transition, workers (call.pml) only ask, and either may die at any step, with messages under way.
 *
 * What is in shared memory outlives the supervisor: the slots' words, who waits, whose each entry is, who was admitted.
 * Its list of requests and what it has read do not; nor does what workers sent to it. What it had sent can still be
 * read, or is lost. The hard thing is what nobody knows any more: a release that was not read, a grant whose message was
 * not sent, a request that was answered a moment before it was given up.
 *
 * To stay small and exact: nobody but the supervisor writes in shared memory, and nobody looks there for what to do
 * next. So all that it does about one event is one step, but that it may die before each STORE, which is one of the code
 * in shared memory, or a message. A worker's step ends with the message that it sends or takes. A version is the
 * smallest that is named nowhere, for it is only compared with others; a ticket is a rank among those who wait.
 *
 * What may happen, and MISTAKE, is fixed by -D (run.sh has the table). Who has had all its leases is at rest, alive, and
 * silent, but that it calls again where its supervisor has died. Nobody else acts unless something happened: who waits
 * for what never comes is a deadlock, which Spin reports. After each event of the supervisor CHECK() looks whether some
 * slot is lost already, or has two holders, or a request is nobody's; the end is when all are at rest or dead and there
 * is nothing left to do, and then all is as it was. Not modelled: a worker's threads, but that it may greet a new
 * supervisor while it holds; cancels and resets; who takes no grant after a supervisor's death; a relay (relay.pml).
 */
#include "common.pml"

/* 1: another process takes the place of a worker that died. */
#ifndef HEIRS
#define HEIRS 0
#endif
/* Workers that are stopped while they wait, until all others are at rest. */
#ifndef STOPS
#define STOPS 0
#endif
/* Workers that are shut out while they live, as at the end of an override. */
#ifndef DROPS
#define DROPS 0
#endif
/* Requests for which there is no room in the socket, at first. */
#ifndef FULLS
#define FULLS 0
#endif
/* 1: an answer goes out when its lease's record is on the disk. */
#ifndef RECORDS
#define RECORDS 0
#endif

byte leaves = LEAVES;
byte heirs = HEIRS;
byte fulls = FULLS;
byte drops = DROPS;
#if CRASHES > 0
byte crashes = CRASHES; /* of a worker or of the supervisor */
#endif
#if STOPS > 0
byte stops = STOPS;
#endif

#define ENTRIES (WORKERS + STOPS) /* a lease that was revoked keeps its one until the next sweep */
#define ROOM    (4 + 2 * LEAVES)

mtype:slots = { IDLE, LEASED, GRANTED, TAKEN }; /* TAKEN: SLOT_SUPERVISOR */
mtype:waits = { NONE, WAITING, CLAIMED };
mtype:ties = { OPEN, BROKEN, KNOCKED };         /* a worker's connection; KNOCKED: its hello waits */
mtype:says = { ACQUIRE, RELEASE, GIVE_UP, HOLDING };

/* ---- what outlives the supervisor ---- */

typedef slot_t {
    mtype:slots state = IDLE;
    byte by = NOBODY; /* entry */
    byte version;     /* of the lease; 0: nobody is to be told of it */
};
typedef entry_t {
    byte owner = NOBODY; /* a worker */
    mtype:waits state = NONE;
    byte slot;
    byte rank; /* of the ticket: 1 is the oldest */
};
slot_t slot[SLOTS];
entry_t entry[ENTRIES];
byte known = EVERYBODY; /* workers, a bit each: who was admitted, and whose death was not seen */
byte shut_out;          /* workers, a bit each: and will not be again */
byte taken;             /* slots, a bit each: LEASE_TAKEN of the open file */

/* A serial, or a slot, and its version. */
chan up[WORKERS] = [ROOM] of { mtype:says, byte, byte };
/* To whom asked as that serial: a slot, its version; NO_SLOT: it gets none. */
chan down[WORKERS] = [ROOM] of { byte, byte, byte };
mtype:ties tie[WORKERS] = OPEN;

/* ---- the supervisor's memory ---- */

chan asks = [ENTRIES] of { byte }; /* the requests that wait, by entry; oldest first */
byte asked[ENTRIES];               /* as which serial */
byte serial_of[SLOTS];             /* as which its lease was asked for */
byte must_tell;                    /* workers, a bit each: they have not said yet what they hold */
byte unsent;                       /* slots, a bit each: who has its lease is told when there is a record of it */
byte waited;                       /* slots, a bit each: it was waited for */
byte untaken;                      /* slots, a bit each: and whether that was read is to be looked at */
bool sweep_due;

/* ---- a worker's memory ---- */

byte call[WORKERS];        /* serial of what it waits for; 0: nothing */
byte sent;                 /* workers, a bit each: and has asked its present supervisor */
byte welcomed = EVERYBODY; /* workers, a bit each: some supervisor answered its hello */
byte held[WORKERS] = NO_SLOT;
byte under[WORKERS];       /* which version */
byte parting;              /* workers, a bit each: it has put away what it holds, and says so next */
byte resting;              /* workers, a bit each */

/* ---- what is so, whoever knows it ---- */

byte dead; /* workers, a bit each */
byte holders[SLOTS];
byte cut[SLOTS]; /* versions whose session was ended, a bit each: who still holds it holds nothing */
bool over;

#if CRASHES > 0
#define OR_DIES :: d_step { crashes > 0 && !over -> crashes-- }; goto died
#else
#define OR_DIES
#endif
#define STORE(...) if :: d_step { __VA_ARGS__ } OR_DIES fi

#define EACH(n, limit) n = 0; do :: n < limit ->
#define NEXT(n)        n++ :: else -> break od; n = 0

#if WORKERS > 2
#define ANY_WORKER(is)  (is(0) || is(1) || is(2))
#define ALL_WORKERS(is) (is(0) && is(1) && is(2))
#else
#define ANY_WORKER(is)  (is(0) || is(1))
#define ALL_WORKERS(is) (is(0) && is(1))
#endif
#if STOPS > 0
#define ANY_ENTRY(is) (ANY_WORKER(is) || is(WORKERS))
#else
#define ANY_ENTRY(is) ANY_WORKER(is)
#endif

/* ---- words ---- */

inline set_slot(which, new_state, whom)
{
    slot[which].state = new_state;
    slot[which].by = whom;
    slot[which].version = 0
}

#define NAMES(n) (down[n]??[_, eval(i), eval(y)] || up[n]??[RELEASE, eval(i), eval(y)] ||                              \
                  up[n]??[HOLDING, eval(i), eval(y)] || (held[n] == i && under[n] == y))

/* The lease of slot I by entry E. */
inline begin_lease()
{
    set_slot(i, LEASED, e);
    y = 1;
    do
    :: ANY_WORKER(NAMES) -> y++
    :: !ANY_WORKER(NAMES) -> break
    od;
    slot[i].version = y;
    cut[i] = cut[i] & ~BIT(y);
    y = 0
}

inline wait_begins(which)
{
    entry[which].state = WAITING;
    entry[which].rank = 1;
    EACH(n, ENTRIES)
        if
        :: n != which && entry[n].rank > 0 -> entry[which].rank++
        :: else
        fi;
    NEXT(n)
}

inline wait_ends(which)
{
    EACH(n, ENTRIES)
        if
        :: entry[which].rank > 0 && entry[n].rank > entry[which].rank -> entry[n].rank--
        :: else
        fi;
    NEXT(n);
    entry[which].state = NONE;
    entry[which].slot = 0;
    entry[which].rank = 0
}

/* Leaves the entry in TO. */
inline oldest_waiter()
{
    to = NOBODY;
    EACH(n, ENTRIES)
        if
        :: entry[n].state == WAITING &&
           (to == NOBODY || (RIGHT(1) -> entry[n].rank < entry[to].rank : entry[n].rank > entry[to].rank)) -> to = n
        :: else
        fi;
    NEXT(n)
}

/* First come, first served. */
inline claim()
{
    EACH(n, ENTRIES)
        assert(n == to || entry[n].state != WAITING || entry[n].rank > entry[to].rank);
    NEXT(n);
    entry[to].state = CLAIMED;
    entry[to].slot = i
}

/* Slot I, which the supervisor has, or an entry for which it acts: to the oldest who waits, or to nobody. */
inline pass_on()
{
    d_step { oldest_waiter() };
    if
    :: to != NOBODY && RIGHT(12) -> STORE(claim()); STORE(set_slot(i, GRANTED, to))
    :: else -> STORE(set_slot(i, IDLE, NOBODY))
    fi;
    to = NOBODY
}

/* ---- what the supervisor does ---- */

#define IS_LIVE(e) (entry[e].owner != NOBODY && IS_SET(known, entry[e].owner))

/* The lease of slot I is over. */
inline end_lease()
{
    e = slot[i].by;
    STORE(set_slot(i, TAKEN, NOBODY));
    STORE(entry[e].owner = NOBODY; unsent = unsent & ~BIT(i); forget_lease(i))
}

inline forget_lease(which)
{
    serial_of[which] = 0;
    waited = waited & ~BIT(which);
    untaken = untaken & ~BIT(which)
}

/* The lease of slot I has begun: worker W is told, if it is there to be. */
inline tell()
{
    if
    :: IS_SET(dead, w) -> end_lease()
    :: else ->
        STORE(untaken = untaken | (waited & BIT(i));
              taken = (IS_SET(waited, i) && RIGHT(17) -> taken & ~BIT(i) : taken);
              down[w]!serial_of[i], i, slot[i].version)
    fi
}

/* Worker W, which asked as X, has slot I under its word. */
inline hand_over(has_waited)
{
    d_step { serial_of[i] = x; waited = (STOPS > 0 && has_waited -> waited | BIT(i) : waited) };
    if
    :: RECORDS -> unsent = unsent | BIT(i)
    :: !RECORDS -> tell()
    fi
}

/* The record is on the disk. Its lease may have ended meanwhile. */
inline look_at_record()
{
    unsent = unsent & ~BIT(i);
    if
    :: slot[i].state == LEASED && IS_LIVE(slot[i].by) -> w = entry[slot[i].by].owner; assert(tie[w] == OPEN); tell()
    :: else
    fi
}

/* Entry E waits: not any more. What it was granted goes to the next. */
inline leave_queue()
{
    if
    :: entry[e].state == CLAIMED && slot[entry[e].slot].state == GRANTED && slot[entry[e].slot].by == e && RIGHT(2) ->
        i = entry[e].slot;
        STORE(set_slot(i, LEASED, e));
        STORE(wait_ends(e));
        pass_on();
        i = 0
    :: else -> STORE(wait_ends(e))
    fi;
    STORE(entry[e].owner = NOBODY)
}

/* Its request is no longer: the answer is that it gets none. */
inline drop()
{
    d_step { asks??eval(e); w = entry[e].owner; x = asked[e]; asked[e] = 0 };
    leave_queue();
    if
    :: tie[w] == OPEN && !IS_SET(dead, w) -> STORE(down[w]!x, NO_SLOT, 0)
    :: else
    fi
}

/* A request at the head that was claimed. */
inline look_at_grants()
{
    d_step { asks?e; w = entry[e].owner; i = entry[e].slot; x = asked[e]; asked[e] = 0 };
    assert(slot[i].state == GRANTED && slot[i].by == e);
    STORE(begin_lease());
    STORE(wait_ends(e));
    hand_over(true)
}

/* ---- what workers say ---- */

#define IS_PASSED_OVER(n) (asked[n] != 0 && entry[n].state != CLAIMED)

inline acquire()
{
    assert(!IS_SET(must_tell, w));
    STORE(e = 0;
          do
          :: entry[e].owner == NOBODY -> break
          :: else -> e++; assert(e < ENTRIES)
          od;
          entry[e].owner = w);
    d_step {
        oldest_waiter();
        i = 0;
        do
        :: i < SLOTS && slot[i].state != IDLE -> i++
        :: else -> break
        od
    };
    if
    :: i < SLOTS && to == NOBODY -> assert(!ANY_ENTRY(IS_PASSED_OVER)); STORE(begin_lease()); hand_over(false)
    :: else -> STORE(asks!e; asked[e] = x; wait_begins(e))
    fi;
    to = NOBODY
}

#define IS_LEASED_BY(i, w) (slot[i].state == LEASED && entry[slot[i].by].owner == w)

inline release()
{
    i = x;
    if
    :: IS_LEASED_BY(i, w) && (slot[i].version == y || !RIGHT(3)) -> end_lease()
    :: else
    fi
}

/* It waits, or it was answered just before. */
inline give_up()
{
    d_step {
        e = 0;
        do
        :: e < ENTRIES && !(entry[e].owner == w && asked[e] == x) -> e++
        :: else -> break
        od;
        i = 0;
        do
        :: i < SLOTS && !(IS_LEASED_BY(i, w) && serial_of[i] == x) -> i++
        :: else -> break
        od
    };
    if
    :: e < ENTRIES -> i = 0; drop()
    :: e == ENTRIES && i < SLOTS && RIGHT(4) -> end_lease()
    :: else
    fi
}

/* All that is W's but slot X under version Y, which it has, was never taken, or is released. */
inline holding()
{
    assert(IS_SET(must_tell, w) || !RIGHT(9));
    must_tell = must_tell & ~BIT(w);
    EACH(i, SLOTS)
        if
        :: IS_LEASED_BY(i, w) && !(x == i && slot[i].version == y) && RIGHT(5) && RIGHT(9) -> end_lease()
        :: else
        fi;
    NEXT(i)
}

inline hear()
{
    if
    :: up[w]?ACQUIRE(x, y) -> acquire()
    :: up[w]?RELEASE(x, y) -> release()
    :: up[w]?GIVE_UP(x, y) -> give_up()
    :: up[w]?HOLDING(x, y) -> holding()
    fi
}

/* ---- without their asking ---- */

inline forget_messages(which)
{
    do
    :: nempty(up[which]) -> up[which]?_, _, _
    :: empty(up[which]) -> break
    od
}

/* Worker W is dead, or shut out, and has no connection any more. Its leases are the sweep's. */
inline end_worker()
{
    STORE(known = known & ~BIT(w);
          must_tell = must_tell & ~BIT(w);
          tie[w] = BROKEN;
          sent = sent & ~BIT(w);
          forget_messages(w);
          do
          :: IS_SET(dead, w) && nempty(down[w]) -> down[w]?_, _, _
          :: !IS_SET(dead, w) || empty(down[w]) -> break
          od;
          sweep_due = true);
    EACH(e, ENTRIES)
        if
        :: asked[e] != 0 && entry[e].owner == w && RIGHT(6) -> drop()
        :: else
        fi;
    NEXT(e)
}

/* The lease of slot I goes, and with it the session: its borrower may have the descriptor, or get it yet. */
inline revoke()
{
    STORE(cut[i] = (RIGHT(18) -> cut[i] | BIT(slot[i].version) : cut[i]);
          holders[i] = (RIGHT(18) -> 0 : holders[i]);
          set_slot(i, TAKEN, NOBODY);
          forget_lease(i);
          unsent = unsent & ~BIT(i);
          taken = taken & ~BIT(i);
          sweep_due = true)
}

/* Worker W lives, and has the descriptors: what it holds must not be lent on. */
inline shut_out_worker()
{
    EACH(i, SLOTS)
        if
        :: IS_LEASED_BY(i, w) && RIGHT(26) -> revoke()
        :: else
        fi;
    NEXT(i);
    shut_out = shut_out | BIT(w);
    end_worker()
}

#define IS_AWAITED(i) (IS_LIVE(slot[i].by) && entry[slot[i].by].state == CLAIMED && entry[slot[i].by].slot == i)

inline sweep()
{
    sweep_due = false;
    EACH(e, ENTRIES)
        if
        :: entry[e].state != NONE && !IS_LIVE(e) -> STORE(wait_ends(e))
        :: else
        fi;
    NEXT(e);
    EACH(i, SLOTS)
        d_step { oldest_waiter() };
        if
        :: (slot[i].state == IDLE && to != NOBODY) || (slot[i].state == GRANTED && !IS_AWAITED(i)) ->
            STORE(set_slot(i, TAKEN, NOBODY));
            pass_on()
        :: slot[i].state == LEASED && !IS_LIVE(slot[i].by) && RIGHT(13) ->
            STORE(set_slot(i, TAKEN, NOBODY); forget_lease(i))
        :: else
        fi;
        to = NOBODY;
    NEXT(i);
    /* No word names it: this is the only writer. */
    EACH(e, ENTRIES)
        d_step {
            EACH(i, SLOTS)
                if
                :: slot[i].by == e -> to = e
                :: else
                fi;
            NEXT(i)
        };
        if
        :: to == NOBODY && entry[e].state == NONE && entry[e].owner != NOBODY && RIGHT(14) ->
            STORE(entry[e].owner = NOBODY)
        :: else
        fi;
        to = NOBODY;
    NEXT(e)
}

/* A hello. Words that name who died must not be taken for those of the next in its place. */
inline admit()
{
    STORE(must_tell = (IS_SET(known & welcomed, w) && RIGHT(9) -> must_tell | BIT(w) : must_tell);
          known = known | BIT(w));
    STORE(tie[w] = OPEN; welcomed = welcomed | BIT(w))
}

/* Requests that a predecessor had are asked anew, claims that it had begun are for nobody. */
inline recover()
{
    STORE(known = known & ~dead);
    EACH(e, ENTRIES)
        if
        :: entry[e].state != NONE && RIGHT(7) -> leave_queue()
        :: else
        fi;
    NEXT(e);
    EACH(i, SLOTS)
        if
        :: slot[i].state == LEASED && !RIGHT(8) -> end_lease(); e = 0
        :: else
        fi;
    NEXT(i);
    sweep()
}

/* All that was its alone is gone, and all connections, those too that it had accepted and not yet answered. */
inline forget_all()
{
    EACH(w, WORKERS)
        if
        :: tie[w] == OPEN || tie[w] == KNOCKED -> tie[w] = BROKEN; forget_messages(w)
        :: tie[w] != OPEN
        fi;
    NEXT(w);
    d_step {
        do
        :: nempty(asks) -> asks?_
        :: empty(asks) -> break
        od;
        EACH(n, ENTRIES) asked[n] = 0; NEXT(n);
        EACH(n, SLOTS) forget_lease(n); NEXT(n);
        must_tell = 0;
        unsent = 0;
        sweep_due = false;
        sent = 0
    }
}

/* ---- what must be so after each event ---- */

/* Whoever has the lease of slot I knows, or will: worker W. */
#define IS_KNOWN_OF(i, w)                                                                                              \
    (IS_SET(dead, w) || IS_SET(unsent, i) || tie[w] != OPEN || IS_SET(must_tell, w) || (held[w] == i && under[w] == slot[i].version) ||     \
     down[w]??[eval(call[w]), eval(i), eval(slot[i].version)] ||                                                       \
     (!IS_SET(resting, w) && down[w]??[_, eval(i), eval(slot[i].version)]) ||                                          \
     up[w]??[RELEASE, eval(i), eval(slot[i].version)] ||                                                               \
     (serial_of[i] != 0 && up[w]??[GIVE_UP, eval(serial_of[i]), _]))

inline check_slot()
{
    if
    :: slot[i].state == IDLE -> oldest_waiter(); assert(to == NOBODY); to = NOBODY
    :: slot[i].state == GRANTED -> assert(IS_AWAITED(i) && asked[slot[i].by] != 0)
    :: slot[i].state == LEASED ->
        w = entry[slot[i].by].owner;
        assert(entry[slot[i].by].state == NONE);
        assert(w != NOBODY && (IS_SET(known, w) -> IS_KNOWN_OF(i, w) : sweep_due))
    :: else
    fi
}

#define IS_ASKED_FOR(n) (entry[n].owner == w && asked[n] == call[w])
#define IS_UNSENT(n)    (IS_SET(unsent, n) && IS_LEASED_BY(n, w) && serial_of[n] == call[w])

/* What it holds is its, and what it waits for somebody knows. */
inline check_worker()
{
    assert(held[w] == NO_SLOT || IS_SET(parting, w) || IS_SET(cut[held[w]], under[w]) ||
           (IS_LEASED_BY(held[w], w) && slot[held[w]].version == under[w]));
    assert(call[w] == 0 || !IS_SET(sent, w) || up[w]??[ACQUIRE, eval(call[w]), _] || down[w]??[eval(call[w]), _, _] ||
           ANY_ENTRY(IS_ASKED_FOR) || IS_UNSENT(0) || IS_UNSENT(SLOTS - 1))
}

#define CHECK()                                                                                                        \
    d_step {                                                                                                           \
        EACH(i, SLOTS) check_slot(); NEXT(i);                                                                          \
        EACH(w, WORKERS) check_worker(); NEXT(w);                                                                      \
        e = 0; n = 0; to = NOBODY; x = 0; y = 0                                                                        \
    }

inline all_is_well()
{
    EACH(i, SLOTS) assert(slot[i].state == IDLE && holders[i] == 0 && serial_of[i] == 0); NEXT(i);
    EACH(e, ENTRIES) assert(entry[e].owner == NOBODY && entry[e].state == NONE && asked[e] == 0); NEXT(e);
    EACH(w, WORKERS) assert(call[w] == 0 && held[w] == NO_SLOT); NEXT(w);
    assert(empty(asks))
}

/* ---- the supervisor ---- */

#define IS_CLAIMED(n) (asks?[n] && entry[n].state == CLAIMED)
#define IS_DONE(n)    ((IS_SET(resting, n) && tie[n] == OPEN && empty(up[n])) ||                                       \
                       (IS_SET(resting, n) && IS_SET(shut_out, n) && tie[n] == BROKEN) ||                              \
                       (IS_SET(dead, n) && !IS_SET(known, n) && heirs == 0))
#define IS_QUIET      (ALL_WORKERS(IS_DONE) && !ANY_ENTRY(IS_CLAIMED) && !sweep_due && unsent == 0 &&                 \
                       slot[0].state != TAKEN && slot[SLOTS - 1].state != TAKEN)

#define OF_SLOT(n)                                                                                                     \
    :: atomic { slot[n].state == TAKEN -> i = n; pass_on(); CHECK() }                                                  \
    :: atomic { STOPS > 0 && IS_SET(untaken, n) && !IS_SET(taken, n) && slot[n].state == LEASED && RIGHT(16) ->        \
                i = n; revoke(); CHECK() }                                                                             \
    :: atomic { IS_SET(unsent, n) -> i = n; look_at_record(); CHECK() }
#define OF_WORKER(n)                                                                                                   \
    :: atomic { IS_SET(dead, n) && IS_SET(known, n) -> w = n; end_worker(); CHECK() }                                  \
    :: atomic { drops > 0 && tie[n] == OPEN && !IS_SET(dead, n) -> drops--; w = n; shut_out_worker(); CHECK() }        \
    :: atomic { tie[n] == KNOCKED && !(sweep_due && RIGHT(15)) && !(IS_SET(dead, n)) -> w = n; admit(); CHECK() }      \
    :: atomic { tie[n] == OPEN && nempty(up[n]) -> w = n; hear(); CHECK() }
#define OF_ENTRY(n) :: atomic { leaves > 0 && asked[n] != 0 -> leaves--; e = n; drop(); CHECK() } /* its time is up */

proctype supervisor()
{
    byte e, i, n, to = NOBODY, w, x, y;

lives:
    do
    OF_SLOT(0)
#if SLOTS > 1
    OF_SLOT(1)
#endif
    OF_WORKER(0)
    OF_WORKER(1)
#if WORKERS > 2
    OF_WORKER(2)
#endif
#if LEAVES > 0
    OF_ENTRY(0)
    OF_ENTRY(1)
#if WORKERS > 2
    OF_ENTRY(2)
#endif
#endif
    :: atomic { ANY_ENTRY(IS_CLAIMED) -> look_at_grants(); CHECK() }
    :: atomic { sweep_due -> sweep(); CHECK() }
    :: d_step { IS_QUIET -> all_is_well(); over = true }; goto quiet
    OR_DIES
    od;
died:
    atomic { e = 0; i = 0; n = 0; to = NOBODY; w = 0; x = 0; y = 0; forget_all(); recover(); CHECK() };
    goto lives;
quiet:
    skip
}

#include "call.pml"

init {
    atomic {
        byte k = 0;
        do
        :: k < WORKERS -> run worker(k); k++
        :: else -> break
        od;
        run supervisor()
    }
}
