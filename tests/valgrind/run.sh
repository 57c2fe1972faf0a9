#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh BUILD TEST... - test programs, with NAME:strict as in tests/run, and all of pglendd that they start under valgrind,
# in BUILD, a build of their own. Exits 1 if a test failed, or valgrind found an error or a leak. The hard thing: valgrind
# follows neither what the kernel refuses it (the sandbox is left out of that build) nor /proc/self/exe (self.c); and
# pglendd's processes, some of which are nobody's, must be able to read the program, which is copied to where all may
# look, and to tell what was found: over a socket, to valgrind-listener. ps(1) shows valgrind, no titles, so tests that
# look for a process cannot be among them; nor can relays, which search all memory for the password, valgrind's too.
set -u
build=$1
shift

if ! command -v valgrind-listener >/dev/null; then
    echo "check-valgrind: skipped: there is no valgrind"
    exit 0
fi
mkdir -p "$build"
${CC:-gcc} -D_GNU_SOURCE -g -fPIC -c -o "$build/self.o" tests/valgrind/self.c || exit 1
programs=
for test; do programs="$programs $build/tests/${test%:*}_test"; done
# shellcheck disable=SC2086 # a list of words
"${MAKE:-make}" --no-print-directory BUILD="$build" SANITIZE= CFLAGS='-O1 -g -DPGLEND_UNCONFINED' LDFLAGS="$build/self.o -Wl,--wrap=execv,--wrap=uv_spawn,--wrap=main" \
    all $programs >"$build/log" 2>&1 || { tail -n 30 "$build/log"; exit 1; }

readable=$(mktemp -d /tmp/valgrind-XXXXXX) || exit 1
listener=
trap '[ -z "$listener" ] || kill "$listener" 2>/dev/null; rm -rf "$readable"' EXIT
cp "$build"/pglend "$build"/pglendd "$build"/libpglend.so.0 tests/valgrind/answered.supp "$readable/" && chmod 755 "$readable" || exit 1
port=$((20000 + $$ % 10000))
valgrind-listener --max-connect=500 $port >"$build/found" 2>&1 &
listener=$!
sleep 1

failed=0
for test; do
    start=$(date +%s)
    unset PGLEND_TEST_TLS PGLEND_TEST_STRICT
    case $test in *:strict) export PGLEND_TEST_STRICT=1 ;; esac
    CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-20} PGLEND_TEST_VALGRIND=1 PGLEND_BUILD=$readable PGLEND_SOURCE=$PWD \
        valgrind --quiet --vgdb=no --trace-children=yes --trace-children-skip='/usr/*,/bin/*,/sbin/*,cp,sh' \
        --leak-check=full --show-leak-kinds=definite,indirect --suppressions="$readable/answered.supp" \
        --log-socket=127.0.0.1:$port "$build/tests/${test%:*}_test" >"$readable/out" 2>&1 || failed=1
    grep -a '^[0-9]*%: Checks:' "$readable/out" | tail -n 1 | sed "s/^/$test: /; s/\$/ ($(($(date +%s) - start)) s)/"
    grep -aE '^[^ ]*\.[ch]:[0-9]+:[FES]:' "$readable/out"
done
# "(3) ==1234== Invalid read of size 8"
said=$(grep -a '^([0-9]*) ==' "$build/found")
processes=$(grep -ac ' CONNECT ' "$build/found")
[ -z "$said" ] || { failed=1; echo "$said" | head -n 60; }
echo "check-valgrind: $processes processes, $(echo "$said" | grep -c 'lost in loss record\|^([0-9]*) ==[0-9]*== [A-Z]') errors and leaks"
[ "$processes" -gt 0 ] || failed=1
exit $failed
