//! Runs that stand for the interval between two ticks and are due at its end (Airflow 2's way).
//!
//! Intervals follow each other without a hole: one that this very clock has made is followed by the one that begins
//! where it ended. Only after a change of the schedule is the next start looked for anew.

use dag::Catchup;
use model::Timestamp;

use super::{Restriction, cron::CronClock, run_over};
use crate::state::DueRun;

/// How many ticks the newest complete interval is searched onwards; a change of the clock moves it by a few.
const ONWARDS_MAX: usize = 10_000;

/// The interval that follows the last one.
pub(super) fn next(
    clock: &CronClock,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let earliest = match restriction.earliest {
        Some(earliest) => Some(clock.align_next(earliest)?),
        None => None,
    };
    let bound = match (restriction.catchup, last_interval) {
        (Catchup::All, _) => earliest,
        // At first sight the start is Airflow's, which can leave out an interval behind a gap; afterwards none is lost.
        (Catchup::Latest, None) => newest_complete(clock, now, |at| clock.prev_on_wall(at)).max(earliest),
        (Catchup::Latest, Some(_)) => newest_complete(clock, now, |at| clock.prev(at)).max(earliest),
    };
    let start = match last_interval {
        None => bound?,
        Some(last) => {
            let start = following(clock, last)?.max(bound.unwrap_or(last.0));
            // After a change to a rarer schedule, the start of the current interval may lie before what is done.
            if start > last.0 { start } else { clock.next(last.0)? }
        }
    };
    restriction.allows(start).then_some(())?;
    Some(run_over(start, clock.next(start)?))
}

/// The last complete interval before a run by hand.
pub(super) fn manual(clock: &CronClock, run_after: Timestamp) -> (Timestamp, Timestamp) {
    let end = match clock.prev(run_after) {
        Some(last) if clock.next(last) != Some(run_after) => last,
        Some(_) | None => run_after,
    };
    (clock.prev(end).unwrap_or(end), end)
}

/// Where the interval after this one begins.
fn following(clock: &CronClock, (start, end): (Timestamp, Timestamp)) -> Option<Timestamp> {
    if clock.next(start) == Some(end) {
        return Some(end);
    }
    clock.align_prev(end).or_else(|| clock.align_next(end))
}

/// The start of the last interval that has ended by now.
fn newest_complete(
    clock: &CronClock,
    now: Timestamp,
    prev: impl Fn(Timestamp) -> Option<Timestamp>,
) -> Option<Timestamp> {
    let Some(last) = prev(now) else { return clock.next(now) };
    match clock.next(last) {
        Some(next) if next == now => Some(last),
        Some(next) if next < now => {
            // The clock was put back between the two: the interval that ends last by now lies further on.
            let ticks = std::iter::successors(Some(last), |tick| clock.next(*tick)).take_while(|tick| *tick <= now);
            let ticks: Vec<Timestamp> = ticks.take(ONWARDS_MAX).collect();
            ticks.iter().rev().nth(1).copied()
        }
        Some(_) | None => prev(last).or(Some(last)),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use chrono_tz::Tz;

    use super::*;
    use crate::timetable::fixtures::{at, clock};

    const CATCHUP: Restriction = Restriction { earliest: None, latest: None, catchup: Catchup::All };
    const LATEST: Restriction = Restriction { earliest: None, latest: None, catchup: Catchup::Latest };

    #[test]
    fn intervals_are_contiguous_through_every_change_of_the_clock() {
        let starts = [
            (Tz::Australia__Lord_Howe, "2024-04-06T09:00:00Z"),
            (Tz::Australia__Lord_Howe, "2024-10-05T09:00:00Z"),
            (Tz::Europe__Zurich, "2023-03-25T19:00:00Z"),
            (Tz::America__New_York, "2024-11-02T19:00:00Z"),
            (Tz::Pacific__Apia, "2011-12-29T10:00:00Z"),
        ];
        for (zone, start) in starts {
            for cron in ["0 * * * *", "*/20 * * * *", "30 * * * *", "*/30 1-3 * * *"] {
                let clock = clock(cron, zone);
                let restriction = Restriction { earliest: Some(at(start)), ..CATCHUP };
                let mut last = None;
                for _ in 0..100 {
                    let run = next(&clock, &restriction, last, at(start)).unwrap();
                    assert!(run.end > run.start, "{cron} {zone}");
                    assert!(last.is_none_or(|(_, end)| end == run.start), "{cron} {zone} {run:?}");
                    last = Some((run.start, run.end));
                }
            }
        }
    }

    #[test]
    fn without_catchup_the_newest_complete_interval_is_made() {
        let clock = clock("0 * * * *", Tz::UTC);
        let run = next(&clock, &LATEST, None, at("2024-01-01T10:30:00Z")).unwrap();
        assert_eq!((run.start, run.end), (at("2024-01-01T09:00:00Z"), at("2024-01-01T10:00:00Z")));
        let run = next(&clock, &LATEST, None, at("2024-01-01T10:00:00Z")).unwrap();
        assert_eq!((run.start, run.end), (at("2024-01-01T09:00:00Z"), at("2024-01-01T10:00:00Z")));
    }

    #[test]
    fn a_rarer_schedule_goes_on_after_what_is_done() {
        let daily = (at("2024-01-09T00:00:00Z"), at("2024-01-10T00:00:00Z"));
        let run = next(&clock("0 0 * * 0", Tz::UTC), &CATCHUP, Some(daily), at("2024-01-10T00:00:00Z")).unwrap();
        assert_eq!(run.start, at("2024-01-14T00:00:00Z"));
    }

    #[test]
    fn without_catchup_no_instant_around_a_change_lacks_an_answer() {
        for minute in 0..600 {
            let now = at("2024-04-06T10:00:00Z") + TimeDelta::minutes(minute);
            let run = next(&clock("0 * * * *", Tz::Australia__Lord_Howe), &LATEST, None, now).unwrap();
            assert!(run.end > run.start && run.run_after <= now, "{now} {run:?}");
        }
    }

    #[test]
    fn a_manual_run_behind_a_gap_covers_something_that_is_over() {
        let run_after = at("2024-03-10T07:01:00Z");
        let (start, end) = manual(&clock("15 1,2,3 * * *", Tz::America__New_York), run_after);
        assert!(start < end && end <= run_after, "{start} {end}");
    }

    #[test]
    fn a_manual_run_covers_the_last_complete_interval() {
        let hourly = clock("0 * * * *", Tz::Europe__Zurich);
        let expected = (at("2024-01-25T00:00:00Z"), at("2024-01-25T01:00:00Z"));
        assert_eq!(manual(&hourly, at("2024-01-25T01:10:00Z")), expected);
    }
}
