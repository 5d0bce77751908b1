//! What a turn changes, and what is done once it is stored.
//!
//! A plan is the **net** change of a turn, one write a row; `expected` is the state that is stored before it.

use std::collections::BTreeMap;

use model::{
    Answer, AssetKey, AttemptId, CallbackEvent, CommandId, DagId, DagRunState, DagVersionId, NotificationId, Question,
    RunId, RunKey, TaskId, TaskState, TiKey, Timestamp, TryNumber, WorkerId, XComValue,
    command::Pool,
    operator::{Asking, HitlUser},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::assets::{AssetEventRow, ConsumedAssetRow, QueuedAssetRow};
use crate::state::{BackfillRow, BackfillRunRow, DeadlineRow, DueRun, RunRow, TiExtra, TiRow};

/// Everything that a turn stores, and everything that follows from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Runs that are made, `ON CONFLICT DO NOTHING`.
    pub new_runs: Vec<RunRow>,
    /// Runs that change.
    pub runs: Vec<RunChange>,
    /// Instances that get their row.
    pub new_instances: Vec<TiRow>,
    /// Instances that change.
    pub instances: Vec<TiChange>,
    /// Instances whose row goes with its side row: their task has been expanded, and others take their place.
    pub instances_dropped: Vec<TiKey>,
    /// Side rows that are not the default any more, or again.
    pub extras: Vec<(TiKey, TiExtra)>,
    /// Tries that were superseded: rows of `task_try`.
    pub tries: Vec<TryRow>,
    /// Instances whose XComs go, because a new try begins.
    pub xcoms_dropped: Vec<TiKey>,
    /// XComs that were left.
    pub xcoms: Vec<(TiKey, XComValue)>,
    /// Questions that were put to people.
    pub asked: Vec<AskedRow>,
    /// Answers to questions of earlier turns.
    pub responses: Vec<ResponseRow>,
    /// XComs that are removed one by one.
    pub xcoms_deleted: Vec<(TiKey, String)>,
    /// Runs that go with everything that belongs to them.
    pub runs_dropped: Vec<RunKey>,
    /// DAGs whose runs all go, and which go themselves when no file defines them.
    pub dags_dropped: Vec<DagId>,
    /// Instances whose earlier tries, and what they keep for themselves, go.
    pub forgotten: Vec<TiKey>,
    /// Failures, for the insert-only table that searches across runs use.
    pub failures: Vec<FailureRow>,
    /// DAGs whose schedule or pause changes.
    pub dags: Vec<DagChange>,
    /// What the audit log is told beside commands.
    pub audited: Vec<AuditedRow>,
    /// Backfills that are made or changed.
    pub backfills: Vec<BackfillRow>,
    /// What came of dates of backfills.
    pub backfill_runs: Vec<BackfillRunRow>,
    /// Events of assets.
    pub asset_events: Vec<AssetEventRow>,
    /// Entries of queues of assets that are made or changed.
    pub asset_queue: Vec<QueuedAssetRow>,
    /// Entries of queues of assets that go.
    pub asset_queue_dropped: Vec<(DagId, AssetKey)>,
    /// Events of assets that new runs have taken up.
    pub assets_consumed: Vec<ConsumedAssetRow>,
    /// What is owed to the outside.
    pub notifications: Vec<NotificationRow>,
    /// Deadlines that are set.
    pub deadlines: Vec<DeadlineRow>,
    /// Deadlines that are missed.
    pub deadlines_missed: Vec<Uuid>,
    /// Deadlines that are met.
    pub deadlines_dropped: Vec<Uuid>,
    /// Pools that are made or changed.
    pub pools: Vec<Pool>,
    /// When attempts of pools with a rate limit have started, as far as that counts, the oldest first.
    pub pool_starts: Vec<(String, Vec<Timestamp>)>,
    /// Pools that go.
    pub pools_dropped: Vec<String>,
    /// Inbox rows that are done, deleted, each with its answer.
    pub answers: Vec<(CommandId, Answer)>,
    /// What is done after the commit, in this order.
    pub effects: Vec<Effect>,
    /// Instances that have begun to run: not stored as such, for those who measure.
    pub started: Vec<Started>,
    /// Runs whose pages are stale, each with its DAG.
    pub changed_runs: BTreeMap<RunKey, DagId>,
    /// How many of the turn's events it has taken, from the first. The others are to be given to the next turn.
    pub taken: usize,
    /// Whether the turn was cut by its limits and has to go on at once.
    pub rest: Rest,
}

