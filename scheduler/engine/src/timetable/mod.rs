//! When a schedule's runs are due: the next one after what was made last.
//!
//! Pure functions of the schedule, its bounds and an instant. An answer is always later than the last interval's start,
//! so a schedule can not repeat itself, and none is an answer: nothing is due any more. Nothing here fails: what has no
//! answer in the calendar, such as a tick after the last year of a cron, is none.

pub mod cron;
mod data_interval;
#[cfg(test)]
mod fixtures;
mod plain;
pub mod range;
pub mod trigger;
mod wall;

use dag::{Catchup, CronTimetable, DeltaTimetable, Schedule};
use model::Timestamp;

use crate::state::DueRun;
use cron::CronClock;
use plain::Step;
use trigger::CronTrigger;

/// The bounds of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restriction {
    /// The first date that counts.
    pub earliest: Option<Timestamp>,
    /// The last date that counts, included.
    pub latest: Option<Timestamp>,
    /// Whether missed runs are made up.
    pub catchup: Catchup,
}

impl Restriction {
    /// Whether a date is not after the last one that counts.
    fn allows(&self, date: Timestamp) -> bool {
        self.latest.is_none_or(|latest| date <= latest)
    }
}

/// The run that follows the last one; none when the schedule has no further run.
#[must_use]
pub fn next(
    schedule: &Schedule,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    match schedule {
        Schedule::Never => None,
        Schedule::Once => plain::once(restriction, last_interval, now),
        Schedule::Continuous => plain::continuous(restriction, last_interval, now),
        Schedule::Delta { every, months, timetable } => {
            let step = Step::of(*every, *months)?;
            match timetable {
                DeltaTimetable::DeltaTrigger => plain::delta_trigger(step, restriction, last_interval, now),
                DeltaTimetable::DeltaDataInterval => plain::delta(step, restriction, last_interval, now),
            }
        }
        Schedule::Cron { expressions, timezone, timetable: CronTimetable::CronTrigger, ticks } => {
            CronTrigger::new(expressions, *timezone).with_options(*ticks).next(restriction, last_interval, now)
        }
        Schedule::Cron { expressions, timezone, timetable: CronTimetable::CronDataInterval, .. } => {
            data_interval::next(&CronClock::new(expressions, *timezone), restriction, last_interval, now)
        }
    }
}

/// The data that a run by hand covers.
#[must_use]
pub fn manual_interval(schedule: &Schedule, run_after: Timestamp) -> (Timestamp, Timestamp) {
    match schedule {
        Schedule::Never
        | Schedule::Once
        | Schedule::Continuous
        | Schedule::Delta { timetable: DeltaTimetable::DeltaTrigger, .. } => (run_after, run_after),
        Schedule::Delta { every, months, timetable: DeltaTimetable::DeltaDataInterval } => {
            let start = Step::of(*every, *months).and_then(|step| step.before(run_after));
            (start.unwrap_or(run_after), run_after)
        }
        Schedule::Cron { expressions, timezone, timetable: CronTimetable::CronTrigger, ticks } => {
            CronTrigger::new(expressions, *timezone).with_options(*ticks).manual_interval(run_after)
        }
        Schedule::Cron { expressions, timezone, timetable: CronTimetable::CronDataInterval, .. } => {
            data_interval::manual(&CronClock::new(expressions, *timezone), run_after)
        }
    }
}

/// A run that covers an interval and is due at its end.
fn run_over(start: Timestamp, end: Timestamp) -> DueRun {
    DueRun { logical_date: start, start, end, run_after: end }
}
