//! Reports about attempts, kept until the leader has stored them. Ends are on disk as well, so that a worker that is
//! killed after an attempt has ended still reports it when it is started again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::Instant,
};

use link::FromWorker;
use model::{AttemptEnd, AttemptId};
use tokio::task::spawn_blocking;

use super::ends::Ends;

/// Reports that are not acknowledged. There are at most three for each attempt that was assigned.
#[derive(Debug)]
pub(super) struct Reports {
    ends: Ends,
    next: u64,
    pending: BTreeMap<u64, Report>,
}

#[derive(Debug)]
enum Report {
    Started { attempt: AttemptId, at: Instant },
    Deferred { attempt: AttemptId, at: Instant, end: Box<AttemptEnd> },
    Ended { attempt: AttemptId, end: Box<AttemptEnd> },
}

impl Reports {
    /// Takes up the reports that an earlier worker on this directory could not deliver.
    pub(super) fn open(log_dir: &Path) -> io::Result<Self> {
        let (ends, found) = Ends::open(log_dir)?;
        let mut reports = Self { ends, next: 1, pending: BTreeMap::new() };
        for (attempt, end) in found {
            reports.add(Report::Ended { attempt, end: Box::new(end) });
        }
        Ok(reports)
    }

    /// Where attempts write their ends down.
    pub(super) fn ends(&self) -> Ends {
        self.ends.clone()
    }

    /// An attempt has started.
    pub(super) fn started(&mut self, attempt: AttemptId, at: Instant) -> FromWorker {
        self.add(Report::Started { attempt, at })
    }

    /// An attempt that began then waits without a slot.
    pub(super) fn deferred(&mut self, attempt: AttemptId, at: Instant, end: AttemptEnd) -> FromWorker {
        self.add(Report::Deferred { attempt, at, end: Box::new(end) })
    }

    /// An attempt has ended. What it has not written down itself is written now.
    pub(super) fn ended(&mut self, attempt: AttemptId, end: AttemptEnd) -> FromWorker {
        // That it was handed back its attempt did not know.
        if end.handed_back || !self.ends.has(attempt) {
            self.ends.add(attempt, &end);
        }
        self.add(Report::Ended { attempt, end: Box::new(end) })
    }

    /// The reports up to this number are stored.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        let rest = self.pending.split_off(&seq.saturating_add(1));
        for report in std::mem::replace(&mut self.pending, rest).into_values() {
            if let Report::Ended { attempt, .. } = report {
                self.ends.stored(attempt);
            }
        }
    }

    /// Tidies up on disk when it is time to, on a thread that may block.
    pub(super) fn tidy_when_due(&self) {
        if !self.ends.is_due() {
            return;
        }
        let ends = self.ends();
        spawn_blocking(move || {
            if let Err(error) = ends.tidy() {
                tracing::warn!(%error, "the ends of attempts on disk could not be tidied");
            }
        });
    }

    /// All messages that are not acknowledged, in order.
    pub(super) fn messages(&self) -> Vec<FromWorker> {
        self.pending.iter().map(|(seq, report)| report.message(*seq)).collect()
    }

    /// The attempts whose end is not acknowledged.
    pub(super) fn ended_attempts(&self) -> BTreeSet<AttemptId> {
        let attempts = self.pending.values().filter_map(|report| match report {
            Report::Ended { attempt, .. } => Some(*attempt),
            Report::Started { .. } | Report::Deferred { .. } => None,
        });
        attempts.collect()
    }

    /// How many are not acknowledged.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn add(&mut self, report: Report) -> FromWorker {
        let seq = self.next;
        self.next += 1;
        let message = report.message(seq);
        self.pending.insert(seq, report);
        message
    }
}

impl Report {
    fn message(&self, seq: u64) -> FromWorker {
        match self {
            Self::Started { attempt, at } => {
                FromWorker::Started { seq, attempt: *attempt, ago_micros: micros_since(*at) }
            }
            Self::Deferred { attempt, at, end } => {
                let ago_micros = micros_since(*at);
                FromWorker::Deferred { seq, attempt: *attempt, ago_micros, end: end.clone() }
            }
            Self::Ended { attempt, end } => FromWorker::Ended { seq, attempt: *attempt, end: end.clone() },
        }
    }
}

fn micros_since(at: Instant) -> i64 {
    i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use model::EndKind;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_end_survives_the_worker_until_it_is_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = AttemptId(Uuid::new_v4());
        let mut reports = Reports::open(dir.path()).unwrap();
        reports.started(attempt, Instant::now());
        reports.ended(attempt, AttemptEnd::new(EndKind::Success, ""));
        drop(reports);
        let mut reports = Reports::open(dir.path()).unwrap();
        assert_eq!(reports.ended_attempts(), BTreeSet::from([attempt]));
        reports.acknowledged(0);
        assert_eq!(reports.messages().len(), 1);
        reports.acknowledged(1);
        assert!(reports.is_empty() && reports.ends().is_due());
        reports.ends().tidy().unwrap();
        assert!(Reports::open(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn an_end_that_was_handed_back_after_its_attempt_wrote_it_down_is_so_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = AttemptId(Uuid::new_v4());
        let mut reports = Reports::open(dir.path()).unwrap();
        reports.ends().add(attempt, &AttemptEnd::new(EndKind::Lost, "x"));
        reports.ended(attempt, AttemptEnd::handed_back("x"));
        let reports = Reports::open(dir.path()).unwrap();
        let FromWorker::Ended { end, .. } = reports.messages().remove(0) else { panic!("it has ended") };
        assert!(end.handed_back);
    }
}
