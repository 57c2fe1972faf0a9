#!/bin/sh
# SPDX-License-Identifier: ISC
#
# replay.sh COUNT - COUNT traces of client/lease.c, each of which must be one of the model's; and of lease.c with a step left
# out, some of which must not be: what the model would follow anywhere shows nothing.
set -u

models=$(cd "$(dirname "$0")" && pwd)
source=$models/../..
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

if ! command -v spin >/dev/null; then
    echo "replay: skipped, spin is not installed (apt-get install --no-install-recommends spin)"
    exit 0
fi
cd "$work" || exit 1

# traced LEASE_C COUNT: the traces 0 … COUNT-1, in a directory.
traced() {
    ${CC:-gcc} -std=gnu11 -D_GNU_SOURCE "-I$source/include" "-I$source/client" -w "-DLEASE_C=\"$1\"" -o traced \
        "$models/traced.c" "$source/client/borrower.c" "$source/client/segment.c" || exit 1
    rm -rf traces && mkdir traces && ./traced traces "$2" || exit 1
}

# How many of the traces the model does not follow to the end.
refused() {
    for trace in traces/*; do
        TRACE=$trace timeout 60 ./pan -E -m1000000 -w16 >log 2>&1
        grep -q 'assertion violated  *!(followed)' log || echo "$trace"
    done | wc -l
}

# Budgets that no trace uses up.
spin -a -DWORKERS=3 -DSLOTS=2 -DCYCLES=2 -DREPLAY -DCRASHES=200 -DLOOKS=200 -DLEAVES=200 -DSWEEPS=200 -DRETIRES=200 \
    "$models/lease.pml" >spin.log 2>&1 && ${CC:-gcc} -O0 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=1024 -o pan pan.c || {
    cat spin.log
    exit 1
}
traced "$source/client/lease.c" "$1"
bad=$(refused)
echo "replay: $1 traces of client/lease.c, $bad refused"
[ "$bad" = 0 ] || exit 1

# left_out WHAT PATTERN: a line of lease.c that ends a statement.
left_out() {
    sed "s/$2/(void)0/" "$source/client/lease.c" >wrong.c
    cmp -s wrong.c "$source/client/lease.c" && echo "replay: lease.c has no $1" && exit 1
    traced "$work/wrong.c" 60
    bad=$(refused)
    echo "replay: without $1, $bad of 60 refused"
    [ "$bad" != 0 ] || exit 1
}
left_out 'the wake' '^    futex_wake(&s->borrower\[to\].wake)'
left_out 'reverting a claim' '(void)wait_swap(s, to, claim, wait)'
left_out 'the end of a wait' '^    wait_ends_with(s, borrower, slot)'
left_out 'the second look at the slots' '^    serve_waiters(s, borrower, wish)'
