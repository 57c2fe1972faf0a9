#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh BUILD [TEST...] - line coverage of client/ and daemon/ by the tests, which are run in BUILD, a build of their own.
# Prints the share of each directory beside its goal and the files that miss most; BUILD/gcov has each file with counts.
# The hard thing: most of pglendd drops root, or never had it, and must be able to write what it counted all the same.
# So the files for that are there before, for everybody to write. What a test kills counts nothing; nor does the shared
# library in a process that ends by _exit(2), so that live tests are linked to the other here.
set -u
build=$1
shift
goals='client 95
daemon 90'

mkdir -p "$build/gcov"
${CC:-gcc} -c -o "$build/end.o" tests/coverage/end.c || exit 1
"${MAKE:-make}" --no-print-directory BUILD="$build" SANITIZE= SHARED_TESTS= CFLAGS='-Og -g -DPGLEND_UNCONFINED --coverage -fprofile-update=atomic' \
    LDFLAGS="$build/end.o -Wl,--wrap=_exit,--wrap=prctl,--wrap=__gcov_fork,--wrap=uv_process_kill" all coverage-tests >"$build/log" 2>&1 || { tail -n 30 "$build/log"; exit 1; }
find "$build" -name '*.gcda' -exec rm -f {} +
find "$build" -name '*.gcno' | while read -r notes; do
    : >"${notes%.gcno}.gcda"
    chmod 666 "${notes%.gcno}.gcda"
done

CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-6} PGLEND_BUILD=$build PGLEND_SOURCE=$PWD CC=${CC:-gcc} tests/run "$@"
status=$?

find "$build" -name '*.gcda' -size 0 -exec rm -f {} +
for notes in "$build"/client/*.gcno "$build"/daemon/*.gcno; do
    gcov -o "$(dirname "$notes")" "$notes" 2>/dev/null
done >"$build/gcov.txt"
mv ./*.gcov "$build/gcov/" 2>/dev/null

# "File 'client/adopt.c'" and on the next line "Lines executed:93.10% of 203"
sed -n "s/^File '\(.*\)'$/\1/p; s/^Lines executed:\([0-9.]*\)% of \([0-9]*\)$/\1 \2/p" "$build/gcov.txt" |
    awk '/^[0-9]/ { if (file ~ /^(client|daemon)\/[a-z_]*\.c$/) printf "%s %d %d\n", file, $2, $2 * (100 - $1) / 100 + 0.5 }
         { file = $0 }' | sort -u >"$build/lines.txt"
echo "missed most:"
sort -k3,3nr "$build/lines.txt" | head -n 15 | awk '{ printf "%6d of %4d lines  %s\n", $3, $2, $1 }'
echo "$goals" | while read -r directory goal; do
    awk -v d="$directory" -v goal="$goal" 'index($1, d "/") == 1 { lines += $2; missed += $3 }
        END { printf "%s: %.1f %% of %d lines (goal: %d %%)\n", d, lines ? 100 * (lines - missed) / lines : 0, lines, goal }' \
        "$build/lines.txt"
done
exit $status
