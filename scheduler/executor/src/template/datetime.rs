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
    Error, ErrorKind, State, Value,
    value::{DynObject, Kwargs, Object, ObjectRepr, from_args},
};

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
        let delta = given.unwrap_or_default() + timedelta(&kwargs)?;
        let months = years.saturating_mul(12).saturating_add(months).saturating_mul(i64::from(sign));
        Ok(Value::from_object(self.plus_months(months)?.plus(delta * sign)?))
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
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
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
    let date = match unit {
        "day" => Some(date),
        "week" => Some(date.week(chrono::Weekday::Mon).first_day()),
        "month" => date.with_day(1),
        "year" => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        _ => return Err(invalid(format!("{unit:?} is no unit: day, week, month and year are"))),
    };
    let midnight = date.and_then(|date| date.and_hms_opt(0, 0, 0));
    let start = midnight.and_then(|naive| naive.and_local_timezone(at.0.timezone()).earliest());
    start.map(DateTime).ok_or_else(|| invalid(format!("the {unit} has no start in this time zone")))
}

impl Object for Timedelta {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "days" => Some(self.0.num_days().into()),
            "seconds" => Some((self.0.num_seconds() - self.0.num_days() * 86_400).into()),
            _ => None,
        }
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "total_seconds" => {
                from_args::<()>(args)?;
                Ok((self.0.num_milliseconds() as f64 / 1e3).into())
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.0.cmp(&other.0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.num_seconds();
        write!(f, "{} days, {:02}:{:02}:{:02}", secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60)
    }
}

pub(super) fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
