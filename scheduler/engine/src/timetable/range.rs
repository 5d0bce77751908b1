//! The runs of a schedule whose dates lie in a range, in either order: what a backfill goes through.
//!
//! A range is never listed: each step finds the date behind the last one. Both orders go through the same dates. Those of
//! a cron are the ticks from the first one in the range on; backwards a few ticks are gone back, and then on to the last one
//! that still counts. Those of a duration begin with the range itself, as in Airflow.

use chrono::TimeDelta;
use dag::{Catchup, CronTimetable, DeltaTimetable, Schedule};
use model::Timestamp;

use super::{Restriction, cron::CronClock, next, plain::Step, run_over};
use crate::state::DueRun;

/// So many ticks are gone back at first: the interval of the first may not have ended, and a change of the clock moves one.
const TICKS_BACK: usize = 4;

/// Which dates are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub from: Timestamp,
    /// The last one, included.
    pub to: Timestamp,
    /// Intervals that end then, or later, are not meant.
    pub before: Timestamp,
}

/// Whether a schedule has dates that a range can be asked for.
#[must_use]
pub const fn is_periodic(schedule: &Schedule) -> bool {
    match schedule {
        Schedule::Never | Schedule::Once | Schedule::Continuous => false,
        Schedule::Cron { .. } | Schedule::Delta { .. } => true,
    }
}

/// How much later the ticks of a schedule are than the dates of its runs.
fn lag(schedule: &Schedule) -> TimeDelta {
    let interval = match schedule {
        Schedule::Cron { timetable: CronTimetable::CronTrigger, ticks, .. } => ticks.interval,
        Schedule::Cron { .. } | Schedule::Never | Schedule::Once | Schedule::Continuous | Schedule::Delta { .. } => {
            None
        }
    };
    interval.and_then(|interval| TimeDelta::from_std(interval).ok()).unwrap_or_default()
}

impl Range {
    /// The first run of the range, or the one that follows the interval of another one.
    #[must_use]
    pub fn following(&self, schedule: &Schedule, last: Option<(Timestamp, Timestamp)>) -> Option<DueRun> {
        if !is_periodic(schedule) {
            return None;
        }
        // A range is of dates, and a tick may come later than the date that its run stands for.
        let lag = lag(schedule);
        let (from, to) = (self.from.checked_add_signed(lag)?, self.to.checked_add_signed(lag)?);
        let bounds = Restriction { earliest: Some(from), latest: Some(to), catchup: Catchup::All };
        next(schedule, &bounds, last, self.before).filter(|due| self.holds(due))
    }

    /// The last run of the range, or the one before the interval of another one.
    #[must_use]
    pub fn preceding(&self, schedule: &Schedule, last: Option<(Timestamp, Timestamp)>) -> Option<DueRun> {
        let first = self.following(schedule, None)?;
        let bound = last.map(|(start, _)| start);
        let counts = |due: &DueRun| self.holds(due) && bound.is_none_or(|bound| due.start < bound);
        let end = bound.map_or(self.to, |bound| bound.min(self.to)).min(self.before);
        match schedule {
            Schedule::Never | Schedule::Once | Schedule::Continuous => None,
            Schedule::Delta { every, months, timetable } => {
                let step = Step::of(*every, *months)?;
                let run = |start: Timestamp| {
                    Some(match timetable {
                        DeltaTimetable::DeltaTrigger => run_over(start, start),
                        DeltaTimetable::DeltaDataInterval => run_over(start, step.after(start)?),
                    })
                };
                let Some(micros) = step.micros() else {
                    let dates = std::iter::successors(Some(first.start), |at| step.after(*at));
                    return dates.map_while(run).take_while(counts).last();
                };
                let steps = (end - first.start).num_microseconds()?.div_euclid(micros);
                let at = |steps: i64| {
                    run(first.start.checked_add_signed(TimeDelta::microseconds(steps.checked_mul(micros)?))?)
                };
                (0..=steps).rev().take(TICKS_BACK).filter_map(at).find(counts)
            }
            Schedule::Cron { expressions, timezone, timetable, .. } => {
                let clock = CronClock::new(expressions, *timezone);
                let lag = lag(schedule);
                let (end, first) = (end.checked_add_signed(lag)?, first.start.checked_add_signed(lag)?);
                let back = std::iter::successors(Some(end), |at| clock.prev(*at)).take(TICKS_BACK + 1);
                let begin = back.last().filter(|begin| *begin > first).and_then(|begin| clock.next(begin));
                let ticks = std::iter::successors(begin.or(Some(first)), |tick| clock.next(*tick));
                let run = |tick: Timestamp| match timetable {
                    CronTimetable::CronTrigger => Some(run_over(tick.checked_sub_signed(lag)?, tick)),
                    CronTimetable::CronDataInterval => Some(run_over(tick, clock.next(tick)?)),
                };
                ticks.map_while(run).take_while(counts).last()
            }
        }
    }

