//! The bronze tables of the stock stream: Iceberg trades and dead letters, and the same trades in Delta.
//!
//! What always holds: each table has each record of the topic at most once, and none below its watermark is missing,
//! whatever dies when and however many sinks run. The two formats commit separately, each with a watermark of its own;
//! a sink reads from the lower one, and what a table has already is left out of it here.

use std::sync::{Arc, LazyLock};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use iceberg::{
    arrow::schema_to_arrow_schema,
    spec::{PrimitiveType, Transform},
};

pub use super::compact::Compacted;
pub use super::offsets::Marks;
use super::{
    Lake, LakeError,
    bronze_iceberg::{IcebergStream, Rows},
    compact::compact,
    delta::{DeltaStream, FILE_RETENTION},
    delta_compact, now_ms,
    offsets::check_covered,
    sweep::{ORPHAN_GRACE, Pass, sweep},
    table_name,
    tables::{Column, TableSpec},
};

/// The Iceberg table of trades.
pub const TRADES: &str = "bronze.stock_trades";
/// The Iceberg table of records that could not be read.
pub const DEAD_LETTERS: &str = "bronze.stock_trades_dlq";
/// The topic that feeds them unless another one is named.
pub const TOPIC: &str = "stock_trades";
/// The order of rows in compacted files: that of reading.
pub(crate) const READING_ORDER: &[&str] = &["kafka_partition", "kafka_offset"];

/// How far each table has got: the next offset to read, per partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Iceberg, trades and dead letters.
    pub iceberg: Marks,
    /// Delta.
    pub delta: Marks,
}

/// What a sink has read since its last commit.
#[derive(Debug, Clone, Default)]
pub struct SinkBatch {
    /// Trades, with the columns of [`BronzeTables::trade_schema`].
    pub trades: Vec<RecordBatch>,
    /// Records that could not be read, with the columns of [`BronzeTables::dead_letter_schema`].
    pub dead_letters: Vec<RecordBatch>,
    /// The next offset to read after this batch, per partition read.
    pub next_offsets: Marks,
}

/// What a commit wrote: rows that the tables did not have yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Trades that Iceberg got.
    pub iceberg_rows: usize,
    /// Trades that Delta got.
    pub delta_rows: usize,
    /// Dead letters.
    pub dead_letters: usize,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// To the Iceberg tables.
    pub iceberg: Compacted,
    /// To the Delta table.
    pub delta: Compacted,
    /// Iceberg files deleted that nothing named.
    pub swept: usize,
}

/// The bronze tables, open for one sink.
pub struct BronzeTables {
    lake: Lake,
    iceberg: IcebergStream,
    delta: DeltaStream,
}

impl BronzeTables {
    /// Opens the tables, making those that are missing, for the topic [`TOPIC`].
    ///
    /// # Errors
    /// When database or storage fail.
    pub async fn open(lake: &Lake) -> Result<Self, LakeError> {
        Self::open_topic(lake, TOPIC).await
    }

