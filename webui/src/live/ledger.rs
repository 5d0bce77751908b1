//! When each subject has changed last, in a count of this process.
//!
//! What always holds here: whatever is not known is taken as changed. The memory is bounded: when it is full it is forgotten as a
//! whole, and who has looked at something before that looks again.

use std::{collections::BTreeMap, fmt};

use model::{DagId, RunKey};
use store::{Changes, Runs};

use super::subject::Subject;

/// DAGs and runs that are remembered, at some 100 bytes each.
const KNOWN_MAX: usize = 20_000;

/// How far a process had heard of changes at some time. Those of two processes can not be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Tells processes apart.
    pub server: u64,
    /// The count.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.server, self.seq)
    }
}

impl Position {
    /// Reads what was written; what makes no sense is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (server, seq) = text.split_once('-')?;
        Some(Self { server: u64::from_str_radix(server, 16).ok()?, seq: seq.parse().ok()? })
    }
}

/// The last changes.
#[derive(Debug, Default)]
pub struct Ledger {
    seq: u64,
    /// When anything may have changed.
    anything: u64,
    /// When pages of everything were told.
    everything: u64,
    services: u64,
    dags: BTreeMap<String, OfDag>,
    runs: BTreeMap<RunKey, u64>,
}

#[derive(Debug, Default)]
struct OfDag {
    /// When it, or one of its runs, has changed.
    noted: u64,
    /// When pages of the DAG were told.
    told: u64,
    /// When any of its runs may have changed.
    whole: u64,
}

impl Ledger {
    /// The count.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Notes what has changed, for runs and services; [`Self::tell_everything`] and [`Self::tell_dag`] follow when they are due.
    pub fn note(&mut self, changes: &Changes) {
        self.seq += 1;
        if changes.is_anything() {
            self.forget();
            return;
        }
        if changes.has_services() {
            self.services = self.seq;
        }
        for (dag, runs) in changes.dags() {
            let of_dag = self.dags.entry(dag.to_string()).or_default();
            of_dag.noted = self.seq;
            match runs {
                Runs::These(runs) => self.runs.extend(runs.iter().map(|run| (*run, self.seq))),
                Runs::Any => of_dag.whole = self.seq,
            }
        }
        self.bound();
    }

    /// Pages of everything are told now.
    pub fn tell_everything(&mut self) {
        self.seq += 1;
        self.everything = self.seq;
    }

    /// Pages of a DAG are told now.
    pub fn tell_dag(&mut self, dag: &DagId) {
        self.seq += 1;
        self.dags.entry(dag.to_string()).or_default().told = self.seq;
        self.bound();
    }

    fn bound(&mut self) {
        if self.dags.len() + self.runs.len() > KNOWN_MAX {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.anything = self.seq;
        self.dags.clear();
        self.runs.clear();
    }

    /// When one of some DAGs has changed last, for who may see these alone.
    pub fn last_of<'a>(&self, dags: impl IntoIterator<Item = &'a str>) -> u64 {
        if self.dags.is_empty() {
            return self.anything;
        }
        let noted = dags.into_iter().filter_map(|dag| self.dags.get(dag)).map(|of_dag| of_dag.noted);
        noted.max().unwrap_or(0).max(self.anything)
    }

    /// When a subject has changed last.
    pub fn last(&self, subject: &Subject) -> u64 {
        let of_dag = |dag: &DagId, when: fn(&OfDag) -> u64| self.dags.get(dag.as_str()).map_or(0, when);
        let own = match subject {
            Subject::Everything => self.everything,
            Subject::Services => self.services,
            Subject::Dag(dag) => of_dag(dag, |of| of.told),
            Subject::Run(dag, run) => of_dag(dag, |of| of.whole).max(self.runs.get(run).copied().unwrap_or(0)),
        };
        own.max(self.anything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(name: &str) -> DagId {
        DagId::new(name).unwrap()
    }

    #[test]
    fn a_change_is_one_of_its_run_and_of_no_other() {
        let mut ledger = Ledger::default();
        ledger.note(&Changes::runs(dag("etl"), [RunKey(1)]));
        let (one, two) = (Subject::Run(dag("etl"), RunKey(1)), Subject::Run(dag("etl"), RunKey(2)));
        let other = Subject::Run(dag("other"), RunKey(3));
        assert_eq!([&one, &two, &other, &Subject::Services].map(|subject| ledger.last(subject)), [1, 0, 0, 0]);
        ledger.note(&Changes::dag(dag("etl")));
        assert_eq!([&one, &two, &other].map(|subject| ledger.last(subject)), [2, 2, 0]);
        ledger.tell_dag(&dag("etl"));
        assert_eq!((ledger.last(&Subject::Dag(dag("etl"))), ledger.last(&Subject::Dag(dag("other")))), (3, 0));
        assert_eq!((ledger.last_of(["etl", "more"]), ledger.last_of(["other"])), (2, 0));
        ledger.note(&Changes::anything());
        assert_eq!(ledger.last_of(["other"]), 4);
        assert!([one, two, other, Subject::Services, Subject::Everything].iter().all(|one| ledger.last(one) == 4));
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let mut ledger = Ledger::default();
        for run in 0..=i64::try_from(KNOWN_MAX).unwrap() {
            ledger.note(&Changes::runs(dag("etl"), [RunKey(run)]));
        }
        let last = ledger.last(&Subject::Run(dag("other"), RunKey(-1)));
        assert!(last > 0 && last <= ledger.seq(), "{last}");
        assert!(ledger.runs.len() < KNOWN_MAX);
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = Position { server: u64::MAX, seq: 12 };
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        assert_eq!(Position::parse("x"), None);
    }
}
