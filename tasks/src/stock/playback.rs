//! Reads a replay file on a thread of its own and gives its records out when they are due.
//!
//! Lines that the topic has are passed over here, before they cost anything. At most a few chunks are ahead of the
//! producer, whatever the file's size.

use super::encoder::{Origin, TradeEncoder};
use super::resume::ProducedLines;
use crate::runtime::NewRecord;
use crate::settings::ReplaySpeed;
use chrono::Utc;
use replay::{Row, SourceError, TradeReader};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Rows that are made and sent at once: about half a MiB.
const CHUNK_ROWS: usize = 4_096;
/// Chunks ready ahead of the producer.
const CHUNKS_AHEAD: usize = 2;
/// Rows due within this time go out together.
const COALESCE: Duration = Duration::from_millis(20);
/// What a trade's `source` says.
const NAME: &str = "replay";

/// A record and its event's time.
struct Timed {
    ts_micros: i64,
    record: NewRecord,
}

/// What is read, from where on, and as which records.
pub(super) struct Playback {
    /// The file.
    pub(super) path: PathBuf,
    /// Its id.
    pub(super) source_id: String,
    /// What the topic has of it.
    pub(super) produced: ProducedLines,
    /// The topic's partitions.
    pub(super) partitions: usize,
    /// Makes the records.
    pub(super) encoder: TradeEncoder,
}

/// The records of a file, when they are due.
pub(super) struct Player {
    chunks: mpsc::Receiver<Result<Vec<Timed>, SourceError>>,
    ready: VecDeque<Timed>,
    clock: Clock,
}

impl Playback {
    /// Starts reading.
    pub(super) fn start(self, speed: ReplaySpeed) -> Player {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.read(&sender) {
                // When nobody listens the producer has ended, and nobody is left to tell.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Player { chunks, ready: VecDeque::new(), clock: Clock { speed, origin: None } }
    }

    fn read(mut self, sender: &mpsc::Sender<Result<Vec<Timed>, SourceError>>) -> Result<(), SourceError> {
        let mut reader = TradeReader::open(&self.path)?;
        let first_line = self.produced.everywhere(self.partitions) + 1;
        let mut chunk = Vec::with_capacity(CHUNK_ROWS);
        let mut ts_micros = 0;
        while let Some(row) = reader.next_row()? {
            if row.line < first_line {
                continue;
            }
            let timed = self.record(&row, ts_micros);
            ts_micros = timed.ts_micros;
            if self.produced.contains(timed.record.partition, row.line) {
                continue;
            }
            chunk.push(timed);
            if chunk.len() == CHUNK_ROWS {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_ROWS));
                if sender.blocking_send(Ok(full)).is_err() {
                    return Ok(());
                }
            }
        }
        // As above: a producer that has ended needs no last chunk.
        let _ = sender.blocking_send(Ok(chunk));
        Ok(())
    }

    /// A row as a record. It carries the time of its making, since logs keep records by that; a row without a readable
    /// time is due with the row before it.
    fn record(&mut self, row: &Row<'_>, previous_ts_micros: i64) -> Timed {
        let origin = Origin { source_id: &self.source_id, line: row.line };
        let time_ms = Utc::now().timestamp_millis();
        match &row.trade {
            Ok(trade) => {
                let record = self.encoder.trade(trade, NAME, Some(origin), time_ms);
                Timed { ts_micros: trade.ts_micros, record }
            }
            Err(fault) => {
                let record = self.encoder.bad_row(row.text, fault, origin, time_ms);
                Timed { ts_micros: previous_ts_micros, record }
            }
        }
    }
}

impl Player {
    /// The records that are due next, after waiting until they are; nothing at the end of the file. Cancelling loses none.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<NewRecord>>, SourceError> {
        while self.ready.is_empty() {
            match self.chunks.recv().await {
                Some(chunk) => self.ready.extend(chunk?),
                None => return Ok(None),
            }
        }
        if let Some(first) = self.ready.front() {
            let due = self.clock.due(first.ts_micros);
            tokio::time::sleep_until(due).await;
        }
        let until = Instant::now() + COALESCE;
        let due = self.ready.iter().take_while(|timed| self.clock.due_after_start(timed.ts_micros) <= until).count();
        Ok(Some(self.ready.drain(..due.max(1)).map(|timed| timed.record).collect()))
    }
}

/// When events are due: the first at once, the others as far apart as they were, divided by the speed.
struct Clock {
    speed: ReplaySpeed,
    origin: Option<(Instant, i64)>,
}

impl Clock {
    fn due(&mut self, ts_micros: i64) -> Instant {
        self.origin.get_or_insert_with(|| (Instant::now(), ts_micros));
        self.due_after_start(ts_micros)
    }

    fn due_after_start(&self, ts_micros: i64) -> Instant {
        let Some((start, first_micros)) = self.origin else { return Instant::now() };
        match self.speed {
            ReplaySpeed::Unlimited => start,
            ReplaySpeed::Factor(factor) => {
                let secs = ts_micros.saturating_sub(first_micros).max(0) as f64 / 1e6 / factor;
                // A wait that no clock can hold is one of centuries.
                start + Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX).min(Duration::from_secs(1 << 32))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_as_far_apart_as_they_were_divided_by_the_speed() {
        let mut clock = Clock { speed: ReplaySpeed::Factor(2.0), origin: None };
        let first = clock.due(1_000_000);
        assert_eq!(clock.due(5_000_000) - first, Duration::from_secs(2));
        assert_eq!(clock.due(0), first, "what is late is due at once");
        assert!(clock.due(i64::MAX) > first + Duration::from_secs(1_000_000));
    }

    #[tokio::test]
    async fn without_a_limit_all_is_due_at_once() {
        let mut clock = Clock { speed: ReplaySpeed::Unlimited, origin: None };
        let first = clock.due(1_000_000);
        assert_eq!(clock.due(i64::MAX), first);
    }
}
