//! Rows as the database has them, and their way to the engine's values. A code that this binary does not know is an error.

use std::collections::{BTreeMap, BTreeSet};

use engine::{BackfillRow, DueRun, InBackfill, RunRow, StoredDag, StoredRun, TiExtra, TiRow};
use model::{
    AttemptId, BackfillId, DagId, DagVersionId, MapIndex, RunId, RunKey, TaskIdx, TiKey, Timestamp, TryNumber,
    UnknownCode, WorkerId, command::ClearVersion,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::{Doing, StoreError},
    quarantine::{Kind, Subject},
    texts,
};

/// A row of `dag_run`.
#[derive(Debug)]
pub(crate) struct RunRecord {
    pub id: i64,
    pub dag_id: String,
    pub run_id: String,
    pub run_type: i16,
    pub triggered_by: i16,
    pub version_id: i64,
    pub state: i16,
    pub logical_date: Option<Timestamp>,
    pub interval_start: Option<Timestamp>,
    pub interval_end: Option<Timestamp>,
    pub run_after: Timestamp,
    pub queued_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub conf: serde_json::Value,
    pub note: Option<String>,
    pub clear_number: i32,
    pub triggering_user: Option<String>,
    pub backfill_id: Option<i64>,
    pub backfill_ordinal: Option<i32>,
    pub backfill_first: Option<bool>,
}

impl TryFrom<RunRecord> for RunRow {
    type Error = StoreError;

    fn try_from(row: RunRecord) -> Result<Self, StoreError> {
        Ok(Self {
            key: RunKey(row.id),
            dag_id: dag_id(&row.dag_id)?,
            run_id: RunId::new(&row.run_id).map_err(|error| corrupt(&error))?,
            run_type: code(row.run_type)?,
            triggered_by: code(row.triggered_by)?,
            version: DagVersionId(row.version_id),
            state: code(row.state)?,
            logical_date: row.logical_date,
            data_interval: row.interval_start.zip(row.interval_end),
            run_after: row.run_after,
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            conf: match row.conf {
                serde_json::Value::Object(conf) => conf,
                other => return Err(StoreError::Corrupt { what: format!("conf of run {} is {other}", row.id) }),
            },
            note: row.note,
            clear_number: row.clear_number,
            triggering_user: row.triggering_user,
            backfill: row.backfill_id.map(|id| InBackfill {
                id: BackfillId(id),
                ordinal: row.backfill_ordinal.unwrap_or_default(),
                is_first: row.backfill_first.unwrap_or_default(),
            }),
        })
    }
}

/// A row of `task_instance` with its side row.
#[derive(Debug)]
pub(crate) struct TiRecord {
    pub run_id: i64,
    pub task_idx: i32,
    pub map_index: i32,
    pub try_number: i16,
    pub state: i16,
    pub attempt: Option<Uuid>,
    pub live: bool,
    pub worker_id: Option<i32>,
    pub queued_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub max_tries: Option<i16>,
    pub infrastructure_losses: Option<i16>,
    pub lost_at: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub note: Option<String>,
    pub skips: Option<Vec<i32>>,
    pub map_length: Option<i32>,
    pub rendered_map_index: Option<String>,
    pub first_poke_at: Option<Timestamp>,
    pub reschedules: Option<i32>,
    pub requeues: Option<i16>,
}

impl TryFrom<TiRecord> for TiRow {
    type Error = StoreError;

    fn try_from(row: TiRecord) -> Result<Self, StoreError> {
        Ok(Self {
            key: TiKey { run: RunKey(row.run_id), task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) },
            try_number: TryNumber(row.try_number),
            state: code(row.state)?,
            attempt: row.attempt.map(AttemptId),
            live: row.live,
            worker: row.worker_id.map(WorkerId),
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            extra: TiExtra {
                max_tries: row.max_tries,
                infrastructure_losses: row.infrastructure_losses.unwrap_or(0),
                lost_at: row.lost_at,
                wake_at: row.wake_at,
                exit_code: row.exit_code,
                reason: row.reason,
                note: row.note,
                skips: row.skips.map(|skips| skips.into_iter().map(TaskIdx).collect()),
                map_length: row.map_length,
                rendered_map_index: row.rendered_map_index,
                first_poke_at: row.first_poke_at,
                reschedules: row.reschedules.unwrap_or(0),
                requeues: row.requeues.unwrap_or(0),
            },
        })
    }
}