/// Whether a turn has something left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rest {
    /// It reached its fixpoint.
    #[default]
    Nothing,
    /// Take another turn, with the events that were not taken.
    Continue,
}

/// A run's next state.
#[derive(Debug, Clone, PartialEq)]
pub struct RunChange {
    /// What is stored now.
    pub expected: DagRunState,
    /// What will be.
    pub row: RunRow,
}

/// An instance's next state.
#[derive(Debug, Clone, PartialEq)]
pub struct TiChange {
    /// What is stored now.
    pub expected: TaskState,
    /// What will be.
    pub row: TiRow,
}

/// A try that was superseded by the next.
#[derive(Debug, Clone, PartialEq)]
pub struct TryRow {
    /// The instance.
    pub key: TiKey,
    /// The try.
    pub try_number: TryNumber,
    /// How it ended.
    pub state: TaskState,
    /// Its attempt, by whose id its log is found.
    pub attempt: Option<AttemptId>,
    /// Its worker.
    pub worker: Option<WorkerId>,
    /// When it was given a slot.
    pub queued_at: Option<Timestamp>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
}

/// A question that a try has put to people: a row of `hitl_detail`.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedRow {
    /// The instance.
    pub key: TiKey,
    /// The try.
    pub try_number: TryNumber,
    /// When.
    pub at: Timestamp,
    /// How it reads.
    pub question: Question,
    /// What can be answered.
    pub asking: Asking,
    /// The answer, when it came in the same turn.
    pub response: Option<ResponseRow>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseRow {
    /// The instance.
    pub key: TiKey,
    /// The try.
    pub try_number: TryNumber,
    /// When.
    pub at: Timestamp,
    /// Who has answered; nobody when the time was over.
    pub user: Option<HitlUser>,
    /// The options that were chosen.
    pub chosen_options: Vec<String>,
    /// The values of the params.
    pub params_input: Map<String, Value>,
}

/// When an instance has begun to run, and since when it could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// When it was ready: it waited for nothing but a slot. Not known after a takeover in between.
    pub ready_at: Option<Timestamp>,
    /// When it was given a slot.
    pub queued_at: Option<Timestamp>,
    /// When it began.
    pub at: Timestamp,
}

/// A failed try.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureRow {
    /// The instance.
    pub key: TiKey,
    /// The try.
    pub try_number: TryNumber,
    /// When.
    pub failed_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Something that is owed to the outside: one callback of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationRow {
    /// Its id, however often it is sent.
    pub id: NotificationId,
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run: RunKey,
    /// The run's id.
    pub run_id: RunId,
    /// The version whose callback it is.
    pub version: DagVersionId,
    /// What has happened.
    pub event: CallbackEvent,
    /// Which of the callbacks of that event.
    pub position: i16,
    /// The callback's kind.
    pub kind: String,
    /// Which of the DAG's deadlines was missed.
    pub deadline: Option<i16>,
    /// The instance that has come to something; of a run's event the one that its context is about.
    pub task: Option<NotifiedTask>,
    /// Why, in one sentence or in Airflow's word.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// An instance that is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifiedTask {
    /// Which one.
    pub key: TiKey,
    /// Its task.
    pub task_id: TaskId,
    /// Which try.
    pub try_number: TryNumber,
    /// The last try that a failure may lead to.
    pub max_tries: i16,
}

/// A DAG's row after the turn.
#[derive(Debug, Clone, PartialEq)]
pub struct DagChange {
    /// The DAG.
    pub dag_id: DagId,
    /// Whether it is held back.
    pub is_paused: bool,
    /// Whether no file defines it any more.
    pub is_stale: bool,
    /// The next run of its schedule.
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

/// Something that the scheduler did of itself, and that nobody would find otherwise: a line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedRow {
    /// The DAG.
    pub dag_id: DagId,
    /// The run; none when there is none.
    pub run_id: Option<RunId>,
    /// What was done.
    pub action: &'static str,
    /// Why, and what it is about.
    pub details: Value,
}

/// What is done once the turn is stored. Each can be derived again from the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Hand an attempt to its worker. The leader adds the operator and the context from the engine's memory
    /// with [`crate::Engine::assignment`].
    Assign {
        /// The worker.
        worker: WorkerId,
        /// The instance.
        key: TiKey,
        /// The attempt.
        attempt: AttemptId,
    },
    /// End an attempt.
    Kill {
        /// The worker that runs it.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// Why, for its log.
        reason: String,
    },
}
