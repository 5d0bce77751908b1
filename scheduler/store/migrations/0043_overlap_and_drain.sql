-- Whether no further run of a DAG starts, and when the last run of its schedule was due that was not made because another was active.
ALTER TABLE dag ADD COLUMN is_draining boolean NOT NULL DEFAULT false;
ALTER TABLE dag ADD COLUMN passed_over_at timestamptz;
