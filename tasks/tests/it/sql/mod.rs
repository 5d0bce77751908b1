//! SQL on a real lake: statements of all kinds, and the stock pipeline's models over the data that they ship with.

mod checks;
mod models;
mod statements;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use futures::TryStreamExt;
use windlass_tasks::lake::bronze::{BronzeTables, SinkBatch};
use windlass_tasks::lake::{Lake, LakeSettings, S3Settings, Warehouse, table_name};
use windlass_tasks::sql::{Outcome, SqlEngine, SqlError, parse};

use crate::support::Database;

/// 2026-03-02 00:00 UTC, in microseconds.
const ARRIVAL: i64 = 1_772_409_600_000_000;

/// A lake of its own, and an engine on it.
struct TestSql {
    lake: Lake,
    engine: SqlEngine,
    _folder: tempfile::TempDir,
    _database: Database,
}

impl TestSql {
    async fn new() -> Self {
        let database = Database::create().await;
        let folder = tempfile::tempdir().unwrap();
        let location = format!("file://{}", folder.path().display());
        let warehouse = Warehouse::parse(&location, S3Settings::default()).unwrap();
        let lake = Lake::connect(&LakeSettings { database_url: database.url.clone(), warehouse }).await.unwrap();
        Self { engine: SqlEngine::new(lake.clone()).unwrap(), lake, _folder: folder, _database: database }
    }

    /// Runs a script; answers the rows that each changing statement changed.
    async fn run(&self, sql: &str) -> Result<Vec<u64>, SqlError> {
        let mut changed = Vec::new();
        for statement in parse(sql)? {
            match self.engine.run(&statement).await? {
                Outcome::Changed(rows) => changed.push(rows),
                Outcome::Ready => {}
                Outcome::Rows(rows) => {
                    let rows: Result<Vec<_>, _> = rows.try_collect().await;
                    rows.unwrap();
                }
            }
        }
        Ok(changed)
    }

    /// The rows of a query as CSV without its header.
    async fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.engine, sql).await
    }

    /// The message of a script that fails.
    async fn refusal(&self, sql: &str) -> String {
        self.run(sql).await.expect_err(sql).to_string()
    }

    async fn snapshots(&self, table: &str) -> usize {
        let table = self.lake.table(&table_name(table).unwrap()).await.unwrap();
        table.metadata().snapshots().count()
    }
}

/// The rows of a query as CSV without its header.
pub async fn rows(engine: &SqlEngine, sql: &str) -> Vec<String> {
    let statement = parse(sql).unwrap().remove(0);
    let Outcome::Rows(rows) = engine.run(&statement).await.unwrap() else { panic!("not a query: {sql}") };
    let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    batches.iter().flat_map(lines).collect()
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let text = |column: &ArrayRef, row: usize| match column.as_any().downcast_ref::<Float64Array>() {
        Some(doubles) if !arrow::array::Array::is_null(doubles, row) => format!("{:?}", doubles.value(row)),
        _ => arrow::util::display::array_value_to_string(column, row).unwrap(),
    };
    let line = |row| batch.columns().iter().map(|column| text(column, row)).collect::<Vec<_>>().join(",");
    (0..batch.num_rows()).map(line).collect()
}

/// A file of the shipped DAGs.
fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../dags").join(path)
}

/// A trade as the topic carries it.
#[derive(Clone, Debug)]
struct Trade {
    symbol: String,
    price: f64,
    size: i64,
    ts: i64,
    trade_id: String,
}

impl Trade {
    /// A trade at so many seconds past 2026-03-02.
    fn new(trade_id: &str, second: i64, price: f64) -> Self {
        let ts = ARRIVAL + second * 1_000_000;
        Self { symbol: "ACME".to_owned(), price, size: 10, ts, trade_id: trade_id.to_owned() }
    }

    fn sized(self, size: i64) -> Self {
        Self { size, ..self }
    }
}

/// What arrives at an offset.
enum Arrival {
    Trade(Trade),
    DeadLetter,
    /// The offset stays empty.
    Nothing,
}

/// The bronze tables and how far each partition of the topic has got.
struct Topic {
    tables: BronzeTables,
    ends: BTreeMap<i32, i64>,
}

impl Topic {
    async fn open(lake: &Lake) -> Self {
        Self { tables: BronzeTables::open(lake).await.unwrap(), ends: BTreeMap::new() }
    }

    /// Commits what arrives in a partition as one batch of the sink.
    async fn arrive(&mut self, partition: i32, arrivals: Vec<Arrival>) {
        let first = self.ends.get(&partition).copied().unwrap_or(0);
        let (mut trades, mut dead) = (Vec::new(), Vec::new());
        for (offset, arrival) in (first..).zip(&arrivals) {
            match arrival {
                Arrival::Trade(trade) => trades.push((offset, trade)),
                Arrival::DeadLetter => dead.push(offset),
                Arrival::Nothing => {}
            }
        }
        let next = first + i64::try_from(arrivals.len()).unwrap();
        self.ends.insert(partition, next);
        let batch = SinkBatch {
            trades: vec![trade_batch(partition, &trades)],
            dead_letters: vec![dead_letter_batch(partition, &dead)],
            next_offsets: BTreeMap::from([(partition, next)]),
        };
        self.tables.commit(&batch).await.unwrap();
    }
}

fn trade_batch(partition: i32, trades: &[(i64, &Trade)]) -> RecordBatch {
    let count = trades.len();
    let zoned =
        |micros: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("+00:00")) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(trades.iter().map(|(_, trade)| &trade.symbol))),
        Arc::new(Float64Array::from_iter_values(trades.iter().map(|(_, trade)| trade.price))),
        Arc::new(Int64Array::from_iter_values(trades.iter().map(|(_, trade)| trade.size))),
        zoned(trades.iter().map(|(_, trade)| trade.ts).collect()),
        Arc::new(StringArray::from_iter_values(trades.iter().map(|(_, trade)| &trade.trade_id))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n("test", count))),
        Arc::new(Int32Array::from_value(partition, count)),
        Arc::new(Int64Array::from_iter_values(trades.iter().map(|(offset, _)| *offset))),
        zoned(vec![ARRIVAL; count]),
    ];
    RecordBatch::try_new(BronzeTables::trade_schema(), columns).unwrap()
}

fn dead_letter_batch(partition: i32, offsets: &[i64]) -> RecordBatch {
    let count = offsets.len();
    let bytes = || Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n(b"junk", count))) as ArrayRef;
    let schema = BronzeTables::dead_letter_schema();
    let text =
        |text: &'static str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        text("stock_trades"),
        Arc::new(Int32Array::from_value(partition, count)),
        Arc::new(Int64Array::from(offsets.to_vec())),
        arrow::compute::cast(&bytes(), schema.field(3).data_type()).unwrap(),
        arrow::compute::cast(&bytes(), schema.field(4).data_type()).unwrap(),
        text("not Avro"),
        text("test"),
        Arc::new(Int64Array::from_value(1, count)),
        Arc::new(TimestampMicrosecondArray::from(vec![ARRIVAL; count]).with_timezone("+00:00")),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}
