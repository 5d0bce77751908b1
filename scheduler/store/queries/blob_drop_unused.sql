-- Deletes up to $2 files that no version refers to, neither as its source nor by name, nor a revision of a bundle: versions hold SHA-256 in hex. EXCEPT
-- reads each table once; a condition on every file would read all versions for each.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), unused AS (
    SELECT sha256 FROM blob
    EXCEPT
    SELECT decode(found.hash[1], 'hex')
    FROM dag_version, LATERAL regexp_matches(dag_version.compiled::text, '[0-9a-f]{64}', 'g') AS found (hash)
    EXCEPT
    SELECT source_sha256 FROM dag_version
    EXCEPT
    SELECT sha256 FROM bundle_file
    LIMIT $2
), dropped AS (
    DELETE FROM blob USING fence
    WHERE blob.sha256 = ANY (ARRAY(SELECT sha256 FROM unused))
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
