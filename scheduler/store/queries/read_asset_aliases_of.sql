-- The aliases through which the assets $1 have changed, up to $2 rows.
SELECT x.asset_id, a.id, a.name, a.alias_group
FROM asset_alias_asset AS x JOIN asset_alias AS a ON a.name = x.alias
WHERE x.asset_id = ANY ($1)
ORDER BY x.asset_id, a.name
LIMIT $2
