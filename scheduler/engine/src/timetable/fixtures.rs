//! Short ways to write instants and clocks in the tests of timetables.

use chrono_tz::Tz;
use model::Timestamp;

use super::cron::CronClock;

/// An instant from its text.
pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The clock of one cron expression.
pub(super) fn clock(cron: &str, zone: Tz) -> CronClock {
    CronClock::new(&[cron.to_owned()], zone)
}
