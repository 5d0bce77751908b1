-- Deletes up to $4 revisions that are not in force: beyond the newest $2 of their bundle, or beyond the newest $1 and older than $3
-- days.
DELETE FROM bundle_revision WHERE id = ANY (ARRAY(
    SELECT ranked.id
    FROM (
        SELECT id, bundle_name, made_at, row_number() OVER (PARTITION BY bundle_name ORDER BY id DESC) AS rank
        FROM bundle_revision
    ) AS ranked
    WHERE (ranked.rank > $2 OR (ranked.rank > $1 AND ranked.made_at < now() - make_interval(days => $3)))
        AND NOT EXISTS (SELECT FROM bundle WHERE bundle.current_revision = ranked.id)
    ORDER BY ranked.id LIMIT $4
))
