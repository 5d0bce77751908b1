# Superset from PyPI, with the settings and the dashboard of configs/superset, over the Trino of this stack. By its name only:
# its programs take close to 1 GB. Dashboards read what trino reads, so: e2e/stack up postgres minio trino superset
# shellcheck shell=bash

STACK_SUPERSET_PORT=${STACK_SUPERSET_PORT:-18088}
readonly STACK_SUPERSET_PINS=configs/superset/requirements.txt

superset_home() { program_of superset; }

# The pins have wheels for these versions.
superset_python() {
    local candidate
    for candidate in python3.11 python3.12 python3; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "Superset needs Python 3.11 or 3.12 with venv: install python3-venv, or one of these versions" >&2
    return 1
}

fetch_superset() {
    local home python
    home=$(superset_home)
    # Other pins are another installation.
    cmp -s "$STACK_SUPERSET_PINS" "$home/.complete" && return 0
    python=$(superset_python)
    rm -rf "$home"
    "$python" -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$STACK_SUPERSET_PINS"
    cp "$STACK_SUPERSET_PINS" "$home/.complete"
}

# The first start makes all tables, which takes longer than a component may take to answer: it is waited for here.
start_superset() {
    local data settings
    if ! is_up trino; then
        echo "superset needs trino: e2e/stack up postgres minio trino superset" >&2
        return 1
    fi
    data=$(data_of superset)
    mkdir -p "$data/home"
    settings=(PATH="$(superset_home)/bin:$PATH" SUPERSET_HOME="$data/home" SUPERSET_BIND=127.0.0.1 SUPERSET_PORT="$STACK_SUPERSET_PORT"
        SUPERSET_ADMIN_PASSWORD="$STACK_PASSWORD" SUPERSET_TRINO_URI="trino://superset@127.0.0.1:$STACK_TRINO_PORT/lake")
    env "${settings[@]}" configs/superset/superset.sh init >"$data/init.log" 2>&1 || {
        tail -n 20 "$data/init.log" >&2
        return 1
    }
    launch superset env "${settings[@]}" configs/superset/superset.sh serve
}

answers_superset() { http_answers "http://127.0.0.1:$STACK_SUPERSET_PORT/health"; }

where_superset() { echo "http://127.0.0.1:$STACK_SUPERSET_PORT, user admin, password $STACK_PASSWORD"; }

environment_superset() {
    echo "export SUPERSET_URL=http://127.0.0.1:$STACK_SUPERSET_PORT"
    echo "export SUPERSET_ADMIN_PASSWORD=$STACK_PASSWORD"
}
