#!/usr/bin/env bash
# Runs Windlass and its main pipeline: installs what is missing, builds, starts `windlass standalone`, runs
# stock_data_pipeline to its end and shows the result.
#   ./run.sh          leaves everything running, with the UI on http://127.0.0.1:8083, until Ctrl-C
#   ./run.sh --once   ends when the run has ended: status 0 after success, else the reason and status 1
# An archive of scripts/release.sh for this machine in dist/ that was made of these sources is used instead of compiling.
# Settings are environment variables; .env.example lists them, and a file .env is read when there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

once=no
case "${1:-}" in
    '') ;;
    --once) once=yes ;;
    *) echo "usage: ./run.sh [--once]" >&2; exit 2 ;;
esac

read_dotenv() {
    [ -f .env ] || return 0
    local name value
    while IFS='=' read -r name value; do
        [[ "$name" =~ ^[A-Z_][A-Z0-9_]*$ ]] || continue
        # What is set already wins over the file.
        [ -n "${!name+x}" ] || export "$name=$value"
    done < .env
}

read_dotenv
export WINDLASS_HOME=${WINDLASS_HOME:-$PWD/.windlass}
export WINDLASS_DAGS_FOLDER=${WINDLASS_DAGS_FOLDER:-$PWD/dags}
export WINDLASS_PORT=${WINDLASS_PORT:-8083}
readonly dag=stock_data_pipeline
# Programs are started from a folder named by what they are: what a running server is made of is never replaced under it.
programs=''
windlass=''
server=''

stop_server() {
    [ -n "$server" ] || return 0
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=''
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

server_must_live() {
    kill -0 "$server" 2>/dev/null && return 0
    local status=0
    wait "$server" || status=$?
    server=''
    echo "windlass standalone has ended with status $status; its log is $log" >&2
    tail -n 15 "$log" >&2
    exit 1
}

start_server() {
    mkdir -p "$WINDLASS_HOME"
    log=$WINDLASS_HOME/standalone.log
    "$windlass" check-settings || exit $?
    echo "==> Starting windlass standalone (log: $log)"
    "$windlass" standalone >>"$log" 2>&1 &
    server=$!
    until "$windlass" health --quiet; do
        server_must_live
        sleep 0.2
    done
    echo "==> The UI is up: http://127.0.0.1:$WINDLASS_PORT  (login airflow / airflow)"
}

show_result() {
    echo
    echo "==> The first rows of lake.gold.stock_daily"
    "$windlass" lake query "SELECT symbol, trade_date, open, high, low, close, volume, trade_count FROM gold.stock_daily ORDER BY symbol, trade_date LIMIT 5"
    echo "==> Rows of each layer"
    "$windlass" lake tables
    echo
    echo "==> UI: http://127.0.0.1:$WINDLASS_PORT/dags/$dag   login: airflow / airflow"
}

# Makes a folder of programs out of those that lie in folder $1, named by all of them. `windlass-tasks` may follow later.
use_programs() {
    local parts=("$1/windlass")
    [ ! -x "$1/windlass-tasks" ] || parts+=("$1/windlass-tasks")
    programs=$WINDLASS_HOME/programs/$(sha256sum "${parts[@]}" | cut -c1-64 | sha256sum | cut -c1-16)
    windlass=$programs/windlass
    mkdir -p "$programs"
    put_program "$1" windlass
    [ ! -x "$1/windlass-tasks" ] || put_program "$1" windlass-tasks
    # Older ones go, but for the newest three: an earlier server's worker may still run from one.
    find "$WINDLASS_HOME/programs" -mindepth 1 -maxdepth 1 -type d ! -path "$programs" -printf '%T@ %p\n' |
        sort -rn | tail -n +4 | cut -d' ' -f2- | while read -r old; do rm -rf "$old"; done
}

# A copy appears whole or not at all.
put_program() {
    cmp -s "$1/$2" "$programs/$2" && return
    cp "$1/$2" "$programs/$2.new"
    mv -f "$programs/$2.new" "$programs/$2"
}

# Whether the archive of this version is there and was made of these sources: older programs would be worse than waiting.
archive_fits() {
    local archive made_of
    archive=dist/$(archive_name).tar.gz
    [ -f "$archive" ] || return 1
    made_of=$(tar -xzOf "$archive" "$(archive_name)/SOURCES" 2>/dev/null || true)
    [ "$made_of" != "$(sources_hash)" ] || return 0
    echo "==> $archive was made of other sources than these, so it is not used"
    return 1
}

# Unpacks the archive of this version; fails when its checksum is wrong.
unpack_archive() {
    local name
    name=$(archive_name)
    (cd dist && sha256sum --check --quiet --strict "$name.tar.gz.sha256") || {
        echo "dist/$name.tar.gz is not what its checksum says; remove it, or get both files again" >&2
        exit 1
    }
    mkdir -p "$WINDLASS_HOME/archive"
    tar -C "$WINDLASS_HOME/archive" --no-same-owner -xzf "dist/$name.tar.gz"
    echo "==> Using the programs of dist/$name.tar.gz"
    use_programs "$WINDLASS_HOME/archive/$name"
}

mkdir -p "$WINDLASS_HOME"
if archive_fits; then
    install_packages "${RUN_PACKAGES[@]}"
    unpack_archive
    start_server
else
    install_packages "${BUILD_PACKAGES[@]}"
    require_rust
    if [ ! -x target/release/windlass-tasks ]; then
        echo "==> First build, stage 1 of 2: the scheduler and its UI (a few minutes on two cores)"
        cargo build --release --locked -p windlass
        use_programs target/release
        start_server
        echo "==> First build, stage 2 of 2: the streaming workers and the lake (Iceberg, Delta, DataFusion: the long part)"
        cargo build --release --locked -p windlass-tasks
        put_program target/release windlass-tasks
    else
        cargo build --release --locked -p windlass -p windlass-tasks
        use_programs target/release
        start_server
    fi
fi
server_must_live

"$windlass" dags unpause "$dag"
status=0
"$windlass" dags trigger "$dag" --wait || status=$?
[ "$status" = 0 ] && show_result
if [ "$once" = yes ]; then
    stop_server
    exit "$status"
fi
echo "==> Windlass goes on; Ctrl-C stops it."
wait "$server"
