/* SPDX-License-Identifier: ISC */
/*
 * lease.pml - client/lease.c as a Spin model: who holds a slot and who waits for one, whatever dies, at any step.
 *
 * An ACCESS of the model is one access of the code to shared memory; inlines have the names of its functions. The hard
 * thing is to stay small and exact: three workers on two slots with a death at any step are to be searched to the end.
 * So a death is another way that each access may go, not a process. A slot word's version is a set of readers: a
 * compare-and-swap succeeds if nobody changed the word since this process read it, which is what a version that only
 * grows says; a ticket is likewise a rank among those who wait, and a set of processes that know it. A futex counter is
 * whether it changed since it was last looked at.
 *
 * All that may happen, and how often, is fixed by -D, and so is MISTAKE: one wrong step of the code, by number. run.sh
 * has both tables. Without LOOKS, LEAVES and SWEEPS nobody acts unless he is woken: whoever is stranded is a deadlock,
 * which Spin reports; a supervisor with nothing left to do asserts that everything is as it was. It sweeps for a death,
 * and again for an entry that is still named only if somebody has moved since: what it never takes back is a deadlock.
 * Not modelled: weak memory, flags but "retire", resets, a process that writes what the code does not write; strict
 * isolation is in strict.pml. With REPLAY a trace of the code is followed (replay.sh).
 */
#include "common.pml"

/* Waiters that wake up by themselves. */
#ifndef LOOKS
#define LOOKS 0
#endif
/* Sweeps without a death; a grant that one finds may have been left lying for too long. */
#ifndef SWEEPS
#define SWEEPS 0
#endif
/* Slots that the supervisor marks while they are lent. */
#ifndef RETIRES
#define RETIRES 0
#endif
/* 1: another worker takes the place of one that died. */
#ifndef HEIRS
#define HEIRS 0
#endif

#define SUPERVISOR WORKERS /* processes: 0 … WORKERS-1, and this one */
#define FREE       NOBODY

/* Small: a scan of all waiters is one access, and who looks for an idle slot looks at each once, where the code does
 * twice. For the large runs. */
#ifdef COARSE
#define LOOKS_AT_SLOTS SLOTS
#else
#define LOOKS_AT_SLOTS (2 * SLOTS)
#endif

mtype:slots = { IDLE, LEASED, GRANTED, TAKEN }; /* TAKEN: SLOT_SUPERVISOR */
mtype:waits = { NONE, WAITING, CLAIMED };

typedef slot_t {
    mtype:slots state;
    byte by;      /* entry */
    byte readers; /* processes whose copy of the word is the present one, a bit each */
    bool retire;
};
typedef wait_t {
    mtype:waits state = NONE;
    byte slot;
    byte rank;  /* of the ticket, among those who have one: 1 is the oldest */
    byte knows; /* processes whose copy of the ticket is the present one, a bit each */
};

slot_t slot[SLOTS];
wait_t wait[WORKERS]; /* by entry, like the next two */
bool woken[WORKERS];  /* the futex word has changed since its owner looked */
byte owner[WORKERS];
byte waiting;         /* the bitmap */

byte dead;            /* workers, a bit each: WORKERS first ones, and as many that take their places */
byte finished;        /* workers, a bit each, the dead among them */
byte again;           /* 0: the supervisor need not sweep; 2: it must; 1: if somebody else moves */
byte holders[SLOTS];  /* who believes to hold it: what the words are to ensure */

#if CRASHES > 0
byte crashes = CRASHES;
#endif
#if LOOKS > 0
byte looks = LOOKS;
#endif
#if LEAVES > 0
byte leaves = LEAVES;
#endif
#if SWEEPS > 0
byte sweeps = SWEEPS;
#endif
#if RETIRES > 0
byte retires = RETIRES;
#endif

#ifdef REPLAY
#include "replay.pml"
#else
#define ON_TRACE true
#define SEEN(what, n, value) skip
#define REPLAYS              false /* then a sleeper may also be woken by a wake from before it slept */
#define IF_REPLAY(...)       skip /* reads that would make no difference */
#define DRAWN(w)             skip
#define CHOSEN(b)            skip
#define IS_OLDER(b)                                                                                                    \
    (KNOWS(to) && (RIGHT(1) -> wait[b].rank < wait[to].rank : wait[b].rank > wait[to].rank))
