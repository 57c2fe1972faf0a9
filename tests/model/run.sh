#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh [small] - check the models of the lease protocol (lease.pml: shared isolation, strict.pml: strict, relay.pml: strict
# over TLS, one session), then that each seeded mistake is caught where the same search without it finds nothing; small: the
# first rows alone.
#
# The hard thing: a search that was cut short proves nothing. A run counts only if the verifier says how it ended.
set -u

models=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
failed=0

if ! command -v spin >/dev/null; then
    echo "model: skipped, spin is not installed (apt-get install --no-install-recommends spin)"
    exit 0
fi

# model, workers x slots, what may happen: run to the end, without an error
small='
lease  2x1 CYCLES=2
lease  2x1 CRASHES=1
lease  2x1 LEAVES=1,RETIRES=1
strict 2x1 CRASHES=1,LEAVES=1
relay  2x1 CRASHES=1
'
full="$small
lease  2x1 LOOKS=1,RETIRES=1,CYCLES=2
lease  2x2 LOOKS=1,RETIRES=1
lease  3x2 COARSE
lease  3x2 COARSE,CRASHES=1
strict 3x2 CRASHES=1,LEAVES=1,HEIRS=1,RECORDS=1
strict 2x2 CRASHES=2,LEAVES=1
strict 2x1 CRASHES=1,LEAVES=1,CYCLES=2,FULLS=1
strict 2x1 STOPS=1,LEAVES=1,CYCLES=2
strict 2x2 CRASHES=1,DROPS=1,LEAVES=1
relay  2x1 CRASHES=1,KEEPS=1
relay  2x1 CRASHES=1,NOTES=1
relay  2x1 CRASHES=1,LATES=1
relay  2x1 LATES=1,RUDES=1
relay  2x1 CHECKS=1,NOTES=1
relay  2x1 KEEPS=1,ENDS=1
relay  2x1 FAILS=1,NOTES=1
relay  1x1 RUDES=1,CYCLES=4
"

# number, model, workers x slots, what may happen, what is done wrong: an error is found, and none without the mistake
mistakes='
1  lease  3x1 COARSE            a giver serves the newest
3  lease  2x1 RETIRES=1         a claim is not reverted where the grant failed
4  lease  2x1 LEAVES=1          a giver does not look whether its claim still stands
5  lease  2x1 LOOKS=1,LEAVES=1  a slot is taken back though its word has changed
6  lease  2x1 RETIRES=1         a giver does not wake
7  lease  2x1 CYCLES=2          a giver does not look again after its slot is idle
8  lease  2x1 LOOKS=1,LEAVES=1  an idle slot is taken by a store
9  lease  2x1 RETIRES=1         a waiter looks at the slots before it is published
10 lease  2x1 RETIRES=1         the bit is set after the second look
11 lease  2x1 RETIRES=1         a waiter does not look at the slots again
12 lease  2x1 COARSE,SWEEPS=1,CYCLES=2 a claim is taken for a grant
14 lease  2x1 COARSE,SWEEPS=1,CYCLES=2 a grant is accepted by a store
15 lease  2x1 LEAVES=1          who leaves a claim does not look at the slot again
16 lease  2x1 RETIRES=1         the futex word is read after the look
17 lease  2x1 LEAVES=1,CYCLES=2 a newcomer overtakes
18 lease  2x1 CRASHES=1         the wait of the dead stays
19 lease  2x1 CRASHES=1         a claim whose giver is dead stays
20 lease  2x1 SWEEPS=1          the bit of a dropped claim is cleared last
21 lease  2x1 CRASHES=1         a sweep does not pair an idle slot with a waiter
22 lease  2x1 CRASHES=1         a sweep does not take a grant to the dead back
23 lease  2x1 CRASHES=1         the slot of a dead holder is not taken back
24 lease  2x1 CRASHES=1,HEIRS=1 the entry of the dead is free though a word names it
25 lease  2x1 CRASHES=1         a sweep wakes nobody
26 lease  3x2 COARSE,LOOKS=1    what was granted besides is left lying
27 lease  2x1 LEAVES=1,RETIRES=1 a mark makes a giver believe that it gave
1  strict 3x1 CYCLES=1          the newest is served
2  strict 2x1 CYCLES=2,LEAVES=1 a request that is given up keeps what it was granted
3  strict 2x1 CYCLES=2,LEAVES=1 a release does not say of which lease
4  strict 2x1 CYCLES=2,LEAVES=1 what was answered as it was given up is left alone
5  strict 2x1 CRASHES=1         a new supervisor does not end what nobody says that he holds
6  strict 2x1 CRASHES=1         the requests of the dead stay in the queue
7  strict 2x1 CRASHES=1         a predecessor'"'"'s requests stay in the queue
8  strict 2x1 CRASHES=1         a new supervisor ends all leases
9  strict 2x1 CRASHES=1         a new supervisor lends before it was told what is held
10 strict 2x1 CRASHES=1         a worker does not say what it holds
11 strict 2x1 CRASHES=1         a worker does not ask its new supervisor again
12 strict 2x1 CYCLES=1          what comes back is idle, though somebody waits
13 strict 2x1 CRASHES=1         the slot of a dead holder is not taken back
14 strict 2x1 CRASHES=1         an entry that no word names stays taken
15 strict 2x1 CRASHES=1,HEIRS=1 who comes after the dead is let in before the sweep
16 strict 2x1 STOPS=1,CYCLES=2  who is stopped keeps what he waited for
17 strict 2x1 STOPS=1,CYCLES=2  that a lease was taken is not forgotten when the next begins
18 strict 2x1 STOPS=1           what is taken from one who is stopped is lent while he can use it
19 strict 2x1 CRASHES=1         a worker whose release was not read never calls again
20 strict 2x1 CRASHES=1         an old answer is read after it was said what is held
21 strict 2x1 CRASHES=1         it is said twice what is held
22 strict 2x1 CRASHES=1         what is released is named as held
23 strict 2x1 STOPS=1,CYCLES=2,LEAVES=1 who gives an answer back says that he has taken it
24 strict 2x1 CRASHES=1         a release that nobody reads hangs up on whom another thread has greeted
25 strict 2x1 FULLS=1           a request for which there was no room is not sent again
26 strict 2x1 DROPS=1           what is held by one who is shut out is lent on
27 strict 2x1 LEAVES=1          an answer is taken to what was given up
1  relay  2x1 CRASHES=1,KEEPS=1 that a lease is over is not forgotten when the next begins
2  relay  1x1 CYCLES=1          a lease begins before it is lent
3  relay  1x1 RUDES=1           the base is read before the lease that ends is
4  relay  1x1 RUDES=1,CYCLES=2  what was sent by one who hears no more is dropped
5  relay  1x1 ENDS=1            a lease that is out ends with the daemon
6  relay  1x1 CRASHES=1,KEEPS=1 a socket that its borrower keeps is not shut
7  relay  1x1 RUDES=1           what was sent before a lease ends is dropped
8  relay  2x1 LATES=1           a socket that the relay has closed is lent
9  relay  2x1 LATES=1           a nonce is used twice
10 relay  2x1 CHECKS=1,NOTES=1  what the server said to the next lease is lost in a check
11 relay  1x1 NOTES=1           it is not looked whether a lease is out
12 relay  2x1 NOTES=1           what the server changed is undone by another reset
13 relay  1x1 FAILS=1           what cannot be written is left out
14 relay  1x1 RUDES=1           what is known of the base is reported without end
15 relay  2x1 CRASHES=1         a new supervisor lends what its predecessor was resetting
16 relay  1x1 RUDES=1           a lease ends with what its borrower has to say
'

