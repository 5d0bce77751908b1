//! Instants that PostgreSQL and every reader of RFC 3339 have: the years 1 to 9999, to the microsecond.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Numbers beyond this are milliseconds, as pydantic reads them: in seconds they would lie after the year 2600.
const SECONDS_MAX: f64 = 2e10;

/// An instant that can be stored, cut to the microseconds that PostgreSQL keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Timestamp", into = "Timestamp")]
pub struct Instant(Timestamp);

/// What is taken for an instant without a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// It is UTC.
    Utc,
    /// Nothing: the text has to say it.
    Required,
}

/// A text or number that is no instant, or one that can not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstant {
    /// It can not be read.
    #[error("expected a date or an instant, such as 2026-11-21 or 2026-11-21T06:00:00Z")]
    Unreadable,
    /// The calendar here has the years 1 to 9999, in UTC.
    #[error("the instant lies outside of the years 1 to 9999")]
    OutOfRange,
    /// It says no zone, and none may be assumed.
    #[error("the instant has no time zone: add one, such as Z or +01:00")]
    NoZone,
}

impl Instant {
    /// The earliest.
    pub const MIN: Self = Self(midnight(1, 1, 1));
    /// The latest.
    pub const MAX: Self = Self(last_microsecond());

    /// Checks an instant, and cuts it to microseconds.
    ///
    /// # Errors
    /// [`InvalidInstant::OutOfRange`].
    pub fn new(instant: Timestamp) -> Result<Self, InvalidInstant> {
        let cut = instant.trunc_subsecs(6);
        if (Self::MIN.0..=Self::MAX.0).contains(&cut) { Ok(Self(cut)) } else { Err(InvalidInstant::OutOfRange) }
    }

    /// The instant.
    #[must_use]
    pub const fn get(self) -> Timestamp {
        self.0
    }

    /// Reads the forms that Airflow's clients send: `2026-01-01`, `2026-01-01T00:00Z`, `2026-01-01 00:00:00.5+0000`, and
    /// seconds or milliseconds since 1970.
    ///
    /// # Errors
    /// [`InvalidInstant`].
    pub fn parse(text: &str, zone: Zone) -> Result<Self, InvalidInstant> {
        let text = text.trim();
        if let Some(read) = written(text) {
            let (at, offset) = read?;
            let offset = match (offset, zone) {
                (Some(offset), _) => offset,
                (None, Zone::Utc) => TimeDelta::zero(),
                (None, Zone::Required) => return Err(InvalidInstant::NoZone),
            };
            let at = at.checked_sub_signed(offset).ok_or(InvalidInstant::OutOfRange)?;
            return Self::new(at.and_utc());
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E')) {
            return Err(InvalidInstant::Unreadable);
        }
        Self::since_1970(text.parse().map_err(|_| InvalidInstant::Unreadable)?)
    }

    /// The instant so many seconds after 1970 began; large numbers are milliseconds.
    ///
    /// # Errors
    /// [`InvalidInstant::OutOfRange`], also for what is no number.
    pub fn since_1970(number: f64) -> Result<Self, InvalidInstant> {
        let seconds = if number.abs() > SECONDS_MAX { number / 1000.0 } else { number };
        let micros = (seconds * 1e6).round();
        // Every instant of the years 1 to 9999 is far below this, and a conversion from here on is exact.
        if !micros.is_finite() || micros.abs() > 1e18 {
            return Err(InvalidInstant::OutOfRange);
        }
        let at = DateTime::<Utc>::from_timestamp_micros(micros as i64);
        Self::new(at.ok_or(InvalidInstant::OutOfRange)?)
    }
}

const fn midnight(year: i32, month: u32, day: u32) -> Timestamp {
    match NaiveDate::from_ymd_opt(year, month, day) {
        Some(date) => NaiveDateTime::new(date, NaiveTime::MIN).and_utc(),
        None => panic!("a constant names a day of the calendar"),
    }
}

const fn last_microsecond() -> Timestamp {
    let next = midnight(10_000, 1, 1);
    match DateTime::from_timestamp_micros(next.timestamp_micros() - 1) {
        Some(last) => last,
        None => panic!("the microsecond before a day is an instant"),
    }
}

/// A written date and time, with what its zone adds to UTC; none when it does not begin like a date.
type Written = (NaiveDateTime, Option<TimeDelta>);

fn written(text: &str) -> Option<Result<Written, InvalidInstant>> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = date.as_bytes() else { return None };
    let (year, month, day) = (digits(year)?, digits(&[*m1, *m2])?, digits(&[*d1, *d2])?);
    Some(date_and_time((year, month, day), rest))
}

fn date_and_time((year, month, day): (u32, u32, u32), rest: &str) -> Result<Written, InvalidInstant> {
    if year == 0 {
        return Err(InvalidInstant::OutOfRange);
    }
    let year = i32::try_from(year).map_err(|_| InvalidInstant::OutOfRange)?;
    let date = NaiveDate::from_ymd_opt(year, month, day).ok_or(InvalidInstant::Unreadable)?;
    if rest.is_empty() {
        return Ok((date.and_time(NaiveTime::MIN), None));
    }
    let rest = rest.strip_prefix(['T', 't', ' ', '_']).ok_or(InvalidInstant::Unreadable)?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let time = clock(time.trim_end()).ok_or(InvalidInstant::Unreadable)?;
    let offset = if zone.is_empty() { None } else { Some(offset(zone).ok_or(InvalidInstant::Unreadable)?) };
    Ok((date.and_time(time), offset))
}

