//! The objects of Airflow's answers, member by member.

use chrono::SecondsFormat;
use dag::{Dag, Schedule, Task};
use engine::RunRow;
use model::{DagId, DagVersionId, TaskState, Timestamp, masking};
use serde_json::{Map, Value, json};
use store::read::{DagView, Try, Version, VersionBrief};
use uuid::Uuid;

use super::declare::{At, answer};
use crate::{instances::TaskOfRun, pages::words};

/// The one bundle: the DAG folder.
pub const BUNDLE: &str = "dags-folder";

/// An instant as Airflow writes it: microseconds, or none when they are zero.
#[must_use]
pub fn instant(at: Timestamp) -> Value {
    let format = if at.timestamp_subsec_micros() == 0 { SecondsFormat::Secs } else { SecondsFormat::Micros };
    Value::from(at.to_rfc3339_opts(format, true))
}

/// The same for one that may be missing.
#[must_use]
pub fn instant_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, instant)
}

/// Seconds between two instants, null when one is missing.
#[must_use]
pub fn duration(start: Option<Timestamp>, end: Option<Timestamp>) -> Value {
    start.zip(end).map_or(Value::Null, |(start, end)| {
        Value::from((end - start).num_microseconds().unwrap_or(i64::MAX) as f64 / 1e6)
    })
}

/// A state as the API writes it: none is null.
#[must_use]
pub fn task_state(state: TaskState) -> Value {
    match state {
        TaskState::NoStatus => Value::Null,
        other => Value::from(other.name()),
    }
}

