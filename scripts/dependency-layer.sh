#!/usr/bin/env bash
# Compiles the dependencies of both programs and nothing of ours, for a cached layer of the image: every crate is an empty
# one for the while. Meant for a folder that holds the manifests only; refuses one with sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if compgen -G '*/src' >/dev/null || compgen -G 'scheduler/*/src' >/dev/null; then
    echo "this folder has sources; dependency-layer.sh is for an image's first stage" >&2
    exit 1
fi
members=(bench e2e mutants tasks webui webui/layout workspace-hack scheduler/*)
for member in "${members[@]}"; do
    mkdir -p "$member/src"
    : >"$member/src/lib.rs"
    echo 'fn main() {}' >"$member/src/main.rs"
    # Targets that a manifest names by path have to be there, too.
    sed -n 's/^path = "\(.*\)"/\1/p' "$member/Cargo.toml" | while read -r path; do
        mkdir -p "$member/$(dirname "$path")"
        [ -f "$member/$path" ] || echo 'fn main() {}' >"$member/$path"
    done
done
cargo build --profile dist --locked -p windlass -p windlass-tasks
# Ours are built anew from their sources, whatever the clock says.
rm -rf target/dist/.fingerprint/windlass* target/dist/windlass* target/dist/deps/*windlass*
for member in "${members[@]}"; do
    rm -rf "$member/src"
done
