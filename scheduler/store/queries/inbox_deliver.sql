-- Counts a delivery before it is tried. The count has to survive a crash of the leader, not one of the server, so this
-- commit need not wait for the disk. An old leader reads nothing.
WITH fence AS (
    SELECT set_config('synchronous_commit', 'off', true) FROM leader WHERE epoch = $1 FOR KEY SHARE
), oldest AS (
    SELECT id FROM inbox WHERE dead_because IS NULL ORDER BY id LIMIT $2
), delivered AS (
    UPDATE inbox AS i SET deliveries = i.deliveries + 1
    FROM oldest, fence WHERE i.id = oldest.id
    RETURNING i.id, i.command, i.sent_by, i.deliveries
)
SELECT id, command, sent_by, deliveries FROM delivered ORDER BY id
