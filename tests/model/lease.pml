/* SPDX-License-Identifier: ISC */
/*
 * lease.pml - client/lease.c as a Spin model: who holds a slot and who waits for one, whatever dies, at any step.
 *
 * One transition of the model is one access of the code to shared memory; inlines have the names of its functions. The
 * hard thing is to stay small and exact. A slot word's version is a set of readers here: a compare-and-swap succeeds if
 * nobody changed the word since this process read it, which is what a version that only grows says. A futex counter is
 * whether it changed since it was last looked at. Tickets are numbers, for they order.
 *
 * WORKERS, SLOTS and WHOLE_SCAN are fixed by -D; what may happen, and how often, comes from the environment when the
 * verifier runs (the budgets below), and so does MISTAKE: one wrong step of the code, by number. run.sh has both tables.
 * Without LOOKS, LEAVES and SWEEPS nobody acts unless he is woken: whoever is stranded is a deadlock, which Spin
 * reports. Not modelled: weak memory, flags but "retire", resets, a process that writes what the code does not write;
 * strict isolation is in strict.pml.
 */
#ifndef WORKERS
#define WORKERS 3
#endif
#ifndef SLOTS
#define SLOTS 2
#endif

#include "common.pml"

byte cycles;  /* leases that each worker takes */
byte crashes; /* deaths of a worker (another takes its place) or of the supervisor, at any step */
byte looks;   /* waiters that wake up by themselves */
byte leaves;  /* waiters whose time is up */
byte sweeps;  /* sweeps without a death; the grants that one finds have been left lying for too long */
byte retires; /* slots that the supervisor marks while they are lent */

#define SUPERVISOR WORKERS /* processes: 0 … WORKERS-1, and this one */
#define FREE       15

/* Scanning the waiters takes a step for each of them; WHOLE_SCAN makes it one, for the large runs. */
#ifdef WHOLE_SCAN
#define SCAN d_step
#define STEP
#else
#define SCAN
#define STEP d_step
#endif

mtype = { IDLE, LEASED, GRANTED, TAKEN }; /* TAKEN: SLOT_SUPERVISOR */
mtype = { NONE, WAITING, CLAIMED };

typedef slot_t {
    mtype state;
    byte by;      /* entry */
    byte readers; /* processes whose copy of the word is the present one, a bit each */
    bool retire;
};
typedef wait_t {
    mtype state = NONE;
    byte slot;
    byte ticket;
};

slot_t slot[SLOTS];
wait_t wait[WORKERS];  /* by entry, like the next three */
bool woken[WORKERS];   /* the futex word has changed since its owner looked */
byte owner[WORKERS];
byte waiting;          /* the bitmap */
byte next_ticket;

byte dead;             /* workers, a bit each: WORKERS first ones, and as many that take their places */
byte killed;           /* processes that are to take no further step */
byte finished;         /* workers, a bit each */
byte holders[SLOTS];   /* who believes to hold it: what the words are to ensure */

/* ---- one access to shared memory each; ME is the process, E the borrower entry it acts for ---- */

#define OWNED(i) ((me == SUPERVISOR && slot[i].state == TAKEN) || \
                  (me != SUPERVISOR && slot[i].state == LEASED && slot[i].by == e))
#define SAME(i)  IS_SET(slot[i].readers, me)

inline slot_read(n)
{
    slot[n].readers = slot[n].readers | BIT(me)
}

inline slot_store(n, new_state, whom)
{
    slot[n].state = new_state;
    slot[n].by = whom;
    slot[n].readers = BIT(me)
}

/* Leaves in OK whether the word was still the one that was read. */
inline slot_swap(at, next_state, whose)
{
    d_step {
        ok = SAME(at);
        if
        :: ok -> slot_store(at, next_state, whose)
        :: else
        fi
    }
}

inline slot_swap_own()
{
    if
    :: me == SUPERVISOR -> slot_swap(i, TAKEN, NOBODY)
    :: else -> slot_swap(i, LEASED, e)
    fi
}

#define WAIT_IS(b, st, sl, tk) (wait[b].state == st && wait[b].slot == sl && wait[b].ticket == tk)

inline wait_store(w, new_state, new_slot, new_ticket)
{
    wait[w].state = new_state;
    wait[w].slot = new_slot;
    wait[w].ticket = new_ticket
}

