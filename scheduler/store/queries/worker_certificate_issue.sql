-- No row: the worker has a certificate that it has used, or that was taken back.
INSERT INTO worker_certificate AS c (identity, fingerprint, token_id)
VALUES ($1, $2, $3)
ON CONFLICT (identity) DO UPDATE
SET fingerprint = excluded.fingerprint, token_id = excluded.token_id, issued_at = now()
WHERE c.used_at IS NULL AND c.revoked_at IS NULL
RETURNING 1 AS "noted!"
