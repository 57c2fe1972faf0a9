/* SPDX-License-Identifier: ISC */
/*
 * base.pml - the supervisor of relay.pml, which has the base and makes the pairs; a borrower; and who takes the
 * supervisor's place, with the base alone, which the keeper has.
 *
 * Which borrower's turn it is, and how a worker tells a new supervisor what it holds, is strict.pml's: here the supervisor
 * hears that a lease is over, be it from its worker or from that one's end.
 */
mtype:phase = { LENDABLE, SYNCING, RESETTING, CHECKING, CLOSING };
mtype:word = { IDLE, LEASED, TAKEN };

/* ---- what outlives a supervisor ---- */

mtype:word word = TAKEN;
byte lessee;
chan mail[WORKERS] = [1] of { byte }; /* the descriptor, on its way to its borrower */
byte got;                             /* workers, a bit each: it has come */
byte gone;                            /* workers, a bit each: the lease is over */
byte at_rest;                         /* workers, a bit each: and so they say that they left it */

/* Nobody holds what never came: a new supervisor is told so. */
#define IS_OVER(w) (IS_SET(gone, w) || (len(mail[w]) == 0 && !IS_SET(got, w)))

/* ---- the borrower ---- */

#if CRASHES > 0
#define IS_CRASHED (crashes < CRASHES)
#else
#define IS_CRASHED false
#endif
#define IS_ENDED (relay_gone || server_gone || hung_up || fails < FAILS)

/* What it reads is its own, or what the server says to whoever is there. */
inline read_answer()
{
    lease_down[own]?kind, tag;
    assert(kind == NOTE || (kind == ANSWER && tag == me));
    owed = (kind == ANSWER && owed > 0 -> owed - 1 : owed);
    kind = 0;
    tag = 0
}

/* The descriptor is closed, but for a duplicate that was made of it; then its process says so, if it still can. */
inline leave(is_at_rest)
{
    d_step {
        at_rest = (is_at_rest -> at_rest | BIT(me) : at_rest);
        leaving = leaving | BIT(me);
        if
        :: !kept && own != NO_PAIR -> close_ours(own, BORROWER); own = NO_PAIR
        :: else
        fi;
        owed = 0
    };
    gone = gone | BIT(me)
}

proctype borrower(byte me)
{
    mtype:item kind;
    byte own = NO_PAIR, tag, owed, wrote;
    bool kept, hung_up;

    if
    :: d_step { len(mail[me]) > 0 -> mail[me]?own; got = got | BIT(me);
                pair[own].ours = (pair[own].ours & ~UNDER_WAY) | BORROWER }
    :: d_step { (closed || IS_SET(gone, me)) && len(mail[me]) == 0 -> skip }; goto end
    fi;
    do
    :: d_step { wrote < CYCLES && len(lease_up[own]) < 1 && !IS_CUT(own) && !pair[own].half ->
                lease_up[own]!QUERY, me; sent[me]++; wrote++; owed = owed + ANSWERS }
    :: d_step { len(lease_down[own]) > 0 -> read_answer() }
    :: d_step { len(lease_down[own]) == 0 && IS_CUT(own) ->
                assert(IS_ENDED && (owed == 0 || !pair[own].half || IS_CRASHED)) };
        leave(false);
        break
    :: d_step { rudes > 0 && !IS_CUT(own) -> rudes--; pair[own].half = true }
    :: owed == 0 && !hung_up -> leave(true); break
    :: d_step { rudes > 0 && len(lease_up[own]) < 1 && !IS_CUT(own) && !pair[own].half ->
                rudes--; lease_up[own]!HALF, me };
        leave(true);
        break
    :: d_step { rudes > 0 && owed > 0 -> rudes-- }; leave(true); break
    :: d_step { rudes > 0 && !pair[own].shut -> rudes--; pair[own].shut = true; hung_up = true;
                leaving = leaving | BIT(me) }
    :: d_step { keeps > 0 && !kept -> keeps--; kept = true }
    OR_DIES
    od;
    goto holds_on;
died:
    leave(false);
holds_on:
    wrote = 0;
    do
    :: !kept -> break
    :: d_step { kept && wrote == 0 && len(lease_up[own]) < 1 && !IS_CUT(own) && !pair[own].half ->
                assert(turn == me + 1); lease_up[own]!KEPT, me; wrote = 1 }
    :: d_step { kept && len(lease_down[own]) > 0 -> read_answer() }
    :: d_step { kept && ((len(lease_down[own]) == 0 && IS_CUT(own)) || !base_open) ->
                close_ours(own, BORROWER); own = NO_PAIR; kept = false }
    od;
end:
    skip
}