inline wait_swap(whose, was_state, was_slot, was_ticket, next_state, next_slot, the_ticket)
{
    d_step {
        ok = WAIT_IS(whose, was_state, was_slot, was_ticket);
        if
        :: ok -> wait_store(whose, next_state, next_slot, the_ticket)
        :: else
        fi
    }
}

inline show_waiting(whose)
{
    d_step { waiting = waiting | BIT(whose) }
}

inline hide_waiting(whose)
{
    d_step { waiting = waiting & ~BIT(whose) }
}

/* ---- who waits ---- */

/* Leaves the entry in TO, with its ticket in TICKET. SEEN and BORN are for the assertion in claim() alone. */
inline oldest_waiter()
{
    SCAN {
        STEP { bits = waiting; to = NOBODY; ticket = 0; seen = 0; born = next_ticket; b = 0 };
        do
        :: b < WORKERS ->
            STEP {
                if
                :: IS_SET(bits, b) && wait[b].state == WAITING ->
                    seen = seen | BIT(b);
                    if
                    :: to == NOBODY || (RIGHT(1) -> wait[b].ticket < ticket : wait[b].ticket > ticket) ->
                        to = b;
                        ticket = wait[b].ticket
                    :: else
                    fi
                :: else
                fi;
                b++
            }
        :: else -> break
        od
    };
    atomic { bits = 0; b = 0 }
}

/* Leaves the answer in SOME. */
inline somebody_waits()
{
    SCAN {
        STEP { bits = waiting; some = false; b = 0 };
        do
        :: b < WORKERS && !some ->
            STEP {
                some = IS_SET(bits, b) && wait[b].state == WAITING;
                b++
            }
        :: else -> break
        od
    };
    atomic { bits = 0; b = 0 }
}

/* ---- giving ---- */

/* First come, first served: nobody whom the giver saw waiting, and who still does, has come before the one it claims. */
inline claim()
{
    atomic {
        wait_swap(to, WAITING, 0, ticket, CLAIMED, i, ticket);
        do
        :: b < WORKERS ->
            assert(!ok || !IS_SET(seen, b) || wait[b].state != WAITING || wait[b].ticket >= born ||
                   wait[b].ticket > ticket);
            b++
        :: else -> break
        od;
        b = 0; seen = 0; born = 0
    }
}

inline wake(whom)
{
    d_step { woken[whom] = true }
}

/* Leaves in OK whether it was carried out. */
inline grant()
{
    if
    :: RIGHT(2) -> slot_swap(i, GRANTED, to)
    :: else -> d_step { slot_store(i, GRANTED, to); ok = true }
    fi;
    if
    :: !ok ->
        if
        :: RIGHT(3) -> wait_swap(to, CLAIMED, i, ticket, WAITING, 0, ticket)
        :: else
        fi;
        ok = false
    :: else ->
        if
        :: RIGHT(4) && !WAIT_IS(to, CLAIMED, i, ticket) ->
            if
            :: RIGHT(5) -> slot_swap_own()
            :: else -> d_step { slot_store(i, (me == SUPERVISOR -> TAKEN : LEASED), (me == SUPERVISOR -> NOBODY : e)) }
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
    :: d_step { slot_read(i); ok = OWNED(i); marked = me != SUPERVISOR && slot[i].retire };
        if
        :: !ok -> break
        :: ok && marked ->
            slot_swap(i, TAKEN, NOBODY);
            if
            :: ok -> break
            :: else
            fi
        :: else ->
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
            :: else ->
                slot_swap(i, IDLE, NOBODY);
                if
                :: ok ->
                    if
                    :: RIGHT(7) -> somebody_waits()
                    :: else
                    fi;
                    if
                    :: some -> slot_swap_own()
                    :: else -> ok = false
                    fi;
                    if
                    :: ok -> some = false
                    :: else -> break
                    fi
                :: else
                fi
            fi
        fi
    od;
    atomic { ok = false; marked = false; some = false; to = NOBODY; ticket = 0; seen = 0; born = 0;
             slot[i].readers = slot[i].readers & ~BIT(me) }
}

/* ---- taking ---- */

