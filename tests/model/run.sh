#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh [small] - check the model of the lease protocol, then that each seeded mistake is caught; small: the model alone.
#
# The hard thing: a search that was cut short proves nothing. A run counts only if the verifier says how it ended.
set -u

model=$(cd "$(dirname "$0")" && pwd)/lease.pml
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
failed=0

if ! command -v spin >/dev/null; then
    echo "model: skipped, spin is not installed (apt-get install --no-install-recommends spin)"
    exit 0
fi

# workers x slots, budgets: run to the end, without an error
small='
2x1 CYCLES=1
2x1 LOOKS=1 LEAVES=1
2x1 RETIRES=1
2x1 CYCLES=2
'
full="$small
2x1 SWEEPS=1
2x1 CRASHES=1
3x2 CYCLES=1
"

# number, what is done wrong, workers x slots, budgets: an error is found
mistakes='
1  3x1 CYCLES=1         a giver serves the newest
3  2x1 RETIRES=1        a claim is not reverted where the grant failed
4  2x1 LOOKS=1,LEAVES=1 a giver does not look whether its claim still stands
5  2x1 LOOKS=1,LEAVES=1 a slot is taken back though its word has changed
6  2x1 RETIRES=1        a giver does not wake
7  2x1 CYCLES=1         a giver does not look again after its slot is idle
8  2x1 LOOKS=1,LEAVES=1 an idle slot is taken by a store
9  2x1 RETIRES=1        a waiter looks at the slots before it is published
10 2x1 RETIRES=1        the bit is set after the second look
11 2x1 RETIRES=1        a waiter does not look at the slots again
12 2x1 SWEEPS=1,LOOKS=1,CYCLES=2 a claim is taken for a grant
15 2x1 LOOKS=1,LEAVES=1 who leaves a claim does not look at the slot again
16 2x1 RETIRES=1        the futex word is read after the look
17 2x1 SWEEPS=1,LOOKS=1,CYCLES=2 a newcomer overtakes
20 2x1 SWEEPS=1         the bit of a dropped claim is cleared last
'

# The verifier for WORKERSxSLOTS, built once.
build() {
    [ -x "$work/$1/pan" ] && return
    mkdir "$work/$1" && cd "$work/$1" &&
        spin -a -DWHOLE_SCAN "-DWORKERS=${1%x*}" "-DSLOTS=${1#*x}" "$model" >spin.log 2>&1 &&
        ${CC:-gcc} -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c && return
    cat spin.log
    exit 1
}

# verify SIZE BUDGET...: prints "errors seconds states", errors "?" where the search did not end.
verify() {
    size=$1
    shift
    build "$size" && cd "$work/$size" || exit 1
    rm -f lease.pml.trail
    env "$@" timeout "${MODEL_SECONDS:-300}" nice ./pan -m1000000 -w22 -n >log 2>&1
    grep -q 'max search depth too small' log && sed -i 's/errors: 0/errors: ?/' log
    awk '/errors:/ {e = $NF} /states, stored/ {s = $1} /elapsed time/ {t = $4}
         END {print (e == "" ? "?" : e), t + 0, s + 0}' log
}

right() {
    while read -r size budgets; do
        [ -n "$size" ] || continue
        # shellcheck disable=SC2086 # several words
        answer=$(verify "$size" $budgets)
        printf 'model: %s %-20s errors %s, %s s, %s states\n' "$size" "$budgets" $answer
        [ "${answer%% *}" = 0 ] || failed=1
    done
}

wrong() {
    while read -r number size budgets what; do
        [ -n "$number" ] || continue
        # shellcheck disable=SC2046 # several words
        answer=$(verify "$size" "MISTAKE=$number" $(echo "$budgets" | tr , ' '))
        case $answer in
        [1-9]*) echo "model: caught $number, $what" ;;
        *) echo "model: NOT caught: $number, $what ($size $budgets)" && failed=1 ;;
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
