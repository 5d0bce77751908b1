-- The assets that inlets mean: of each name and uri in $1 and $2 the one of both, else the one of the name, else that of the uri; and those
-- that have changed through the aliases $3, of each the newest, at most a hundred.
SELECT m.id AS "id!"
FROM unnest($1::text[], $2::text[]) AS k (name, uri)
CROSS JOIN LATERAL (
    SELECT a.id FROM asset AS a WHERE a.name = k.name OR a.uri = k.uri
    ORDER BY (a.name, a.uri) = (k.name, k.uri) DESC, a.name = k.name DESC, a.id
    LIMIT 1
) AS m
UNION
SELECT x.asset_id
FROM unnest($3::text[]) AS l (alias)
CROSS JOIN LATERAL (
    SELECT asset_id FROM asset_alias_asset WHERE alias = l.alias ORDER BY asset_id DESC LIMIT 100
) AS x
