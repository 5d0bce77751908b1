//! Schedules without ticks: once, one after the other, every so often.

use std::time::Duration;

use chrono::{Months, TimeDelta};
use dag::Catchup;
use model::Timestamp;

use super::{Restriction, run_over};
use crate::state::DueRun;

/// The least by which a run's date is later than the one before it: what PostgreSQL tells apart.
const STEP_MIN: TimeDelta = TimeDelta::microseconds(1);

/// So many dates with months between them are looked at: more than a month in each of the years that a date may have.
const STEPS_MAX: usize = 4_000;

/// How far it is from one date of a duration to the next: months of the calendar first, then what has a fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    months: Months,
    rest: TimeDelta,
}

impl Step {
    /// The step of a schedule; none when it goes nowhere.
    pub(super) fn of(every: Duration, months: u32) -> Option<Self> {
        let rest = TimeDelta::from_std(every).ok()?;
        (months > 0 || rest > TimeDelta::zero()).then_some(Self { months: Months::new(months), rest })
    }

    /// The date after one. A day that its month does not have is the month's last.
    pub(super) fn after(self, at: Timestamp) -> Option<Timestamp> {
        at.checked_add_months(self.months)?.checked_add_signed(self.rest)
    }

    /// The date before one.
    pub(super) fn before(self, at: Timestamp) -> Option<Timestamp> {
        at.checked_sub_months(self.months)?.checked_sub_signed(self.rest)
    }

    /// Its length in microseconds, when it has a fixed one.
    pub(super) fn micros(self) -> Option<i64> {
        self.rest.num_microseconds().filter(|_| self.months == Months::new(0))
    }

    /// The start of the newest stretch that is over: on the grid of the epoch, or with months in steps from the start date.
    fn newest_over(self, earliest: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        if self.micros().is_some() {
            return self.before(floor_to_epoch(now, self.rest)?);
        }
        let Some(earliest) = earliest else { return self.before(now) };
        let dates = std::iter::successors(Some(earliest), |at| self.after(*at)).take(STEPS_MAX);
        let past: Vec<Timestamp> = dates.take_while(|at| *at <= now).collect();
        Some(past.len().checked_sub(2).map_or(earliest, |index| past[index]))
    }
}

/// One run at the start date, or at once when there is none; catchup does not matter.
pub(super) fn once(
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let at = restriction.earliest.unwrap_or(now);
    (last_interval.is_none() && restriction.allows(at)).then(|| run_over(at, at))
}

/// A run from the end of the last one until now. Like Airflow's, it needs a start date.
pub(super) fn continuous(
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let earliest = restriction.earliest?;
    let (start, end) = match last_interval {
        None => (earliest, now.max(earliest)),
        Some((start, end)) => {
            let next = end.max(start.checked_add_signed(STEP_MIN)?);
            // A run in the future is followed by one as long.
            let until = if end > now { next.checked_add_signed(end - start)? } else { now.max(next) };
            (next, until)
        }
    };
    restriction.allows(end).then(|| run_over(start, end))
}

/// A run each so often (Airflow 3's way): at the start date, or at once, and then after each such time. Without catchup what is
/// missed is not made up: the next one is due at once.
pub(super) fn delta_trigger(
    step: Step,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let following = match last_interval {
        Some((_, end)) => Some(step.after(end)?),
        None => None,
    };
    let at = match restriction.catchup {
        Catchup::All => following.or(restriction.earliest).unwrap_or(now),
        Catchup::Latest => now.max(following.unwrap_or(now)).max(restriction.earliest.unwrap_or(now)),
    };
    restriction.allows(at).then(|| run_over(at, at))
}

/// A run for each stretch of time, without alignment; without catchup only for the newest, on the grid of the epoch.
pub(super) fn delta(
    step: Step,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let bound = match restriction.catchup {
        Catchup::All => restriction.earliest,
        Catchup::Latest => step.newest_over(restriction.earliest, now).max(restriction.earliest),
    };
    let start = last_interval.map(|(_, end)| end).max(bound)?;
    let end = step.after(start)?;
    restriction.allows(start).then(|| run_over(start, end))
}

