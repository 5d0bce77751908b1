#!/usr/bin/env bash
# Builds and tests Windlass: installs what is missing, checks format and lints, runs every test.
#   ./test.sh          everything that needs no other system than PostgreSQL and Chromium
#   ./test.sh --full   that, then what needs Kafka, Docker, Trino and long runs
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

# Runs a command for so many seconds at most, with all that it has started. It has a process group of its own, which Ctrl-C at the
# terminal does not reach: so it is handed on.
bounded() {
    local status=0 running
    set -m
    timeout --kill-after=30 "$@" &
    running=$!
    set +m
    # shellcheck disable=SC2064
    trap "kill $running 2>/dev/null || true; wait $running || true; exit 130" INT
    wait "$running" || status=$?
    trap 'exit 130' INT
    return "$status"
}
trap 'exit 130' INT

install_packages "${BUILD_PACKAGES[@]}" chromium:chromium chromedriver:chromium-driver
python3 -c 'import ensurepip' 2>/dev/null || { as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv >/dev/null; }
require_rust

step "formatting"
cargo fmt --all --check
step "building the programs and the tests, dev profile (the long part of a cold start)"
cargo test --workspace --all-targets --locked --no-run
step "lints"
cargo clippy --workspace --all-targets --locked --quiet -- --deny warnings

start_test_postgres
trap stop_test_postgres EXIT
step "tests"
# They take some twelve minutes on two cores; much more than that is a hang.
cargo test --workspace --all-targets --locked --no-run --quiet --message-format=json |
    bounded 2700 python3 scripts/run-tests.py

# What the first run of a group ended with, when this is its second; set by `group`.
first_status=0

# Leaves a group whose parts can not be had on this machine, which fails the full set; CI says so and goes on. A group that has
# failed once and can not be run again has failed.
leave_out() {
    [ "$mode" = --ci ] || exit 1
    step "skipped: $*"
    exit "$first_status"
}

# The real parts of a group of tests.
stack_up() {
    within_group e2e/stack up "$@" || leave_out "the stack's $* can not be started here"
}

# CI leaves out a group that may not fit into its time: room_for MINUTES, with what a machine has to fetch that has nothing yet.
# Whether it fits is decided here, before it begins. A group that has begun and takes twice as long hangs, and that is a failure.
room_for() {
    group_ends=$((SECONDS + 2 * $1 * 60))
    [ "$mode" = --ci ] || return 0
    # CI itself ends a run a quarter of an hour after the deadline.
    [ "$group_ends" -le $((deadline + 600)) ] || group_ends=$((deadline + 600))
    [ $((deadline - SECONDS)) -ge $(($1 * 60)) ] && return
    leave_out "it may take $1 minutes, and fewer are left"
}

# Runs a part of a group within the group's time.
within_group() {
    local status=0
    bounded $((group_ends > SECONDS ? group_ends - SECONDS : 1)) "$@" || status=$?
    [ "$status" != 124 ] && [ "$status" != 137 ] || step "FAILED: this hangs: it had twice the time that it takes: $*" >&2
    return "$status"
}

# Filters choose the tests; the packages stay the same, so that nothing is built anew.
some_tests() { within_group cargo test --workspace --locked --test it -- "$@"; }

# Each group has a shell of its own: the stack's settings are for its tests only.
kafka_tests() (
    step "the full set: the event log, streams and operators on a real Kafka"
    room_for 5
    trap 'e2e/stack down --volumes kafka' EXIT
    stack_up kafka
    export KAFKA_BOOTSTRAP_SERVERS_TEST=127.0.0.1:${STACK_KAFKA_PORT:-19092}
    export KAFKA_TLS_SERVERS_TEST=127.0.0.1:${STACK_KAFKA_TLS_PORT:-$((${STACK_KAFKA_PORT:-19092} + 2))}
    export KAFKA_TLS_CA_TEST=${STACK_DIR:-$PWD/.stack}/data/kafka/ca.pem
    some_tests event_log kafka && some_tests --ignored a_broker_killed
)

long_tests() (
    step "the full set: kills again and again"
    room_for 12
    some_tests --ignored again_and_again
)

schemathesis_tests() (
    step "the full set: requests of every kind to every operation of the REST API"
    room_for 5
    some_tests --ignored every_request
)

identity_tests() (
    step "the full set: logins by a real OpenID provider"
    room_for 3
    install_packages node:nodejs npm:npm || leave_out "Debian's Node.js can not be installed here"
    node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' ||
        leave_out "the provider needs Node.js 20 or later, and this is $(node --version)"
    some_tests --ignored people_of_a_real_provider
)

