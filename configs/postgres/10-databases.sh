#!/bin/bash
# Runs once, when the volume is new: the lake's database with its own role, which can not read the scheduler's state, and the
# tables of the Iceberg catalogue, which Trino expects to find.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v password="$LAKE_DB_PASSWORD" <<'X'
CREATE ROLE windlass_lake LOGIN PASSWORD :'password';
CREATE DATABASE windlass_lake OWNER windlass_lake;
REVOKE CONNECT ON DATABASE windlass FROM PUBLIC;
X
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d windlass_lake -c 'SET ROLE windlass_lake' -f /etc/windlass/iceberg-catalog.sql
