-- The newest event of each of the assets $1.
SELECT a.id AS "asset_id!", e.id AS "event_id!", e.at AS "at!"
FROM unnest($1::bigint[]) AS a (id)
CROSS JOIN LATERAL (SELECT n.id, n.at FROM asset_event AS n WHERE n.asset_id = a.id ORDER BY n.id DESC LIMIT 1) AS e
