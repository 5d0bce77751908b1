//! Commands on their way to the leader, and its answers.
//!
//! A command is applied exactly once or withdrawn. A delivery claims it for the leader's epoch; while that epoch is in force
//! it can not be withdrawn, so no sender contradicts what the leader has decided. The turn that applies it deletes its row.
//! An answer is kept for a minute.
//!
//! Of what waits, the few commands that people wait for (pause, clear, mark …) come before new runs, which come in floods,
//! and of each kind every sender's first before anyone's second. So the order of one sender's commands holds within a kind;
//! whoever needs more waits for the first answer before it sends the second.

use std::time::Duration;

use model::{
    Answer, AnswerStatus, Command, CommandId, DagId, Epoch, RunId, Timestamp,
    command::{ClearEffect, Draining, Paused},
    masking,
};
use sqlx::{PgExecutor, PgPool};
use tokio::{sync::broadcast, time::Instant};

use crate::{
    audit::Actor,
    connect::Writer,
    error::{Doing, StoreError},
    hints::{Hint, Hints, notify_inbox},
    limit::statement,
    rows::word,
    texts::storable,
};

/// After so many deliveries without a result a command is put aside: it may be what makes the leader fail.
pub const DELIVERIES_MAX: i16 = 3;
/// So many commands may wait; more means that no leader is there, and the sender had better hear it.
const WAITING_MAX: i64 = 10_000;
/// A lost hint costs at most so long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A command that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its row.
    pub id: CommandId,
    /// What is asked; or why the row can not be read, when another version wrote it.
    pub command: Result<Command, String>,
    /// Who asks.
    pub sent_by: String,
    /// How often it was delivered, this time included.
    pub deliveries: i16,
}

/// What became of a withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// The command will not be applied.
    Withdrawn,
    /// The leader has taken it: its answer is there, or comes.
    AlreadyTaken,
}

/// What is known of the commands that one sender has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// None about this run.
    None,
    /// One about this run, and it waits.
    Waits,
    /// One about this run, and none waits any more.
    Done,
}

/// Leaves a command for the leader, with a line in the audit log, and hints at it.
///
/// # Errors
/// [`StoreError::Refused`] when it breaks a rule whoever applies it, or when too many wait; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn submit<'a>(
    pool: &PgPool,
    command: &Command,
    by: impl Into<Actor<'a>> + Send,
) -> Result<CommandId, StoreError> {
    let id = leave(pool, command, by.into()).await?;
    hint_at_inbox(pool).await;
    Ok(id)
}

/// Leaves commands for the leader, all of them or none: it finds them together, and takes as many at once as a turn has room for.
///
/// # Errors
/// As [`submit`].
pub async fn submit_all<'a>(
    pool: &PgPool,
    commands: &[Command],
    by: impl Into<Actor<'a>> + Send,
) -> Result<Vec<CommandId>, StoreError> {
    const DOING: &str = "leaving commands for the leader";
    let by: Actor<'a> = by.into();
    let mut transaction = pool.begin().await.doing(DOING)?;
    let mut ids = Vec::with_capacity(commands.len());
    for command in commands {
        ids.push(leave(&mut *transaction, command, by).await?);
    }
    transaction.commit().await.doing(DOING)?;
    hint_at_inbox(pool).await;
    Ok(ids)
}

async fn hint_at_inbox(pool: &PgPool) {
    if let Err(error) = notify_inbox(pool).await {
        tracing::debug!(%error, "the leader will find the command by itself");
    }
}

async fn leave(db: impl PgExecutor<'_>, command: &Command, by: Actor<'_>) -> Result<CommandId, StoreError> {
    command.check().map_err(|reason| StoreError::Refused { reason })?;
    let subject = Subject::of(command);
    let refused = |error| StoreError::Refused { reason: format!("the command can not be stored: {error}") };
    let text = serde_json::to_string(command).map_err(refused)?;
    let told = masking::masked(&serde_json::to_value(command).map_err(refused)?).to_string();
    let id = sqlx::query_file_scalar!(
        "queries/inbox_submit.sql",
        text,
        by.name,
        subject.action,
        subject.dag_id,
        subject.run_id,
        WAITING_MAX,
        told,
        by.address(),
        by.door(),
        is_bulk(command),
        by.api_token,
    )
    .fetch_optional(db)
    .await
    .doing("leaving a command for the leader")?
    .ok_or_else(|| StoreError::Refused {
        reason: format!("{WAITING_MAX} commands wait already: no leader takes them"),
    })?;
    Ok(CommandId(id))
}

