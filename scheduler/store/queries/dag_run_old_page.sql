-- A page of runs in the order in which they were made, after $1: whether each may go that ended before $2, and whether it was
-- made after that. The newest ended run of a DAG stays: the next one may depend on it. So do runs whose attempt may live.
SELECT
    page.id,
    page.queued_at >= $2 AS "is_young!",
    page.state NOT IN (0, 1) AND NOT page.has_leftovers AND page.ended_at < $2 AND EXISTS (
        SELECT FROM dag_run AS later
        WHERE later.dag_id = page.dag_id AND later.run_after > page.run_after AND later.state NOT IN (0, 1)
    ) AS "may_go!"
FROM (
    SELECT id, dag_id, state, run_after, queued_at, ended_at, has_leftovers
    FROM dag_run WHERE id > $1 ORDER BY id LIMIT $3
) AS page
ORDER BY page.id
