#!/bin/bash
# Runs once, when the volume is new: the lake's database with its own role, which can not read the scheduler's state, and the
# tables of the Iceberg catalogue, which Trino expects to find.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v password="$LAKE_DB_PASSWORD" <<'X'
CREATE ROLE windlass_lake LOGIN PASSWORD :'password';
CREATE DATABASE windlass_lake OWNER windlass_lake;
REVOKE CONNECT ON DATABASE windlass FROM PUBLIC;
X
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d windlass_lake <<'X'
SET ROLE windlass_lake;
CREATE TABLE iceberg_tables (
    catalog_name varchar(255) NOT NULL,
    table_namespace varchar(255) NOT NULL,
    table_name varchar(255) NOT NULL,
    metadata_location varchar(1000),
    previous_metadata_location varchar(1000),
    iceberg_type varchar(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE iceberg_namespace_properties (
    catalog_name varchar(255) NOT NULL,
    namespace varchar(255) NOT NULL,
    property_key varchar(255) NOT NULL,
    property_value varchar(1000),
    PRIMARY KEY (catalog_name, namespace, property_key)
);
X
