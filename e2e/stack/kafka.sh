#!/usr/bin/env bash
# A real Apache Kafka (one KRaft node) from its published jars, on 127.0.0.1. Needs Java 17 and Maven; installs them.
#   kafka.sh start | stop | status
# STACK_DIR (default .stack below the project), KAFKA_PORT (default 19092)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=../../scripts/setup.sh
. scripts/setup.sh

readonly version=4.3.1
port=${KAFKA_PORT:-19092}
controller_port=${KAFKA_CONTROLLER_PORT:-19093}
stack=${STACK_DIR:-$PWD/.stack}
home=$stack/kafka-$version
data=$stack/kafka-data-$port

fetch() {
    [ -f "$home/.complete" ] && return 0
    install_packages java:openjdk-17-jre-headless mvn:maven
    mkdir -p "$home"
    cat >"$home/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>windlass.test</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
X
    mvn --batch-mode --quiet -f "$home/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/libs" -DincludeScope=runtime
    cat >"$home/log4j2.properties" <<'X'
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = OUT
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c %m%n
X
    touch "$home/.complete"
}

configure() {
    cat >"$data/server.properties" <<X
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$data/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
X
    [ -f "$data/logs/meta.properties" ] && return 0
    local cluster
    cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    java -Xmx128m -cp "$home/libs/*" kafka.tools.StorageTool format -t "$cluster" -c "$data/server.properties" >"$data/format.log" 2>&1
}

start() {
    fetch
    mkdir -p "$data"
    configure
    setsid java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$home/log4j2.properties" \
        -cp "$home/libs/*" kafka.Kafka "$data/server.properties" >"$data/kafka.log" 2>&1 </dev/null &
    echo $! >"$data/pid"
    for _ in $(seq 1 600); do
        if grep -q 'Kafka Server started' "$data/kafka.log"; then
            echo "kafka is up on 127.0.0.1:$port"
            return 0
        fi
        kill -0 "$(cat "$data/pid")" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$data/kafka.log" >&2
    echo "kafka did not start" >&2
    return 1
}

stop() {
    [ -f "$data/pid" ] || return 0
    kill "$(cat "$data/pid")" 2>/dev/null || true
    rm -rf "$data"
}

status() {
    if [ -f "$data/pid" ] && kill -0 "$(cat "$data/pid")" 2>/dev/null; then echo up; else echo down; fi
}

case "${1:-}" in
    start | stop | status) "$1" ;;
    *) echo "usage: kafka.sh start|stop|status" >&2; exit 2 ;;
esac
