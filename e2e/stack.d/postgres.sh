# PostgreSQL from the machine's packages: state, lake catalogue and analytics, as three databases of one throw-away cluster.
# shellcheck shell=bash

STACK_POSTGRES_PORT=${STACK_POSTGRES_PORT:-15432}
readonly STACK_POSTGRES_DATABASES=(windlass windlass_lake analytics)

fetch_postgres() { install_packages psql:postgresql; }

postgres_program() { compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1; }

# PostgreSQL refuses to run as root.
as_postgres_owner() {
    if [ "$(id -u)" = 0 ]; then runuser -u nobody -- "$@"; else "$@"; fi
}

start_postgres() {
    local data cluster
    data=$(data_of postgres)
    cluster=$data/cluster
    if [ ! -f "$cluster/PG_VERSION" ]; then
        mkdir -p "$cluster"
        [ "$(id -u)" != 0 ] || chown nobody "$cluster"
        printf %s "$STACK_PASSWORD" >"$data/password"
        chmod 644 "$data/password"
        as_postgres_owner "$(dirname "$(postgres_program)")/initdb" -D "$cluster" -U windlass --pwfile="$data/password" \
            -A scram-sha-256 -E UTF8 --locale=C.UTF-8 >/dev/null
    fi
    # runuser would leave postgres behind when it is ended: setpriv becomes postgres.
    if [ "$(id -u)" = 0 ]; then
        launch postgres setpriv --reuid=nobody --regid=nogroup --clear-groups "$(postgres_program)" -D "$cluster" \
            -p "$STACK_POSTGRES_PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
    else
        launch postgres "$(postgres_program)" -D "$cluster" \
            -p "$STACK_POSTGRES_PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
    fi
}

postgres_sql() { PGPASSWORD=$STACK_PASSWORD psql -qAtX -h 127.0.0.1 -p "$STACK_POSTGRES_PORT" -U windlass -d postgres -c "$1"; }

answers_postgres() {
    postgres_sql 'SELECT 1' >/dev/null 2>&1 || return 1
    local database
    for database in "${STACK_POSTGRES_DATABASES[@]}"; do
        [ -n "$(postgres_sql "SELECT 1 FROM pg_database WHERE datname = '$database'")" ] ||
            postgres_sql "CREATE DATABASE $database" >/dev/null || return 1
    done
}

where_postgres() { echo "127.0.0.1:$STACK_POSTGRES_PORT, user windlass, password $STACK_PASSWORD"; }

environment_postgres() {
    local server=postgres://windlass:$STACK_PASSWORD@127.0.0.1:$STACK_POSTGRES_PORT
    echo "export DATABASE_URL=$server/windlass"
    echo "export WINDLASS_LAKE_DATABASE_URL=$server/windlass_lake"
}
