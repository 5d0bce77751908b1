-- What the current versions of the DAGs $1 say of assets, in place of what stood there. $2.. a row each.
WITH said AS (
    SELECT DISTINCT ON (r.dag_id, r.kind, r.task_id, r.is_alias, r.name, coalesce(r.uri, '')) r.*
    FROM unnest($2::text[], $3::smallint[], $4::text[], $5::boolean[], $6::text[], $7::text[])
         AS r (dag_id, kind, task_id, is_alias, name, uri)
), gone AS (
    DELETE FROM asset_reference AS o
    WHERE o.dag_id = ANY ($1)
      AND NOT EXISTS (SELECT FROM said AS s
                      WHERE (s.dag_id, s.kind, s.task_id, s.is_alias, s.name, coalesce(s.uri, ''))
                          = (o.dag_id, o.kind, o.task_id, o.is_alias, o.name, coalesce(o.uri, '')))
)
INSERT INTO asset_reference (dag_id, kind, task_id, is_alias, name, uri)
SELECT s.dag_id, s.kind, s.task_id, s.is_alias, s.name, s.uri FROM said AS s
ON CONFLICT (dag_id, kind, task_id, is_alias, name, (coalesce(uri, ''))) DO NOTHING