docker_tests() (
    step "the full set: containers on a real Docker engine"
    room_for 4
    trap 'e2e/stack down --volumes docker' EXIT
    stack_up docker
    eval "$(e2e/stack env)"
    some_tests docker
)

monitoring_tests() (
    step "the full set: every query of every dashboard on a real Prometheus"
    room_for 6
    install_packages prometheus:prometheus || leave_out "Debian's prometheus can not be installed here"
    trap 'e2e/stack down --volumes kafka' EXIT
    stack_up kafka
    export KAFKA_BOOTSTRAP_SERVERS_TEST=127.0.0.1:${STACK_KAFKA_PORT:-19092}
    some_tests monitoring
)

trino_tests() (
    step "the full set: SQL on a real Trino, the same models on both engines"
    room_for 10
    trap 'e2e/stack down --volumes trino minio postgres' EXIT
    stack_up postgres minio trino
    eval "$(e2e/stack env)"
    export TRINO_URL_TEST=trino://test@127.0.0.1:${STACK_TRINO_PORT:-18080}/memory/default
    export TRINO_TLS_URL_TEST=trino://windlass:windlass-trino@127.0.0.1:${STACK_TRINO_TLS_PORT:-18443}/memory
    export TRINO_TLS_PEM_TEST=${STACK_DIR:-$PWD/.stack}/data/trino/tls.pem
    export WINDLASS_E2E_TRINO_URL=trino://test@127.0.0.1:${STACK_TRINO_PORT:-18080}/lake
    some_tests trino engines
)

stack_kill_tests() (
    step "the full set: each of the real components killed during a run"
    room_for 20
    trap 'e2e/stack down --volumes kafka trino minio postgres' EXIT
    stack_up postgres kafka minio trino
    eval "$(e2e/stack env)"
    export WINDLASS_E2E_TRINO_URL=trino://test@127.0.0.1:${STACK_TRINO_PORT:-18080}/lake WINDLASS_E2E_STACK_KILLS=1
    some_tests stack_kills
)

s3_tests() (
    step "the full set: logs on a real S3 service"
    room_for 8
    trap 'e2e/stack down --volumes minio postgres' EXIT
    stack_up postgres minio
    eval "$(e2e/stack env)"
    export WINDLASS_TEST_S3=s3://logs/test
    some_tests shipping lake::s3
)

superset_check() { within_group python3 "e2e/python/superset_$1.py"; }

superset_tests() (
    step "the full set: every chart of Superset's dashboard, by its API and in a browser"
    room_for 16
    trap 'e2e/stack down --volumes superset trino minio postgres' EXIT
    stack_up postgres minio trino superset
    eval "$(e2e/stack env)"
    export TRINO=http://127.0.0.1:${STACK_TRINO_PORT:-18080}
    # Without the note of what was imported, the next start imports again, and must double nothing.
    superset_check charts && superset_check dashboard &&
        e2e/stack down superset && rm "${STACK_DIR:-.stack}/data/superset/home/assets.sha256" && e2e/stack up superset &&
        superset_check charts
)

# The images are built from the real components and kept; see e2e/images.
compose_tests() (
    step "the full set: docker compose up"
    room_for 35
    trap 'e2e/stack down docker' EXIT
    export STACK_DOCKER_NETWORK=machine
    stack_up docker
    eval "$(e2e/stack env)"
    export WINDLASS_E2E_COMPOSE=1
    within_group e2e/images && within_group e2e/images windlass --programs target/debug && some_tests compose
)

# Real systems may be late on the machine that CI has: a group that failed there is run once more, and both outcomes are in the log.
group() {
    local status=0
    first_status=0
    "$1" || status=$?
    if [ "$status" != 0 ] && [ "$mode" = --ci ]; then
        step "$1 failed with status $status; once more"
        first_status=$status
        status=0
        "$1" || status=$?
    fi
    return "$status"
}

full_tests() {
    deadline=$((SECONDS + $1))
    local name
    for name in kafka long identity docker s3 monitoring trino superset stack_kill compose schemathesis; do
        group "${name}_tests" || return
    done
}

case "$mode" in
    '') ;;
    --full) full_tests 7200 ;;
    --ci)
        left=$((ci_seconds_max - SECONDS))
        if [ "$left" -lt 300 ]; then
            step "no time left for the full set"
        else
            full_tests "$left"
        fi
        ;;
esac
step "done"
