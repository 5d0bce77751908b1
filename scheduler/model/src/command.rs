//! What people and clients ask of the leader. A command waits in the inbox as JSON until a turn has applied it.
//!
//! Its texts, JSON and instants have passed the [door](crate::door), whoever sends it: none is what PostgreSQL refuses.

use serde::{Deserialize, Serialize};

use crate::{
    AssetKey, BackfillId, BackfillOrder, DagId, DagRunState, MapIndex, RateLimit, ReprocessBehavior, RunId, RunType,
    TaskId, TaskState, TriggeredBy,
    door::{Conf, Instant, Json, Note, Text, XComKey, nul_at},
    operator::HitlUser,
};

/// A request to change something, decided by the leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Start a run.
    TriggerDagRun(TriggerDagRun),
    /// Let a DAG's runs begin, or hold them back.
    PauseDag {
        /// The DAG.
        dag_id: DagId,
        /// The wish.
        to: Paused,
    },
    /// Let no further run of a DAG start while those that are running go on to their end, or let them start again.
    DrainDag {
        /// The DAG.
        dag_id: DagId,
        /// The wish.
        to: Draining,
    },
    /// Run task instances again.
    ClearTaskInstances(ClearTaskInstances),
    /// Set task instances to a final state.
    MarkTaskInstances(MarkTaskInstances),
    /// Set a run to a state: success and failed end it, queued lets it be scheduled again.
    MarkDagRun {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_id: RunId,
        /// The wish; `running` is refused.
        state: DagRunState,
    },
    /// Leave a remark on a run or on task instances.
    SetNote(SetNote),
    /// Remove a run with everything that belongs to it; refused while it is running.
    DeleteDagRun {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_id: RunId,
    },
    /// Remove a DAG's history, and the DAG itself unless a file still defines it; refused while a run of it is running.
    DeleteDag {
        /// The DAG.
        dag_id: DagId,
    },
    /// Leave an XCom, or replace it.
    SetXCom {
        /// Which.
        xcom: XComName,
        /// Its value.
        value: Json,
    },
    /// Remove an XCom.
    DeleteXCom(XComName),
    /// Forget what has happened to a task instance; refused while it is at work.
    DeleteTaskInstance(TaskInstanceName),
    /// Answer the question of a task instance that waits for people.
    AnswerQuestion(AnswerQuestion),
    /// Create a pool; one of its name is in the way.
    CreatePool(Pool),
    /// Create a pool or change its slots.
    SetPool(Pool),
    /// Remove a pool.
    DeletePool {
        /// Its name.
        name: Text,
    },
    /// Run a DAG for the dates of a range.
    CreateBackfill(CreateBackfill),
    /// Hold a backfill back, or let it go on.
    PauseBackfill {
        /// Its DAG.
        dag_id: DagId,
        /// The backfill.
        backfill: BackfillId,
        /// The wish.
        to: Paused,
    },
    /// End a backfill: its runs that wait fail, those that run go on.
    CancelBackfill {
        /// Its DAG.
        dag_id: DagId,
        /// The backfill.
        backfill: BackfillId,
    },
    /// An asset has changed, somebody says.
    CreateAssetEvent(CreateAssetEvent),
    /// Forget events that DAGs have not taken up yet.
    DeleteQueuedAssetEvents(DeleteQueuedAssetEvents),
    /// Start, restart or stop services.
    ControlService {
        /// The DAG that declares it.
        dag_id: DagId,
        /// The service's name.
        name: Text,
        /// The wish.
        action: ServiceAction,
    },
}

impl Command {
    /// What is wrong with it whoever applies it, in words for people: it does not even get into the inbox.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::CreatePool(pool) | Self::SetPool(pool) => pool.check(),
            Self::TriggerDagRun(_)
            | Self::PauseDag { .. }
            | Self::DrainDag { .. }
            | Self::ClearTaskInstances(_)
            | Self::MarkTaskInstances(_)
            | Self::MarkDagRun { .. }
            | Self::SetNote(_)
            | Self::DeleteDagRun { .. }
            | Self::DeleteDag { .. }
            | Self::SetXCom { .. }
            | Self::DeleteXCom(_)
            | Self::DeleteTaskInstance(_)
            | Self::AnswerQuestion(_)
            | Self::DeletePool { .. }
            | Self::CreateBackfill(_)
            | Self::PauseBackfill { .. }
            | Self::CancelBackfill { .. }
            | Self::CreateAssetEvent(_)
            | Self::DeleteQueuedAssetEvents(_)
            | Self::ControlService { .. } => Ok(()),
        }
    }
}

/// Whether further runs of a DAG start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draining {
    /// None does; what is running goes on to its end.
    Draining,
    /// They do.
    Active,
}

/// Whether a DAG is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paused {
    /// Nothing new starts.
    Paused,
    /// Its schedule and its runs go on.
    Active,
}

