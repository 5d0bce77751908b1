SET LOCAL lock_timeout = '2s';

-- Who asked for a run; nobody for those of a schedule.
ALTER TABLE dag_run ADD COLUMN triggering_user text;

-- Runs that were deleted, until what belongs to them is gone, too: a turn stays short, however much that is.
CREATE TABLE dropped_run (
    run_id bigint PRIMARY KEY
);
