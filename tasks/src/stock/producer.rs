//! The stock producer: trades from the source to the topic.
//!
//! A replay is produced exactly once, whenever it is killed: a start finds the source's last line in every partition and
//! goes on behind it. Its end is noted in the lake database; a source that is noted as completed is not produced again.

use super::alpaca;
use super::codec::{TRADE_SCHEMA, value_subject};
use super::encoder::TradeEncoder;
use super::mock::MockMarket;
use super::outlet::Outlet;
use super::playback::Playback;
use super::resume::{ProducedLines, produced_lines};
use super::{PARTITIONS, source_id};
use crate::pg::stream;
use crate::registry::RegistryClient;
use crate::runtime::patience::{patiently, report_trouble};
use crate::runtime::service::{Report, Worker};
use crate::runtime::{EventLog, LogError, NewRecord, Offsets, TopicDescription, TopicSpec};
use crate::settings::{ReplaySpeed, StockSettings, TradeSource};
use anyhow::Context as _;
use chrono::Utc;
use replay::Trade;
use sqlx::PgPool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the mock source makes trades; at low rates most ticks make none.
const MOCK_TICK: Duration = Duration::from_millis(50);
/// Trades made in one tick at most: after a pause of the log the mock does not catch up in one leap.
const MOCK_BATCH_MAX: u64 = 50_000;
/// What a mock trade's `source` says.
const MOCK_NAME: &str = "mock";

/// What the producer works with.
pub struct Producer {
    /// The frame around it.
    pub worker: Worker,
    /// Where records go.
    pub log: Arc<dyn EventLog>,
    /// The lake database.
    pub pool: PgPool,
    /// Where the schema is registered.
    pub registry: RegistryClient,
    /// What is produced.
    pub settings: StockSettings,
}

impl Producer {
    /// Produces until the source ends or the worker is stopped.
    ///
    /// # Errors
    /// When the log, the registry, the database or the source's file fails; a restart goes on where this one ended.
    pub async fn run(self) -> anyhow::Result<()> {
        let topic = self.settings.topic.clone();
        report_trouble(self.worker.clone(), self.log.clone());
        let Some(description) = self.topic_there().await? else { return Ok(()) };
        let partitions = description.partitions.len();
        let schema_id = self.registry.register(&value_subject(&topic), TRADE_SCHEMA).await?;
        let encoder = TradeEncoder::new(schema_id, i32::try_from(partitions).unwrap_or(i32::MAX));
        let outlet = Outlet::new(self.log.clone(), &topic, self.worker.clone());
        let produced = match self.settings.source.clone() {
            TradeSource::Mock { rate, seed } => {
                let market = MockMarket::new(seed, &self.settings.symbols, Utc::now().timestamp_micros());
                self.mock(market, rate, encoder, outlet).await
            }
            TradeSource::Alpaca(settings) => {
                alpaca::produce(&settings, &self.settings.symbols, &self.worker, encoder, outlet).await
            }
            TradeSource::Replay { path, speed } => {
                let start = ReplayStart { path, speed, encoder, outlet, ends: description.end_offsets() };
                self.replay(start).await
            }
        };
        let closed = self.log.close().await;
        produced.and(closed.map_err(anyhow::Error::from))
    }

    /// What is known of the topic, which is made when it is not there; nothing when the worker is stopped before.
    async fn topic_there(&self) -> Result<Option<TopicDescription>, LogError> {
        let topic = &self.settings.topic;
        let spec = TopicSpec::new(topic, PARTITIONS);
        if patiently(&self.worker, || self.log.create_topic(&spec)).await?.is_none() {
            return Ok(None);
        }
        patiently(&self.worker, || self.log.describe_settled(topic)).await
    }

    async fn mock(
        &self,
        mut market: MockMarket,
        rate: f64,
        mut encoder: TradeEncoder,
        mut outlet: Outlet,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut tick = tokio::time::interval(MOCK_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut made = 0_u64;
        loop {
            tokio::select! {
                () = self.worker.stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            self.worker.meter.turn();
            let wanted = (started.elapsed().as_secs_f64() * rate) as u64;
            let missing = wanted.saturating_sub(made);
            made = wanted;
            let batch = (0..missing.min(MOCK_BATCH_MAX)).map(|_| mock_record(&mut market, &mut encoder)).collect();
            outlet.send(batch).await?;
        }
        Ok(outlet.settle().await?)
    }

    async fn replay(&self, start: ReplayStart) -> anyhow::Result<()> {
        let ReplayStart { path, speed, encoder, mut outlet, ends } = start;
        let source_id = hashed(&path).await?;
        let noted = stream::begin(&self.pool, &self.settings.topic, &source_id, &ends)
            .await
            .context("cannot note the start of the replay")?;
        if let Some(end_offsets) = noted.end_offsets {
            tracing::info!(source.id = source_id, "this file has been replayed to its end already");
            self.worker.reporter.send(Report::Completed { end_offsets });
            return Ok(());
        }
        let produced = self.produced(&source_id, (&noted.start_offsets, &ends)).await?;
        let partitions = ends.len();
        let playback = Playback { path, source_id: source_id.clone(), produced, partitions, encoder };
        let mut player = playback.start(speed);
        loop {
            let due = tokio::select! {
                () = self.worker.stop.cancelled() => return Ok(outlet.settle().await?),
                due = player.next() => due?,
            };
            self.worker.meter.turn();
            match due {
                Some(records) => outlet.send(records).await?,
                None => break,
            }
        }
        outlet.settle().await?;
        self.complete(&source_id).await
    }

    async fn produced(&self, source_id: &str, range: (&Offsets, &Offsets)) -> anyhow::Result<ProducedLines> {
        let produced = produced_lines(&*self.log, &self.settings.topic, source_id, range).await?;
        if !produced.is_empty() {
            tracing::info!(source.id = source_id, lines = ?produced, "the replay goes on behind these lines");
        }
        Ok(produced)
    }

    async fn complete(&self, source_id: &str) -> anyhow::Result<()> {
        let topic = &self.settings.topic;
        let ends = self.log.describe(topic).await?.end_offsets();
        let end_offsets =
            stream::complete(&self.pool, topic, source_id, &ends).await.context("cannot note the end of the replay")?;
        tracing::info!(source.id = source_id, ?end_offsets, "the replay is complete");
        self.worker.reporter.send(Report::Completed { end_offsets });
        Ok(())
    }
}

struct ReplayStart {
    path: PathBuf,
    speed: ReplaySpeed,
    encoder: TradeEncoder,
    outlet: Outlet,
    ends: Offsets,
}

async fn hashed(path: &Path) -> anyhow::Result<String> {
    source_id(path).await.with_context(|| format!("cannot read the replay file {}", path.display()))
}

fn mock_record(market: &mut MockMarket, encoder: &mut TradeEncoder) -> NewRecord {
    let made = market.next();
    let now = Utc::now();
    let trade = Trade {
        symbol: &made.symbol,
        price: made.price,
        size: made.size,
        ts_micros: now.timestamp_micros(),
        trade_id: &made.trade_id,
    };
    encoder.trade(&trade, MOCK_NAME, None, now.timestamp_millis())
}