/// A row of `dag`, as far as the engine needs it.
#[derive(Debug)]
pub(crate) struct DagRecord {
    pub dag_id: String,
    pub current_version: i64,
    pub is_paused: bool,
    pub is_stale: bool,
    pub next_logical_date: Option<Timestamp>,
    pub next_interval_start: Option<Timestamp>,
    pub next_interval_end: Option<Timestamp>,
    pub next_run_after: Option<Timestamp>,
    pub last_interval_start: Option<Timestamp>,
    pub last_interval_end: Option<Timestamp>,
    pub failed_in_a_row: i32,
    pub is_draining: bool,
    pub passed_over_at: Option<Timestamp>,
}

impl TryFrom<DagRecord> for StoredDag {
    type Error = StoreError;

    fn try_from(row: DagRecord) -> Result<Self, StoreError> {
        let next = (row.next_logical_date, row.next_interval_start, row.next_interval_end, row.next_run_after);
        let next = match next {
            (Some(logical_date), Some(start), Some(end), Some(run_after)) => {
                Some(DueRun { logical_date, start, end, run_after })
            }
            _ => None,
        };
        Ok(Self {
            dag_id: dag_id(&row.dag_id)?,
            current: DagVersionId(row.current_version),
            is_paused: row.is_paused,
            is_stale: row.is_stale,
            next,
            last_interval: row.last_interval_start.zip(row.last_interval_end),
            failed_in_a_row: u32::try_from(row.failed_in_a_row).unwrap_or(0),
            is_draining: row.is_draining,
            passed_over: row.passed_over_at,
        })
    }
}

/// A row of `backfill`.
#[derive(Debug)]
pub(crate) struct BackfillRecord {
    pub id: i64,
    pub dag_id: String,
    pub from_date: Timestamp,
    pub to_date: Timestamp,
    pub run_order: i16,
    pub reprocess_behavior: i16,
    pub on_latest_version: bool,
    pub max_active_runs: i32,
    pub conf: serde_json::Value,
    pub is_paused: bool,
    pub triggering_user: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub cursor_start: Option<Timestamp>,
    pub cursor_end: Option<Timestamp>,
    pub dates_seen: i32,
    pub runs_made: i32,
    pub is_planned: bool,
}

impl TryFrom<BackfillRecord> for BackfillRow {
    type Error = StoreError;

    fn try_from(row: BackfillRecord) -> Result<Self, StoreError> {
        Ok(Self {
            id: BackfillId(row.id),
            dag_id: dag_id(&row.dag_id)?,
            from_date: row.from_date,
            to_date: row.to_date,
            order: code(row.run_order)?,
            reprocess_behavior: code(row.reprocess_behavior)?,
            version: if row.on_latest_version { ClearVersion::Latest } else { ClearVersion::Own },
            max_active_runs: u32::try_from(row.max_active_runs).unwrap_or(1),
            conf: match row.conf {
                serde_json::Value::Object(conf) => conf,
                other => return Err(StoreError::Corrupt { what: format!("conf of backfill {} is {other}", row.id) }),
            },
            is_paused: row.is_paused,
            triggering_user: row.triggering_user,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
            cursor: row.cursor_start.zip(row.cursor_end),
            dates_seen: row.dates_seen,
            runs_made: row.runs_made,
            is_planned: row.is_planned,
        })
    }
}

/// Something stored that this binary can not read, because a newer one wrote it or because it is damaged. It concerns what
/// it belongs to and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// Its kind and number, as in quarantine.
    pub subject: Subject,
    /// The DAG that it belongs to.
    pub dag_id: String,
    /// What it is, such as `run manual__1` or `version 7`.
    pub what: String,
    /// Why it can not be read.
    pub why: String,
    /// Of a run that has ended: what can be read of it.
    pub(crate) readable_part: Option<Box<StoredRun>>,
}