/* ---- the supervisor ---- */

chan out = [3] of { mtype:item, byte }; /* what there was no room for in the base */

inline drop_next()
{
    if
    :: next != NO_PAIR ->
        note_lost = note_lost || heard;
        heard = false;
        close_ours(next, SUPERVISOR);
        close_theirs(next, SUPERVISOR);
        next = NO_PAIR
    :: else
    fi
}

inline cut()
{
    if
    :: lent != NO_PAIR -> pair[lent].shut = true; close_ours(lent, SUPERVISOR); lent = NO_PAIR
    :: else
    fi
}

inline free_pair()
{
    x = 0;
    do
    :: pair[x].ours == 0 && pair[x].theirs == 0 -> break
    :: else -> x++; assert(x < PAIRS)
    od
}

/* Whole or not at all. ASKS: behind a question and the reset. */
inline prepare(asks)
{
    STEP(free_pair(); pair[x].ours = SUPERVISOR; pair[x].theirs = SUPERVISOR);
    STEP(
        if
        :: !relay_gone && len(base_up) + (asks -> 3 : 1) <= BASE_UP ->
            if
            :: asks -> base_up!ASK, nonce; base_up!RESET, nonce
            :: else
            fi;
            base_up!HERE, x;
            pair[x].theirs = pair[x].theirs | UNDER_WAY
        :: else -> close_ours(x, SUPERVISOR); close_theirs(x, SUPERVISOR); x = NO_PAIR
        fi
    );
    STEP(
        if
        :: x != NO_PAIR -> drop_next(); next = x
        :: else
        fi;
        x = 0
    )
}

inline close_session()
{
    STEP(drain(out); cut(); drop_next(); phase = CLOSING);
    STEP(
        if
        :: len(base_up) < BASE_UP && !relay_gone -> base_up!TERMINATE, 0
        :: else
        fi;
        base_shut = true)
}

inline settle_begin()
{
    STEP(phase = SYNCING; cut());
    STEP(if
         :: RIGHT(8) -> drop_next()
         :: !RIGHT(8)
         fi;
         drain(out); reset_asked = false; nonce = (RIGHT(9) -> nonce + 1 : nonce); out!ASK, nonce)
}

inline settle_at_rest()
{
    d_step { nonce++; reset_asked = true; drain(out) };
    prepare(true);
    STEP(if
         :: next == NO_PAIR -> out!ASK, nonce; out!RESET, nonce
         :: else
         fi;
         phase = SYNCING; cut())
}

/* The slot has come back. */
inline returned()
{
    if
    :: retired || (heard && RIGHT(10)) -> close_session()
    :: !retired && !(heard && RIGHT(10)) && trusted && IS_SET(at_rest, lessee) -> settle_at_rest()
    :: else -> settle_begin()
    fi
}

inline ready()
{
    STEP(phase = LENDABLE);
    if
    :: next == NO_PAIR -> prepare(false)
    :: else
    fi;
    STEP(word = IDLE)
}

inline lend()
{
    STEP(assert(!note_lost); word = LEASED; lessee = turn; turn++; trusted = true);
    if
    :: next == NO_PAIR -> prepare(false)
    :: else
    fi;
    if
    :: next == NO_PAIR -> gone = gone | BIT(lessee)
    :: else ->
        STEP(pair[next].out = true);
        STEP(lent = next; heard = false; close_theirs(next, SUPERVISOR); next = NO_PAIR;
             pair[lent].ours = pair[lent].ours | UNDER_WAY; mail[lessee]!lent)
    fi
}

/* Between two leases, or as one begins. */
inline hear()
{
    d_step {
        base_down?kind, tag;
        assert(kind != NOTE || tag == 0 || fails < FAILS || IS_SET(leaving, tag - 1) || IS_OVER(tag - 1));
        if
        :: next != NO_PAIR && len(lease_down[next]) < LEASE_DOWN -> lease_down[next]!kind, tag; heard = true
        :: else -> retired = word != TAKEN /* else it is about to be settled */
        fi;
        kind = 0;
        tag = 0
    };
    if
    :: retired && word == IDLE -> STEP(word = TAKEN); close_session()
    :: else
    fi
}

