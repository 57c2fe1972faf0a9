/* SPDX-License-Identifier: ISC */
/*
 * strict.pml - daemon/grant.c and client/call.c as a Spin model: strict isolation, where the supervisor makes every
 * transition, workers only ask, and either may die at any step, with messages under way.
 *
 * What is in shared memory outlives the supervisor: the slots' words, who waits, whose each entry is. Its list of
 * requests and what it has read do not; nor does what workers sent to it. What it had sent can still be read. A step of
 * the supervisor is one store there, or one message. The hard thing is what nobody knows any more: a release that was
 * not read, a grant whose message was not sent, a request that was answered a moment before it was given up.
 *
 * What may happen, and MISTAKE, is fixed by -D (run.sh has the table). Nobody acts unless something happened: who waits
 * for what never comes is a deadlock, which Spin reports. Not modelled: a worker's threads, but that it may greet a new
 * supervisor while it holds; cancels and resets; who takes no grant; full sockets.
 */
#include "common.pml"

byte crashes = CRASHES; /* of a worker (another takes its place) or of the supervisor */
byte leaves = LEAVES;

#define SUPERVISOR WORKERS
#define LIVES      (2 * WORKERS) /* workers by life: those of the beginning, then those that take their places */
#define ENTRIES    (WORKERS + 1)

mtype = { IDLE, LEASED, GRANTED, TAKEN };  /* a slot; TAKEN: SLOT_SUPERVISOR */
mtype = { NONE, WAITING, CLAIMED };        /* an entry */
mtype = { OPEN, BROKEN, KNOCKED };         /* a worker's connection; KNOCKED: its hello waits */
mtype = { ACQUIRE, RELEASE, GIVE_UP, HOLDING };

/* ---- shared memory ---- */

typedef slot_t {
    mtype state;
    byte by; /* entry */
    byte version;
};
typedef entry_t {
    byte owner = NOBODY; /* a life */
    mtype state = NONE;
    byte slot;
    byte ticket;
};
slot_t slot[SLOTS];
entry_t entry[ENTRIES];
byte next_ticket;

/* ---- between them ---- */

/* A serial, or a slot, and its version. */
chan up[LIVES] = [4] of { mtype, byte, byte };
/* To whom asked as that serial: a slot (NO_SLOT: none), its version. */
chan down[LIVES] = [4] of { byte, byte, byte };
mtype conn[LIVES];

/* ---- the supervisor's memory ---- */

byte asked[ENTRIES];   /* by serial; 0: no request waits as this entry */
byte serial_of[SLOTS]; /* as which its lease was asked for */
byte must_tell;        /* lives, a bit each: a predecessor knew them, and they have not said yet what they hold */
byte known;            /* this in shared memory: who was admitted */
byte gone;             /* lives whose death was swept */

byte dead;     /* lives, a bit each */
byte killed;   /* processes that are to take no further step */
byte finished; /* workers, a bit each */
byte holders[SLOTS];

/* ---- the queue ---- */

/* The entry of the oldest in STATE, in TO. */
inline oldest(wanted)
{
    d_step {
        to = NOBODY; n = 0;
        do
        :: n < ENTRIES ->
            if
            :: entry[n].state == wanted &&
               (to == NOBODY || (RIGHT(1) -> entry[n].ticket < entry[to].ticket : entry[n].ticket > entry[to].ticket)) ->
                to = n
            :: else
            fi;
            n++
        :: else -> break
        od;
        n = 0
    }
}

inline set_slot(which, new_state, whom)
{
    d_step {
        slot[which].state = new_state;
        slot[which].by = whom;
        slot[which].version++
    }
}

inline leave_wait(which)
{
    d_step {
        entry[which].state = NONE;
        entry[which].slot = 0;
        entry[which].ticket = 0;
        asked[which] = 0
    }
}

