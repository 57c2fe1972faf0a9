#!/bin/sh
# SPDX-License-Identifier: ISC
#
# run.sh BUILD SECONDS NAME... - build the fuzzers in BUILD and run each for SECONDS, two at a time, from its corpus in the
# tree and what earlier runs in this build found. Prints how many inputs were executed; exits 1 if one of them failed,
# and says where that input is.
set -u
here=$(dirname "$0")

run_one() {
    build=$1 seconds=$2 name=$3
    log=$build/$name.log
    case $name in
    config) from="-dict=$here/json.dict $here/../config $here/../../config" ;;
    admin) from="-dict=$here/json.dict $here/corpus/admin" ;;
    *) from=$here/corpus/$name ;;
    esac
    # A program ends while its supervisor works on: what that holds is no leak.
    case $name in
    admin | door | worker) leaks=0 ;;
    *) leaks=1 ;;
    esac
    export UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_leaks=$leaks:abort_on_error=1
    mkdir -p "$build/corpus/$name"
    # shellcheck disable=SC2086 # options, then directories
    timeout $((seconds + 120)) nice "$build/fuzz-$name" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 \
        -max_len=4096 -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/$name-" \
        "$build/corpus/$name" $from >"$log" 2>&1
    status=$?
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $status -eq 0 ]; then
        echo "fuzz $name: ${executed:-0} inputs executed in $seconds s"
        return 0
    fi
    tail -c 6000 "$log"
    echo "fuzz $name: FAILED with status $status; the input is $build/$name-*, the log $log"
    return 1
}

if [ "${1:-}" = --one ]; then
    run_one "$2" "$3" "$4"
    exit
fi

build=$1
seconds=$2
shift 2
if ! NO_INSTALL=1 sh "$here/../../.ci/deps" fuzz >/dev/null 2>&1; then
    echo "fuzz: skipped, clang or its fuzzer's runtime (libclang-rt-dev) is not installed"
    exit 0
fi
mkdir -p "$build"
"${MAKE:-make}" --no-print-directory -j"$(nproc)" BUILD="$build" CC=clang SANITIZE=fuzzer-no-link,address,undefined CFLAGS='-O1 -g' \
    fuzzers >"$build/log" 2>&1 || {
    tail -n 30 "$build/log"
    exit 1
}
printf '%s\n' "$@" | xargs -P 2 -I '{}' "$0" --one "$build" "$seconds" '{}'
