# Trino, one node, from its published archive: catalogues `lake` and `iceberg` (Iceberg, JDBC catalogue in PostgreSQL), `delta`
# and `analytics` (PostgreSQL). Needs postgres and minio of this stack. Beside http it serves https, where a password is asked
# for: user `windlass`, password `windlass-trino`, and the certificate to trust in `data/trino/tls.pem` below STACK_DIR.
# shellcheck shell=bash

# The last version whose whole archive is published where Maven finds it.
readonly STACK_TRINO_VERSION=476
STACK_TRINO_PORT=${STACK_TRINO_PORT:-18080}
STACK_TRINO_TLS_PORT=${STACK_TRINO_TLS_PORT:-18443}
STACK_TRINO_HEAP=${STACK_TRINO_HEAP:-1G}
# Without geospatial it does not start.
readonly STACK_TRINO_PLUGINS=(geospatial iceberg delta-lake postgresql memory tpch password-authenticators)

trino_home() { program_of "trino-$STACK_TRINO_VERSION"; }

fetch_trino() {
    local home unpacked plugin
    home=$(trino_home)
    # An archive that was unpacked by an earlier version may lack a plugin.
    [ -f "$home/.complete" ] && [ -d "$home/plugin/${STACK_TRINO_PLUGINS[-1]}" ] && return 0
    require_maven
    unpacked=$STACK_DIR/programs/.trino-unpacked
    rm -rf "$unpacked" "$home"
    mkdir -p "$unpacked" "$home/plugin"
    mvn --batch-mode --quiet -Dstyle.color=never dependency:copy -Dartifact="io.trino:trino-server:$STACK_TRINO_VERSION:tar.gz" -DoutputDirectory="$unpacked"
    tar xzf "$unpacked"/trino-server-*.tar.gz -C "$unpacked"
    # Jars are hard links between plugins: everything is unpacked, some of it kept.
    mv "$unpacked/trino-server-$STACK_TRINO_VERSION/lib" "$home/lib"
    for plugin in "${STACK_TRINO_PLUGINS[@]}"; do
        mv "$unpacked/trino-server-$STACK_TRINO_VERSION/plugin/$plugin" "$home/plugin/$plugin"
    done
    rm -rf "$unpacked"
    touch "$home/.complete"
}

trino_object_store() {
    cat <<X
fs.native-s3.enabled=true
s3.endpoint=http://127.0.0.1:$STACK_MINIO_PORT
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key=admin
s3.aws-secret-key=$STACK_PASSWORD
X
}

trino_iceberg() {
    cat <<X
connector.name=iceberg
iceberg.catalog.type=jdbc
iceberg.jdbc-catalog.driver-class=org.postgresql.Driver
iceberg.jdbc-catalog.connection-url=jdbc:postgresql://127.0.0.1:$STACK_POSTGRES_PORT/windlass_lake
iceberg.jdbc-catalog.connection-user=windlass
iceberg.jdbc-catalog.connection-password=$STACK_PASSWORD
iceberg.jdbc-catalog.catalog-name=lake
iceberg.jdbc-catalog.default-warehouse-dir=s3://lake/warehouse
iceberg.register-table-procedure.enabled=true
X
    trino_object_store
}

# A key of its own, and what tests trust; keytool comes with the Java that runs Trino.
trino_tls() {
    local data=$1 keytool
    keytool=$(dirname "$(java_of_at_least 24)")/keytool
    [ ! -f "$data/tls.pem" ] || return 0
    rm -f "$data/tls.p12"
    "$keytool" -genkeypair -alias stack -keyalg EC -groupname secp256r1 -dname CN=localhost -ext san=ip:127.0.0.1,dns:localhost \
        -validity 3650 -storetype PKCS12 -keystore "$data/tls.p12" -storepass windlass 2>/dev/null
    "$keytool" -exportcert -rfc -alias stack -keystore "$data/tls.p12" -storepass windlass >"$data/tls.pem" 2>/dev/null
}

