//! What happens later in simulated time, in its order.

use std::collections::BTreeMap;

use model::{AttemptEnd, AttemptId, Command, Timestamp, WorkerId};

/// Why a simulation goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Nothing more will happen by itself.
    AtRest,
    /// Its instant has come.
    Until,
    /// It has taken as many turns as it may.
    Turns,
    /// It has made as many runs as it may.
    Runs,
}

/// Something that happens at an instant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Happening {
    /// An attempt begins.
    Starts(WorkerId, AttemptId),
    /// An attempt waits without a slot from now on.
    Defers(WorkerId, AttemptId),
    /// An attempt ends.
    Ends(WorkerId, AttemptId, Box<AttemptEnd>),
    /// Somebody asks for something.
    Asks(Box<Command>),
}

/// Everything that will happen. What comes at one instant comes in the order in which it was put here.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    later: BTreeMap<(Timestamp, u64), Happening>,
    /// Where the end of each attempt stands that has not ended.
    ends: BTreeMap<AttemptId, (Timestamp, u64)>,
    next: u64,
}

impl Happenings {
    pub fn put(&mut self, at: Timestamp, what: Happening) {
        let place = (at, self.next);
        self.next += 1;
        if let Happening::Ends(_, attempt, _) = &what {
            self.ends.insert(*attempt, place);
        }
        self.later.insert(place, what);
    }

    /// Takes back how an attempt would have ended; whether it had not ended yet.
    pub fn forget_end(&mut self, attempt: AttemptId) -> bool {
        let Some(place) = self.ends.remove(&attempt) else { return false };
        self.later.remove(&place).is_some()
    }

    pub fn earliest(&self) -> Option<Timestamp> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next thing that happens by an instant.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<Happening> {
        let first = self.later.first_entry().filter(|entry| entry.key().0 <= now)?;
        let happening = first.remove();
        if let Happening::Ends(_, attempt, _) = &happening {
            self.ends.remove(attempt);
        }
        Some(happening)
    }
}
