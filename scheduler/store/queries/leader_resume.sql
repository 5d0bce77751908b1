-- The UPDATE waits for the old connection's transaction, as SELECT … FOR UPDATE would.
UPDATE leader
SET backend_pid = pg_backend_pid(),
    backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
WHERE epoch = $1
RETURNING turn
