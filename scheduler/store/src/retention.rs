//! History that nobody needs any more goes: ended runs with all that belongs to them, failures, audit lines, DAG versions
//! without runs and their files.
//!
//! Only the leader deletes, in steps of some thousand rows between its turns, so that no turn waits long and no statement is
//! large. It deletes what is older than its retention settings and what somebody has asked for (`windlass db clean`): a wish is
//! a row that outlives the leader, and goes when nothing is left to delete. A crash between two steps loses nothing, since each
//! step looks anew. Runs are walked in the order in which they were made: all that is old lies before all that is young, so a
//! step in steady state reads one page and stops.

use chrono::TimeDelta;
use model::{Epoch, Timestamp};
use sqlx::{Connection as _, PgExecutor, PgPool};

use crate::{
    audit::{self, Actor},
    bundles::FILES_LOCK,
    connect::Writer,
    error::{Doing, StoreError},
    limit::{self, statement, within},
    maintenance::Swept,
    versions::ended,
};

/// One step looks at so many runs.
const RUNS_PER_STEP: i64 = 2_000;
/// One step deletes at most so many rows of a table that has no others hanging on it.
const ROWS_PER_STEP: i64 = 5_000;
/// Counting for a preview stops here.
const COUNTED_MAX: i64 = 1_000_000;
const DOING: &str = "deleting old history";

/// What can be deleted by its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ended runs, with their task instances, tries, XComs.
    Runs,
    /// Records of failures.
    Failures,
    /// The audit log.
    Audit,
    /// Events of assets.
    Assets,
    /// DAG versions that are not current and have no run, and files that no version refers to.
    Versions,
}

impl Kind {
    /// All of them, runs before the versions that they hold.
    pub const ALL: [Self; 5] = [Self::Runs, Self::Failures, Self::Audit, Self::Assets, Self::Versions];

    /// Its word on the command line and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Failures => "failures",
            Self::Audit => "audit",
            Self::Assets => "assets",
            Self::Versions => "versions",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How long history is kept without anybody asking; for ever where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Runs, failures, and versions without runs.
    pub runs: Option<TimeDelta>,
    /// The audit log.
    pub audit: Option<TimeDelta>,
}

impl Retention {
    /// Before which instant a kind may go.
    fn before(&self, kind: Kind, now: Timestamp) -> Option<Timestamp> {
        let kept = match kind {
            Kind::Runs | Kind::Failures | Kind::Assets | Kind::Versions => self.runs,
            Kind::Audit => self.audit,
        };
        now.checked_sub_signed(kept?)
    }
}

/// A wish to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanRequest {
    /// What.
    pub kind: Kind,
    /// What is older than this.
    pub before: Timestamp,
}

/// Asks the leader to delete what is older than `before`.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn request(
    pool: &PgPool,
    who: impl Into<Actor<'_>> + Send,
    kinds: &[Kind],
    before: Timestamp,
) -> Result<(), StoreError> {
    let who = who.into();
    let mut transaction = pool.begin().await.doing(DOING)?;
    for kind in kinds {
        sqlx::query_file!("queries/clean_request_add.sql", kind.name(), before, who.name)
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
    }
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let details = serde_json::json!({"before": before, "kinds": kinds});
    audit::record(&mut *transaction, who, "db_clean", &details).await?;
    transaction.commit().await.doing(DOING)
}

/// What is asked for and not yet done.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn requests(db: impl PgExecutor<'_>) -> Result<Vec<CleanRequest>, StoreError> {
    let rows = sqlx::query!("SELECT kind, before FROM clean_request ORDER BY kind LIMIT 100")
        .fetch_all(db)
        .await
        .doing(DOING)?;
    // A kind of a newer version is its business.
    let known = |kind: String, before| Kind::of(&kind).map(|kind| CleanRequest { kind, before });
    Ok(rows.into_iter().filter_map(|row| known(row.kind, row.before)).collect())
}