/// A request for a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerDagRun {
    /// The DAG.
    pub dag_id: DagId,
    /// The run's id; made from its type and `run_after` when absent.
    pub run_id: Option<RunId>,
    /// The date that it stands for; none is allowed.
    pub logical_date: Option<Instant>,
    /// The data that it covers, start and end; from the timetable when absent.
    pub data_interval: Option<(Instant, Instant)>,
    /// The earliest start; now when absent.
    pub run_after: Option<Instant>,
    /// Values for the DAG's params, already checked against their schema.
    pub conf: Conf,
    /// A remark of the person who asked.
    pub note: Option<Note>,
    /// What kind of run it becomes.
    pub run_type: RunType,
    /// Through which door it came.
    pub triggered_by: TriggeredBy,
}

impl TriggerDagRun {
    /// A run of the DAG now, by hand, with nothing else said.
    #[must_use]
    pub fn by_hand(dag_id: DagId, triggered_by: TriggeredBy) -> Self {
        Self {
            dag_id,
            run_id: None,
            logical_date: None,
            data_interval: None,
            run_after: None,
            conf: Conf::default(),
            note: None,
            run_type: RunType::Manual,
            triggered_by,
        }
    }
}

/// A request to run a DAG for the dates of a range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateBackfill {
    /// The DAG.
    pub dag_id: DagId,
    /// The first logical date that is meant.
    pub from_date: Instant,
    /// The last logical date that is meant.
    pub to_date: Instant,
    /// Which date comes first.
    pub order: BackfillOrder,
    /// Which runs that there are run again.
    pub reprocess_behavior: ReprocessBehavior,
    /// How many of its runs run at once.
    pub max_active_runs: u32,
    /// Values for the params of its runs.
    #[serde(default)]
    pub conf: Conf,
    /// Which version of the DAG a run goes on with that runs again.
    #[serde(default)]
    pub version: ClearVersion,
}

impl CreateBackfill {
    /// How many runs of a backfill run at once when nobody says otherwise, as in Airflow.
    pub const MAX_ACTIVE_RUNS: u32 = 10;
    /// The most of them that can be asked for: PostgreSQL keeps them as an integer.
    pub const MAX_ACTIVE_RUNS_MAX: u32 = i32::MAX.unsigned_abs();
}

/// The news that an asset has changed, from outside of all tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateAssetEvent {
    /// The asset.
    pub asset: AssetKey,
    /// What consumers of the event are told.
    #[serde(default)]
    pub extra: Conf,
}

/// Which queued events are to be forgotten: those of a DAG, of an asset, or of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteQueuedAssetEvents {
    /// Of this DAG only.
    #[serde(default)]
    pub dag_id: Option<DagId>,
    /// Of this asset only.
    #[serde(default)]
    pub asset: Option<AssetKey>,
    /// Only what was queued before this instant.
    #[serde(default)]
    pub before: Option<Instant>,
}

/// Which of a task's instances are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSelector {
    /// The task.
    pub task_id: TaskId,
    /// One instance of an expanded task; all when absent.
    pub map_index: Option<MapIndex>,
}

/// Which relatives of the chosen tasks are meant, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relatives {
    /// Everything before them.
    #[serde(default)]
    pub upstream: bool,
    /// Everything after them.
    #[serde(default)]
    pub downstream: bool,
}

/// Which states a clear is limited to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearOnly {
    /// Any state.
    #[default]
    All,
    /// Failed and upstream_failed.
    Failed,
    /// Running ones.
    Running,
}

/// A request to run task instances again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClearTaskInstances {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// Further runs of the DAG that are meant, as far as they have the tasks.
    #[serde(default)]
    pub also: Vec<RunId>,
    /// The tasks; all of the run when empty.
    pub tasks: Vec<TaskSelector>,
    /// Their relatives.
    #[serde(default)]
    pub relatives: Relatives,
    /// The states it is limited to.
    #[serde(default)]
    pub only: ClearOnly,
    /// Whether it is only to be told what would be cleared.
    #[serde(default)]
    pub effect: ClearEffect,
    /// Which version of the DAG the run goes on with.
    #[serde(default)]
    pub version: ClearVersion,
    /// What becomes of runs that had ended.
    #[serde(default)]
    pub ended_runs: EndedRuns,
}

impl ClearTaskInstances {
    /// All tasks of one run, whatever their states.
    #[must_use]
    pub fn of_run(dag_id: DagId, run_id: RunId) -> Self {
        Self {
            dag_id,
            run_id,
            also: Vec::new(),
            tasks: Vec::new(),
            relatives: Relatives::default(),
            only: ClearOnly::default(),
            effect: ClearEffect::default(),
            version: ClearVersion::default(),
            ended_runs: EndedRuns::default(),
        }
    }

