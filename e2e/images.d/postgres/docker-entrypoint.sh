#!/bin/bash
# What compose.yaml relies on in the official image: user, password and database from the environment, scripts run once.
set -euo pipefail
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    # On its socket only, so that nobody takes the unfinished server for the real one.
    pg_ctl --wait --options="-c listen_addresses=''" start
    [ "${POSTGRES_DB:-postgres}" = postgres ] || createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
            *.sql) psql -v ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="${POSTGRES_DB:-postgres}" --file="$script" ;;
        esac
    done
    pg_ctl --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