    /// Opens the tables for another topic.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub async fn open_topic(lake: &Lake, topic: &str) -> Result<Self, LakeError> {
        let (trades, dead_letters) = (trade_spec()?, dead_letter_spec()?);
        let iceberg = IcebergStream::open(lake, topic, &trades, &dead_letters).await?;
        let delta = DeltaStream::open(lake, topic).await?;
        Ok(Self { lake: lake.clone(), iceberg, delta })
    }

    /// How far the tables have got, freshly read.
    ///
    /// # Errors
    /// When database or storage fail.
    pub async fn watermarks(&self) -> Result<Watermarks, LakeError> {
        Ok(Watermarks { iceberg: self.iceberg.latest_marks().await?, delta: self.delta.latest_marks().await? })
    }

    /// The columns of a batch of trades.
    pub fn trade_schema() -> SchemaRef {
        static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| arrow_schema(trade_spec()));
        Arc::clone(&SCHEMA)
    }

    /// The columns of a batch of dead letters.
    pub fn dead_letter_schema() -> SchemaRef {
        static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| arrow_schema(dead_letter_spec()));
        Arc::clone(&SCHEMA)
    }

    /// Commits what a sink has read to all tables, leaving out what each has already.
    ///
    /// # Errors
    /// After an error the batch is in none, one or both of the formats. Commit it again, or read again from the lower
    /// of [`Self::watermarks`]; going on with the next batch would lose its rows.
    pub async fn commit(&mut self, batch: &SinkBatch) -> Result<CommitReport, LakeError> {
        check_covered(&batch.trades, &batch.next_offsets)?;
        check_covered(&batch.dead_letters, &batch.next_offsets)?;
        let rows = Rows { trades: &batch.trades, dead_letters: &batch.dead_letters };
        // Neither may be cancelled by the other's failure while its commit is under way.
        let (iceberg, delta) = tokio::join!(
            self.iceberg.append(rows, &batch.next_offsets),
            self.delta.append(&batch.trades, &batch.next_offsets)
        );
        let (iceberg_rows, dead_letters) = iceberg?;
        Ok(CommitReport { iceberg_rows, delta_rows: delta?, dead_letters })
    }

    /// Makes few files of the many that a stream leaves behind, and deletes those that nothing names any more. Safe
    /// beside running sinks and engines.
    ///
    /// # Errors
    /// When database or storage fail; the tables are whole in any case.
    pub async fn compact(&mut self) -> Result<CompactReport, LakeError> {
        let mut report = CompactReport::default();
        let now = chrono::DateTime::from_timestamp_millis(now_ms()).unwrap_or_default();
        for name in [TRADES, DEAD_LETTERS] {
            let name = table_name(name)?;
            report.iceberg += compact(&self.lake, &name, READING_ORDER).await?;
            report.swept += sweep(&self.lake, &name, now, ORPHAN_GRACE, Pass::Real).await?.deleted;
        }
        self.iceberg.refresh().await?;
        report.delta = delta_compact::compact(&mut self.delta.table, READING_ORDER).await?;
        delta_compact::vacuum(&mut self.delta.table, FILE_RETENTION, Pass::Real).await?;
        Ok(report)
    }
}

fn trade_spec() -> Result<TableSpec, LakeError> {
    let columns = vec![
        Column::required("symbol", PrimitiveType::String),
        Column::required("price", PrimitiveType::Double),
        Column::required("size", PrimitiveType::Long),
        Column::required("ts", PrimitiveType::Timestamptz),
        Column::required("trade_id", PrimitiveType::String),
        Column::required("source", PrimitiveType::String),
        Column::required("kafka_partition", PrimitiveType::Int),
        Column::required("kafka_offset", PrimitiveType::Long),
        Column::required("ingested_at", PrimitiveType::Timestamptz),
    ];
    Ok(TableSpec::new(table_name(TRADES)?, columns).partitioned_by("ts", Transform::Month))
}

fn dead_letter_spec() -> Result<TableSpec, LakeError> {
    let columns = vec![
        Column::required("topic", PrimitiveType::String),
        Column::required("kafka_partition", PrimitiveType::Int),
        Column::required("kafka_offset", PrimitiveType::Long),
        Column::optional("key", PrimitiveType::Binary),
        Column::optional("value", PrimitiveType::Binary),
        Column::required("error", PrimitiveType::String),
        Column::optional("source", PrimitiveType::String),
        Column::optional("source_line", PrimitiveType::Long),
        Column::required("failed_at", PrimitiveType::Timestamptz),
    ];
    Ok(TableSpec::new(table_name(DEAD_LETTERS)?, columns))
}

fn arrow_schema(spec: Result<TableSpec, LakeError>) -> SchemaRef {
    let schema = spec.and_then(|spec| spec.schema()).expect("the specification is constant, and a test makes it");
    schema_to_arrow_schema(&schema).expect("all its types have one in Arrow").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_are_those_of_the_tables() {
        assert_eq!(BronzeTables::trade_schema().fields().len(), 9);
        assert_eq!(BronzeTables::dead_letter_schema().fields().len(), 9);
    }
}
