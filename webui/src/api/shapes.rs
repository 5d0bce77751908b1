//! The objects of Airflow's answers, member by member.

use engine::RunRow;
use model::{TaskState, Timestamp, masking};
use serde_json::{Value, json};
use store::read::{Try, Version};

use super::{dag_shapes::dag_version, declare::At};
use crate::instances::TaskOfRun;

/// The one bundle: the DAG folder.
pub const BUNDLE: &str = "dags-folder";

/// An instant as Airflow writes it: microseconds, or none when they are zero.
#[must_use]
pub fn instant(at: Timestamp) -> Value {
    At(at).into()
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
