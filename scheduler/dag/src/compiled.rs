//! A checked DAG, as the engine uses it: positions instead of names in the hot path.
//!
//! A `Dag` is only made by [`crate::compile`], so whoever holds one may rely on it: no cycle, every name resolved,
//! every schedule valid, defaults filled in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::{Callback, CallbackEvent, DagId, Operator, RetryRule, RunType, TaskId, Timestamp, TriggerRule, WeightRule};
use serde::{Deserialize, Serialize};

use crate::{
    assets::{AssetCondition, Outlet},
    expand::Expand,
    params::Params,
    scopes::Phase,
};

/// The position of a task in its `Dag`, in topological order (ties in the order of the file).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskPos(pub usize);

/// One DAG, checked and compiled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dag {
    /// Its id.
    pub dag_id: DagId,
    /// What pages call it; its id when there is nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dag_display_name: Option<String>,
    /// One line of what it does.
    pub description: Option<String>,
    /// Markdown for its page.
    pub doc_md: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who answers for it: the owners of its tasks.
    pub owners: Vec<String>,
    /// When its runs are due.
    pub schedule: Schedule,
    /// Which assets have to change for a run beside those of its schedule; none when no asset lets it run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<AssetCondition>,
    /// First date that counts.
    pub start_date: Option<Timestamp>,
    /// Where the first date that counts lies, when it depends on when the DAG is first seen: [`Dag::pin_start_date`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_start: Option<RelativeDate>,
    /// Last date that counts.
    pub end_date: Option<Timestamp>,
    /// Whether missed runs are made up.
    pub catchup: Catchup,
    /// Whether it is paused when it is seen for the first time.
    pub is_paused_upon_creation: bool,
    /// How many of its runs may be running.
    pub max_active_runs: u32,
    /// How many task instances of one run may be queued or running.
    pub max_active_tasks: u32,
    /// After so many failed runs in a row it is paused; 0 for never.
    pub max_consecutive_failed_dag_runs: u32,
    /// A run that takes longer fails.
    pub dagrun_timeout: Option<Duration>,
    /// What its runs may come of; none when anything may make one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_run_types: Option<Vec<RunType>>,
    /// What becomes of a run of the schedule that is due while another run is active.
    #[serde(default, skip_serializing_if = "Overlap::is_queue")]
    pub overlap: Overlap,
    /// Whether the first failure ends the run.
    pub fail_fast: bool,
    /// What is done when a run ends.
    #[serde(default, skip_serializing_if = "RunCallbacks::is_empty")]
    pub callbacks: RunCallbacks,
    /// By when a run has to have succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deadlines: Vec<Deadline>,
    /// Whether a template in a value gives a number, list or mapping where it is one, instead of its text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub render_template_as_native_obj: bool,
    /// Values that its templates know by a name.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub user_defined_macros: serde_json::Map<String, serde_json::Value>,
    /// Values that a run can be given, in the order of the file.
    pub params: Params,
    /// Its tasks, in topological order.
    pub tasks: Vec<Task>,
    /// Its groups, for pages and for branches that follow a group.
    pub groups: Vec<TaskGroup>,
    /// The files that it refers to: name below the DAG folder to SHA-256 in hex.
    pub files: BTreeMap<String, String>,
}

/// A date that is so long before the midnight of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelativeDate {
    /// How long before.
    pub before: Duration,
    /// The zone whose midnight it is.
    #[serde(with = "zone_name")]
    pub timezone: chrono_tz::Tz,
}

/// Whether missed runs are made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Catchup {
    /// Every missed run is made.
    All,
    /// Only the newest.
    Latest,
}

/// What becomes of a run of the schedule that is due while another run of the DAG is active: running, or waiting for nothing but its
/// turn to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is made, and waits for `max_active_runs` (Airflow's way).
    #[default]
    Queue,
    /// It is not made.
    Skip,
    /// It is made, and the other ones end.
    CancelOlder,
}

impl Overlap {
    /// Its word in DAG files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Skip => "skip",
            Self::CancelOlder => "cancel_older",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    const fn is_queue(&self) -> bool {
        matches!(self, Self::Queue)
    }
}

