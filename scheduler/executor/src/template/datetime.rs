//! Instants and durations inside templates, with the attributes and methods that Airflow users write.

use std::{
    cmp::Ordering,
    fmt::{self, Write as _},
    sync::Arc,
};

use chrono::{
    DateTime as Instant, Datelike as _, Months, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Timelike as _, Utc,
};
use chrono_tz::Tz;
use minijinja::{
    Error, State, Value,
    value::{DynObject, Kwargs, Object, ObjectRepr, from_args},
};

use super::methods::unknown;

/// An instant with the zone that it is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTime(pub(super) Instant<Tz>);

/// A duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timedelta(pub(super) TimeDelta);

/// Units of a duration as Python names them, in microseconds.
const UNITS: &[(&str, f64)] = &[
    ("weeks", 604_800e6),
    ("days", 86_400e6),
    ("hours", 3_600e6),
    ("minutes", 60e6),
    ("seconds", 1e6),
    ("milliseconds", 1e3),
    ("microseconds", 1.0),
];

/// The methods of an instant.
const METHODS: &[&str] = &[
    "strftime",
    "isoformat",
    "format",
    "add",
    "subtract",
    "start_of",
    "end_of",
    "first_of",
    "last_of",
    "replace",
    "set",
    "diff",
    "in_timezone",
    "in_tz",
    "date",
    "timestamp",
    "weekday",
    "isoweekday",
    "to_date_string",
    "to_time_string",
    "to_datetime_string",
    "to_iso8601_string",
    "to_rfc3339_string",
];
/// The methods of a duration.
const DURATION_METHODS: &[&str] = &["total_seconds", "in_days", "in_hours", "in_minutes", "in_seconds"];

impl From<Instant<Utc>> for DateTime {
    fn from(instant: Instant<Utc>) -> Self {
        Self(instant.with_timezone(&Tz::UTC))
    }
}

impl DateTime {
    /// Reads what people write: a date, or a date and a time, UTC unless it says otherwise.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Ok(instant) = Instant::parse_from_rfc3339(text) {
            return Ok(instant.to_utc().into());
        }
        let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"].iter();
        let time = naive.filter_map(|format| NaiveDateTime::parse_from_str(text, format).ok()).next();
        let midnight = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        time.or_else(midnight)
            .map(|naive| naive.and_utc().into())
            .ok_or_else(|| invalid(format!("{text:?} is no date: write it as 2026-01-31 or 2026-01-31T12:00:00+00:00")))
    }

    /// Formats as Python's strftime does.
    pub(super) fn strftime(self, format: &str) -> Result<String, Error> {
        // Python's %f has six digits, chrono's nine.
        let format = format.replace("%f", "%6f");
        let mut text = String::new();
        write!(text, "{}", self.0.format(&format)).map_err(|_| invalid(format!("{format:?} is no date format")))?;
        Ok(text)
    }

    /// As Python's isoformat.
    pub(super) fn isoformat(self) -> String {
        let micros = self.0.timestamp_subsec_micros() != 0;
        self.0.to_rfc3339_opts(if micros { SecondsFormat::Micros } else { SecondsFormat::Secs }, false)
    }

    pub(super) fn plus(self, delta: TimeDelta) -> Result<Self, Error> {
        self.0.checked_add_signed(delta).map(Self).ok_or_else(|| invalid("the date is out of range".to_owned()))
    }

    fn plus_months(self, months: i64) -> Result<Self, Error> {
        let count = Months::new(u32::try_from(months.unsigned_abs()).unwrap_or(u32::MAX));
        let moved = if months < 0 { self.0.checked_sub_months(count) } else { self.0.checked_add_months(count) };
        moved.map(Self).ok_or_else(|| invalid("the date is out of range".to_owned()))
    }

    fn shifted(self, args: &[Value], sign: i32) -> Result<Value, Error> {
        let (delta, kwargs): (Option<Value>, Kwargs) = from_args(args)?;
        let months = kwargs.get::<Option<i64>>("months")?.unwrap_or(0);
        let years = kwargs.get::<Option<i64>>("years")?.unwrap_or(0);
        let given = delta.as_ref().and_then(|value| value.downcast_object_ref::<Timedelta>()).map(|delta| delta.0);
        let has_days = ["weeks", "days"].iter().any(|unit| kwargs.has(unit));
        let delta = (given.unwrap_or_default() + timedelta(&kwargs)?) * sign;
        let months = years.saturating_mul(12).saturating_add(months).saturating_mul(i64::from(sign));
        let moved = self.plus_months(months)?;
        Ok(Value::from_object(if has_days { moved.plus_on_the_clock(delta)? } else { moved.plus(delta)? }))
    }

    /// The same time of day so much later, as pendulum has it of days and weeks; where clocks are set, later than that.
    fn plus_on_the_clock(self, delta: TimeDelta) -> Result<Self, Error> {
        let naive = self.0.naive_local().checked_add_signed(delta);
        self.on_the_clock(naive.ok_or_else(|| invalid("the date is out of range".to_owned()))?)
    }

    /// A time of the wall clock of its zone.
    fn on_the_clock(self, naive: NaiveDateTime) -> Result<Self, Error> {
        let gap = TimeDelta::hours(3);
        let zone = self.0.timezone();
        let at = |naive: NaiveDateTime| naive.and_local_timezone(zone).latest();
        // A time that never was on the clock is as long after one that was.
        let moved = at(naive).or_else(|| at(naive.checked_sub_signed(gap)?)?.checked_add_signed(gap));
        moved.map(Self).ok_or_else(|| invalid("the date is out of range".to_owned()))
    }

    /// With other parts of its wall time: `replace(day=1, hour=0)`.
    fn with_parts(self, args: &[Value]) -> Result<Self, Error> {
        let (kwargs,): (Kwargs,) = from_args(args)?;
        let local = self.0.naive_local();
        let part = |name: &str, own: u32| Ok::<u32, Error>(kwargs.get::<Option<u32>>(name)?.unwrap_or(own));
        let year = kwargs.get::<Option<i32>>("year")?.unwrap_or_else(|| local.year());
        let date = NaiveDate::from_ymd_opt(year, part("month", local.month())?, part("day", local.day())?);
        let (hour, minute, second) =
            (part("hour", local.hour())?, part("minute", local.minute())?, part("second", local.second())?);
        let micros = part("microsecond", local.and_utc().timestamp_subsec_micros())?;
        kwargs.assert_all_used()?;
        let naive = date.and_then(|date| date.and_hms_micro_opt(hour, minute, second, micros));
        let naive = naive.ok_or_else(|| invalid("there is no such date or time of day".to_owned()))?;
        self.on_the_clock(naive)
    }

    fn in_zone(self, name: &str) -> Result<Self, Error> {
        let zone: Tz = name.parse().map_err(|_| invalid(format!("{name:?} is no time zone")))?;
        Ok(Self(self.0.with_timezone(&zone)))
    }
}

