#!/usr/bin/env bash
# Builds and tests Windlass: installs what is missing, checks format and lints, runs every test.
#   ./test.sh          everything that needs no other system than PostgreSQL and Chromium
#   ./test.sh --full   that, then what needs Kafka, Trino and long runs
#   ./test.sh --ci     that, and as much of the full set as fits into 75 minutes in all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/test-postgres.sh
. scripts/test-postgres.sh

readonly ci_seconds_max=$((75 * 60))
mode=${1:-}
case "$mode" in
    '' | --full | --ci) ;;
    *) echo "usage: ./test.sh [--full | --ci]" >&2; exit 2 ;;
esac

step() { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }

install_packages "${BUILD_PACKAGES[@]}" chromium:chromium chromedriver:chromium-driver
python3 -c 'import ensurepip' 2>/dev/null || { as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv >/dev/null; }
require_rust

step "formatting"
cargo fmt --all --check
step "building the programs and the tests, release profile (the long part of a cold start)"
cargo test --workspace --all-targets --release --locked --no-run
step "lints"
cargo clippy --workspace --all-targets --release --locked --quiet -- --deny warnings

start_test_postgres
trap stop_test_postgres EXIT
step "tests"
cargo test --workspace --all-targets --release --locked --no-fail-fast

# In a shell of its own: the stack's settings are for these tests only.
trino_tests() (
    step "the full set: SQL on a real Trino, the same models on both engines"
    trap 'e2e/stack down --volumes trino minio postgres' EXIT
    e2e/stack up postgres minio trino || exit
    eval "$(e2e/stack env)"
    export TRINO_URL_TEST=trino://test@127.0.0.1:${STACK_TRINO_PORT:-18080}/memory/default
    export WINDLASS_E2E_TRINO_URL=trino://test@127.0.0.1:${STACK_TRINO_PORT:-18080}/lake
    timeout $(($1 - SECONDS)) cargo test --workspace --release --locked --test it -- trino
)

# Filters choose the tests; the packages stay the same, so that nothing is built anew.
full_tests() {
    local deadline=$((SECONDS + $1))
    step "the full set: the event log on a real Kafka, then kills again and again"
    e2e/stack up kafka || return
    trap 'e2e/stack down --volumes kafka; stop_test_postgres' EXIT
    export KAFKA_BOOTSTRAP_SERVERS_TEST=127.0.0.1:${STACK_KAFKA_PORT:-19092}
    timeout $((deadline - SECONDS)) cargo test --workspace --release --locked --test it -- event_log || return
    trino_tests "$deadline" || return
    timeout $((deadline - SECONDS)) cargo test --workspace --release --locked --test it -- --ignored again_and_again
}

case "$mode" in
    '') ;;
    --full) full_tests 7200 ;;
    --ci)
        left=$((ci_seconds_max - SECONDS))
        if [ "$left" -lt 300 ]; then
            step "no time left for the full set"
        else
            status=0
            full_tests "$left" || status=$?
            # 124 is the time limit: what did not fit is not a failure.
            [ "$status" = 0 ] || [ "$status" = 124 ] || exit "$status"
        fi
        ;;
esac
step "done"
