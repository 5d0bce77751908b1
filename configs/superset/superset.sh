#!/bin/sh
# Starts Superset: in the container, where compose.yaml runs it, and without Docker, where e2e/stack does.
#   superset.sh        prepares, then serves
#   superset.sh init   prepares only: drivers, key, tables, admin, dashboards. Changes nothing where all is there
#   superset.sh serve  serves only
# Needs `python` and `gunicorn` of a Superset on PATH, and SUPERSET_HOME, which must stay.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${SUPERSET_HOME:?names the directory of keys and data}"
# Keys, passwords and sessions: for this user only.
umask 077
export SUPERSET_CONFIG_PATH="$here/superset_config.py" FLASK_APP='superset.app:create_app()' SCARF_ANALYTICS=false

# The image has no driver for Trino. It is kept beside the data, so that only the first start needs the network.
add_drivers() {
    PYTHONPATH="${PYTHONPATH:-}:$SUPERSET_HOME/drivers" python -c 'import psycopg2, trino' 2>/dev/null && return 0
    echo 'installing the drivers of Trino and PostgreSQL'
    if command -v uv >/dev/null; then
        uv pip install --quiet --no-cache --no-deps --python "$(command -v python)" --target "$SUPERSET_HOME/drivers" -r "$here/drivers.txt"
    else
        python -m pip install --quiet --no-cache-dir --no-deps --upgrade --target "$SUPERSET_HOME/drivers" -r "$here/drivers.txt"
    fi
}

make_key() {
    [ -z "${SUPERSET_SECRET_KEY:-}" ] && [ ! -s "$SUPERSET_HOME/secret_key" ] || return 0
    head -c 48 /dev/urandom | base64 | tr -d '\n' >"$SUPERSET_HOME/secret_key"
}

prepare() {
    add_drivers
    make_key
    python "$here/init.py"
}

# Charts wait for Trino most of the time: threads of one process serve them, in a third of the memory of processes.
serve() {
    exec gunicorn --bind "${SUPERSET_BIND:-0.0.0.0}:${SUPERSET_PORT:-8088}" --worker-class gthread --workers 1 \
        --threads 16 --timeout 120 --access-logfile - "$FLASK_APP"
}

case "${1:-}" in
    '') prepare; serve ;;
    init) prepare ;;
    serve) serve ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
