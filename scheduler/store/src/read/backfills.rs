//! Backfills and how far they are.

use std::collections::BTreeMap;

use engine::{BackfillRow, DueRun, backfill::Range, backfill::step};
use model::{BackfillId, DagId, DagRunState, NotMade, RunId, RunKey, Timestamp, command::CreateBackfill};
use sqlx::PgPool;

use super::{DOING, Direction};
use crate::{
    error::{Doing, StoreError},
    rows::{BackfillRecord, code, corrupt},
};

/// How the runs of a backfill stand is counted over so many dates at most, the last that it has looked at.
pub const RUNS_COUNTED_MAX: i64 = 10_000;

/// So many dates are told of a backfill that is tried dry; a backfill itself has no such limit.
pub const DRY_DATES_MAX: usize = 10_000;

/// Which backfills of a DAG.
#[derive(Debug, Clone)]
pub struct BackfillFilter {
    /// The DAG.
    pub dag_id: DagId,
    /// The order of their numbers.
    pub order: Direction,
    /// So many are passed over.
    pub offset: i64,
    /// So many at most.
    pub limit: i64,
}

/// How the runs of a backfill stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Those that wait.
    pub queued: i64,
    /// Those that are running.
    pub running: i64,
    /// Those that have succeeded.
    pub success: i64,
    /// Those that have failed.
    pub failed: i64,
    /// Dates that were passed over.
    pub passed: i64,
    /// Runs that somebody has deleted.
    pub deleted: i64,
}

impl Progress {
    /// How many dates need nothing more.
    #[must_use]
    pub const fn done(&self) -> i64 {
        self.success + self.failed + self.passed + self.deleted
    }
}

/// What came of a date of a backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillDate {
    /// Its place in the order of the backfill, from 1 on.
    pub ordinal: i32,
    /// The date.
    pub logical_date: Timestamp,
    /// Why there is no run of the backfill.
    pub reason: Option<NotMade>,
    /// The run, while it has not been deleted.
    pub run: Option<(RunId, DagRunState)>,
}

/// What a backfill would do with a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DryDate {
    /// The date.
    pub logical_date: Timestamp,
    /// Why it would do nothing; none when a run would be made, or run again.
    pub reason: Option<NotMade>,
}

/// What a backfill would do now, in its order; none when it has more dates than are told.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn dry_run(
    pool: &PgPool,
    dag: &dag::Dag,
    wish: &CreateBackfill,
    now: Timestamp,
) -> Result<Option<Vec<DryDate>>, StoreError> {
    let range = Range { from: wish.from_date.get(), to: wish.to_date.get(), before: now };
    let next = |last: Option<&DueRun>| step(&dag.schedule, &range, wish.order, last.map(|last| (last.start, last.end)));
    let all = std::iter::successors(next(None), |last| next(Some(last)));
    let dates: Vec<Timestamp> = all.take(DRY_DATES_MAX + 1).map(|due| due.logical_date).collect();
    if dates.len() > DRY_DATES_MAX {
        return Ok(None);
    }
    let states = states_on(pool, &dag.dag_id, &dates).await?;
    let dry = |logical_date| {
        let existing = states.get(&logical_date).copied();
        DryDate { logical_date, reason: existing.and_then(|state| wish.reprocess_behavior.in_the_way(state)) }
    };
    Ok(Some(dates.into_iter().map(dry).collect()))
}

/// A backfill.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn backfill(pool: &PgPool, id: BackfillId) -> Result<Option<BackfillRow>, StoreError> {
    let record = sqlx::query_file_as!(BackfillRecord, "queries/read_backfill.sql", id.get())
        .fetch_optional(pool)
        .await
        .doing(DOING)?;
    record.map(BackfillRow::try_from).transpose()
}

/// A page of a DAG's backfills, and how many it has.
///
/// # Errors
/// As [`backfill`].
pub async fn backfills(pool: &PgPool, filter: &BackfillFilter) -> Result<(Vec<BackfillRow>, usize), StoreError> {
    let dag = filter.dag_id.as_str();
    let is_newest_first = filter.order == Direction::Descending;
    let query = sqlx::query_file_as!(
        BackfillRecord,
        "queries/read_backfills.sql",
        dag,
        filter.offset,
        filter.limit,
        is_newest_first
    );
    let records = query.fetch_all(pool).await.doing(DOING)?;
    let counted = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (SELECT FROM backfill WHERE dag_id = $1 AND NOT is_dropped LIMIT $2) AS b"#,
        dag,
        RUNS_COUNTED_MAX
    );
    let total = counted.fetch_one(pool).await.doing(DOING)?;
    let rows = records.into_iter().map(BackfillRow::try_from).collect::<Result<_, _>>()?;
    Ok((rows, usize::try_from(total).unwrap_or_default()))
}

/// How the runs of a backfill stand.
///
/// # Errors
/// As [`backfill`].
pub async fn backfill_progress(pool: &PgPool, id: BackfillId) -> Result<Progress, StoreError> {
    sqlx::query_file_as!(Progress, "queries/read_backfill_progress.sql", id.get(), RUNS_COUNTED_MAX)
        .fetch_one(pool)
        .await
        .doing(DOING)
}

/// A page of what came of the dates of a backfill.
///
/// # Errors
/// As [`backfill`].
pub async fn backfill_dates(
    pool: &PgPool,
    id: BackfillId,
    offset: i64,
    limit: i64,
) -> Result<Vec<BackfillDate>, StoreError> {
    let rows = sqlx::query_file!("queries/read_backfill_dates.sql", id.get(), offset, limit)
        .fetch_all(pool)
        .await
        .doing(DOING)?;
    let read = rows.into_iter().map(|row| {
        let run = match row.run_id.zip(row.state) {
            Some((run, state)) => Some((RunId::new(run).map_err(|error| corrupt(&error))?, code(state)?)),
            None => None,
        };
        let reason = row.exception_reason.map(code).transpose()?;
        Ok(BackfillDate { ordinal: row.sort_ordinal, logical_date: row.logical_date, reason, run })
    });
    read.collect()
}

/// The newest backfill that has made a run, or let it run again.
///
/// # Errors
/// As [`backfill`].
pub async fn backfill_of_run(pool: &PgPool, run: RunKey) -> Result<Option<BackfillId>, StoreError> {
    let found = sqlx::query_scalar!(
        "SELECT backfill_id FROM backfill_dag_run WHERE dag_run_id = $1 ORDER BY backfill_id DESC LIMIT 1",
        run.get()
    );
    Ok(found.fetch_optional(pool).await.doing(DOING)?.map(BackfillId))
}

/// The states of a DAG's runs of some logical dates, each a look-up by a unique key.
///
/// # Errors
/// As [`backfill`].
pub async fn states_on(
    pool: &PgPool,
    dag_id: &DagId,
    dates: &[Timestamp],
) -> Result<BTreeMap<Timestamp, DagRunState>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.logical_date AS "logical_date!", r.state FROM unnest($2::timestamptz[]) AS wanted (logical_date)
           JOIN dag_run AS r ON r.dag_id = $1 AND r.logical_date = wanted.logical_date"#,
        dag_id.as_str(),
        dates
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    rows.into_iter().map(|row| Ok((row.logical_date, code(row.state)?))).collect()
}
