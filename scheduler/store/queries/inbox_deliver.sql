-- Takes commands for epoch $1, and counts a delivery before it is tried. The count has to survive a crash of the leader, not
-- one of the server, so this commit need not wait for the disk. An old leader reads nothing, and none reads a command twice.
-- Up to $2 of those that are few and up to $3 of those that come in floods; of each kind the oldest of every sender before
-- the second of any.
WITH fence AS (
    SELECT set_config('synchronous_commit', 'off', true) FROM leader WHERE epoch = $1 FOR KEY SHARE
), ranked AS (
    SELECT id, is_bulk, row_number() OVER (PARTITION BY is_bulk, sent_by ORDER BY id) AS nth
    FROM inbox WHERE dead_because IS NULL AND delivered_epoch IS DISTINCT FROM $1
), chosen AS (
    (SELECT id FROM ranked WHERE NOT is_bulk ORDER BY nth, id LIMIT $2)
    UNION ALL
    (SELECT id FROM ranked WHERE is_bulk ORDER BY nth, id LIMIT $3)
), delivered AS (
    UPDATE inbox AS i SET deliveries = i.deliveries + 1, delivered_epoch = $1
    FROM fence WHERE i.id = ANY (ARRAY(SELECT id FROM chosen))
    RETURNING i.id, i.is_bulk, i.command, i.sent_by, i.deliveries
)
SELECT id, command, sent_by, deliveries FROM delivered ORDER BY is_bulk, id
