# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# results.sh - RESULTS.md and its plots, from the figures that versus.sh has measured. Sourced by it.

# One machine's description, a line each.
describe_machine()
{
    local bouncer
    bouncer=$(pgbouncer --version 2>/dev/null | head -n 1)
    echo "- $(date -u +%Y-%m-%d), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs," \
        "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r)"
    echo "- $("$pg_bin/postgres" --version), $("$build/pglend" version | head -n 1)," \
        "${bouncer:-PgBouncer is not installed}, $(${CC:-cc} --version | head -n 1)"
    echo "- \`$1\`: medians (lowest to highest) of $BENCH_ROUNDS rounds of $BENCH_RACE_MS ms a way, taken in turn; a ratio is the median of the rounds' own"
    echo "- pgbench's tables at scale $scale, fsync off; 8 sessions on the server, over TCP to 127.0.0.1, for every pooler"
    echo "- PgBouncer: no log of connections, auth_type trust; connections that stay reach it over its Unix socket"
}

# A table: rows "what | figure of the first way | name of another, figure, relation and goal for the ratio | …".
race_table()
{
    awk -v some="${BENCH_RACES-}" -F ' *[|] *' '
    function number(x) { return x >= 100 ? sprintf("%.0f", x) : sprintf("%.3g", x) }
    function spread(name) {
        if (!(name in value)) return "not measured"
        return number(value[name]) " (" number(value[name "_low"]) "–" number(value[name "_high"]) ")"
    }
    FILENAME != "-" { split($0, f, " "); value[f[1]] = f[2]; next }
    FNR == 1 { print "| what | pglend /s | against | /s | ratio | goal | |"; print "|---|---|---|---|---|---|---|" }
    some != "" && !($2 "_" $3 in value) { next }
    NF == 6 {
        over = $2 "_over_" $4
        ratio = over in value ? value[over] : ""
        verdict = ratio == "" || $6 == "-" ? "" : ratio + 0 >= $6 + 0 ? "met" : "missed"
        printf "| %s | %s | %s | %s | %s | %s | %s |\n", $1, spread($2 "_" $3), $5, spread($2 "_" $4), \
            ratio == "" ? "" : sprintf("%.2f", ratio), $6 == "-" ? "" : "≥ " $6, verdict
    }' "$stage/figures" - <<'EOF'
regulated profile: one clean lease a transaction | regulated | lent | session | PgBouncer session, server TLS, connecting anew | 1.0
one clean lease a transaction | clean | lent | session | PgBouncer session (DISCARD ALL), connecting anew | 2.5
 | clean | lent | discard | a direct connection that sends DISCARD ALL | 0.9
 | clean | lent | anew | direct, connecting anew | -
one lease a transaction, no reset | keep | lent | transaction | PgBouncer transaction, connecting anew | 2.5
 | keep | lent | permanent | PgBouncer transaction, connections that stay | -
 | keep | lent | direct | direct | 0.95
select-only inside a lease, simple | select | lent | direct | direct | 0.98
 | select | lent | session | PgBouncer session | -
 | select | lent | transaction | PgBouncer transaction | -
select-only inside a lease, prepared | prepared | lent | direct | direct | 0.98
 | prepared | lent | session | PgBouncer session | -
TPC-B inside a lease, simple | tpcb | lent | direct | direct | 0.98
 | tpcb | lent | session | PgBouncer session | -
 | tpcb | lent | transaction | PgBouncer transaction | -
TPC-B inside a lease, prepared | tpcb_prepared | lent | direct | direct | 0.98
 | tpcb_prepared | lent | session | PgBouncer session | -
64 workers over 8 connections, select 1 | crowd64 | lent | transaction | PgBouncer transaction | 1.2
 | crowd64 | lent | bare | processes that hand 8 sessions on, without pglend and libpq | -
512 workers over 8 connections, select 1 | crowd512 | lent | transaction | PgBouncer transaction | -
EOF
}