#define LIES_TOO_LONG        skip /* whether the grant does is whether the sweep is IMPATIENT */
#endif

/* ---- one access to shared memory each; ME is the process, E the borrower entry it acts for ---- */

#if CRASHES > 0
#define OR_DIES \
    :: d_step { ON_TRACE && crashes > 0 && finished != EVERYBODY -> crashes--; SEEN(DIED, 0, 0) }; goto died
#else
#define OR_DIES
#endif
#define MOVED if :: again == 1 && me != SUPERVISOR -> again = 2 :: else fi

#define ACCESS(...)  if :: d_step { ON_TRACE -> __VA_ARGS__; MOVED } OR_DIES fi
#define PRIVATE(...) if :: d_step { __VA_ARGS__ } fi /* a d_step may not be jumped at */

#define OWNED(i) ((me == SUPERVISOR && slot[i].state == TAKEN) || \
                  (me != SUPERVISOR && slot[i].state == LEASED && slot[i].by == e))
#define OFFERS(i)      (slot[i].state == GRANTED && slot[i].by == e)
#define KNOWS(w)       IS_SET(wait[w].knows, me)
#define IS_CLAIM(w, i) (wait[w].state == CLAIMED && wait[w].slot == i && KNOWS(w))

inline slot_read(n_)
{
    SEEN(SLOT_READ, n_, 0);
    slot[n_].readers = slot[n_].readers | BIT(me)
}

inline slot_forget(n_)
{
    slot[n_].readers = slot[n_].readers & ~BIT(me)
}

inline slot_store(n_, state_, whom)
{
    slot[n_].state = state_;
    slot[n_].by = whom;
    slot[n_].readers = BIT(me);
    SEEN(SLOT, n_, SLOT_VALUE(n_))
}

/* Leaves in OK whether the word was still the one that was read. */
inline slot_swap(at, next_state, whose)
{
    ACCESS(ok = IS_SET(slot[at].readers, me);
           if
           :: ok -> slot_store(at, next_state, whose); acted = me == SUPERVISOR
           :: else -> SEEN(SLOT_READ, at, 0)
           fi)
}

inline slot_store_own()
{
    slot_store(i, (me == SUPERVISOR -> TAKEN : LEASED), (me == SUPERVISOR -> NOBODY : e))
}

/* Of those who have a ticket and have not ended it. */
inline rank_new(w)
{
    DRAWN(w);
    n = 0;
    wait[w].rank = 1;
    do
    :: n < WORKERS ->
        if
        :: n != w && wait[n].rank > 0 -> wait[w].rank++
        :: else
        fi;
        n++
    :: else -> break
    od;
    n = 0
}

inline rank_end(w)
{
    n = 0;
    do
    :: n < WORKERS ->
        if
        :: wait[w].rank > 0 && wait[n].rank > wait[w].rank -> wait[n].rank--
        :: else
        fi;
        n++
    :: else -> break
    od;
    wait[w].rank = 0;
    n = 0
}

inline wait_store(w, state_, slot_)
{
    wait[w].state = state_;
    wait[w].slot = slot_;
    SEEN(WAIT, w, WAIT_VALUE(w))
}

inline wait_none(w)
{
    wait[w].knows = 0;
    rank_end(w);
    wait_store(w, NONE, 0)
}

/* Leaves in OK whether the claim of slot I was still the one that was read. */
inline revert_claim(w)
{
    ACCESS(ok = IS_CLAIM(w, i);
           if
           :: ok -> wait_store(w, WAITING, 0); acted = me == SUPERVISOR
           :: else -> SEEN(WAIT_READ, w, 0)
           fi)
}

inline show_waiting(w)
{
    ACCESS(waiting = waiting | BIT(w); SEEN(SHOW, w, 0))
}