impl std::str::FromStr for Overlap {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Queue, Self::Skip, Self::CancelOlder].into_iter().find(|one| one.name() == word).ok_or(())
    }
}

/// When runs are due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// Only when somebody asks.
    Never,
    /// One run, at the start date.
    Once,
    /// One after the other.
    Continuous,
    /// At the ticks of cron expressions.
    Cron {
        /// The expressions, presets resolved; more than one makes a MultiCron.
        expressions: Vec<String>,
        /// The zone whose wall clock decides.
        #[serde(with = "zone_name")]
        timezone: chrono_tz::Tz,
        /// Whether a run stands for its tick or for the interval before it.
        timetable: CronTimetable,
        /// What else is said of runs that stand for their ticks.
        #[serde(default, skip_serializing_if = "TickOptions::is_default")]
        ticks: TickOptions,
    },
    /// Every so often, without alignment.
    Delta {
        /// How often, beside whole months.
        every: Duration,
        /// So many months of the calendar, before what has a fixed length.
        #[serde(default, skip_serializing_if = "is_zero")]
        months: u32,
        /// Whether a run stands for the instant at which it is due or for the time before it.
        #[serde(default = "DeltaTimetable::of_older_versions")]
        timetable: DeltaTimetable,
    },
}

/// What is said of runs at the ticks of a cron.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickOptions {
    /// A run covers so much time before its tick; none when it stands for the tick alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Whether a schedule that has no start date and no runs yet begins with the tick that has just been.
    #[serde(default, skip_serializing_if = "RunImmediately::is_usual")]
    pub run_immediately: RunImmediately,
}

impl TickOptions {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a schedule begins with the tick that has just been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunImmediately {
    /// With the last tick, however long ago.
    Always,
    /// With the last tick when it is not longer ago than this.
    Within(Duration),
    /// With the last tick when it is not longer ago than a tenth of the time between ticks, or five minutes.
    #[default]
    WhenRecent,
}

impl RunImmediately {
    /// Whether it is what happens when nothing is said.
    const fn is_usual(&self) -> bool {
        matches!(self, Self::WhenRecent)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the run of a duration stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaTimetable {
    /// The instant at which it is due (Airflow 3's default).
    DeltaTrigger,
    /// The time that ends there.
    DeltaDataInterval,
}

impl DeltaTimetable {
    /// Versions that were stored before there were two.
    const fn of_older_versions() -> Self {
        Self::DeltaDataInterval
    }
}

/// What a cron's run stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CronTimetable {
    /// The tick (Airflow 3's default).
    CronTrigger,
    /// The interval that ends at the tick.
    CronDataInterval,
}

/// A value that a run can be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Its JSON Schema, without `default`.
    pub schema: serde_json::Value,
    /// Its default.
    pub default: serde_json::Value,
    /// What it is for.
    pub description: Option<String>,
}

/// A task, with all defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub task_id: TaskId,
    /// What pages call it; its id when there is nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_display_name: Option<String>,
    /// What it does.
    pub operator: Operator,
    /// The tasks directly before it.
    pub upstream: Vec<TaskPos>,
    /// The tasks directly after it.
    pub downstream: Vec<TaskPos>,
    /// How its upstream decides.
    pub trigger_rule: TriggerRule,
    /// How many further tries a failure leads to.
    pub retries: u16,
    /// The pause before a further try.
    pub retry_delay: Duration,
    /// How the pause grows: delay × multiplier^(try−1); none for a constant pause.
    pub retry_exponential_backoff: Option<f64>,
    /// The longest pause.
    pub max_retry_delay: Option<Duration>,
    /// Rules that decide for some failures whether a try follows, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_policy: Vec<RetryRule>,
    /// An attempt that runs longer is ended.
    pub execution_timeout: Option<Duration>,
    /// An attempt that its worker has not begun after this time is taken back; the installation's when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_queued_timeout: Option<Duration>,
    /// The pool that it takes slots of.
    pub pool: String,
    /// How many slots it takes.
    pub pool_slots: u32,
    /// Its own weight.
    pub priority_weight: i32,
    /// How its neighbours' weights add to it.
    pub weight_rule: WeightRule,
    /// The weight that follows, which orders the queue: larger first.
    pub effective_weight: i32,
    /// How many instances of it may be active in all runs together.
    pub max_active_tis_per_dag: Option<u32>,
    /// How many instances of it may be active in one run.
    pub max_active_tis_per_dagrun: Option<u32>,
    /// Whether its previous run's instance must have succeeded.
    pub depends_on_past: bool,
    /// Whether the tasks directly after its previous run's instance must have succeeded, too.
    pub wait_for_downstream: bool,
    /// Whether a past in which the previous run had no instance of it counts as met.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub ignore_first_depends_on_past: bool,
    /// Whether it waits for its past also before it is skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait_for_past_depends_before_skipping: bool,
    /// Whether what it returns becomes an XCom.
    pub do_xcom_push: bool,
    /// Whether each key of the mapping that it returns is an XCom, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiple_outputs: bool,
    /// The queue of workers that it asks for.
    pub queue: String,
    /// Who answers for it.
    pub owner: String,
    /// Values that its templates have over the DAG's params, and under a run's conf (Airflow's `params` of a task).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Markdown for its page.
    pub doc_md: Option<String>,
    /// Named data that it writes: each success is an event of them.
    pub outlets: Vec<Outlet>,
    /// Named data that it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inlets: Vec<Outlet>,
    /// What is done when it comes to something.
    #[serde(default, skip_serializing_if = "TaskCallbacks::is_empty")]
    pub callbacks: TaskCallbacks,
    /// Runs of earlier dates do without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Timestamp>,
    /// Runs of later dates do without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Timestamp>,
    /// Whether it makes what others need, or takes it away.
    #[serde(default, skip_serializing_if = "Phase::is_work")]
    pub phase: Phase,
    /// The group that it is in.
    pub group: Option<String>,
    /// What makes it many instances; none for a task that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,
}

