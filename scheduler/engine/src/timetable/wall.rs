//! The ticks of a cron expression on a wall clock that never changes.
//!
//! Wall times here have no zone. What a change of the clock makes of a tick is [`super::cron`]'s.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use dag::CronExpr;

/// How many days are searched for a tick: the years that a cron can name end 130 years after they begin, and without
/// years the calendar repeats much earlier. An expression that never comes ends the search here, in milliseconds.
const SEARCH_DAYS_MAX: usize = 130 * 366;

/// The first tick strictly after a wall time.
pub(super) fn after(cron: &CronExpr, wall: NaiveDateTime) -> Option<NaiveDateTime> {
    let days = std::iter::successors(Some(wall.date()), NaiveDate::succ_opt).take(SEARCH_DAYS_MAX);
    days.filter(|day| cron.fits_day(*day)).find_map(|day| {
        let from = if day == wall.date() { wall.time() } else { NaiveTime::MIN };
        times_from(cron, from).map(|time| day.and_time(time)).find(|tick| *tick > wall)
    })
}

/// The last tick strictly before a wall time.
pub(super) fn before(cron: &CronExpr, wall: NaiveDateTime) -> Option<NaiveDateTime> {
    let days = std::iter::successors(Some(wall.date()), NaiveDate::pred_opt).take(SEARCH_DAYS_MAX);
    days.filter(|day| cron.fits_day(*day)).find_map(|day| {
        let to = if day == wall.date() { wall.time() } else { last_second() };
        times_back_from(cron, to).map(|time| day.and_time(time)).find(|tick| *tick < wall)
    })
}

/// The times of a day that fit, ascending, from the minute of a time.
fn times_from(cron: &CronExpr, from: NaiveTime) -> impl Iterator<Item = NaiveTime> {
    let hours = cron.hours().iter().filter(move |hour| **hour >= from.hour());
    hours.flat_map(move |hour| {
        let least = if *hour == from.hour() { from.minute() } else { 0 };
        let minutes = cron.minutes().iter().filter(move |minute| **minute >= least);
        minutes.flat_map(move |minute| {
            cron.seconds().iter().filter_map(move |second| NaiveTime::from_hms_opt(*hour, *minute, *second))
        })
    })
}

/// The times of a day that fit, descending, from the end of the minute of a time.
fn times_back_from(cron: &CronExpr, to: NaiveTime) -> impl Iterator<Item = NaiveTime> {
    let hours = cron.hours().iter().rev().filter(move |hour| **hour <= to.hour());
    hours.flat_map(move |hour| {
        let most = if *hour == to.hour() { to.minute() } else { 59 };
        let minutes = cron.minutes().iter().rev().filter(move |minute| **minute <= most);
        minutes.flat_map(move |minute| {
            cron.seconds().iter().rev().filter_map(move |second| NaiveTime::from_hms_opt(*hour, *minute, *second))
        })
    })
}

fn last_second() -> NaiveTime {
    NaiveTime::from_hms_opt(23, 59, 59).expect("every day has this time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn cron(text: &str) -> CronExpr {
        CronExpr::parse(text).unwrap()
    }

    #[test]
    fn a_tick_is_strictly_after_or_before() {
        let hourly = cron("0 * * * *");
        assert_eq!(after(&hourly, wall("2024-01-01T10:00:00")), Some(wall("2024-01-01T11:00:00")));
        assert_eq!(before(&hourly, wall("2024-01-01T10:00:00")), Some(wall("2024-01-01T09:00:00")));
        assert_eq!(after(&hourly, wall("2024-01-01T10:59:59.999999")), Some(wall("2024-01-01T11:00:00")));
        assert_eq!(before(&hourly, wall("2024-01-01T10:00:00.000001")), Some(wall("2024-01-01T10:00:00")));
    }

    #[test]
    fn ticks_cross_days_and_years() {
        let late = cron("30 23 31 12 *");
        assert_eq!(after(&late, wall("2024-12-31T23:30:00")), Some(wall("2025-12-31T23:30:00")));
        assert_eq!(before(&late, wall("2024-12-31T23:30:00")), Some(wall("2023-12-31T23:30:00")));
        assert_eq!(after(&cron("0 0 29 2 *"), wall("2096-03-01T00:00:00")), Some(wall("2104-02-29T00:00:00")));
    }

    #[test]
    fn seconds_count_when_they_are_written() {
        let twice = cron("* * * * * 15,45");
        assert_eq!(after(&twice, wall("2024-01-01T00:00:15")), Some(wall("2024-01-01T00:00:45")));
        assert_eq!(before(&twice, wall("2024-01-01T00:00:15")), Some(wall("2023-12-31T23:59:45")));
    }

    #[test]
    fn the_search_for_a_tick_that_never_comes_ends() {
        let once = cron("0 0 1 1 * 0 2027");
        assert_eq!(after(&once, wall("2026-06-01T00:00:00")), Some(wall("2027-01-01T00:00:00")));
        assert_eq!(after(&once, wall("2027-01-01T00:00:00")), None);
        assert_eq!(before(&once, wall("2027-01-01T00:00:00")), None);
        assert_eq!(after(&cron("0 0 30 2 *"), wall("2024-01-01T00:00:00")), None);
    }
}
