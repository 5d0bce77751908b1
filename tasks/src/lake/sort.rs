//! Sorting rows before they are written: neighbours compress better and skip better. No reader relies on an order.

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
};

use super::error::{Doing, LakeError};

/// Rows that are sorted together; a compaction holds about twice as many in memory.
const CHUNK_ROWS: usize = 200_000;

/// Gathers batches and gives them back as sorted chunks.
pub(crate) struct Sorter {
    columns: &'static [&'static str],
    waiting: Vec<RecordBatch>,
    rows: usize,
}

impl Sorter {
    /// A sorter by these columns, ascending.
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, waiting: Vec::new(), rows: 0 }
    }

    /// Takes a batch; answers a chunk once enough rows are there.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>, LakeError> {
        self.rows += batch.num_rows();
        self.waiting.push(batch);
        if self.rows < CHUNK_ROWS { Ok(None) } else { self.finish() }
    }

    /// The rows that are left.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        self.rows = 0;
        let Some(first) = self.waiting.first() else { return Ok(None) };
        let schema = first.schema();
        let waiting = std::mem::take(&mut self.waiting);
        let rows = concat_batches(&schema, &waiting).doing("gathering rows to sort")?;
        drop(waiting);
        self.sorted(&rows).map(Some)
    }

    fn sorted(&self, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let columns: Vec<SortColumn> = self
            .columns
            .iter()
            .filter_map(|name| rows.column_by_name(name))
            .map(|values| SortColumn { values: values.clone(), options: None })
            .collect();
        if columns.is_empty() {
            return Ok(rows.clone());
        }
        let order: UInt32Array = lexsort_to_indices(&columns, None).doing("sorting rows")?;
        take_record_batch(rows, &order).doing("sorting rows")
    }
}
