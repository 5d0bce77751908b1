//! The lake's housekeeping, table by table: what `lake compact`, `expire`, `sweep` and `vacuum` do.
//!
//! Everything here may run beside sinks and models, twice at once, and be killed at any moment: changes are commits like
//! any others, and only files are deleted that no snapshot names and that are too old to belong to a commit under way. A
//! table that fails does not keep the others waiting.

use std::time::Duration;

use chrono::DateTime;
use iceberg::TableIdent;

use super::{
    Lake, LakeError,
    bronze::READING_ORDER,
    compact::{self, compact},
    delta::{self, DELTA_PATH},
    delta_compact, dotted,
    expire::{READERS_GRACE, Retention, expire},
    now_ms,
    read::data_files,
    sweep::{Pass, Swept, sweep},
    table_name,
};

/// How often a compaction is begun anew when a writer comes before it; what is left then is done the next time.
const ROUNDS_MAX: u32 = 3;
/// The shortest time for which files without a name are left alone: the longest batch of a sink, and of a model, ends within it.
pub const SWEEP_AGE_MIN: Duration = Duration::from_secs(60 * 60);

/// One thing to be done to tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Make few large files of many small ones.
    Compact,
    /// Forget old snapshots of Iceberg tables.
    Expire(Retention),
    /// Delete files of Iceberg tables that nothing names and that are at least so old.
    Sweep(Duration),
    /// Delete files of Delta tables that were replaced so long ago, and tidy up their log.
    Vacuum(Duration),
}

impl Task {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Expire(_) => "expire",
            Self::Sweep(_) => "sweep",
            Self::Vacuum(_) => "vacuum",
        }
    }

    /// Why it would do harm, if it would.
    ///
    /// # Errors
    /// A sentence that names the smallest safe value.
    pub fn check(self) -> Result<(), String> {
        let at_least = |what: &str, given: Duration, least: Duration| match given < least {
            true => Err(format!(
                "{what} must be at least {} min, so that {}",
                least.as_secs() / 60,
                match self {
                    Self::Expire(_) => "a reader that has begun can end",
                    Self::Compact | Self::Sweep(_) | Self::Vacuum(_) => "the files of a commit under way stay",
                }
            )),
            false => Ok(()),
        };
        match self {
            Self::Compact => Ok(()),
            Self::Expire(Retention { keep: 0, .. }) => {
                Err("--keep must be at least 1: the current snapshot stays".to_owned())
            }
            Self::Expire(retention) => at_least("--older-than", retention.age, READERS_GRACE),
            Self::Sweep(age) | Self::Vacuum(age) => at_least("--older-than", age, SWEEP_AGE_MIN),
        }
    }
}

/// A table of either format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An Iceberg table, by its name.
    Iceberg(TableIdent),
    /// The Delta table, by where it lies in the warehouse.
    Delta,
}

impl Place {
    /// Reads a table as people name it: `silver.stock_trades`, or `bronze_delta/stock_trades` for the Delta table.
    ///
    /// # Errors
    /// [`LakeError::BadName`].
    pub fn parse(text: &str) -> Result<Self, LakeError> {
        if text == DELTA_PATH { Ok(Self::Delta) } else { Ok(Self::Iceberg(table_name(text)?)) }
    }

    fn name(&self) -> String {
        match self {
            Self::Iceberg(name) => dotted(name),
            Self::Delta => DELTA_PATH.to_owned(),
        }
    }
}

/// What was done to a table, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What was to be done.
    pub task: &'static str,
    /// The table.
    pub table: String,
    /// Files before: of the table when it was compacted, below its location when it was swept or vacuumed.
    pub files_before: Option<usize>,
    /// The same afterwards.
    pub files_after: Option<usize>,
    /// Bytes of deleted files.
    pub bytes_freed: u64,
    /// Snapshots that were forgotten.
    pub snapshots_expired: usize,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Done {
    fn new(task: Task, table: &Place) -> Self {
        Self {
            task: task.name(),
            table: table.name(),
            files_before: None,
            files_after: None,
            bytes_freed: 0,
            snapshots_expired: 0,
            error: None,
        }
    }

    fn files(self, before: usize, after: usize) -> Self {
        Self { files_before: Some(before), files_after: Some(after), ..self }
    }

    fn swept(self, swept: Swept) -> Self {
        Self { bytes_freed: swept.bytes, ..self.files(swept.found, swept.found - swept.deleted) }
    }
}

