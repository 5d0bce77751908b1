-- Takes the next offsets of some partitions. $1 topic; $2, $3 partitions and how many records each gets.
-- The rows are locked in order, so that producers of several partitions never wait for each other in a circle.
WITH wanted AS (
    SELECT partition, records FROM unnest($2::int[], $3::bigint[]) AS w (partition, records)
), locked AS MATERIALIZED (
    SELECT tp.partition
    FROM topic_partition AS tp JOIN wanted USING (partition)
    WHERE tp.topic_id = $1
    ORDER BY tp.partition
    FOR UPDATE OF tp
)
UPDATE topic_partition AS tp
SET next_offset = tp.next_offset + wanted.records
FROM wanted JOIN locked USING (partition)
WHERE tp.topic_id = $1 AND tp.partition = wanted.partition
RETURNING tp.partition, tp.next_offset