const fn yes() -> bool {
    true
}

/// What is done when a task comes to something, each in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskCallbacks {
    /// It has begun to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_execute: Vec<Callback>,
    /// It has succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_success: Vec<Callback>,
    /// It has failed, and no try is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Callback>,
    /// It has failed, and is tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_retry: Vec<Callback>,
    /// It has skipped itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_skipped: Vec<Callback>,
}

impl TaskCallbacks {
    /// Whether nothing is done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.on_execute.is_empty()
            && self.on_success.is_empty()
            && self.on_failure.is_empty()
            && self.on_retry.is_empty()
            && self.on_skipped.is_empty()
    }
}

/// What is done when a run ends, each in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunCallbacks {
    /// It has succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_success: Vec<Callback>,
    /// It has failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Callback>,
}

impl RunCallbacks {
    /// Whether nothing is done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.on_success.is_empty() && self.on_failure.is_empty()
    }
}

/// By when a run has to have succeeded, and what is done when it has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deadline {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is counted from.
    pub reference: DeadlineReference,
    /// How long after that.
    pub interval: Duration,
    /// What is done, in the order of the file.
    pub callbacks: Vec<Callback>,
}

/// What a deadline is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineReference {
    /// When the run was queued.
    QueuedAt,
    /// The date that the run stands for; a run without one has no such deadline.
    LogicalDate,
    /// When the run was queued, and how long its DAG's last runs have taken on average.
    AverageRuntime {
        /// Of so many runs.
        max_runs: u32,
        /// A run that has fewer before it has no such deadline.
        min_runs: u32,
    },
    /// This instant.
    At(Timestamp),
}

/// A group of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// Its id, with those of the groups that it is in: `outer.inner`.
    pub group_id: String,
    /// One line for people.
    pub tooltip: Option<String>,
    /// What it is expanded over, as it stands in its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,
}

impl Dag {
    /// The queue of every task that names none.
    pub const DEFAULT_QUEUE: &'static str = "default";

