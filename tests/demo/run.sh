#!/bin/bash
# SPDX-License-Identifier: ISC
# run.sh - the demo: a small clinic's web server with 32 workers on 4 PostgreSQL sessions, under load, with a worker
# killed in the middle. Exits 0 only if all of it held.
#
#   DEMO_SECONDS=10   how long the load lasts
#   DEMO_KEEP=1       leave everything running until ^C, and say what to try

set -u
segment=
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

workers=32
slots=4
clients=24
slot_back_ms=200
seconds=${DEMO_SECONDS:-10}
[[ $seconds =~ ^[0-9]+$ && $seconds -ge 4 ]] || { echo "demo: DEMO_SECONDS=$seconds: give 4 or more" >&2; exit 2; }

step()
{
    printf '  %-12s %s\n' "$1" "$2"
}

write_config()
{
    cat >"$stage/run.json" <<EOF
{
  "runtime_dir": "$stage/run",
  "user": "$stage_user", "group": "$stage_group",
  "admin": { "read": { "users": ["root", "$stage_user"] } },
  "pools": {
    "clinic": {
      "database": { "host": "127.0.0.1", "port": $pg_port, "dbname": "postgres", "user": "clinic_app",
                    "password_file": "$stage/clinic.password" },
      "size": { "min": $slots, "max": $slots },
      "access": { "users": ["$stage_user"] }
    }
  }
}
EOF
}

# GET PATH from the server: the body on standard output.
fetch()
{
    local line
    exec 4<>"/dev/tcp/127.0.0.1/$http_port" || return 1
    printf 'GET %s HTTP/1.1\r\nConnection: close\r\n\r\n' "$1" >&4
    while IFS= read -r -t 5 line <&4 && [ "$line" != $'\r' ]; do :; done
    timeout 5 cat <&4
    exec 4>&-
}

pglend()
{
    (cd "$stage" && stage_as ./pglend --runtime-dir "$stage/run" "$@")
}

# The live picture. On a terminal each one replaces the one before.
picture_lines=0
picture()
{
    local text
    text=$(
        printf -- '-- %s\n' "$1"
        pglend pools clinic
        echo
        pglend slots clinic | cut -c 9-
        echo
        fetch /status | awk -v n="$workers" '$1 == "map" {
            printf "%d workers  %s\n            L holds a lease, w waits for one, . neither, x dead\n", n, $2 }'
    )
    if [ -t 1 ] && [ "$picture_lines" -gt 0 ]; then
        printf '\033[%dA\033[J' "$picture_lines"
    fi
    text=$(cut -c 1-79 <<<"$text")
    printf '%s\n\n' "$text"
    picture_lines=$(($(wc -l <<<"$text") + 1))
}

# Leave the last picture standing: the next one goes below it.
keep_picture()
{
    picture_lines=0
}

