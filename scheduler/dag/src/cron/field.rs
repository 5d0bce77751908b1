//! One field of a cron expression: from its text to the numbers that fit.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate};
use sha2::{Digest, Sha256};

const MONTH_NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKS: [&str; 5] = ["1", "2", "3", "4", "5"];
const WEEKDAY_NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The fields in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Second,
    Year,
}

impl Field {
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Second => "second",
            Self::Year => "year",
        }
    }

    const fn bounds(self) -> (u32, u32) {
        match self {
            Self::Minute | Self::Second => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 6),
            Self::Year => (1970, 2099),
        }
    }
}

/// Days of the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthDays {
    /// By number, ascending.
    pub listed: Vec<u32>,
    /// Whether the last day of the month is one (`L`).
    pub last: bool,
    /// The weekdays nearest to these days, in the same month (`15W`); none in a month without such a day.
    pub nearest: Vec<u32>,
}

impl MonthDays {
    /// Whether a day is one of them.
    #[must_use]
    pub fn fits(&self, date: NaiveDate) -> bool {
        self.listed.contains(&date.day())
            || (self.last && date.day() == days_in_month(date))
            || self.nearest.iter().any(|day| nearest_weekday(date, *day) == Some(date.day()))
    }
}

/// A certain weekday of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NthWeekday {
    /// The day of the week, Sunday is 0.
    pub weekday: u32,
    /// Which of them.
    pub week: WeekOfMonth,
}

/// Which of a month's days of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WeekOfMonth {
    /// The first to the fifth (`5#2`).
    Nth(u32),
    /// The last (`L5`).
    Last,
}

impl NthWeekday {
    /// Whether a day is it.
    #[must_use]
    pub fn fits(&self, date: NaiveDate) -> bool {
        let in_its_week = match self.week {
            WeekOfMonth::Nth(week) => (date.day() - 1) / 7 + 1 == week,
            WeekOfMonth::Last => date.day() + 7 > days_in_month(date),
        };
        in_its_week && date.weekday().num_days_from_sunday() == self.weekday
    }
}

/// What one field says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FieldSet {
    /// The numbers that fit, ascending.
    pub(super) numbers: Vec<u32>,
    /// Whether a bare star is among its items.
    pub(super) star: bool,
    /// Whether the last day of the month fits.
    pub(super) last: bool,
    /// The days of the month whose nearest weekday fits.
    pub(super) nearest: Vec<u32>,
    /// The counted weekdays that fit.
    pub(super) nth: Vec<NthWeekday>,
}

impl FieldSet {
    /// What a field means that is not written: second 0, every year.
    pub(super) fn absent(field: Field) -> Self {
        match field {
            Field::Second => Self { numbers: vec![0], ..Self::default() },
            _ => Self { numbers: all(field).collect(), star: true, ..Self::default() },
        }
    }

    /// Reads a field, in lower case. `count` is how many fields the expression has: 7 is Sunday only among five.
    pub(super) fn parse(field: Field, text: &str, count: usize) -> Result<Self, String> {
        let reader = Reader { field, count };
        let mut numbers = BTreeSet::new();
        let mut set = Self::default();
        if text.contains('?') && (text != "?" || !matches!(field, Field::DayOfMonth | Field::DayOfWeek)) {
            return Err(reader.refuse(text, "? stands alone, and only for a day"));
        }
        if let Some(rest) = text.strip_prefix('r') {
            numbers.extend(reader.random(text, rest)?);
        } else {
            for item in text.split(',') {
                reader.item(item, &mut numbers, &mut set)?;
            }
        }
        set.numbers = numbers.into_iter().collect();
        set.nth.sort_unstable();
        set.nth.dedup();
        Ok(set)
    }

    /// Whether every number of the field fits.
    pub(super) fn is_full(&self, field: Field) -> bool {
        let (low, high) = field.bounds();
        self.numbers.len() == (high - low + 1) as usize
    }
}

struct Reader {
    field: Field,
    count: usize,
}

impl Reader {
    fn item(&self, item: &str, numbers: &mut BTreeSet<u32>, set: &mut FieldSet) -> Result<(), String> {
        if item == "*" || item == "?" {
            set.star = true;
            numbers.extend(all(self.field));
            return Ok(());
        }
        match (self.field, item.strip_suffix('w'), item.strip_prefix('l')) {
            (Field::DayOfMonth, _, Some("")) => set.last = true,
            (Field::DayOfMonth, Some(day), _) => set.nearest.push(self.digits(day)?),
            (Field::DayOfWeek, _, Some(weekday)) => {
                set.nth.push(NthWeekday { weekday: self.digits(weekday)?, week: WeekOfMonth::Last });
            }
            (Field::DayOfWeek, ..) if item.contains('#') => set.nth.extend(self.counted(item)?),
            _ => numbers.extend(self.plain(item)?),
        }
        Ok(())
    }

    /// A number, a range, or either with a step.
    fn plain(&self, item: &str) -> Result<Vec<u32>, String> {
        let (base, step) = match item.split_once('/') {
            Some((base, step)) => (base, Some(self.step(item, step)?)),
            None => (item, None),
        };
        let (low, high) = self.field.bounds();
        match (base.split_once('-'), step) {
            (None, None) => Ok(vec![self.number(base)?]),
            (None, Some(step)) if base == "*" => Ok(spread(self.field, (low, high), step)),
            (None, Some(step)) => Ok(spread(self.field, (self.number(base)?, high), step)),
            (Some((from, to)), step) => {
                let to = if self.field == Field::DayOfMonth && to == "l" { high } else { self.number(to)? };
                Ok(spread(self.field, (self.number(from)?, to), step.unwrap_or(1)))
            }
        }
    }

