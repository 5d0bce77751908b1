//! `lake compact`, `expire`, `sweep` and `vacuum`: their arguments, and the table that says what was done.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::error::ArrowError;
use clap::Args;

use super::print::Format;
use crate::lake::expire::Retention;
use crate::lake::sweep::Pass;
use crate::lake::upkeep::{self, Done, Place, Task};
use crate::lake::{Lake, LakeError};

/// What all of them take.
#[derive(Debug, Args)]
pub struct Common {
    /// The table: schema.table, or bronze_delta/stock_trades for the Delta table; all tables when it is left out
    table: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// What rows are printed as
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// The arguments of `lake expire`.
#[derive(Debug, Args)]
pub struct Expire {
    #[command(flatten)]
    pub(super) common: Common,
    /// Snapshots that stay, however old they are
    #[arg(long, default_value_t = 20)]
    keep: usize,
    /// Snapshots that were replaced longer ago than this go: 30m, 6h, 7d
    #[arg(long, default_value = "1d", value_parser = age)]
    older_than: Duration,
}

impl Expire {
    pub(super) fn task(&self) -> Task {
        Task::Expire(Retention { keep: self.keep, age: self.older_than })
    }
}

/// The arguments of `lake sweep`.
#[derive(Debug, Args)]
pub struct Sweep {
    #[command(flatten)]
    pub(super) common: Common,
    /// Files that nothing names and that are older than this go: 90m, 6h, 7d
    #[arg(long, default_value = "6h", value_parser = age)]
    older_than: Duration,
}

impl Sweep {
    pub(super) fn task(&self) -> Task {
        Task::Sweep(self.older_than)
    }
}

/// The arguments of `lake vacuum`.
#[derive(Debug, Args)]
pub struct Vacuum {
    #[command(flatten)]
    pub(super) common: Common,
    /// Files that were replaced longer ago than this go: 90m, 6h, 7d
    #[arg(long, default_value = "1d", value_parser = age)]
    older_than: Duration,
}

impl Vacuum {
    pub(super) fn task(&self) -> Task {
        Task::Vacuum(self.older_than)
    }
}

/// A time as people write it: a number with s, m, h or d.
fn age(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no time; write a number with s, m, h or d, such as 6h");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(expected()),
    };
    let number: u32 = number.parse().map_err(|_| expected())?;
    Ok(Duration::from_secs(u64::from(number) * secs))
}

/// Does it; a table that failed is in the rows, with its reason.
///
/// # Errors
/// When it must not be done, or there is no such table.
pub(super) async fn run(lake: &Lake, task: Task, common: &Common) -> anyhow::Result<Vec<Done>> {
    let place = common.table.as_deref().map(Place::parse).transpose()?;
    let pass = if common.dry_run { Pass::Dry } else { Pass::Real };
    let report = upkeep::run(lake, task, place.as_ref(), pass).await?;
    if let (Some(table), true) = (&common.table, report.is_empty()) {
        anyhow::bail!(
            "{} does nothing to {table}: compact is for all tables, expire and sweep for Iceberg tables, vacuum for the Delta table",
            task.name()
        );
    }
    Ok(report)
}

/// What was done, as rows.
pub(super) fn rows(report: &[Done]) -> Result<RecordBatch, ArrowError> {
    let count = |number: Option<usize>| number.map(|number| number as u64);
    let columns: [(&str, Arc<dyn arrow::array::Array>); 7] = [
        ("task", Arc::new(StringArray::from_iter_values(report.iter().map(|done| done.task)))),
        ("table", Arc::new(StringArray::from_iter_values(report.iter().map(|done| &done.table)))),
        ("files_before", Arc::new(UInt64Array::from_iter(report.iter().map(|done| count(done.files_before))))),
        ("files_after", Arc::new(UInt64Array::from_iter(report.iter().map(|done| count(done.files_after))))),
        ("bytes_freed", Arc::new(UInt64Array::from_iter_values(report.iter().map(|done| done.bytes_freed)))),
        (
            "snapshots_expired",
            Arc::new(UInt64Array::from_iter_values(report.iter().map(|done| done.snapshots_expired as u64))),
        ),
        ("error", Arc::new(StringArray::from_iter(report.iter().map(|done| done.error.as_deref())))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// The first failure of a report, as the command's own.
pub(super) fn failure(report: &[Done]) -> Option<LakeError> {
    let failed: Vec<&Done> = report.iter().filter(|done| done.error.is_some()).collect();
    let first = failed.first()?;
    let reason = first.error.clone().unwrap_or_default();
    let doing =
        format!("{} of {} failed for {} of {} tables, first", first.task, first.table, failed.len(), report.len());
    Some(LakeError::Failed { doing, source: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        let secs = |text: &str| age(text).map(|time| time.as_secs());
        assert_eq!(["90s", "30m", "6h", "7d"].map(|text| secs(text).unwrap()), [90, 1_800, 21_600, 604_800]);
        for wrong in ["", "h", "6", "6 h", "-1d", "1w", "6µ"] {
            assert!(age(wrong).unwrap_err().contains("such as 6h"), "{wrong}");
        }
    }
}
