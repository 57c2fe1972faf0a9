# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# stage.sh - a private PostgreSQL and a private pglendd, for the demo and the benchmarks; sourced by their run.sh.
#
# All of it lives below one temporary directory and ends with the script that sourced it, however that one ends:
# stage_close runs on exit and on signals, asks every process that was started to end, and kills what has not after a
# few seconds. Root is dropped for PostgreSQL and whatever is started by stage_as; pglendd drops it by itself.
#
#   stage_open NAME               make the directory; sets $stage, $stage_user
#   stage_compile PROGRAM FILE…   build $stage/PROGRAM against libpglend
#   stage_postgres [SETTING…]     start PostgreSQL; sets $pg_port, $PGPASSWORD (role postgres), $pg_log
#   stage_sql ARGUMENT…           psql as superuser
#   stage_pglendd NAME            start pglendd on $stage/NAME.json with runtime directory $stage/NAME
#   stage_start LOG COMMAND…      start COMMAND unprivileged in the background; sets $started
#   stage_close                   end everything, remove the directory; sets $leftovers ("" if it all went)

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${PGLEND_BUILD:-$top/build}
stage=
stage_pids=()
leftovers=

stage_fail()
{
    printf '%s: %s\n' "$stage_name" "$*" >&2
    exit 1
}

stage_open()
{
    stage_name=$1
    trap stage_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    for program in "$build/pglendd" "$build/pglend" "$build/libpglend.a"; do
        [ -e "$program" ] || stage_fail "$program is missing: run make first"
    done
    pg_bin=$(stage_find_postgres) || stage_fail "no initdb found: install postgresql, or put its bin directory in PATH"
    stage_user=$(id -un)
    if [ "$(id -u)" = 0 ]; then
        stage_user=postgres
        id -u postgres >/dev/null 2>&1 || stage_user=nobody
    fi
    stage_group=$(id -gn "$stage_user")
    stage=$(mktemp -d "${TMPDIR:-/tmp}/pglend-$stage_name.XXXXXX")
    chmod 711 "$stage"
    mkdir -m 700 "$stage/postgres"
    mkdir -m 755 "$stage/log"
    [ "$(id -u)" != 0 ] || chown "$stage_user:$stage_group" "$stage/postgres" "$stage/log"
}

# The newest installed PostgreSQL, else what PATH has.
stage_find_postgres()
{
    local initdb
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || initdb=$(command -v initdb) || return 1
    dirname "$initdb"
}

# Replace this (sub)shell by COMMAND, without root.
stage_as()
{
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid="$stage_user" --regid="$stage_group" --init-groups --no-new-privs "$@"
    fi
    exec "$@"
}

stage_start()
{
    local log=$1
    shift
    (cd "$stage" && stage_as "$@") >"$stage/log/$log" 2>&1 &
    started=$!
    stage_pids+=("$started")
}

stage_compile()
{
    local program=$1
    shift
    ${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O2 -g ${SANITIZE:+"-fsanitize=$SANITIZE"} -I"$top/include" \
        -I"$(pg_config --includedir)" -o "$stage/$program" "$@" "$build/libpglend.a" -L"$(pg_config --libdir)" \
        -lpq -pthread ||
        stage_fail "cannot compile $program"
    chmod 755 "$stage/$program"
}

# A port of 127.0.0.1 on which nobody answers, below the range that the kernel gives to clients.
stage_free_port()
{
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

stage_postgres()
{
    local data=$stage/postgres/data try
    PGPASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    export PGPASSWORD
    pg_log=$stage/postgres/log
    (cd "$stage" && stage_as "$pg_bin/initdb" -D "$data" -U postgres --no-sync --auth-local=trust \
        --auth-host=scram-sha-256 --encoding=UTF8 --locale=C) >"$stage/log/initdb" 2>&1 ||
        stage_fail "initdb failed: $(tail -n 3 "$stage/log/initdb")"
    for try in 1 2 3 4 5; do
        pg_port=$(stage_free_port)
        (cd "$stage" && stage_as "$pg_bin/pg_ctl" -D "$data" -l "$pg_log" -w -t 30 -o "-p $pg_port" \
            -o "-c listen_addresses=127.0.0.1 -c unix_socket_directories=$stage/postgres -c fsync=off" \
            -o "-c log_line_prefix='%m %p %u ' ${*/#/-c }" start) >"$stage/log/pg_ctl" 2>&1 && break
        [ "$try" != 5 ] || stage_fail "PostgreSQL does not start: $(tail -n 3 "$pg_log")"
    done
    stage_pids+=("$(head -n 1 "$data/postmaster.pid")")
    stage_sql <<<"alter role postgres password '$PGPASSWORD'" || stage_fail "cannot set the superuser's password"
}

stage_sql()
{
    "$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$stage/postgres" -p "$pg_port" -U postgres "$@"
}

# PASSWORD into the file $stage/NAME.password, which only the owner can read.
stage_password()
{
    (umask 077 && printf '%s\n' "$2" >"$stage/$1.password")
}

stage_pglendd()
{
    local name=$1 i
    "$build/pglendd" -c "$stage/$name.json" --foreground >"$stage/log/$name" 2>&1 &
    pglendd=$!
    stage_pids+=("$pglendd")
    for ((i = 0; i < 200; i++)); do
        "$build/pglend" --runtime-dir "$stage/$name" status >/dev/null 2>&1 && return
        kill -0 "$pglendd" 2>/dev/null || break
        sleep 0.05
    done
    stage_fail "pglendd does not start: $(tail -n 5 "$stage/log/$name")"
}

# PID and its descendants.
stage_family()
{
    local child
    echo "$1"
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do
        stage_family "$child"
    done
}

# Wait until none of PIDS is left, for TENTHS of a second at most.
stage_await()
{
    local tenths=$1 pid i
    shift
    for ((i = 0; i < tenths; i++)); do
        for pid; do
            kill -0 "$pid" 2>/dev/null && sleep 0.1 && continue 2
        done
        return 0
    done
    return 1
}

# In reverse order: what was started last depends on the rest. SIGINT is PostgreSQL's fast shutdown.
stage_close()
{
    local i pid name family
    trap '' INT TERM HUP
    trap - EXIT
    [ -n "$stage" ] || return 0
    for ((i = ${#stage_pids[@]} - 1; i >= 0; i--)); do
        pid=${stage_pids[i]}
        kill -0 "$pid" 2>/dev/null || continue
        name=$(cat "/proc/$pid/comm" 2>/dev/null)
        mapfile -t family < <(stage_family "$pid")
        if [ "$name" = postgres ]; then kill -INT "$pid"; else kill -TERM "$pid"; fi 2>/dev/null
        stage_await 50 "${family[@]}" && continue
        leftovers+="${leftovers:+, }$name did not end in 5 s"
        kill -KILL "${family[@]}" 2>/dev/null
        stage_await 20 "${family[@]}"
    done
    rm -rf "$stage"
    stage=
}