/* Leaves the slot in I. The last pass of the code's take_any(), which is over all slots. */
inline take_any()
{
    d_step { i = 0; ok = false };
    do
    :: i < SLOTS && !ok ->
        d_step { slot_read(i); ok = slot[i].state == IDLE };
        if
        :: ok && RIGHT(8) -> slot_swap(i, LEASED, e)
        :: ok && !RIGHT(8) -> d_step { slot_store(i, LEASED, e) }
        :: else
        fi;
        d_step {
            slot[i].readers = slot[i].readers & ~BIT(me);
            if
            :: !ok -> i++
            :: else
            fi
        }
    :: else -> break
    od;
    atomic {
        i = (ok -> i : NO_SLOT);
        ok = false
    }
}

inline serve_waiters()
{
    do
    :: wait[e].state == WAITING ->
        take_any();
        if
        :: i == NO_SLOT -> break
        :: else -> pass_on()
        fi
    :: else -> break
    od;
    i = NO_SLOT
}

inline lease_enqueue()
{
    d_step { mine = next_ticket; next_ticket++ };
    if
    :: !RIGHT(9) -> serve_waiters()
    :: else
    fi;
    if
    :: RIGHT(10) -> show_waiting(e)
    :: else
    fi;
    d_step { wait_store(e, WAITING, 0, mine); mine = 0 };
    if
    :: RIGHT(9) && RIGHT(11) -> serve_waiters()
    :: else
    fi;
    if
    :: !RIGHT(10) -> show_waiting(e)
    :: else
    fi
}

inline wait_over()
{
    d_step { wait_store(e, NONE, 0, 0) };
    hide_waiting(e)
}

/* Slot I is offered: take it, or leave NO_SLOT in I. */
inline take_grant()
{
    do
    :: d_step { slot_read(i);
                ok = (slot[i].state == GRANTED && slot[i].by == e) || (!RIGHT(12) && slot[i].state != TAKEN) };
        if
        :: ok ->
            if
            :: !RIGHT(13) -> d_step { wait_store(e, NONE, 0, 0) }
            :: else
            fi;
            if
            :: RIGHT(14) -> slot_swap(i, LEASED, e)
            :: else -> d_step { slot_store(i, LEASED, e) }
            fi;
            if
            :: ok -> break
            :: else
            fi
        :: else -> break
        fi
    od;
    slot[i].readers = slot[i].readers & ~BIT(me);
    if
    :: ok -> wait_over()
    :: else -> i = NO_SLOT
    fi;
    ok = false
}

inline accept_grant()
{
    d_step { i = (wait[e].state == CLAIMED -> wait[e].slot : NO_SLOT) };
    if
    :: i != NO_SLOT -> take_grant()
    :: else
    fi
}

/*
 * The waiter's word becomes TO (NONE, or WAITING with its old ticket). Leaves in OK whether it did (a slot in I is then
 * out of the question for the caller to lose): where it was a claim, the grant may have been made just before.
 */
inline change_wait(to_state)
{
    d_step { old = wait[e].state; i = wait[e].slot; mine = wait[e].ticket };
    wait_swap(e, old, i, mine, to_state, 0, (to_state == NONE -> 0 : mine));
    d_step {
        changed = ok;
        ok = changed && old == CLAIMED && RIGHT(15);
        if
        :: !ok -> i = NO_SLOT
        :: else
        fi;
        old = 0; mine = 0
    };
    if
    :: ok -> take_grant()
    :: else
    fi
}

inline look_about()
{
    if
    :: wait[e].state == CLAIMED -> change_wait(WAITING)
    :: else
    fi;
    changed = false;
    if
    :: i != NO_SLOT
    :: i == NO_SLOT && wait[e].state == NONE -> lease_enqueue(); accept_grant()
    :: else -> serve_waiters(); accept_grant()
    fi
}

inline lease_leave()
{
    accept_grant();
    do
    :: i == NO_SLOT && !changed ->
        change_wait(NONE);
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
        :: RIGHT(16) -> woken[e] = false
        :: else
        fi;
        accept_grant();
        if
        :: i != NO_SLOT -> break
        :: else
        fi;
        if
        :: !RIGHT(16) -> woken[e] = false
        :: else
        fi;
        if
        :: woken[e]
        :: atomic { looks > 0 || wait[e].state == NONE -> looks = (wait[e].state == NONE -> looks : looks - 1) };
            look_about();
            if
            :: i != NO_SLOT -> break
            :: else
            fi
        :: atomic { leaves > 0 -> leaves-- };
            lease_leave();
            break
        fi
    od
}

