# Windlass's own image: both programs and nothing that built them. No BuildKit needed.
# Stage 1 compiles the dependencies alone, so that their layer is cached until Cargo.toml or Cargo.lock changes.
FROM rust:1.95-bookworm AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends cmake libssl-dev perl pkg-config python3 >/dev/null \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts/dependency-layer.sh scripts/
COPY Cargo.toml Cargo.lock rust-toolchain* ./
COPY .cargo .cargo
COPY bench/Cargo.toml bench/
COPY mutants/Cargo.toml mutants/
COPY e2e/Cargo.toml e2e/
COPY scheduler/cli/Cargo.toml scheduler/cli/
COPY scheduler/dag/Cargo.toml scheduler/dag/
COPY scheduler/daemon/Cargo.toml scheduler/daemon/
COPY scheduler/engine/Cargo.toml scheduler/engine/
COPY scheduler/executor/Cargo.toml scheduler/executor/
COPY scheduler/link/Cargo.toml scheduler/link/
COPY scheduler/metrics/Cargo.toml scheduler/metrics/
COPY scheduler/model/Cargo.toml scheduler/model/
COPY scheduler/pgconnect/Cargo.toml scheduler/pgconnect/
COPY scheduler/replay/Cargo.toml scheduler/replay/
COPY scheduler/secrets/Cargo.toml scheduler/secrets/
COPY scheduler/store/Cargo.toml scheduler/store/
COPY tasks/Cargo.toml tasks/
COPY webui/Cargo.toml webui/
COPY webui/layout/Cargo.toml webui/layout/
COPY workspace-hack/Cargo.toml workspace-hack/build.rs workspace-hack/
RUN scripts/dependency-layer.sh
COPY . .
RUN cargo build --profile dist --locked -p windlass -p windlass-tasks

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        bash ca-certificates curl git libssl3 openssh-client python3 tini >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/windlass --shell /usr/sbin/nologin windlass \
    && install -d -o windlass -g windlass -m 0700 /var/lib/windlass/home /var/lib/windlass/join /var/lib/windlass/keys
COPY --from=build /src/target/dist/windlass /src/target/dist/windlass-tasks /usr/local/bin/
COPY dags /opt/windlass/dags
COPY scripts/compose-init.sh /opt/windlass/scripts/
ENV WINDLASS_HOME=/var/lib/windlass/home WINDLASS_DAGS_FOLDER=/opt/windlass/dags
USER windlass
WORKDIR /var/lib/windlass
# Reaps what tasks leave behind and hands on TERM.
ENTRYPOINT ["tini", "--"]
CMD ["windlass", "--help"]
