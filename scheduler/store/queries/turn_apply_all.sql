-- Stores a turn with everything that a turn can have, or nothing: still one statement and one round trip.
-- $1..$25 are those of turn_apply.sql. The others are JSON arrays of objects named like the columns, except
-- $27, $36 and $38 to $40, which are arrays. $42 are backfills, $43 what came of their dates,
-- $44 the instances that are gone, $45 those that are as if nothing had happened to them,
-- $46 events of assets, $47 and $48 entries of queues that are set and that go, $49 what new runs have taken up,
-- $50 an object of what is told to the outside: notifications, and deadlines that are set, missed and met,
-- $51 questions that were put to people, $52 answers to earlier ones, $53 the format that a state with all of this has at least,
-- $54 what the scheduler did of itself, for the audit log, $55 when attempts of pools with a rate limit have started.
-- Runs are made unless they exist. A timer's run that is there already is left out, with its instances; beside a command,
-- whose answer would be wrong, that is refused.
WITH fence AS (
    UPDATE leader SET turn = turn + 1, turn_at = $2, format = greatest(format, $53) WHERE epoch = $1 RETURNING turn
), new_run AS (
    INSERT INTO dag_run
        (id, dag_id, run_id, run_type, triggered_by, version_id, state, logical_date, interval_start, interval_end,
         run_after, queued_at, started_at, ended_at, conf, note, clear_number, triggering_user,
         backfill_id, backfill_ordinal, backfill_first)
    SELECT r.id, r.dag_id, r.run_id, r.run_type, r.triggered_by, r.version_id, r.state, r.logical_date, r.interval_start,
           r.interval_end, r.run_after, r.queued_at, r.started_at, r.ended_at, r.conf::json, r.note, r.clear_number,
           r.triggering_user, r.backfill_id, r.backfill_ordinal, r.backfill_first
    FROM json_to_recordset($26::text::json)
         AS r (id bigint, dag_id text, run_id text, run_type smallint, triggered_by smallint, version_id bigint,
               state smallint, logical_date timestamptz, interval_start timestamptz, interval_end timestamptz,
               run_after timestamptz, queued_at timestamptz, started_at timestamptz, ended_at timestamptz, conf text,
               note text, clear_number int, triggering_user text, backfill_id bigint, backfill_ordinal int,
               backfill_first boolean), fence
    ON CONFLICT DO NOTHING
    RETURNING id
), existing AS ( -- $27: the keys of the new runs
    SELECT k.id FROM unnest($27::bigint[]) AS k (id) WHERE k.id NOT IN (SELECT id FROM new_run)
), run AS (
    UPDATE dag_run AS d
    SET version_id = r.version_id, state = r.state, queued_at = r.queued_at, started_at = r.started_at,
        ended_at = r.ended_at, note = r.note, clear_number = r.clear_number,
        run_type = r.run_type, triggered_by = r.triggered_by, backfill_id = r.backfill_id,
        backfill_ordinal = r.backfill_ordinal, backfill_first = r.backfill_first,
        has_leftovers = d.has_leftovers OR d.id = ANY ($38::bigint[])
    FROM json_to_recordset($28::text::json)
         AS r (id bigint, expected smallint, version_id bigint, state smallint, queued_at timestamptz,
               started_at timestamptz, ended_at timestamptz, note text, clear_number int, run_type smallint,
               triggered_by smallint, backfill_id bigint, backfill_ordinal int, backfill_first boolean), fence
    WHERE d.id = r.id AND d.state = r.expected
    RETURNING 1
), leftover AS ( -- $38: runs with an attempt that outlives its state; one that changes anyway is flagged above
    UPDATE dag_run AS d SET has_leftovers = true
    FROM unnest($38::bigint[]) AS l (id), fence
    WHERE d.id = l.id AND NOT d.has_leftovers
      AND d.id NOT IN (SELECT r.id FROM json_to_recordset($28::text::json) AS r (id bigint))
), made AS (
    INSERT INTO task_instance
        (run_id, task_idx, map_index, try_number, state, attempt, live, worker_id, queued_at, started_at, ended_at)
    SELECT n.*
    FROM unnest($3::bigint[], $4::int[], $5::int[], $6::smallint[], $7::smallint[], $8::uuid[], $9::boolean[], $10::int[],
                $11::timestamptz[], $12::timestamptz[], $13::timestamptz[])
         AS n (run_id, task_idx, map_index, try_number, state, attempt, live, worker_id, queued_at, started_at, ended_at),
         fence
    WHERE n.run_id NOT IN (SELECT id FROM existing)
    RETURNING 1
), changed AS (
    UPDATE task_instance AS ti
    SET try_number = c.try_number, state = c.next, attempt = c.attempt, live = c.live, worker_id = c.worker_id,
        queued_at = c.queued_at, started_at = c.started_at, ended_at = c.ended_at
    FROM unnest($14::bigint[], $15::int[], $16::int[], $17::smallint[], $18::smallint[], $19::smallint[], $20::uuid[],
                $21::boolean[], $22::int[], $23::timestamptz[], $24::timestamptz[], $25::timestamptz[])
         AS c (run_id, task_idx, map_index, expected, try_number, next, attempt, live, worker_id, queued_at, started_at, ended_at),
         fence
    WHERE (ti.run_id, ti.task_idx, ti.map_index) = (c.run_id, c.task_idx, c.map_index) AND ti.state = c.expected
    RETURNING 1
), extra AS (
    INSERT INTO task_instance_extra AS x
        (run_id, task_idx, map_index, max_tries, infrastructure_losses, wake_at, exit_code, reason, note, skips, lost_at,
         map_length, rendered_map_index, first_poke_at, reschedules, requeues)
    SELECT e.run_id, e.task_idx, e.map_index, e.max_tries, e.infrastructure_losses, e.wake_at, e.exit_code, e.reason, e.note,
           e.skips, e.lost_at, e.map_length, e.rendered_map_index, e.first_poke_at, coalesce(e.reschedules, 0),
           coalesce(e.requeues, 0)
    FROM json_to_recordset($29::text::json)
         AS e (run_id bigint, task_idx int, map_index int, max_tries smallint, infrastructure_losses smallint,
               wake_at timestamptz, exit_code int, reason text, note text, skips int[], lost_at timestamptz, map_length int,
               rendered_map_index text, first_poke_at timestamptz, reschedules int, requeues smallint), fence
    WHERE e.run_id NOT IN (SELECT id FROM existing)
    ON CONFLICT (run_id, task_idx, map_index) DO UPDATE
    SET max_tries = excluded.max_tries, infrastructure_losses = excluded.infrastructure_losses,
        wake_at = excluded.wake_at, exit_code = excluded.exit_code, reason = excluded.reason, note = excluded.note,
        skips = excluded.skips, lost_at = excluded.lost_at, map_length = excluded.map_length,
        rendered_map_index = excluded.rendered_map_index, first_poke_at = excluded.first_poke_at,
        reschedules = excluded.reschedules, requeues = excluded.requeues
), instance_gone AS ( -- $44: the summaries of tasks that are expanded
    DELETE FROM task_instance AS ti
    USING json_to_recordset($44::text::json) AS g (run_id bigint, task_idx int, map_index int), fence
    WHERE (ti.run_id, ti.task_idx, ti.map_index) = (g.run_id, g.task_idx, g.map_index)
    RETURNING 1
), extra_gone AS (
    DELETE FROM task_instance_extra AS x
    USING json_to_recordset($44::text::json) AS g (run_id bigint, task_idx int, map_index int), fence
    WHERE (x.run_id, x.task_idx, x.map_index) = (g.run_id, g.task_idx, g.map_index)
), try AS (
    INSERT INTO task_try
        (run_id, task_idx, map_index, try_number, state, attempt, worker_id, queued_at, started_at, ended_at, reason, exit_code)
    SELECT t.*
    FROM json_to_recordset($30::text::json)
         AS t (run_id bigint, task_idx int, map_index int, try_number smallint, state smallint, attempt uuid, worker_id int,
               queued_at timestamptz, started_at timestamptz, ended_at timestamptz, reason text, exit_code int), fence
), new_xcom AS (
    SELECT v.run_id, v.task_idx, v.map_index, v.key, v.value::json AS value
    FROM json_to_recordset($31::text::json)
         AS v (run_id bigint, task_idx int, map_index int, key text, value text), fence
), xcom_gone AS (
    DELETE FROM xcom AS x
    USING json_to_recordset($32::text::json) AS g (run_id bigint, task_idx int, map_index int), fence
    WHERE (x.run_id, x.task_idx, x.map_index) = (g.run_id, g.task_idx, g.map_index)
      AND NOT EXISTS (SELECT FROM new_xcom AS v
                      WHERE (v.run_id, v.task_idx, v.map_index, v.key) = (x.run_id, x.task_idx, x.map_index, x.key))
), xcom_left AS (
    INSERT INTO xcom (run_id, task_idx, map_index, key, value)
    SELECT v.run_id, v.task_idx, v.map_index, v.key, v.value FROM new_xcom AS v
    ON CONFLICT (run_id, task_idx, map_index, key) DO UPDATE SET value = excluded.value
), xcom_deleted AS (
    DELETE FROM xcom AS x
    USING json_to_recordset($41::text::json) AS g (run_id bigint, task_idx int, map_index int, key text), fence
    WHERE (x.run_id, x.task_idx, x.map_index, x.key) = (g.run_id, g.task_idx, g.map_index, g.key)
), try_gone AS ( -- $45: instances that are as if nothing had happened to them
    DELETE FROM task_try AS t
    USING json_to_recordset($45::text::json) AS g (run_id bigint, task_idx int, map_index int), fence
    WHERE (t.run_id, t.task_idx, t.map_index) = (g.run_id, g.task_idx, g.map_index)
), task_state_gone AS (
    DELETE FROM task_state_store AS s
    USING json_to_recordset($45::text::json) AS g (run_id bigint, task_idx int, map_index int), fence
    WHERE (s.run_id, s.task_idx, s.map_index) = (g.run_id, g.task_idx, g.map_index)
), asked_gone AS (
    DELETE FROM hitl_detail AS h
    USING json_to_recordset($45::text::json) AS g (run_id bigint, task_idx int, map_index int), fence
    WHERE (h.run_id, h.task_idx, h.map_index) = (g.run_id, g.task_idx, g.map_index)
), asked AS ( -- $51: a question may have its answer already
    INSERT INTO hitl_detail
        (run_id, task_idx, map_index, try_number, created_at, subject, body, options, defaults, multiple, params,
         assigned_users, responded_at, responded_by_id, responded_by_name, chosen_options, params_input)
    SELECT q.run_id, q.task_idx, q.map_index, q.try_number, q.created_at, q.subject, q.body, q.options, q.defaults, q.multiple,
           q.params::json, q.assigned_users::json, q.responded_at, q.responded_by_id, q.responded_by_name, q.chosen_options,
           q.params_input::json
    FROM json_to_recordset($51::text::json)
         AS q (run_id bigint, task_idx int, map_index int, try_number smallint, created_at timestamptz, subject text, body text,
               options text[], defaults text[], multiple boolean, params text, assigned_users text, responded_at timestamptz,
               responded_by_id text, responded_by_name text, chosen_options text[], params_input text), fence
    ON CONFLICT (run_id, task_idx, map_index, try_number) DO UPDATE
    SET created_at = excluded.created_at, subject = excluded.subject, body = excluded.body, options = excluded.options,
        defaults = excluded.defaults, multiple = excluded.multiple, params = excluded.params,
        assigned_users = excluded.assigned_users, responded_at = excluded.responded_at,
        responded_by_id = excluded.responded_by_id, responded_by_name = excluded.responded_by_name,
        chosen_options = excluded.chosen_options, params_input = excluded.params_input
), response AS ( -- $52
    UPDATE hitl_detail AS h
    SET responded_at = r.responded_at, responded_by_id = r.responded_by_id, responded_by_name = r.responded_by_name,
        chosen_options = r.chosen_options, params_input = r.params_input::json
    FROM json_to_recordset($52::text::json)
         AS r (run_id bigint, task_idx int, map_index int, try_number smallint, responded_at timestamptz, responded_by_id text,
               responded_by_name text, chosen_options text[], params_input text), fence
    WHERE (h.run_id, h.task_idx, h.map_index, h.try_number) = (r.run_id, r.task_idx, r.map_index, r.try_number)
), dropped AS ( -- $39: runs, $40: DAGs all of whose runs go
    DELETE FROM dag_run AS d USING fence WHERE d.id = ANY ($39::bigint[]) OR d.dag_id = ANY ($40::text[]) RETURNING d.id
), to_sweep AS (
    INSERT INTO dropped_run (run_id) SELECT id FROM dropped ON CONFLICT DO NOTHING
), dag_gone AS (
    DELETE FROM dag AS d USING fence WHERE d.dag_id = ANY ($40::text[]) AND d.is_stale RETURNING d.dag_id
), version_gone AS (
    DELETE FROM dag_version WHERE dag_id = ANY (ARRAY(SELECT dag_id FROM dag_gone))
), reference_gone AS (
    DELETE FROM asset_reference WHERE dag_id = ANY (ARRAY(SELECT dag_id FROM dag_gone))
), backfill_gone AS ( -- what hangs on it is swept later
    UPDATE backfill AS b SET is_dropped = true, completed_at = coalesce(b.completed_at, $2)
    FROM fence WHERE b.dag_id = ANY ($40::text[]) AND NOT b.is_dropped
), backfill_set AS (
    INSERT INTO backfill
        (id, dag_id, from_date, to_date, run_order, reprocess_behavior, on_latest_version, max_active_runs, conf, is_paused,
         triggering_user, created_at, updated_at, completed_at, cursor_start, cursor_end, dates_seen, runs_made, is_planned)
    OVERRIDING SYSTEM VALUE
    SELECT b.id, b.dag_id, b.from_date, b.to_date, b.run_order, b.reprocess_behavior, b.on_latest_version, b.max_active_runs,
           b.conf::json, b.is_paused, b.triggering_user, b.created_at, b.updated_at, b.completed_at, b.cursor_start,
           b.cursor_end, b.dates_seen, b.runs_made, b.is_planned
    FROM json_to_recordset($42::text::json)
         AS b (id bigint, dag_id text, from_date timestamptz, to_date timestamptz, run_order smallint,
               reprocess_behavior smallint, on_latest_version boolean, max_active_runs int, conf text, is_paused boolean,
               triggering_user text, created_at timestamptz, updated_at timestamptz, completed_at timestamptz,
               cursor_start timestamptz, cursor_end timestamptz, dates_seen int, runs_made int, is_planned boolean), fence
    -- One that ends goes before one that begins: a DAG has one that is not over.
    ORDER BY b.completed_at NULLS LAST
    ON CONFLICT (id) DO UPDATE
    SET is_paused = excluded.is_paused, updated_at = excluded.updated_at, completed_at = excluded.completed_at,
        cursor_start = excluded.cursor_start, cursor_end = excluded.cursor_end, dates_seen = excluded.dates_seen,
        runs_made = excluded.runs_made, is_planned = excluded.is_planned
), backfill_seen AS (
    INSERT INTO backfill_dag_run (backfill_id, sort_ordinal, logical_date, dag_run_id, exception_reason)
    SELECT s.backfill_id, s.sort_ordinal, s.logical_date, s.dag_run_id, s.exception_reason
    FROM json_to_recordset($43::text::json)
         AS s (backfill_id bigint, sort_ordinal int, logical_date timestamptz, dag_run_id bigint, exception_reason smallint),
         fence
), asset_event_new AS (
    SELECT e.*
    FROM json_to_recordset($46::text::json)
         AS e (id bigint, name text, uri text, at timestamptz, extra text, dag_id text, run_id text, task_id text,
               map_index int, aliases text[]), fence
), asset_made AS ( -- assets that a task has named to an alias
    INSERT INTO asset (name, uri)
    SELECT DISTINCT e.name, e.uri FROM asset_event_new AS e
    WHERE NOT EXISTS (SELECT FROM asset AS a WHERE a.name = e.name AND a.uri = e.uri)
    ON CONFLICT (name, uri) DO UPDATE SET updated_at = excluded.updated_at
    RETURNING id, name, uri
), asset_known AS (
    SELECT id, name, uri FROM asset_made
    UNION ALL
    SELECT a.id, a.name, a.uri
    FROM (SELECT e.name, e.uri FROM asset_event_new AS e
          UNION SELECT q.name, q.uri FROM json_to_recordset($47::text::json) AS q (name text, uri text)
          UNION SELECT q.name, q.uri FROM json_to_recordset($48::text::json) AS q (name text, uri text)
          UNION SELECT c.name, c.uri FROM json_to_recordset($49::text::json) AS c (name text, uri text)) AS n
    JOIN asset AS a ON a.name = n.name AND a.uri = n.uri
), asset_certain AS ( -- what has changed is there, whoever has named it
    UPDATE asset AS a SET is_guess = false
    FROM (SELECT DISTINCT e.name, e.uri FROM asset_event_new AS e) AS n
    WHERE a.name = n.name AND a.uri = n.uri AND a.is_guess
), asset_event_made AS (
    INSERT INTO asset_event
        (id, asset_id, at, extra, source_dag_id, source_run_id, source_task_id, source_map_index, aliases)
    OVERRIDING SYSTEM VALUE
    SELECT e.id, a.id, e.at, e.extra::json, e.dag_id, e.run_id, e.task_id, e.map_index, e.aliases
    FROM asset_event_new AS e JOIN asset_known AS a ON a.name = e.name AND a.uri = e.uri
    RETURNING 1
), asset_of_alias AS (
    INSERT INTO asset_alias_asset (alias, asset_id)
    SELECT DISTINCT alias.name, a.id
    FROM asset_event_new AS e JOIN asset_known AS a ON a.name = e.name AND a.uri = e.uri, unnest(e.aliases) AS alias (name)
    ON CONFLICT DO NOTHING
), asset_queue_set AS (
    INSERT INTO asset_queue (dag_id, asset_id, first_event, last_event, created_at, newest_at, aliases)
    SELECT q.dag_id, a.id, q.first_event, q.last_event, q.created_at, q.newest_at, q.aliases
    FROM json_to_recordset($47::text::json)
         AS q (dag_id text, name text, uri text, first_event bigint, last_event bigint, created_at timestamptz,
               newest_at timestamptz, aliases text[])
    JOIN asset_known AS a ON a.name = q.name AND a.uri = q.uri, fence
    ON CONFLICT (dag_id, asset_id) DO UPDATE
    SET first_event = excluded.first_event, last_event = excluded.last_event, created_at = excluded.created_at,
        newest_at = excluded.newest_at, aliases = excluded.aliases
    RETURNING 1
), asset_queue_gone AS (
    DELETE FROM asset_queue AS q
    USING json_to_recordset($48::text::json) AS g (dag_id text, name text, uri text)
    JOIN asset_known AS a ON a.name = g.name AND a.uri = g.uri, fence
    WHERE q.dag_id = g.dag_id AND q.asset_id = a.id
), asset_queue_dropped AS ( -- $40: DAGs whose runs all go
    DELETE FROM asset_queue AS q USING fence WHERE q.dag_id = ANY ($40::text[])
), asset_consumed AS (
    INSERT INTO dag_run_asset (run_id, asset_id, dag_id, first_event, last_event)
    SELECT c.run_id, a.id, c.dag_id, c.first_event, c.last_event
    FROM json_to_recordset($49::text::json)
         AS c (run_id bigint, dag_id text, name text, uri text, first_event bigint, last_event bigint)
    JOIN asset_known AS a ON a.name = c.name AND a.uri = c.uri, fence
    WHERE c.run_id NOT IN (SELECT id FROM existing)
), notification_owed AS (
    INSERT INTO notification
        (id, dag_id, run_key, run_id, version_id, event, position, kind, deadline, task_idx, task_id, map_index, try_number,
         max_tries, reason, at, next_attempt_at)
    SELECT n.id, n.dag_id, n.run_key, n.run_id, n.version_id, n.event, n.position, n.kind, n.deadline, n.task_idx, n.task_id,
           n.map_index, n.try_number, n.max_tries, n.reason, n.at, n.at
    FROM json_to_recordset(($50::text::json) -> 'notifications')
         AS n (id uuid, dag_id text, run_key bigint, run_id text, version_id bigint, event smallint, position smallint,
               kind text, deadline smallint, task_idx int, task_id text, map_index int, try_number smallint,
               max_tries smallint, reason text, at timestamptz), fence
    WHERE n.run_key NOT IN (SELECT id FROM existing)
), deadline_set AS (
    INSERT INTO deadline
        (id, run_key, dag_id, run_id, version_id, position, name, kinds, at, created_at, missed_at)
    SELECT d.id, d.run_key, d.dag_id, d.run_id, d.version_id, d.position, d.name, d.kinds, d.at, d.created_at, d.missed_at
    FROM json_to_recordset(($50::text::json) -> 'deadlines')
         AS d (id uuid, run_key bigint, dag_id text, run_id text, version_id bigint, position smallint, name text,
               kinds text[], at timestamptz, created_at timestamptz, missed_at timestamptz), fence
    WHERE d.run_key NOT IN (SELECT id FROM existing)
), deadline_missed AS (
    UPDATE deadline AS d SET missed_at = $2
    FROM json_array_elements_text(($50::text::json) -> 'missed') AS m (id), fence WHERE d.id = m.id::uuid
), deadline_met AS (
    DELETE FROM deadline AS d
    USING json_array_elements_text(($50::text::json) -> 'met') AS m (id), fence WHERE d.id = m.id::uuid
), failure AS (
    INSERT INTO task_failure (run_id, task_idx, map_index, try_number, failed_at, reason)
    SELECT f.*
    FROM json_to_recordset($33::text::json)
         AS f (run_id bigint, task_idx int, map_index int, try_number smallint, failed_at timestamptz, reason text), fence
), changed_dag AS (
    UPDATE dag AS d
    SET is_paused = c.is_paused, is_stale = c.is_stale, next_logical_date = c.next_logical_date,
        next_interval_start = c.next_interval_start, next_interval_end = c.next_interval_end,
        next_run_after = c.next_run_after, last_interval_start = c.last_interval_start,
        last_interval_end = c.last_interval_end, failed_in_a_row = c.failed_in_a_row, is_draining = c.is_draining,
        passed_over_at = c.passed_over_at
    FROM json_to_recordset($34::text::json)
         AS c (dag_id text, is_paused boolean, is_stale boolean, next_logical_date timestamptz,
               next_interval_start timestamptz, next_interval_end timestamptz, next_run_after timestamptz,
               last_interval_start timestamptz, last_interval_end timestamptz, failed_in_a_row int, is_draining boolean,
               passed_over_at timestamptz), fence
    WHERE d.dag_id = c.dag_id
), audited AS ( -- $54
    INSERT INTO audit_log (at, who, action, dag_id, run_id, details, outcome)
    SELECT $2, 'scheduler', a.action, a.dag_id, a.run_id, a.details::json, 'done'
    FROM json_to_recordset($54::text::json) AS a (action text, dag_id text, run_id text, details text), fence
), pool_set AS (
    INSERT INTO pool AS p (name, slots, description, include_deferred, rate_limit, recent_starts)
    SELECT n.name, n.slots, n.description, n.include_deferred, n.rate_limit, coalesce(n.recent_starts, '{}')
    FROM json_to_recordset($35::text::json)
         AS n (name text, slots int, description text, include_deferred boolean, rate_limit text, recent_starts timestamptz[]), fence
    ON CONFLICT (name) DO UPDATE
    SET slots = excluded.slots, description = excluded.description, include_deferred = excluded.include_deferred,
        rate_limit = excluded.rate_limit,
        recent_starts = CASE WHEN excluded.rate_limit IS NULL THEN '{}'
                             WHEN excluded.recent_starts = '{}' THEN p.recent_starts ELSE excluded.recent_starts END
), pool_started AS ( -- $55: pools that do not change otherwise
    UPDATE pool AS p SET recent_starts = s.recent_starts
    FROM json_to_recordset($55::text::json) AS s (name text, recent_starts timestamptz[]), fence
    WHERE p.name = s.name
), pool_gone AS ( -- $36: names
    DELETE FROM pool AS p USING fence WHERE p.name = ANY ($36::text[])
), answer AS (
    SELECT a.command_id, a.status, a.body::json AS body
    FROM json_to_recordset($37::text::json) AS a (command_id bigint, status text, body text), fence
), taken AS (
    DELETE FROM inbox WHERE id = ANY (ARRAY(SELECT command_id FROM answer)) RETURNING 1
), answered AS (
    INSERT INTO inbox_answer (command_id, status, body) SELECT a.command_id, a.status, a.body FROM answer AS a
)
SELECT CASE
    WHEN NOT EXISTS (SELECT FROM fence) THEN refuse('deposed')
    WHEN EXISTS (SELECT FROM existing) AND EXISTS (SELECT FROM answer) THEN refuse('diverged: a run exists already')
    WHEN (SELECT count(*) FROM run) <> json_array_length($28::text::json)
        THEN refuse('diverged: a run is not in the state that it was believed to be in')
    WHEN (SELECT count(*) FROM made)
         <> (SELECT count(*) FROM unnest($3::bigint[]) AS n (run_id) WHERE n.run_id NOT IN (SELECT id FROM existing))
        THEN refuse('diverged: an instance exists already')
    WHEN (SELECT count(*) FROM changed) <> cardinality($14::bigint[])
        THEN refuse('diverged: an instance is not in the state that it was believed to be in')
    WHEN (SELECT count(*) FROM instance_gone) <> json_array_length($44::text::json)
        THEN refuse('diverged: an instance is gone already')
    WHEN (SELECT count(*) FROM asset_event_made) <> json_array_length($46::text::json)
      OR (SELECT count(*) FROM asset_queue_set) <> json_array_length($47::text::json)
        THEN refuse('diverged: an asset is not there that has changed')
    WHEN (SELECT count(*) FROM taken) <> (SELECT count(*) FROM answer)
        THEN refuse('diverged: a command was withdrawn by its sender')
    ELSE (SELECT turn FROM fence)
END AS "turn!",
ARRAY(SELECT id FROM existing) AS "existing!"
