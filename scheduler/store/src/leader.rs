//! Taking over, and being told apart from whoever led before.
//!
//! The one row of `leader` is the only authority: whoever raised its epoch last leads, and every write of a leader
//! proves that its epoch is still there.

use model::{Epoch, Operator, Timestamp, TurnNumber};
use sqlx::Connection;

use crate::{
    connect::Writer,
    error::{Doing, StoreError},
    limit::{self, statement, within},
    versions::ended,
};

/// The newest format of the state that this binary knows. The state's own format rises only with what is stored, see
/// [`format_of`]: a binary of 0.1.0 goes on with a state that it can read.
const FORMAT: i32 = 6;
const DOING: &str = "taking over the leadership";

/// Who wants to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// A name for people, such as `host:pid`.
    pub holder: String,
    /// Where workers and api processes find it.
    pub endpoint: String,
}

/// A leadership, from its takeover on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Its fence.
    pub epoch: Epoch,
    /// The last turn that was stored.
    pub turn: TurnNumber,
    /// The database's clock, never below the instant of the last turn.
    pub now: Timestamp,
}

/// Takes over: ends the old leader's connection, raises the epoch, and records who leads now.
///
/// Of several candidates that saw the same epoch one succeeds; the others hear [`StoreError::Deposed`] and wait on.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::NewerFormat`], [`StoreError::Unreachable`], [`StoreError::Database`] (also when
/// the old leader's lock is not released in time: try again).
pub async fn lead(writer: &mut Writer, candidate: &Candidate) -> Result<Leadership, StoreError> {
    within(limit::STATEMENT, DOING, take(writer, candidate)).await
}

async fn take(writer: &mut Writer, candidate: &Candidate) -> Result<Leadership, StoreError> {
    let old = sqlx::query_file!("queries/leader_seen.sql").fetch_one(writer.connection()).await.doing(DOING)?;
    if old.format > FORMAT {
        return Err(StoreError::NewerFormat { found: old.format, known: FORMAT });
    }
    let mut transaction = writer.connection().begin().await.doing(DOING)?;
    let taking = async {
        sqlx::query_file!("queries/leader_end_backend.sql", old.backend_pid, old.backend_start)
            .fetch_optional(&mut *transaction)
            .await
            .doing(DOING)?;
        sqlx::query_file!("queries/leader_take.sql", old.epoch, &candidate.holder, &candidate.endpoint)
            .fetch_optional(&mut *transaction)
            .await
            .doing(DOING)?
            .ok_or(StoreError::Deposed)
    };
    let taken = taking.await;
    let taken = ended(transaction, taken, DOING).await?;
    Ok(Leadership { epoch: Epoch(taken.epoch), turn: TurnNumber(taken.turn), now: taken.now })
}

/// Goes on with a leadership on a new connection, and says which turn was stored last.
///
/// It waits until the old connection's transaction has ended either way, so it answers [`StoreError::Unknown`]: the
/// turn in question is stored exactly when its number is the one that is returned.
///
/// # Errors
/// [`StoreError::Deposed`] when another leader has taken over; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn resume(writer: &mut Writer, epoch: Epoch) -> Result<TurnNumber, StoreError> {
    const DOING: &str = "going on as the leader after a broken connection";
    let turn = statement(
        DOING,
        sqlx::query_file_scalar!("queries/leader_resume.sql", epoch.get()).fetch_optional(writer.connection()),
    )
    .await?;
    turn.map(TurnNumber).ok_or(StoreError::Deposed)
}

/// Follows the database's clock back, which was wrong into the future up to `wrong`: what was planned by the wrong one is
/// planned anew. The caller's memory is worthless afterwards.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn set_clock_back(writer: &mut Writer, epoch: Epoch, wrong: Timestamp) -> Result<Timestamp, StoreError> {
    const DOING: &str = "following the database's clock back";
    statement(
        DOING,
        sqlx::query_file_scalar!("queries/leader_set_clock_back.sql", epoch.get(), wrong)
            .fetch_optional(writer.connection()),
    )
    .await?
    .ok_or(StoreError::Deposed)
}

/// The format that a state needs which has this operator: binaries that know only older ones can not lead with it, and say
/// so instead of failing at each takeover. From format 2 on, what a binary can not read concerns its DAG only.
#[must_use]
pub const fn format_of(operator: &Operator) -> i32 {
    match operator {
        Operator::Empty
        | Operator::Bash(_)
        | Operator::Python(_)
        | Operator::Sql(_)
        | Operator::SqlCheck(_)
        | Operator::Service(_)
        | Operator::Docker(_)
        | Operator::Branch(_)
        | Operator::ShortCircuit(_)
        | Operator::Http(_)
        | Operator::TriggerDagRun(_)
        | Operator::FileSensor(_)
        | Operator::HttpSensor(_)
        | Operator::SqlSensor(_)
        | Operator::ExternalTaskSensor(_) => 1,
        Operator::KafkaProduce(_)
        | Operator::KafkaConsume(_)
        | Operator::KafkaSensor(_)
        | Operator::KafkaTopic(_)
        | Operator::KafkaLag(_)
        | Operator::PythonCallable(_)
        | Operator::DateTimeSensor(_)
        | Operator::TimeDeltaSensor(_)
        | Operator::LatestOnly => 2,
        Operator::Approval(_) | Operator::Choice(_) => 5,
    }
}