/* Slot I is the supervisor's, and clean: to the oldest who waits, or to nobody. */
inline pass_on()
{
    oldest(WAITING);
    if
    :: to != NOBODY ->
        d_step {
            entry[to].state = CLAIMED; entry[to].slot = i;
            do /* first come, first served */
            :: n < ENTRIES -> assert(entry[n].state != WAITING || entry[n].ticket > entry[to].ticket); n++
            :: else -> break
            od;
            n = 0
        };
        set_slot(i, GRANTED, to)
    :: else -> set_slot(i, IDLE, NOBODY)
    fi;
    to = NOBODY
}

/* ---- what the supervisor does ---- */

inline forget_messages()
{
    do
    :: len(up[n]) > 0 -> up[n]?_, x, y
    :: len(up[n]) == 0 -> break
    od;
    x = 0; y = 0
}

#define LIFE entry[e].owner

/* The lease of slot I is over. */
inline end_lease()
{
    e = slot[i].by;
    set_slot(i, TAKEN, NOBODY);
    d_step { entry[e].owner = NOBODY; serial_of[i] = 0; e = 0 }
}

/* Entry E has slot I under its word: its worker is told. One that is dead, or has left, is not there to be told. */
inline hand_over(asked_as)
{
    d_step {
        serial_of[i] = asked_as;
        if
        :: conn[LIFE] == OPEN -> down[LIFE]!asked_as, i, slot[i].version
        :: conn[LIFE] != OPEN
        fi;
        skip
    }
}

/* Entry E, which waits: not any more. What it was granted goes to the next. */
inline leave_queue()
{
    if
    :: entry[e].state == CLAIMED && slot[entry[e].slot].state == GRANTED && slot[entry[e].slot].by == e && RIGHT(2) ->
        i = entry[e].slot;
        set_slot(i, TAKEN, NOBODY)
    :: else
    fi;
    leave_wait(e);
    d_step { entry[e].owner = NOBODY; i = 0 }
}

inline acquire(serial)
{
    assert(!IS_SET(must_tell, life));
    d_step {
        e = 0;
        do
        :: entry[e].owner == NOBODY -> break
        :: else -> e++; assert(e < ENTRIES)
        od;
        LIFE = life
    };
    oldest(WAITING);
    d_step {
        i = 0;
        do
        :: i < SLOTS && slot[i].state != IDLE -> i++
        :: else -> break
        od;
        if
        :: i == SLOTS -> i = NO_SLOT
        :: else
        fi;
        skip
    };
    if
    :: i != NO_SLOT -> assert(to == NOBODY); set_slot(i, LEASED, e); hand_over(serial)
    :: else -> d_step { entry[e].state = WAITING; entry[e].ticket = next_ticket; next_ticket++; asked[e] = serial }
    fi;
    d_step { i = 0; e = 0; to = NOBODY }
}

inline release(which, under)
{
    i = which;
    if
    :: slot[i].state == LEASED && entry[slot[i].by].owner == life && (slot[i].version == under || !RIGHT(3)) ->
        end_lease()
    :: else
    fi;
    i = 0
}

/* It waits, or it was answered just before. */
inline give_up(serial)
{
    d_step {
        e = 0;
        do
        :: e < ENTRIES && !(LIFE == life && asked[e] == serial) -> e++
        :: else -> break
        od;
        skip
    };
    if
    :: e < ENTRIES -> leave_queue()
    :: else ->
        d_step {
            i = 0;
            do
            :: i < SLOTS && !(slot[i].state == LEASED && entry[slot[i].by].owner == life && serial_of[i] == serial) -> i++
            :: else -> break
            od;
            skip
        };
        if
        :: i < SLOTS && RIGHT(4) -> end_lease()
        :: else
        fi
    fi;
    d_step { i = 0; e = 0 }
}