/// `06:30`, `06:30:15`, `06:30:15.123456`; further digits are cut.
fn clock(text: &str) -> Option<NaiveTime> {
    let (whole, fraction) = text.split_once(['.', ',']).map_or((text, None), |(whole, part)| (whole, Some(part)));
    let mut parts = whole.split(':');
    let mut next = || parts.next().map(two_digits);
    let (hour, minute, second) = (next()??, next()??, next());
    if parts.next().is_some() {
        return None;
    }
    let micros = match (fraction, second) {
        (None, _) => 0,
        (Some(_), None) => return None,
        (Some(part), Some(_)) => micros(part)?,
    };
    NaiveTime::from_hms_micro_opt(hour, minute, second.unwrap_or(Some(0))?, micros)
}

fn micros(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().ok()
}

/// `Z`, `+01:00`, `+0100`, `+01`.
fn offset(text: &str) -> Option<TimeDelta> {
    if matches!(text, "Z" | "z") {
        return Some(TimeDelta::zero());
    }
    let (sign, rest) = text.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-"))?;
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (two_digits(hours)?, two_digits(minutes)?),
        None if rest.len() == 4 => (two_digits(rest.get(..2)?)?, two_digits(rest.get(2..)?)?),
        None => (two_digits(rest)?, 0),
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let length = TimeDelta::minutes(i64::from(hours * 60 + minutes));
    Some(if sign == "-" { -length } else { length })
}

fn two_digits(text: &str) -> Option<u32> {
    let [tens, ones] = text.as_bytes() else { return None };
    digits(&[*tens, *ones])
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

impl TryFrom<Timestamp> for Instant {
    type Error = InvalidInstant;
    fn try_from(instant: Timestamp) -> Result<Self, InvalidInstant> {
        Self::new(instant)
    }
}

impl From<Instant> for Timestamp {
    fn from(instant: Instant) -> Self {
        instant.0
    }
}

impl FromStr for Instant {
    type Err = InvalidInstant;

    /// A date or an instant; without a zone it is UTC.
    fn from_str(text: &str) -> Result<Self, InvalidInstant> {
        Self::parse(text, Zone::Utc)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, InvalidInstant> {
        Instant::parse(text, Zone::Utc).map(|instant| instant.get().to_rfc3339())
    }

    #[test]
    fn every_form_that_clients_send_is_read() {
        let forms = [
            "2026-01-01",
            "2026-01-01T00:00",
            "2026-01-01T00:00Z",
            "2026-01-01t00:00:00z",
            "2026-01-01 00:00:00+0000",
            "2026-01-01T00:00:00 +00:00",
            "2026-01-01_01:00:00.000000+01",
            "2025-12-31T19:00:00.0000004-05:00",
            "1767225600",
            "1767225600.0",
            "1.7672256e9",
            "1767225600000",
            " 2026-01-01T00:00:00,0Z ",
        ];
        for text in forms {
            assert_eq!(read(text).as_deref(), Ok("2026-01-01T00:00:00+00:00"), "{text}");
        }
        assert_eq!(read("2026-01-01T06:30:15.5Z").unwrap(), "2026-01-01T06:30:15.500+00:00");
        assert_eq!(read("-1").unwrap(), "1969-12-31T23:59:59+00:00");
    }

    #[test]
    fn what_no_calendar_has_is_refused() {
        for text in
            ["0000-01-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01", "1e300", "99999999999999999"]
        {
            assert_eq!(Instant::parse(text, Zone::Utc).unwrap_err(), InvalidInstant::OutOfRange, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "-9999-01-01",
            "10000-01-01",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01T24:00",
            "2026-01-01T00",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01X00:00",
            "2026-01-01T00:00+25:00",
            "NaN",
            "inf",
            "2026-01-01T00:00:00ZZ",
            "٢٠٢٦-01-01",
            "2026-1-1",
            "+",
            "-",
            "2026-01-01\0",
            "--",
            "1.2.3",
        ] {
            assert_eq!(read(text), Err(InvalidInstant::Unreadable), "{text:?}");
        }
        assert!(Instant::since_1970(f64::NAN).is_err() && Instant::since_1970(f64::INFINITY).is_err());
    }

    #[test]
    fn the_borders_are_the_first_and_the_last_microsecond() {
        assert_eq!(read("0001-01-01").unwrap(), Instant::MIN.get().to_rfc3339());
        assert_eq!(read("9999-12-31T23:59:59.999999Z").unwrap(), Instant::MAX.get().to_rfc3339());
        assert!(Instant::new(Timestamp::MIN_UTC).is_err() && Instant::new(Timestamp::MAX_UTC).is_err());
        assert!(serde_json::from_str::<Instant>(r#""+10000-01-01T00:00:00Z""#).is_err());
    }

    #[test]
    fn a_zone_is_asked_for_where_none_may_be_assumed() {
        assert_eq!(Instant::parse("2026-01-01T00:00", Zone::Required), Err(InvalidInstant::NoZone));
        assert!(Instant::parse("2026-01-01T00:00Z", Zone::Required).is_ok());
        assert!(Instant::parse("1767225600", Zone::Required).is_ok(), "seconds since 1970 are UTC");
    }
}
