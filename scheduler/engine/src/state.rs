//! What the engine is loaded from: the rows of the store, as plain values.

use std::sync::Arc;

use dag::Dag;
use model::{
    AttemptId, BackfillId, BackfillOrder, DagId, DagRunState, DagVersionId, NotMade, Pool, ReprocessBehavior, RunId,
    RunKey, RunType, TaskIdx, TaskState, TiKey, Timestamp, TriggeredBy, TryNumber, WorkerId,
};

use uuid::Uuid;

use crate::{event::WorkerJoined, plan::DagChange};
use model::command::ClearVersion;

/// A stored version of a DAG.
#[derive(Debug, Clone, PartialEq)]
pub struct DagVersion {
    /// Its number.
    pub id: DagVersionId,
    /// The definition.
    pub dag: Arc<Dag>,
    /// The number of each task, by its position: the same in every version of the DAG.
    pub task_idx: Arc<[TaskIdx]>,
}

/// Everything that a new leader needs to go on: runs that have not ended, and what they refer to.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Current versions, and older ones that unfinished runs are pinned to.
    pub versions: Vec<DagVersion>,
    /// Every DAG.
    pub dags: Vec<StoredDag>,
    /// Every pool.
    pub pools: Vec<Pool>,
    /// When attempts of pools with a rate limit have started, as far as that counts, the oldest first.
    pub pool_starts: Vec<(String, Vec<Timestamp>)>,
    /// Every run that is queued or running, or has a live attempt.
    pub runs: Vec<StoredRun>,
    /// Every worker that may hold an attempt; silent until it says Hello.
    pub workers: Vec<WorkerJoined>,
    /// Every backfill that is not over: one a DAG at most.
    pub backfills: Vec<BackfillRow>,
    /// What has changed for the DAGs that wait for assets.
    pub asset_queue: Vec<crate::assets::QueuedAssetRow>,
    /// The number of the last event of an asset; 0 when there is none.
    pub last_asset_event: i64,
    /// Every deadline that is neither met nor missed, and the missed ones of unfinished runs.
    pub deadlines: Vec<DeadlineRow>,
}

/// A row of `dag`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDag {
    /// The DAG.
    pub dag_id: DagId,
    /// The version that new runs are made with.
    pub current: DagVersionId,
    /// Whether it is held back.
    pub is_paused: bool,
    /// Whether no file defines it any more.
    pub is_stale: bool,
    /// The next run that its schedule makes.
    pub next: Option<DueRun>,
    /// The newest data interval that its schedule has made a run for.
    pub last_interval: Option<(Timestamp, Timestamp)>,
    /// How many of its runs have failed in a row.
    pub failed_in_a_row: u32,
    /// Whether none of its runs starts, while those that are running go on.
    pub is_draining: bool,
    /// When the last run of its schedule was due that was not made, because another one was active; none once one is made.
    pub passed_over: Option<Timestamp>,
}

impl StoredDag {
    /// A DAG that was never seen before: nothing has come of its schedule yet.
    #[must_use]
    pub const fn new(dag_id: DagId, current: DagVersionId, is_paused: bool) -> Self {
        Self {
            dag_id,
            current,
            is_paused,
            is_stale: false,
            next: None,
            last_interval: None,
            failed_in_a_row: 0,
            is_draining: false,
            passed_over: None,
        }
    }

    /// The row that a change leaves.
    #[must_use]
    pub fn after(change: &DagChange, current: DagVersionId) -> Self {
        Self {
            dag_id: change.dag_id.clone(),
            current,
            is_paused: change.is_paused,
            is_stale: change.is_stale,
            next: change.next,
            last_interval: change.last_interval,
            failed_in_a_row: change.failed_in_a_row,
            is_draining: change.is_draining,
            passed_over: change.passed_over,
        }
    }
}

/// A run that a timetable asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueRun {
    /// The date that it stands for.
    pub logical_date: Timestamp,
    /// The start of the data that it covers.
    pub start: Timestamp,
    /// The end of the data that it covers, not included.
    pub end: Timestamp,
    /// When it is due.
    pub run_after: Timestamp,
}

/// A row of `dag_run`.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its number.
    pub key: RunKey,
    /// Its DAG.
    pub dag_id: DagId,
    /// Its id.
    pub run_id: RunId,
    /// What made it.
    pub run_type: RunType,
    /// Through which door it came.
    pub triggered_by: TriggeredBy,
    /// Who asked for it; none when nobody did.
    pub triggering_user: Option<String>,
    /// The version that it is pinned to.
    pub version: DagVersionId,
    /// Its state.
    pub state: DagRunState,
    /// The date that it stands for.
    pub logical_date: Option<Timestamp>,
    /// The data that it covers.
    pub data_interval: Option<(Timestamp, Timestamp)>,
    /// The earliest start.
    pub run_after: Timestamp,
    /// When it was made, or cleared.
    pub queued_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Values for its params.
    pub conf: serde_json::Map<String, serde_json::Value>,
    /// A remark.
    pub note: Option<String>,
    /// How often it was cleared.
    pub clear_number: i32,
    /// Its place in the backfill whose limits it goes by; none when it goes by its DAG's.
    pub backfill: Option<InBackfill>,
}