/* All that is LIFE's but slot WHICH under VERSION, which it has, was never taken, or is released. */
inline holding(which, under)
{
    i = 0;
    do
    :: i < SLOTS ->
        if
        :: slot[i].state == LEASED && entry[slot[i].by].owner == life && RIGHT(5) &&
           !(which == i && slot[i].version == under) -> end_lease()
        :: else
        fi;
        i++
    :: else -> break
    od;
    atomic { i = 0; must_tell = must_tell & ~BIT(life) }
}

/* Who is dead has no connection. */
inline forget_dead()
{
    d_step {
        gone = dead;
        n = 0;
        do
        :: n < LIVES ->
            if
            :: IS_SET(gone, n) && conn[n] == OPEN -> conn[n] = BROKEN; forget_messages()
            :: else
            fi;
            n++
        :: else -> break
        od;
        known = known & ~gone; must_tell = must_tell & ~gone;
        n = 0
    }
}

/* The words first, then the entries that no word names: this is the only writer. */
inline sweep()
{
    e = 0;
    do
    :: e < ENTRIES ->
        if
        :: LIFE != NOBODY && IS_SET(gone, LIFE) && entry[e].state != NONE && RIGHT(6) -> leave_wait(e)
        :: else
        fi;
        e++
    :: else -> break
    od;
    e = 0;
    do
    :: i < SLOTS ->
        if
        :: slot[i].state == LEASED && (entry[slot[i].by].owner == NOBODY || IS_SET(gone, entry[slot[i].by].owner)) ->
            set_slot(i, TAKEN, NOBODY)
        :: slot[i].state == GRANTED &&
           !(entry[slot[i].by].owner != NOBODY && !IS_SET(gone, entry[slot[i].by].owner) &&
             entry[slot[i].by].state == CLAIMED && entry[slot[i].by].slot == i) -> set_slot(i, TAKEN, NOBODY)
        :: slot[i].state == IDLE ->
            oldest(WAITING);
            if
            :: to != NOBODY -> set_slot(i, TAKEN, NOBODY)
            :: else
            fi;
            to = NOBODY
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: e < ENTRIES ->
        d_step {
            i = 0;
            do
            :: i < SLOTS && !((slot[i].state == LEASED || slot[i].state == GRANTED) && slot[i].by == e) -> i++
            :: else -> break
            od;
            skip
        };
        if
        :: i == SLOTS && entry[e].state == NONE -> LIFE = NOBODY
        :: else
        fi;
        d_step { i = 0; e++ }
    :: else -> break
    od;
    e = 0
}

/* Requests that a predecessor had are asked anew, claims that it had begun are for nobody. */
inline recover()
{
    e = 0;
    do
    :: e < ENTRIES ->
        if
        :: entry[e].state != NONE && RIGHT(7) -> leave_queue()
        :: else
        fi;
        e++
    :: else -> break
    od;
    e = 0;
    i = 0;
    do
    :: i < SLOTS && !RIGHT(8) ->
        if
        :: slot[i].state == LEASED -> end_lease()
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0;
    sweep()
}

inline hear()
{
    if
    :: up[life]?ACQUIRE(x, y) -> acquire(x)
    :: up[life]?RELEASE(x, y) -> release(x, y)
    :: up[life]?GIVE_UP(x, y) -> give_up(x)
    :: up[life]?HOLDING(x, y) ->
        if
        :: IS_SET(must_tell, life) -> holding(x, y)
        :: else
        fi
    fi;
    d_step { x = 0; y = 0 }
}

/* A grant at the head of the requests. */
inline look_at_grants()
{
    oldest(CLAIMED);
    e = to;
    d_step { i = entry[e].slot; x = asked[e]; to = NOBODY };
    set_slot(i, LEASED, e);
    leave_wait(e);
    hand_over(x);
    d_step { e = 0; i = 0; x = 0 }
}

#define HAS_CLAIM (entry[0].state == CLAIMED || entry[1].state == CLAIMED || entry[2].state == CLAIMED || \
                   entry[ENTRIES - 1].state == CLAIMED)