    /// Every run that is meant.
    pub fn runs(&self) -> impl Iterator<Item = &RunId> {
        std::iter::once(&self.run_id).chain(&self.also)
    }
}

/// Whether a clear or a mark is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearEffect {
    /// Do it.
    #[default]
    Apply,
    /// Say what would be done.
    DryRun,
}

/// Which version of the DAG a cleared run goes on with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearVersion {
    /// The one it was made with.
    #[default]
    Own,
    /// The newest.
    Latest,
}

/// What a clear makes of runs that had ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedRuns {
    /// They wait for their start again, so that the cleared tasks run.
    #[default]
    GoOn,
    /// They stay ended: the cleared tasks wait until somebody lets the run go on.
    StayEnded,
}

/// A request to set task instances to a final state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarkTaskInstances {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// Further runs of the DAG that are meant, as far as they have the tasks.
    #[serde(default)]
    pub also: Vec<RunId>,
    /// The tasks.
    pub tasks: Vec<TaskSelector>,
    /// Their relatives.
    #[serde(default)]
    pub relatives: Relatives,
    /// The state: success, failed or skipped.
    pub state: TaskState,
    /// Whether it is only to be told what would be set.
    #[serde(default)]
    pub effect: ClearEffect,
}

impl MarkTaskInstances {
    /// Every run that is meant.
    pub fn runs(&self) -> impl Iterator<Item = &RunId> {
        std::iter::once(&self.run_id).chain(&self.also)
    }
}

/// A remark, and what it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetNote {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// Task instances of it; the run itself when empty.
    pub tasks: Vec<TaskSelector>,
    /// The remark; none takes an earlier one away.
    pub note: Option<Note>,
}

/// Which task instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInstanceName {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// Its instance.
    pub map_index: MapIndex,
}

/// An answer to the question of a task instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerQuestion {
    /// Which instance asks.
    pub instance: TaskInstanceName,
    /// The options that were chosen.
    pub chosen_options: Vec<Text>,
    /// Values for the params that it asks for, already checked against their schema.
    #[serde(default)]
    pub params_input: Conf,
    /// Who answers.
    pub user: HitlUser,
}

/// Which XCom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct XComName {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// The task that left it.
    pub task_id: TaskId,
    /// Its instance.
    pub map_index: MapIndex,
    /// Its key.
    pub key: XComKey,
}

/// A pool: a limit that tasks of many DAGs share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many slots it has; none for no limit (Airflow writes -1).
    pub slots: Option<u32>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whether deferred tasks hold their slots.
    #[serde(default)]
    pub include_deferred: bool,
    /// How many attempts of it may start in a span of time; none for no such limit. Airflow has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

impl Pool {
    /// The pool of every task that names none.
    pub const DEFAULT: &'static str = "default_pool";
    /// Airflow's size of it.
    pub const DEFAULT_SLOTS: u32 = 128;
    /// The most slots that a pool with a limit can have: PostgreSQL keeps them as an integer.
    pub const SLOTS_MAX: u32 = i32::MAX.unsigned_abs();
    /// The longest name, in characters, as in Airflow.
    pub const NAME_CHARS_MAX: usize = 256;

    /// What is wrong with it, in words for people.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() {
            return Err("a pool needs a name".to_owned());
        }
        if self.name.chars().count() > Self::NAME_CHARS_MAX {
            return Err(format!("a pool's name has at most {} characters", Self::NAME_CHARS_MAX));
        }
        if [&self.name, &self.description].into_iter().any(|text| nul_at(text).is_some()) {
            return Err("a pool's name and description have no NUL characters".to_owned());
        }
        if self.slots.is_some_and(|slots| slots > Self::SLOTS_MAX) {
            return Err(format!("a pool has at most {} slots; -1 stands for no limit", Self::SLOTS_MAX));
        }
        Ok(())
    }
}

/// What is wanted of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceAction {
    /// Run it again after a stop.
    Start,
    /// Stop it and start it.
    Restart,
    /// Stop it and keep it stopped until it is started.
    Stop,
}

/// How the leader answered a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    /// Done.
    Done,
    /// What it names does not exist.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// It makes no sense; the body says why.
    Invalid,
    /// It is not for who sent it.
    Forbidden,
}

/// The leader's answer to a command: `{"detail": "…"}` unless [`AnswerStatus::Done`], whose body each command documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// How it went.
    pub status: AnswerStatus,
    /// For a triggered run `{"run_key": …, "run_id": …}`; for a clear and a mark `{"task_instances": [{"run_id", "task_id", "map_index"}]}`;
    /// for a backfill that is made `{"backfill_id": …}`; for an asset event `{"asset_event_id": …}`; for queued events that are
    /// forgotten `{"deleted": …}`; else `{}`.
    pub body: serde_json::Value,
}
