//! What the sink has decoded and not committed: Arrow batches under construction, and how far they reach.
//!
//! Every record that was taken in is in exactly one of both tables' batches, and `next_offsets` is behind all of them.

use super::codec::TradeMessage;
use super::header;
use crate::lake::bronze::{BronzeTables, SinkBatch};
use crate::runtime::{Offsets, Record};
use arrow::array::{
    ArrayRef, BinaryBuilder, Float64Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use tokio::time::Instant;

/// Rows of one Arrow batch: large enough to work in columns, small enough that growing builders waste little.
const ROWS_PER_BATCH: usize = 32_768;
/// What a trade's numbers take.
const TRADE_FIXED_BYTES: usize = 64;

/// The batch that is being collected.
pub(super) struct Pending {
    trades: TradeColumns,
    dead_letters: DeadLetterColumns,
    full: Vec<RecordBatch>,
    next_offsets: Offsets,
    rows: usize,
    dead_rows: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            trades: TradeColumns::default(),
            dead_letters: DeadLetterColumns::default(),
            full: Vec::new(),
            next_offsets: Offsets::new(),
            rows: 0,
            dead_rows: 0,
            bytes: 0,
            since: None,
        }
    }

    /// Takes a trade in.
    pub(super) fn trade(
        &mut self,
        record: &Record,
        trade: &TradeMessage<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), ArrowError> {
        self.trades.push(record, trade, now);
        self.bytes += TRADE_FIXED_BYTES + trade.symbol.len() + trade.trade_id.len() + trade.source.len();
        self.took(record);
        if self.trades.rows() >= ROWS_PER_BATCH {
            self.full.push(self.trades.finish()?);
        }
        Ok(())
    }

    /// Puts a record aside, with the reason.
    pub(super) fn dead_letter(&mut self, topic: &str, record: &Record, reason: &str, now: DateTime<Utc>) {
        self.dead_letters.push(topic, record, reason, now);
        self.bytes += record.size() + reason.len() + topic.len();
        self.dead_rows += 1;
        self.took(record);
    }

    fn took(&mut self, record: &Record) {
        self.rows += 1;
        self.next_offsets.insert(record.partition, record.offset + 1);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Number of records taken in.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of them that were put aside.
    pub(super) fn dead_rows(&self) -> usize {
        self.dead_rows
    }

    /// About what they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first was taken in.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Everything as the tables take it.
    pub(super) fn into_batch(mut self) -> Result<SinkBatch, ArrowError> {
        if self.trades.rows() > 0 {
            self.full.push(self.trades.finish()?);
        }
        let dead_letters = if self.dead_rows > 0 { vec![self.dead_letters.finish()?] } else { Vec::new() };
        Ok(SinkBatch { trades: self.full, dead_letters, next_offsets: self.next_offsets })
    }
}

#[derive(Default)]
struct TradeColumns {
    symbol: StringBuilder,
    price: Float64Builder,
    size: Int64Builder,
    ts: TimestampMicrosecondBuilder,
    trade_id: StringBuilder,
    source: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    ingested_at: TimestampMicrosecondBuilder,
    rows: usize,
}

impl TradeColumns {
    fn rows(&self) -> usize {
        self.rows
    }

    fn push(&mut self, record: &Record, trade: &TradeMessage<'_>, now: DateTime<Utc>) {
        self.symbol.append_value(&trade.symbol);
        self.price.append_value(trade.price);
        self.size.append_value(trade.size);
        self.ts.append_value(trade.ts_micros);
        self.trade_id.append_value(&trade.trade_id);
        self.source.append_value(&trade.source);
        self.partition.append_value(record.partition);
        self.offset.append_value(record.offset);
        self.ingested_at.append_value(now.timestamp_micros());
        self.rows += 1;
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let columns: [ArrayRef; 9] = [
            Arc::new(self.symbol.finish()),
            Arc::new(self.price.finish()),
            Arc::new(self.size.finish()),
            Arc::new(self.ts.finish().with_timezone_utc()),
            Arc::new(self.trade_id.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.ingested_at.finish().with_timezone_utc()),
        ];
        batch_of(BronzeTables::trade_schema(), columns.into())
    }
}

#[derive(Default)]
struct DeadLetterColumns {
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    error: StringBuilder,
    source: StringBuilder,
    source_line: Int64Builder,
    failed_at: TimestampMicrosecondBuilder,
}

impl DeadLetterColumns {
    fn push(&mut self, topic: &str, record: &Record, reason: &str, now: DateTime<Utc>) {
        let line = record.headers.text(header::LINE).and_then(|line| line.parse().ok());
        self.topic.append_value(topic);
        self.partition.append_value(record.partition);
        self.offset.append_value(record.offset);
        self.key.append_option(record.key.as_deref());
        self.value.append_option(record.value.as_deref());
        self.error.append_value(reason);
        self.source.append_option(record.headers.text(header::SOURCE));
        self.source_line.append_option(line);
        self.failed_at.append_value(now.timestamp_micros());
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns: [ArrayRef; 9] = [
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.error.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.source_line.finish()),
            Arc::new(self.failed_at.finish().with_timezone_utc()),
        ];
        batch_of(BronzeTables::dead_letter_schema(), columns.into())
    }
}

/// Puts columns together in the types that the table has for them, such as its way to write "UTC".
fn batch_of(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let columns = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => cast(&column, field.data_type()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns)
}
