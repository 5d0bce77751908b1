//! What a turn seldom has, as one JSON array a table.
//!
//! A value that is JSON itself travels as text inside: PostgreSQL would otherwise read escapes that it can not keep, and
//! turn a JSON null into no value. Text of tasks and people may hold a NUL, which PostgreSQL has no place for: it is
//! replaced, so that nobody's text can make a turn fail.

use std::collections::BTreeSet;

use engine::{
    AuditedRow, BackfillRow, BackfillRunRow, DagChange, FailureRow, InBackfill, Plan, RunChange, RunRow, TiExtra,
    TryRow,
};
use model::{Answer, CommandId, Pool, TaskState, TiKey, Timestamp, XComValue, command::ClearVersion};
use serde::Serialize;
use uuid::Uuid;

use super::{assets, questions, told::Told};
use crate::texts::storable;

/// The parameters of a turn's rare parts.
#[derive(Debug)]
pub(super) struct RareParts {
    pub new_runs: String,
    pub new_run_keys: Vec<i64>,
    pub runs: String,
    pub extras: String,
    pub tries: String,
    pub xcoms: String,
    pub xcoms_dropped: String,
    pub failures: String,
    pub dags: String,
    pub pools: String,
    pub pools_dropped: Vec<String>,
    pub answers: String,
    pub leftovers: Vec<i64>,
    pub runs_dropped: Vec<i64>,
    pub dags_dropped: Vec<String>,
    pub xcoms_deleted: String,
    pub forgotten: String,
    pub backfills: String,
    pub backfill_runs: String,
    pub instances_dropped: String,
    pub asset_events: String,
    pub asset_queue: String,
    pub asset_queue_dropped: String,
    pub assets_consumed: String,
    pub told: String,
    pub asked: String,
    pub responses: String,
    /// The format that a state has at least which has what this turn stores.
    pub format: i32,
    pub audited: String,
    pub pool_starts: String,
}

impl RareParts {
    /// None when the plan changes task instances only.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let leftovers = leftovers(plan);
        let has_none = plan.new_runs.is_empty()
            && plan.runs.is_empty()
            && plan.extras.is_empty()
            && plan.tries.is_empty()
            && plan.xcoms.is_empty()
            && plan.xcoms_dropped.is_empty()
            && plan.xcoms_deleted.is_empty()
            && plan.instances_dropped.is_empty()
            && plan.forgotten.is_empty()
            && plan.runs_dropped.is_empty()
            && plan.dags_dropped.is_empty()
            && plan.failures.is_empty()
            && plan.dags.is_empty()
            && plan.audited.is_empty()
            && plan.backfills.is_empty()
            && plan.backfill_runs.is_empty()
            && plan.asset_events.is_empty()
            && plan.asset_queue.is_empty()
            && plan.asset_queue_dropped.is_empty()
            && plan.assets_consumed.is_empty()
            && Told::is_none(plan)
            && plan.asked.is_empty()
            && plan.responses.is_empty()
            && plan.pools.is_empty()
            && plan.pool_starts.is_empty()
            && plan.pools_dropped.is_empty()
            && plan.answers.is_empty()
            && leftovers.is_empty();
        if has_none {
            return None;
        }
        Some(Self {
            new_runs: array(&plan.new_runs, NewRun::of),
            new_run_keys: plan.new_runs.iter().map(|run| run.key.get()).collect(),
            runs: array(&plan.runs, ChangedRun::of),
            extras: array(&plan.extras, |(key, extra)| Extra::of(*key, extra)),
            tries: array(&plan.tries, Try::of),
            xcoms: array(&plan.xcoms, |(key, value)| XCom::of(*key, value)),
            xcoms_dropped: array(&plan.xcoms_dropped, |key| Key::of(*key)),
            failures: array(&plan.failures, Failure::of),
            dags: array(&plan.dags, ChangedDag::of),
            pools: array(&plan.pools, |pool| PoolRow::of(plan, pool)),
            pools_dropped: plan.pools_dropped.clone(),
            answers: array(&plan.answers, |(id, answer)| AnswerRow::of(*id, answer)),
            leftovers,
            runs_dropped: plan.runs_dropped.iter().map(|run| run.get()).collect(),
            dags_dropped: plan.dags_dropped.iter().map(ToString::to_string).collect(),
            forgotten: array(&plan.forgotten, |key| Key::of(*key)),
            xcoms_deleted: array(&plan.xcoms_deleted, |(instance, key)| DeletedXCom::of(*instance, key)),
            backfills: array(&plan.backfills, Backfill::of),
            backfill_runs: array(&plan.backfill_runs, SeenDate::of),
            instances_dropped: array(&plan.instances_dropped, |key| Key::of(*key)),
            asset_events: array(&plan.asset_events, assets::Event::of),
            asset_queue: array(&plan.asset_queue, assets::Queued::of),
            asset_queue_dropped: array(&plan.asset_queue_dropped, |(dag, asset)| assets::Entry::of(dag, asset)),
            assets_consumed: array(&plan.assets_consumed, assets::Consumed::of),
            told: Told::of(plan).to_json(),
            asked: array(&plan.asked, questions::Asked::of),
            responses: array(&plan.responses, questions::Response::of),
            format: crate::leader::format_of_plan(plan),
            audited: array(&plan.audited, Audited::of),
            pool_starts: pool_starts(plan),
        })
    }
}

