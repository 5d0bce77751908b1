#!/usr/bin/env bash
# Renews .sqlx, the metadata that queries are checked against when no database is there.
#
# Usage: scripts/prepare-sql.sh [package ...]      (default: windlass-store)
# Takes the server from WINDLASS_TEST_DATABASE_URL (any database of it; a scratch one is made and dropped), or starts a
# private one from the installed PostgreSQL binaries for as long as it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=("${@:-windlass-store}")
work=$(mktemp -d)
server=${WINDLASS_TEST_DATABASE_URL:-}
run_as=()

stop() {
    if [[ -d $work/data ]]; then "${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null || true; fi
    rm -rf "$work"
}
trap stop EXIT

if [[ -z $server ]]; then
    bin=$(dirname "$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb | sort -V | tail -1)")
    if [[ $(id -u) == 0 ]]; then run_as=(runuser -u nobody --); chown nobody "$work"; fi
    "${run_as[@]}" "$bin/initdb" -D "$work/data" -U windlass -A trust --no-sync >/dev/null
    "${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -w -l "$work/log" \
        -o "-c listen_addresses='' -c fsync=off -k $work" start >/dev/null
    server="postgres://windlass@localhost/postgres?host=$work"
fi

scratch="prepare_sql_$$"
psql -qX "$server" -c "CREATE DATABASE $scratch"
url=$(sed -E "s#^(postgres(ql)?://[^/]*/)[^?]*#\1$scratch#" <<<"$server")
for migration in scheduler/store/migrations/*.sql; do
    psql -qX "$url" -v ON_ERROR_STOP=1 -1 -f "$migration"
done

status=0
mkdir -p "$work/sqlx"
for package in "${packages[@]}"; do
    # The macros write as they are compiled, so the package itself has to be compiled anew.
    touch scheduler/store/src/lib.rs
    DATABASE_URL=$url SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$work/sqlx \
        cargo check ${CARGO_FLAGS:-} -p "$package" || status=$?
done
psql -qX "$server" -c "DROP DATABASE $scratch"
if [[ $status == 0 ]]; then
    # Replaced as a whole and only when complete: other builds read it meanwhile.
    mkdir -p .sqlx
    cp "$work"/sqlx/query-*.json .sqlx/
    for old in .sqlx/query-*.json; do [[ -e $work/sqlx/${old##*/} ]] || rm "$old"; done
fi
exit $status