inline hide_waiting(w)
{
    ACCESS(waiting = waiting & ~BIT(w); SEEN(HIDE, w, 0))
}

inline wake(w)
{
    ACCESS(woken[w] = true; SEEN(WAKE, w, 0))
}

/* ---- who waits ---- */

inline scan_begin()
{
    SEEN(BITS_READ, 0, 0);
    bits = waiting;
    to = NOBODY;
    do
    :: b < WORKERS -> wait[b].knows = wait[b].knows & ~BIT(me); b++
    :: else -> break
    od;
    b = 0
}

/* One that has left since it was read stays TO, and the claim fails, where the code might find an older one yet. */
inline scan_next()
{
    SEEN(WAIT_READ, b, 0);
    if
    :: wait[b].state == WAITING ->
        wait[b].knows = wait[b].knows | BIT(me);
        if
        :: to == NOBODY || IS_OLDER(b) -> to = b; CHOSEN(b)
        :: else
        fi
    :: else
    fi
}

/* STEP for each waiter whose bit is set, as long as MORE. */
#ifdef COARSE
#define SCAN(first, more, step)                                                                                        \
    ACCESS(first; do :: b < WORKERS && more -> if :: IS_SET(bits, b) -> step :: else fi; b++ :: else -> break od;       \
           b = 0; bits = 0)
#else
#define SCAN(first, more, step)                                                                                        \
    ACCESS(first);                                                                                                     \
    do                                                                                                                 \
    :: b < WORKERS && IS_SET(bits, b) && more -> ACCESS(step; b++)                                                     \
    :: b < WORKERS && !IS_SET(bits, b) && more -> b++                                                                  \
    :: else -> break                                                                                                   \
    od;                                                                                                                \
    PRIVATE(b = 0; bits = 0)
#endif

/* Leaves the entry in TO. */
inline oldest_waiter()
{
    SCAN(scan_begin(), true, scan_next())
}

inline some_next()
{
    SEEN(WAIT_READ, b, 0);
    some = wait[b].state == WAITING
}

/* Leaves the answer in SOME. */
inline somebody_waits()
{
    SCAN(SEEN(BITS_READ, 0, 0); bits = waiting; some = false, !some, some_next())
}

/* ---- giving ---- */

/* First come, first served: nobody whom the giver saw waiting, and who still does, has come before the one it claims. */
inline claim()
{
    ACCESS(ok = wait[to].state == WAITING && KNOWS(to);
           do
           :: b < WORKERS ->
               assert(!ok || b == to || !KNOWS(b) || wait[b].state != WAITING || wait[b].rank > wait[to].rank);
               b++
           :: else -> break
           od;
           b = 0;
           if
           :: ok -> wait_store(to, CLAIMED, i)
           :: else -> SEEN(WAIT_READ, to, 0)
           fi)
}

/* Leaves in OK whether slot I, granted to WHOM, is ME's again; the supervisor may have marked it since it was read. */
inline take_back(whom)
{
    do
    :: ACCESS(ok = IS_SET(slot[i].readers, me);
              if
              :: ok -> slot_store_own()
              :: else -> SEEN(SLOT_READ, i, 0)
              fi);
        if
        :: !ok && me != SUPERVISOR && RIGHT(27) ->
            ACCESS(slot_read(i); marked = slot[i].state == GRANTED && slot[i].by == whom && slot[i].retire);
            if
            :: marked -> marked = false
            :: else -> break
            fi
#ifdef REPLAY
        :: !ok && me == SUPERVISOR -> ACCESS(SEEN(SLOT_READ, i, 0)); break /* and it does not matter what is there */
#endif
        :: else -> break
        fi
    od
}

