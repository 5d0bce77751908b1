//! Runs at the ticks of crons (Airflow 3's way): a run stands for its tick, or for a fixed time before it.
//!
//! With several crons each decides for itself, and the answers are compared; two ticks at one instant are one run.

use std::cmp::Reverse;

use chrono::TimeDelta;
use chrono_tz::Tz;
use dag::{Catchup, TickOptions};
use model::Timestamp;

use super::{Restriction, cron::CronClock};
use crate::state::DueRun;

/// What a run of which no start is known is allowed to be late, at the least.
const LATENESS_MIN: TimeDelta = TimeDelta::minutes(5);

/// The part of the time between two ticks that such a run may be late: a tenth.
const LATENESS_PART: i32 = 10;

/// Whether a schedule that has no start date and no runs yet begins with the tick that has just been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunImmediately {
    /// With the last tick, however long ago.
    Always,
    /// With the last tick when it is not longer ago than this.
    Within(TimeDelta),
    /// With the last tick when it is not longer ago than a tenth of the time between ticks, or five minutes. Airflow
    /// does so for False, too.
    #[default]
    WhenRecent,
}

/// A schedule of runs at ticks.
#[derive(Debug, Clone)]
pub struct CronTrigger {
    clocks: Vec<CronClock>,
    interval: TimeDelta,
    run_immediately: RunImmediately,
}

impl CronTrigger {
    /// Runs that stand for their tick.
    #[must_use]
    pub fn new(expressions: &[String], zone: Tz) -> Self {
        let clocks = expressions.iter().map(|text| CronClock::new(std::slice::from_ref(text), zone)).collect();
        Self { clocks, interval: TimeDelta::zero(), run_immediately: RunImmediately::default() }
    }

    /// The same with what a DAG says of its ticks.
    #[must_use]
    pub fn with_options(self, ticks: TickOptions) -> Self {
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        let run_immediately = match ticks.run_immediately {
            dag::RunImmediately::Always => RunImmediately::Always,
            dag::RunImmediately::Within(lateness) => RunImmediately::Within(delta(lateness)),
            dag::RunImmediately::WhenRecent => RunImmediately::WhenRecent,
        };
        let interval = ticks.interval.map_or(TimeDelta::zero(), delta);
        self.with_interval(interval).with_run_immediately(run_immediately)
    }

    /// Runs that stand for so much time before their tick.
    #[must_use]
    pub fn with_interval(self, interval: TimeDelta) -> Self {
        Self { interval, ..self }
    }

    /// How the first run is found when there is no start date.
    #[must_use]
    pub fn with_run_immediately(self, run_immediately: RunImmediately) -> Self {
        Self { run_immediately, ..self }
    }

    /// The run that follows the last one.
    #[must_use]
    pub fn next(
        &self,
        restriction: &Restriction,
        last_interval: Option<(Timestamp, Timestamp)>,
        now: Timestamp,
    ) -> Option<DueRun> {
        let last = last_interval.map(|(_, end)| end);
        let ticks = self.clocks.iter().filter_map(|clock| self.tick(clock, restriction, last, now));
        let ticks = ticks.filter(|tick| restriction.allows(*tick));
        let tick = match restriction.catchup {
            Catchup::All => ticks.min(),
            // The latest that is due, else the earliest that will be.
            Catchup::Latest => ticks.min_by_key(|tick| (*tick > now, (*tick <= now).then_some(Reverse(*tick)), *tick)),
        }?;
        let start = tick.checked_sub_signed(self.interval)?;
        Some(DueRun { logical_date: start, start, end: tick, run_after: tick })
    }

    /// The data that a run by hand covers.
    #[must_use]
    pub fn manual_interval(&self, run_after: Timestamp) -> (Timestamp, Timestamp) {
        (run_after.checked_sub_signed(self.interval).unwrap_or(run_after), run_after)
    }

    /// The tick that one clock asks for.
    fn tick(
        &self,
        clock: &CronClock,
        restriction: &Restriction,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let first = match (last, restriction.earliest) {
            (Some(last), _) => clock.next(last)?,
            (None, Some(earliest)) => clock.align_next(earliest)?,
            (None, None) => self.first(clock, now)?,
        };
        match restriction.catchup {
            Catchup::All => Some(first),
            Catchup::Latest => {
                let bound = match restriction.earliest {
                    Some(earliest) => clock.align_next(earliest)?,
                    None => first,
                };
                Some(first.max(bound)).max(clock.align_prev(now))
            }
        }
    }

