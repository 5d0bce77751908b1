//! The leader's clock: the database's at takeover plus our own monotonic time, never going back.

use std::time::Instant;

use chrono::{SubsecRound, TimeDelta};
use model::Timestamp;

/// Microseconds: what PostgreSQL keeps.
const STORED_DIGITS: u16 = 6;

/// Tells the instant of a turn.
#[derive(Debug)]
pub struct Clock {
    database_at_takeover: Timestamp,
    takeover: Instant,
    newest: Timestamp,
}

impl Clock {
    /// Starts at the database's clock, which stands at or after the last committed turn.
    #[must_use]
    pub fn new(database_now: Timestamp) -> Self {
        Self { database_at_takeover: database_now, takeover: Instant::now(), newest: database_now }
    }

    /// Now: never before an instant that it has told already.
    pub fn now(&mut self) -> Timestamp {
        let passed = TimeDelta::from_std(self.takeover.elapsed()).unwrap_or(TimeDelta::MAX);
        let now = self.database_at_takeover.checked_add_signed(passed).unwrap_or(self.newest);
        self.newest = self.newest.max(now.trunc_subsecs(STORED_DIGITS));
        self.newest
    }

    /// How long from now until an instant; zero when it has passed.
    pub fn until(&mut self, at: Timestamp) -> std::time::Duration {
        (at - self.now()).to_std().unwrap_or_default()
    }
}
