-- No row: somebody else has raised the epoch since it was seen.
UPDATE leader
SET epoch = epoch + 1, holder = $2, endpoint = $3, took_over_at = clock_timestamp(),
    turn_at = greatest(turn_at, clock_timestamp()), backend_pid = pg_backend_pid(),
    backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
WHERE epoch = $1
RETURNING epoch, turn, turn_at AS now