/// The format that a state needs which has sensors that look again later: a binary that knows none would take a look for a failure.
const FORMAT_OF_RESCHEDULES: i32 = 5;

/// The format that a state needs which has deferrable tasks: a binary that knows none would count their waits as slots, and one of them
/// that its worker has lost as at work for ever.
const FORMAT_OF_DEFERRED: i32 = 6;

/// The format that a state needs which has DAGs of bundles: a binary that knows only the DAG folder would take their files for gone.
pub const FORMAT_OF_BUNDLES: i32 = 3;

/// The same of a task: binaries that do not know expanded tasks would run one as it stands, others would run a teardown as any task,
/// or a task outside of its own dates.
#[must_use]
fn format_of_task(task: &dag::Task) -> i32 {
    let of_expanded = if task.expand.is_some() { 4 } else { 1 };
    let of_poking = if task.operator.reschedules() { FORMAT_OF_RESCHEDULES } else { 1 };
    let of_waits = if task.operator.defers() { FORMAT_OF_DEFERRED } else { 1 };
    let has_dates = task.start_date.is_some() || task.end_date.is_some();
    let of_scopes = if has_dates || !task.phase.is_work() { FORMAT_OF_SCOPES } else { 1 };
    // A binary that knows no params of tasks would give the DAG's instead.
    let is_of_control = task.task_queued_timeout.is_some() || !task.params.is_empty();
    let of_control = if is_of_control { FORMAT_OF_CONTROL } else { 1 };
    format_of(&task.operator).max(of_expanded).max(of_poking).max(of_waits).max(of_scopes).max(of_control)
}

/// The same of a DAG, with all of its tasks.
#[must_use]
pub fn format_of_dag(dag: &dag::Dag) -> i32 {
    let of_tasks = dag.tasks.iter().map(format_of_task).max().unwrap_or(1);
    let of_assets = if knows_assets(dag) { FORMAT_OF_ASSETS } else { 1 };
    let of_callbacks = if dag.tells() { FORMAT_OF_CALLBACKS } else { 1 };
    let of_schedule = if has_new_times(&dag.schedule) || dag.allowed_run_types.is_some() { FORMAT_OF_TIMES } else { 1 };
    let of_control = if dag.overlap == dag::Overlap::Queue { 1 } else { FORMAT_OF_CONTROL };
    of_tasks.max(of_assets).max(of_callbacks).max(of_schedule).max(of_control)
}

/// The format that a state needs in which a turn stores what older binaries do not heed: DAGs that drain, rate limits of pools.
pub(crate) fn format_of_plan(plan: &engine::Plan) -> i32 {
    let drains = plan.dags.iter().any(|dag| dag.is_draining);
    let is_limited = plan.pools.iter().any(|pool| pool.rate_limit.is_some());
    if drains || is_limited { FORMAT_OF_CONTROL } else { 1 }
}

/// Whether an older binary would make other runs of a schedule.
fn has_new_times(schedule: &dag::Schedule) -> bool {
    match schedule {
        dag::Schedule::Cron { ticks, .. } => !ticks.is_default(),
        dag::Schedule::Delta { months, .. } => *months > 0,
        dag::Schedule::Never | dag::Schedule::Once | dag::Schedule::Continuous => false,
    }
}

/// Whether a DAG says more of assets than a binary reads that knows only the names of outlets.
fn knows_assets(dag: &dag::Dag) -> bool {
    let has_alias = |task: &dag::Task| task.outlets.iter().any(|outlet| outlet.alias().is_some());
    dag.assets.is_some() || dag.tasks.iter().any(|task| has_alias(task) || !task.inlets.is_empty())
}

/// The format that a state needs which has DAGs that wait for assets: a binary that knows none would never let them run.
const FORMAT_OF_ASSETS: i32 = 4;

/// The format that a state needs which has setups, teardowns, or tasks with dates of their own.
const FORMAT_OF_SCOPES: i32 = 5;

/// The format that a state needs which has schedules of months, or of crons with an interval or a first run of their own.
const FORMAT_OF_TIMES: i32 = 5;

/// The format that a state needs which has DAGs with callbacks or deadlines: an older binary would tell nobody.
const FORMAT_OF_CALLBACKS: i32 = 5;

/// The format that a state needs which says more of when runs and tasks may start: an older binary would start them all the same.
const FORMAT_OF_CONTROL: i32 = 6;

/// Raises the format of the state to what the DAGs in it need; it never falls.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn raise_format(writer: &mut Writer, epoch: Epoch, needed: i32) -> Result<(), StoreError> {
    const DOING: &str = "raising the format of the state";
    let raised = statement(
        DOING,
        sqlx::query!("UPDATE leader SET format = greatest(format, $2) WHERE epoch = $1", epoch.get(), needed)
            .execute(writer.connection()),
    )
    .await?;
    if raised.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Deposed) }
}
