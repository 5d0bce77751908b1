-- A command that was put aside waits again; the answer that said so is taken back.
WITH waits AS (
    UPDATE inbox SET dead_because = NULL, deliveries = 0, delivered_epoch = NULL WHERE id = $1 AND dead_because IS NOT NULL RETURNING id
), unanswered AS (
    DELETE FROM inbox_answer USING waits WHERE command_id = waits.id
), uncounted AS (
    DELETE FROM quarantine USING waits WHERE kind = 'command' AND key = waits.id::text
)
SELECT id FROM waits