/// An object that is made of two.
fn extended(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

/// A DAG.
#[must_use]
pub fn dag(view: &DagView, version: &Version) -> Value {
    let dag = &version.dag;
    let tags: Vec<_> =
        dag.tags.iter().map(|tag| json!({"name": tag, "dag_id": dag.dag_id, "dag_display_name": dag.dag_id})).collect();
    let next = view.next.as_ref();
    json!({
        "dag_id": dag.dag_id, "dag_display_name": dag.dag_id,
        "is_paused": view.is_paused, "is_stale": view.is_stale,
        "last_parsed_time": instant(view.last_parsed_at), "last_parse_duration": null, "last_expired": null,
        "bundle_name": BUNDLE, "bundle_version": null,
        "relative_fileloc": view.fileloc, "fileloc": view.fileloc, "file_token": view.fileloc,
        "description": dag.description,
        "timetable_summary": timetable_summary(&dag.schedule),
        "timetable_description": words::schedule(&dag.schedule),
        "timetable_partitioned": false,
        "timetable_periodic": matches!(dag.schedule, Schedule::Cron { .. } | Schedule::Delta { .. }),
        "tags": tags, "owners": dag.owners,
        "max_active_tasks": dag.max_active_tasks, "max_active_runs": dag.max_active_runs,
        "max_consecutive_failed_dag_runs": dag.max_consecutive_failed_dag_runs,
        "has_task_concurrency_limits": dag.tasks.iter().any(has_limit),
        "has_import_errors": view.has_import_errors,
        "next_dagrun_logical_date": instant_or_null(next.map(|next| next.logical_date)),
        "next_dagrun_data_interval_start": instant_or_null(next.map(|next| next.start)),
        "next_dagrun_data_interval_end": instant_or_null(next.map(|next| next.end)),
        "next_dagrun_run_after": instant_or_null(next.map(|next| next.run_after)),
        "allowed_run_types": null,
        "is_backfillable": !matches!(dag.schedule, Schedule::Never),
    })
}

fn has_limit(task: &Task) -> bool {
    task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some()
}

/// The schedule in one word: Airflow shows the cron text.
fn timetable_summary(schedule: &Schedule) -> Value {
    match schedule {
        Schedule::Never => Value::Null,
        Schedule::Once => json!("@once"),
        Schedule::Continuous => json!("@continuous"),
        Schedule::Cron { expressions, .. } => Value::from(expressions.join(", ")),
        Schedule::Delta { every } => Value::from(words::duration(*every)),
    }
}

/// A DAG with everything that its page shows.
#[must_use]
pub fn dag_details(view: &DagView, version: &Version, active_runs: i64) -> Value {
    let dag = &version.dag;
    let timezone = match &dag.schedule {
        Schedule::Cron { timezone, .. } => timezone.name(),
        Schedule::Never | Schedule::Once | Schedule::Continuous | Schedule::Delta { .. } => "UTC",
    };
    let more = json!({
        "catchup": dag.catchup == dag::Catchup::All,
        "dag_run_timeout": dag.dagrun_timeout.map(|limit| format!("PT{}S", limit.as_secs_f64())),
        "asset_expression": null, "doc_md": dag.doc_md,
        "start_date": instant_or_null(dag.start_date), "end_date": instant_or_null(dag.end_date),
        "is_paused_upon_creation": dag.is_paused_upon_creation, "params": params(dag),
        "render_template_as_native_obj": false, "template_search_path": null, "timezone": timezone,
        "last_parsed": instant(view.last_parsed_at), "default_args": null, "owner_links": {}, "is_favorite": false,
        "active_runs_count": active_runs, "concurrency": dag.max_active_tasks,
        "latest_dag_version": dag_version(version),
    });
    extended(self::dag(view, version), more)
}

/// The values that a run can be given.
#[must_use]
pub fn params(dag: &Dag) -> Value {
    let one = |param: &dag::Param| json!({"value": param.default, "schema": param.schema, "description": param.description, "source": "dag"});
    Value::Object(dag.params.iter().map(|(name, param)| (name.clone(), one(param))).collect())
}

answer! {
    /// A version of a DAG.
    pub struct DagVersionResponse {
        id: String,
        version_number: i32,
        dag_id: String,
        dag_display_name: String,
        bundle_name: Option<String>,
        /// The hash of its content.
        bundle_version: Option<String>,
        bundle_url: Option<String>,
        /// When it was seen first.
        created_at: At,
    }
}

/// A version of a DAG.
#[must_use]
pub fn dag_version(version: &Version) -> DagVersionResponse {
    let Version { id, number, content_hash, created_at, .. } = version;
    let brief = VersionBrief { id: *id, number: *number, content_hash: content_hash.clone(), created_at: *created_at };
    dag_version_of(&version.dag.dag_id, brief)
}

/// The same without its definition.
#[must_use]
pub fn dag_version_of(dag_id: &DagId, version: VersionBrief) -> DagVersionResponse {
    DagVersionResponse {
        id: version_uuid(version.id).to_string(),
        version_number: version.number,
        dag_id: dag_id.to_string(),
        dag_display_name: dag_id.to_string(),
        bundle_name: Some(BUNDLE.to_owned()),
        bundle_version: Some(version.content_hash),
        bundle_url: None,
        created_at: version.created_at.into(),
    }
}

/// Versions are numbered here and have a UUID in Airflow: the same one for ever.
fn version_uuid(id: DagVersionId) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x7d1f_0b52_93c4_4f0f_8f5e_2c61_aa43_90d7);
    Uuid::new_v5(&NAMESPACE, id.to_string().as_bytes())
}

/// A run.
#[must_use]
pub fn run(run: &RunRow, version: Option<&Version>) -> Value {
    json!({
        "dag_run_id": run.run_id, "dag_id": run.dag_id, "dag_display_name": run.dag_id,
        "logical_date": instant_or_null(run.logical_date),
        "queued_at": instant(run.queued_at),
        "start_date": instant_or_null(run.started_at), "end_date": instant_or_null(run.ended_at),
        "duration": duration(run.started_at, run.ended_at),
        "data_interval_start": instant_or_null(run.data_interval.map(|(start, _)| start)),
        "data_interval_end": instant_or_null(run.data_interval.map(|(_, end)| end)),
        "run_after": instant(run.run_after),
        "last_scheduling_decision": instant_or_null(run.ended_at.or(run.started_at)),
        "run_type": run.run_type.name(), "state": run.state.name(), "triggered_by": run.triggered_by.name(),
        "triggering_user_name": run.triggering_user,
        "conf": masking::masked_members(&run.conf), "note": run.note,
        "dag_versions": version.map(dag_version).into_iter().collect::<Vec<_>>(),
        "bundle_version": version.map(|version| version.content_hash.as_str()),
        "partition_key": null, "partition_date": null,
    })
}

