//! Cron expressions on the wall clock of a zone, through every change of that clock.
//!
//! A wall time that comes twice is its second occurrence, and one that never comes is shifted forward by the gap. An
//! expression that fits every hour is stepped in elapsed time instead, so that it fires in both of two equal hours.
//! Always: [`CronClock::next`] is after, and [`CronClock::prev`] before, the instant that they are asked for. Aligning
//! asks the wall clock alone, as Airflow does, and within a day of a change it may take a neighbour.

use chrono::{LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use dag::CronExpr;
use model::Timestamp;

use super::wall;

/// How many ticks in a row a change of the clock can move past an instant: the largest change in history is a day
/// (Samoa, December 2011), and no cron has more than a tick a second.
const MOVED_TICKS_MAX: usize = 86_401;

/// Longer than any zone is ahead of UTC, and shorter than the time between two changes of a clock.
const BEFORE_GAP: TimeDelta = TimeDelta::days(1);

/// The ticks of some cron expressions in a zone; with several of them, a tick of any counts.
#[derive(Debug, Clone)]
pub struct CronClock {
    crons: Vec<CronExpr>,
    zone: Tz,
}

impl CronClock {
    /// A clock for the expressions of a compiled DAG, which are valid; one that is not would have no ticks.
    #[must_use]
    pub fn new(expressions: &[String], zone: Tz) -> Self {
        Self { crons: expressions.iter().filter_map(|text| CronExpr::parse(text).ok()).collect(), zone }
    }

    /// The first tick strictly after an instant.
    #[must_use]
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        self.crons.iter().filter_map(|cron| self.next_of(cron, at)).min()
    }

    /// The last tick strictly before an instant.
    #[must_use]
    pub fn prev(&self, at: Timestamp) -> Option<Timestamp> {
        self.crons.iter().filter_map(|cron| self.prev_of(cron, at)).max()
    }

    /// The tick that the wall clock showed last: behind a gap, one that was moved there may lie ahead.
    #[must_use]
    pub fn prev_on_wall(&self, at: Timestamp) -> Option<Timestamp> {
        let now = self.wall(at);
        let ticks = self.crons.iter().filter_map(|cron| {
            let tick = wall::before(cron, now)?;
            if cron.covers_every_hour() { at.checked_sub_signed(now - tick) } else { self.instant(tick) }
        });
        ticks.max()
    }

    /// The instant itself when it is a tick, else the first one after it.
    #[must_use]
    pub fn align_next(&self, at: Timestamp) -> Option<Timestamp> {
        match self.next(at) {
            Some(next) if self.prev_on_wall(next) == Some(at) => Some(at),
            Some(next) => Some(next),
            // Nothing follows the last tick of all, which may be now.
            None => self.prev(at.checked_add_signed(TimeDelta::microseconds(1))?).filter(|tick| *tick == at),
        }
    }

    /// The instant itself when it is a tick, else the last one before it.
    #[must_use]
    pub fn align_prev(&self, at: Timestamp) -> Option<Timestamp> {
        let prev = self.prev_on_wall(at)?;
        Some(if self.next(prev) == Some(at) { at } else { prev })
    }

    fn next_of(&self, cron: &CronExpr, at: Timestamp) -> Option<Timestamp> {
        let now = self.wall(at);
        if cron.covers_every_hour() {
            return at.checked_add_signed(wall::after(cron, now)? - now);
        }
        std::iter::successors(wall::after(cron, now), |tick| wall::after(cron, *tick))
            .take(MOVED_TICKS_MAX)
            .filter_map(|tick| self.instant(tick))
            .find(|tick| *tick > at)
    }

    fn prev_of(&self, cron: &CronExpr, at: Timestamp) -> Option<Timestamp> {
        let now = self.wall(at);
        if cron.covers_every_hour() {
            return at.checked_sub_signed(now - wall::before(cron, now)?);
        }
        std::iter::successors(wall::before(cron, now), |tick| wall::before(cron, *tick))
            .take(MOVED_TICKS_MAX)
            .filter_map(|tick| self.instant(tick))
            .find(|tick| *tick < at)
    }

    fn wall(&self, at: Timestamp) -> NaiveDateTime {
        at.with_timezone(&self.zone).naive_local()
    }

    /// The instant of a wall time.
    fn instant(&self, wall: NaiveDateTime) -> Option<Timestamp> {
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Single(at) => Some(at.to_utc()),
            LocalResult::Ambiguous(_, second) => Some(second.to_utc()),
            LocalResult::None => {
                // Read with the offset before the gap, a time in it comes out behind it, moved by its length.
                let offset = self.zone.offset_from_utc_datetime(&wall.checked_sub_signed(BEFORE_GAP)?).fix();
                Some(wall.checked_sub_offset(offset)?.and_utc())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::fixtures::{at, clock};

    #[test]
    fn a_wall_time_that_comes_twice_is_its_second_occurrence() {
        let clock = clock("30 2 * * *", Tz::Europe__Zurich);
        assert_eq!(clock.next(at("2023-10-28T22:30:00Z")), Some(at("2023-10-29T01:30:00Z")));
    }

    #[test]
    fn a_wall_time_that_never_comes_is_moved_by_the_gap() {
        let zurich = clock("30 2 * * *", Tz::Europe__Zurich);
        assert_eq!(zurich.next(at("2023-03-25T12:00:00Z")), Some(at("2023-03-26T01:30:00Z")));
        let apia = clock("30 1 * * *", Tz::Pacific__Apia);
        assert_eq!(apia.next(at("2011-12-30T09:00:00Z")), Some(at("2011-12-30T11:30:00Z")));
    }

    #[test]
    fn the_tick_before_is_before_even_in_a_gap() {
        let clock = clock("15 1,2,3 * * *", Tz::America__New_York);
        assert_eq!(clock.prev(at("2024-03-10T07:01:00Z")), Some(at("2024-03-10T06:15:00Z")));
    }

    #[test]
    fn an_hourly_cron_fires_in_both_of_two_equal_hours() {
        let clock = clock("30 * * * *", Tz::Europe__Zurich);
        let first = Some(at("2023-10-28T23:30:00Z"));
        let ticks: Vec<_> = std::iter::successors(first, |tick| clock.next(*tick)).take(4).collect();
        let expected = ["2023-10-28T23:30:00Z", "2023-10-29T00:30:00Z", "2023-10-29T01:30:00Z", "2023-10-29T02:30:00Z"];
        assert_eq!(ticks, expected.map(at));
    }

    #[test]
    fn time_goes_on_at_every_minute_around_every_change() {
        let crons = ["0 * * * *", "*/20 * * * *", "30 2 * * *", "*/30 1-3 * * *", "* 1-23 * * *", "0 */2 * * *"];
        let changes = [
            (Tz::Europe__Zurich, "2023-03-26T01:00:00Z"),
            (Tz::Europe__Zurich, "2023-10-29T01:00:00Z"),
            (Tz::Australia__Lord_Howe, "2024-04-06T15:00:00Z"),
            (Tz::Australia__Lord_Howe, "2024-10-05T15:30:00Z"),
            (Tz::Pacific__Apia, "2011-12-30T10:00:00Z"),
            (Tz::America__Havana, "2024-11-03T05:00:00Z"),
        ];
        for (zone, change) in changes {
            for cron in crons {
                let clock = clock(cron, zone);
                for minute in -200..200 {
                    let now = at(change) + TimeDelta::minutes(minute);
                    assert!(clock.next(now).is_some_and(|next| next > now), "{cron} {zone} {now}");
                    assert!(clock.prev(now).is_some_and(|prev| prev < now), "{cron} {zone} {now}");
                }
            }
        }
    }
}
