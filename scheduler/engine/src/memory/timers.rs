//! Instants at which something is to be looked at again.
//!
//! A timer is a hint: whoever handles one looks whether it still applies, so nothing has to be taken back. It names its
//! subject by what the store knows, so that a subject that has gone, or has moved to another version, is not found, or is
//! found where it is now.
//!
//! Always: a running run whose DAG sets a `dagrun_timeout` has a timer at its end, an instance that waits for an instant in a
//! running run has one at that instant, a deadline that is pending has one at its instant, and a DAG that may make or start a run has one at its next. The converse does not
//! hold: a timer may have nothing behind it any more. After a crash they are set anew as runs come into memory.

use std::collections::BTreeSet;

use model::{DagId, RunKey, TiKey, Timestamp};

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A DAG: a run of its schedule is due, or one of its runs may start.
    Dag(DagId),
    /// A run that may have taken too long.
    RunTimeout(RunKey),
    /// A deadline of a run, by its position.
    Deadline(RunKey, i16),
    /// An instance whose pause is over.
    Wake(TiKey),
    /// A pool whose rate limit lets an attempt start again.
    Pool(String),
}

/// All timers, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    pub fn set(&mut self, at: Timestamp, timer: Timer) {
        self.at.insert((at, timer));
    }

    pub fn has(&self, at: Timestamp, timer: &Timer) -> bool {
        self.at.contains(&(at, timer.clone()))
    }

    pub fn earliest(&self) -> Option<Timestamp> {
        self.at.first().map(|(at, _)| *at)
    }

    /// Takes the next timer that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let due = self.at.first().is_some_and(|(at, _)| *at <= now);
        due.then(|| self.at.pop_first()).flatten().map(|(_, timer)| timer)
    }
}
