-- How many notifications there are of the DAGs in $1, of the states in $2, of the run $3, up to one more than $4.
SELECT count(*) AS "count!" FROM (
    SELECT FROM notification
    WHERE ($1::text[] IS NULL OR dag_id = ANY ($1))
        AND ($2::smallint[] IS NULL OR state = ANY ($2))
        AND ($3::text IS NULL OR run_id = $3)
    LIMIT $4::bigint + 1
) AS found
