#!/usr/bin/env bash
# Builds an archive of both programs for Linux, with its checksum:
#   scripts/release.sh            dist/windlass-<version>-<arch>-linux.tar.gz and the same with .sha256, for this machine's arch
# run.sh uses such an archive instead of compiling when one of its sources and arch lies in dist/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup.sh
. scripts/setup.sh

install_packages "${BUILD_PACKAGES[@]}"
require_rust
sources=$(sources_hash)
cargo build --profile dist --locked -p windlass -p windlass-tasks

name=$(archive_name)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name" dist
cp target/dist/windlass target/dist/windlass-tasks README.md CHANGELOG.md LICENSE "$work/$name"
cp -r dags docs "$work/$name"
echo "$sources" >"$work/$name/SOURCES"
# The same programs give the same archive: names in order, no owner, modes whatever the umask is, the commit's time.
tar --sort=name --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' --mtime="@$(git log -1 --format=%ct 2>/dev/null || date +%s)" \
    -C "$work" -cf - "$name" | gzip -n >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "dist/$name.tar.gz  $(du -h "dist/$name.tar.gz" | cut -f1)"
