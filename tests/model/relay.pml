/* SPDX-License-Identifier: ISC */
/*
 * relay.pml - daemon/relay.c, and what lend.c, settle.c and backend.c do with it, as a Spin model: in strict isolation
 * over TLS each lease has a socket pair of its own, which comes to the relay over the base, and anybody may die.
 *
 * Here is one session: its server, its relay, and whoever holds an end of a pair; the supervisor and the borrowers are in
 * base.pml. WORKERS borrow it, one after the other. A socket, and each buffer on the way, is a channel that holds little,
 * so that all of them are full at times. What goes through is not bytes but what counts as one: a question, its answer,
 * a descriptor. The hard thing is whose each of them is where nobody looks at them: so each says that here, and it is
 * asserted where it arrives.
 *
 * One step is one system call: a read or write of the relay, a poll, a look at a status flag. Nobody waits for time to
 * pass, but where half a message has eaten a question, or LATES says so: whatever is never answered is a deadlock, which
 * Spin reports. The end is when the session is closed and all processes have ended.
 */
#include "common.pml"

/* Descriptors of which the borrower has a duplicate, and writes on when its lease is over. */
#ifndef KEEPS
#define KEEPS 0
#endif
/* What the server says unasked, at any moment: a notice, or that a parameter has changed. */
#ifndef NOTES
#define NOTES 0
#endif
/* Timers that go off though the answer is under way. */
#ifndef LATES
#define LATES 0
#endif
/* Borrowers that leave half a message, or an answer, or hang up, or say no more and wait for the rest. */
#ifndef RUDES
#define RUDES 0
#endif
/* Writes that fail for want of memory. */
#ifndef FAILS
#define FAILS 0
#endif
/* Signs of life that an idle session is asked for. */
#ifndef CHECKS
#define CHECKS 0
#endif
/* 1: keeper and supervisor may go for good. */
#ifndef ENDS
#define ENDS 0
#endif

byte keeps = KEEPS;
byte notes = NOTES;
byte lates = LATES;
byte rudes = RUDES;
byte fails = FAILS;
byte checks = CHECKS;
byte ends = ENDS;
#if CRASHES > 0
byte crashes = CRASHES; /* of a worker, the supervisor or the relay */
#define OR_DIES :: d_step { crashes > 0 && !closed -> crashes-- }; goto died
#else
#define OR_DIES
#endif
#define STEP(...) if :: d_step { __VA_ARGS__ } OR_DIES fi

#define PAIRS   4 /* the one kept, the one prepared, the one that takes its place, and one more */
#define NO_PAIR 15
#define ANSWERS 2 /* to one query: more than a buffer holds */

/* With whose it is: a borrower's, of which question; or which pair. */
mtype:item = { QUERY, KEPT, HALF, ASK, RESET, CHECK, TERMINATE, HERE, ANSWER, NOTE, NONCE, CLEAN, ALIVE };

#define BASE_UP    5
#define LEASE_DOWN 2
#define UP         2

/* ---- sockets ---- */

chan base_up = [BASE_UP] of { mtype:item, byte }; /* the supervisor writes, the relay reads */
chan base_down = [1] of { mtype:item, byte };
chan lease_up[PAIRS] = [1] of { mtype:item, byte };
chan lease_down[PAIRS] = [LEASE_DOWN] of { mtype:item, byte };
chan wire_up = [1] of { mtype:item, byte }; /* to the server */
chan wire_down = [1] of { mtype:item, byte };

/* Who has an end, a bit each. */
#define SUPERVISOR 1
#define UNDER_WAY  2
#define BORROWER   4
#define RELAY      8
typedef pair_t {
    byte ours;   /* its borrower's end */
    byte theirs; /* the relay's */
    bool shut;
    bool half; /* the borrower's end, for writing alone */
    bool out;  /* LEASE_IS_OUT */
};
pair_t pair[PAIRS];
bool base_open = true; /* somebody has the supervisor's end */
bool base_shut;        /* the supervisor has shut it for writing */
bool wire_shut;        /* and the relay the TLS session */
bool server_gone, relay_gone;

#define IS_HUNG_UP(p) (pair[p].shut || pair[p].ours == 0)   /* as the relay sees it */
#define IS_CUT(p)     (pair[p].shut || pair[p].theirs == 0) /* as the borrower sees it */
#define BASE_ENDED    (base_shut || !base_open)

