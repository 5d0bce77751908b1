-- Aliases that DAGs name.
INSERT INTO asset_alias AS a (name, alias_group)
SELECT DISTINCT ON (d.name) d.name, coalesce(d.alias_group, 'asset')
FROM unnest($1::text[], $2::text[]) AS d (name, alias_group)
ORDER BY d.name, d.alias_group NULLS LAST
ON CONFLICT (name) DO UPDATE SET alias_group = excluded.alias_group WHERE a.alias_group <> excluded.alias_group
