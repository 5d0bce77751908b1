# MinIO, built from its Go module; a folder of its data directory is a bucket.
# shellcheck shell=bash

readonly STACK_MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
STACK_MINIO_PORT=${STACK_MINIO_PORT:-19000}
readonly STACK_MINIO_BUCKETS=(lake warehouse logs)

minio_program() { echo "$(program_of minio)/minio"; }

fetch_minio() {
    [ -x "$(minio_program)" ] && return 0
    command -v go >/dev/null || {
        echo "Go is needed to build MinIO: install it, then run this again" >&2
        return 1
    }
    GOBIN=$(program_of minio) GOTOOLCHAIN=local CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$STACK_MINIO_VERSION"
}

start_minio() {
    local data bucket
    data=$(data_of minio)
    for bucket in "${STACK_MINIO_BUCKETS[@]}"; do
        mkdir -p "$data/buckets/$bucket"
    done
    launch minio env MINIO_ROOT_USER=admin MINIO_ROOT_PASSWORD="$STACK_PASSWORD" MINIO_BROWSER=off MINIO_UPDATE=off \
        "$(minio_program)" server --quiet --address "127.0.0.1:$STACK_MINIO_PORT" "$data/buckets"
}

answers_minio() { http_answers "http://127.0.0.1:$STACK_MINIO_PORT/minio/health/ready"; }

where_minio() { echo "http://127.0.0.1:$STACK_MINIO_PORT, user admin, password $STACK_PASSWORD"; }

environment_minio() {
    echo "export WINDLASS_LAKE_WAREHOUSE=s3://lake/warehouse"
    echo "export AWS_ENDPOINT_URL=http://127.0.0.1:$STACK_MINIO_PORT"
    echo "export AWS_REGION=us-east-1"
    echo "export AWS_ACCESS_KEY_ID=admin"
    echo "export AWS_SECRET_ACCESS_KEY=$STACK_PASSWORD"
}
