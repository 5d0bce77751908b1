-- Tasks of DAGs that files define: each of the words $1 is in "dag task", and in the task's id, unless it is in the DAG's: a DAG's
-- name alone does not bring all of its tasks. Of the DAGs $3, or of all without.
SELECT t.dag_id, t.task_id
FROM dag_task t
JOIN dag d ON d.dag_id = t.dag_id AND NOT d.is_stale
WHERE (SELECT bool_and(strpos(lower(t.dag_id || ' ' || t.task_id), lower(word)) > 0) FROM unnest($1::text[]) AS w (word))
  AND (SELECT bool_and(strpos(lower(t.task_id), lower(word)) > 0) OR NOT bool_and(strpos(lower(t.dag_id), lower(word)) > 0)
       FROM unnest($1::text[]) AS w (word))
  AND ($3::text[] IS NULL OR t.dag_id = ANY ($3))
ORDER BY t.dag_id, t.task_idx
LIMIT $2
