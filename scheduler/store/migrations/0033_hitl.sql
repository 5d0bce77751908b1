-- Questions that tasks have put to people, one a try, and their answers. The newest try's is the one that can be answered, as long
-- as its instance awaits input (state 13).
CREATE TABLE hitl_detail (
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    try_number smallint NOT NULL,
    created_at timestamptz NOT NULL,
    subject text NOT NULL,
    body text,
    options text[] NOT NULL,
    defaults text[] NOT NULL,
    multiple boolean NOT NULL,
    params json NOT NULL,
    assigned_users json NOT NULL,
    responded_at timestamptz,
    -- Nobody when the time was over and the defaults counted.
    responded_by_id text,
    responded_by_name text,
    chosen_options text[],
    params_input json,
    PRIMARY KEY (run_id, task_idx, map_index, try_number)
);
CREATE INDEX hitl_detail_newest ON hitl_detail (created_at);
CREATE INDEX hitl_detail_unanswered ON hitl_detail (created_at) WHERE responded_at IS NULL;
