-- $2 is a JSON array of objects named like the columns; spec and progress are text inside.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), saved AS (
    INSERT INTO service
        (dag_id, name, replica, spec, spec_hash, is_wanted, state, instance, worker_id, deaths, restarts, not_before,
         started_at, changed_at, progress, progress_seq, progress_stored_at, last_error)
    SELECT s.dag_id, s.name, s.replica, s.spec::json, s.spec_hash, s.is_wanted, s.state, s.instance, s.worker_id, s.deaths,
           s.restarts, s.not_before, s.started_at, s.changed_at, s.progress::json, s.progress_seq, s.progress_stored_at,
           s.last_error
    FROM json_to_recordset($2::text::json)
         AS s (dag_id text, name text, replica int, spec text, spec_hash text, is_wanted boolean, state smallint,
               instance uuid, worker_id int, deaths int, restarts int, not_before timestamptz, started_at timestamptz,
               changed_at timestamptz, progress text, progress_seq bigint, progress_stored_at timestamptz,
               last_error text), fence
    ON CONFLICT (dag_id, name, replica) DO UPDATE
    SET spec = excluded.spec, spec_hash = excluded.spec_hash, is_wanted = excluded.is_wanted, state = excluded.state,
        instance = excluded.instance, worker_id = excluded.worker_id, deaths = excluded.deaths,
        restarts = excluded.restarts, not_before = excluded.not_before, started_at = excluded.started_at,
        changed_at = excluded.changed_at, progress = excluded.progress, progress_seq = excluded.progress_seq,
        progress_stored_at = excluded.progress_stored_at, last_error = excluded.last_error
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
