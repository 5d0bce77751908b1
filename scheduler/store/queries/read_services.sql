-- Every replica of every service with the name of its worker.
SELECT s.dag_id, s.name, s.replica, s.state, s.is_wanted, s.spec AS "spec: Json<Value>", s.instance, s.restarts,
       s.not_before, s.started_at, s.changed_at, s.progress AS "progress: Json<Value>", s.last_error, s.worker_id, w.name AS "worker?"
FROM service s
LEFT JOIN worker w ON w.id = s.worker_id
ORDER BY s.dag_id, s.name, s.replica
