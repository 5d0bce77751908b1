-- How a certificate stands, noting the first use of one that counts.
WITH used AS (
    UPDATE worker_certificate SET used_at = now()
    WHERE identity = $1 AND fingerprint = $2 AND used_at IS NULL AND revoked_at IS NULL
)
SELECT fingerprint = $2 AS "same!", revoked_at IS NOT NULL AS "revoked!"
FROM worker_certificate
WHERE identity = $1