/// Runs of attempts that live on although their instance is not at work any more.
fn leftovers(plan: &Plan) -> Vec<i64> {
    let at_work = |state| matches!(state, TaskState::Queued | TaskState::Running | TaskState::Restarting);
    let outlived = plan.instances.iter().map(|change| &change.row).filter(|row| row.live && !at_work(row.state));
    outlived.map(|row| row.key.run.get()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn array<'a, T, R: Serialize>(rows: &'a [T], row: impl Fn(&'a T) -> R) -> String {
    let rows: Vec<R> = rows.iter().map(row).collect();
    serde_json::to_string(&rows).expect("rows have text keys and no value that JSON lacks")
}

fn storable_option(text: Option<&String>) -> Option<String> {
    text.map(storable)
}

#[derive(Serialize)]
pub(super) struct Key {
    run_id: i64,
    task_idx: i32,
    map_index: i32,
}

impl Key {
    pub(super) fn of(key: TiKey) -> Self {
        Self { run_id: key.run.get(), task_idx: key.task.get(), map_index: key.map.get() }
    }
}

#[derive(Serialize)]
struct NewRun<'a> {
    id: i64,
    dag_id: &'a str,
    run_id: &'a str,
    run_type: i16,
    triggered_by: i16,
    version_id: i64,
    state: i16,
    logical_date: Option<Timestamp>,
    interval_start: Option<Timestamp>,
    interval_end: Option<Timestamp>,
    run_after: Timestamp,
    queued_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    conf: String,
    note: Option<String>,
    clear_number: i32,
    triggering_user: Option<String>,
    #[serde(flatten)]
    place: Place,
}

impl<'a> NewRun<'a> {
    fn of(run: &'a RunRow) -> Self {
        Self {
            id: run.key.get(),
            dag_id: run.dag_id.as_str(),
            run_id: run.run_id.as_str(),
            run_type: run.run_type.code(),
            triggered_by: run.triggered_by.code(),
            version_id: run.version.get(),
            state: run.state.code(),
            logical_date: run.logical_date,
            interval_start: run.data_interval.map(|(start, _)| start),
            interval_end: run.data_interval.map(|(_, end)| end),
            run_after: run.run_after,
            queued_at: run.queued_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
            conf: serde_json::to_string(&run.conf).expect("a JSON object is JSON"),
            note: storable_option(run.note.as_ref()),
            clear_number: run.clear_number,
            triggering_user: storable_option(run.triggering_user.as_ref()),
            place: Place::of(run.backfill),
        }
    }
}

#[derive(Serialize)]
struct ChangedRun {
    id: i64,
    expected: i16,
    version_id: i64,
    state: i16,
    queued_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    note: Option<String>,
    clear_number: i32,
    run_type: i16,
    triggered_by: i16,
    #[serde(flatten)]
    place: Place,
}

/// A run's place in a backfill; nothing at all for nearly every run.
#[derive(Serialize)]
struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill_ordinal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill_first: Option<bool>,
}

impl Place {
    fn of(place: Option<InBackfill>) -> Self {
        Self {
            backfill_id: place.map(|place| place.id.get()),
            backfill_ordinal: place.map(|place| place.ordinal),
            backfill_first: place.map(|place| place.is_first),
        }
    }
}

