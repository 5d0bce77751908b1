//! Schedules without ticks: once, one after the other, every so often.

use chrono::TimeDelta;
use dag::Catchup;
use model::Timestamp;

use super::{Restriction, run_over};
use crate::state::DueRun;

/// The least by which a run's date is later than the one before it: what PostgreSQL tells apart.
const STEP_MIN: TimeDelta = TimeDelta::microseconds(1);

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
    every: TimeDelta,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let following = match last_interval {
        Some((_, end)) => Some(end.checked_add_signed(every)?),
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
    every: TimeDelta,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let bound = match restriction.catchup {
        Catchup::All => restriction.earliest,
        Catchup::Latest => floor_to_epoch(now, every)?.checked_sub_signed(every).max(restriction.earliest),
    };
    let start = last_interval.map(|(_, end)| end).max(bound)?;
    let end = start.checked_add_signed(every)?;
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
        let all = since("2024-01-01T01:00:00Z", Catchup::All);
        let first = delta_trigger(day, &all, None, at("2024-01-03T00:00:00Z")).unwrap();
        assert_eq!(first, run_over(start, start));
        let second = delta_trigger(day, &all, Some((start, start)), at("2024-01-03T00:00:00Z")).unwrap();
        assert_eq!((second.logical_date, second.run_after), (start + day, start + day));
        let latest = since("2024-01-01T01:00:00Z", Catchup::Latest);
        let now = at("2024-01-10T07:30:00Z");
        assert_eq!(delta_trigger(day, &latest, None, now), Some(run_over(now, now)));
        assert_eq!(delta_trigger(day, &latest, Some((now, now)), now), Some(run_over(now + day, now + day)));
        assert_eq!(delta_trigger(day, &latest, Some((start, start)), now), Some(run_over(now, now)));
        let future = since("2024-02-01T00:00:00Z", Catchup::Latest);
        assert_eq!(delta_trigger(day, &future, None, now).unwrap().run_after, at("2024-02-01T00:00:00Z"));
        let over = Restriction { latest: Some(start), ..all };
        assert_eq!(delta_trigger(day, &over, Some((start, start)), now), None);
    }

    #[test]
    fn a_delta_without_catchup_keeps_to_the_grid_of_the_epoch() {
        let every = TimeDelta::hours(6);
        let now = at("2024-01-10T07:30:00Z");
        let run = delta(every, &since("2024-01-01T01:00:00Z", Catchup::Latest), None, now).unwrap();
        assert_eq!((run.start, run.end), (at("2024-01-10T00:00:00Z"), at("2024-01-10T06:00:00Z")));
        let run = delta(every, &since("2024-01-01T01:00:00Z", Catchup::All), None, now).unwrap();
        assert_eq!((run.start, run.end), (at("2024-01-01T01:00:00Z"), at("2024-01-01T07:00:00Z")));
    }
}
