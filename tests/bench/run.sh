#!/bin/bash
# SPDX-License-Identifier: ISC
# run.sh - the figures: measures them on this machine, prints each beside its goal. Exits 0 when all were measured,
# whether met or missed: a slow machine is no defect. Writes nothing but its temporary directory and FILE.
#
#   BENCH_QUICK=1     a smoke run of some seconds; its figures say little
#   BENCH_OWN=FILE    write the table to FILE too, in Markdown, for versus.sh
#   BENCH_ROUNDS=9    rounds in which lent and direct connections alternate; at least 5

set -u
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

herd_workers=2000
idle_seconds=10
export BENCH_ROUNDS=${BENCH_ROUNDS:-9}
if [ "${BENCH_QUICK:-0}" = 1 ]; then
    herd_workers=200
    idle_seconds=3
    export BENCH_ROUNDS=5 BENCH_QUERIES=2000 BENCH_BATCHES=50 BENCH_SAMPLES=200 BENCH_CROWD_MS=300 BENCH_RACE_MS=200
fi

write_configs()
{
    cat >"$stage/run.json" <<EOF
{
$(head_of run)
  "pools": {
$(pool none 4 none true),
$(pool unguarded 1 none false),
$(pool full 1 full true),
$(host=$stage/postgres pool full_unix 1 full true),
$(pool context 1 full true "" shared ', "context": true'),
$(pool crowd 8 none true),
$(pool tls 8 none true "$stage/server.crt")
  }
}
EOF
    cat >"$stage/strict.json" <<EOF
{
$(head_of strict daemon "$(id -gn daemon)")
  "pools": {
$(pool strict 1 full true "" strict)
  }
}
EOF
    cat >"$stage/idle.json" <<EOF
{
$(head_of idle)
  "pools": {
$(pool herd 100 none true)
  }
}
EOF
    cat >"$stage/relays.json" <<EOF
{
$(head_of relays)
  "pools": {
$(pool relays 100 none true "$stage/server.crt")
  }
}
EOF
}

bring_up()
{
    local program
    stage_open bench
    for program in query lease crowd herd tls; do
        stage_compile "$program" "$top/tests/bench/"{$program,bare,bench,pump,race}.c -lssl
    done
    stage_postgres max_connections=400
    stage_password bench "$PGPASSWORD"
    encrypt
    if command -v pgbouncer >/dev/null; then
        start_bouncer bouncer session 100 8 "$stage/server.crt"
        export BENCH_BOUNCER="host=$stage/bouncer port=$bouncer_port dbname=postgres user=postgres"
    fi
    write_configs
    stage_pglendd run
    export PGLEND_RUNTIME_DIR=$stage/run
    export BENCH_CONNINFO="host=127.0.0.1 port=$pg_port dbname=postgres user=postgres sslmode=disable"
    export HOME=$stage # libpq looks there for a client's certificate
    export BENCH_TLS="host=127.0.0.1 port=$pg_port dbname=postgres user=postgres sslmode=verify-full"
    BENCH_TLS+=" sslrootcert=$stage/server.crt"
    for program in none unguarded full full_unix crowd tls; do
        await_idle "$program"
    done
    # Its workers are of another user than the supervisor: that takes root.
    if [ "$(id -u)" = 0 ]; then
        export BENCH_STRICT_DIR=$stage/strict
        stage_pglendd strict
        PGLEND_RUNTIME_DIR=$BENCH_STRICT_DIR await_idle strict
    fi
}

# Nanoseconds that process PID has run, and how often it went to sleep.
usage_of()
{
    awk '{ print $1 }' "/proc/$1/schedstat"
    awk '$1 == "voluntary_ctxt_switches:" { print $2 }' "/proc/$1/status"
}