/// A task instance.
#[must_use]
pub fn instance(of: &TaskOfRun) -> Value {
    let row = of.stored.as_ref().map(|stored| &stored.row);
    let times = Times {
        queued: row.and_then(|row| row.queued_at),
        started: row.and_then(|row| row.started_at),
        ended: row.and_then(|row| row.ended_at),
    };
    let own = json!({
        "id": of.key.uuid(),
        "run_after": instant(of.run.run_after),
        "logical_date": instant_or_null(of.run.logical_date),
        "scheduled_when": null,
        "note": row.and_then(|row| row.extra.note.as_deref()),
        "rendered_map_index": null, "rendered_fields": {}, "trigger": null, "triggerer_job": null,
    });
    extended(
        try_body(of, of.try_number(), of.state(), times, of.stored.as_ref().and_then(|s| s.worker.as_deref())),
        own,
    )
}

/// When a try was queued, began and ended.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When it was given a slot.
    pub queued: Option<Timestamp>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A superseded try.
#[must_use]
pub fn superseded(of: &TaskOfRun, past: &Try) -> Value {
    let times = Times { queued: past.queued_at, started: past.started_at, ended: past.ended_at };
    try_body(of, past.try_number.get(), past.state, times, past.worker.as_deref())
}

/// What a try and an instance have in common.
#[must_use]
pub fn try_body(of: &TaskOfRun, number: i16, state: TaskState, times: Times, worker: Option<&str>) -> Value {
    let task = of.task();
    json!({
        "task_id": task.task_id, "task_display_name": task.task_id,
        "dag_id": of.run.dag_id, "dag_display_name": of.run.dag_id, "dag_run_id": of.run.run_id,
        "map_index": of.key.map.get(),
        "start_date": instant_or_null(times.started), "end_date": instant_or_null(times.ended),
        "duration": duration(times.started, times.ended),
        "state": task_state(state), "try_number": number, "max_tries": of.tries_max() - 1,
        "hostname": worker, "unixname": null, "pid": null,
        "pool": task.pool, "pool_slots": task.pool_slots, "queue": task.queue,
        "priority_weight": task.effective_weight,
        "operator": task.operator.name(), "operator_name": task.operator.name(),
        "queued_when": instant_or_null(times.queued),
        "executor": null, "executor_config": "{}",
        "dag_version": dag_version(&of.version),
    })
}

/// A task of a DAG.
#[must_use]
pub fn task(dag: &Dag, task: &Task) -> Value {
    let downstream: Vec<_> = task.downstream.iter().map(|pos| &dag.task(*pos).task_id).collect();
    let params: Map<String, Value> = Map::new();
    json!({
        "task_id": task.task_id, "task_display_name": task.task_id, "owner": task.owner,
        "start_date": instant_or_null(dag.start_date), "end_date": instant_or_null(dag.end_date),
        "trigger_rule": task.trigger_rule.name(),
        "depends_on_past": task.depends_on_past, "wait_for_downstream": task.wait_for_downstream,
        "retries": task.retries, "queue": task.queue, "pool": task.pool, "pool_slots": task.pool_slots,
        "execution_timeout": task.execution_timeout.map(time_delta), "retry_delay": time_delta(task.retry_delay),
        "retry_exponential_backoff": task.retry_exponential_backoff.unwrap_or(0.0),
        "priority_weight": task.priority_weight, "weight_rule": task.weight_rule.name(),
        "ui_color": "#fff", "ui_fgcolor": "#000", "template_fields": [],
        "downstream_task_ids": downstream, "doc_md": task.doc_md, "operator_name": task.operator.name(),
        "params": params, "class_ref": {"module_path": null, "class_name": task.operator.name()},
        "is_mapped": false, "extra_links": [],
    })
}

/// A duration as Airflow's TimeDelta.
fn time_delta(duration: std::time::Duration) -> Value {
    const DAY_SECS: u64 = 24 * 60 * 60;
    json!({
        "__type": "TimeDelta", "days": duration.as_secs() / DAY_SECS, "seconds": duration.as_secs() % DAY_SECS,
        "microseconds": duration.subsec_micros(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_microseconds_or_no_fraction() {
        let at = |text: &str| instant(text.parse().unwrap());
        assert_eq!(at("2026-11-21T02:52:45.701834Z"), "2026-11-21T02:52:45.701834Z");
        assert_eq!(at("2026-11-21T02:52:45Z"), "2026-11-21T02:52:45Z");
        assert_eq!(at("2026-11-21T02:52:45.5Z"), "2026-11-21T02:52:45.500000Z");
    }
}
