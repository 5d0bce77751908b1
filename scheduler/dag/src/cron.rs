//! Cron expressions in the dialect that Airflow accepts (croniter's), checked and spread out.
//!
//! A [`CronExpr`] says which wall-clock times fit; finding the next one is the engine's work. Odd corners are Airflow's,
//! so that a schedule means here what it meant there: with both days restricted either suffices, a weekday with `#` or
//! `L` decides alone, and a step from a field's last value covers the whole field.

mod field;

use chrono::{Datelike, NaiveDate};

use field::{Field, FieldSet};
pub use field::{MonthDays, NthWeekday, WeekOfMonth};

/// The longest expression that is looked at; real ones have less than a tenth of it.
const TEXT_LENGTH_MAX: usize = 500;

/// A checked cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronExpr {
    text: String,
    seconds: Vec<u32>,
    minutes: Vec<u32>,
    hours: Vec<u32>,
    months: Vec<u32>,
    days: DayRule,
    years: Option<Vec<u32>>,
}

/// Which days fit, within the months that fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DayRule {
    /// Every day.
    Every,
    /// Days of the month.
    OfMonth(MonthDays),
    /// Days of the week, Sunday is 0.
    OfWeek(Vec<u32>),
    /// Days of the month, and also days of the week.
    Either(MonthDays, Vec<u32>),
    /// Certain weekdays of the month, such as the second Friday, whatever the day of the month says.
    Nth(Vec<NthWeekday>),
}

/// Says whether Airflow would accept the expression, and why not.
///
/// # Errors
/// One sentence that names the field and what it may hold.
pub fn cron_check(expression: &str) -> Result<(), String> {
    CronExpr::parse(expression).map(|_| ())
}

impl CronExpr {
    /// Reads an expression of five, six (seconds last) or seven (then a year) fields, or a preset such as `@daily`.
    ///
    /// # Errors
    /// One sentence that names the field and what it may hold.
    pub fn parse(expression: &str) -> Result<Self, String> {
        if expression.len() > TEXT_LENGTH_MAX {
            return Err(format!("a cron expression has at most {TEXT_LENGTH_MAX} characters"));
        }
        let lower = expression.trim().to_lowercase();
        let text = if lower.starts_with('@') { preset(&lower)? } else { lower.as_str() };
        let fields: Vec<&str> = text.split_whitespace().collect();
        if !(5..=7).contains(&fields.len()) {
            return Err(format!("expected a cron expression of 5, 6 or 7 fields, found {}", fields.len()));
        }
        Self::of_fields(&fields)
    }

    fn of_fields(fields: &[&str]) -> Result<Self, String> {
        let read = |field: Field| match fields.get(field.index()) {
            Some(text) => FieldSet::parse(field, text, fields.len()),
            None => Ok(FieldSet::absent(field)),
        };
        let days = day_rule(&read(Field::DayOfMonth)?, &read(Field::DayOfWeek)?, fields)?;
        let years = read(Field::Year)?;
        Ok(Self {
            text: fields.join(" "),
            seconds: read(Field::Second)?.numbers,
            minutes: read(Field::Minute)?.numbers,
            hours: read(Field::Hour)?.numbers,
            months: read(Field::Month)?.numbers,
            days,
            years: if years.is_full(Field::Year) { None } else { Some(years.numbers) },
        })
    }

    /// The expression in its plain form: presets resolved, lower case, one space between fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The seconds that fit, ascending; only 0 unless the expression has six or more fields.
    #[must_use]
    pub fn seconds(&self) -> &[u32] {
        &self.seconds
    }

    /// The minutes that fit, ascending.
    #[must_use]
    pub fn minutes(&self) -> &[u32] {
        &self.minutes
    }

    /// The hours that fit, ascending.
    #[must_use]
    pub fn hours(&self) -> &[u32] {
        &self.hours
    }

    /// The months that fit, ascending from 1.
    #[must_use]
    pub fn months(&self) -> &[u32] {
        &self.months
    }

    /// The years that fit, ascending; none for all.
    #[must_use]
    pub fn years(&self) -> Option<&[u32]> {
        self.years.as_deref()
    }

    /// Which days fit.
    #[must_use]
    pub const fn days(&self) -> &DayRule {
        &self.days
    }

