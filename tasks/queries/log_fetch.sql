-- Batches of a partition from an offset on. $1 topic, $2 partition, $3 offset, $4 batches at most, $5 bytes at most.
-- The first batch comes even when it alone is larger. Sizes are summed before any records are read from storage.
SELECT last_offset, record_count, raw_bytes, records
FROM (
    SELECT last_offset, record_count, raw_bytes, records,
        sum(raw_bytes) OVER (ORDER BY last_offset) - raw_bytes AS bytes_before
    FROM (
        SELECT last_offset, record_count, raw_bytes, records
        FROM log_batch
        WHERE topic_id = $1 AND partition = $2 AND last_offset >= $3
        ORDER BY last_offset
        LIMIT $4
    ) AS following
) AS sized
WHERE bytes_before < $5
ORDER BY last_offset
