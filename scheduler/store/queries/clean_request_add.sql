-- Asks for a deletion; the farther of two wishes for one kind counts.
INSERT INTO clean_request (kind, before, requested_by) VALUES ($1, $2, $3)
ON CONFLICT (kind) DO UPDATE
SET before = greatest(clean_request.before, excluded.before), requested_by = excluded.requested_by, requested_at = now()
