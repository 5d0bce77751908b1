//! A forecast of what is stored: loaded once, and foretold by the engine beside the database.
//!
//! What always holds: nothing is written, no connection is held while the engine is at work, and all of it is bounded: what is
//! loaded, what is asked meanwhile, and the time.

use std::time::{Duration, Instant};

use engine::ahead::forecast::{DEFAULT_SECS, Forecast, Forecaster, HOURS_MAX, Learnt, Lessons, Progress, Wish};
use model::{DagId, TaskIdx};
use sqlx::{PgConnection, PgPool};

use crate::{
    error::{Doing, StoreError},
    facts,
    limit::statement,
    load,
};

const DOING: &str = "foretelling what will happen";
/// Unfinished instances that are loaded at most: a forecast is for a page, and a leader's memory is not needed twice.
const INSTANCES_MAX: i64 = 200_000;
/// DAGs that are learnt of at most, and their tasks.
const DAGS_MAX: usize = 5_000;
const TASKS_MAX: i64 = 50_000;
/// Of so many runs of a DAG it is learnt how long its tasks take.
pub const LEARNT_RUNS: i64 = 10;
/// Turns between two looks at the time.
const TURNS_AT_ONCE: u32 = 50;

/// What is to be foretold.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// How many hours; at most [`HOURS_MAX`].
    pub hours: u32,
    /// How long an attempt takes of whose task nothing is known, in seconds.
    pub default_secs: f64,
    /// How long it may be worked at: what is foretold until then is the answer.
    pub within: Duration,
}

impl Question {
    /// So many hours, with what is usual beside.
    #[must_use]
    pub const fn hours(hours: u32, within: Duration) -> Self {
        Self { hours, default_secs: DEFAULT_SECS, within }
    }
}

/// Foretells.
///
/// # Errors
/// [`StoreError::Refused`] when there is more than a forecast is made of, or more hours are asked for than can be foretold;
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::TooHeavy`].
pub async fn foretell(pool: &PgPool, question: Question) -> Result<Forecast, StoreError> {
    let began = Instant::now();
    if question.hours == 0 || question.hours > HOURS_MAX {
        let reason = format!("1 to {HOURS_MAX} hours can be foretold, not {}", question.hours);
        return Err(StoreError::Refused { reason });
    }
    let mut connection = pool.acquire().await.doing(DOING)?;
    refuse_too_many(&mut connection).await?;
    let from = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *connection).await.doing(DOING)?;
    let loaded = load(&mut connection).await?;
    let dags = loaded.snapshot.dags.iter().filter(|dag| !dag.is_stale).map(|dag| dag.dag_id.to_string());
    let dags: Vec<String> = dags.take(DAGS_MAX).collect();
    let lessons = lessons(&mut connection, &dags).await?;
    drop(connection);
    let wish = Wish { from, hours: question.hours, default_secs: question.default_secs };
    let forecaster = at_work(move || Forecaster::new(loaded.snapshot, lessons, wish)).await?;
    follow(pool, forecaster, began, question.within).await
}

/// Goes on until the end, or until the time is over.
async fn follow(
    pool: &PgPool,
    mut forecaster: Forecaster,
    began: Instant,
    within: Duration,
) -> Result<Forecast, StoreError> {
    loop {
        let (back, progress) = at_work(move || {
            let mut progress = Progress::More;
            while matches!(progress, Progress::More) && began.elapsed() < within {
                progress = forecaster.go(TURNS_AT_ONCE);
            }
            (forecaster, progress)
        })
        .await?;
        forecaster = back;
        match progress {
            Progress::Done => return at_work(move || forecaster.forecast(None)).await,
            Progress::More => {
                let why = format!("it was given {} s, and is not done", within.as_secs());
                return at_work(move || forecaster.forecast(Some(why))).await;
            }
            Progress::Asks(needs) => {
                let mut connection = pool.acquire().await.doing(DOING)?;
                forecaster.tell(facts::facts(&mut connection, needs).await?);
            }
        }
    }
}

/// Does what takes its time where it holds up nobody.
async fn at_work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| StoreError::Corrupt { what: "the engine gave up on a forecast".to_owned() })
}

async fn refuse_too_many(connection: &mut PgConnection) -> Result<(), StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
            SELECT 1 FROM dag_run AS r JOIN task_instance AS ti ON ti.run_id = r.id WHERE r.state IN (0, 1) LIMIT $1
        ) AS found"#,
        INSTANCES_MAX + 1
    );
    let found = statement(DOING, found.fetch_one(connection)).await?;
    if found > INSTANCES_MAX {
        let reason = format!(
            "there are more than {INSTANCES_MAX} task instances of unfinished runs, which is more than a forecast is made of"
        );
        return Err(StoreError::Refused { reason });
    }
    Ok(())
}

/// What was learnt of the tasks of DAGs, in one statement.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::TooHeavy`].
pub async fn lessons(connection: &mut PgConnection, dags: &[String]) -> Result<Lessons, StoreError> {
    let rows =
        sqlx::query_file_as!(Lesson, "queries/task_lessons.sql", dags, LEARNT_RUNS, TASKS_MAX).fetch_all(connection);
    Ok(statement(DOING, rows).await?.into_iter().filter_map(Lesson::learnt).collect())
}

/// What was learnt of a task.
struct Lesson {
    dag_id: String,
    task_idx: i32,
    attempts: i64,
    secs: f64,
    map_length: Option<i32>,
}

impl Lesson {
    fn learnt(self) -> Option<((DagId, TaskIdx), Learnt)> {
        let learnt = Learnt {
            secs: self.secs.max(0.0),
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            map_length: self.map_length.and_then(|length| u32::try_from(length).ok()),
        };
        Some(((DagId::new(&self.dag_id).ok()?, TaskIdx(self.task_idx)), learnt))
    }
}
