#!/bin/bash
# SPDX-License-Identifier: ISC
# versus.sh - pglend beside PgBouncer, direct connections and itself: the races of versus.c and death.c, what each costs
# in CPU and memory, and how it grows. Prints the tables of RESULTS.md, in Markdown.
#
#   BENCH_QUICK=1       a smoke run; its figures say little
#   BENCH_ROUNDS=15     rounds in which the ways alternate; at least 5
#   BENCH_RACES="…"     these races of versus.c alone, and no row of others
#   BENCH_OWN=FILE      what run.sh wrote, to stand below
#   BENCH_RESULTS=FILE  write them to FILE, and plots beside it where gnuplot is installed

set -u
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

workers=2000
slots=500
scale=10
export BENCH_ROUNDS=${BENCH_ROUNDS:-15} BENCH_RACE_MS=${BENCH_RACE_MS:-700}
if [ "${BENCH_QUICK:-0}" = 1 ]; then
    workers=100
    slots=50
    export BENCH_ROUNDS=5 BENCH_RACE_MS=100 BENCH_DEATHS=10
fi

ulimit -n "$(ulimit -Hn)" # a descriptor a client

write_configs()
{
    cat >"$stage/run.json" <<EOF
{
$(head_of run)
  "pools": {
$(pool clean 8 full true),
$(pool keep 8 none true),
$(pool cycle_off 32 none false),
$(pool cycle_on 32 none true),
$(pool one 1 full true),
$(pool slots1 1 none true),
$(pool "slots$slots" "$slots" none true)
  }
}
EOF
    cat >"$stage/regulated.json" <<EOF
{
$(head_of regulated daemon "$(id -gn daemon)")
  "profile": "regulated",
  "audit_user": "games",
  "audit": { "directory": "$stage/trail" },
  "pools": {
$(pool regulated 8 full true "$stage/server.crt" strict)
  }
}
EOF
}

# PgBouncer in each of the modes that a race needs, with plain and with encrypted sessions to the server.
start_bouncers()
{
    local at="dbname=postgres user=postgres sslmode=disable"
    command -v pgbouncer >/dev/null || return 0
    start_bouncer session session 3000 8
    export BENCH_SESSION_PID=$started BENCH_SESSION="host=$stage/session port=$bouncer_port $at"
    export BENCH_SESSION_TCP="host=127.0.0.1 port=$bouncer_port $at"
    start_bouncer transaction transaction 3000 8
    export BENCH_TRANSACTION_PID=$started BENCH_TRANSACTION="host=$stage/transaction port=$bouncer_port $at"
    export BENCH_TRANSACTION_TCP="host=127.0.0.1 port=$bouncer_port $at"
    start_bouncer encrypted session 100 8 "$stage/server.crt"
    export BENCH_BOUNCER_PID=$started BENCH_BOUNCER_TCP="host=127.0.0.1 port=$bouncer_port $at"
    start_bouncer one session 100 1
    export BENCH_ONE="host=$stage/one port=$bouncer_port $at"
}

# The regulated profile's pool: its workers are of another user than the supervisor, which takes root.
start_regulated()
{
    [ "$(id -u)" = 0 ] || return 0
    install -d -o games -m 700 "$stage/trail"
    "$build/pglend" audit init "$stage/trail" --key-out "$stage/audit.key" >"$stage/log/init" 2>&1 ||
        stage_fail "pglend audit init: $(tail -n 3 "$stage/log/init")"
    chown -R games "$stage/trail"
    stage_pglendd regulated
    export BENCH_REGULATED_DIR=$stage/regulated
    PGLEND_RUNTIME_DIR=$stage/regulated await_idle regulated
    BENCH_REGULATED=$(PGLEND_RUNTIME_DIR=$stage/regulated supervisor_pid)
    export BENCH_REGULATED
}

bring_up()
{
    local program name
    stage_open versus
    for program in versus death herd; do
        stage_compile "$program" "$top/tests/bench/"{$program,bare,bench,race}.c
    done
    stage_postgres max_connections=900 shared_buffers=512MB
    BENCH_POSTMASTER=$(head -n 1 "$stage/postgres/data/postmaster.pid")
    export BENCH_POSTMASTER
    progress "pgbench -i -s $scale"
    (cd "$stage" && stage_as "$pg_bin/pgbench" -h "$stage/postgres" -p "$pg_port" -U postgres -i -q -s "$scale" \
        postgres) >"$stage/log/pgbench" 2>&1 || stage_fail "pgbench: $(tail -n 3 "$stage/log/pgbench")"
    stage_password bench "$PGPASSWORD"
    encrypt
    start_bouncers
    write_configs
    stage_pglendd run
    export PGLEND_RUNTIME_DIR=$stage/run HOME=$stage
    export BENCH_CONNINFO="host=127.0.0.1 port=$pg_port dbname=postgres user=postgres sslmode=disable"
    for name in clean keep cycle_off cycle_on one slots1 "slots$slots"; do
        await_idle "$name"
    done
    BENCH_SUPERVISOR=$(supervisor_pid)
    export BENCH_SUPERVISOR
    start_regulated
}

# What RACE's turn takes at a median on POOL, of which so many slots are HELD, as figure NAME: NAME RACE POOL [HELD].
measure_grown()
{
    progress "measuring: $1"
    export BENCH_GROWN=$3 BENCH_HELD=${4:-0}
    (cd "$stage" && stage_as ./versus "$2") 2>"$stage/log/grown" | sed -n "s/^$2_lent_p50_us /$1 /p" >>"$stage/figures"
    unset BENCH_GROWN BENCH_HELD
}

resident_mib()
{
    awk '$1 == "VmRSS:" { printf "%.1f", $2 / 1024 }' "/proc/$1/status"
}

# A pooler with all its clients, and one of pglend's.
measure_memory()
{
    local worker
    measure_grown grown_slots1_us grown slots1
    measure_grown grown_slots_us grown "slots$slots"
    measure_grown found_slots1_us found slots1
    measure_grown found_slots_us found "slots$slots" $((slots - 1))
    start_herd 10 "slots$slots"
    measure_grown grown_few_us grown "slots$slots"
    measure_grown found_few_us found "slots$slots"
    end_herd
    start_herd "$workers" "slots$slots"
    measure_grown grown_many_us grown "slots$slots"
    measure_grown found_many_us found "slots$slots"
    worker=$(awk '{ print $1 }' "/proc/$herd/task/$herd/children")
    {
        echo "supervisor_mib $(resident_mib "$BENCH_SUPERVISOR")"
        awk '/^Private/ { kib += $2 } END { printf "worker_kib %d\n", kib }' "/proc/$worker/smaps_rollup"
    } >>"$stage/figures"
    end_herd
    [ -n "${BENCH_TRANSACTION-}" ] || return 0
    measure versus clients "$workers"
}

bring_up
all="regulated clean keep select prepared tpcb tpcb_prepared cycle1 cycle2 cycle8 cycle32 crowd64 crowd512"
for race in ${BENCH_RACES:-$all}; do
    measure versus "$race"
done
if [ -z "${BENCH_RACES-}" ]; then
    measure death
    measure_memory
fi
progress ''
. "$top/tests/bench/results.sh"
