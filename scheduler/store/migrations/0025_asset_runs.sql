SET LOCAL lock_timeout = '2s';

-- The events of an asset that a run has taken up: those of this asset from the first to the last. Those of one DAG do not overlap.
CREATE TABLE dag_run_asset (
    run_id bigint NOT NULL,
    asset_id bigint NOT NULL,
    dag_id text NOT NULL,
    first_event bigint NOT NULL,
    last_event bigint NOT NULL,
    PRIMARY KEY (run_id, asset_id)
);
CREATE INDEX dag_run_asset_by_event ON dag_run_asset (asset_id, dag_id, last_event);