    /// Whether it counts in seconds instead of minutes.
    #[must_use]
    pub fn has_seconds(&self) -> bool {
        self.text.split(' ').count() > 5
    }

    /// Whether every hour fits: such an expression is stepped in elapsed time, not by the wall clock.
    #[must_use]
    pub fn covers_every_hour(&self) -> bool {
        self.hours.len() == 24
    }

    /// Whether a day fits, month and year included.
    #[must_use]
    pub fn fits_day(&self, date: NaiveDate) -> bool {
        let year_fits = match &self.years {
            None => true,
            Some(years) => u32::try_from(date.year()).is_ok_and(|year| years.contains(&year)),
        };
        year_fits && self.months.contains(&date.month()) && self.days.fits(date)
    }

    /// Whether any day fits at all: `0 0 30 2 *` is well formed and never comes.
    #[must_use]
    pub fn can_fire(&self) -> bool {
        // The calendar repeats every 28 years between 1901 and 2099, which holds all years that can be named.
        const CYCLE: std::ops::Range<u32> = 2000..2028;
        let fits = |year: u32| {
            i32::try_from(year)
                .ok()
                .and_then(|year| NaiveDate::from_ymd_opt(year, 1, 1))
                .is_some_and(|first| first.iter_days().take(366).any(|day| self.fits_day(day)))
        };
        match &self.years {
            None => CYCLE.clone().any(fits),
            Some(years) => years.iter().copied().any(fits),
        }
    }
}

impl DayRule {
    fn fits(&self, date: NaiveDate) -> bool {
        let weekday = date.weekday().num_days_from_sunday();
        match self {
            Self::Every => true,
            Self::OfMonth(days) => days.fits(date),
            Self::OfWeek(weekdays) => weekdays.contains(&weekday),
            Self::Either(days, weekdays) => days.fits(date) || weekdays.contains(&weekday),
            Self::Nth(nths) => nths.iter().any(|nth| nth.fits(date)),
        }
    }
}

/// Joins the two day fields.
fn day_rule(month: &FieldSet, week: &FieldSet, fields: &[&str]) -> Result<DayRule, String> {
    let star_in = |field: Field| fields.get(field.index()).is_some_and(|text| text.contains('*'));
    // A list of all days counts as "every" only when the other field has a star: so croniter decides.
    let any_month = month.is_full(Field::DayOfMonth) && (month.star || star_in(Field::DayOfWeek));
    let any_week = week.is_full(Field::DayOfWeek) && (week.star || star_in(Field::DayOfMonth));
    if !week.nth.is_empty() {
        let counted = |day: &u32| week.nth.iter().any(|nth| nth.weekday == *day);
        if !week.is_full(Field::DayOfWeek) && !week.numbers.iter().all(counted) {
            return Err("day of week: plain days can not be mixed with # or L".to_owned());
        }
        return Ok(DayRule::Nth(week.nth.clone()));
    }
    let month_days = || MonthDays { listed: month.numbers.clone(), last: month.last, nearest: month.nearest.clone() };
    Ok(match (any_month, any_week) {
        (true, true) => DayRule::Every,
        (false, true) => DayRule::OfMonth(month_days()),
        (true, false) => DayRule::OfWeek(week.numbers.clone()),
        (false, false) => DayRule::Either(month_days(), week.numbers.clone()),
    })
}

