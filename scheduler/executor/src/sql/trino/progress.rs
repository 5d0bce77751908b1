//! Says in the log how a query gets on: its address at once, then now and then, and what it cost at the end.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::page::{QueryId, Stats, Warning};
use crate::log::Log;

/// Short queries need no word in between.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// A long one must not fill its log.
const EVERY: Duration = Duration::from_secs(10);
/// So many different warnings of one query are shown.
const WARNINGS_MAX: usize = 20;

/// The teller of one query.
#[derive(Debug)]
pub(super) struct Progress {
    log: Log,
    began: Instant,
    due: Instant,
    said: String,
    warned: BTreeSet<String>,
}

impl Progress {
    /// From the query's start, or from where another attempt left it.
    pub(super) fn begin(log: &Log) -> Self {
        let now = Instant::now();
        Self { log: log.clone(), began: now, due: now + FIRST_AFTER, said: String::new(), warned: BTreeSet::new() }
    }

    /// Trino has named the query.
    pub(super) fn named(&self, query: &QueryId, info_uri: Option<&str>) {
        match info_uri {
            Some(uri) => self.log.system(&format!("Query {query} on Trino: {uri}")),
            None => self.log.system(&format!("Query {query} on Trino")),
        }
    }

    /// An answer says how far it is.
    pub(super) fn at(&mut self, stats: &Stats) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        let line = line(stats);
        if line != self.said {
            self.log.system(&line);
            self.said = line;
        }
    }

    /// An answer carries warnings, the same ones again and again.
    pub(super) fn warned(&mut self, warnings: &[Warning]) {
        for warning in warnings {
            if self.warned.len() < WARNINGS_MAX && self.warned.insert(warning.message.clone()) {
                self.log.system(&format!("Trino warns: {}", warning.message));
            }
        }
    }

    /// The end, with what the statement gave.
    pub(super) fn done(&self, rows: u64, stats: &Stats) {
        self.log.system(&format!("{rows} rows in {} ms", self.began.elapsed().as_millis()));
        self.log.system(&cost(stats));
    }
}

/// `RUNNING: 41 of 212 splits, 3.2 M rows, 1.1 GB`
fn line(stats: &Stats) -> String {
    if stats.total_splits == 0 && stats.processed_rows == 0 {
        return format!("{} for {}", stats.state, seconds(stats.elapsed_time_millis));
    }
    format!(
        "{}: {} of {} splits, {} rows, {}",
        stats.state,
        stats.completed_splits,
        stats.total_splits,
        scaled(stats.processed_rows, &["", " k", " M", " G", " T"]),
        bytes(stats.processed_bytes),
    )
}

fn cost(stats: &Stats) -> String {
    let mut cost = format!(
        "Trino: elapsed {} ({} queued), CPU {}, read {} rows and {}, peak memory {}",
        seconds(stats.elapsed_time_millis),
        seconds(stats.queued_time_millis),
        seconds(stats.cpu_time_millis),
        scaled(stats.processed_rows, &["", " k", " M", " G", " T"]),
        bytes(stats.processed_bytes),
        bytes(stats.peak_memory_bytes),
    );
    if stats.spilled_bytes > 0 {
        cost.push_str(&format!(", spilled {}", bytes(stats.spilled_bytes)));
    }
    cost
}

fn bytes(count: u64) -> String {
    scaled(count, &[" B", " kB", " MB", " GB", " TB"])
}

fn seconds(millis: u64) -> String {
    if millis < 1_000 { format!("{millis} ms") } else { format!("{}.{} s", millis / 1_000, millis % 1_000 / 100) }
}

/// Three digits at most, in powers of a thousand.
fn scaled(count: u64, units: &[&str]) -> String {
    let mut divisor = 1;
    let mut at = 0;
    while count / divisor >= 1_000 && at + 1 < units.len() {
        divisor *= 1_000;
        at += 1;
    }
    let whole = count / divisor;
    let tenth = count % divisor * 10 / divisor;
    if at == 0 || whole >= 100 || tenth == 0 {
        format!("{whole}{}", units[at])
    } else {
        format!("{whole}.{tenth}{}", units[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_state_splits_rows_and_bytes() {
        let stats = Stats {
            state: "RUNNING".into(),
            total_splits: 212,
            completed_splits: 41,
            processed_rows: 3_240_000,
            processed_bytes: 1_100_000_000,
            ..Stats::default()
        };
        assert_eq!(line(&stats), "RUNNING: 41 of 212 splits, 3.2 M rows, 1.1 GB");
        let queued = Stats { state: "QUEUED".into(), elapsed_time_millis: 12_345, ..Stats::default() };
        assert_eq!(line(&queued), "QUEUED for 12.3 s");
    }

    #[test]
    fn the_cost_is_one_line() {
        let stats = Stats {
            elapsed_time_millis: 61_200,
            queued_time_millis: 5,
            cpu_time_millis: 999,
            processed_rows: 43_200,
            processed_bytes: 999,
            peak_memory_bytes: 120_000_000,
            spilled_bytes: 5_000,
            ..Stats::default()
        };
        let expected = "Trino: elapsed 61.2 s (5 ms queued), CPU 999 ms, read 43.2 k rows and 999 B, peak memory 120 MB, \
                        spilled 5 kB";
        assert_eq!(cost(&stats), expected);
    }
}
