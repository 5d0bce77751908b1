//! What a turn owes to the outside, and what becomes of deadlines: one JSON object.

use engine::{DeadlineRow, NotificationRow, Plan};
use model::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::texts::storable;

#[derive(Serialize)]
pub(super) struct Told<'a> {
    notifications: Vec<Notification<'a>>,
    deadlines: Vec<Deadline<'a>>,
    missed: &'a [Uuid],
    met: &'a [Uuid],
}

impl<'a> Told<'a> {
    pub(super) fn is_none(plan: &Plan) -> bool {
        plan.notifications.is_empty()
            && plan.deadlines.is_empty()
            && plan.deadlines_missed.is_empty()
            && plan.deadlines_dropped.is_empty()
    }

    pub(super) fn of(plan: &'a Plan) -> Self {
        Self {
            notifications: plan.notifications.iter().map(Notification::of).collect(),
            deadlines: plan.deadlines.iter().map(Deadline::of).collect(),
            missed: &plan.deadlines_missed,
            met: &plan.deadlines_dropped,
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("rows have text keys and no value that JSON lacks")
    }
}

#[derive(Serialize)]
struct Notification<'a> {
    id: Uuid,
    dag_id: &'a str,
    run_key: i64,
    run_id: &'a str,
    version_id: i64,
    event: i16,
    position: i16,
    kind: &'a str,
    deadline: Option<i16>,
    task_idx: Option<i32>,
    task_id: Option<&'a str>,
    map_index: i32,
    try_number: i16,
    max_tries: i16,
    reason: Option<String>,
    at: Timestamp,
}

impl<'a> Notification<'a> {
    fn of(row: &'a NotificationRow) -> Self {
        let task = row.task.as_ref();
        Self {
            id: row.id.0,
            dag_id: row.dag_id.as_str(),
            run_key: row.run.get(),
            run_id: row.run_id.as_str(),
            version_id: row.version.get(),
            event: row.event.code(),
            position: row.position,
            kind: &row.kind,
            deadline: row.deadline,
            task_idx: task.map(|task| task.key.task.get()),
            task_id: task.map(|task| task.task_id.as_str()),
            map_index: task.map_or(model::MapIndex::UNMAPPED.get(), |task| task.key.map.get()),
            try_number: task.map_or(0, |task| task.try_number.get()),
            max_tries: task.map_or(0, |task| task.max_tries),
            reason: row.reason.as_ref().map(storable),
            at: row.at,
        }
    }
}

#[derive(Serialize)]
struct Deadline<'a> {
    id: Uuid,
    run_key: i64,
    dag_id: &'a str,
    run_id: &'a str,
    version_id: i64,
    position: i16,
    name: Option<String>,
    kinds: &'a [String],
    at: Timestamp,
    created_at: Timestamp,
    missed_at: Option<Timestamp>,
}

impl<'a> Deadline<'a> {
    fn of(row: &'a DeadlineRow) -> Self {
        Self {
            id: row.id,
            run_key: row.run.get(),
            dag_id: row.dag_id.as_str(),
            run_id: row.run_id.as_str(),
            version_id: row.version.get(),
            position: row.position,
            name: row.name.as_ref().map(storable),
            kinds: &row.kinds,
            at: row.at,
            created_at: row.created_at,
            missed_at: row.is_missed.then_some(row.at),
        }
    }
}