    /// What pages call it.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.dag_display_name.as_deref().unwrap_or(self.dag_id.as_str())
    }

    /// Gives a DAG with a relative start date the one that follows from when it was first seen. Others stay as they are.
    pub fn pin_start_date(&mut self, first_seen: Timestamp) {
        let Some(relative) = self.relative_start else { return };
        let midnight = first_seen.with_timezone(&relative.timezone).date_naive().and_time(chrono::NaiveTime::MIN);
        let start = crate::read::value::instant(midnight, relative.timezone)
            .zip(chrono::TimeDelta::from_std(relative.before).ok())
            .and_then(|(midnight, before)| midnight.checked_sub_signed(before));
        self.start_date = start.or(Some(first_seen));
    }

    /// Whether it may have a run of this type.
    #[must_use]
    pub fn allows(&self, run_type: RunType) -> bool {
        self.allowed_run_types.as_ref().is_none_or(|types| types.contains(&run_type))
    }

    /// A task by its position.
    #[must_use]
    pub fn task(&self, pos: TaskPos) -> &Task {
        &self.tasks[pos.0]
    }

    /// The position of a task by its id.
    #[must_use]
    pub fn position(&self, task_id: &TaskId) -> Option<TaskPos> {
        self.tasks.iter().position(|task| task.task_id == *task_id).map(TaskPos)
    }

    /// What is done at an event: of a task, when the event is of one, else of the run. Of a deadline it is that of its position.
    #[must_use]
    pub fn callbacks_at(&self, event: CallbackEvent, of: Option<TaskPos>, deadline: usize) -> &[Callback] {
        let of_task = |pick: fn(&TaskCallbacks) -> &Vec<Callback>| {
            of.and_then(|pos| self.tasks.get(pos.0)).map_or(&[][..], |task| pick(&task.callbacks).as_slice())
        };
        match event {
            CallbackEvent::Execute => of_task(|callbacks| &callbacks.on_execute),
            CallbackEvent::Success => of_task(|callbacks| &callbacks.on_success),
            CallbackEvent::Failure => of_task(|callbacks| &callbacks.on_failure),
            CallbackEvent::Retry => of_task(|callbacks| &callbacks.on_retry),
            CallbackEvent::Skipped => of_task(|callbacks| &callbacks.on_skipped),
            CallbackEvent::DagSuccess => &self.callbacks.on_success,
            CallbackEvent::DagFailure => &self.callbacks.on_failure,
            CallbackEvent::DeadlineMissed => {
                self.deadlines.get(deadline).map_or(&[], |deadline| deadline.callbacks.as_slice())
            }
        }
    }

    /// Whether something is told to the outside of its runs.
    #[must_use]
    pub fn tells(&self) -> bool {
        let of_run = !self.callbacks.is_empty() || !self.deadlines.is_empty();
        of_run || self.tasks.iter().any(|task| !task.callbacks.is_empty())
    }

    /// Every position, in topological order.
    pub fn positions(&self) -> impl Iterator<Item = TaskPos> + use<> {
        (0..self.tasks.len()).map(TaskPos)
    }
}

impl Task {
    /// Whether runs of this date have it.
    #[must_use]
    pub fn is_in_window(&self, date: Timestamp) -> bool {
        self.start_date.is_none_or(|start| start <= date) && self.end_date.is_none_or(|end| date <= end)
    }

    /// What pages call it.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.task_display_name.as_deref().unwrap_or(self.task_id.as_str())
    }
}

/// A file that a DAG version carries with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagFile {
    /// Its name below the DAG folder, `/` between its parts.
    pub name: String,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// A DAG as it comes from a file: what is stored as a version.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledDag {
    /// The DAG.
    pub dag: Dag,
    /// SHA-256 in hex of the canonical definition and its files: the version's identity.
    pub content_hash: String,
    /// The canonical definition, as `windlass dags show` prints it.
    pub canonical_yaml: String,
    /// The file that defines it, below the DAG folder.
    pub fileloc: String,
    /// That file as people wrote it, with what else it defines.
    pub source: DagFile,
    /// The files that it refers to.
    pub files: Vec<DagFile>,
}

/// A zone is written as its IANA name.
mod zone_name {
    use chrono_tz::Tz;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(zone.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