#define HAS_SAID(n) (conn[n] == KNOCKED || (conn[n] == OPEN && nempty(up[n])))
#if WORKERS > 2
#define HAVE_SAID (HAS_SAID(0) || HAS_SAID(1) || HAS_SAID(2) || HAS_SAID(3) || HAS_SAID(4) || HAS_SAID(5))
#else
#define HAVE_SAID (HAS_SAID(0) || HAS_SAID(1) || HAS_SAID(2) || HAS_SAID(3))
#endif
#define QUIET     (finished == EVERYBODY && gone == dead && !killed)

inline all_is_well()
{
    d_step {
        i = 0;
        do
        :: i < SLOTS -> assert(slot[i].state == IDLE && holders[i] == 0); i++
        :: else -> break
        od;
        e = 0;
        do
        :: e < ENTRIES -> assert(LIFE == NOBODY && entry[e].state == NONE && asked[e] == 0); e++
        :: else -> break
        od;
        skip
    }
}

proctype supervisor()
{
    byte e, i, n, to = NOBODY, life, x, y;
    bool anew;

    do
    :: {
        if
        :: anew -> recover(); anew = false
        :: else
        fi;
end:    do
        :: gone != dead -> forget_dead(); sweep()
        :: atomic { slot[0].state == TAKEN -> i = 0 }; pass_on(); i = 0
#if SLOTS > 1
        :: atomic { slot[1].state == TAKEN -> i = 1 }; pass_on(); i = 0
#endif
        :: HAS_CLAIM -> look_at_grants()
        :: d_step { conn[life] == KNOCKED && !IS_SET(dead, life) -> conn[life] = OPEN; known = known | BIT(life) }
        :: d_step { conn[life] == KNOCKED && IS_SET(dead, life) -> conn[life] = BROKEN }
        :: conn[life] == OPEN && nempty(up[life]) -> hear()
        :: d_step { HAVE_SAID -> life = (life + 1) % LIVES }
        :: atomic { QUIET && slot[0].state == IDLE && slot[SLOTS - 1].state == IDLE && !HAS_CLAIM -> all_is_well() };
            goto over
        od
    } unless {
        IS_SET(killed, SUPERVISOR)
    };
    d_step { /* its sockets close: what it has not read is lost */
        n = 0;
        do
        :: n < LIVES ->
            if
            :: conn[n] == OPEN ->
                conn[n] = BROKEN;
                forget_messages()
            :: else
            fi;
            n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < ENTRIES -> asked[n] = 0; n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < SLOTS -> serial_of[n] = 0; n++
        :: else -> break
        od;
        must_tell = (RIGHT(9) -> known : 0);
        killed = killed & ~BIT(SUPERVISOR);
        anew = true;
        e = 0; i = 0; n = 0; to = NOBODY; life = 0; x = 0; y = 0
    }
    od;
over:
    skip
}

/* ---- a worker ---- */

/* A new connection, and on it what is still held: slot HELD. */
inline knock()
{
    d_step {
        do
        :: len(down[id]) > 0 -> down[id]?x, i, y
        :: len(down[id]) == 0 -> break
        od;
        if
        :: RIGHT(10) -> up[id]!HOLDING, held, version
        :: !RIGHT(10) -> up[id]!HOLDING, NO_SLOT, 0
        fi;
        conn[id] = KNOCKED;
        x = 0; i = NO_SLOT; y = 0
    }
}

/* Slot I came under version Y, and is not used. */
inline give_back()
{
    if
    :: d_step { conn[id] == OPEN -> up[id]!RELEASE, i, y }
    :: conn[id] == KNOCKED
    :: conn[id] == BROKEN -> knock()
    fi
}

/* A grant that was sent before the supervisor died is read before its end is seen. */
inline take_answer()
{
    d_step {
        down[id]?x, i, y;
        if
        :: x == serial -> held = i; version = y; holders[held]++; assert(holders[held] == 1); serial = 0; stale = false
        :: else -> stale = true
        fi;
        x = 0
    };
    if
    :: stale && RIGHT(4) -> give_back()
    :: else
    fi;
    d_step { i = NO_SLOT; y = 0; stale = false }
}