inline lease_try()
{
    somebody_waits();
    d_step { overtaken = some; some = some && RIGHT(17) };
    if
    :: !some ->
        take_any();
        assert(i == NO_SLOT || !overtaken)
    :: else
    fi;
    d_step { some = false; overtaken = false }
}

proctype worker(byte me)
{
    byte e = me, id = me, i = NO_SLOT, to = NOBODY, held = NO_SLOT;
    byte b, bits, ticket, seen, born, mine, cycle;
    mtype old;
    bool ok, some, marked, changed, overtaken;

    do
    :: {
        do
        :: cycle < cycles ->
            lease_try();
            if
            :: i == NO_SLOT -> lease_enqueue(); wait_for_slot()
            :: else
            fi;
            if
            :: i != NO_SLOT ->
                d_step { held = i; holders[i]++; assert(holders[i] == 1) };
                d_step { holders[held]--; held = NO_SLOT };
                pass_on();
                i = NO_SLOT
            :: else
            fi;
            cycle++
        :: else -> break
        od;
        finished = finished | BIT(me);
        goto done
    } unless {
        IS_SET(killed, me)
    };
    d_step { /* dead: forget all, and be another worker, who looks for an entry */
        if
        :: held != NO_SLOT -> holders[held]--
        :: else
        fi;
        b = 0;
        do
        :: b < SLOTS -> slot[b].readers = slot[b].readers & ~BIT(me); b++
        :: else -> break
        od;
        dead = dead | BIT(id); killed = killed & ~BIT(me);
        id = WORKERS + me; cycle = 0;
        i = NO_SLOT; to = NOBODY; held = NO_SLOT; b = 0; bits = 0; ticket = 0; seen = 0; born = 0; mine = 0; old = 0;
        ok = false; some = false; marked = false; changed = false; overtaken = false; e = 0
    };
    if
    :: d_step { owner[0] == FREE -> owner[0] = id; e = 0 }
    :: d_step { owner[1] == FREE -> owner[1] = id; e = 1 }
#if WORKERS > 2
    :: d_step { owner[2] == FREE -> owner[2] = id; e = 2 }
#endif
    fi
    od;
done:
    skip
}

/* ---- the supervisor ---- */

#define LIVE_OWNER(b) (owner[b] != FREE && !IS_SET(gone, owner[b]))

inline sweep_wait()
{
    d_step { old = wait[e].state; i = wait[e].slot; ticket = wait[e].ticket };
    if
    :: old == NONE || (!LIVE_OWNER(e) && !RIGHT(18))
    :: old != NONE && !LIVE_OWNER(e) && RIGHT(18) -> wait_over()
    :: else ->
        show_waiting(e);
        if
        :: old == CLAIMED && RIGHT(19) ->
            d_step { ok = !(slot[i].state == GRANTED && slot[i].by == e) &&
                          !(slot[i].state == LEASED && LIVE_OWNER(slot[i].by)) };
            if
            :: ok -> wait_swap(e, CLAIMED, i, ticket, WAITING, 0, ticket)
            :: else
            fi
        :: else
        fi
    fi;
    d_step { old = 0; i = 0; ticket = 0; ok = false }
}

/* Its bit goes first: once it may queue anew, it sets the bit itself. */
inline drop_claim()
{
    if
    :: RIGHT(20) -> hide_waiting(to)
    :: else
    fi;
    wait_swap(to, CLAIMED, i, ticket, NONE, 0, 0);
    if
    :: !ok -> show_waiting(to)
    :: ok && !RIGHT(20) -> hide_waiting(to)
    :: else
    fi
}

