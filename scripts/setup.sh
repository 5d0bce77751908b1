# Installs what a fresh Debian machine lacks. Sourced by run.sh and test.sh; needs root or sudo only when something is missing.
# shellcheck shell=bash

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has_postgres() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# Prints the packages that are missing out of "command:package" pairs.
missing_packages() {
    local pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
    has_postgres || echo postgresql
    [[ " $* " != *" pkg-config:pkg-config "* ]] || pkg-config --exists openssl 2>/dev/null || echo libssl-dev
}

install_packages() {
    local packages
    packages=$(missing_packages "$@" | sort -u | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    echo "==> Installing missing packages: $packages"
    if [[ " $packages" == *" postgresql "* ]]; then
        # Windlass runs a private cluster; Debian's package would start one of its own.
        as_root mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/windlass.conf >/dev/null
    fi
    as_root apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

require_rust() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    command -v cargo >/dev/null || {
        echo "Rust is missing: install it with rustup (https://rustup.rs), then run this again." >&2
        exit 2
    }
}

# The archive of this version for this machine, without its ending.
archive_name() {
    local version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    echo "windlass-$version-$(uname -m)-linux"
}

# What the programs are made of, in one word.
sources_hash() {
    local place=(.cargo .env.example .sqlx Cargo.lock Cargo.toml scheduler tasks webui workspace-hack)
    find "${place[@]}" -type f ! -path '*/target/*' ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum | sha256sum | cut -c1-64
}

# What the programs need to run, beside PostgreSQL.
RUN_PACKAGES=(python3:python3)
BUILD_PACKAGES=(cc:gcc c++:g++ make:make cmake:cmake perl:perl python3:python3 pkg-config:pkg-config)