# The verifier of MODEL, SIZE, BUDGETS and MISTAKE, in a directory of that name. Optimised it takes a minute to compile,
# which pays only for the largest.
build() {
    [ -x "$work/$1-$2-$3-$4/pan" ] && return
    optimise=-O0
    case $2-$3 in 3x2-*CRASHES=[1-9]*) optimise=-O2 ;; esac
    mkdir -p "$work/$1-$2-$3-$4" && cd "$work/$1-$2-$3-$4" || exit 1
    # shellcheck disable=SC2046 # several words
    spin -a "-DWORKERS=${2%x*}" "-DSLOTS=${2#*x}" "-DMISTAKE=$4" $(echo "-D$3" | sed 's/,/ -D/g') "$models/$1.pml" \
        >spin.log 2>&1 && ${CC:-gcc} "$optimise" -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c && return
    cat spin.log
    exit 1
}

# verify MODEL SIZE BUDGETS MISTAKE: prints "errors seconds states MB", errors "?" where the search did not end.
verify() {
    build "$@" && cd "$work/$1-$2-$3-$4" || exit 1
    if [ ! -e answer ]; then
        timeout "${MODEL_SECONDS:-600}" nice ./pan -m1000000 -w22 -n >log 2>&1
        grep -q 'max search depth too small' log && sed -i 's/errors: 0/errors: ?/' log
        awk '/errors:/ {e = $NF} /states, stored/ {s = $1} /elapsed time/ {t = $4} /total actual/ {m = $1}
             END {print (e == "" ? "?" : e), t + 0, s + 0, int(m)}' log >answer
    fi
    cat answer
}

# Each number of deaths up to the one that is named: one fewer is not always less to go wrong.
fewer() {
    case $1 in *CRASHES=2*) echo "$1" | sed 's/CRASHES=2/CRASHES=1/' ;; esac
    case $1 in *CRASHES=[12]*) echo "$1" | sed 's/CRASHES=[12]/CRASHES=0/' ;; esac
    echo "$1"
}

right() {
    while read -r name size most; do
        [ -n "$name" ] || continue
        for budgets in $(fewer "$most"); do
            # shellcheck disable=SC2046 # several words
            set -- $(verify "$name" "$size" "$budgets" 0)
            printf 'model: %-6s %s %-39s errors %s, %s s, %s states, %s MB\n' "$name" "$size" "$budgets" "$@"
            [ "$1" = 0 ] || failed=1
        done
    done
}

wrong() {
    while read -r number name size budgets what; do
        [ -n "$number" ] || continue
        base=$(verify "$name" "$size" "$budgets" 0)
        answer=$(verify "$name" "$size" "$budgets" "$number")
        case ${base%% *}:$answer in
        0:[1-9]*) echo "model: caught $name $number, $what" ;;
        *) echo "model: NOT caught: $name $number, $what ($size $budgets; without it: errors ${base%% *})" && failed=1 ;;
        esac
    done
}

if [ "${1:-}" = small ]; then
    right <<LIST
$small
LIST
else
    right <<LIST
$full
LIST
    wrong <<LIST
$mistakes
LIST
fi
exit $failed