    fn holds(&self, due: &DueRun) -> bool {
        self.from <= due.logical_date && due.logical_date <= self.to && due.end < self.before
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use dag::TickOptions;

    use super::*;
    use crate::timetable::fixtures::at;

    fn cron(expressions: &[&str], timezone: Tz, timetable: CronTimetable) -> Schedule {
        let expressions = expressions.iter().map(ToString::to_string).collect();
        Schedule::Cron { expressions, timezone, timetable, ticks: TickOptions::default() }
    }

    fn forwards(range: &Range, schedule: &Schedule) -> Vec<DueRun> {
        let first = range.following(schedule, None);
        std::iter::successors(first, |due| range.following(schedule, Some((due.start, due.end)))).collect()
    }

    fn backwards(range: &Range, schedule: &Schedule) -> Vec<DueRun> {
        let first = range.preceding(schedule, None);
        std::iter::successors(first, |due| range.preceding(schedule, Some((due.start, due.end)))).collect()
    }

    fn range(from: &str, to: &str) -> Range {
        Range { from: at(from), to: at(to), before: at("2026-01-01T00:00:00Z") }
    }

    fn dates(runs: &[DueRun]) -> Vec<String> {
        runs.iter().map(|due| due.logical_date.format("%m-%dT%H:%M").to_string()).collect()
    }

    #[test]
    fn both_ends_of_the_range_count() {
        let days = cron(&["0 0 * * *"], Tz::UTC, CronTimetable::CronTrigger);
        let days_of = range("2024-01-01T00:00:00Z", "2024-01-03T00:00:00Z");
        assert_eq!(dates(&forwards(&days_of, &days)), ["01-01T00:00", "01-02T00:00", "01-03T00:00"]);
        assert_eq!(dates(&backwards(&days_of, &days)), ["01-03T00:00", "01-02T00:00", "01-01T00:00"]);
    }

    #[test]
    fn an_interval_that_has_not_ended_is_not_meant() {
        let days = cron(&["0 0 * * *"], Tz::UTC, CronTimetable::CronDataInterval);
        let until = |before| Range { before: at(before), ..range("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z") };
        assert_eq!(dates(&forwards(&until("2024-01-03T00:00:00Z"), &days)), ["01-01T00:00"]);
        assert_eq!(dates(&forwards(&until("2024-01-03T00:00:01Z"), &days)), ["01-01T00:00", "01-02T00:00"]);
        assert_eq!(dates(&backwards(&until("2024-01-03T00:00:01Z"), &days)), ["01-02T00:00", "01-01T00:00"]);
    }

    #[test]
    fn a_duration_begins_with_the_range() {
        let every = std::time::Duration::from_secs(6 * 3_600);
        let schedule = Schedule::Delta { every, months: 0, timetable: DeltaTimetable::DeltaTrigger };
        let day = range("2024-01-01T01:00:00Z", "2024-01-01T18:59:00Z");
        assert_eq!(dates(&forwards(&day, &schedule)), ["01-01T01:00", "01-01T07:00", "01-01T13:00"]);
        assert_eq!(dates(&backwards(&day, &schedule)), ["01-01T13:00", "01-01T07:00", "01-01T01:00"]);
    }

    #[test]
    fn months_and_ticks_with_an_interval_are_gone_through_in_both_orders() {
        let year = range("2024-01-31T00:00:00Z", "2024-12-31T00:00:00Z");
        let months = Schedule::Delta {
            every: std::time::Duration::ZERO,
            months: 1,
            timetable: DeltaTimetable::DeltaDataInterval,
        };
        let ticks = TickOptions { interval: Some(std::time::Duration::from_secs(86_400)), ..TickOptions::default() };
        let expressions = vec!["0 6 1 * *".to_owned()];
        let timetable = CronTimetable::CronTrigger;
        let cron = Schedule::Cron { expressions, timezone: Tz::UTC, timetable, ticks };
        // From the 29th of February on the months go from 29th to 29th; of the ticks none is on the 1st of January.
        for (schedule, count) in [(months, 12), (cron, 11)] {
            let (mut back, forth) = (backwards(&year, &schedule), forwards(&year, &schedule));
            back.reverse();
            assert_eq!(back, forth);
            assert_eq!(forth.len(), count, "{forth:?}");
        }
    }

    #[test]
    fn what_has_no_dates_has_none_in_a_range() {
        let all = range("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
        for schedule in [Schedule::Never, Schedule::Once, Schedule::Continuous] {
            assert_eq!((all.following(&schedule, None), all.preceding(&schedule, None)), (None, None));
        }
        let past = range("2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z");
        let days = cron(&["0 0 * * *"], Tz::UTC, CronTimetable::CronTrigger);
        assert_eq!((past.following(&days, None), past.preceding(&days, None)), (None, None));
    }

    #[test]
    fn both_orders_go_through_the_same_dates_through_every_change_of_the_clock() {
        let changes = [
            (Tz::Europe__Zurich, "2023-03-24T01:00:00Z", "2023-03-28T01:00:00Z"),
            (Tz::Europe__Zurich, "2023-10-27T01:00:00Z", "2023-10-31T01:00:00Z"),
            (Tz::Australia__Lord_Howe, "2024-04-05T15:00:00Z", "2024-04-08T15:10:00Z"),
            (Tz::Australia__Lord_Howe, "2024-10-04T15:30:00Z", "2024-10-07T15:00:00Z"),
            (Tz::Pacific__Apia, "2011-12-28T10:00:00Z", "2012-01-02T10:00:00Z"),
            (Tz::America__Havana, "2024-11-01T05:00:00Z", "2024-11-05T05:30:00Z"),
        ];
        let crons: [&[&str]; 7] = [
            &["0 * * * *"],
            &["*/20 * * * *"],
            &["30 2 * * *"],
            &["*/30 1-3 * * *"],
            &["0 */2 * * *"],
            &["15 1,2,3 * * *"],
            &["0 6 * * *", "30 2 * * *", "0 */5 * * *"],
        ];
        for (zone, from, to) in changes {
            for expressions in crons {
                for timetable in [CronTimetable::CronTrigger, CronTimetable::CronDataInterval] {
                    let (schedule, all) = (cron(expressions, zone, timetable), range(from, to));
                    let (mut back, forth) = (backwards(&all, &schedule), forwards(&all, &schedule));
                    back.reverse();
                    assert_eq!(back, forth, "{expressions:?} {zone} {timetable:?}");
                    assert!(forth.len() >= 3, "{expressions:?} {zone} {forth:?}");
                }
            }
        }
    }
}