fn preset(name: &str) -> Result<&'static str, String> {
    match name {
        "@hourly" => Ok("0 * * * *"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@monthly" => Ok("0 0 1 * *"),
        "@quarterly" => Ok("0 0 1 */3 *"),
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        _ => Err(format!(
            "the preset {name:?} is not known; there are @hourly @daily @weekly @monthly @quarterly @yearly, and the \
             schedules @once and @continuous"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn expr(text: &str) -> CronExpr {
        CronExpr::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn what_airflow_accepts_is_accepted() {
        let accepted = "0 0 * * sun|0 0 13 * 5|0 0 * dec-feb *|@monthly|0 0 * * 1-5/2|0 0 01 01 *|*/61 * * * *|R * * * *\
            |0 0 L * *|0 0 * * L5|0 0 * * 5#2|0 0 15W * *|0 0 ? * MON|0 0 * * fri-mon|0 22-2 * * *|50-10/5 * * * *\
            |5/15 * * * *|*/10 * * * * 30|0 0 1 1 * 0 2030|@quarterly|@annually|@midnight|0 0 15-L * *|0 0 * * mon-fri#1\
            |0 0 1,L * *|0,30 0 * * 7|R(0-10)/3 * * * *|0 0 * * 5-7";
        for text in accepted.split('|') {
            assert_eq!(cron_check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_airflow_refuses_is_refused() {
        let refused = "0 0 * * 5L|0 0 LW * *|H * * * *|@reboot|@every 5m|60 * * * *|0 24 * * *|0 0 32 * *|0 0 0 * *\
            |0 0 * 13 *|0 0 * * 8|* * * *|* * * * * * * *||-5 * * * *|*/0 * * * *|1-2-3 * * * *|a * * * *|0 0 * * 1,5#2\
            |0 0 * * 5#6|? * * * *|0 0 *? * *|/5 * * * *|5//2 * * * *|0 0 * * L|0 0 L-3 * *|0 0 * * 1-5#2|0 0 * jan#1 *\
            |0 0 * * * 0 1969|1, * * * *|@|R(9-3) * * * *|99999999999999999999 * * * *|*/99999999999999999999 * * * *";
        for text in refused.split('|') {
            assert!(cron_check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_wrap_and_steps_go_on_over_the_end() {
        assert_eq!(expr("50-10/5 * * * *").minutes(), [0, 5, 10, 50, 55]);
        assert_eq!(expr("5/15 * * * *").minutes(), [5, 20, 35, 50]);
        assert_eq!(expr("* 22-2 * * *").hours(), [0, 1, 2, 22, 23]);
        assert_eq!(expr("0 0 * dec-feb *").months(), [1, 2, 12]);
        assert_eq!(*expr("0 0 * * fri-mon").days(), DayRule::OfWeek(vec![0, 1, 5, 6]));
        assert_eq!(*expr("0 0 * * 1-5/2").days(), DayRule::OfWeek(vec![1, 3, 5]));
        assert_eq!(expr("*/61 * * * *").minutes(), [0]);
        assert!(expr("0 */1 * * *").covers_every_hour());
        assert!(!expr("0 1-23 * * *").covers_every_hour());
    }

    #[test]
    fn two_restricted_days_are_either_or() {
        let friday_or_13 = expr("0 0 13 * 5");
        assert!(friday_or_13.fits_day(day("2024-03-01")) && friday_or_13.fits_day(day("2024-03-13")));
        assert!(!friday_or_13.fits_day(day("2024-03-12")));
        let tens_or_monday = expr("0 0 */10 * 1");
        assert!(tens_or_monday.fits_day(day("2024-03-11")) && tens_or_monday.fits_day(day("2024-03-21")));
        assert!(tens_or_monday.fits_day(day("2024-03-18")) && !tens_or_monday.fits_day(day("2024-03-19")));
    }

    #[test]
    fn last_days_and_counted_weekdays_are_found() {
        assert!(expr("0 0 L 2 *").fits_day(day("2024-02-29")) && !expr("0 0 L 2 *").fits_day(day("2024-02-28")));
        assert!(expr("0 0 * * L5").fits_day(day("2024-02-23")) && !expr("0 0 * * L5").fits_day(day("2024-02-16")));
        assert!(expr("0 0 * * 5#2").fits_day(day("2024-03-08")) && !expr("0 0 * * 5#2").fits_day(day("2024-03-15")));
        // The 15th of June 2024 is a Saturday, the 1st a Saturday whose Friday is in another month.
        assert!(expr("0 0 15W * *").fits_day(day("2024-06-14")) && !expr("0 0 15W * *").fits_day(day("2024-06-15")));
        assert!(expr("0 0 1W * *").fits_day(day("2024-06-03")));
    }

    #[test]
    fn an_expression_that_never_comes_is_known_as_such() {
        assert!(!expr("0 0 30 2 *").can_fire());
        assert!(!expr("0 0 31 4,6,9,11 *").can_fire());
        assert!(!expr("0 0 29 2 * 0 2023").can_fire());
        assert!(expr("0 0 29 2 *").can_fire());
    }

    #[test]
    fn random_fields_are_the_same_on_every_machine() {
        assert_eq!(expr("R R * * *"), expr("R R * * *"));
        assert_eq!(expr("R * * * *").minutes().len(), 1);
    }
}
