//! Carries a merge out: from the stream of changed rows to files and one commit.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use iceberg::scan::FileScanTask;
use iceberg::table::Table;

use super::marks::{Mark, Marks, RowAddress};
use super::query::CLAUSE_COLUMN;
use super::{Action, Merge};
use crate::lake::swap::{Change, Removal};
use crate::lake::write::TableWriter;
use crate::sql::scan::{FILE_COLUMN, PinnedTable, ROW_COLUMN, external};

/// What a merge comes to, before it is committed.
pub(in crate::sql) struct Applied {
    /// The change to commit; `None` when no row changes.
    pub(in crate::sql) change: Option<Change>,
    /// Rows that were updated, deleted or inserted.
    pub(in crate::sql) rows: u64,
}

/// Carries out `merge` on `target`, given the result of its query; on an error no file stays behind.
pub(in crate::sql) async fn apply(
    merge: &Merge,
    table: &Table,
    target: &PinnedTable,
    changes: SendableRecordBatchStream,
) -> EngineResult<Applied> {
    let mut writer = TableWriter::new(table).map_err(external)?;
    match write(merge, target, changes, &mut writer).await {
        Ok(written) if written.rows == 0 => {
            writer.abandon().await;
            Ok(Applied { change: None, rows: 0 })
        }
        Ok(written) => {
            let files = writer.close().await.map_err(external)?;
            let change = Change::overwrite(table, files, Removal::Files(written.replaced));
            Ok(Applied { change: Some(change), rows: written.rows })
        }
        Err(error) => {
            writer.abandon().await;
            Err(error)
        }
    }
}

/// What was written, and which files it stands in for.
struct Written {
    rows: u64,
    replaced: BTreeSet<String>,
}

async fn write(
    merge: &Merge,
    target: &PinnedTable,
    mut changes: SendableRecordBatchStream,
    writer: &mut TableWriter,
) -> EngineResult<Written> {
    let mut marks = Marks::default();
    let mut rows = 0;
    while let Some(batch) = changes.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        let kept = take_changes(merge, &batch, &mut marks)?;
        writer.write(&kept).await.map_err(external)?;
    }
    let names: Vec<&str> = table_columns(target).collect();
    let files = target.files(&names, &[]).await?;
    let mut replaced = BTreeSet::new();
    for number in marks.files() {
        let file = files.get(number).ok_or_else(|| DataFusionError::Internal(format!("there is no file {number}")))?;
        keep_unmarked(target, FileAt { number, task: file.clone() }, &marks, writer).await?;
        replaced.insert(file.data_file_path.clone());
    }
    Ok(Written { rows, replaced })
}

/// Marks the rows that a batch of changes replaces, and answers the rows that it brings.
fn take_changes(merge: &Merge, batch: &RecordBatch, marks: &mut Marks) -> EngineResult<RecordBatch> {
    let clauses = numbers(batch, CLAUSE_COLUMN)?;
    let (files, rows) = (numbers(batch, FILE_COLUMN)?, numbers(batch, ROW_COLUMN)?);
    let mut brings = Vec::with_capacity(batch.num_rows());
    for at in 0..batch.num_rows() {
        let action = clause(merge, clauses.value(at))?;
        brings.push(!matches!(action, Action::Delete));
        if matches!(action, Action::Insert { .. }) {
            continue;
        }
        let address = RowAddress { file: index(files, at)?, row: index(rows, at)? };
        if marks.add(address) == Mark::Repeated {
            return Err(DataFusionError::Execution(
                "one row of the target matched more than one row of the source; make the source's keys unique"
                    .to_owned(),
            ));
        }
    }
    Ok(filter_record_batch(batch, &brings.into())?)
}

struct FileAt {
    number: usize,
    task: FileScanTask,
}

/// Copies the rows of a file that nothing replaces.
async fn keep_unmarked(
    target: &PinnedTable,
    file: FileAt,
    marks: &Marks,
    writer: &mut TableWriter,
) -> EngineResult<()> {
    let FileAt { number, task } = file;
    let mut batches = target.read(number, task);
    let mut row = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let kept = marks.unmarked(RowAddress { file: number, row }, batch.num_rows());
        row += batch.num_rows();
        writer.write(&filter_record_batch(&batch, &kept)?).await.map_err(external)?;
    }
    Ok(())
}

fn table_columns(target: &PinnedTable) -> impl Iterator<Item = &str> {
    target.arrow_schema().fields().iter().take(target.column_count()).map(|field| field.name().as_str())
}

fn clause(merge: &Merge, number: i64) -> EngineResult<&Action> {
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let clause = place.and_then(|place| merge.clauses.get(place));
    clause.map(|clause| &clause.action).ok_or_else(|| DataFusionError::Internal(format!("there is no clause {number}")))
}

fn numbers<'a>(batch: &'a RecordBatch, column: &str) -> EngineResult<&'a Int64Array> {
    batch
        .column_by_name(column)
        .and_then(|array| array.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| DataFusionError::Internal(format!("the merge's query lost the column {column}")))
}

fn index(numbers: &Int64Array, at: usize) -> EngineResult<usize> {
    let number = numbers.is_valid(at).then(|| numbers.value(at)).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| DataFusionError::Internal("a replaced row has no address".to_owned()))
}
