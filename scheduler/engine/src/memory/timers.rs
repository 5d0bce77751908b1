//! Instants at which something is to be looked at again.
//!
//! A timer is a hint: whoever handles one looks whether it still applies, so nothing has to be taken back.

use std::collections::BTreeSet;

use model::{DagId, RunKey, Timestamp};

use super::instance::Place;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A DAG: a run of its schedule is due, or one of its runs may start.
    Dag(DagId),
    /// A run that may have taken too long.
    RunTimeout(RunKey),
    /// An instance whose pause is over.
    Wake(Place),
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

    pub fn earliest(&self) -> Option<Timestamp> {
        self.at.first().map(|(at, _)| *at)
    }

    /// Takes the next timer that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let due = self.at.first().is_some_and(|(at, _)| *at <= now);
        due.then(|| self.at.pop_first()).flatten().map(|(_, timer)| timer)
    }
}
