//! Commits: one PostgreSQL transaction that swaps the catalogue rows of one or more tables, and carries other rows.
//!
//! What always holds: either all tables of a commit and all its rows change, or nothing does, whatever dies when. Each
//! row is swapped only from the metadata that its snapshot was built upon; who loses builds it again upon the winner's,
//! with the same data files, unless the winner's change makes the result wrong: that is [`LakeError::Conflict`].

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use iceberg::{
    spec::{DataFile, ManifestContentType, Operation, Struct},
    table::Table,
};
use sqlx::PgConnection;

use super::{
    Lake, dotted,
    error::{Doing, LakeError},
    stage::{Staged, stage},
};
pub(crate) use crate::pg::catalog::Swap as Swapped;
use crate::pg::catalog::{self, CatalogKey, Locations, Swap};

/// How often a commit is staged before it gives up. Against a writer that commits without pause 13 losses in a row have
/// been seen; past this number something else is wrong.
const ATTEMPTS_MAX: u32 = 50;
/// The longest pause between two attempts; each waits for a random part of a growing span.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often PostgreSQL is asked how a COMMIT ended before the outcome is reported as unknown: a restart takes seconds.
const SETTLE_ATTEMPTS_MAX: u32 = 20;
/// Between two such questions.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// Which live data files a change removes.
#[derive(Debug, Clone)]
pub enum Removal {
    /// None: the change appends.
    Nothing,
    /// All of them.
    Everything,
    /// Those with these paths; each of them has to be there.
    Files(BTreeSet<String>),
    /// Those of these partitions, by their values in the table's current partitioning.
    Partitions(HashSet<Struct>),
}

impl Removal {
    /// Whether a file goes.
    pub(crate) fn takes(&self, file: &DataFile) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Files(paths) => paths.contains(file.file_path()),
            Self::Partitions(partitions) => partitions.contains(file.partition()),
        }
    }
}

/// What a commit does to one table.
#[derive(Debug, Clone)]
pub struct Change {
    pub(crate) table: Table,
    pub(crate) operation: Operation,
    pub(crate) added: Vec<DataFile>,
    pub(crate) removal: Removal,
    pub(crate) own: BTreeMap<String, String>,
}

impl Change {
    /// Adds files; right upon any state of the table.
    pub fn append(table: &Table, added: Vec<DataFile>) -> Self {
        Self::new(table, Operation::Append, added, Removal::Nothing)
    }

    /// Replaces rows by others that were computed from this state of the table; any other commit to it is a conflict.
    pub fn overwrite(table: &Table, added: Vec<DataFile>, removal: Removal) -> Self {
        Self::new(table, Operation::Overwrite, added, removal)
    }

    /// Replaces files by others with the same rows; right as long as the files are still there and no row of them was
    /// deleted meanwhile.
    pub fn replace(table: &Table, added: Vec<DataFile>, removal: Removal) -> Self {
        Self::new(table, Operation::Replace, added, removal)
    }

    fn new(table: &Table, operation: Operation, added: Vec<DataFile>, removal: Removal) -> Self {
        Self { table: table.clone(), operation, added, removal, own: BTreeMap::new() }
    }

    /// Puts a property into the snapshot's summary, under `lake.` and the key.
    #[must_use]
    pub fn with_summary(mut self, key: &str, value: impl Into<String>) -> Self {
        self.own.insert(format!("{}{key}", super::summary::OWN_PREFIX), value.into());
        self
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && matches!(self.removal, Removal::Nothing)
    }

    /// Whether the change is still right upon `now`.
    async fn still_holds(&self, now: &Table) -> Result<bool, LakeError> {
        if self.table.metadata().current_snapshot_id() == now.metadata().current_snapshot_id() {
            return Ok(true);
        }
        match self.operation {
            Operation::Append => Ok(true),
            Operation::Replace => Ok(delete_manifests(&self.table).await? == delete_manifests(now).await?),
            Operation::Overwrite | Operation::Delete => Ok(matches!(self.removal, Removal::Nothing)),
        }
    }
}

