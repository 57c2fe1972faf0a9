#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh TEST... - the programs of make check-crash, one after the other, and a last line for all of them. Exits 1 if one
# failed.
set -u
said=$(mktemp) || exit 1
trap 'rm -f "$said" "$said.failed"' EXIT

for test; do
    { "$PGLEND_BUILD/tests/${test}_test" || : >"$said.failed"; } | tee -a "$said"
done
# Of each program: "total: 1200 tried, 0 failed, 3 not come by, 40 s"
awk '/^total: / { tried += $2; failed += $4; missed += $6; seconds += $10 }
    END { printf "check-crash: %d points tried, %d failed, %d not come by, %d s\n", tried, failed, missed, seconds }' "$said"
[ ! -e "$said.failed" ]