/// The last multiple of `every` since the epoch that is not after `at`.
fn floor_to_epoch(at: Timestamp, every: TimeDelta) -> Option<Timestamp> {
    let every = every.num_microseconds()?;
    Timestamp::from_timestamp_micros(at.timestamp_micros().div_euclid(every) * every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::fixtures::at;

    fn since(earliest: &str, catchup: Catchup) -> Restriction {
        Restriction { earliest: Some(at(earliest)), latest: None, catchup }
    }

    fn fixed(every: TimeDelta) -> Step {
        Step::of(every.to_std().unwrap(), 0).unwrap()
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let month = Step::of(Duration::ZERO, 1).unwrap();
        let all = since("2024-01-31T00:00:00Z", Catchup::All);
        let first = delta(month, &all, None, at("2024-06-10T00:00:00Z")).unwrap();
        assert_eq!((first.start, first.end), (at("2024-01-31T00:00:00Z"), at("2024-02-29T00:00:00Z")));
        let next = delta(month, &all, Some((first.start, first.end)), at("2024-06-10T00:00:00Z")).unwrap();
        assert_eq!((next.start, next.end), (first.end, at("2024-03-29T00:00:00Z")));
        let latest = since("2024-01-15T00:00:00Z", Catchup::Latest);
        let newest = delta(month, &latest, None, at("2024-06-20T00:00:00Z")).unwrap();
        assert_eq!((newest.start, newest.end), (at("2024-05-15T00:00:00Z"), at("2024-06-15T00:00:00Z")));
        let long = Step::of(Duration::from_secs(3_600), 12).unwrap();
        let first = delta(long, &latest, None, at("2024-06-20T00:00:00Z")).unwrap();
        assert_eq!((first.start, first.end), (at("2024-01-15T00:00:00Z"), at("2025-01-15T01:00:00Z")));
        let trigger = delta_trigger(month, &all, Some((first.start, first.start)), first.start).unwrap();
        assert_eq!(trigger.run_after, at("2024-02-15T00:00:00Z"));
    }

    #[test]
    fn once_is_once() {
        let bounds = since("2024-03-01T00:00:00Z", Catchup::Latest);
        let run = once(&bounds, None, at("2024-06-01T00:00:00Z")).unwrap();
        assert_eq!(run.run_after, at("2024-03-01T00:00:00Z"));
        assert_eq!(once(&bounds, Some((run.start, run.end)), at("2024-06-01T00:00:00Z")), None);
    }

    #[test]
    fn a_continuous_schedule_never_repeats_a_date() {
        let bounds = since("2024-01-01T00:00:00Z", Catchup::Latest);
        let now = at("2024-01-02T00:00:00Z");
        let mut last = None;
        for _ in 0..10 {
            let run = continuous(&bounds, last, now).unwrap();
            assert!(last.is_none_or(|(start, _)| run.start > start), "{run:?}");
            last = Some((run.start, run.end));
        }
    }

    #[test]
    fn a_duration_is_due_at_its_start_and_then_each_so_often() {
        let (day, start) = (TimeDelta::days(1), at("2024-01-01T01:00:00Z"));
        let step = fixed(day);
        let all = since("2024-01-01T01:00:00Z", Catchup::All);
        let first = delta_trigger(step, &all, None, at("2024-01-03T00:00:00Z")).unwrap();
        assert_eq!(first, run_over(start, start));
        let second = delta_trigger(step, &all, Some((start, start)), at("2024-01-03T00:00:00Z")).unwrap();
        assert_eq!((second.logical_date, second.run_after), (start + day, start + day));
        let latest = since("2024-01-01T01:00:00Z", Catchup::Latest);
        let now = at("2024-01-10T07:30:00Z");
        assert_eq!(delta_trigger(step, &latest, None, now), Some(run_over(now, now)));
        assert_eq!(delta_trigger(step, &latest, Some((now, now)), now), Some(run_over(now + day, now + day)));
        assert_eq!(delta_trigger(step, &latest, Some((start, start)), now), Some(run_over(now, now)));
        let future = since("2024-02-01T00:00:00Z", Catchup::Latest);
        assert_eq!(delta_trigger(step, &future, None, now).unwrap().run_after, at("2024-02-01T00:00:00Z"));
        let over = Restriction { latest: Some(start), ..all };
        assert_eq!(delta_trigger(step, &over, Some((start, start)), now), None);
    }

    #[test]
    fn a_delta_without_catchup_keeps_to_the_grid_of_the_epoch() {
        let every = TimeDelta::hours(6);
        let now = at("2024-01-10T07:30:00Z");
        let run = delta(fixed(every), &since("2024-01-01T01:00:00Z", Catchup::Latest), None, now).unwrap();
        assert_eq!((run.start, run.end), (at("2024-01-10T00:00:00Z"), at("2024-01-10T06:00:00Z")));
        let run = delta(fixed(every), &since("2024-01-01T01:00:00Z", Catchup::All), None, now).unwrap();
        assert_eq!((run.start, run.end), (at("2024-01-01T01:00:00Z"), at("2024-01-01T07:00:00Z")));
    }
}