/// How many rows of a kind are older than an instant, up to a million; what stays for another reason is counted, too.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn count(pool: &PgPool, kind: Kind, before: Timestamp) -> Result<i64, StoreError> {
    let counted = match kind {
        Kind::Runs => sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT FROM dag_run WHERE state NOT IN (0, 1) AND ended_at < $1 LIMIT $2) AS old"#,
            before, COUNTED_MAX
        )
        .fetch_one(pool)
        .await,
        Kind::Failures => sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT FROM task_failure WHERE failed_at < $1 LIMIT $2) AS old"#,
            before, COUNTED_MAX
        )
        .fetch_one(pool)
        .await,
        Kind::Audit => sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT FROM audit_log WHERE at < $1 LIMIT $2) AS old"#,
            before, COUNTED_MAX
        )
        .fetch_one(pool)
        .await,
        Kind::Assets => sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT FROM asset_event WHERE at < $1 LIMIT $2) AS old"#,
            before, COUNTED_MAX
        )
        .fetch_one(pool)
        .await,
        Kind::Versions => sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM dag_version AS old WHERE created_at < $1
               AND NOT EXISTS (SELECT FROM dag WHERE dag.current_version = old.id)
               AND NOT EXISTS (SELECT FROM dag_run WHERE dag_run.version_id = old.id)"#,
            before
        )
        .fetch_one(pool)
        .await,
    };
    counted.doing("counting old history")
}

/// Deletes old history step by step; remembers how far it has walked.
#[derive(Debug, Default)]
pub struct Cleaner {
    retention: Retention,
    after_run: i64,
    is_file_check_due: bool,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Whether there may be more.
    pub left: Swept,
    /// How many rows have gone.
    pub rows: i64,
    /// How many of them are runs: what belongs to them is still to be swept.
    pub runs: i64,
}

