#!/usr/bin/env bash
# What the compose stack needs once: the key that opens secrets, the schema, the workers' join token, the first user. Everything
# that is there already is left as it is, so it may run at every start.
set -euo pipefail
umask 077

if [ ! -s "$WINDLASS_SECRET_KEY_FILE" ]; then
    head -c 32 /dev/urandom | base64 >"$WINDLASS_SECRET_KEY_FILE.new"
    mv "$WINDLASS_SECRET_KEY_FILE.new" "$WINDLASS_SECRET_KEY_FILE"
    echo "made the key $WINDLASS_SECRET_KEY_FILE"
fi
windlass check-settings
windlass db migrate
windlass workers token >"$JOIN_TOKEN_FILE.new"
mv "$JOIN_TOKEN_FILE.new" "$JOIN_TOKEN_FILE"
printf '%s' "$WINDLASS_ADMIN_PASSWORD" |
    windlass users create --if-missing --username "$WINDLASS_ADMIN_USER" --role Admin --password -