/* Leaves in OK whether it was carried out. */
inline grant()
{
    if
    :: RIGHT(2) -> slot_swap(i, GRANTED, to)
    :: !RIGHT(2) -> ACCESS(slot_store(i, GRANTED, to); ok = true)
    fi;
    if
    :: !ok ->
        if
        :: RIGHT(3) -> revert_claim(to)
        :: !RIGHT(3)
        fi;
        ok = false
    :: else ->
        if
        :: RIGHT(4) -> ACCESS(SEEN(WAIT_READ, to, 0); left = !IS_CLAIM(to, i))
        :: !RIGHT(4)
        fi;
        if
        :: left ->
            left = false;
            if
            :: RIGHT(5) -> take_back(to)
            :: !RIGHT(5) -> ACCESS(slot_store_own(); ok = true)
            fi;
            ok = !ok
        :: else
        fi;
        if
        :: ok && RIGHT(6) -> wake(to)
        :: else
        fi
    fi
}

/* ME owns slot I and lets it go. */
inline pass_on()
{
    do
    :: ACCESS(slot_read(i); ok = OWNED(i); marked = me != SUPERVISOR && slot[i].retire);
        if
        :: !ok -> break
        :: ok && marked ->
            slot_swap(i, TAKEN, NOBODY);
            if
            :: ok -> break
            :: else
            fi
        :: ok && !marked ->
            oldest_waiter();
            if
            :: to != NOBODY ->
                claim();
                if
                :: ok -> grant()
                :: else
                fi;
                if
                :: ok -> break
                :: else
                fi
            :: to == NOBODY ->
                slot_swap(i, IDLE, NOBODY);
                if
                :: ok ->
                    if
                    :: RIGHT(7) -> somebody_waits()
                    :: !RIGHT(7)
                    fi;
                    if
                    :: some ->
                        some = false;
                        ACCESS(ok = IS_SET(slot[i].readers, me);
                               if
                               :: ok -> slot_store_own()
                               :: else -> SEEN(SLOT_READ, i, 0)
                               fi)
                    :: else -> ok = false
                    fi;
                    if
                    :: ok
                    :: else -> break
                    fi
                :: else
                fi
            fi
        fi
    od;
    forget(i)
}

/* What ME has read of slot N_ and of the waits is of no more use to it: a state less. */
inline forget(n_)
{
    PRIVATE(ok = false; marked = false; some = false; to = NOBODY;
            do
            :: b < WORKERS -> wait[b].knows = wait[b].knows & ~BIT(me); b++
            :: else -> break
            od;
            b = 0;
            slot_forget(n_))
}

/* ---- taking ---- */

/* Leaves the slot in I. */
inline take_any()
{
    PRIVATE(b = 0; i = 0; ok = false);
    do
    :: b < LOOKS_AT_SLOTS && !ok ->
        ACCESS(i = b % SLOTS; slot_read(i); ok = slot[i].state == IDLE);
#ifndef COARSE
        if
        :: ok && b < SLOTS -> ACCESS(slot_read(i); ok = slot[i].state == IDLE) /* that was is_settled() */
        :: else
        fi;
#endif
        if
        :: ok && RIGHT(8) -> slot_swap(i, LEASED, e)
        :: ok && !RIGHT(8) -> ACCESS(slot_store(i, LEASED, e))
        :: else
        fi;
        PRIVATE(slot_forget(i); b++)
    :: else -> break
    od;
    PRIVATE(b = 0; i = (ok -> i : NO_SLOT); ok = false)
}

inline serve_waiters()
{
    do
    :: ACCESS(SEEN(WAIT_READ, e, 0); marked = wait[e].state == WAITING);
        if
        :: marked ->
            marked = false;
            take_any();
            if
            :: i == NO_SLOT -> break
            :: else -> pass_on()
            fi
        :: else -> break
        fi
    od;
    i = NO_SLOT
}

inline lease_enqueue()
{
    ACCESS(rank_new(e); SEEN(TICKET, 0, 0));
    if
    :: !RIGHT(9) -> serve_waiters()
    :: RIGHT(9)
    fi;
    if
    :: RIGHT(10) -> show_waiting(e)
    :: !RIGHT(10)
    fi;
    ACCESS(wait[e].knows = 0; wait_store(e, WAITING, 0));
    if
    :: RIGHT(9) && RIGHT(11) -> serve_waiters()
    :: else
    fi;
    if
    :: !RIGHT(10) -> show_waiting(e)
    :: RIGHT(10)
    fi
}