inline sweep_slot()
{
    d_step { slot_read(i); old = slot[i].state; to = slot[i].by };
    if
    :: old == IDLE ->
        somebody_waits();
        if
        :: some && RIGHT(21) ->
            slot_swap(i, TAKEN, NOBODY);
            if
            :: ok -> pass_on()
            :: else
            fi
        :: else
        fi
    :: old == GRANTED ->
        d_step { ticket = wait[to].ticket; some = LIVE_OWNER(to) && wait[to].state == CLAIMED && wait[to].slot == i };
        if
        :: RIGHT(22) && (!some || patience_over) ->
            slot_swap(i, TAKEN, NOBODY);
            if
            :: ok ->
                if
                :: some -> drop_claim()
                :: else
                fi;
                d_step { ok = !slot[i].retire };
                if
                :: ok -> pass_on()
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: old == LEASED && !LIVE_OWNER(to) && RIGHT(23) -> slot_swap(i, TAKEN, NOBODY)
    :: else
    fi;
    d_step { slot[i].readers = slot[i].readers & ~BIT(me); ok = false; some = false; old = 0; to = NOBODY; ticket = 0 }
}

inline free_entry()
{
    if
    :: owner[e] != FREE && !LIVE_OWNER(e) ->
        /* is_named() */
        d_step { i = 0; ok = true };
        do
        :: i < SLOTS ->
            d_step {
                ok = ok && !((slot[i].state == LEASED || slot[i].state == GRANTED) && slot[i].by == e && RIGHT(24));
                i++
            }
        :: else -> break
        od;
        i = 0;
        d_step {
            if
            :: ok && wait[e].state == NONE -> owner[e] = FREE
            :: else -> again = true
            fi;
            ok = false
        }
    :: else
    fi
}

#define EACH(n, limit) n = 0; do :: n < limit ->
#define NEXT(n)        n++ :: else -> break od; n = 0

inline lease_sweep()
{
    if
    :: !RIGHT(24) -> EACH(e, WORKERS) free_entry(); NEXT(e)
    :: else
    fi;
    EACH(e, WORKERS) sweep_wait(); NEXT(e);
    EACH(i, SLOTS) sweep_slot(); NEXT(i);
    EACH(e, WORKERS) free_entry(); NEXT(e);
    EACH(e, WORKERS)
        if
        :: wait[e].state != NONE && RIGHT(25) -> wake(e)
        :: else
        fi;
    NEXT(e)
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
        od
    }
}

proctype supervisor()
{
    byte me = SUPERVISOR, e, i, to = NOBODY;
    byte b, bits, ticket, seen, born, gone;
    mtype old;
    bool ok, some, marked, patience_over, again;

    do
    :: {
end:    do
        :: atomic { gone != dead || again -> gone = dead; again = false }; lease_sweep()
        :: atomic { sweeps > 0 && finished != EVERYBODY -> sweeps--; gone = dead; patience_over = true }; lease_sweep();
            patience_over = false
        :: atomic { slot[0].state == TAKEN -> i = 0; slot[0].retire = false }; pass_on(); i = 0
#if SLOTS > 1
        :: atomic { slot[1].state == TAKEN -> i = 1; slot[1].retire = false }; pass_on(); i = 0
#endif
        :: d_step { retires > 0 && (slot[0].state == LEASED || slot[0].state == GRANTED) ->
                    retires--; slot[0].retire = true; slot[0].readers = 0 }
        :: atomic { finished == EVERYBODY && gone == dead && !again && slot[0].state != TAKEN &&
                    slot[SLOTS - 1].state != TAKEN && !killed -> all_is_well() }; goto over
        od
    } unless {
        IS_SET(killed, me)
    };
    d_step { /* its successor knows who is dead, and looks at everything */
        i = 0;
        do
        :: i < SLOTS -> slot[i].readers = slot[i].readers & ~BIT(me); i++
        :: else -> break
        od;
        killed = killed & ~BIT(me); again = true;
        e = 0; i = 0; to = NOBODY; b = 0; bits = 0; ticket = 0; seen = 0; born = 0; old = 0;
        ok = false; some = false; marked = false; patience_over = false
    }
    od;
over:
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
    c_code {
        now.mistake = budget("MISTAKE", 0);
        now.cycles = budget("CYCLES", 1);
        now.crashes = budget("CRASHES", 0);
        now.looks = budget("LOOKS", 0);
        now.leaves = budget("LEAVES", 0);
        now.sweeps = budget("SWEEPS", 0);
        now.retires = budget("RETIRES", 0);
    };
    atomic {
        byte n = 0;
        do
        :: n < SLOTS -> slot[n].state = IDLE; slot[n].by = NOBODY; n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < WORKERS -> owner[n] = n; n++
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
