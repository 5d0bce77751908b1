# What every component of the stack shares: where it lies, how it is started, awaited and stopped. Sourced by e2e/stack.
# shellcheck shell=bash

STACK_DIR=${STACK_DIR:-$PWD/.stack}
mkdir -p "$STACK_DIR"
STACK_DIR=$(cd "$STACK_DIR" && pwd)

# Of every component, on loopback. Not a word that occurs elsewhere: Windlass masks passwords in its logs.
readonly STACK_PASSWORD=stack-password

# Programs are kept apart from data, so that `down --volumes` needs no new fetch.
program_of() { echo "$STACK_DIR/programs/$1"; }
data_of() { echo "$STACK_DIR/data/$1"; }
pid_of() { cat "$(data_of "$1")/pid" 2>/dev/null; }

is_up() {
    local pid
    pid=$(pid_of "$1") && kill -0 "$pid" 2>/dev/null
}

# Starts a program in a session of its own: launch COMPONENT program argument…
launch() {
    local component=$1 data
    data=$(data_of "$component")
    shift
    setsid "$@" >"$data/log" 2>&1 </dev/null &
    echo $! >"$data/pid"
}

# Waits until the component answers, at most two minutes; its last lines say why when it does not.
await() {
    local component=$1
    for _ in $(seq 1 1200); do
        "answers_$component" && return 0
        is_up "$component" || break
        sleep 0.1
    done
    tail -n 20 "$(data_of "$component")/log" >&2
    echo "$component did not start" >&2
    return 1
}

# TERM, and KILL after twenty seconds; only what was started here, by its number.
stop_component() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 1 200); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$(data_of "$1")/pid"
}

# Prints the newest installed java that is at least version $1.
java_of_at_least() {
    local candidate version
    for candidate in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*; do
        [ -x "$candidate/bin/java" ] || continue
        version=$("$candidate/bin/java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
        if [ "${version:-0}" -ge "$1" ]; then
            echo "$candidate/bin/java"
            return 0
        fi
    done
    echo "a Java of version $1 or newer is needed: install one below /usr/lib/jvm, or name it by JAVA_HOME" >&2
    return 1
}

require_maven() { install_packages mvn:maven java:openjdk-17-jre-headless; }

http_answers() { curl --fail --silent --max-time 2 --output /dev/null "$1"; }