/// Whether a sender has left a command about a run that is not older than `since`, by the audit log: whoever is not sure
/// that its command arrived need not send it twice.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn trace(
    pool: &PgPool,
    by: &str,
    (dag_id, run_id): (&DagId, &RunId),
    since: Timestamp,
) -> Result<Trace, StoreError> {
    let found = sqlx::query_file!("queries/inbox_trace.sql", dag_id.as_str(), run_id.as_str(), by, since)
        .fetch_one(pool)
        .await
        .doing("looking for a command in the audit log")?;
    Ok(match (found.left_behind, found.waits) {
        (false, _) => Trace::None,
        (true, true) => Trace::Waits,
        (true, false) => Trace::Done,
    })
}

/// How many commands are taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of the kinds that are few.
    pub few: u32,
    /// Of the kinds that come in floods.
    pub bulk: u32,
}

/// Takes commands to apply them, those that are few first, and counts the delivery before it is tried. They stay until a
/// turn answers them; the next leader takes them again, this one does not. A leader that is deposed reads nothing.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn read_inbox(writer: &mut Writer, epoch: Epoch, room: Room) -> Result<Vec<Waiting>, StoreError> {
    const DOING: &str = "reading the inbox";
    let (few, bulk) = (i64::from(room.few), i64::from(room.bulk));
    let rows = statement(
        DOING,
        sqlx::query_file!("queries/inbox_deliver.sql", epoch.get(), few, bulk).fetch_all(writer.connection()),
    )
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Waiting {
            id: CommandId(row.id),
            command: serde_json::from_value(row.command).map_err(|error| error.to_string()),
            sent_by: row.sent_by,
            deliveries: row.deliveries,
        })
        .collect())
}

/// Puts a command aside that can not be applied, with an answer that says why.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn mark_dead(writer: &mut Writer, epoch: Epoch, id: CommandId, why: &str) -> Result<(), StoreError> {
    const DOING: &str = "putting a command aside";
    let why = storable(why);
    let body = serde_json::json!({ "detail": why });
    let marking = sqlx::query_file_scalar!(
        "queries/inbox_mark_dead.sql",
        epoch.get(),
        id.get(),
        why,
        word(&AnswerStatus::Invalid),
        body
    );
    statement(DOING, marking.fetch_one(writer.connection())).await?;
    Ok(())
}

/// Withdraws a command, before its sender is told that nobody answers. One that the leader in force has taken stays, and
/// its sender waits on. Waits for a delivery or a turn that is being stored.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn cancel_command(pool: &PgPool, id: CommandId) -> Result<Withdrawal, StoreError> {
    let withdrawn = sqlx::query_file_scalar!("queries/inbox_withdraw.sql", id.get())
        .fetch_one(pool)
        .await
        .doing("withdrawing a command")?;
    Ok(if withdrawn == 1 { Withdrawal::Withdrawn } else { Withdrawal::AlreadyTaken })
}

/// The answer to a command, when it is there.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn find_answer(pool: &PgPool, id: CommandId) -> Result<Option<Answer>, StoreError> {
    let row = sqlx::query!("SELECT status, body FROM inbox_answer WHERE command_id = $1", id.get())
        .fetch_optional(pool)
        .await
        .doing("looking for an answer")?;
    row.map(|row| {
        let status = serde_json::from_value(serde_json::Value::String(row.status));
        let status = status.map_err(|error| crate::rows::corrupt(&error))?;
        Ok(Answer { status, body: row.body })
    })
    .transpose()
}

/// Waits for the answer to a command; none when there is none within `patience`.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn await_answer(
    pool: &PgPool,
    hints: &Hints,
    id: CommandId,
    patience: Duration,
) -> Result<Option<Answer>, StoreError> {
    let deadline = Instant::now() + patience;
    let mut news = hints.subscribe();
    loop {
        if let Some(answer) = find_answer(pool, id).await? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let next_look = deadline.min(Instant::now() + LOOK_EVERY);
        // The time is up: look again without a hint.
        drop(tokio::time::timeout_at(next_look, hint_at(&mut news, id)).await);
    }
}