# A table of single figures: rows "what | figure, or two with / or - between | unit | relation | goal".
figure_table()
{
    awk -v some="${BENCH_RACES-}" -F ' *[|] *' '
    function number(x) { return x >= 100 ? sprintf("%.0f", x) : sprintf("%.3g", x) }
    function worth(text,  part) {
        if (split(text, part, " ") == 1) return text in value ? value[text] : text + 0
        if (!(part[1] in value) || (part[3] !~ /^[0-9]/ && !(part[3] in value))) return ""
        part[3] = part[3] ~ /^[0-9]/ ? part[3] : value[part[3]]
        return part[2] == "/" ? value[part[1]] / part[3] : value[part[1]] * part[3]
    }
    FILENAME != "-" { split($0, f, " "); value[f[1]] = f[2]; next }
    FNR == 1 { print "| what | measured | goal | |"; print "|---|---|---|---|" }
    NF == 5 {
        have = worth($2)
        missing = have == "" || (split($2, part, " ") == 1 && !($2 in value))
        if (missing && some != "") next
        if (missing) { printf "| %s | not measured | | |\n", $1; next }
        want = $4 == "-" ? "" : worth($5)
        verdict = $4 == "-" ? "" : ($4 == "≥" ? have + 0 >= want + 0 : have + 0 <= want + 0) ? "met" : "missed"
        printf "| %s | %s %s | %s | %s |\n", $1, number(have), $3, $4 == "-" ? "" : $4 " " number(want) " " $3, verdict
    }' "$stage/figures" - <<EOF
lease cycle, 1 borrower, guard off | cycle1_off_client_us * 10 | ns | ≤ | 150
lease cycle, 1 borrower, guard on | cycle1_on_client_us * 10 | ns | ≤ | 800
lease cycle, 2 borrowers, guard off | cycle2_off_client_us * 10 | ns | ≤ | 150
lease cycle, 2 borrowers, guard on | cycle2_on_client_us * 10 | ns | ≤ | 800
lease cycle, 8 borrowers, guard off | cycle8_off_client_us * 10 | ns | ≤ | 150
lease cycle, 8 borrowers, guard on | cycle8_on_client_us * 10 | ns | ≤ | 800
lease cycle, 32 borrowers, guard off | cycle32_off_client_us * 10 | ns | ≤ | 150
lease cycle, 32 borrowers, guard on | cycle32_on_client_us * 10 | ns | ≤ | 800
64 workers: wait, median | crowd64_lent_wait_p50_us | us | - |
64 workers: wait, p99 | crowd64_lent_wait_p99_us | us | ≤ | crowd64_lent_wait_p50_us * 2
64 workers: wait, p99.9 | crowd64_lent_wait_p999_us | us | - |
64 workers: wait and query, median | crowd64_lent_p50_us | us | - |
64 workers: wait and query, p99 | crowd64_lent_p99_us | us | - |
64 workers: fairness (Jain) | crowd64_lent_jain | | ≥ | 0.99
64 clients of PgBouncer: wait and query, median | crowd64_transaction_p50_us | us | - |
64 clients of PgBouncer: wait and query, p99 | crowd64_transaction_p99_us | us | - |
64 clients of PgBouncer: fairness (Jain) | crowd64_transaction_jain | | - |
512 workers: wait, median | crowd512_lent_wait_p50_us | us | - |
512 workers: wait, p99 | crowd512_lent_wait_p99_us | us | - |
512 workers: wait, p99.9 | crowd512_lent_wait_p999_us | us | - |
512 workers: fairness (Jain) | crowd512_lent_jain | | - |
512 clients of PgBouncer: wait and query, p99 | crowd512_transaction_p99_us | us | - |
512 clients of PgBouncer: fairness (Jain) | crowd512_transaction_jain | | - |
a worker dies in a query: its slot serves again, shortest | death_lent_low_ms | ms | - |
a worker dies in a query: its slot serves again, median | death_lent_p50_ms | ms | - |
a worker dies in a query: its slot serves again, p99 | death_lent_p99_ms | ms | ≤ | 20
a worker dies in a query: its slot serves again, longest | death_lent_high_ms | ms | - |
the same through PgBouncer, median | death_session_p50_ms | ms | - |
the same through PgBouncer, p99 | death_session_p99_ms | ms | - |
the same through PgBouncer, longest | death_session_high_ms | ms | - |
the pooler's share of CPU, selects inside leases: supervisor | select_lent_share * 100 | % | ≤ | 1
the pooler's share of CPU, a lease a select, no reset: supervisor | keep_lent_share * 100 | % | ≤ | 1
the pooler's share of CPU, a clean lease a select: supervisor | clean_lent_share * 100 | % | ≤ | 1
the pooler's share of CPU, selects: PgBouncer session | select_session_share * 100 | % | - |
CPU of 10,000 selects inside leases: supervisor | select_lent_pooler_us * 10 | ms | - |
CPU of 10,000 selects inside leases: workers | select_lent_client_us * 10 | ms | - |
CPU of 10,000 selects inside leases: server | select_lent_server_us * 10 | ms | - |
CPU of 10,000 selects, PgBouncer session: PgBouncer | select_session_pooler_us * 10 | ms | - |
CPU of 10,000 selects, PgBouncer session: clients | select_session_client_us * 10 | ms | - |
CPU of 10,000 selects, PgBouncer session: server | select_session_server_us * 10 | ms | - |
supervisor, $slots slots in one of its pools, $workers workers, resident | supervisor_mib | MiB | - |
an idle worker, its own memory | worker_kib | KiB | - |
PgBouncer, $workers clients, resident | bouncer_mib | MiB | - |
lease cycle, 1 slot | grown_slots1_us * 10 | ns | - |
lease cycle, $slots slots | grown_slots_us * 10 | ns | ≤ | grown_slots1_us * 15
lease cycle, 10 workers attached | grown_few_us * 10 | ns | - |
lease cycle, $workers workers attached | grown_many_us * 10 | ns | ≤ | grown_few_us * 15
a new worker's first lease, 1 slot | found_slots1_us | us | - |
a new worker's first lease, $slots slots, all but one out | found_slots_us | us | ≤ | found_slots1_us * 1.5
a new worker's first lease, 10 workers attached | found_few_us | us | - |
a new worker's first lease, $workers workers attached | found_many_us | us | ≤ | found_few_us * 1.5
EOF
}

