SET LOCAL lock_timeout = '2s';

-- Lists have runs without the date that they are ordered by last, in both directions; an index of the other direction has them
-- first. Made in this transaction for the reason that 0010 gives.
CREATE INDEX dag_run_last_logical_date ON dag_run (logical_date DESC NULLS LAST, id DESC);
CREATE INDEX dag_run_last_start ON dag_run (started_at DESC NULLS LAST, id DESC);
CREATE INDEX dag_run_last_end ON dag_run (ended_at DESC NULLS LAST, id DESC);