inline check()
{
    STEP(word = TAKEN; checks--);
    if
    :: heard && RIGHT(10) -> close_session()
    :: else -> STEP(phase = CHECKING; drop_next(); drain(out); nonce++; out!CHECK, nonce)
    fi
}

inline sync_input()
{
    if
    :: kind == NONCE && tag == nonce ->
        if
        :: !reset_asked -> STEP(phase = RESETTING; out!RESET, nonce)
        :: reset_asked -> phase = RESETTING
        fi
    :: else
    fi
}

/* What comes behind the nonce is the answer to the supervisor, whoever else has spoken to this server. */
inline reset_input()
{
    assert(kind == NOTE || (kind == CLEAN && tag == nonce));
    if
    :: kind == CLEAN -> ready()
    :: kind == NOTE && RIGHT(12) -> close_session()
    :: kind == NOTE && !RIGHT(12) -> note_lost = true; settle_begin()
    fi
}

inline check_input()
{
    assert(kind == NOTE || (kind == ALIVE && tag == nonce));
    if
    :: kind == ALIVE -> ready()
    :: kind == NOTE -> close_session()
    fi
}

inline input()
{
    STEP(base_down?kind, tag);
    if
    :: phase == SYNCING -> sync_input()
    :: phase == RESETTING -> reset_input()
    :: phase == CHECKING -> check_input()
    :: phase == CLOSING
    fi;
    kind = 0;
    tag = 0
}

inline time_up()
{
    if
    :: reset_asked -> settle_begin()
    :: !reset_asked -> close_session()
    fi
}

/* All that it had is closed, but the base, which the keeper has too. What it has heard is forgotten with it. */
inline forget_all()
{
    x = 0;
    do
    :: x < PAIRS ->
        if
        :: (pair[x].ours | pair[x].theirs) & SUPERVISOR -> close_ours(x, SUPERVISOR); close_theirs(x, SUPERVISOR)
        :: else
        fi;
        x++
    :: else -> break
    od;
    drain(out);
    x = 0; kind = 0; tag = 0; next = NO_PAIR; lent = NO_PAIR;
    heard = false; retired = false; reset_asked = false; trusted = false
}

proctype supervisor()
{
    mtype:phase phase = LENDABLE;
    mtype:item kind;
    byte tag, x, nonce, next = NO_PAIR, lent = NO_PAIR;
    bool heard, retired, reset_asked, trusted;

    ready();
lives:
    do
    :: phase == LENDABLE && word == TAKEN && RIGHT(15) -> settle_begin()
    :: phase == LENDABLE && word == TAKEN && !RIGHT(15) -> ready()
    :: phase == LENDABLE && word == IDLE && turn < WORKERS && !retired -> lend()
    :: phase == LENDABLE && word == IDLE && (turn == WORKERS || relay_gone) -> STEP(word = TAKEN); close_session()
    :: phase == LENDABLE && word == IDLE && checks > 0 -> check()
    :: phase == LENDABLE && word == LEASED && IS_OVER(lessee) -> STEP(word = TAKEN); returned()
    :: phase == LENDABLE && len(base_down) > 0 && !(retired && word == LEASED) -> hear()
    :: d_step { phase != LENDABLE && len(out) > 0 && len(base_up) < BASE_UP && !relay_gone ->
                out?kind, tag; base_up!kind, tag; kind = 0; tag = 0 }
    :: phase != LENDABLE && len(base_down) > 0 -> input()
    :: phase == SYNCING && eaten -> eaten = false; time_up()
    :: phase == SYNCING && lates > 0 -> lates--; time_up()
    :: phase != LENDABLE && len(base_down) == 0 && relay_gone -> break
    :: ends > 0 -> ends--; break
    OR_DIES
    od;
    skip;
    d_step { forget_all(); base_open = false; closed = true; phase = CLOSING };
    goto end;
died:
    skip;
    d_step { forget_all(); phase = LENDABLE };
    goto lives;
end:
    skip
}
