#!/usr/bin/env bash
# Leaves a release's database behind for the tests of upgrades: its schema with the data of a used installation, and the key
# that opens its secrets. Run once, at the release; the files are never changed afterwards.
#   scripts/dump-database.sh 0.1.0 [folder of the programs]      (default: target/release)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=test-postgres.sh
. scripts/test-postgres.sh

version=${1:?usage: scripts/dump-database.sh VERSION [PROGRAMS]}
windlass=$(cd "${2:-target/release}" && pwd)/windlass
fixtures=scheduler/store/tests/fixtures
work=$(mktemp -d)
start_test_postgres
database=dump_$$
psql -qX "$WINDLASS_TEST_DATABASE_URL" -c "CREATE DATABASE $database" -c "CREATE DATABASE ${database}_lake"
server=${WINDLASS_TEST_DATABASE_URL%/*}

clean_up() {
    [ -z "${standalone:-}" ] || { kill "$standalone" && wait "$standalone" || true; }
    psql -qX "$WINDLASS_TEST_DATABASE_URL" -c "DROP DATABASE $database WITH (FORCE)" -c "DROP DATABASE ${database}_lake WITH (FORCE)"
    stop_test_postgres
    rm -rf "$work"
}
trap clean_up EXIT

mkdir -p "$work/dags" "$fixtures"
cp dags/hello.yaml dags/tour.yaml "$work/dags"
cat >"$work/dags/used.yaml" <<'X'
fails:
  schedule: null
  tasks:
    - {task_id: first, operator: bash, bash_command: "echo 41", retries: 1, retry_delay: 1s}
    - {task_id: wrong, operator: bash, bash_command: "exit 3", dependencies: [first]}
    - {task_id: after, operator: empty, dependencies: [wrong]}
holds:
  schedule: null
  params: {region: {type: string, default: eu}}
  tasks:
    - {task_id: hold, operator: bash, bash_command: "sleep 600", pool: narrow}
    - {task_id: waits, operator: bash, bash_command: "true", pool: narrow}
X
(umask 077 && echo "1 $(head -c 32 /dev/urandom | base64)" >"$work/key")

export DATABASE_URL=$server/$database WINDLASS_LAKE_DATABASE_URL=$server/${database}_lake
export WINDLASS_SECRET_KEY_FILE=$work/key WINDLASS_HOME=$work/home WINDLASS_DAGS_FOLDER=$work/dags
WINDLASS_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
WINDLASS_REGISTRY_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export WINDLASS_PORT WINDLASS_REGISTRY_PORT
"$windlass" standalone >"$work/log" 2>&1 &
standalone=$!
until "$windlass" health --quiet; do
    kill -0 "$standalone"
    sleep 0.2
done

echo fixture-password | "$windlass" connections add warehouse --conn-type postgres --conn-host db.example --conn-login etl \
    --conn-password - --conn-port 5432
"$windlass" variables set region eu --description "where it runs"
"$windlass" pools set narrow 1 "one at a time"
echo fixture-password | "$windlass" users create --username reader --role Viewer --password -
for dag in hello tour fails holds; do "$windlass" dags unpause "$dag"; done
"$windlass" dags trigger hello --wait
"$windlass" dags trigger tour --wait
"$windlass" dags trigger fails --wait || true
"$windlass" tasks clear fails latest wrong --wait || true
"$windlass" dags trigger holds --conf '{"region": "us"}'
until "$windlass" tasks states-for-dag-run holds latest | grep -q running; do sleep 0.2; done
"$windlass" runs list

# Without psql's own commands, so that the file is plain SQL, and without this machine's paths.
"$(postgres_bin)/pg_dump" --no-owner --no-privileges --rows-per-insert=50 "$DATABASE_URL" | grep -v '^\\' |
    sed "s#$work#/srv/windlass#g" >"$fixtures/$version.sql"
cp "$work/key" "$fixtures/$version.key"
chmod 644 "$fixtures/$version.key"
wc -c "$fixtures/$version.sql"