    /// `5#2`, `fri#2`, `mon-fri#1`.
    fn counted(&self, item: &str) -> Result<Vec<NthWeekday>, String> {
        let refuse = || self.refuse(item, "expected a weekday, # and 1 to 5, such as 5#2");
        let (days, week) = item.split_once('#').ok_or_else(refuse)?;
        let week = WEEKS.iter().position(|known| *known == week).map(|index| index + 1).ok_or_else(refuse)?;
        let week = u32::try_from(week).map_err(|_| refuse())?;
        // A range has names (`1-5#2` is not taken), and there are no steps.
        if days.contains('/') || (days.contains('-') && days.contains(|c: char| c.is_ascii_digit())) {
            return Err(refuse());
        }
        let weekdays = self.plain(days)?;
        Ok(weekdays.into_iter().map(|weekday| NthWeekday { weekday, week: WeekOfMonth::Nth(week) }).collect())
    }

    /// `r`, `r(0-10)`, `r/5`, `r(0-10)/5`: drawn from the expression's own text, because deciding is repeatable here.
    fn random(&self, item: &str, text: &str) -> Result<Vec<u32>, String> {
        let refuse = || self.refuse(item, "expected R, R(from-to) or one of them with a step");
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, self.step(item, step)?),
            None => (text, 0),
        };
        let (low, high) = match range.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            Some(bounds) => {
                let (from, to) = bounds.split_once('-').ok_or_else(refuse)?;
                (self.digits(from)?, self.digits(to)?)
            }
            // Every month has the days up to 28.
            None if range.is_empty() && self.field == Field::DayOfMonth => (1, 28),
            None if range.is_empty() => self.field.bounds(),
            None => return Err(refuse()),
        };
        if low > high || step > high - low + 1 {
            return Err(refuse());
        }
        let width = if step == 0 { high - low + 1 } else { step };
        let first = low + draw(self.field, item) % width;
        Ok(if step == 0 { vec![first] } else { (first..=high).step_by(step as usize).collect() })
    }

    fn step(&self, item: &str, text: &str) -> Result<u32, String> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|step| plain && *step > 0)
            .ok_or_else(|| self.refuse(item, "expected a step of 1 or more"))
    }

    /// A name or number.
    fn number(&self, text: &str) -> Result<u32, String> {
        let names: &[&str] = match self.field {
            Field::Month => &MONTH_NAMES,
            Field::DayOfWeek => &WEEKDAY_NAMES,
            Field::Minute | Field::Hour | Field::DayOfMonth | Field::Second | Field::Year => &[],
        };
        let (first, _) = self.field.bounds();
        match (first..).zip(names).find(|(_, name)| **name == text) {
            Some((number, _)) => Ok(number),
            None => self.digits(text),
        }
    }

    fn digits(&self, text: &str) -> Result<u32, String> {
        let (low, high) = self.field.bounds();
        let expected = || self.refuse(text, &format!("expected {low} to {high}"));
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected());
        }
        let number: u32 = text.parse().map_err(|_| expected())?;
        let number = match (self.field, self.count, number) {
            (Field::DayOfWeek, 5, 7) => 0,
            (Field::DayOfMonth, 6, 0) => 1,
            _ => number,
        };
        if (low..=high).contains(&number) { Ok(number) } else { Err(expected()) }
    }

    fn refuse(&self, text: &str, expected: &str) -> String {
        format!("{}: {text:?} does not fit; {expected}", self.field.name())
    }
}

fn all(field: Field) -> std::ops::RangeInclusive<u32> {
    let (low, high) = field.bounds();
    low..=high
}

/// The numbers from one to the other by a step. A range that ends before it begins goes on over the end of the field, and
/// one that ends where it begins is the whole field.
fn spread(field: Field, (from, to): (u32, u32), step: u32) -> Vec<u32> {
    let (low, high) = field.bounds();
    let by = step as usize;
    if from == to {
        return (low..=high).step_by(by).collect();
    }
    if from < to {
        return (from..=to).step_by(by).collect();
    }
    let mut numbers: Vec<u32> = (from..=high).step_by(by).collect();
    let skipped = high - numbers.last().copied().unwrap_or(high);
    // Airflow's rule for where the second part begins, which can leave out its first fitting number.
    let first_after = if step > skipped.saturating_add(1) { low.saturating_add(step - skipped) } else { low };
    numbers.extend((first_after..=to).step_by(by));
    numbers
}

fn draw(field: Field, text: &str) -> u32 {
    let digest = Sha256::digest(format!("{} {text}", field.name()));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// How many days the month of a date has.
pub(super) fn days_in_month(date: NaiveDate) -> u32 {
    u32::from(date.num_days_in_month())
}

/// The weekday nearest to a day of the date's month, within that month.
fn nearest_weekday(date: NaiveDate, day: u32) -> Option<u32> {
    let wanted = date.with_day(day)?;
    Some(match wanted.weekday() {
        chrono::Weekday::Sat if day == 1 => 3,
        chrono::Weekday::Sat => day - 1,
        chrono::Weekday::Sun if day == days_in_month(date) => day - 2,
        chrono::Weekday::Sun => day + 1,
        _ => day,
    })
}