# What a hundred relays have written to their memory, alone and together.
measure_relays()
{
    local pid total=0 count=0 kib
    progress "measuring: 100 relays"
    stage_pglendd relays
    PGLEND_RUNTIME_DIR=$stage/relays await_idle relays
    for pid in $(cat "/proc/$pglendd"/task/*/children); do
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q '^pglendd: relay relays/' || continue
        kib=$(awk '$1 == "Private_Dirty:" { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null)
        total=$((total + ${kib:-0}))
        count=$((count + 1))
    done
    [ "$count" -gt 0 ] || stage_fail "there are no relays"
    awk -v t="$total" -v n="$count" 'BEGIN { printf "relay_mib %.2f\nrelays_mib %.1f\n", t / n / 1024, t / 1024 }' \
        >>"$stage/figures"
}

measure_herd()
{
    local supervisor before after
    progress "measuring: $herd_workers idle workers"
    stage_pglendd idle
    export PGLEND_RUNTIME_DIR=$stage/idle
    await_idle herd
    start_herd "$herd_workers" herd
    supervisor=$(supervisor_pid)
    sleep 3
    mapfile -t before < <(usage_of "$supervisor")
    sleep "$idle_seconds"
    mapfile -t after < <(usage_of "$supervisor")
    {
        echo "herd_workers $("$build/pglend" workers | awk 'NR > 1' | wc -l)"
        awk '$1 == "VmRSS:" { printf "herd_rss_mib %.2f\n", $2 / 1024 }' "/proc/$supervisor/status"
        awk -v t="$((after[0] - before[0]))" -v s="$idle_seconds" 'BEGIN { printf "herd_cpu %.3f\n", t / s / 1e7 }'
        awk -v n="$((after[1] - before[1]))" -v s="$idle_seconds" 'BEGIN { printf "herd_wakeups %.2f\n", n / s }'
    } >>"$stage/figures"
    end_herd
}

# The trail is written where the stage is: its disk is what the durable figures are of.
measure_audit()
{
    progress "measuring: the audit trail"
    ${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O2 -g -I"$top"/{include,client,daemon} -I"$(pg_config --includedir)" \
        -o "$stage/audit" "$top"/tests/bench/{audit,bench}.c "$build"/daemon/{audit_trail,audit_recover,log}.o \
        "$build"/client/audit_{key,record,store,verify}.o "$build/libpglend.a" -L"$(pg_config --libdir)" -lpq -ljansson \
        -lcrypto -pthread || stage_fail "cannot compile audit"
    "$build/pglend" audit init "$stage/trail" >/dev/null 2>&1 || stage_fail "cannot set the audit trail up"
    BENCH_TRAIL=$stage/trail "$stage/audit" >>"$stage/figures" || stage_fail "audit has failed"
}

# Rows: figure, name of its value, relation and goal ("-": for information), unit, what to multiply by.
# A goal that is a word is the name of another value, with a factor: "2*name".
print_table()
{
    progress ''
    awk -v own="${BENCH_OWN:-/dev/null}" '
    function show(number, unit) {
        return sprintf(number >= 1000 ? "%.0f %s" : "%.3g %s", number, unit)
    }
    function goal(text,  part) {
        if (split(text, part, "*") == 2) return part[1] * value[part[2]]
        return text + 0
    }
    FILENAME != "-" { value[$1] = $2; next }
    BEGIN { FS = "[ ]*[|][ ]*" }
    function row(what, wanted, measured, verdict) {
        printf "%-34s %14s %14s%s%s\n", what, wanted, measured, verdict == "" ? "" : "  ", verdict
        sub(/^ +/, "", what)
        sub(/^<=/, "≤", wanted)
        sub(/^>=/, "≥", wanted)
        printf "| %s | %s | %s | %s |\n", what, measured, wanted, verdict >own
    }
    FNR == 1 {
        printf "%-34s %14s %14s\n", "FIGURE", "GOAL", "MEASURED"
        printf "| what | measured | goal | |\n|---|---|---|---|\n" >own
    }
    NF == 1 && $1 != "" { print $1; printf "| **%s** | | | |\n", $1 >own; next }
    NF > 1 {
        if (!($2 in value)) { row($1, "", "skipped", ""); next }
        have = value[$2] * $6
        want = $3 == "-" ? "" : goal($4) * ($4 ~ /[*]/ ? $6 : 1)
        verdict = $3 == "-" ? "" : ($3 == ">=" ? have >= want : have <= want) ? "ok" : "missed"
        if (verdict == "missed") missed++
        row($1, $3 == "-" ? "" : $3 " " show(want, $5), show(have, $5), verdict)
    }
    END { print missed ? "\n" missed " missed." : "\nAll goals are met." }
    ' FS=' ' "$stage/figures" FS='[ ]*[|][ ]*' - <<'EOF'
Queries inside a lease (select 1)
  direct connection        | query_direct      | -  |                     | /s  | 1
  lent connection          | query_lent        | -  |                     | /s  | 1
  ratio                    | query_ratio       | >= | 0.98                |     | 1
acquire + release of a slot used before
  reset none, guard        | cycle_guard_ns    | <= | 800                 | ns  | 1
    its two dup3() alone   | floor_guard_ns    | -  |                     | ns  | 1
  reset none, no guard     | cycle_ns          | <= | 150                 | ns  | 1
    its libpq, clock alone | floor_ns          | -  |                     | ns  | 1
  reset full, answer is in | cycle_full_us     | <= | 12                  | us  | 1
    its send, recv alone   | floor_full_us     | -  |                     | us  | 1
  the same, Unix socket    | cycle_full_unix_us | <= | 12                 | us  | 1
  context, more than that  | cycle_context_more_us | - |                   | us  | 1
  strict isolation         | cycle_strict_us   | -  |                     | us  | 1
    more than reset full   | cycle_strict_more_us | <= | 40               | us  | 1
    round trip to a process alone | floor_trip_us | - |                   | us  | 1
  strict, no CPU asleep    | cycle_strict_awake_us | - |                  | us  | 1
    more than reset full   | cycle_strict_awake_more_us | <= | 40         | us  | 1
    round trip to a process alone | floor_trip_awake_us | - |             | us  | 1
First use of a slot by a worker
  first use                | first_us          | <= | 300                 | us  | 1
  attach and first use     | first_fresh_us    | -  |                     | us  | 1
64 workers over 8 connections
  8 direct connections     | crowd_direct      | -  |                     | /s  | 1
  64 workers               | crowd_lent        | -  |                     | /s  | 1
  ratio                    | crowd_ratio       | >= | 0.7                 |     | 1
    bare hand-over alone   | crowd_bare        | -  |                     | /s  | 1
    its ratio              | crowd_bare_ratio  | -  |                     |     | 1
  leases, most over least  | crowd_spread      | <= | 25                  | %   | 100
  wait, median             | crowd_wait_p50_us | -  |                     | ms  | 0.001
  wait, p99                | crowd_wait_p99_us | <= | 2*crowd_wait_p50_us | ms  | 0.001
8 clients, encrypted: select 1
  direct TLS               | tls_select_direct | -  |                     | /s  | 1
  relay                    | tls_select_relay  | -  |                     | /s  | 1
  ratio                    | tls_select_over_direct | >= | 0.8            |     | 1
  PgBouncer                | tls_select_bouncer | - |                     | /s  | 1
  relay to PgBouncer       | tls_select_over_bouncer | >= | 1.4           |     | 1
    bare pump alone, no libpq | tls_select_pump | -  |                     | /s  | 1
    relay to that          | tls_select_over_pump | - |                    |     | 1
8 clients, encrypted: COPY of 100 MB out
  direct TLS               | tls_copy_direct   | -  |                     | MB/s | 1
  relay                    | tls_copy_relay    | -  |                     | MB/s | 1
  ratio                    | tls_copy_over_direct | >= | 0.8              |     | 1
  PgBouncer                | tls_copy_bouncer  | -  |                     | MB/s | 1
  relay to PgBouncer       | tls_copy_over_bouncer | >= | 1.4             |     | 1
    bare pump alone, no libpq | tls_copy_pump   | -  |                     | MB/s | 1
    relay to that          | tls_copy_over_pump | -  |                     |     | 1
8 clients, encrypted: COPY of 100 MB in
  direct TLS               | tls_copy_in_direct | - |                     | MB/s | 1
  relay                    | tls_copy_in_relay | -  |                     | MB/s | 1
  ratio                    | tls_copy_in_over_direct | >= | 0.8           |     | 1
  PgBouncer                | tls_copy_in_bouncer | - |                    | MB/s | 1
  relay to PgBouncer       | tls_copy_in_over_bouncer | >= | 1.4          |     | 1
100 relays
  one, its own memory      | relay_mib         | <= | 2                   | MiB | 1
  all                      | relays_mib        | -  |                     | MiB | 1
The audit trail, on this disk
  batched                  | audit_batched     | >= | 50000               | /s  | 1
  durable, one at a time   | audit_durable     | -  |                     | /s  | 1
  durable, 16 at a time    | audit_durable_16  | -  |                     | /s  | 1
Idle: 100 slots and so many workers
  workers attached         | herd_workers      | -  |                     |     | 1
  supervisor, resident     | herd_rss_mib      | <= | 16                  | MiB | 1
  supervisor, CPU          | herd_cpu          | <= | 0.1                 | %   | 1
  supervisor, wake-ups     | herd_wakeups      | <= | 1                   | /s  | 1
EOF
}

read -r load _ </proc/loadavg
echo "pglend bench: medians of $BENCH_ROUNDS rounds, $(nproc) CPUs, $(uname -m), load $load before the start"
bring_up
measure query
measure lease
measure crowd
measure tls
measure_relays
measure_herd
measure_audit
print_table
