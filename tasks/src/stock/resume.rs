//! Where a replay goes on: the last line of it that each partition holds, read from the log itself.
//!
//! The log is the only witness of what was stored before a kill. It is read backwards from its end, no further than where
//! it stood before the source's first record.

use super::header;
use crate::runtime::{EventLog, FetchRequest, LogError, Offsets, Record};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first step backwards, in offsets; as a rule the last record is the source's own.
const FIRST_STEP: i64 = 256;
/// The widest step: steps grow while only strangers' records are found.
const STEP_MAX: i64 = 65_536;
const FETCH_BYTES: usize = 4 << 20;
/// Records that are known to exist come at once; on Kafka the last offsets may hold none.
const FETCH_WAIT: Duration = Duration::from_secs(2);

/// The lines of a source that were produced: in each partition all up to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProducedLines(BTreeMap<i32, u64>);

impl ProducedLines {
    /// Whether a line is in its partition already.
    pub(super) fn contains(&self, partition: i32, line: u64) -> bool {
        self.0.get(&partition).is_some_and(|last| line <= *last)
    }

    /// The line up to which every partition has all of its own; lines before it need not be looked at.
    pub(super) fn everywhere(&self, partitions: usize) -> u64 {
        if self.0.len() < partitions { 0 } else { self.0.values().copied().min().unwrap_or(0) }
    }

    /// Whether nothing was produced yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Finds the last line of a source in each partition, between two offsets of each.
pub(super) async fn produced_lines(
    log: &dyn EventLog,
    topic: &str,
    source_id: &str,
    range: (&Offsets, &Offsets),
) -> Result<ProducedLines, LogError> {
    let (starts, ends) = range;
    let mut lines = BTreeMap::new();
    for (&partition, &end) in ends {
        let start = starts.get(&partition).copied().unwrap_or(0);
        let reading = Backwards { log, topic, partition };
        if let Some(line) = reading.last_line(source_id, start, end).await? {
            lines.insert(partition, line);
        }
    }
    Ok(ProducedLines(lines))
}

struct Backwards<'a> {
    log: &'a dyn EventLog,
    topic: &'a str,
    partition: i32,
}

impl Backwards<'_> {
    async fn last_line(&self, source_id: &str, start: i64, end: i64) -> Result<Option<u64>, LogError> {
        let mut before = end;
        let mut step = FIRST_STEP;
        while before > start {
            let from = (before - step).max(start);
            if let Some(line) = self.last_line_between(source_id, from, before).await? {
                return Ok(Some(line));
            }
            before = from;
            step = (step * 4).min(STEP_MAX);
        }
        Ok(None)
    }

    async fn last_line_between(&self, source_id: &str, from: i64, to: i64) -> Result<Option<u64>, LogError> {
        let mut found = None;
        let mut positions = Offsets::from([(self.partition, from)]);
        while positions[&self.partition] < to {
            let request =
                FetchRequest { topic: self.topic, positions: &positions, bytes_max: FETCH_BYTES, wait_max: FETCH_WAIT };
            let records = self.log.fetch(request).await?;
            let Some(last) = records.last().map(|record| record.offset) else { break };
            let ours = records.iter().filter(|record| record.offset < to);
            found = ours.filter_map(|record| line_of(record, source_id)).last().or(found);
            positions.insert(self.partition, last + 1);
        }
        Ok(found)
    }
}

fn line_of(record: &Record, source_id: &str) -> Option<u64> {
    if record.headers.text(header::SOURCE) != Some(source_id) {
        return None;
    }
    record.headers.text(header::LINE)?.parse().ok()
}
