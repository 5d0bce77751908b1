-- Stores record batches. $1 topic, $2 slice; the rest a column of the batches each.
INSERT INTO log_batch (topic_id, slice, partition, last_offset, record_count, first_at, last_at, raw_bytes, records)
SELECT $1, $2, b.*
FROM unnest($3::int[], $4::bigint[], $5::int[], $6::timestamptz[], $7::timestamptz[], $8::int[], $9::bytea[]) AS b
