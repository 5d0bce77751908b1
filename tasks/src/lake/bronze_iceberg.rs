//! The Iceberg side of bronze: trades, dead letters and the watermark change in one PostgreSQL transaction.
//!
//! What always holds: the watermark moves only from the value that the rows were filtered by. A sink that was slower than
//! another one finds it moved, filters again, and so writes nothing twice.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use iceberg::{spec::DataFile, table::Table};
use sqlx::PgConnection;

use super::{
    Lake,
    bronze::TRADES,
    error::{Doing, LakeError},
    offsets::{Marks, rows_from, steps},
    swap::{self, Change, Commit},
    tables::TableSpec,
    write::{delete_files, write_batches},
};
use crate::pg::watermark::{self, Feed, Step};

/// How often a commit begins anew because other sinks moved the watermark.
const ATTEMPTS_MAX: u32 = 50;
/// The summary's copy of the watermark, for people and for other engines; PostgreSQL's row is the truth.
const SUMMARY_KEY: &str = "next-offsets";

/// The Iceberg tables, as far as this process has seen them.
pub(crate) struct IcebergStream {
    lake: Lake,
    topic: String,
    trades: Table,
    dead_letters: Table,
    marks: Marks,
}

/// Rows for both tables.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Trades.
    pub(crate) trades: &'a [RecordBatch],
    /// Dead letters.
    pub(crate) dead_letters: &'a [RecordBatch],
}

/// Files of both tables that no commit names yet.
struct Files {
    trades: Vec<DataFile>,
    dead_letters: Vec<DataFile>,
}

/// The watermark's part of a commit.
struct Advance<'a> {
    feed: Feed<'a>,
    steps: BTreeMap<i32, Step>,
}

#[async_trait]
impl swap::Rows for Advance<'_> {
    async fn write(&self, connection: &mut PgConnection) -> Result<(), LakeError> {
        let made = watermark::advance(connection, self.feed, &self.steps).await.doing("moving the watermark")?;
        if made == self.steps.len() { Ok(()) } else { Err(LakeError::Conflict { table: self.feed.table.to_owned() }) }
    }
}

impl IcebergStream {
    /// Opens the tables, making those that are missing.
    pub(crate) async fn open(
        lake: &Lake,
        topic: &str,
        trades: &TableSpec,
        dead_letters: &TableSpec,
    ) -> Result<Self, LakeError> {
        let mut stream = Self {
            lake: lake.clone(),
            topic: topic.to_owned(),
            trades: lake.ensure_table(trades).await?,
            dead_letters: lake.ensure_table(dead_letters).await?,
            marks: Marks::new(),
        };
        stream.refresh().await?;
        Ok(stream)
    }

    /// The next offset to read, per partition, as stored now.
    pub(crate) async fn latest_marks(&self) -> Result<Marks, LakeError> {
        watermark::read(self.lake.pool(), self.feed()).await.doing("reading the watermark")
    }

    /// Looks at the tables and the watermark again.
    pub(crate) async fn refresh(&mut self) -> Result<(), LakeError> {
        self.marks = self.latest_marks().await?;
        self.trades = self.lake.table(self.trades.identifier()).await?;
        self.dead_letters = self.lake.table(self.dead_letters.identifier()).await?;
        Ok(())
    }

    /// Looks again when others have committed: what a sink that rested saw last may be forgotten and swept by now.
    async fn follow(&mut self) -> Result<(), LakeError> {
        let mut moved = false;
        for table in [&self.trades, &self.dead_letters] {
            moved |= self.lake.location(table.identifier()).await?.as_deref() != table.metadata_location();
        }
        if moved { self.refresh().await } else { Ok(()) }
    }

    /// Adds the rows that the tables do not have yet, and moves the watermark; answers how many trades and dead letters.
    pub(crate) async fn append(&mut self, rows: Rows<'_>, next: &Marks) -> Result<(usize, usize), LakeError> {
        self.follow().await?;
        for _ in 0..ATTEMPTS_MAX {
            let steps = steps(&self.marks, next);
            if steps.is_empty() {
                return Ok((0, 0));
            }
            let trades = rows_from(rows.trades, &self.marks)?;
            let dead_letters = rows_from(rows.dead_letters, &self.marks)?;
            let written = (count(&trades), count(&dead_letters));
            let files = self.write(trades, dead_letters).await?;
            match self.publish(&files, steps).await {
                Ok(()) => return Ok(written),
                Err(LakeError::Conflict { .. }) => {
                    self.delete(&files).await;
                    self.refresh().await?;
                }
                // The commit may be there: its files must stay.
                Err(error @ LakeError::Unknown { .. }) => return Err(error),
                Err(error) => {
                    self.delete(&files).await;
                    return Err(error);
                }
            }
        }
        Err(LakeError::Conflict { table: TRADES.to_owned() })
    }

    fn feed(&self) -> Feed<'_> {
        Feed { table: TRADES, topic: &self.topic }
    }

    async fn write(&self, trades: Vec<RecordBatch>, dead_letters: Vec<RecordBatch>) -> Result<Files, LakeError> {
        let trades = write_batches(&self.trades, trades).await?;
        match write_batches(&self.dead_letters, dead_letters).await {
            Ok(dead_letters) => Ok(Files { trades, dead_letters }),
            Err(error) => {
                delete_files(self.lake.file_io(), &trades).await;
                Err(error)
            }
        }
    }

    async fn publish(&mut self, files: &Files, steps: BTreeMap<i32, Step>) -> Result<(), LakeError> {
        let mut marks = self.marks.clone();
        marks.extend(steps.iter().map(|(partition, step)| (*partition, step.to)));
        let copy = serde_json::to_string(&marks).doing("writing down the watermark")?;
        let trades = Change::append(&self.trades, files.trades.clone()).with_summary(SUMMARY_KEY, copy);
        let dead_letters = Change::append(&self.dead_letters, files.dead_letters.clone());
        let commit = Commit::new(&self.lake).change(trades).change(dead_letters);
        let changed = commit.publish_with(&Advance { feed: self.feed(), steps }).await?;
        for table in changed {
            if table.identifier() == self.trades.identifier() {
                self.trades = table;
            } else {
                self.dead_letters = table;
            }
        }
        self.marks = marks;
        Ok(())
    }

    async fn delete(&self, files: &Files) {
        delete_files(self.lake.file_io(), &files.trades).await;
        delete_files(self.lake.file_io(), &files.dead_letters).await;
    }
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}