/* P's last end may have been closed: its number is another's next. */
inline forget_pair(p)
{
    if
    :: pair[p].ours == 0 && pair[p].theirs == 0 ->
        do
        :: len(lease_up[p]) > 0 -> lease_up[p]?_, _
        :: len(lease_up[p]) == 0 -> break
        od;
        do
        :: len(lease_down[p]) > 0 -> lease_down[p]?_, _
        :: len(lease_down[p]) == 0 -> break
        od;
        pair[p].shut = false;
        pair[p].half = false;
        pair[p].out = false
    :: else
    fi
}

inline close_ours(p, who)
{
    pair[p].ours = pair[p].ours & ~who;
    forget_pair(p)
}

inline close_theirs(p, who)
{
    pair[p].theirs = pair[p].theirs & ~who;
    forget_pair(p)
}

/* ---- what is so, whoever knows it ---- */

byte turn;             /* leases that have begun */
byte sent[WORKERS];    /* queries, before the lease's end */
byte reached[WORKERS]; /* the server */
bool eaten;            /* half a message has made a question a part of itself */
bool closed;           /* the session is closed, as far as anybody is left to know it */
byte leaving;          /* workers, a bit each: it has closed the descriptor, or hung up */
bool note_lost;        /* what the supervisor heard, nobody was told */

/* ---- the server ---- */

/* What one lease's borrower sent came before the question of its end, all of it, and nothing after. */
inline check_order()
{
    n = 0;
    do
    :: n < turn -> assert(reached[n] >= sent[n]); n++
    :: else -> break
    od;
    past = turn;
    n = 0
}

inline take_request()
{
    wire_up?kind, tag;
    if
    :: kind == QUERY || kind == KEPT || kind == HALF ->
        assert(tag >= past);
        reached[tag] = (kind == QUERY -> reached[tag] + 1 : reached[tag])
    :: kind == ASK || kind == CHECK -> check_order()
    :: else
    fi;
    if
    :: half ->
        eaten = eaten || kind == ASK;
        half = false;
        kind = ANSWER;
        tag = begun_by;
        due = 1
    :: !half && kind == HALF -> half = true; begun_by = tag; due = 0
    :: !half && (kind == QUERY || kind == KEPT) -> kind = ANSWER; due = ANSWERS
    :: !half && kind == ASK -> kind = NONCE; due = 1
    :: !half && kind == RESET -> kind = CLEAN; due = 1
    :: !half && kind == CHECK -> kind = ALIVE; due = 1
    :: !half && kind == TERMINATE -> server_gone = true
    fi
}

#define IS_OUT(p) (pair[p].out && (pair[p].theirs & RELAY) && !IS_HUNG_UP(p))

/* What it says unasked is a borrower's from the moment in which one has the session. */
inline say()
{
    tag = (kind == NOTE -> (IS_OUT(0) || IS_OUT(1) || IS_OUT(2) || IS_OUT(3) -> turn : 0) : tag);
    wire_down!kind, tag
}

/* It reads nothing while what it says is not taken. */
proctype server()
{
    mtype:item kind;
    byte tag, due, n, past, begun_by;
    bool half;

    do
    :: server_gone || relay_gone -> break
    :: d_step { due == 0 && len(wire_up) > 0 && !server_gone -> take_request() }
    :: d_step { due > 0 && len(wire_down) < 1 && !server_gone -> say(); due-- }
    :: d_step { due == 0 && notes > 0 && !server_gone -> notes--; kind = NOTE; due = 1 }
    :: d_step { due == 0 && len(wire_up) == 0 && wire_shut -> server_gone = true }
    od;
    server_gone = true
}

/* ---- the relay ---- */

chan up = [UP] of { mtype:item, byte }; /* struct flow */
chan down = [1] of { mtype:item, byte };

#define MAY_BE_HEARD (len(up) == 0 && !up_ended && (lease == NO_PAIR || begun || len(down) == 0))

inline drop_lease()
{
    close_theirs(lease, RELAY);
    lease = NO_PAIR;
    begun = false;
    over = (RIGHT(1) -> false : over);
    lent_readable = true;
    useful = true
}

