# Apicurio Registry, which answers Confluent's paths below /apis/ccompat/v7; its schemas are kept in the stack's PostgreSQL when
# that is up, and in memory when not.
# shellcheck shell=bash

readonly STACK_REGISTRY_VERSION=3.3.3
STACK_REGISTRY_PORT=${STACK_REGISTRY_PORT:-18081}
STACK_REGISTRY_HEAP=${STACK_REGISTRY_HEAP:-256m}

registry_home() { program_of "apicurio-$STACK_REGISTRY_VERSION"; }

fetch_registry() {
    local home
    home=$(registry_home)
    [ -f "$home/.complete" ] && return 0
    require_maven
    mkdir -p "$home"
    mvn --batch-mode --quiet -Dstyle.color=never dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$STACK_REGISTRY_VERSION:tar.gz:all" \
        -DoutputDirectory="$home/download"
    tar xzf "$home"/download/*.tar.gz -C "$home"
    rm -rf "$home/download"
    touch "$home/.complete"
}

start_registry() {
    local storage=()
    if is_up postgres; then
        storage=(-Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=postgresql
            "-Dapicurio.datasource.url=jdbc:postgresql://127.0.0.1:$STACK_POSTGRES_PORT/registry"
            -Dapicurio.datasource.username=windlass "-Dapicurio.datasource.password=$STACK_PASSWORD")
        [ -n "$(postgres_sql "SELECT 1 FROM pg_database WHERE datname = 'registry'")" ] || postgres_sql 'CREATE DATABASE registry'
    fi
    launch registry "$(java_of_at_least 21)" "-Xmx$STACK_REGISTRY_HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$STACK_REGISTRY_PORT" \
        -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port="$((STACK_REGISTRY_PORT + 100))" \
        "${storage[@]}" -jar "$(registry_home)/quarkus-run.jar"
}

registry_url() { echo "http://127.0.0.1:$STACK_REGISTRY_PORT/apis/ccompat/v7"; }

answers_registry() { http_answers "$(registry_url)/subjects"; }

where_registry() { registry_url; }

environment_registry() { echo "export SCHEMA_REGISTRY_URL=$(registry_url)"; }