inline ask()
{
    d_step { count++; serial = count };
    if
    :: d_step { conn[id] == OPEN -> up[id]!ACQUIRE, serial, 0 }
    :: conn[id] == BROKEN || conn[id] == KNOCKED -> greet(true)
    fi;
    do
    :: serial == 0 -> break
    :: serial != 0 && nempty(down[id]) -> take_answer()
    :: serial != 0 && conn[id] == BROKEN && empty(down[id]) -> greet(RIGHT(11))
    :: atomic { serial != 0 && leaves > 0 -> leaves-- };
        if
        :: d_step { conn[id] == OPEN -> up[id]!GIVE_UP, serial, 0 }
        :: conn[id] != OPEN
        fi;
        serial = 0
    od
}

/* Whoever is there, or comes: the question goes to it, after what is held. */
inline greet(again)
{
    do
    :: conn[id] == BROKEN && empty(down[id]) -> knock()
    :: conn[id] == BROKEN && nempty(down[id]) && serial == 0 -> take_answer()
    :: conn[id] == BROKEN && nempty(down[id]) && serial != 0 -> take_answer()
    :: d_step { conn[id] == OPEN && serial != 0 && again -> up[id]!ACQUIRE, serial, 0 }; break
    :: conn[id] == OPEN && (serial == 0 || !again) -> break
    od
}

inline give()
{
    d_step { holders[held]--; i = held; y = version; held = NO_SLOT; version = 0 };
    if
    :: d_step { conn[id] == OPEN -> up[id]!RELEASE, i, y }
    :: conn[id] == BROKEN -> knock()
    :: conn[id] == KNOCKED -> /* the hello said that it is held; this follows it */
        d_step { up[id]!RELEASE, i, y }
    fi;
    d_step { i = NO_SLOT; y = 0 }
}

proctype worker(byte me)
{
    byte id = me, i = NO_SLOT, held = NO_SLOT, version, x, y, serial, count, cycle;
    bool stale;

    do
    :: {
        do
        :: cycle < CYCLES ->
            ask();
            if
            :: held != NO_SLOT ->
                if
                :: conn[id] == BROKEN -> greet(true) /* another thread asks for something */
                :: true
                fi;
                give()
            :: else
            fi;
            cycle++
        :: else -> break
        od;
        atomic { finished = finished | BIT(me); dead = dead | BIT(id) }; /* a process ends */
        goto done
    } unless {
        IS_SET(killed, me)
    };
    d_step { /* dead: and another takes its place, which the supervisor has not seen yet */
        if
        :: held != NO_SLOT -> holders[held]--
        :: else
        fi;
        dead = dead | BIT(id); killed = killed & ~BIT(me);
        id = WORKERS + me; conn[id] = KNOCKED;
        i = NO_SLOT; held = NO_SLOT; version = 0; x = 0; y = 0; serial = 0; count = 0; cycle = 0; stale = false
    }
    od;
done:
    skip
}

proctype death()
{
    byte p;

end:
    do
    :: atomic { crashes > 0 && finished != EVERYBODY -> crashes--;
                if
                :: p = SUPERVISOR
                :: !IS_SET(finished, 0) -> p = 0
                :: !IS_SET(finished, 1) -> p = 1
#if WORKERS > 2
                :: !IS_SET(finished, 2) -> p = 2
#endif
                fi;
                killed = killed | BIT(p); p = 0 }
    od
}

init {
    atomic {
        byte n = 0;
        do
        :: n < SLOTS -> slot[n].state = IDLE; slot[n].by = NOBODY; n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < WORKERS -> conn[n] = OPEN; conn[WORKERS + n] = BROKEN; known = known | BIT(n); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < WORKERS -> run worker(n); n++
        :: else -> break
        od;
        run supervisor();
        run death()
    }
}