#define IS_LATE     (over && len(base_up) > 0 && !(base_up?[HERE, _]) && !RIGHT(3))
#define READS_LEASE (lease != NO_PAIR && !IS_LATE)

/* A read ends behind a descriptor. */
inline read_base()
{
    do
    :: len(base_up) > 0 && len(up) < UP && (lease == NO_PAIR || IS_LATE) ->
        base_up?kind, tag;
        got = true;
        if
        :: kind == HERE ->
            lease = tag;
            pair[tag].theirs = (pair[tag].theirs & ~UNDER_WAY) | RELAY;
            begun = !RIGHT(2)
        :: kind != HERE -> up!kind, tag
        fi
    :: else -> break
    od;
    up_ended = up_ended || (!got && BASE_ENDED);
    useful = useful || got || up_ended
}

inline read_lease()
{
    do
    :: len(lease_up[lease]) > 0 && len(up) < UP -> lease_up[lease]?kind, tag; up!kind, tag; got = true
    :: else -> break
    od;
    begun = begun || got;
    useful = useful || got;
    if
    :: !got && (IS_HUNG_UP(lease) || (pair[lease].half && (over || !RIGHT(16)))) -> drop_lease()
    :: !got && !IS_HUNG_UP(lease) && pair[lease].half && !over && RIGHT(16) -> up_ended = true; useful = true
    :: else
    fi
}

inline read_lent()
{
    lent_readable = false;
    if
    :: READS_LEASE -> read_lease()
    :: !READS_LEASE -> read_base()
    fi;
    got = false;
    kind = 0;
    tag = 0
}

inline write_server()
{
    useful = true;
    if
    :: server_gone -> drain(up); up_ended = true
    :: !server_gone && len(wire_up) == 1 -> server_wants = true
    :: !server_gone && len(wire_up) < 1 -> up?kind, tag; wire_up!kind, tag; kind = 0; tag = 0
    fi
}

inline drain(flow)
{
    do
    :: len(flow) > 0 -> flow?_, _
    :: len(flow) == 0 -> break
    od
}

inline read_server()
{
    server_readable = false;
    useful = useful || len(wire_down) > 0 || server_gone;
    if
    :: len(wire_down) > 0 -> wire_down?kind, tag; down!kind, tag; kind = 0; tag = 0
    :: len(wire_down) == 0 -> down_ended = server_gone
    fi
}

/* Of what is under way to this side. */
inline went()
{
    moved = true;
    useful = true
}

inline write_lease()
{
    if
    :: IS_HUNG_UP(lease) ->
        drain(down);
        went();
        lent_readable = true;
        if
        :: !RIGHT(4) -> drop_lease()
        :: RIGHT(4)
        fi
    :: !IS_HUNG_UP(lease) && len(lease_down[lease]) < LEASE_DOWN ->
        down?kind, tag;
        lease_down[lease]!kind, tag;
        went();
        kind = 0;
        tag = 0
    :: else
    fi
}

inline write_base()
{
    if
    :: !base_open -> drain(down); went(); farewell = true
    :: base_open && len(base_down) < 1 -> down?kind, tag; base_down!kind, tag; went(); kind = 0; tag = 0
    :: else
    fi
}

/* Who is there would take what comes behind it for his answer. Where it is the supervisor, that is the end. */
inline lose_bytes()
{
    fails--;
    drain(down);
    went();
    if
    :: begun -> pair[lease].shut = RIGHT(13); lent_readable = true
    :: !begun -> down_ended = RIGHT(13)
    fi
}

inline write_lent()
{
    if
    :: begun -> write_lease()
    :: !begun -> write_base()
    fi
}

/* The base is readable, or at its end. */
inline look_at_base()
{
    if
    :: len(base_up) > 0 || (BASE_ENDED && !RIGHT(5)) ->
        over = true;
        lent_readable = true;
        pair[lease].shut = pair[lease].shut || RIGHT(6);
        if
        :: !RIGHT(7) -> drop_lease()
        :: RIGHT(7)
        fi
    :: len(base_up) == 0 && BASE_ENDED && RIGHT(5) -> base_ended = true
    :: else
    fi
}

