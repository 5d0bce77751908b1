-- Puts a schema under a subject. $1 subject, $2 schema id. Nothing is returned when a live version has it already.
-- The caller holds the registry's lock, so that the version counted here is not taken by another.
INSERT INTO registry_version (subject, version, schema_id)
SELECT $1, coalesce(max(version), 0) + 1, $2
FROM registry_version
WHERE subject = $1
HAVING count(*) FILTER (WHERE schema_id = $2 AND NOT deleted) = 0