# Bars, as SVG: FILE TITLE, then rows "label value" on standard input.
plot_bars()
{
    command -v gnuplot >/dev/null || return 0
    cat >"$stage/plot"
    gnuplot <<EOF
set terminal svg size 800,360 font "sans,12" background "white"
set output "$1"
set title "$2"
set style fill solid 0.7
set boxwidth 0.7
set yrange [0:*]
set xtics rotate by -20
unset key
plot "$stage/plot" using 0:2:xtic(1) with boxes linecolor rgb "#336699", "" using 0:2:2 with labels offset 0,0.7
EOF
}

bars_of()
{
    local name label
    for name; do
        label=${name%%=*}
        awk -v n="${name#*=}" -v l="$label" '$1 == n { printf "%s %.0f\n", l, $2 }' "$stage/figures"
    done
}

# What run.sh measured, where BENCH_OWN names its table.
own_table()
{
    [ -s "${BENCH_OWN-}" ] || return 0
    cat <<EOF

## Against its own goals

As \`tests/bench/run.sh\` measures it, before the rest; a relay stands between where a session is encrypted.

$(cat "$BENCH_OWN")
EOF
}

plots()
{
    command -v gnuplot >/dev/null && [ -n "${BENCH_RESULTS-}" ] || return 0
    echo
    echo "![One clean lease a transaction]($(basename "${BENCH_RESULTS%.md}")-clean.svg)"
    echo "![Prepared selects inside a lease]($(basename "${BENCH_RESULTS%.md}")-prepared.svg)"
}

write_results()
{
    cat <<EOF
# Results

pglend beside PgBouncer, direct connections and itself, as \`make bench\` measures them (\`tests/bench/versus.sh\`).

$(describe_machine "make bench BENCH_RESULTS=tests/bench/RESULTS.md")

## Transactions

8 clients unless the row says otherwise; a transaction is pgbench's select-only one unless it says otherwise.

$(race_table)

PgBouncer before 1.21 has no prepared statements in transaction mode.
What stands in the way where a goal is missed: LIMITS.md.
$(plots)

## Cycles, crowds, deaths, CPU and memory

A lease cycle is acquire and release without a query, reset none; its time is the processor's in the worker.

$(figure_table)
$(own_table)
EOF
}

if [ -n "${BENCH_RESULTS-}" ]; then
    write_results >"$BENCH_RESULTS"
    bars_of pglend=clean_lent PgBouncer-anew=clean_session direct-DISCARD-ALL=clean_discard direct-anew=clean_anew |
        plot_bars "${BENCH_RESULTS%.md}-clean.svg" "One clean lease a transaction, transactions a second"
    bars_of pglend=prepared_lent direct=prepared_direct PgBouncer-session=prepared_session |
        plot_bars "${BENCH_RESULTS%.md}-prepared.svg" "Prepared selects inside a lease, a second"
    echo "written: $BENCH_RESULTS"
else
    write_results
fi