impl ChangedRun {
    fn of(change: &RunChange) -> Self {
        let run = &change.row;
        Self {
            id: run.key.get(),
            expected: change.expected.code(),
            version_id: run.version.get(),
            state: run.state.code(),
            queued_at: run.queued_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
            note: storable_option(run.note.as_ref()),
            clear_number: run.clear_number,
            run_type: run.run_type.code(),
            triggered_by: run.triggered_by.code(),
            place: Place::of(run.backfill),
        }
    }
}

#[derive(Serialize)]
struct Backfill<'a> {
    id: i64,
    dag_id: &'a str,
    from_date: Timestamp,
    to_date: Timestamp,
    run_order: i16,
    reprocess_behavior: i16,
    on_latest_version: bool,
    max_active_runs: i32,
    conf: String,
    is_paused: bool,
    triggering_user: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    completed_at: Option<Timestamp>,
    cursor_start: Option<Timestamp>,
    cursor_end: Option<Timestamp>,
    dates_seen: i32,
    runs_made: i32,
    is_planned: bool,
}

impl<'a> Backfill<'a> {
    fn of(row: &'a BackfillRow) -> Self {
        Self {
            id: row.id.get(),
            dag_id: row.dag_id.as_str(),
            from_date: row.from_date,
            to_date: row.to_date,
            run_order: row.order.code(),
            reprocess_behavior: row.reprocess_behavior.code(),
            on_latest_version: row.version == ClearVersion::Latest,
            max_active_runs: i32::try_from(row.max_active_runs).unwrap_or(i32::MAX),
            conf: serde_json::to_string(&row.conf).expect("a JSON object is JSON"),
            is_paused: row.is_paused,
            triggering_user: storable_option(row.triggering_user.as_ref()),
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
            cursor_start: row.cursor.map(|(start, _)| start),
            cursor_end: row.cursor.map(|(_, end)| end),
            dates_seen: row.dates_seen,
            runs_made: row.runs_made,
            is_planned: row.is_planned,
        }
    }
}

#[derive(Serialize)]
struct SeenDate {
    backfill_id: i64,
    sort_ordinal: i32,
    logical_date: Timestamp,
    dag_run_id: Option<i64>,
    exception_reason: Option<i16>,
}

impl SeenDate {
    fn of(row: &BackfillRunRow) -> Self {
        Self {
            backfill_id: row.backfill.get(),
            sort_ordinal: row.ordinal,
            logical_date: row.logical_date,
            dag_run_id: row.outcome.ok().map(model::RunKey::get),
            exception_reason: row.outcome.err().map(model::NotMade::code),
        }
    }
}

#[derive(Serialize)]
struct Extra {
    #[serde(flatten)]
    key: Key,
    max_tries: Option<i16>,
    infrastructure_losses: i16,
    lost_at: Option<Timestamp>,
    wake_at: Option<Timestamp>,
    exit_code: Option<i32>,
    reason: Option<String>,
    note: Option<String>,
    skips: Option<Vec<i32>>,
    map_length: Option<i32>,
    rendered_map_index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_poke_at: Option<Timestamp>,
    reschedules: i32,
    requeues: i16,
}

impl Extra {
    fn of(key: TiKey, extra: &TiExtra) -> Self {
        Self {
            key: Key::of(key),
            max_tries: extra.max_tries,
            infrastructure_losses: extra.infrastructure_losses,
            lost_at: extra.lost_at,
            wake_at: extra.wake_at,
            exit_code: extra.exit_code,
            reason: storable_option(extra.reason.as_ref()),
            note: storable_option(extra.note.as_ref()),
            skips: extra.skips.as_ref().map(|skips| skips.iter().map(|task| task.get()).collect()),
            map_length: extra.map_length,
            rendered_map_index: storable_option(extra.rendered_map_index.as_ref()),
            first_poke_at: extra.first_poke_at,
            reschedules: extra.reschedules,
            requeues: extra.requeues,
        }
    }
}

#[derive(Serialize)]
struct Try {
    #[serde(flatten)]
    key: Key,
    try_number: i16,
    state: i16,
    attempt: Option<Uuid>,
    worker_id: Option<i32>,
    queued_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    reason: Option<String>,
    exit_code: Option<i32>,
}

impl Try {
    fn of(row: &TryRow) -> Self {
        Self {
            key: Key::of(row.key),
            try_number: row.try_number.get(),
            state: row.state.code(),
            attempt: row.attempt.map(|attempt| attempt.0),
            worker_id: row.worker.map(|worker| worker.get()),
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            reason: storable_option(row.reason.as_ref()),
            exit_code: row.exit_code,
        }
    }
}

