//! What is owed to the outside: taken by the leader, given to workers, and remembered for a while.
//!
//! What always holds: a notification is written in the turn of its event and nowhere else; only a leader moves it on, fenced by
//! its epoch. One that is under way when a leader dies is sent again by the next, under the same id.

use std::time::Duration;

use engine::DagVersion;
use model::{
    CallbackEvent, DagId, DagVersionId, Epoch, MapIndex, NotificationId, NotificationState, RunId, RunKey, TaskId,
    TaskIdx, Timestamp, TryNumber,
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    error::{Doing, StoreError},
    limit::statement,
    load::load_versions,
    read::{COUNT_MAX, Total, Visible},
    rows::code,
};

/// What has come of notifications is kept for so long.
const KEPT_DAYS: i32 = 30;
/// One sweep removes so many.
const SWEPT_MAX: i64 = 5_000;
/// So many a page may have.
pub const LISTED_MAX: i64 = 1_000;

/// How many are taken.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// At once.
    pub at_once: i64,
    /// Of one DAG, with those that are under way.
    pub of_dag: i64,
}

/// A notification that is to be sent now.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Its id.
    pub id: NotificationId,
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run: RunKey,
    /// Its id.
    pub run_id: RunId,
    /// The version whose callback it is.
    pub version: DagVersionId,
    /// What has happened.
    pub event: CallbackEvent,
    /// Which of the callbacks of that event.
    pub position: usize,
    /// Which deadline was missed.
    pub deadline: usize,
    /// The instance that its context is about.
    pub task: Option<TakenTask>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How often it is tried with this time.
    pub attempts: i16,
    /// Whether it was not sent for a day: it is given up.
    pub is_late: bool,
}

/// An instance that is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenTask {
    /// The task's number.
    pub task: TaskIdx,
    /// Its id.
    pub task_id: TaskId,
    /// Which instance.
    pub map: MapIndex,
    /// Which try.
    pub try_number: TryNumber,
    /// The last try that a failure may lead to.
    pub max_tries: i16,
}

/// What has come of a try to send one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent.
    Sent,
    /// It is tried again after so long.
    Again {
        /// The pause.
        after: Duration,
        /// Whether it was a try: what found nobody to carry it out was none.
        counts: bool,
    },
    /// It is given up.
    Failed,
}

/// Takes what is due and has room. What can not be read is given up.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn take(pool: &PgPool, epoch: Epoch, room: Room) -> Result<Vec<Taken>, StoreError> {
    const DOING: &str = "taking notifications";
    let query = sqlx::query_file!("queries/notification_take.sql", epoch.get(), room.at_once, room.of_dag);
    let rows = statement(DOING, query.fetch_all(pool)).await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in rows {
        let id = NotificationId(row.id);
        let task = row.task_idx.zip(row.task_id).and_then(|(number, task_id)| {
            Some(TakenTask {
                task: TaskIdx(number),
                task_id: TaskId::new(task_id).ok()?,
                map: MapIndex(row.map_index),
                try_number: TryNumber(row.try_number),
                max_tries: row.max_tries,
            })
        });
        let ids = DagId::new(row.dag_id).ok().zip(RunId::new(row.run_id).ok());
        let (Some((dag_id, run_id)), Ok(event)) = (ids, CallbackEvent::try_from(row.event)) else {
            set(pool, epoch, id, &Outcome::Failed, "it can not be read by this windlass").await?;
            continue;
        };
        taken.push(Taken {
            id,
            dag_id,
            run: RunKey(row.run_key),
            run_id,
            version: DagVersionId(row.version_id),
            event,
            position: usize::try_from(row.position).unwrap_or(usize::MAX),
            deadline: row.deadline.and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX),
            task,
            reason: row.reason,
            at: row.at,
            attempts: row.attempts,
            is_late: row.is_late,
        });
    }
    Ok(taken)
}

