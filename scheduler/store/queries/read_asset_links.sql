-- How visible DAGs that files define are joined by assets: what each writes, reads and waits for; up to $2 rows. A guess of a
-- schedule is not shown beside the asset that it means.
SELECT DISTINCT r.dag_id, r.kind, a.id AS "asset_id!", a.name AS "name!", a.uri AS "uri!"
FROM asset_reference AS r
JOIN dag AS d ON d.dag_id = r.dag_id AND NOT d.is_stale
JOIN asset AS a
  ON a.name = r.name AND (r.uri IS NULL OR a.uri = r.uri) OR r.uri IS NULL AND a.uri = r.name
WHERE NOT r.is_alias AND ($1::text[] IS NULL OR r.dag_id = ANY ($1))
  AND NOT (a.is_guess AND EXISTS (SELECT FROM asset AS b WHERE b.name = a.name AND NOT b.is_guess))
  AND NOT (a.is_guess AND EXISTS (SELECT FROM asset AS b WHERE b.uri = a.uri AND NOT b.is_guess))
UNION
SELECT DISTINCT r.dag_id, r.kind, a.id, a.name, a.uri
FROM asset_reference AS r
JOIN dag AS d ON d.dag_id = r.dag_id AND NOT d.is_stale
JOIN asset_alias_asset AS x ON x.alias = r.name
JOIN asset AS a ON a.id = x.asset_id
WHERE r.is_alias AND ($1::text[] IS NULL OR r.dag_id = ANY ($1))
ORDER BY 1, 2, 4
LIMIT $2
