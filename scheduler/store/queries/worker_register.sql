-- No row: this epoch is not in force.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
)
INSERT INTO worker (identity, name, slots, queues, capabilities)
SELECT $2, $3, $4, $5, $6 FROM fence
ON CONFLICT (identity) DO UPDATE
SET name = excluded.name, slots = excluded.slots, queues = excluded.queues, capabilities = excluded.capabilities,
    joined_at = now(), lost_at = NULL
RETURNING id