/// What an earlier leader had under way waits again.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn take_back(pool: &PgPool, epoch: Epoch) -> Result<i64, StoreError> {
    const DOING: &str = "taking notifications back";
    let query = sqlx::query_file_scalar!("queries/notification_take_back.sql", epoch.get());
    statement(DOING, query.fetch_one(pool)).await
}

/// Notes what has come of one that was under way, with a sentence that is free of secrets.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn set(
    pool: &PgPool,
    epoch: Epoch,
    id: NotificationId,
    outcome: &Outcome,
    detail: &str,
) -> Result<(), StoreError> {
    const DOING: &str = "noting what has come of a notification";
    let (state, after, counts) = match outcome {
        Outcome::Sent => (NotificationState::Sent, Duration::ZERO, true),
        Outcome::Again { after, counts } => (NotificationState::Waiting, *after, *counts),
        Outcome::Failed => (NotificationState::Failed, Duration::ZERO, true),
    };
    let detail = Some(crate::texts::storable(detail)).filter(|detail| !detail.is_empty());
    let query = sqlx::query_file_scalar!(
        "queries/notification_set.sql",
        epoch.get(),
        id.0,
        state.code(),
        after.as_secs_f64(),
        detail,
        counts
    );
    statement(DOING, query.fetch_one(pool)).await?;
    Ok(())
}

/// The version that a notification's callback is of; none when it is not there any more, or can not be read.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn version(pool: &PgPool, id: DagVersionId) -> Result<Option<DagVersion>, StoreError> {
    let mut connection = pool.acquire().await.doing("loading the version of a notification")?;
    let (mut found, _) = load_versions(&mut connection, [id].into()).await?;
    Ok(found.pop())
}

/// Removes what was sent or given up long ago, and deadlines that were missed long ago.
pub(crate) async fn sweep(transaction: &mut PgConnection) -> Result<(), StoreError> {
    const DOING: &str = "sweeping notifications";
    let ended = sqlx::query!(
        "DELETE FROM notification WHERE id = ANY (ARRAY(
             SELECT id FROM notification WHERE ended_at < now() - make_interval(days => $1) ORDER BY ended_at LIMIT $2))",
        KEPT_DAYS,
        SWEPT_MAX
    );
    ended.execute(&mut *transaction).await.doing(DOING)?;
    let missed = sqlx::query!(
        "DELETE FROM deadline WHERE id = ANY (ARRAY(
             SELECT id FROM deadline WHERE missed_at < now() - make_interval(days => $1) AND at < now() ORDER BY at LIMIT $2))",
        KEPT_DAYS,
        SWEPT_MAX
    );
    missed.execute(transaction).await.doing(DOING)?;
    Ok(())
}

/// Which notifications are looked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this DAG; of all when absent.
    pub dag: Option<DagId>,
    /// Of the DAGs that may be seen.
    pub visible: Visible,
    /// In these states; in all when empty.
    pub states: Vec<NotificationState>,
    /// Of this run.
    pub run: Option<RunId>,
    /// So many are passed over.
    pub offset: i64,
    /// So many at most.
    pub limit: i64,
}

/// A notification as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its id.
    pub id: NotificationId,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub run_id: String,
    /// What has happened.
    pub event: CallbackEvent,
    /// The callback's kind.
    pub kind: String,
    /// The task; none of a run's event.
    pub task_id: Option<String>,
    /// Which instance.
    pub map_index: MapIndex,
    /// Which try.
    pub try_number: i16,
    /// Why.
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// How far it is.
    pub state: NotificationState,
    /// How often it was tried.
    pub attempts: i16,
    /// When it is tried next.
    pub next_attempt_at: Timestamp,
    /// When it was sent or given up.
    pub ended_at: Option<Timestamp>,
    /// What was said of the last try.
    pub detail: Option<String>,
}