/// A run's place in a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InBackfill {
    /// The backfill.
    pub id: BackfillId,
    /// Which of its dates the run stands for, counted from 1 in its order.
    pub ordinal: i32,
    /// Whether no run of it comes before: its tasks do not depend on their past.
    pub is_first: bool,
}

/// A row of `backfill`.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillRow {
    /// Its number.
    pub id: BackfillId,
    /// Its DAG.
    pub dag_id: DagId,
    /// The first logical date that is meant.
    pub from_date: Timestamp,
    /// The last logical date that is meant.
    pub to_date: Timestamp,
    /// Which date comes first.
    pub order: BackfillOrder,
    /// Which runs that there are run again.
    pub reprocess_behavior: ReprocessBehavior,
    /// Which version of the DAG a run goes on with that runs again.
    pub version: ClearVersion,
    /// How many of its runs run at once.
    pub max_active_runs: u32,
    /// Values for the params of its runs.
    pub conf: serde_json::Map<String, serde_json::Value>,
    /// Whether it is held back.
    pub is_paused: bool,
    /// Who asked for it.
    pub triggering_user: Option<String>,
    /// When it was made. Intervals that had not ended then are not meant.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it was over: all its runs had ended, or it was cancelled.
    pub completed_at: Option<Timestamp>,
    /// The data interval of the last date that it has looked at: it goes on behind it.
    pub cursor: Option<(Timestamp, Timestamp)>,
    /// How many dates it has looked at.
    pub dates_seen: i32,
    /// For how many of them it has a run.
    pub runs_made: i32,
    /// Whether its range has no further date.
    pub is_planned: bool,
}

/// A row of `backfill_dag_run`: what came of a date of a backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillRunRow {
    /// The backfill.
    pub backfill: BackfillId,
    /// Which of its dates it is, counted from 1 in its order.
    pub ordinal: i32,
    /// The date.
    pub logical_date: Timestamp,
    /// The run that it made or ran again, or why it did neither.
    pub outcome: Result<RunKey, NotMade>,
}

/// A row of `deadline`: by when a run has to have succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineRow {
    /// Its id.
    pub id: Uuid,
    /// The run.
    pub run: RunKey,
    /// Its DAG.
    pub dag_id: DagId,
    /// The run's id.
    pub run_id: RunId,
    /// The version that says what is done.
    pub version: DagVersionId,
    /// Which of the DAG's deadlines.
    pub position: i16,
    /// What it is called.
    pub name: Option<String>,
    /// The kinds of its callbacks, in their order.
    pub kinds: Vec<String>,
    /// By when.
    pub at: Timestamp,
    /// When it was set.
    pub created_at: Timestamp,
    /// Whether it is missed.
    pub is_missed: bool,
}

/// A row of `task_instance`, with what its side table has.
#[derive(Debug, Clone, PartialEq)]
pub struct TiRow {
    /// Which instance.
    pub key: TiKey,
    /// Its try: 0 before the first.
    pub try_number: TryNumber,
    /// Its state; never `scheduled`.
    pub state: TaskState,
    /// The attempt of its current or last try.
    pub attempt: Option<AttemptId>,
    /// From assignment until the attempt's end is reported or its worker is proven dead.
    pub live: bool,
    /// The worker of the attempt.
    pub worker: Option<WorkerId>,
    /// When it was given a slot.
    pub queued_at: Option<Timestamp>,
    /// When its attempt started.
    pub started_at: Option<Timestamp>,
    /// When its attempt ended.
    pub ended_at: Option<Timestamp>,
    /// What `task_instance_extra` has.
    pub extra: TiExtra,
}

/// What is stored of an instance only when it is not the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TiExtra {
    /// The last try that a failure may lead to; the task's retries + 1 unless a clear has raised it.
    pub max_tries: Option<i16>,
    /// How often its worker was lost, losses of one cause counted once.
    pub infrastructure_losses: i16,
    /// When the last loss that was counted happened.
    pub lost_at: Option<Timestamp>,
    /// When it goes on: retry, reschedule.
    pub wake_at: Option<Timestamp>,
    /// The exit code of its last attempt.
    pub exit_code: Option<i32>,
    /// Why its last attempt failed, in one sentence.
    pub reason: Option<String>,
    /// A remark.
    pub note: Option<String>,
    /// What its branch or short circuit decided: the ids of the tasks directly after it that are skipped.
    pub skips: Option<Vec<TaskIdx>>,
    /// How many elements its last try has left for tasks that are expanded over them.
    pub map_length: Option<i32>,
    /// What it is called among the instances of its task (`map_index_template`).
    pub rendered_map_index: Option<String>,
    /// Of a sensor that looks again later: when it looked first, in this try.
    pub first_poke_at: Option<Timestamp>,
    /// How often it was put off, in this try.
    pub reschedules: i32,
    /// How often, one after the other, an attempt of it was taken back because its worker did not begin it.
    pub requeues: i16,
}

impl TiExtra {
    /// The next attempt begins a try, and does not go on with one.
    pub(crate) fn forget_pokes(&mut self) {
        (self.first_poke_at, self.reschedules) = (None, 0);
    }
}

/// A run with the instances that have rows.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// The run.
    pub run: RunRow,
    /// Its instances; one without a row is in no state yet.
    pub instances: Vec<TiRow>,
}
