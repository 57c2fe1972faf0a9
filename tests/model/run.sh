#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh [small] - check the models of the lease protocol (lease.pml: shared isolation, strict.pml: strict), then that each
# seeded mistake is caught; small: the models alone.
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

# model, workers x slots, budgets: run to the end, without an error
small='
lease 2x1 CYCLES=1
lease 2x1 LOOKS=1 LEAVES=1
lease 2x1 RETIRES=1
lease 2x1 CYCLES=2
strict 2x1 CRASHES=1
strict 2x1 CYCLES=2 LEAVES=1
strict 3x1 CYCLES=1
'
full="$small
lease 2x1 SWEEPS=1
lease 2x1 CRASHES=1
lease 3x2 CYCLES=1
strict 2x1 CRASHES=1 LEAVES=1
strict 2x2 CRASHES=1
strict 3x2 CYCLES=1
"

# number, what is done wrong, model, workers x slots, budgets: an error is found
mistakes='
1  lease 3x1 CYCLES=1         a giver serves the newest
3  lease 2x1 RETIRES=1        a claim is not reverted where the grant failed
4  lease 2x1 LOOKS=1,LEAVES=1 a giver does not look whether its claim still stands
5  lease 2x1 LOOKS=1,LEAVES=1 a slot is taken back though its word has changed
6  lease 2x1 RETIRES=1        a giver does not wake
7  lease 2x1 CYCLES=1         a giver does not look again after its slot is idle
8  lease 2x1 LOOKS=1,LEAVES=1 an idle slot is taken by a store
9  lease 2x1 RETIRES=1        a waiter looks at the slots before it is published
10 lease 2x1 RETIRES=1        the bit is set after the second look
11 lease 2x1 RETIRES=1        a waiter does not look at the slots again
12 lease 2x1 SWEEPS=1,LOOKS=1,CYCLES=2 a claim is taken for a grant
15 lease 2x1 LOOKS=1,LEAVES=1 who leaves a claim does not look at the slot again
16 lease 2x1 RETIRES=1        the futex word is read after the look
17 lease 2x1 SWEEPS=1,LOOKS=1,CYCLES=2 a newcomer overtakes
20 lease 2x1 SWEEPS=1         the bit of a dropped claim is cleared last
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
'

# The verifier for MODEL and WORKERSxSLOTS, built once.
build() {
    [ -x "$work/$1-$2/pan" ] && return
    mkdir "$work/$1-$2" && cd "$work/$1-$2" &&
        spin -a -DWHOLE_SCAN "-DWORKERS=${2%x*}" "-DSLOTS=${2#*x}" "$models/$1.pml" >spin.log 2>&1 &&
        ${CC:-gcc} -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c && return
    cat spin.log
    exit 1
}

# verify MODEL SIZE BUDGET...: prints "errors seconds states", errors "?" where the search did not end.
verify() {
    build "$1" "$2" && cd "$work/$1-$2" || exit 1
    shift 2
    rm -f ./*.trail
    env "$@" timeout "${MODEL_SECONDS:-300}" nice ./pan -m1000000 -w22 -n >log 2>&1
    grep -q 'max search depth too small' log && sed -i 's/errors: 0/errors: ?/' log
    awk '/errors:/ {e = $NF} /states, stored/ {s = $1} /elapsed time/ {t = $4}
         END {print (e == "" ? "?" : e), t + 0, s + 0}' log
}

right() {
    while read -r name size budgets; do
        [ -n "$name" ] || continue
        # shellcheck disable=SC2086 # several words
        answer=$(verify "$name" "$size" $budgets)
        # shellcheck disable=SC2086 # several words
        printf 'model: %-6s %s %-20s errors %s, %s s, %s states\n' "$name" "$size" "$budgets" $answer
        [ "${answer%% *}" = 0 ] || failed=1
    done
}

wrong() {
    while read -r number name size budgets what; do
        [ -n "$number" ] || continue
        # shellcheck disable=SC2046 # several words
        answer=$(verify "$name" "$size" "MISTAKE=$number" $(echo "$budgets" | tr , ' '))
        case $answer in
        [1-9]*) echo "model: caught $name $number, $what" ;;
        *) echo "model: NOT caught: $name $number, $what ($size $budgets)" && failed=1 ;;
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
