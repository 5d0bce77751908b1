-- The leader takes what people have released; each is handed out once.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), taken AS (
    DELETE FROM quarantine USING fence WHERE released_at IS NOT NULL
    RETURNING quarantine.kind, quarantine.key, quarantine.content
)
SELECT kind, key, content FROM taken ORDER BY kind, key
