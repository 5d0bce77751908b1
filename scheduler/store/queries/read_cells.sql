-- Of each task of the runs in $1 what a cell of the grid and a folded row of a run's page show. Of an expanded task that is the gravest
-- state of its instances, which the hundreds rank, as pages do.
SELECT ti.run_id, ti.task_idx,
       count(*) AS "rows!",
       -- Removed ones are not among those that it has.
       count(*) FILTER (WHERE ti.state <> 8) AS "instances!",
       count(*) FILTER (WHERE ti.state IN (4, 6)) AS "done!",
       count(*) FILTER (WHERE ti.state IN (5, 7)) AS "failed!",
       count(*) FILTER (WHERE ti.state IN (2, 3)) AS "active!",
       (max(CASE ti.state
           WHEN 5 THEN 905 WHEN 7 THEN 807 WHEN 10 THEN 710 WHEN 3 THEN 603 WHEN 9 THEN 609 WHEN 13 THEN 513 WHEN 12 THEN 412
           WHEN 11 THEN 411 WHEN 2 THEN 302 WHEN 1 THEN 301 WHEN 0 THEN 200 WHEN 4 THEN 104 ELSE ti.state
       END) % 100)::smallint AS "state!",
       max(ti.try_number) AS "try_number!", min(ti.queued_at) AS queued_at, min(ti.started_at) AS started_at,
       max(ti.ended_at) AS ended_at
FROM task_instance AS ti
WHERE ti.run_id = ANY ($1)
GROUP BY ti.run_id, ti.task_idx