# The file authenticator takes PBKDF2 with SHA-1 as iterations:salt:hash, or bcrypt, which Python does not have.
trino_password() {
    python3 - <<'X'
import hashlib, os
salt = os.urandom(16)
print(f"windlass:1000:{salt.hex()}:{hashlib.pbkdf2_hmac('sha1', b'windlass-trino', salt, 1000).hex()}")
X
}

configure_trino() {
    local etc=$1/etc
    mkdir -p "$etc/catalog" "$1/var"
    cat >"$etc/config.properties" <<X
node.environment=stack
node.id=stack1
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
plugin.dir=$(trino_home)/plugin
catalog.config-dir=$etc/catalog
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port=$STACK_TRINO_PORT
http-server.https.enabled=true
http-server.https.port=$STACK_TRINO_TLS_PORT
http-server.https.keystore.path=$1/tls.p12
http-server.https.keystore.key=windlass
http-server.authentication.type=PASSWORD
http-server.authentication.allow-insecure-over-http=true
internal-communication.shared-secret=$(head -c 32 /dev/urandom | base64)
discovery.uri=http://127.0.0.1:$STACK_TRINO_PORT
query.max-memory=300MB
query.max-memory-per-node=300MB
memory.heap-headroom-per-node=150MB
X
    printf '%s\n' password-authenticator.name=file "file.password-file=$etc/passwords" >"$etc/password-authenticator.properties"
    trino_password >"$etc/passwords"
    echo 'io.trino=WARN' >"$etc/log.properties"
    # Both names mean the same catalogue: users of either system keep their queries.
    trino_iceberg >"$etc/catalog/lake.properties"
    trino_iceberg >"$etc/catalog/iceberg.properties"
    {
        printf '%s\n' connector.name=delta_lake hive.metastore=file hive.metastore.catalog.dir=s3://lake/delta-metastore \
            delta.register-table-procedure.enabled=true delta.enable-non-concurrent-writes=true
        trino_object_store
    } >"$etc/catalog/delta.properties"
    printf '%s\n' connector.name=postgresql "connection-url=jdbc:postgresql://127.0.0.1:$STACK_POSTGRES_PORT/analytics" \
        connection-user=windlass "connection-password=$STACK_PASSWORD" >"$etc/catalog/analytics.properties"
    echo connector.name=memory >"$etc/catalog/memory.properties"
    printf '%s\n' connector.name=tpch tpch.splits-per-node=1 >"$etc/catalog/tpch.properties"
}

make_catalogue() {
    PGPASSWORD=$STACK_PASSWORD psql -qX -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$STACK_POSTGRES_PORT" -U windlass -d windlass_lake \
        -f configs/iceberg-catalog.sql
}

start_trino() {
    local data
    if ! is_up postgres || ! is_up minio; then
        echo "trino needs postgres and minio: e2e/stack up postgres minio trino" >&2
        return 1
    fi
    data=$(data_of trino)
    trino_tls "$data"
    configure_trino "$data"
    make_catalogue
    (
        cd "$data"
        launch trino "$(java_of_at_least 24)" "-Xmx$STACK_TRINO_HEAP" "-Xms$STACK_TRINO_HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
            -XX:ReservedCodeCacheSize=192M -XX:+ExitOnOutOfMemoryError -Djdk.attach.allowAttachSelf=true -Dfile.encoding=UTF-8 \
            --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow --add-modules=jdk.incubator.vector \
            -Dlog.levels-file="$data/etc/log.properties" -Dconfig="$data/etc/config.properties" \
            -cp "$(trino_home)/lib/*" io.trino.server.TrinoServer
    )
}

answers_trino() {
    curl --fail --silent --max-time 2 "http://127.0.0.1:$STACK_TRINO_PORT/v1/info" 2>/dev/null | grep -q '"starting":false'
}

where_trino() { echo "http://127.0.0.1:$STACK_TRINO_PORT"; }

environment_trino() { echo "export AIRFLOW_CONN_TRINO=trino://windlass@127.0.0.1:$STACK_TRINO_PORT/lake"; }