    /// Where a schedule begins that has no start date.
    fn first(&self, clock: &CronClock, now: Timestamp) -> Option<Timestamp> {
        let (past, next) = (clock.align_prev(now), clock.align_next(now));
        let (Some(past), Some(next)) = (past, next) else { return next.or(past) };
        let lateness = match self.run_immediately {
            RunImmediately::Always => return Some(past),
            RunImmediately::Within(lateness) => lateness,
            RunImmediately::WhenRecent => LATENESS_MIN.max((next - past) / LATENESS_PART),
        };
        Some(if now - past <= lateness { past } else { next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::fixtures::at;

    fn trigger(crons: &[&str]) -> CronTrigger {
        CronTrigger::new(&crons.iter().map(|cron| (*cron).to_owned()).collect::<Vec<_>>(), Tz::UTC)
    }

    const CATCHUP: Restriction = Restriction { earliest: None, latest: None, catchup: Catchup::All };
    const LATEST: Restriction = Restriction { earliest: None, latest: None, catchup: Catchup::Latest };

    fn tick(schedule: &CronTrigger, restriction: &Restriction, last: Option<&str>, now: &str) -> Option<Timestamp> {
        let last = last.map(|last| (at(last), at(last)));
        schedule.next(restriction, last, at(now)).map(|run| run.run_after)
    }

    #[test]
    fn without_a_start_date_only_a_recent_tick_counts() {
        let hourly = trigger(&["0 * * * *"]);
        let first = |schedule: &CronTrigger, now| tick(schedule, &CATCHUP, None, now).unwrap();
        assert_eq!(first(&hourly, "2024-01-05T13:05:30Z"), at("2024-01-05T13:00:00Z"));
        assert_eq!(first(&hourly, "2024-01-05T13:30:00Z"), at("2024-01-05T14:00:00Z"));
        let always = hourly.clone().with_run_immediately(RunImmediately::Always);
        assert_eq!(first(&always, "2024-01-05T13:30:00Z"), at("2024-01-05T13:00:00Z"));
        let within = hourly.with_run_immediately(RunImmediately::Within(TimeDelta::minutes(20)));
        assert_eq!(first(&within, "2024-01-05T13:20:00Z"), at("2024-01-05T13:00:00Z"));
        assert_eq!(first(&within, "2024-01-05T13:20:01Z"), at("2024-01-05T14:00:00Z"));
    }

    #[test]
    fn after_an_outage_only_the_newest_tick_is_made_without_catchup() {
        let hourly = trigger(&["0 * * * *"]);
        let (last, now) = (Some("2024-01-05T05:00:00Z"), "2024-01-05T13:30:00Z");
        assert_eq!(tick(&hourly, &LATEST, last, now), Some(at("2024-01-05T13:00:00Z")));
        assert_eq!(tick(&hourly, &CATCHUP, last, now), Some(at("2024-01-05T06:00:00Z")));
    }

    #[test]
    fn of_several_crons_the_first_to_come_is_next() {
        let several = trigger(&["0 */6 * * *", "30 12 * * *", "0 12 * * *"]);
        let (last, now) = (Some("2024-01-05T12:00:00Z"), "2024-01-05T12:10:00Z");
        assert_eq!(tick(&several, &LATEST, last, now), Some(at("2024-01-05T12:30:00Z")));
        assert_eq!(tick(&several, &CATCHUP, last, now), Some(at("2024-01-05T12:30:00Z")));
    }

    #[test]
    fn a_schedule_whose_last_tick_is_made_has_ended() {
        let once = trigger(&["0 0 1 1 * 0 2027"]);
        assert_eq!(tick(&once, &LATEST, None, "2026-05-01T00:00:00Z"), Some(at("2027-01-01T00:00:00Z")));
        assert_eq!(tick(&once, &LATEST, Some("2027-01-01T00:00:00Z"), "2027-05-01T00:00:00Z"), None);
        let ended = Restriction { latest: Some(at("2024-01-05T12:00:00Z")), ..CATCHUP };
        let hourly = trigger(&["0 * * * *"]);
        let now = "2024-01-06T00:00:00Z";
        assert_eq!(tick(&hourly, &ended, Some("2024-01-05T11:00:00Z"), now), ended.latest);
        assert_eq!(tick(&hourly, &ended, Some("2024-01-05T12:00:00Z"), now), None);
    }

    #[test]
    fn a_run_can_stand_for_the_time_before_its_tick() {
        let daily = trigger(&["0 6 * * *"]).with_interval(TimeDelta::days(1));
        let run = daily.next(&CATCHUP, None, at("2024-01-05T06:00:00Z")).unwrap();
        assert_eq!((run.logical_date, run.end), (at("2024-01-04T06:00:00Z"), at("2024-01-05T06:00:00Z")));
        assert_eq!(daily.manual_interval(at("2024-01-05T07:00:00Z")).0, at("2024-01-04T07:00:00Z"));
    }
}
