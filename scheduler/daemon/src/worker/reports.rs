//! Reports about attempts, kept until the leader has stored them. Ends are on disk as well, so that a worker that is
//! killed after an attempt has ended still reports it when it is started again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use link::FromWorker;
use model::{AttemptEnd, AttemptId};
use serde::{Deserialize, Serialize};

use super::spool::write_whole;

/// Reports that are not acknowledged. There are at most two for each attempt that was assigned.
#[derive(Debug)]
pub(super) struct Reports {
    spool: PathBuf,
    next: u64,
    pending: BTreeMap<u64, Report>,
}

#[derive(Debug)]
enum Report {
    Started { attempt: AttemptId, at: Instant },
    Ended { attempt: AttemptId, end: Box<AttemptEnd> },
}

/// A report on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Spooled {
    attempt: AttemptId,
    end: AttemptEnd,
}

impl Reports {
    /// Takes up the reports that an earlier worker on this directory could not deliver.
    pub(super) fn open(log_dir: &Path) -> io::Result<Self> {
        let spool = log_dir.join("spool");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&spool)?;
        let mut reports = Self { spool, next: 1, pending: BTreeMap::new() };
        for entry in fs::read_dir(&reports.spool)? {
            let path = entry?.path();
            match fs::read(&path).map(|bytes| serde_json::from_slice::<Spooled>(&bytes)) {
                Ok(Ok(Spooled { attempt, end })) => {
                    reports.add(Report::Ended { attempt, end: Box::new(end) });
                }
                // Half a file: the worker died while it wrote. The attempt counts as lost.
                Ok(Err(_)) => fs::remove_file(&path)?,
                Err(error) => return Err(error),
            }
        }
        Ok(reports)
    }

    /// An attempt has started.
    pub(super) fn started(&mut self, attempt: AttemptId, at: Instant) -> FromWorker {
        self.add(Report::Started { attempt, at })
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, attempt: AttemptId, end: AttemptEnd) -> FromWorker {
        let spooled = Spooled { attempt, end };
        if let Err(error) = write_whole(&self.path(spooled.attempt), &spooled) {
            // The report is still in memory; only a death of this process before the leader's answer would lose it.
            tracing::warn!(%error, attempt.id = %attempt, "an attempt's end could not be written to disk");
        }
        self.add(Report::Ended { attempt, end: Box::new(spooled.end) })
    }

    /// The reports up to this number are stored.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        let rest = self.pending.split_off(&seq.saturating_add(1));
        for report in std::mem::replace(&mut self.pending, rest).into_values() {
            if let Report::Ended { attempt, .. } = report {
                // A file that stays is reported once more by the next worker, and then ignored.
                let _ = fs::remove_file(self.path(attempt));
            }
        }
    }

    /// All messages that are not acknowledged, in order.
    pub(super) fn messages(&self) -> Vec<FromWorker> {
        self.pending.iter().map(|(seq, report)| report.message(*seq)).collect()
    }

    /// The attempts whose end is not acknowledged.
    pub(super) fn ended_attempts(&self) -> BTreeSet<AttemptId> {
        let attempts = self.pending.values().filter_map(|report| match report {
            Report::Ended { attempt, .. } => Some(*attempt),
            Report::Started { .. } => None,
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

    fn path(&self, attempt: AttemptId) -> PathBuf {
        self.spool.join(format!("{attempt}.json"))
    }
}

impl Report {
    fn message(&self, seq: u64) -> FromWorker {
        match self {
            Self::Started { attempt, at } => {
                let ago_micros = i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX);
                FromWorker::Started { seq, attempt: *attempt, ago_micros }
            }
            Self::Ended { attempt, end } => FromWorker::Ended { seq, attempt: *attempt, end: end.clone() },
        }
    }
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
        assert!(reports.is_empty() && Reports::open(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn half_a_report_is_no_report() {
        let dir = tempfile::tempdir().unwrap();
        drop(Reports::open(dir.path()).unwrap());
        fs::write(dir.path().join("spool/x.json"), "{\"attempt\":").unwrap();
        assert!(Reports::open(dir.path()).unwrap().is_empty());
    }
}