impl Unreadable {
    pub(crate) fn new(
        subject: Subject,
        dag_id: impl Into<String>,
        what: impl Into<String>,
        why: &dyn std::fmt::Display,
    ) -> Self {
        Self { subject, dag_id: dag_id.into(), what: what.into(), why: why.to_string(), readable_part: None }
    }

    /// What a person has to know of it.
    #[must_use]
    pub fn reason(&self) -> String {
        let Self { dag_id, what, why, .. } = self;
        texts::reason(&format!(
            "{what} of DAG {dag_id} can not be read: {why}; a newer windlass may have written it: let that one lead"
        ))
    }

    /// Says it in the log.
    pub fn say(&self) {
        say_unreadable(&self.dag_id, &self.what, &self.why);
    }
}

/// Says in the log what this binary can not read.
pub(crate) fn say_unreadable(dag_id: &str, what: &str, why: &dyn std::fmt::Display) {
    tracing::error!(
        dag.id = dag_id,
        what,
        %why,
        "something stored of a DAG can not be read and is left alone: a newer windlass may have written it, start that one"
    );
}

/// Runs with their instances, in the order of the runs; of those that can not be read, why.
pub(crate) async fn with_instances(
    connection: &mut PgConnection,
    runs: Vec<RunRecord>,
) -> Result<Vec<Result<StoredRun, Unreadable>>, StoreError> {
    let keys: Vec<i64> = runs.iter().map(|run| run.id).collect();
    let records = sqlx::query_file_as!(TiRecord, "queries/task_instance_of_runs.sql", &keys)
        .fetch_all(connection)
        .await
        .doing("loading task instances")?;
    let mut instances: BTreeMap<i64, Vec<TiRow>> = BTreeMap::new();
    let mut wrong: BTreeMap<i64, String> = BTreeMap::new();
    for record in records {
        let (run, task) = (record.run_id, record.task_idx);
        match TiRow::try_from(record) {
            Ok(row) => instances.entry(run).or_default().push(row),
            Err(error) => drop(wrong.entry(run).or_insert_with(|| format!("its task number {task}: {error}"))),
        }
    }
    let runs = runs.into_iter().map(|record| {
        let (key, dag_id, what) = (record.id, record.dag_id.clone(), format!("run {}", record.run_id));
        let instances = instances.remove(&key).unwrap_or_default();
        let subject = Subject::new(Kind::Run, key);
        let run = RunRow::try_from(record).map_err(|error| Unreadable::new(subject.clone(), &dag_id, &what, &error))?;
        match wrong.remove(&key) {
            None => Ok(StoredRun { run, instances }),
            Some(why) => {
                let readable_part = Some(Box::new(StoredRun { run, instances }));
                Err(Unreadable { readable_part, ..Unreadable::new(subject, dag_id, what, &why) })
            }
        }
    });
    Ok(runs.collect())
}

/// The variant that a code stands for.
pub(crate) fn code<T: TryFrom<i16, Error = UnknownCode>>(code: i16) -> Result<T, StoreError> {
    Ok(T::try_from(code)?)
}

/// A stored DAG id.
pub(crate) fn dag_id(text: &str) -> Result<DagId, StoreError> {
    DagId::new(text).map_err(|error| corrupt(&error))
}

/// A stored value that makes no sense.
pub(crate) fn corrupt(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: error.to_string() }
}

/// A set of words that are stored as a text array; a word of a newer version is left out.
pub(crate) fn known_words<T: serde::de::DeserializeOwned + Ord>(words: Vec<String>) -> BTreeSet<T> {
    words.into_iter().filter_map(|word| serde_json::from_value(serde_json::Value::String(word)).ok()).collect()
}

/// A word as it is stored in a text array.
pub(crate) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => unreachable!("a unit variant always has a name: {error}"),
    }
}
