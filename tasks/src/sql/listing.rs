//! The lake's tables and files as results like those of a query, so that they are printed the same way.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::error::ArrowError;

use crate::lake::files::{FileRow, TableRow};

/// One row a table.
pub(super) fn tables(rows: &[TableRow]) -> Result<RecordBatch, ArrowError> {
    let committed = rows.iter().map(|row| row.committed_at.map(|at| at.timestamp_micros()));
    batch([
        ("table", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.table)))),
        ("rows", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.rows)))),
        ("files", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.files)))),
        ("bytes", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.bytes)))),
        ("snapshot", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.snapshot)))),
        ("committed_at", Arc::new(committed.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))),
    ])
}

/// One row a data file.
pub(super) fn files(rows: &[FileRow]) -> Result<RecordBatch, ArrowError> {
    batch([
        ("path", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.path)))),
        ("partition", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.partition)))),
        ("rows", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.rows)))),
        ("bytes", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.bytes)))),
        ("snapshot", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.snapshot)))),
    ])
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}
