# Apache Kafka, one KRaft node, from its published jars. One port speaks without protection; another is TLS with a login
# (user windlass, by PLAIN or SCRAM-SHA-256), whose authority is data/kafka/ca.pem.
# shellcheck shell=bash

readonly STACK_KAFKA_VERSION=4.3.1
STACK_KAFKA_PORT=${STACK_KAFKA_PORT:-19092}
STACK_KAFKA_CONTROLLER_PORT=${STACK_KAFKA_CONTROLLER_PORT:-$((STACK_KAFKA_PORT + 1))}
STACK_KAFKA_TLS_PORT=${STACK_KAFKA_TLS_PORT:-$((STACK_KAFKA_PORT + 2))}
STACK_KAFKA_HEAP=${STACK_KAFKA_HEAP:-384m}

kafka_home() { program_of "kafka-$STACK_KAFKA_VERSION"; }

fetch_kafka() {
    local home
    home=$(kafka_home)
    [ -f "$home/.complete" ] && return 0
    require_maven
    mkdir -p "$home"
    cat >"$home/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>windlass.test</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$STACK_KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$STACK_KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
X
    mvn --batch-mode --quiet -Dstyle.color=never -f "$home/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/libs" -DincludeScope=runtime
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

# An authority, and a certificate of it for the broker.
certify_kafka() {
    local data=$1
    [ -f "$data/ca.pem" ] && return 0
    local key="$data/ca.key" request="$data/broker.csr"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=windlass stack' -keyout "$key" -out "$data/ca.new" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj '/CN=127.0.0.1' -keyout "$data/broker.key" -out "$request" 2>/dev/null
    openssl x509 -req -in "$request" -CA "$data/ca.new" -CAkey "$key" -CAcreateserial -days 3650 -out "$data/broker.crt" \
        -extfile <(echo 'subjectAltName=IP:127.0.0.1,DNS:localhost') 2>/dev/null
    cat "$data/broker.key" "$data/broker.crt" >"$data/broker.pem"
    mv "$data/ca.new" "$data/ca.pem"
}

configure_kafka() {
    local data=$1
    certify_kafka "$data"
    cat >"$data/server.properties" <<X
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$STACK_KAFKA_CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$STACK_KAFKA_PORT,SASL_SSL://127.0.0.1:$STACK_KAFKA_TLS_PORT,CONTROLLER://127.0.0.1:$STACK_KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$STACK_KAFKA_PORT,SASL_SSL://127.0.0.1:$STACK_KAFKA_TLS_PORT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_windlass="$STACK_PASSWORD";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location=$data/broker.pem
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
    "$(java_of_at_least 17)" -Xmx128m -cp "$(kafka_home)/libs/*" kafka.tools.StorageTool format -t "$cluster" \
        -c "$data/server.properties" --add-scram "SCRAM-SHA-256=[name=windlass,password=$STACK_PASSWORD]" >"$data/format.log" 2>&1
}

start_kafka() {
    local data
    data=$(data_of kafka)
    configure_kafka "$data"
    launch kafka "$(java_of_at_least 17)" "-Xmx$STACK_KAFKA_HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dlog4j2.configurationFile="$(kafka_home)/log4j2.properties" -cp "$(kafka_home)/libs/*" kafka.Kafka "$data/server.properties"
}

answers_kafka() { grep -q 'Kafka Server started' "$(data_of kafka)/log"; }

where_kafka() { echo "127.0.0.1:$STACK_KAFKA_PORT"; }

environment_kafka() { echo "export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$STACK_KAFKA_PORT"; }
