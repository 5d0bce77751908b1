#!/bin/bash
# Runs once, when the volume is new, as the superuser: the scheduler's role, which owns its database and no more; the lake's database
# with its own role, which can not read the scheduler's state; the tables of the Iceberg catalogue, which Trino expects to find.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" \
    -v superuser="$POSTGRES_USER" -v state_password="$POSTGRES_PASSWORD" -v lake_password="$LAKE_DB_PASSWORD" <<'X'
CREATE ROLE windlass LOGIN PASSWORD :'state_password';
ALTER DATABASE windlass OWNER TO windlass;
CREATE ROLE windlass_lake LOGIN PASSWORD :'lake_password';
CREATE DATABASE windlass_lake OWNER windlass_lake;
REVOKE CONNECT ON DATABASE windlass FROM PUBLIC;
-- Nobody logs in as the superuser over the network: `docker exec postgres psql -U postgres` is how it is reached.
ALTER ROLE :"superuser" PASSWORD NULL;
X
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d windlass_lake -c 'SET ROLE windlass_lake' -f /etc/windlass/iceberg-catalog.sql
