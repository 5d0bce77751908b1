-- A command that was put aside waits again; the answer that said so is taken back.
WITH waits AS (
    UPDATE inbox SET dead_because = NULL, deliveries = 0, delivered_epoch = NULL WHERE id = $1 AND dead_because IS NOT NULL RETURNING id
), unanswered AS (
    DELETE FROM inbox_answer WHERE command_id = $1 AND EXISTS (SELECT FROM waits)
)
SELECT id FROM waits
