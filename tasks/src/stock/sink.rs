//! The bronze sink: from the topic into the Iceberg and the Delta table, each record once.
//!
//! The offsets are the tables' own: a sink reads from the lower of both watermarks on, each table drops what it has, and
//! a commit is refused when somebody else has moved a watermark meanwhile. After any failure of a commit what was decoded
//! is thrown away and read again from where the tables stand, so no outcome of a commit has to be guessed. Reading waits
//! while a commit runs: memory holds one batch, whatever the topic holds.

use super::batch::Pending;
use super::codec::TradeDecoder;
use super::settled::FiniteSource;
use super::{PARTITIONS, header, source_id};
use crate::lake::bronze::{BronzeTables, Watermarks};
use crate::lake::{Lake, LakeError};
use crate::registry::RegistryClient;
use crate::runtime::patience::{patiently, report_trouble};
use crate::runtime::service::Worker;
use crate::runtime::{EventLog, FetchRequest, LogError, Offsets, Record, TopicSpec};
use crate::settings::SinkLimits;
use anyhow::Context as _;
use chrono::Utc;
use replay::StockSource;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// One answer of the log; some ten thousand records.
const FETCH_BYTES: usize = 4 << 20;
/// How long a fetch waits for something new.
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// How often the lag is looked up while records stream in.
const LAG_EVERY: Duration = Duration::from_secs(1);
/// How often an idle sink looks whether the log answers, and whether the topic has got partitions.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(5);
/// The first commit of an endless source comes early, so that whoever started it sees rows soon.
const FIRST_COMMIT_AFTER: Duration = Duration::from_secs(1);
/// Commits of an endless source between two compactions: some ten minutes of a slow stream.
const COMMITS_PER_COMPACTION: u32 = 60;
/// A stop must be over in ten seconds; what is not committed by then is read again by the next start.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(8);
/// Failures in a row after which the sink ends and leaves the restart to its supervisor.
const FAILURES_MAX: u32 = 8;
/// The pause after a failure; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What the sink works with.
pub struct Sink {
    /// The frame around it.
    pub worker: Worker,
    /// Where records come from.
    pub log: Arc<dyn EventLog>,
    /// Where they go.
    pub lake: Lake,
    /// Where schemas are looked up.
    pub registry: RegistryClient,
    /// When it commits.
    pub limits: SinkLimits,
    /// The topic.
    pub topic: String,
    /// What the topic is filled from.
    pub source: StockSource,
}

impl Sink {
    /// Runs until the worker is stopped.
    ///
    /// # Errors
    /// When the topic cannot be made, or commits or reads fail again and again.
    pub async fn run(self) -> anyhow::Result<()> {
        report_trouble(self.worker.clone(), self.log.clone());
        let spec = TopicSpec::new(&self.topic, PARTITIONS);
        if patiently(&self.worker, || self.log.create_topic(&spec)).await?.is_none() {
            return Ok(());
        }
        let finite = match &self.source {
            StockSource::Mock | StockSource::Alpaca => None,
            StockSource::Replay(path) => {
                let id =
                    source_id(path).await.with_context(|| format!("cannot read the replay file {}", path.display()))?;
                Some(FiniteSource::new(&self.topic, id, self.worker.replica))
            }
        };
        let tables = BronzeTables::open_topic(&self.lake, &self.topic).await?;
        let mut running = Running {
            decoder: TradeDecoder::new(self.registry.clone()),
            tables,
            positions: Offsets::new(),
            committed: Offsets::new(),
            pending: Pending::new(),
            finite,
            commits: 0,
            commits_at_compaction: 0,
            looked_at: None,
            sink: self,
        };
        running.run().await
    }
}

/// Why the sink could not go on for the moment.
#[derive(Debug, thiserror::Error)]
enum SinkError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    #[error("cannot put rows together: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("cannot look up whether the source is complete: {0}")]
    Completion(#[from] sqlx::Error),
}

/// Whether there is anything to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restarted {
    /// The positions are the tables' own.
    Reading,
    /// The worker was stopped while it waited for the log.
    Stopped,
}

struct Running {
    sink: Sink,
    decoder: TradeDecoder,
    tables: BronzeTables,
    /// The offset to read next of each partition.
    positions: Offsets,
    /// What both tables have.
    committed: Offsets,
    pending: Pending,
    finite: Option<FiniteSource>,
    commits: u32,
    commits_at_compaction: u32,
    looked_at: Option<Instant>,
}

