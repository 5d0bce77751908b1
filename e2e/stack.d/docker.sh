# A Docker engine for tests: data, socket and containers of its own, beside whatever engine the machine has. Needs root.
# STACK_DOCKER_NETWORK=none (the default) gives it a network namespace of its own, off that engine's bridge and firewall: its
# containers reach nothing, and nothing is pulled. `machine` gives it the machine's network, for images that are built and a
# compose file whose ports are published; no other engine may run then.
# shellcheck shell=bash

readonly STACK_DOCKER_IMAGE=windlass-test:busybox
STACK_DOCKER_NETWORK=${STACK_DOCKER_NETWORK:-none}

docker_socket() { echo "${STACK_DOCKER_RUN:-/run/windlass-stack-docker}/docker.sock"; }

docker_url() { echo "unix://$(docker_socket)"; }

fetch_docker() {
    # iptables is asked for by the package; without a network the engine does without.
    install_packages dockerd:docker.io docker:docker.io unshare:util-linux busybox:busybox-static
    [ "$STACK_DOCKER_NETWORK" = none ] || install_packages iptables:iptables
}

start_docker() {
    local run data
    run=$(dirname "$(docker_socket)")
    data=$(data_of docker)
    mkdir -p "$run"
    local engine=(dockerd --host "$(docker_url)" --data-root "$data/engine" --exec-root "$run/exec" --pidfile "$run/pid")
    case "$STACK_DOCKER_NETWORK" in
        none) launch docker unshare --net "${engine[@]}" --iptables=false --ip6tables=false --ip-forward=false ;;
        machine) launch docker "${engine[@]}" ;;
        *)
            echo "STACK_DOCKER_NETWORK is $STACK_DOCKER_NETWORK; expected none or machine" >&2
            return 1
            ;;
    esac
}

# The engine answers, and has the image that the tests run in.
answers_docker() {
    docker --host "$(docker_url)" version >/dev/null 2>&1 || return 1
    docker --host "$(docker_url)" image inspect "$STACK_DOCKER_IMAGE" >/dev/null 2>&1 || make_test_image
}

# A few files around a static busybox: no registry is needed.
make_test_image() {
    local root
    root=$(data_of docker)/rootfs
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp"
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    local applet
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -C "$root" -c . |
        docker --host "$(docker_url)" import --change 'CMD ["sh"]' --change 'ENV PATH=/bin' - "$STACK_DOCKER_IMAGE" >/dev/null
}

where_docker() { echo "$(docker_url) with the image $STACK_DOCKER_IMAGE"; }

environment_docker() {
    echo "export DOCKER_HOST=$(docker_url)"
    echo "export WINDLASS_TEST_DOCKER=1"
}
