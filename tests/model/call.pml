/* SPDX-License-Identifier: ISC */
/*
 * call.pml - a worker of strict.pml: what it says to the supervisor, and to the next one after that one's death.
 *
 * It has one thread that waits or holds. Another one may greet a new supervisor at any moment, which is what it does to
 * the first. The hard thing is not to hang up on one that is well.
 */
#define HAS (RIGHT(10) && (!IS_SET(parting, me) || !RIGHT(22)))

/*
 * What it has not read of the last one is lost. Who is new has nothing to tell. To hang up on a supervisor that lives
 * would be this worker's end in its books.
 */
inline knock()
{
    assert(tie[me] != OPEN);
    do
    :: nempty(down[me]) && RIGHT(20) -> down[me]?_, _, _
    :: empty(down[me]) || !RIGHT(20) -> break
    od;
    if
    :: IS_SET(welcomed, me) && HAS -> up[me]!HOLDING, held[me], under[me]
    :: IS_SET(welcomed, me) && !HAS -> up[me]!HOLDING, NO_SLOT, 0
    :: else
    fi;
    if
    :: !RIGHT(21) -> up[me]!HOLDING, NO_SLOT, 0
    :: RIGHT(21)
    fi;
    tie[me] = KNOCKED
}

inline send_want()
{
    if
    :: tie[me] == OPEN -> up[me]!ACQUIRE, call[me], 0; sent = sent | BIT(me)
    :: else
    fi
}

inline wait_is_over()
{
    call[me] = 0;
    sent = sent & ~BIT(me)
}

#define IS_CUT(i, v) IS_SET(cut[i], v)

/* Who reads what he did not wait for gives it back, untouched. */
inline take_answer()
{
    down[me]?x, i, v;
    if
    :: i == NO_SLOT && x == call[me] -> wait_is_over()
    :: i != NO_SLOT && x == call[me] ->
        wait_is_over();
        held[me] = i;
        under[me] = v;
        if
        :: !IS_CUT(i, v) -> holders[i]++; assert(holders[i] == 1); taken = (STOPS > 0 -> taken | BIT(i) : 0)
        :: else
        fi
    :: i != NO_SLOT && x != call[me] && tie[me] == OPEN && RIGHT(4) ->
        up[me]!RELEASE, i, v;
        taken = (RIGHT(23) || IS_CUT(i, v) -> taken : taken | BIT(i))
    :: else
    fi;
    x = 0;
    i = 0;
    v = 0
}

inline give_up_waiting()
{
    leaves--;
    if
    :: tie[me] == OPEN && IS_SET(sent, me) -> up[me]!GIVE_UP, call[me], 0
    :: else
    fi;
    if
    :: RIGHT(27) -> wait_is_over()
    :: !RIGHT(27)
    fi
}

inline put_away()
{
    if
    :: held[me] != NO_SLOT && !IS_SET(parting, me) && !IS_CUT(held[me], under[me]) -> holders[held[me]]--
    :: else
    fi;
    parting = parting | BIT(me)
}

inline forget_held()
{
    held[me] = NO_SLOT;
    under[me] = 0;
    parting = parting & ~BIT(me)
}

/* To one who has not answered its hello: this follows what was said there. */
inline send_release()
{
    up[me]!RELEASE, held[me], under[me];
    forget_held()
}

#define IS_ALONE    (tie[me] == BROKEN && !IS_SET(shut_out, me))
#define WAITS_AS(n) (entry[n].owner == me && asked[n] == call[me] && entry[n].state == WAITING)

proctype worker(byte me)
{
    byte i, v, x, cycle;

lives:
    do
    :: atomic { cycle < CYCLES -> cycle++; call[me] = cycle;
                if
                :: send_want()
                :: fulls > 0 -> fulls--; sent = (RIGHT(25) -> sent : sent | BIT(me))
                fi };
        do
        :: call[me] == 0 -> break
        :: d_step { nempty(down[me]) -> take_answer() }
        :: d_step { call[me] != 0 && IS_ALONE -> knock() }
        :: d_step { call[me] != 0 && IS_SET(shut_out, me) && empty(down[me]) -> wait_is_over() }
        :: d_step { call[me] != 0 && tie[me] == OPEN && !IS_SET(sent, me) && RIGHT(11) -> send_want() }
        :: d_step { call[me] != 0 && leaves > 0 -> give_up_waiting() }
#if STOPS > 0
        :: d_step { call[me] != 0 && stops > 0 && ANY_ENTRY(WAITS_AS) -> stops-- };
            ((resting | dead | BIT(me)) == EVERYBODY)
#endif
        OR_DIES
        od;
        do
        :: held[me] == NO_SLOT -> break
        :: d_step { held[me] != NO_SLOT && IS_ALONE -> knock() } /* another thread calls */
        :: d_step { held[me] != NO_SLOT && !IS_SET(parting, me) -> put_away() }
        :: d_step { IS_SET(parting, me) && tie[me] != BROKEN -> send_release() }
        :: d_step { IS_SET(parting, me) && IS_SET(shut_out, me) -> forget_held() }
        :: IS_SET(parting, me) && IS_ALONE -> /* nobody reads it, and another thread may see that first */
            do
            :: d_step { tie[me] != BROKEN && RIGHT(24) -> send_release() }; break
            :: d_step { IS_ALONE || !RIGHT(24) -> knock(); forget_held() }; break
            :: d_step { IS_ALONE -> knock() }
            :: d_step { IS_SET(shut_out, me) -> forget_held() }; break
            OR_DIES
            od
        OR_DIES
        od
    :: atomic { cycle == CYCLES -> resting = resting | BIT(me); cycle = 0 }; break
    od;
end_rest:
    do
    :: d_step { IS_ALONE && RIGHT(19) -> knock() } /* its next call */
    OR_DIES
    od;
died:
    skip;
    d_step {
        put_away();
        forget_held();
        wait_is_over();
        dead = dead | BIT(me);
        resting = resting & ~BIT(me);
        i = 0; v = 0; cycle = 0
    };
end_dead:
    d_step { heirs > 0 && !IS_SET(known, me) -> heirs--; dead = dead & ~BIT(me); welcomed = welcomed & ~BIT(me);
             knock() };
    goto lives
}
