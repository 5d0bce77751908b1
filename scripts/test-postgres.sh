# A private PostgreSQL for tests, in a temporary directory. Sourced by test.sh and prepare-sql.sh.
# shellcheck shell=bash

test_postgres_dir=''

# initdb and postgres refuse to run as root.
as_postgres_user() {
    if [ "$(id -u)" = 0 ]; then runuser -u nobody -- "$@"; else "$@"; fi
}

postgres_bin() {
    local newest
    newest=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1 || true)
    [ -n "$newest" ] && echo "$newest" || dirname "$(command -v initdb)"
}

start_test_postgres() {
    [ -z "${WINDLASS_TEST_DATABASE_URL:-}" ] || return 0
    local bin port
    bin=$(postgres_bin)
    test_postgres_dir=$(mktemp -d /tmp/windlass-test-pg.XXXXXX)
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    if [ "$(id -u)" = 0 ]; then chown nobody "$test_postgres_dir"; fi
    as_postgres_user "$bin/initdb" -D "$test_postgres_dir/data" -U windlass --auth=trust -E UTF8 >/dev/null
    # Tests lose nothing by a crash of the machine, so their server does not wait for the disk.
    as_postgres_user "$bin/pg_ctl" -D "$test_postgres_dir/data" -l "$test_postgres_dir/log" -w -s \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$test_postgres_dir -c max_connections=600 -c fsync=off" start
    export WINDLASS_TEST_DATABASE_URL="postgres://windlass@127.0.0.1:$port/postgres"
}

stop_test_postgres() {
    [ -n "$test_postgres_dir" ] || return 0
    as_postgres_user "$(postgres_bin)/pg_ctl" -D "$test_postgres_dir/data" -m immediate -s stop || true
    rm -rf "$test_postgres_dir"
    test_postgres_dir=''
}
