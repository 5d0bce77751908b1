-- Moves watermarks from the values that the writer has seen. $1 table, $2 topic; $3 partitions, $4 seen (null: no row), $5 next.
-- The answer is the number of steps made; anything but all of them means that another writer was first.
WITH step AS (
    SELECT * FROM unnest($3::int[], $4::bigint[], $5::bigint[]) AS s (partition, seen, next_offset)
), moved AS (
    UPDATE watermark AS w
    SET next_offset = s.next_offset, updated_at = now()
    FROM step s
    WHERE w.table_name = $1 AND w.topic = $2 AND w.partition = s.partition AND w.next_offset = s.seen
    RETURNING 1
), made AS (
    INSERT INTO watermark (table_name, topic, partition, next_offset)
    SELECT $1, $2, s.partition, s.next_offset FROM step s WHERE s.seen IS NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM made)