/* What poll() is asked of the server, of who speaks to it, and of the base, and what it says. */
#define WANTS_SERVER (len(down) == 0 && !down_ended)
#define SERVER_IS_IN (WANTS_SERVER && (len(wire_down) > 0 || server_gone))
#define SERVER_TAKES (len(up) > 0 && server_wants && (len(wire_up) < 1 || server_gone))
#define LENT_IS_HUP  (lease == NO_PAIR -> !base_open : IS_HUNG_UP(lease))
#define LEASE_IS_IN  (len(lease_up[lease]) > 0 || pair[lease].half || IS_HUNG_UP(lease))
#define LENT_IS_IN   (lease == NO_PAIR -> len(base_up) > 0 || BASE_ENDED : LEASE_IS_IN)
#define TO_LENT      (len(down) > 0 && begun == (lease != NO_PAIR))
#define HAS_ROOM     (begun -> len(lease_down[lease]) < LEASE_DOWN : len(base_down) < 1 || !base_open)
#define HALF_CLOSED  (closed_up && !farewell)
#define HEARS_LENT   ((MAY_BE_HEARD && LENT_IS_IN) || ((MAY_BE_HEARD || TO_LENT || HALF_CLOSED) && LENT_IS_HUP))
#define HEARS_BASE   (lease != NO_PAIR && (!over || !RIGHT(14)) && !base_ended && (len(base_up) > 0 || BASE_ENDED))
#define HAS_EVENT    (SERVER_IS_IN || SERVER_TAKES || HEARS_LENT || HEARS_BASE || (len(down) > 0 && HAS_ROOM))

inline wait_for_events()
{
    d_step {
        HAS_EVENT ->
        assert(useful); /* it is not woken again and again for nothing */
        server_readable = server_readable || SERVER_IS_IN || (server_gone && SERVER_TAKES);
        server_wants = server_wants && !SERVER_TAKES && !server_gone;
        moved = HEARS_BASE;
        lent_readable = lent_readable || HEARS_LENT;
        useful = HALF_CLOSED && LENT_IS_HUP;
        farewell = farewell || useful
    };
    if
    :: moved -> moved = false; STEP(useful = !over; look_at_base())
    :: !moved
    fi
}

inline move_on()
{
    moved = false;
    if
    :: MAY_BE_HEARD && lent_readable -> STEP(read_lent()); moved = true
    :: else
    fi;
    if
    :: len(up) > 0 && !server_wants -> STEP(write_server()); moved = true
    :: else
    fi;
    if
    :: len(down) == 0 && !down_ended && server_readable ->
        STEP(read_server());
        STEP(begun = begun || (lease != NO_PAIR && pair[lease].out && RIGHT(11)));
        moved = true
    :: else
    fi;
    if
    :: len(down) > 0 -> STEP(write_lent())
    :: len(down) > 0 && fails > 0 -> STEP(lose_bytes())
    :: len(down) == 0
    fi
}

inline pass_ends_on()
{
    closed_up = closed_up || (up_ended && len(up) == 0);
    wire_shut = wire_shut || closed_up;
    if
    :: down_ended && len(down) == 0 -> goto died
    :: else
    fi
}

proctype relay()
{
    mtype:item kind;
    byte tag, lease = NO_PAIR;
    bool begun, over, base_ended, up_ended, down_ended, server_wants, closed_up, farewell, moved, got;
    bool lent_readable = true, server_readable = true, useful = true;

    do
    :: move_on();
        if
        :: moved
        :: !moved ->
            pass_ends_on();
            if
            :: wait_for_events()
            :: farewell -> goto died /* five seconds */
            OR_DIES
            fi
        fi
    od;
died:
    skip;
    /* All that it has is closed, and so what is still under way to it. */
    d_step {
        if
        :: lease != NO_PAIR -> drop_lease()
        :: else
        fi;
        do
        :: len(base_up) > 0 ->
            base_up?kind, tag;
            if
            :: kind == HERE -> close_theirs(tag, UNDER_WAY)
            :: else
            fi
        :: len(base_up) == 0 -> break
        od;
        drain(up);
        drain(down);
        drain(wire_up);
        drain(wire_down);
        kind = 0; tag = 0; begun = false; lent_readable = false; server_readable = false;
        relay_gone = true
    }
}

#include "base.pml"

init {
    atomic {
        byte k = 0;
        do
        :: k < WORKERS -> run borrower(k); k++
        :: else -> break
        od;
        run server();
        run relay();
        run supervisor()
    }
}
