-- What is kept of an asset under keys, from run to run; it goes with the asset.
CREATE TABLE asset_state_store (
    asset_id bigint NOT NULL REFERENCES asset ON DELETE CASCADE,
    key text NOT NULL,
    value json NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, key)
);
