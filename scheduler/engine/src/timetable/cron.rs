//! Cron schedules: plain expressions of five fields, evaluated on the wall clock of their zone.
//!
//! A wall time that does not exist is moved forward by the gap; one that exists twice is its second occurrence.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use dag::{Catchup, CronTimetable};
use model::Timestamp;

use super::Restriction;
use crate::state::DueRun;

/// How many days are searched for a tick: a leap day comes at the latest after eight years.
const SEARCH_DAYS_MAX: u64 = 8 * 366 + 2;

/// The expressions of one schedule.
#[derive(Debug, Clone, Copy)]
pub struct Crons<'a> {
    /// The expressions; every one's ticks count.
    pub expressions: &'a [String],
    /// The zone whose wall clock decides.
    pub timezone: Tz,
    /// What a run stands for.
    pub timetable: CronTimetable,
}

/// The run that follows the last one.
#[must_use]
pub fn next(
    crons: &Crons<'_>,
    restriction: &Restriction,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    let earliest = restriction.earliest.and_then(|at| crons.at_or_after(at));
    let after_last = match (crons.timetable, last_interval) {
        (CronTimetable::CronTrigger, Some((_, end))) => crons.after(end),
        (CronTimetable::CronDataInterval, Some((_, end))) => crons.at_or_before(end),
        (_, None) => None,
    };
    let newest = match (restriction.catchup, crons.timetable) {
        (Catchup::All, _) => None,
        (Catchup::Latest, CronTimetable::CronTrigger) => crons.at_or_before(now),
        (Catchup::Latest, CronTimetable::CronDataInterval) => crons.at_or_before(now).and_then(|end| crons.before(end)),
    };
    let start = [earliest, after_last, newest].into_iter().flatten().max().or_else(|| crons.after(now))?;
    let end = match crons.timetable {
        CronTimetable::CronTrigger => start,
        CronTimetable::CronDataInterval => crons.after(start)?,
    };
    Some(DueRun { logical_date: start, start, end, run_after: end })
}

/// The data that a run by hand covers.
#[must_use]
pub fn manual_interval(crons: &Crons<'_>, run_after: Timestamp) -> (Timestamp, Timestamp) {
    match crons.timetable {
        CronTimetable::CronTrigger => (run_after, run_after),
        CronTimetable::CronDataInterval => {
            let end = crons.at_or_before(run_after).unwrap_or(run_after);
            (crons.before(end).unwrap_or(end), end)
        }
    }
}

impl Crons<'_> {
    /// The first tick strictly after an instant.
    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.with_timezone(&self.timezone).naive_local();
        let fields = self.fields();
        (0..SEARCH_DAYS_MAX)
            .filter_map(|days| local.date().checked_add_days(Days::new(days)))
            .find_map(|day| self.ticks(&fields, day).into_iter().find(|tick| *tick > at))
    }

    /// The last tick strictly before an instant.
    fn before(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.with_timezone(&self.timezone).naive_local();
        let fields = self.fields();
        (0..SEARCH_DAYS_MAX)
            .filter_map(|days| local.date().checked_sub_days(Days::new(days)))
            .find_map(|day| self.ticks(&fields, day).into_iter().rev().find(|tick| *tick < at))
    }

    fn at_or_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.after(at - TimeDelta::microseconds(1))
    }

    fn at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        self.before(at + TimeDelta::microseconds(1))
    }

    fn fields(&self) -> Vec<Fields> {
        self.expressions.iter().filter_map(|text| Fields::parse(text)).collect()
    }

    /// The ticks of one day of the wall clock, in order.
    fn ticks(&self, fields: &[Fields], day: NaiveDate) -> Vec<Timestamp> {
        let mut ticks: Vec<_> =
            fields.iter().flat_map(|fields| fields.ticks_of(day)).filter_map(|wall| self.instant(wall)).collect();
        ticks.sort_unstable();
        ticks.dedup();
        ticks
    }

    /// The instant of a wall time.
    fn instant(&self, wall: NaiveDateTime) -> Option<Timestamp> {
        match self.timezone.from_local_datetime(&wall) {
            chrono::LocalResult::Single(at) => Some(at.to_utc()),
            chrono::LocalResult::Ambiguous(_, second) => Some(second.to_utc()),
            chrono::LocalResult::None => {
                let before = self.timezone.from_local_datetime(&(wall - TimeDelta::hours(3))).latest()?;
                Some(before.to_utc() + TimeDelta::hours(3))
            }
        }
    }
}

/// The values that an expression's fields allow.
struct Fields {
    minutes: Vec<u32>,
    hours: Vec<u32>,
    days: Vec<u32>,
    months: Vec<u32>,
    weekdays: Vec<u32>,
    either_day: bool,
}

impl Fields {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts.as_slice() else { return None };
        Some(Self {
            minutes: values(minutes, 0, 59)?,
            hours: values(hours, 0, 23)?,
            days: values(days, 1, 31)?,
            months: values(months, 1, 12)?,
            weekdays: values(weekdays, 0, 7)?.into_iter().map(|day| day % 7).collect(),
            either_day: *days != "*" && *weekdays != "*",
        })
    }

    fn ticks_of(&self, day: NaiveDate) -> Vec<NaiveDateTime> {
        let by_date = self.days.contains(&day.day());
        let by_weekday = self.weekdays.contains(&day.weekday().num_days_from_sunday());
        let fits = if self.either_day { by_date || by_weekday } else { by_date && by_weekday };
        if !fits || !self.months.contains(&day.month()) {
            return Vec::new();
        }
        let times = self.hours.iter().flat_map(|hour| self.minutes.iter().map(move |minute| (*hour, *minute)));
        times
            .filter_map(|(hour, minute)| NaiveTime::from_hms_opt(hour, minute, 0))
            .map(|time| day.and_time(time))
            .collect()
    }
}

/// The values of one field: `*`, numbers, ranges, lists and steps.
fn values(field: &str, least: u32, most: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => (from.parse().ok()?, to.parse().ok()?),
            (one, None) => {
                let from = one.parse().ok()?;
                (from, if step.is_some() { most } else { from })
            }
        };
        let step = step.map_or(Some(1), |step| step.parse().ok())?;
        if step == 0 || from < least || to > most {
            return None;
        }
        all.extend((from..=to).step_by(usize::try_from(step).ok()?));
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}