/// The duration that keywords such as `days=1` say.
pub(super) fn timedelta(kwargs: &Kwargs) -> Result<TimeDelta, Error> {
    let mut micros = 0.0;
    for (unit, length) in UNITS {
        micros += kwargs.get::<Option<f64>>(unit)?.unwrap_or(0.0) * length;
    }
    kwargs.assert_all_used()?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a cast from f64 saturates, and what is too long is refused later"
    )]
    Ok(TimeDelta::microseconds(micros as i64))
}

impl Object for DateTime {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = self.0;
        Some(match key.as_str()? {
            "year" => at.year().into(),
            "month" => at.month().into(),
            "day" => at.day().into(),
            "hour" => at.hour().into(),
            "minute" => at.minute().into(),
            "second" => at.second().into(),
            "microsecond" => at.timestamp_subsec_micros().into(),
            "day_of_week" => at.weekday().num_days_from_monday().into(),
            "day_of_year" => at.ordinal().into(),
            "week_of_year" => at.iso_week().week().into(),
            "quarter" => at.quarter().into(),
            "int_timestamp" => at.timestamp().into(),
            "days_in_month" => days_in_month(at.date_naive()).into(),
            // Weeks begin on Monday, also the one that the month begins in.
            "week_of_month" => {
                let before = at.date_naive().with_day(1)?.weekday().num_days_from_monday();
                (at.day() + before).div_ceil(7).into()
            }
            "timezone_name" => at.timezone().name().into(),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "strftime" => self.strftime(from_args::<(&str,)>(args)?.0).map(Value::from),
            "isoformat" => from_args::<()>(args).map(|()| self.isoformat().into()),
            "to_date_string" | "date" => {
                from_args::<()>(args).and_then(|()| self.strftime("%Y-%m-%d")).map(Value::from)
            }
            "timestamp" => from_args::<()>(args).map(|()| (self.0.timestamp_micros() as f64 / 1e6).into()),
            "weekday" => from_args::<()>(args).map(|()| self.0.weekday().num_days_from_monday().into()),
            "isoweekday" => from_args::<()>(args).map(|()| self.0.weekday().number_from_monday().into()),
            "add" => self.shifted(args, 1),
            "subtract" => self.shifted(args, -1),
            "in_timezone" | "in_tz" => self.in_zone(from_args::<(&str,)>(args)?.0).map(Value::from_object),
            "start_of" => start_of(**self, from_args::<(&str,)>(args)?.0).map(Value::from_object),
            "end_of" => end_of(**self, from_args::<(&str,)>(args)?.0).map(Value::from_object),
            "first_of" => {
                let unit = of_unit(from_args::<(&str,)>(args)?.0)?;
                start_of(**self, unit).map(Value::from_object)
            }
            "last_of" => {
                let unit = of_unit(from_args::<(&str,)>(args)?.0)?;
                start_of(end_of(**self, unit)?, "day").map(Value::from_object)
            }
            "replace" | "set" => self.with_parts(args).map(Value::from_object),
            "diff" => {
                let (other,): (Value,) = from_args(args)?;
                let other = other.downcast_object_ref::<Self>().copied();
                let other =
                    other.ok_or_else(|| invalid("diff takes another date, such as data_interval_end".to_owned()))?;
                Ok(Value::from_object(Timedelta((other.0 - self.0).abs())))
            }
            "format" => format_tokens(**self, from_args::<(&str,)>(args)?.0).map(Value::from),
            "to_datetime_string" => {
                from_args::<()>(args).and_then(|()| self.strftime("%Y-%m-%d %H:%M:%S")).map(Value::from)
            }
            "to_time_string" => from_args::<()>(args).and_then(|()| self.strftime("%H:%M:%S")).map(Value::from),
            "to_rfc3339_string" => from_args::<()>(args).map(|()| self.isoformat().into()),
            "to_iso8601_string" => from_args::<()>(args).map(|()| self.isoformat().replace("+00:00", "Z").into()),
            _ => Err(unknown("a date", method, METHODS)),
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.0.cmp(&other.0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.isoformat().replacen('T', " ", 1))
    }
}

fn start_of(at: DateTime, unit: &str) -> Result<DateTime, Error> {
    let date = at.0.date_naive();
    let clock = |hour, minute, second| date.and_hms_opt(hour, minute, second);
    let midnight = |date: Option<NaiveDate>| date.and_then(|date| date.and_hms_opt(0, 0, 0));
    let naive = match unit {
        "second" => clock(at.0.hour(), at.0.minute(), at.0.second()),
        "minute" => clock(at.0.hour(), at.0.minute(), 0),
        "hour" => clock(at.0.hour(), 0, 0),
        "day" => midnight(Some(date)),
        "week" => midnight(Some(date.week(chrono::Weekday::Mon).first_day())),
        "month" => midnight(date.with_day(1)),
        "quarter" => midnight(NaiveDate::from_ymd_opt(date.year(), (date.quarter() - 1) * 3 + 1, 1)),
        "year" => midnight(NaiveDate::from_ymd_opt(date.year(), 1, 1)),
        _ => {
            return Err(invalid(format!(
                "{unit:?} is no unit: second, minute, hour, day, week, month, quarter and year are"
            )));
        }
    };
    let start = naive.and_then(|naive| naive.and_local_timezone(at.0.timezone()).earliest());
    start.map(DateTime).ok_or_else(|| invalid(format!("the {unit} has no start in this time zone")))
}

/// The last microsecond of a unit, as pendulum has it.
fn end_of(at: DateTime, unit: &str) -> Result<DateTime, Error> {
    let start = start_of(at, unit)?;
    let next = match unit {
        "second" => start.plus(TimeDelta::seconds(1))?,
        "minute" => start.plus(TimeDelta::minutes(1))?,
        "hour" => start.plus(TimeDelta::hours(1))?,
        // Days differ in length where clocks are set.
        "day" => start_of(start.plus(TimeDelta::hours(36))?, "day")?,
        "week" => start_of(start.plus(TimeDelta::hours(7 * 24 + 12))?, "week")?,
        "month" => start.plus_months(1)?,
        "quarter" => start.plus_months(3)?,
        _ => start.plus_months(12)?,
    };
    next.plus(TimeDelta::microseconds(-1))
}

/// The units that have a first and a last day here.
fn of_unit(unit: &str) -> Result<&str, Error> {
    match unit {
        "month" | "quarter" | "year" => Ok(unit),
        _ => Err(invalid(format!("{unit:?} is no unit with a first day: month, quarter and year are"))),
    }
}

/// A number as English orders things: `1st`, `22nd`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn days_in_month(date: NaiveDate) -> u32 {
    (28..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap_or(28)
}

/// Pendulum's tokens and what strftime has for them, longest first.
const TOKENS: &[(&str, &str)] = &[
    ("SSSSSS", "%6f"),
    ("YYYY", "%Y"),
    ("MMMM", "%B"),
    ("DDDD", "%j"),
    ("dddd", "%A"),
    ("MMM", "%b"),
    ("DDD", "%-j"),
    ("ddd", "%a"),
    ("SSS", "%3f"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("HH", "%H"),
    ("hh", "%I"),
    ("mm", "%M"),
    ("ss", "%S"),
    ("ZZ", "%z"),
    ("Do", ""),
    ("SS", ""),
    ("dd", ""),
    ("Q", ""),
    ("S", ""),
    ("x", ""),
    ("M", "%-m"),
    ("D", "%-d"),
    ("d", "%w"),
    ("E", "%u"),
    ("H", "%-H"),
    ("h", "%-I"),
    ("m", "%-M"),
    ("s", "%-S"),
    ("A", "%p"),
    ("Z", "%:z"),
    ("z", ""),
    ("X", "%s"),
];

/// Formats as pendulum's `format` does: `YYYY-MM-DD`, with text in brackets as it is.
fn format_tokens(at: DateTime, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        if let Some((literal, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            text.push_str(literal);
            rest = after;
            continue;
        }
        let Some((token, directive)) = TOKENS.iter().find(|(token, _)| rest.starts_with(token)) else {
            if c.is_ascii_alphabetic() {
                return Err(invalid(format!(
                    "{format:?} has {c:?}, which is no token of a date here; write text in [brackets], or use strftime"
                )));
            }
            text.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        match *token {
            "Q" => text.push_str(&at.0.quarter().to_string()),
            "z" => text.push_str(at.0.timezone().name()),
            "Do" => text.push_str(&ordinal(at.0.day())),
            "dd" => text.extend(at.strftime("%a")?.chars().take(2)),
            "S" | "SS" => text.extend(at.strftime("%6f")?.chars().take(token.len())),
            "x" => text.push_str(&at.0.timestamp_millis().to_string()),
            _ => text.push_str(&at.strftime(directive)?),
        }
        rest = &rest[token.len()..];
    }
    Ok(text)
}

impl Object for Timedelta {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (days, seconds, micros) = self.parts();
        match key.as_str()? {
            "days" => Some(days.into()),
            "seconds" => Some(seconds.into()),
            "microseconds" => Some(micros.into()),
            _ => None,
        }
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "total_seconds" => {
                from_args::<()>(args)?;
                let (days, seconds, micros) = self.parts();
                Ok((days as f64 * 86_400.0 + seconds as f64 + micros as f64 / 1e6).into())
            }
            "in_days" => from_args::<()>(args).map(|()| self.0.num_days().into()),
            "in_hours" => from_args::<()>(args).map(|()| self.0.num_hours().into()),
            "in_minutes" => from_args::<()>(args).map(|()| self.0.num_minutes().into()),
            "in_seconds" => from_args::<()>(args).map(|()| self.0.num_seconds().into()),
            _ => Err(unknown("a duration", method, DURATION_METHODS)),
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.0.cmp(&other.0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds, micros) = self.parts();
        match days {
            0 => {}
            1 | -1 => write!(f, "{days} day, ")?,
            days => write!(f, "{days} days, ")?,
        }
        write!(f, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if micros == 0 { Ok(()) } else { write!(f, ".{micros:06}") }
    }
}

impl Timedelta {
    /// Days, seconds and microseconds as Python has them: only the days are ever negative.
    fn parts(self) -> (i64, i64, i64) {
        const SECONDS_A_DAY: i64 = 86_400;
        let nanos = i64::from(self.0.subsec_nanos());
        let seconds = self.0.num_seconds() - i64::from(nanos < 0);
        let micros = nanos.rem_euclid(1_000_000_000) / 1_000;
        (seconds.div_euclid(SECONDS_A_DAY), seconds.rem_euclid(SECONDS_A_DAY), micros)
    }
}

pub(super) fn invalid(detail: String) -> Error {
    Error::new(minijinja::ErrorKind::InvalidOperation, detail)
}