/// The manifests of delete files: when they are the same, no row of a live file was deleted.
async fn delete_manifests(table: &Table) -> Result<BTreeSet<String>, LakeError> {
    let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(BTreeSet::new()) };
    let list = table.manifest_list_reader(snapshot).load().await;
    let list = list.doing(format!("reading the manifests of {}", dotted(table.identifier())))?;
    let deletes = list.entries().iter().filter(|manifest| manifest.content == ManifestContentType::Deletes);
    Ok(deletes.map(|manifest| manifest.manifest_path.clone()).collect())
}

/// Rows of one's own that a commit carries.
#[async_trait]
pub trait Rows: Sync {
    /// Writes them. Runs once an attempt, in its transaction, after the swaps; an error rolls everything back and ends
    /// the commit.
    async fn write(&self, connection: &mut PgConnection) -> Result<(), LakeError>;
}

/// No rows.
struct NoRows;

#[async_trait]
impl Rows for NoRows {
    async fn write(&self, _connection: &mut PgConnection) -> Result<(), LakeError> {
        Ok(())
    }
}

/// Changes that happen together.
#[derive(Debug)]
pub struct Commit<'a> {
    lake: &'a Lake,
    changes: Vec<Change>,
}

impl<'a> Commit<'a> {
    /// A commit without changes.
    pub fn new(lake: &'a Lake) -> Self {
        Self { lake, changes: Vec::new() }
    }

    /// Adds the change of one table; a table may be changed once. Changes of nothing are left out.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        if !change.is_empty() {
            self.changes.push(change);
        }
        self
    }

    /// Makes the changes; answers the changed tables as they then are.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] when somebody else's commit made a change wrong, and [`LakeError::Unknown`].
    pub async fn publish(self) -> Result<Vec<Table>, LakeError> {
        self.publish_with(&NoRows).await
    }

    /// Makes the changes and writes the rows, together; answers the changed tables as they then are.
    ///
    /// # Errors
    /// Those of [`Self::publish`], and the rows' own.
    pub async fn publish_with(mut self, rows: &dyn Rows) -> Result<Vec<Table>, LakeError> {
        // Everybody takes the catalogue's row locks in one order.
        self.changes.sort_by_key(|change| dotted(change.table.identifier()));
        let mut current: Vec<Table> = self.changes.iter().map(|change| change.table.clone()).collect();
        for attempt in 1..=ATTEMPTS_MAX {
            let staged = self.stage_upon(&current).await?;
            self.settle_files(&staged).await?;
            match self.attempt(&staged, rows).await {
                Ok(Swap::Done) => return self.published(staged),
                Ok(Swap::Lost) => self.discard(staged).await,
                Err(error) => {
                    if !matches!(error, LakeError::Unknown { .. }) {
                        self.discard(staged).await;
                    }
                    return Err(error);
                }
            }
            tokio::time::sleep(pause(attempt)).await;
            current = self.reload().await?;
        }
        Err(LakeError::Conflict { table: self.names() })
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.changes.iter().map(|change| dotted(change.table.identifier())).collect();
        names.join(" and ")
    }

    async fn reload(&self) -> Result<Vec<Table>, LakeError> {
        let mut tables = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            let now = self.lake.table(change.table.identifier()).await?;
            if !change.still_holds(&now).await? {
                return Err(LakeError::Conflict { table: dotted(now.identifier()) });
            }
            tables.push(now);
        }
        Ok(tables)
    }

    async fn stage_upon(&self, tables: &[Table]) -> Result<Vec<Staged>, LakeError> {
        let mut staged = Vec::with_capacity(tables.len());
        for (table, change) in tables.iter().zip(&self.changes) {
            match stage(table, change).await {
                Ok(one) => staged.push(one),
                Err(error) => {
                    self.discard(staged).await;
                    return Err(error);
                }
            }
        }
        Ok(staged)
    }

    /// What the catalogue is about to name must not be lost with the power.
    async fn settle_files(&self, staged: &[Staged]) -> Result<(), LakeError> {
        let data = self.changes.iter().flat_map(|change| &change.added).map(DataFile::file_path);
        let files: Vec<&str> = staged.iter().flat_map(Staged::written).chain(data).collect();
        self.lake.warehouse().settle(&files).await
    }

    async fn discard(&self, staged: Vec<Staged>) {
        for one in staged {
            one.discard(self.lake.file_io()).await;
        }
    }

    fn published(&self, staged: Vec<Staged>) -> Result<Vec<Table>, LakeError> {
        let tables = staged.into_iter().map(|one| self.lake.table_of(&one.name, one.metadata, one.new_location));
        tables.collect()
    }

    async fn attempt(&self, staged: &[Staged], rows: &dyn Rows) -> Result<Swap, LakeError> {
        let mut transaction = self.lake.pool().begin().await.doing("beginning a commit")?;
        for one in staged {
            match swap(&mut transaction, one).await {
                Ok(Swap::Done) => {}
                Ok(Swap::Lost) => return Ok(Swap::Lost),
                Err(error) if is_race(&error) => return Ok(Swap::Lost),
                Err(error) => return Err(error).doing(format!("committing to {}", dotted(&one.name))),
            }
        }
        rows.write(&mut transaction).await?;
        match transaction.commit().await {
            Ok(()) => Ok(Swap::Done),
            Err(error) => self.settle(staged, error).await,
        }
    }

    /// Finds out how a COMMIT ended whose answer did not arrive.
    async fn settle(&self, staged: &[Staged], error: sqlx::Error) -> Result<Swap, LakeError> {
        // All tables swap together, so the first one tells.
        let Some(one) = staged.first() else {
            return Err(LakeError::Unknown { table: "no table".to_owned(), source: error });
        };
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            match self.outcome(one).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => tracing::warn!(%error, "asking PostgreSQL again how a commit ended"),
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        Err(LakeError::Unknown { table: dotted(&one.name), source: error })
    }

    async fn outcome(&self, staged: &Staged) -> Result<Swap, LakeError> {
        let doing = || format!("asking how a commit to {} ended", dotted(&staged.name));
        let namespace = staged.name.namespace().join(".");
        let key = CatalogKey { namespace: &namespace, name: staged.name.name() };
        let mut transaction = self.lake.pool().begin().await.doing(doing())?;
        let location = catalog::settled_metadata_location(&mut transaction, key).await.doing(doing())?;
        transaction.rollback().await.doing(doing())?;
        if location.as_deref() == Some(&staged.new_location) {
            return Ok(Swap::Done);
        }
        // Somebody may have committed on top already.
        let now = self.lake.table(&staged.name).await?;
        let ours = staged.metadata.current_snapshot_id().expect("a staged snapshot is the current one");
        Ok(match now.metadata().snapshot_by_id(ours) {
            Some(_) => Swap::Done,
            None => Swap::Lost,
        })
    }
}

