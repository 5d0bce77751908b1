-- Deletes up to $2 files that no version refers to, neither as its source nor by name: versions hold SHA-256 in hex.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), used AS (
    SELECT DISTINCT found.hash[1] AS sha256
    FROM dag_version, LATERAL regexp_matches(dag_version.compiled::text, '[0-9a-f]{64}', 'g') AS found (hash)
    UNION
    SELECT encode(source_sha256, 'hex') FROM dag_version WHERE source_sha256 IS NOT NULL
), dropped AS (
    DELETE FROM blob USING fence
    WHERE blob.sha256 = ANY (ARRAY(
        SELECT one.sha256 FROM blob AS one
        WHERE NOT EXISTS (SELECT FROM used WHERE used.sha256 = encode(one.sha256, 'hex'))
        LIMIT $2
    ))
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