/* Slot I is had. What E has been claimed for meanwhile goes on from here. */
inline wait_ends_with()
{
    ACCESS(other = (wait[e].state == CLAIMED && wait[e].slot != i -> wait[e].slot : NO_SLOT); wait_none(e));
    hide_waiting(e);
    if
    :: other != NO_SLOT && RIGHT(26) ->
        PRIVATE(b = other; other = i; i = b; b = 0);
        ACCESS(slot_read(i); ok = OFFERS(i));
        if
        :: ok -> take_back(e)
        :: else
        fi;
        if
        :: ok -> pass_on()
        :: else
        fi;
        PRIVATE(slot_forget(i); i = other; other = NO_SLOT; ok = false)
    :: else -> other = NO_SLOT
    fi
}

/* Slot I is offered: take it, or leave NO_SLOT in I. */
inline take_grant()
{
    do
    :: ACCESS(slot_read(i); ok = OFFERS(i) || (!RIGHT(12) && slot[i].state != TAKEN));
        if
        :: ok ->
            if
            :: !RIGHT(13) -> ACCESS(wait_none(e))
            :: RIGHT(13)
            fi;
            if
            :: RIGHT(14) -> slot_swap(i, LEASED, e)
            :: !RIGHT(14) -> ACCESS(slot_store(i, LEASED, e))
            fi;
            if
            :: ok -> break
            :: else
            fi
        :: else -> break
        fi
    od;
    slot_forget(i);
    if
    :: ok -> ok = false; wait_ends_with()
    :: else -> i = NO_SLOT
    fi
}

inline accept_grant()
{
    ACCESS(SEEN(WAIT_READ, e, 0); i = (wait[e].state == CLAIMED -> wait[e].slot : NO_SLOT));
    if
    :: i != NO_SLOT -> take_grant()
    :: else
    fi
}

/* ---- waiting ---- */

/*
 * The wait, which was read as STATE_ and, where that was a claim, slot I, becomes NONE, or WAITING with its old ticket.
 * Leaves in CHANGED whether it did, in I the slot where the grant had been made just before.
 */
inline change_wait(state_, to_none)
{
    ACCESS(changed = wait[e].state == state_ && (state_ != CLAIMED || wait[e].slot == i);
           if
           :: changed && to_none -> wait_none(e)
           :: changed && !to_none -> wait_store(e, WAITING, 0)
           :: else -> SEEN(WAIT_READ, e, 0)
           fi);
    if
    :: changed && state_ == CLAIMED && RIGHT(15) -> take_grant()
    :: else -> i = NO_SLOT
    fi
}

inline look_about()
{
    ACCESS(SEEN(WAIT_READ, e, 0); was = wait[e].state; i = wait[e].slot);
    if
    :: was == CLAIMED -> change_wait(CLAIMED, false); changed = false
    :: else -> i = NO_SLOT
    fi;
    if
    :: i != NO_SLOT -> was = 0
    :: i == NO_SLOT && was == NONE -> was = 0; lease_enqueue(); accept_grant()
    :: else -> was = 0; serve_waiters(); accept_grant()
    fi
}

inline lease_leave()
{
    accept_grant();
    do
    :: i == NO_SLOT && !changed ->
        ACCESS(SEEN(WAIT_READ, e, 0); was = wait[e].state; i = wait[e].slot);
        if
        :: was == NONE -> change_wait(NONE, true)
        :: was == WAITING -> change_wait(WAITING, true)
        :: was == CLAIMED -> change_wait(CLAIMED, true)
        fi;
        was = 0;
        if
        :: changed -> hide_waiting(e)
        :: else -> accept_grant()
        fi
    :: else -> break
    od;
    changed = false
}