/// Swaps in what was staged without a new snapshot. Should the answer to COMMIT get lost, a swap that somebody else came
/// before may be taken for done: whoever repeats it then finds what is left to do.
pub(crate) async fn publish_staged(lake: &Lake, staged: Staged) -> Result<Swap, LakeError> {
    let staged = [staged];
    let commit = Commit::new(lake);
    commit.settle_files(&staged).await?;
    let outcome = commit.attempt(&staged, &NoRows).await;
    if !matches!(outcome, Ok(Swap::Done) | Err(LakeError::Unknown { .. })) {
        for one in staged {
            one.discard(lake.file_io()).await;
        }
    }
    outcome
}

async fn swap(connection: &mut PgConnection, staged: &Staged) -> Result<Swap, sqlx::Error> {
    let namespace = staged.name.namespace().join(".");
    let key = CatalogKey { namespace: &namespace, name: staged.name.name() };
    catalog::swap(connection, key, Locations { old: &staged.old_location, new: &staged.new_location }).await
}

/// Whether PostgreSQL refused because of another transaction, so that trying again is right.
fn is_race(error: &sqlx::Error) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    const LOCK_TIMEOUT: &str = "55P03";
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED | LOCK_TIMEOUT))
}

/// A random part of a span that doubles with each attempt.
pub(crate) fn pause(attempt: u32) -> Duration {
    let span = Duration::from_millis(5) * 2_u32.saturating_pow(attempt.min(10));
    span.min(PAUSE_MAX).mul_f64(rand::random::<f64>())
}
