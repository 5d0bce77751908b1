-- Raises the first offset of a topic's partitions over what the slices below $2 hold. $1 topic.
UPDATE topic_partition AS tp
SET start_offset = greatest(tp.start_offset, dropped.last_offset + 1)
FROM (
    SELECT partition, max(last_offset) AS last_offset FROM log_batch WHERE topic_id = $1 AND slice < $2 GROUP BY partition
) AS dropped
WHERE tp.topic_id = $1 AND tp.partition = dropped.partition
