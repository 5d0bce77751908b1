-- Assets that are declared, with what is said of them.
INSERT INTO asset AS a (name, uri, asset_group, extra)
SELECT DISTINCT ON (d.name, d.uri) d.name, d.uri, coalesce(d.asset_group, 'asset'), d.extra::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS d (name, uri, asset_group, extra)
ORDER BY d.name, d.uri, d.asset_group NULLS LAST, d.extra NULLS LAST
ON CONFLICT (name, uri) DO UPDATE
SET asset_group = excluded.asset_group, extra = excluded.extra, is_guess = false, updated_at = now()
WHERE a.is_guess OR (a.asset_group, a.extra::text) IS DISTINCT FROM (excluded.asset_group, excluded.extra::text)
