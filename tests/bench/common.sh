# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# common.sh - what run.sh and versus.sh share: configurations, an encrypted server, PgBouncer, and how figures are kept.
# Sourced; adds to demo/stage.sh. Figures are lines "NAME VALUE" in $stage/figures.

. "$(dirname "${BASH_SOURCE[0]}")/../demo/stage.sh"

export PGGSSENCMODE=disable # else who connects over TCP asks PostgreSQL, or PgBouncer, for GSS first

# The head of each configuration: NAME [USER GROUP].
head_of()
{
    cat <<EOF
  "runtime_dir": "$stage/$1",
  "user": "${2:-$stage_user}", "group": "${3:-$stage_group}",
  "admin": { "read": { "users": ["root", "$(id -un)"] } },
  "defaults": { "access": { "users": ["root", "$stage_user"] } },
EOF
}

# A pool: NAME SIZE RESET GUARD [AUTHORITY: encrypted, and verified with that file] [ISOLATION] [MORE]. Over TCP, where
# $host does not name the directory of a socket.
pool()
{
    local tls=
    [ -z "${5-}" ] || tls=", \"sslmode\": \"verify-full\", \"sslrootcert\": \"$5\""
    cat <<EOF
    "$1": {
      "database": { "host": "${host:-127.0.0.1}", "port": $pg_port, "dbname": "postgres", "user": "postgres",
                    "password_file": "$stage/bench.password"$tls },
      "size": { "min": $2, "max": $2 }, "reset": "$3", "guard": $4, "certificate_warn": "0s",
      "isolation": "${6:-shared}"${7-}
    }
EOF
}

# The server has a certificate of its own making from now on, and speaks TLS to whoever asks for it.
encrypt()
{
    local data=$stage/postgres/data
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=bench -addext subjectAltName=IP:127.0.0.1 \
        -keyout "$stage/server.key" -out "$stage/server.crt" 2>"$stage/log/openssl" ||
        stage_fail "openssl: $(tail -n 1 "$stage/log/openssl")"
    chmod 644 "$stage/server.crt"
    install -m 644 "$stage/server.crt" "$data/server.crt"
    install -m 600 "$stage/server.key" "$data/server.key"
    [ "$(id -u)" != 0 ] || chown "$stage_user:$stage_group" "$data/server.crt" "$data/server.key"
    stage_sql <<<"alter system set ssl = on; select pg_reload_conf()" >/dev/null || stage_fail "cannot set ssl = on"
    sleep 0.5
}

# PgBouncer before the server: NAME POOL_MODE CLIENTS SIZE [AUTHORITY: encrypted towards the server, and verified with
# that file]. Where it is installed; $started is its pid then, its Unix socket is in $stage/NAME, its port $bouncer_port.
start_bouncer()
{
    local directory=$stage/$1 i
    mkdir -m 755 "$directory"
    printf '"postgres" "%s"\n' "$PGPASSWORD" >"$directory/users"
    bouncer_port=$(stage_free_port)
    cat >"$directory/ini" <<EOF
[databases]
postgres = host=127.0.0.1 port=$pg_port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir = $directory
auth_type = trust
auth_file = $directory/users
pool_mode = $2
max_client_conn = $3
default_pool_size = $4
log_connections = 0
log_disconnections = 0
server_tls_sslmode = disable
EOF
    if [ -n "${5-}" ]; then
        sed -i 's/^server_tls_sslmode = .*/server_tls_sslmode = verify-full/' "$directory/ini"
        echo "server_tls_ca_file = $5" >>"$directory/ini"
    fi
    [ "$(id -u)" != 0 ] || chown -R "$stage_user:$stage_group" "$directory"
    stage_start "$1" pgbouncer "$directory/ini"
    for ((i = 0; i < 100; i++)); do
        [ -S "$directory/.s.PGSQL.$bouncer_port" ] && return
        sleep 0.05
    done
    stage_fail "PgBouncer does not start: $(tail -n 3 "$stage/log/$1")"
}

# Wait until all slots of POOL are connected.
await_idle()
{
    local i
    for ((i = 0; i < 300; i++)); do
        "$build/pglend" pools "$1" | awk 'NR > 1 { exit !($4 == $3 && $5 == $3) }' && return
        sleep 0.1
    done
    stage_fail "pool $1 does not connect: $("$build/pglend" pools "$1" | tail -n 1)"
}

# Run PROGRAM with ARGUMENTS and keep its figures.
measure()
{
    progress "measuring: $*"
    (cd "$stage" && stage_as "./$@") >>"$stage/figures" 2>"$stage/log/$1" ||
        stage_fail "$1: $(tail -n 3 "$stage/log/$1")"
}

progress()
{
    [ ! -t 2 ] || printf '\r\033[K%s' "$1" >&2
}


# WORKERS that have borrowed from POOL and idle now, until end_herd.
start_herd()
{
    local i
    rm -f "$stage/end"
    mkfifo "$stage/end"
    stage_start herd bash -c "exec ./herd $1 $2 <end"
    herd=$started
    exec 6>"$stage/end"
    for ((i = 0; i < 1200; i++)); do
        grep -q attached "$stage/log/herd" && return
        kill -0 "$herd" 2>/dev/null || break
        sleep 0.1
    done
    stage_fail "herd: $(tail -n 3 "$stage/log/herd")"
}

end_herd()
{
    exec 6>&-
    stage_await 100 "$herd"
}

supervisor_pid()
{
    "$build/pglend" --json status | tr -d ' \n' | grep -o '"pid":[0-9]*' | head -n 1 | tr -dc 0-9
}
