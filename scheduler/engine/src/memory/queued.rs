//! Attempts that were given to a worker and have not begun, in the order in which they are taken back.
//!
//! Always: every instance that is `queued` has one entry, at the instant at which its attempt has been queued for as long as it
//! may be, and nothing else has one; what begins or ends leaves. So there are never more entries than queued attempts, and an
//! attempt costs a step down a tree when it is given out and one when it begins. `Engine::verify` counts them anew; after a crash
//! they follow from the rows.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use model::{TaskState, TiKey, Timestamp};

use super::{
    Engine,
    instance::{Core, Place},
};

/// Attempts that have not begun, by when they are taken back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Queued {
    until: BTreeSet<(Timestamp, TiKey)>,
}

impl Queued {
    pub fn insert(&mut self, until: Timestamp, key: TiKey) {
        self.until.insert((until, key));
    }

    pub fn remove(&mut self, until: Timestamp, key: TiKey) {
        self.until.remove(&(until, key));
    }

    pub fn earliest(&self) -> Option<Timestamp> {
        self.until.first().map(|(until, _)| *until)
    }

    /// The next one that has been queued for too long.
    pub fn first_due(&self, now: Timestamp) -> Option<TiKey> {
        self.until.first().filter(|(until, _)| *until <= now).map(|(_, key)| *key)
    }
}

impl Engine {
    /// How long an attempt of a task may be queued.
    pub(crate) fn queued_timeout(&self, place: Place) -> std::time::Duration {
        let own = self.known_run(place.run).def.task(place.task).task_queued_timeout;
        own.unwrap_or(self.settings.task_queued_timeout)
    }

    /// When an attempt that has not begun is taken back; none of one that has, and when that lies beyond the calendar's end. A new
    /// leader gives it all of its time: its worker may have begun or ended it, and have had nobody to tell.
    pub(crate) fn queued_until(&self, place: Place, core: Core) -> Option<Timestamp> {
        let since = core.queued_at.filter(|_| core.state == TaskState::Queued)?.max(self.loaded_at);
        since.checked_add_signed(TimeDelta::from_std(self.queued_timeout(place)).ok()?)
    }

    /// An instance has become another: its entry moves along.
    pub(super) fn account_queued(&mut self, place: Place, before: Core, after: Core) {
        let (was, is) = (self.queued_until(place, before), self.queued_until(place, after));
        if was == is {
            return;
        }
        let key = self.key_of(place);
        if let Some(until) = was {
            self.queued.remove(until, key);
        }
        if let Some(until) = is {
            self.queued.insert(until, key);
        }
    }

    /// Every entry, from the instances.
    pub(crate) fn count_queued(&self) -> Queued {
        let mut counted = Queued::default();
        for run in self.runs.values() {
            for place in run.all().map(|at| run.place(at)) {
                if let Some(until) = self.queued_until(place, run.instance(place.at()).core) {
                    counted.insert(until, run.key_of(place.at()));
                }
            }
        }
        counted
    }
}