bring_up()
{
    local i
    stage_open demo
    install -m 644 "$top/tests/demo/load.lua" "$stage"
    install "$build/pglend" "$stage"
    stage_compile server "$top/tests/demo/"{server,board,http,clinic}.c
    stage_postgres log_connections=on log_disconnections=on
    step PostgreSQL "127.0.0.1:$pg_port, as $stage_user"
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    stage_sql -v password="$password" -f "$top/tests/demo/schema.sql" || stage_fail "cannot load schema.sql"
    stage_password clinic "$password"
    write_config
    stage_pglendd run
    pglend check clinic >"$stage/log/check" 2>&1 || stage_fail "pglend check: $(cat "$stage/log/check")"
    step pglendd "$stage/run, pool of $slots"
    stage_start server ./server -w "$workers" -r "$stage/run" clinic
    server=$started
    for ((i = 0; i < 100; i++)); do
        url=$(head -n 1 "$stage/log/server")
        [[ $url != http* ]] || break
        sleep 0.05
    done
    http_port=${url##*:}
    http_port=${http_port%/}
    [ -n "$http_port" ] || stage_fail "the server does not start: $(cat "$stage/log/server")"
    fetch /whoami >"$stage/log/whoami"
    grep -q lease "$stage/log/whoami" || stage_fail "the server does not answer: $(cat "$stage/log/whoami")"
    step server "$url, $workers workers, as $stage_user"
}

# Have a worker write a report that takes a minute, and kill it over that. Sets $killed, $killed_slot, $back_us.
kill_a_worker()
{
    local i at line killed_at
    exec 5<>"/dev/tcp/127.0.0.1/$http_port"
    printf 'GET /report?seconds=60 HTTP/1.1\r\n\r\n' >&5
    while IFS= read -r -t 5 line <&5 && [[ $line != worker* ]]; do :; done
    read -r _ killed _ _ _ killed_lease <<<"$line"
    [[ ${killed-} =~ ^[0-9]+$ ]] || stage_fail "no worker took the report: $line"
    killed_slot=${killed_lease#*/}
    killed_slot=${killed_slot%/*}
    sleep 0.5
    picture "worker $killed holds slot $killed_slot and runs a report of 60 s"
    keep_picture
    killed_at=$EPOCHREALTIME
    kill -KILL "$killed"
    back_us=
    for ((i = 0; i < 50; i++)); do
        at=$(fetch /status | awk -v s="$killed_slot" -v p="$killed" '$1 == "inherited" && $2 == s && $4 == p { print $6 }')
        [ -z "$at" ] || break
        sleep 0.1
    done
    [ -z "$at" ] || back_us=$((at - ${killed_at/[.,]/}))
    exec 5>&-
    picture "worker $killed was killed (SIGKILL)"
    keep_picture
}

run_load()
{
    local load end
    stage_start wrk "$(command -v wrk)" -t 2 -c "$clients" -d "${seconds}s" -s "$stage/load.lua" "$url"
    load=$started
    step load "$clients clients for $seconds s (wrk)"
    echo
    end=$((SECONDS + seconds))
    while ((SECONDS < end - seconds / 2)); do
        sleep 1
        picture "the clinic at work"
    done
    keep_picture
    kill_a_worker
    while ((SECONDS < end - 1)); do
        sleep 1
        picture "the clinic at work, without worker $killed"
    done
    keep_picture
    wait "$load" || stage_fail "wrk failed: $(tail -n 3 "$stage/log/wrk")"
}

# How many sessions the role had, and how many at once, by PostgreSQL's own log: "total most".
count_backends()
{
    awk '/clinic_app LOG:  connection authorized:/ { total++; if (++now > most) most = now }
         /clinic_app LOG:  disconnection:/ { now-- }
         END { print total + 0, most + 0 }' "$pg_log"
}

# One line of the summary, and whether it held: what, value, condition.
held=1
line()
{
    local verdict=ok
    if [ "$3" != - ] && ! (($3)); then
        verdict=FAILED
        held=0
    fi
    [ "$3" != - ] || verdict=
    printf '  %-34s %-34s %s\n' "$1" "$2" "$verdict"
}

summary()
{
    local word value total most alive torn refused whoami
    local -A load=([requests]=0 [status]=-1 [socket]=-1 [p50]=0 [p99]=0)
    while read -r word value; do
        load[$word]=$value
    done < <(sed -n 's/^result //p' "$stage/log/wrk" | xargs -n 2)
    read -r total most <<<"$(count_backends)"
    alive=$(fetch /status | awk '$1 == "worker" { print $4 }' | while read -r word; do
        kill -0 "$word" 2>/dev/null && echo "$word"
    done | wc -l)
    torn=$(stage_sql -At -c "select count(*) from (select id from appointment where id > 108
        except select appointment from journal) t")
    refused=$(grep -c 'too many' "$pg_log")
    whoami=$(fetch /whoami)
    whoami=${whoami#*:}
    segment=$(grep -ho '/dev/shm/pglend[^ ]*' "/proc/${whoami%%,*}/maps" | sort -u)
    echo "Summary"
    line "requests" "${load[requests]}, $((load[requests] / seconds)) a second" "${load[requests]} > 0"
    line "errors" "${load[status]} not 2xx, ${load[socket]} on the socket" \
        "${load[status]} == 0 && ${load[socket]} == 0"
    line "latency p50, p99" "$(awk -v a="${load[p50]}" -v b="${load[p99]}" 'BEGIN {
        printf "%.1f ms, %.1f ms", a / 1000, b / 1000 }')" -
    line "backends used, most at once" "$total, $most" "$most >= 1 && $most <= $slots && ${refused:-1} == 0"
    line "killed worker's slot served again" "${back_us:+$((back_us / 1000)).$((back_us % 1000 / 100)) ms later}" \
        "${back_us:-999999999} <= $slot_back_ms * 1000"
    line "workers alive" "$alive of $workers" "$alive == $workers"
    line "bookings without journal entry" "$torn" "${torn:-1} == 0"
}

finish()
{
    stage_close
    [ -n "$segment" ] && [ ! -e "$segment" ] || leftovers+="${leftovers:+, }${segment:-no segment was mapped}"
    line "everything ended and removed" "${leftovers:-yes}" "$([ -z "$leftovers" ] && echo 1 || echo 0)"
    echo
    ((held)) && echo "It all held." && exit 0
    echo "It did not hold."
    exit 1
}

stay()
{
    cat <<EOF

Left running; ^C ends it. Try:
  curl $url
  curl ${url}whoami
  curl -d '{"patient":"Ada Adler","doctor":1}' ${url}appointments
  $build/pglend --runtime-dir $stage/run slots
  $build/pglend --runtime-dir $stage/run workers
EOF
    trap 'echo; finish' INT TERM
    while kill -0 "$server" 2>/dev/null; do
        sleep 1
    done
    held=0
    echo "demo: the server has ended" >&2
}

echo "pglend demo: $workers workers borrow from a pool of $slots"
command -v wrk >/dev/null || { echo "demo: wrk is missing: apt install wrk" >&2; exit 2; }
bring_up
run_load
summary
[ "${DEMO_KEEP:-0}" != 1 ] || stay
finish
