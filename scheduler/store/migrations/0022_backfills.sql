SET LOCAL lock_timeout = '2s';

-- A backfill's whole state: what was asked for, and how far it is. Its number is that of the command that asked for it.
ALTER TABLE backfill
    ADD COLUMN run_order smallint NOT NULL DEFAULT 0,
    ADD COLUMN reprocess_behavior smallint NOT NULL DEFAULT 0,
    ADD COLUMN on_latest_version boolean NOT NULL DEFAULT true,
    ADD COLUMN is_paused boolean NOT NULL DEFAULT false,
    ADD COLUMN triggering_user text,
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN cursor_start timestamptz,
    ADD COLUMN cursor_end timestamptz,
    ADD COLUMN dates_seen int NOT NULL DEFAULT 0,
    ADD COLUMN runs_made int NOT NULL DEFAULT 0,
    ADD COLUMN is_planned boolean NOT NULL DEFAULT false,
    ADD COLUMN is_dropped boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX backfill_active ON backfill (dag_id) WHERE completed_at IS NULL;
CREATE INDEX backfill_by_dag ON backfill (dag_id, id);
CREATE INDEX backfill_to_sweep ON backfill (id) WHERE is_dropped;

-- What came of each date that a backfill has looked at: a run, or why there is none (0 in flight, 1 already exists).
CREATE TABLE backfill_dag_run (
    backfill_id bigint NOT NULL,
    sort_ordinal int NOT NULL,
    logical_date timestamptz NOT NULL,
    dag_run_id bigint,
    exception_reason smallint,
    PRIMARY KEY (backfill_id, sort_ordinal)
);
CREATE INDEX backfill_dag_run_by_run ON backfill_dag_run (dag_run_id) WHERE dag_run_id IS NOT NULL;

-- The backfill whose limits a run goes by, and its place there.
ALTER TABLE dag_run
    ADD COLUMN backfill_id bigint,
    ADD COLUMN backfill_ordinal int,
    ADD COLUMN backfill_first boolean;
