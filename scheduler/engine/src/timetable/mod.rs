//! When a schedule's runs are due: the next one after what was made last.
//!
//! Pure functions of the schedule, its bounds and an instant. An answer always lies after the last interval, so a
//! schedule can not repeat itself, and none is an answer: nothing is due any more.

pub mod cron;

use chrono::TimeDelta;
use dag::{Catchup, Schedule};
use model::Timestamp;

use crate::state::DueRun;

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

/// The run that follows the last one; none when the schedule has no further run.
#[must_use]
pub fn next(
    schedule: &Schedule,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let due = match schedule {
        Schedule::Never => None,
        Schedule::Once => once(restriction, last_interval),
        Schedule::Continuous => continuous(restriction, last_interval, now),
        Schedule::Delta { every } => delta(TimeDelta::from_std(*every).ok()?, restriction, last_interval, now),
        Schedule::Cron { expressions, timezone, timetable } => cron::next(
            &cron::Crons { expressions, timezone: *timezone, timetable: *timetable },
            restriction,
            last_interval,
            now,
        ),
    }?;
    restriction.latest.is_none_or(|latest| due.start <= latest).then_some(due)
}

/// The data that a run by hand covers.
#[must_use]
pub fn manual_interval(schedule: &Schedule, run_after: Timestamp) -> (Timestamp, Timestamp) {
    match schedule {
        Schedule::Never | Schedule::Once | Schedule::Continuous => (run_after, run_after),
        Schedule::Delta { every } => {
            let start = TimeDelta::from_std(*every).ok().and_then(|every| run_after.checked_sub_signed(every));
            (start.unwrap_or(run_after), run_after)
        }
        Schedule::Cron { expressions, timezone, timetable } => {
            cron::manual_interval(&cron::Crons { expressions, timezone: *timezone, timetable: *timetable }, run_after)
        }
    }
}

fn once(restriction: &Restriction, last_interval: Option<(Timestamp, Timestamp)>) -> Option<DueRun> {
    let at = restriction.earliest.filter(|_| last_interval.is_none())?;
    Some(DueRun { logical_date: at, start: at, end: at, run_after: at })
}

fn continuous(
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let earliest = restriction.earliest?;
    let start = last_interval.map_or(earliest, |(_, end)| end.max(earliest));
    let end = now.max(start);
    Some(DueRun { logical_date: start, start, end, run_after: end })
}

fn delta(
    every: TimeDelta,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    if every <= TimeDelta::zero() {
        return None;
    }
    let bound = match restriction.catchup {
        Catchup::All => restriction.earliest,
        Catchup::Latest => {
            let newest = floor_to_epoch(now, every)? - every;
            Some(restriction.earliest.map_or(newest, |earliest| earliest.max(newest)))
        }
    };
    let start = match last_interval {
        Some((_, end)) => bound.map_or(end, |bound| end.max(bound)),
        None => bound?,
    };
    let end = start.checked_add_signed(every)?;
    Some(DueRun { logical_date: start, start, end, run_after: end })
}

/// The last multiple of `every` since the epoch that is not after `at`.
fn floor_to_epoch(at: Timestamp, every: TimeDelta) -> Option<Timestamp> {
    let every = every.num_microseconds()?;
    Timestamp::from_timestamp_micros(at.timestamp_micros().div_euclid(every) * every)
}