impl Running {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut failures = 0;
        let mut pause = FIRST_PAUSE;
        let stop = self.sink.worker.stop.clone();
        loop {
            let commits_before = self.commits;
            let Err(error) = self.stream().await else { return Ok(()) };
            if self.commits > commits_before {
                (failures, pause) = (0, FIRST_PAUSE);
            }
            failures += 1;
            if stop.is_cancelled() {
                return Err(error.into());
            }
            if failures > FAILURES_MAX {
                return Err(anyhow::Error::from(error).context(format!("gave up after {failures} failures in a row")));
            }
            self.sink.worker.failed(&error);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => pause *= 2,
            }
        }
    }

    /// Streams from where the tables stand until the stop or a failure.
    async fn stream(&mut self) -> Result<(), SinkError> {
        let stop = self.sink.worker.stop.clone();
        if self.restart().await? == Restarted::Stopped {
            return Ok(());
        }
        loop {
            self.sink.worker.meter.turn();
            let fetched = tokio::select! {
                () = stop.cancelled() => break,
                fetched = self.fetch() => fetched?,
            };
            let idle = fetched.is_empty();
            self.take_in(fetched).await?;
            if self.is_due() || (idle && self.is_at_the_end().await?) {
                self.commit().await?;
            }
            if idle {
                tokio::select! {
                    () = stop.cancelled() => break,
                    rested = self.rest() => rested?,
                }
            } else {
                self.look_around(LAG_EVERY).await?;
            }
        }
        match timeout(LAST_COMMIT_TIMEOUT, self.commit()).await {
            Ok(committed) => committed,
            Err(_) => {
                tracing::warn!("the last commit was not done in time; the next start reads its records again");
                Ok(())
            }
        }
    }

    /// Forgets what is not committed and takes the tables' own positions.
    async fn restart(&mut self) -> Result<Restarted, SinkError> {
        self.pending = Pending::new();
        self.tables = BronzeTables::open_topic(&self.sink.lake, &self.sink.topic).await?;
        let watermarks = self.tables.watermarks().await?;
        let asked = patiently(&self.sink.worker, || self.sink.log.describe(&self.sink.topic)).await?;
        let Some(description) = asked else { return Ok(Restarted::Stopped) };
        let replica = self.sink.worker.replica;
        let owned = description.partitions.iter().filter(|p| replica.owns(p.partition));
        self.positions = owned.map(|p| (p.partition, lower(&watermarks, p.partition))).collect();
        self.committed = self.positions.clone();
        tracing::info!(positions = ?self.positions, "reading from the tables' watermarks on");
        Ok(Restarted::Reading)
    }

    async fn fetch(&self) -> Result<Vec<Record>, LogError> {
        let due_in = self.due_at().map(|at| at.saturating_duration_since(Instant::now()));
        let request = FetchRequest {
            topic: &self.sink.topic,
            positions: &self.positions,
            bytes_max: FETCH_BYTES,
            wait_max: due_in.map_or(FETCH_WAIT, |due_in| due_in.min(FETCH_WAIT)),
        };
        self.sink.log.fetch(request).await
    }

    async fn take_in(&mut self, records: Vec<Record>) -> Result<(), SinkError> {
        let now = Utc::now();
        self.sink.worker.meter.add_records(records.len() as u64);
        for record in records {
            let position = self.positions.entry(record.partition).or_default();
            if record.offset > *position && *position > 0 {
                let (partition, from, to) = (record.partition, *position, record.offset);
                tracing::warn!(partition, from, to, "offsets are missing in the topic; their records are gone");
            }
            *position = record.offset + 1;
            if let Some(reason) = record.headers.text(header::ERROR) {
                self.pending.dead_letter(&self.sink.topic, &record, reason, now);
                continue;
            }
            match self.decoder.decode(record.value.as_deref()).await? {
                Ok(trade) => self.pending.trade(&record, &trade, now)?,
                Err(fault) => self.pending.dead_letter(&self.sink.topic, &record, &fault.to_string(), now),
            }
        }
        Ok(())
    }

    fn due_at(&self) -> Option<Instant> {
        let never_committed = self.finite.is_none() && self.commits == 0 && !self.sink.worker.meter.is_ready();
        let age = self.sink.limits.age_max;
        let age = if never_committed { age.min(FIRST_COMMIT_AFTER) } else { age };
        self.pending.since().map(|since| since + age)
    }

    fn is_due(&self) -> bool {
        let limits = &self.sink.limits;
        self.pending.rows() >= limits.rows_max
            || self.pending.bytes() >= limits.bytes_max
            || self.due_at().is_some_and(|at| at <= Instant::now())
    }

    /// Whether a finite source is complete and everything of it was read: its last rows need not wait.
    async fn is_at_the_end(&mut self) -> Result<bool, SinkError> {
        if self.pending.rows() == 0 || self.sink.worker.meter.is_ready() {
            return Ok(false);
        }
        match &mut self.finite {
            Some(finite) => Ok(finite.reached(self.sink.lake.pool(), &self.positions).await?),
            None => Ok(false),
        }
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        if self.pending.rows() == 0 {
            return Ok(());
        }
        let pending = std::mem::replace(&mut self.pending, Pending::new());
        let (rows, dead_rows) = (pending.rows(), pending.dead_rows());
        let batch = pending.into_batch()?;
        let started = Instant::now();
        self.tables.commit(&batch).await?;
        self.commits += 1;
        self.committed.extend(&batch.next_offsets);
        let meter = &self.sink.worker.meter;
        meter.add_dead_letters(dead_rows as u64);
        meter.committed(&batch.next_offsets);
        let millis = started.elapsed().as_millis();
        tracing::info!(rows, dead_letters = dead_rows, millis, offsets = ?batch.next_offsets, "committed");
        if self.finite.is_none() {
            self.sink.worker.ready();
        }
        Ok(())
    }

    /// What is done while nothing comes in: saying that the sink is ready, and compaction.
    async fn rest(&mut self) -> Result<(), SinkError> {
        self.sink.worker.meter.set_lag(self.pending.rows() as u64);
        self.look_around(LOOK_AROUND_EVERY).await?;
        if !self.sink.worker.meter.is_ready() {
            let pool = self.sink.lake.pool();
            let caught_up = match &mut self.finite {
                Some(finite) => finite.reached(pool, &self.committed).await?,
                None => self.committed.values().any(|next| *next > 0),
            };
            if !caught_up {
                return Ok(());
            }
            if self.finite.is_some() {
                self.compact().await?;
            }
            self.sink.worker.ready();
        } else if self.commits - self.commits_at_compaction >= COMMITS_PER_COMPACTION {
            self.compact().await?;
        }
        Ok(())
    }

    async fn compact(&mut self) -> Result<(), SinkError> {
        self.commits_at_compaction = self.commits;
        if !self.sink.worker.replica.is_first() {
            return Ok(());
        }
        match self.tables.compact().await {
            Ok(report) => tracing::info!(?report, "compacted"),
            Err(LakeError::Conflict { table }) => {
                tracing::info!(table, "compaction gave way to a commit; it is tried again later");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Looks up the lag, and whether the topic has got partitions. A log that is away is asked again later.
    async fn look_around(&mut self, every: Duration) -> Result<(), SinkError> {
        if self.looked_at.is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        let description = match self.sink.log.describe(&self.sink.topic).await {
            Ok(description) => description,
            Err(error) if error.is_passing() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for partition in description.partitions.iter().map(|known| known.partition) {
            if self.sink.worker.replica.owns(partition) && !self.positions.contains_key(&partition) {
                tracing::info!(partition, "the topic has got a partition");
                self.positions.insert(partition, 0);
                self.committed.insert(partition, 0);
            }
        }
        let ends = description.end_offsets();
        let behind = |(partition, next): (&i32, &i64)| ends.get(partition).map_or(0, |end| (end - next).max(0));
        let lag: i64 = self.committed.iter().map(behind).sum();
        self.sink.worker.meter.set_lag(lag.unsigned_abs());
        Ok(())
    }
}

/// Where a partition has to be read from, so that both tables get all of it.
fn lower(watermarks: &Watermarks, partition: i32) -> i64 {
    let of = |table: &Offsets| table.get(&partition).copied().unwrap_or(0);
    of(&watermarks.iceberg).min(of(&watermarks.delta))
}
