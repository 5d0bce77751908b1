-- How the database and what lies in it stand, for `windlass doctor`.
SELECT
    current_setting('server_version') AS "server_version!",
    clock_timestamp() AS "clock!",
    current_setting('max_connections')::bigint AS "connections_max!",
    (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database) AS "connections!",
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS "is_superuser!",
    pg_is_in_recovery() AS "is_standby!",
    inet_client_addr() IS NULL OR inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1'
        OR coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS "is_private!",
    pg_database_size(current_database()) AS "bytes!",
    (SELECT holder FROM leader) AS "leader!",
    (SELECT count(*) FROM inbox WHERE dead_because IS NULL) AS "waiting_commands!",
    coalesce((SELECT extract(epoch FROM now() - min(sent_at))::float8 FROM inbox WHERE dead_because IS NULL), 0) AS "oldest_command_secs!",
    (SELECT count(*) FROM inbox WHERE dead_because IS NOT NULL)
        + (SELECT count(*) FROM quarantine WHERE held_at IS NOT NULL AND released_at IS NULL) AS "quarantined!",
    (SELECT count(DISTINCT (bundle_name, file)) FROM import_error) AS "broken_files!",
    (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'dag_run'::regclass) AS "runs_kept!"