impl Cleaner {
    /// A cleaner with these settings.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self { retention, ..Self::default() }
    }

    /// Takes one step of whatever is due, the wishes of people and the settings alike.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::TooHeavy`].
    pub async fn step(&mut self, writer: &mut Writer, epoch: Epoch, now: Timestamp) -> Result<Cleaned, StoreError> {
        let requests = within(limit::STATEMENT, DOING, requests(writer.connection())).await?;
        let mut done = Cleaned { left: Swept::All, rows: 0, runs: 0 };
        for kind in Kind::ALL {
            let wished = requests.iter().find(|request| request.kind == kind).map(|request| request.before);
            let (left, rows) = match wished.max(self.retention.before(kind, now)) {
                Some(before) => self.delete(writer, epoch, kind, before).await?,
                // Versions stay, and revisions of bundles have gone.
                None if kind == Kind::Versions && self.is_file_check_due => self.delete_files(writer, epoch).await?,
                None => continue,
            };
            done.rows += rows;
            if kind == Kind::Runs {
                done.runs = rows;
            }
            if left == Swept::Some {
                return Ok(Cleaned { left, ..done });
            }
            if let Some(wished) = wished {
                forget(writer, epoch, kind, wished).await?;
            }
        }
        Ok(done)
    }

    /// Deletes some of a kind, and says how many rows have gone.
    async fn delete(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        kind: Kind,
        before: Timestamp,
    ) -> Result<(Swept, i64), StoreError> {
        let connection = writer.connection();
        let rows = match kind {
            Kind::Runs => return self.delete_runs(writer, epoch, before).await,
            Kind::Versions => return self.delete_versions(writer, epoch, before).await,
            Kind::Failures => {
                let query =
                    sqlx::query_file_scalar!("queries/task_failure_drop_old.sql", epoch.get(), before, ROWS_PER_STEP);
                statement(DOING, query.fetch_one(connection)).await?
            }
            Kind::Assets => {
                let query =
                    sqlx::query_file_scalar!("queries/asset_event_drop_old.sql", epoch.get(), before, ROWS_PER_STEP);
                statement(DOING, query.fetch_one(connection)).await?
            }
            Kind::Audit => {
                let query =
                    sqlx::query_file_scalar!("queries/audit_log_drop_old.sql", epoch.get(), before, ROWS_PER_STEP);
                statement(DOING, query.fetch_one(connection)).await?
            }
        };
        Ok((left(rows), rows))
    }

    async fn delete_runs(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        before: Timestamp,
    ) -> Result<(Swept, i64), StoreError> {
        let query = sqlx::query_file!("queries/dag_run_old_page.sql", self.after_run, before, RUNS_PER_STEP);
        let page = statement(DOING, query.fetch_all(writer.connection())).await?;
        let going: Vec<i64> = page.iter().filter(|run| run.may_go).map(|run| run.id).collect();
        let dropped = if going.is_empty() {
            0
        } else {
            let query = sqlx::query_file_scalar!("queries/dag_run_drop_old.sql", epoch.get(), &going);
            statement(DOING, query.fetch_one(writer.connection())).await?
        };
        let has_old = page.iter().any(|run| !run.is_young);
        match page.last() {
            Some(last) if has_old && page.len() as i64 == RUNS_PER_STEP => {
                self.after_run = last.id;
                Ok((Swept::Some, dropped))
            }
            // The end of what is old; what stays there is looked at again next time.
            Some(_) | None => {
                self.after_run = 0;
                let query = sqlx::query_file_scalar!("queries/backfill_drop_old.sql", epoch.get(), before);
                let dropped = dropped + statement(DOING, query.fetch_one(writer.connection())).await?;
                Ok((Swept::All, dropped))
            }
        }
    }

    async fn delete_versions(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        before: Timestamp,
    ) -> Result<(Swept, i64), StoreError> {
        let query = sqlx::query_file_scalar!("queries/dag_version_drop_old.sql", epoch.get(), before, ROWS_PER_STEP);
        let versions = statement(DOING, query.fetch_one(writer.connection())).await?;
        self.is_file_check_due |= versions > 0;
        // Reading every version for the files that it names takes a second or two for 20,000 of them, in which no turn is
        // stored: it is done when all versions that may go have gone, and is not tried again at once when it takes too long.
        if left(versions) == Swept::Some || !std::mem::take(&mut self.is_file_check_due) {
            return Ok((left(versions), versions));
        }
        let (left, files) = self.delete_files(writer, epoch).await?;
        Ok((left, versions + files))
    }

    async fn delete_files(&mut self, writer: &mut Writer, epoch: Epoch) -> Result<(Swept, i64), StoreError> {
        self.is_file_check_due = false;
        let files = drop_unused_files(writer, epoch).await?;
        self.is_file_check_due = left(files) == Swept::Some;
        Ok((left(files), files))
    }

    /// Revisions of bundles have gone: files may be in use no more.
    pub fn files_may_be_unused(&mut self) {
        self.is_file_check_due = true;
    }
}

/// Deletes files that nothing refers to. While somebody stores a revision of a bundle, none go.
async fn drop_unused_files(writer: &mut Writer, epoch: Epoch) -> Result<i64, StoreError> {
    within(limit::STATEMENT, DOING, async {
        let mut transaction = writer.connection().begin().await.doing(DOING)?;
        let dropped = async {
            let lock = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1) AS "is_free!""#, FILES_LOCK);
            if !lock.fetch_one(&mut *transaction).await.doing(DOING)? {
                // As if there were many: the next step tries again.
                return Ok(ROWS_PER_STEP);
            }
            let query = sqlx::query_file_scalar!("queries/blob_drop_unused.sql", epoch.get(), ROWS_PER_STEP);
            query.fetch_one(&mut *transaction).await.doing(DOING)
        };
        let dropped = dropped.await;
        ended(transaction, dropped, DOING).await
    })
    .await
}

fn left(dropped: i64) -> Swept {
    if dropped < ROWS_PER_STEP { Swept::All } else { Swept::Some }
}

/// A wish is done, unless a farther one has taken its place meanwhile.
async fn forget(writer: &mut Writer, epoch: Epoch, kind: Kind, before: Timestamp) -> Result<(), StoreError> {
    let query = sqlx::query!(
        "DELETE FROM clean_request USING (SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE) AS fence
         WHERE kind = $2 AND before <= $3",
        epoch.get(),
        kind.name(),
        before
    );
    statement(DOING, query.execute(writer.connection())).await?;
    Ok(())
}
