SELECT v.dag_id, v.id
FROM unnest($1::text[], $2::text[]) AS asked (dag_id, content_hash)
JOIN dag_version AS v ON (v.dag_id, v.content_hash) = (asked.dag_id, asked.content_hash)