/* Until there is a slot in I, or the time is up. The code looks again after its sleep, here the next round does. */
inline wait_for_slot()
{
    do
    :: if
        :: RIGHT(16) -> ACCESS(SEEN(WAKE_READ, e, 0); woken[e] = false)
        :: !RIGHT(16)
        fi;
        accept_grant();
        if
        :: i != NO_SLOT -> break
        :: else
        fi;
        if
        :: !RIGHT(16) -> ACCESS(SEEN(WAKE_READ, e, 0); woken[e] = false)
        :: RIGHT(16)
        fi;
        if
        :: woken[e] || REPLAYS -> IF_REPLAY(accept_grant(); if :: i != NO_SLOT -> break :: else fi)
#if LOOKS > 0
        :: d_step { ON_TRACE && looks > 0 -> looks--; SEEN(LOOK, 0, 0) }; wakes_by_itself()
#endif
#if SWEEPS > 0 && !defined(REPLAY)
        :: wait[e].state == NONE -> wakes_by_itself()
#endif
#if LEAVES > 0
        :: d_step { ON_TRACE && leaves > 0 -> leaves--; SEEN(LEAVE, 0, 0) }; lease_leave(); break
#endif
        OR_DIES
        fi
    od
}

inline wakes_by_itself()
{
    accept_grant();
    if
    :: i == NO_SLOT -> look_about()
    :: else
    fi;
    if
    :: i != NO_SLOT -> break
    :: else
    fi
}

inline lease_try()
{
    somebody_waits();
    PRIVATE(marked = some; some = some && RIGHT(17));
    if
    :: !some ->
        take_any();
        assert(i == NO_SLOT || !marked)
    :: else
    fi;
    PRIVATE(some = false; marked = false)
}

/* All that a process knows is gone with it. */
inline forget_all()
{
    b = 0;
    do
    :: b < SLOTS -> slot_forget(b); b++
    :: else -> break
    od;
    b = 0;
    do
    :: b < WORKERS -> wait[b].knows = wait[b].knows & ~BIT(me); b++
    :: else -> break
    od;
    b = 0; bits = 0; n = 0; i = NO_SLOT; to = NOBODY; other = NO_SLOT; was = 0;
    ok = false; some = false; marked = false; changed = false; left = false; acted = false
}

proctype worker(byte me)
{
    byte e = me, id = me, i = NO_SLOT, to = NOBODY, other = NO_SLOT;
    byte b, n, bits, cycle;
    mtype:waits was;
    bool ok, some, marked, changed, left, acted, holds;

lives:
    do
    :: cycle < CYCLES ->
        lease_try();
        if
        :: i == NO_SLOT -> lease_enqueue(); wait_for_slot()
        :: else
        fi;
        if
        :: i != NO_SLOT ->
            ACCESS(holders[i]++; assert(holders[i] == 1); holds = true);
            ACCESS(holders[i]--; holds = false);
            pass_on();
            i = NO_SLOT
        :: else
        fi;
        cycle++
    :: else -> break
    od;
#ifdef REPLAY
    ACCESS(skip); /* a death here makes no difference but to a trace */
#endif
    goto done;
died:
    skip;
    d_step {
        if
        :: holds -> holders[i]--; holds = false
        :: else
        fi;
        if
        :: wait[e].state == NONE -> rank_end(e) /* it had drawn a ticket and not published it */
        :: else
        fi;
        dead = dead | BIT(id);
        again = (again == 1 -> 2 : again);
        cycle = 0;
        forget_all()
    };
#if HEIRS
    if
    :: id == me ->
        id = WORKERS + me;
        if
        :: d_step { owner[0] == FREE -> owner[0] = id; e = 0 }; goto lives
        :: d_step { owner[1] == FREE -> owner[1] = id; e = 1 }; goto lives
#if WORKERS > 2
        :: d_step { owner[2] == FREE -> owner[2] = id; e = 2 }; goto lives
#endif
        :: true
        fi
    :: else
    fi;
#endif
done:
    PRIVATE(finished = finished | BIT(me); e = 0; id = 0; cycle = 0)
}

#include "sweep.pml"

init {
    atomic {
        byte k = 0;
        do
        :: k < SLOTS -> slot[k].state = IDLE; slot[k].by = NOBODY; k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < WORKERS -> owner[k] = k; k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < WORKERS -> run worker(k); k++
        :: else -> break
        od;
        run supervisor()
    }
}
