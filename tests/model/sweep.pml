/* SPDX-License-Identifier: ISC */
/*
 * sweep.pml - the supervisor of lease.pml: the sweep, what it does with slots that come to it, and its death.
 */
#define LIVE_OWNER(b) (owner[b] != FREE && !IS_SET(gone, owner[b]))

inline wait_over()
{
    ACCESS(wait_none(e));
    hide_waiting(e);
    acted = true
}

inline sweep_wait()
{
    ACCESS(SEEN(WAIT_READ, e, 0); was = wait[e].state; i = wait[e].slot; wait[e].knows = wait[e].knows | BIT(me));
    if
    :: (was == NONE && !REPLAYS) || (!LIVE_OWNER(e) && !RIGHT(18))
    :: (was != NONE || REPLAYS) && !LIVE_OWNER(e) && RIGHT(18) -> wait_over()
    :: else ->
        acted = acted || !IS_SET(waiting, e);
        show_waiting(e);
        if
        :: was == CLAIMED && RIGHT(19) ->
            ACCESS(SEEN(SLOT_READ, i, 0); ok = !OFFERS(i) && !(slot[i].state == LEASED && LIVE_OWNER(slot[i].by)));
            if
            :: ok -> revert_claim(e)
            :: else
            fi
        :: else
        fi
    fi;
    PRIVATE(was = 0; i = 0; ok = false; wait[e].knows = wait[e].knows & ~BIT(me))
}

/* Its bit goes first: once it may queue anew, it sets the bit itself. */
inline drop_claim()
{
    if
    :: RIGHT(20) -> hide_waiting(to)
    :: !RIGHT(20)
    fi;
    ACCESS(ok = IS_CLAIM(to, i);
           if
           :: ok -> wait_none(to)
           :: else -> SEEN(WAIT_READ, to, 0)
           fi);
    if
    :: !ok -> show_waiting(to)
    :: ok && !RIGHT(20) -> hide_waiting(to)
    :: else
    fi
}

inline sweep_grant()
{
    ACCESS(SEEN(WAIT_READ, to, 0); some = LIVE_OWNER(to) && wait[to].state == CLAIMED && wait[to].slot == i;
           wait[to].knows = wait[to].knows | BIT(me));
    LIES_TOO_LONG;
    if
    :: RIGHT(22) && (!some || impatient) ->
        slot_swap(i, TAKEN, NOBODY);
        if
        :: ok ->
            if
            :: some -> drop_claim()
            :: else
            fi;
            PRIVATE(some = false; ok = !slot[i].retire);
            if
            :: ok -> pass_on()
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

inline sweep_slot()
{
    ACCESS(slot_read(i); seen = slot[i].state; to = slot[i].by);
    if
    :: seen == IDLE ->
        somebody_waits();
        if
        :: some && RIGHT(21) ->
            some = false;
            slot_swap(i, TAKEN, NOBODY);
            if
            :: ok -> pass_on()
            :: else
            fi
        :: else
        fi
    :: seen == GRANTED -> sweep_grant()
    :: seen == LEASED && !LIVE_OWNER(to) && RIGHT(23) -> slot_swap(i, TAKEN, NOBODY)
    :: else
    fi;
    seen = 0;
    forget(i)
}

inline free_entry()
{
    if
    :: owner[e] != FREE && !LIVE_OWNER(e) ->
        /* is_named() */
        PRIVATE(i = 0; ok = true);
        do
        :: i < SLOTS && ok ->
            ACCESS(SEEN(SLOT_READ, i, 0);
                   ok = !((slot[i].state == LEASED || slot[i].state == GRANTED) && slot[i].by == e && RIGHT(24));
                   i++)
        :: else -> break
        od;
        i = 0;
        if
        :: ok ->
            ACCESS(SEEN(WAIT_READ, e, 0);
                   ok = false;
                   if
                   :: wait[e].state == NONE -> owner[e] = FREE; acted = true
                   :: else -> named = true
                   fi)
        :: else -> named = true
        fi
    :: else
    fi
}

inline wake_waiter()
{
    ACCESS(SEEN(WAIT_READ, e, 0); ok = wait[e].state != NONE && RIGHT(25));
    if
    :: ok -> ok = false; wake(e)
    :: else
    fi
}

#define EACH(n, limit) n = 0; do :: n < limit ->
#define NEXT(n)        n++ :: else -> break od; n = 0

inline lease_sweep()
{
    if
    :: !RIGHT(24) -> EACH(e, WORKERS) free_entry(); NEXT(e)
    :: RIGHT(24)
    fi;
    EACH(e, WORKERS)
        IF_REPLAY(ACCESS(SEEN(WAIT_READ, e, 0); ok = wait[e].state == NONE));
        if
        :: ok -> ok = false
        :: else -> sweep_wait()
        fi;
    NEXT(e);
    EACH(i, SLOTS) sweep_slot(); NEXT(i);
    EACH(e, WORKERS) free_entry(); NEXT(e);
    EACH(e, WORKERS) wake_waiter(); NEXT(e);
    PRIVATE(again = (!named -> 0 : (acted || again == 2 -> 2 : 1)); named = false; acted = false; impatient = false)
}

/* Nobody runs any more, and the supervisor has nothing to do: everything must be as it was in the beginning. */
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
        :: e < WORKERS -> assert(wait[e].state == NONE); e++
        :: else -> break
        od;
        i = 0; e = 0
    }
}

/* What has come to it is as good as new, and goes on. */
#define SUPPLY(slot_) :: atomic { slot[slot_].state == TAKEN -> i = slot_; slot[slot_].retire = false }; pass_on(); i = 0
#define MARK(slot_)                                                                                                    \
    :: d_step { ON_TRACE && retires > 0 && (slot[slot_].state == LEASED || slot[slot_].state == GRANTED) ->            \
                retires--; slot[slot_].retire = true; slot[slot_].readers = 0; SEEN(SLOT, slot_, SLOT_VALUE(slot_)) }

proctype supervisor()
{
    byte me = SUPERVISOR, e, i, to = NOBODY, other;
    byte b, n, bits, gone;
    mtype:slots seen;
    mtype:waits was;
    bool ok, some, marked, changed, left, acted, named, impatient;

lives:
    do
#ifndef REPLAY
    :: atomic { gone != dead || again == 2 -> gone = dead; again = 1 }; lease_sweep()
#endif
#if SWEEPS > 0
    :: d_step { ON_TRACE && sweeps > 0 && finished != EVERYBODY ->
                sweeps--; gone = dead; again = 1; impatient = true; SEEN(SWEEP, 0, 0) }; lease_sweep()
#endif
    SUPPLY(0)
#if SLOTS > 1
    SUPPLY(1)
#endif
#if RETIRES > 0
    MARK(0)
#if SLOTS > 1
    MARK(1)
#endif
#endif
    :: atomic { finished == EVERYBODY && gone == dead && again == 0 && slot[0].state != TAKEN &&
                slot[SLOTS - 1].state != TAKEN -> all_is_well() }; goto over
#ifdef REPLAY
    OR_DIES
#endif
    od;
died:
    skip;
    d_step { /* its successor looks at everything */
        again = 2;
        e = 0; seen = 0; named = false; impatient = false;
        forget_all();
        i = 0
    };
    goto lives;
over:
    skip
}