/// Notifications, the newest first.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn list(pool: &PgPool, filter: &Filter) -> Result<Vec<View>, StoreError> {
    const DOING: &str = "reading notifications";
    let (dags, states) = filter.columns();
    let rows = sqlx::query_file_as!(
        ListRecord,
        "queries/notification_list.sql",
        dags as Option<Vec<String>>,
        states as Option<Vec<i16>>,
        filter.run.as_ref().map(RunId::as_str),
        filter.offset,
        filter.limit.min(LISTED_MAX),
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    rows.into_iter().map(View::try_from).collect()
}

/// How many notifications there are; counted up to [`COUNT_MAX`].
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn count(pool: &PgPool, filter: &Filter) -> Result<Total, StoreError> {
    const DOING: &str = "counting notifications";
    let (dags, states) = filter.columns();
    let counted = sqlx::query_file_scalar!(
        "queries/notification_count.sql",
        dags as Option<Vec<String>>,
        states as Option<Vec<i16>>,
        filter.run.as_ref().map(RunId::as_str),
        COUNT_MAX,
    )
    .fetch_one(pool)
    .await
    .doing(DOING)?;
    Ok(if counted > COUNT_MAX { Total::AtLeast(COUNT_MAX) } else { Total::Exactly(counted) })
}

impl Filter {
    fn columns(&self) -> (Option<Vec<String>>, Option<Vec<i16>>) {
        let dags = match &self.dag {
            None => self.visible.ids().map(<[String]>::to_vec),
            Some(dag) => Some(Vec::from_iter(self.visible.has(dag.as_str()).then(|| dag.to_string()))),
        };
        let states: Vec<i16> = self.states.iter().map(|state| state.code()).collect();
        (dags, Some(states).filter(|states| !states.is_empty()))
    }
}

#[derive(Debug)]
struct ListRecord {
    id: Uuid,
    dag_id: String,
    run_id: String,
    event: i16,
    kind: String,
    task_id: Option<String>,
    map_index: i32,
    try_number: i16,
    reason: Option<String>,
    at: Timestamp,
    state: i16,
    attempts: i16,
    next_attempt_at: Timestamp,
    ended_at: Option<Timestamp>,
    detail: Option<String>,
}

impl TryFrom<ListRecord> for View {
    type Error = StoreError;

    fn try_from(row: ListRecord) -> Result<Self, StoreError> {
        let event: CallbackEvent = code(row.event)?;
        Ok(Self {
            id: NotificationId(row.id),
            dag_id: row.dag_id,
            run_id: row.run_id,
            event,
            kind: row.kind,
            task_id: row.task_id.filter(|_| !event.is_of_run()),
            map_index: MapIndex(row.map_index),
            try_number: row.try_number,
            reason: row.reason,
            at: row.at,
            state: code(row.state)?,
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            ended_at: row.ended_at,
            detail: row.detail,
        })
    }
}

/// A deadline as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineView {
    /// Its id.
    pub id: Uuid,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub run_id: String,
    /// The version that says what is done.
    pub version: DagVersionId,
    /// Which of the DAG's deadlines.
    pub position: i16,
    /// What it is called.
    pub name: Option<String>,
    /// By when.
    pub at: Timestamp,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it was missed.
    pub missed_at: Option<Timestamp>,
}

/// Deadlines of DAGs, or of a run of one, the next first.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn deadlines(pool: &PgPool, filter: &Filter) -> Result<Vec<DeadlineView>, StoreError> {
    const DOING: &str = "reading deadlines";
    let (dags, _) = filter.columns();
    let rows = sqlx::query_file!(
        "queries/deadline_list.sql",
        dags as Option<Vec<String>>,
        filter.run.as_ref().map(RunId::as_str),
        filter.offset,
        filter.limit.min(LISTED_MAX),
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    let views = rows.into_iter().map(|row| DeadlineView {
        id: row.id,
        dag_id: row.dag_id,
        run_id: row.run_id,
        version: DagVersionId(row.version_id),
        position: row.position,
        name: row.name,
        at: row.at,
        created_at: row.created_at,
        missed_at: row.missed_at,
    });
    Ok(views.collect())
}