#[derive(Serialize)]
struct XCom {
    #[serde(flatten)]
    instance: Key,
    key: String,
    value: String,
}

impl XCom {
    fn of(instance: TiKey, xcom: &XComValue) -> Self {
        Self { instance: Key::of(instance), key: storable(&xcom.key), value: xcom.value.to_string() }
    }
}

#[derive(Serialize)]
struct DeletedXCom {
    #[serde(flatten)]
    instance: Key,
    key: String,
}

impl DeletedXCom {
    fn of(instance: TiKey, key: &str) -> Self {
        Self { instance: Key::of(instance), key: storable(key) }
    }
}

#[derive(Serialize)]
struct Failure {
    #[serde(flatten)]
    key: Key,
    try_number: i16,
    failed_at: Timestamp,
    reason: String,
}

impl Failure {
    fn of(row: &FailureRow) -> Self {
        Self {
            key: Key::of(row.key),
            try_number: row.try_number.get(),
            failed_at: row.failed_at,
            reason: storable(&row.reason),
        }
    }
}

#[derive(Serialize)]
struct ChangedDag<'a> {
    dag_id: &'a str,
    is_paused: bool,
    is_stale: bool,
    next_logical_date: Option<Timestamp>,
    next_interval_start: Option<Timestamp>,
    next_interval_end: Option<Timestamp>,
    next_run_after: Option<Timestamp>,
    last_interval_start: Option<Timestamp>,
    last_interval_end: Option<Timestamp>,
    failed_in_a_row: u32,
    is_draining: bool,
    passed_over_at: Option<Timestamp>,
}

impl<'a> ChangedDag<'a> {
    fn of(dag: &'a DagChange) -> Self {
        Self {
            dag_id: dag.dag_id.as_str(),
            is_paused: dag.is_paused,
            is_stale: dag.is_stale,
            next_logical_date: dag.next.map(|next| next.logical_date),
            next_interval_start: dag.next.map(|next| next.start),
            next_interval_end: dag.next.map(|next| next.end),
            next_run_after: dag.next.map(|next| next.run_after),
            last_interval_start: dag.last_interval.map(|(start, _)| start),
            last_interval_end: dag.last_interval.map(|(_, end)| end),
            failed_in_a_row: dag.failed_in_a_row,
            is_draining: dag.is_draining,
            passed_over_at: dag.passed_over,
        }
    }
}

#[derive(Serialize)]
struct Audited<'a> {
    action: &'a str,
    dag_id: &'a str,
    run_id: Option<&'a str>,
    details: String,
}

impl<'a> Audited<'a> {
    fn of(row: &'a AuditedRow) -> Self {
        Self {
            action: row.action,
            dag_id: row.dag_id.as_str(),
            run_id: row.run_id.as_ref().map(model::RunId::as_str),
            details: row.details.to_string(),
        }
    }
}

#[derive(Serialize)]
struct PoolRow {
    name: String,
    slots: Option<u32>,
    description: String,
    include_deferred: bool,
    rate_limit: Option<String>,
    recent_starts: Option<Vec<Timestamp>>,
}

/// When attempts of a pool have started.
#[derive(Serialize)]
struct PoolStarts<'a> {
    name: String,
    recent_starts: &'a [Timestamp],
}

/// Those of the pools that do not change otherwise: a row is written once in a statement.
fn pool_starts(plan: &Plan) -> String {
    let others = plan.pool_starts.iter().filter(|(name, _)| !plan.pools.iter().any(|pool| pool.name == *name));
    let rows: Vec<_> = others.collect();
    array(&rows, |(name, starts)| PoolStarts { name: storable(name), recent_starts: starts })
}

impl PoolRow {
    fn of(plan: &Plan, pool: &Pool) -> Self {
        let starts = plan.pool_starts.iter().find(|(name, _)| *name == pool.name);
        Self {
            rate_limit: pool.rate_limit.map(|limit| limit.to_string()),
            recent_starts: starts.map(|(_, starts)| starts.clone()),
            name: storable(&pool.name),
            slots: pool.slots,
            description: storable(&pool.description),
            include_deferred: pool.include_deferred,
        }
    }
}

#[derive(Serialize)]
struct AnswerRow {
    command_id: i64,
    status: String,
    body: String,
}

impl AnswerRow {
    fn of(id: CommandId, answer: &Answer) -> Self {
        Self { command_id: id.get(), status: crate::rows::word(&answer.status), body: answer.body.to_string() }
    }
}