async fn hint_at(news: &mut broadcast::Receiver<Hint>, id: CommandId) {
    loop {
        match news.recv().await {
            Ok(Hint::Answers(ids)) if ids.is_empty() || ids.contains(&id) => return,
            Ok(Hint::Everything) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(Hint::Answers(_) | Hint::Inbox | Hint::Changes(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Whether a command is of a kind that comes in floods: scripts and tasks trigger by the thousand.
const fn is_bulk(command: &Command) -> bool {
    matches!(command, Command::TriggerDagRun(_))
}

/// What the audit log says of a command beside its body.
struct Subject<'a> {
    action: &'static str,
    dag_id: Option<&'a str>,
    run_id: Option<&'a str>,
}

impl<'a> Subject<'a> {
    fn of(command: &'a Command) -> Self {
        let (action, dag, run) = match command {
            Command::TriggerDagRun(wish) => ("trigger_dag_run", Some(&wish.dag_id), wish.run_id.as_ref()),
            Command::PauseDag { dag_id, .. } => ("pause_dag", Some(dag_id), None),
            Command::DrainDag { dag_id, to: Draining::Draining } => ("drain_dag", Some(dag_id), None),
            Command::DrainDag { dag_id, to: Draining::Active } => ("undrain_dag", Some(dag_id), None),
            Command::ClearTaskInstances(wish) if wish.effect == ClearEffect::DryRun => {
                ("clear_task_instances_dry_run", Some(&wish.dag_id), Some(&wish.run_id))
            }
            Command::MarkTaskInstances(wish) if wish.effect == ClearEffect::DryRun => {
                ("mark_task_instances_dry_run", Some(&wish.dag_id), Some(&wish.run_id))
            }
            Command::ClearTaskInstances(wish) => ("clear_task_instances", Some(&wish.dag_id), Some(&wish.run_id)),
            Command::MarkTaskInstances(wish) => ("mark_task_instances", Some(&wish.dag_id), Some(&wish.run_id)),
            Command::MarkDagRun { dag_id, run_id, .. } => ("mark_dag_run", Some(dag_id), Some(run_id)),
            Command::SetNote(wish) => ("patch_dag_run", Some(&wish.dag_id), Some(&wish.run_id)),
            Command::DeleteDagRun { dag_id, run_id } => ("delete_dag_run", Some(dag_id), Some(run_id)),
            Command::DeleteDag { dag_id } => ("delete_dag", Some(dag_id), None),
            Command::SetXCom { xcom, .. } => ("create_xcom_entry", Some(&xcom.dag_id), Some(&xcom.run_id)),
            Command::DeleteTaskInstance(name) => ("delete_task_instance", Some(&name.dag_id), Some(&name.run_id)),
            Command::DeleteXCom(xcom) => ("delete_xcom_entry", Some(&xcom.dag_id), Some(&xcom.run_id)),
            Command::AnswerQuestion(wish) => {
                ("update_hitl_detail", Some(&wish.instance.dag_id), Some(&wish.instance.run_id))
            }
            Command::CreatePool(_) => ("post_pool", None, None),
            Command::SetPool(_) => ("patch_pool", None, None),
            Command::DeletePool { .. } => ("delete_pool", None, None),
            Command::CreateBackfill(wish) => ("create_backfill", Some(&wish.dag_id), None),
            Command::PauseBackfill { dag_id, to: Paused::Paused, .. } => ("pause_backfill", Some(dag_id), None),
            Command::PauseBackfill { dag_id, to: Paused::Active, .. } => ("unpause_backfill", Some(dag_id), None),
            Command::CancelBackfill { dag_id, .. } => ("cancel_backfill", Some(dag_id), None),
            Command::CreateAssetEvent(_) => ("create_asset_event", None, None),
            Command::DeleteQueuedAssetEvents(wish) => ("delete_queued_asset_events", wish.dag_id.as_ref(), None),
            Command::ControlService { dag_id, .. } => ("control_service", Some(dag_id), None),
        };
        Self { action, dag_id: dag.map(|dag| dag.as_str()), run_id: run.map(|run| run.as_str()) }
    }
}
