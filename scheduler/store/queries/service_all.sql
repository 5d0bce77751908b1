SELECT dag_id, name, replica, spec, spec_hash, is_wanted, state, instance, worker_id, deaths, restarts, not_before,
       started_at, changed_at, progress, progress_seq, progress_stored_at, last_error
FROM service
ORDER BY dag_id, name, replica
