DELETE FROM inbox_answer
WHERE command_id = ANY (ARRAY(
    SELECT command_id FROM inbox_answer WHERE answered_at < now() - interval '60 seconds' ORDER BY command_id LIMIT $1
))