/// Does something to one table, or to all that it applies to.
///
/// # Errors
/// When the table does not exist or the tables cannot be listed; a table's own failure is in its [`Done`].
pub async fn run(lake: &Lake, task: Task, only: Option<&Place>, pass: Pass) -> Result<Vec<Done>, LakeError> {
    let places = match only {
        Some(Place::Iceberg(name)) => vec![Place::Iceberg(lake.table(name).await?.identifier().clone())],
        Some(Place::Delta) => vec![Place::Delta],
        None => all(lake).await?,
    };
    let mut report = Vec::new();
    for place in places {
        let done = match one(lake, task, &place, pass).await {
            Ok(Some(done)) => done,
            Ok(None) => continue,
            Err(error) => Done { error: Some(error.to_string()), ..Done::new(task, &place) },
        };
        tracing::info!(?done, "upkeep");
        report.push(done);
    }
    Ok(report)
}

async fn all(lake: &Lake) -> Result<Vec<Place>, LakeError> {
    let mut places: Vec<Place> = lake.table_names().await?.into_iter().map(Place::Iceberg).collect();
    places.push(Place::Delta);
    Ok(places)
}

/// Nothing when the task is none for such a table.
async fn one(lake: &Lake, task: Task, place: &Place, pass: Pass) -> Result<Option<Done>, LakeError> {
    let done = Done::new(task, place);
    Ok(Some(match (task, place) {
        (Task::Compact, Place::Iceberg(name)) => {
            let (before, after) = compact_iceberg(lake, name, pass).await?;
            done.files(before, after)
        }
        (Task::Expire(retention), Place::Iceberg(name)) => {
            Done { snapshots_expired: expire(lake, name, retention, pass).await?, ..done }
        }
        (Task::Sweep(age), Place::Iceberg(name)) => {
            let now = DateTime::from_timestamp_millis(now_ms()).unwrap_or_default();
            done.swept(sweep(lake, name, now, age, pass).await?)
        }
        (Task::Compact, Place::Delta) => match delta::find(lake).await? {
            Some(mut table) => {
                let (before, after) = compact_delta(&mut table, pass).await?;
                done.files(before, after)
            }
            None => return Ok(None),
        },
        (Task::Vacuum(retention), Place::Delta) => match delta::find(lake).await? {
            Some(mut table) => done.swept(delta_compact::vacuum(&mut table, retention, pass).await?),
            None => return Ok(None),
        },
        (Task::Vacuum(_), Place::Iceberg(_)) | (Task::Expire(_) | Task::Sweep(_), Place::Delta) => return Ok(None),
    }))
}

async fn compact_iceberg(lake: &Lake, name: &TableIdent, pass: Pass) -> Result<(usize, usize), LakeError> {
    let table = lake.table(name).await?;
    let before = data_files(&table).await?.len();
    let mut after = before;
    let mut waiting = compact::waiting(&table).await?;
    for _ in 0..ROUNDS_MAX {
        if waiting == 0 || pass == Pass::Dry {
            break;
        }
        compact(lake, name, READING_ORDER).await?;
        let table = lake.table(name).await?;
        after = data_files(&table).await?.len();
        waiting = compact::waiting(&table).await?;
    }
    // A dry run can only tell which files would go: each partition of them leaves one or a few.
    Ok((before, if pass == Pass::Dry { before - waiting } else { after }))
}

async fn compact_delta(table: &mut deltalake::DeltaTable, pass: Pass) -> Result<(usize, usize), LakeError> {
    let before = delta_files(table)?;
    let mut waiting = delta_compact::waiting(table).await?;
    for _ in 0..ROUNDS_MAX {
        if waiting == 0 || pass == Pass::Dry {
            break;
        }
        delta_compact::compact(table, READING_ORDER).await?;
        waiting = delta_compact::waiting(table).await?;
    }
    Ok((before, if pass == Pass::Dry { before - waiting } else { delta_files(table)? }))
}

fn delta_files(table: &deltalake::DeltaTable) -> Result<usize, LakeError> {
    use super::error::Doing as _;
    Ok(table.get_file_uris().doing("listing the files of the Delta table")?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_do_harm_is_refused_with_the_smallest_safe_value() {
        let minute = Duration::from_secs(60);
        assert!(Task::Sweep(minute).check().unwrap_err().contains("at least 60 min"));
        assert!(Task::Vacuum(minute).check().unwrap_err().contains("a commit under way"));
        let expire = |keep, age| Task::Expire(Retention { keep, age }).check();
        assert!(expire(0, READERS_GRACE).unwrap_err().contains("--keep"));
        assert!(expire(1, minute).unwrap_err().contains("at least 30 min"));
        assert!(expire(1, READERS_GRACE).is_ok() && Task::Sweep(SWEEP_AGE_MIN).check().is_ok());
    }

    #[test]
    fn a_delta_table_is_named_by_its_place() {
        assert_eq!(Place::parse("bronze_delta/stock_trades").unwrap(), Place::Delta);
        assert_eq!(Place::parse("lake.gold.stock_daily").unwrap().name(), "gold.stock_daily");
        assert!(Place::parse("nothing").is_err());
    }
}
