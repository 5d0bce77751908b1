#!/bin/sh
# What compose.yaml relies on in the official image: `minio` may be left out of the command.
case "$1" in
    minio | /*) exec "$@" ;;
    *) exec minio "$@" ;;
esac
