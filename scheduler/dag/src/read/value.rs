//! Single values: texts, numbers, durations, dates, zones, environments.

use std::{collections::BTreeMap, ops::RangeInclusive, str::FromStr, time::Duration};

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use model::Timestamp;

use super::{fields::Item, objects};
use crate::{compiled::RelativeDate, problem::Problems, yaml::Value};

/// The longest duration: whatever is longer is a mistake, and time arithmetic stays far from its limits.
const DURATION_MAX: Duration = Duration::from_secs(3_653 * 86_400);

/// The years of dates. PostgreSQL, RFC 3339 and the calendar all have them, with room for every interval before and after.
const YEARS: RangeInclusive<i32> = 1900..=2200;

/// How a duration is written, for messages.
const DURATION_FORMS: &str = "a duration such as 30s, 5m, 1h30m, PT5M, 1 days or a number of seconds";

/// How a date is written, for messages.
const DATE_FORMS: &str = "a date such as 2026-01-31, or a time such as 2026-01-31T06:00:00+01:00";

/// A date as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Date {
    /// This one.
    At(Timestamp),
    /// So long before another one.
    Before(RelativeDate),
}

impl Item<'_> {
    /// Text that is not empty; a number or truth value counts as it is written.
    pub(super) fn text(&self, problems: &mut Problems) -> Option<String> {
        match self.plain_text(problems)? {
            text if text.trim().is_empty() => self.fail("expected text, found none", problems),
            text => Some(text),
        }
    }

    /// The same, where an empty text is as good as none.
    pub(super) fn text_or_none(&self, problems: &mut Problems) -> Option<String> {
        self.plain_text(problems).filter(|text| !text.trim().is_empty())
    }

    /// Whether it is one scalar that can be read as text.
    pub(super) const fn is_scalar(&self) -> bool {
        matches!(self.node.value, Value::Text(_) | Value::Int(..) | Value::Float(..) | Value::Bool(_))
    }

    /// Text; a number or truth value counts as it is written.
    pub(super) fn plain_text(&self, problems: &mut Problems) -> Option<String> {
        match &self.node.value {
            Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => Some(text.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Map(entries) if let Some(text) = objects::joined(entries) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Refused(_) => self.expected("text", problems),
        }
    }

    /// One text or a list of them.
    pub(super) fn texts(&self, problems: &mut Problems) -> Option<Vec<String>> {
        Some(self.text_items(problems)?.into_iter().map(|(text, _)| text).collect())
    }

    /// One text or a list of them, each with its item.
    pub(super) fn text_items(&self, problems: &mut Problems) -> Option<Vec<(String, Self)>> {
        if self.is_scalar() {
            return Some(vec![(self.text(problems)?, self.clone())]);
        }
        let items = self.list("text or a list of texts", problems)?;
        items.into_iter().map(|item| Some((item.text(problems)?, item))).collect()
    }

    /// A list of texts; numbers count as they are written.
    pub(super) fn text_list(&self, problems: &mut Problems) -> Option<Vec<String>> {
        self.list("a list of texts", problems)?.iter().map(|item| item.plain_text(problems)).collect()
    }

    /// Whether it is true or false, and nothing else.
    pub(super) fn is_truth(&self) -> bool {
        matches!(self.node.value, Value::Bool(_))
    }

    /// True or false.
    pub(super) fn truth(&self, problems: &mut Problems) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => self.expected("true or false", problems),
        }
    }

    /// A whole number in a range.
    pub(super) fn whole<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>, problems: &mut Problems) -> Option<T> {
        match self.node.value {
            Value::Int(number, _) if i64::try_from(number).is_ok_and(|number| range.contains(&number)) => {
                T::try_from(i64::try_from(number).ok()?).ok()
            }
            _ => self.expected(&format!("a whole number from {} to {}", range.start(), range.end()), problems),
        }
    }

    /// A number.
    pub(super) fn number(&self, problems: &mut Problems) -> Option<f64> {
        match &self.node.value {
            Value::Int(number, _) => Some(*number as f64),
            Value::Float(number, _) if number.is_finite() => Some(*number),
            Value::Float(..) => self.expected("a finite number", problems),
            _ => self.expected("a number", problems),
        }
    }

    /// One of a set of words.
    pub(super) fn word<T: FromStr>(&self, words: &[&'static str], problems: &mut Problems) -> Option<T> {
        let text = self.text(problems)?;
        match (words.contains(&text.as_str()), text.parse()) {
            (true, Ok(value)) => Some(value),
            _ => {
                let message = format!("expected one of {}, found {text:?}", words.join(", "));
                problems.add_with(&self.place, message, problems.did_you_mean(&text, words.iter().copied()));
                None
            }
        }
    }

    /// A duration in any of its spellings.
    pub(super) fn duration(&self, problems: &mut Problems) -> Option<Duration> {
        let parsed = match &self.node.value {
            Value::Int(number, _) => seconds(*number as f64),
            Value::Float(number, _) => seconds(*number),
            Value::Text(text) => parse_duration(text),
            Value::Map(entries) => objects::timedelta(entries),
            _ => None,
        };
        match parsed {
            Some(duration) => Some(duration),
            None => self.expected(DURATION_FORMS, problems),
        }
    }

    /// A duration that may have months and years, which have no fixed length: the months, and what it has beside them.
    pub(super) fn calendar_duration(&self, problems: &mut Problems) -> Option<(u32, Duration)> {
        let parsed = match &self.node.value {
            Value::Text(text) => parse_calendar(text),
            Value::Map(entries) => objects::relativedelta(entries),
            _ => None,
        };
        match parsed {
            Some(found) => Some(found),
            None => Some((0, self.duration(problems)?)),
        }
    }

    /// A date that may also be so long before another one, as dag-factory has it.
    pub(super) fn date_or_relative(&self, zone: Tz, problems: &mut Problems) -> Option<Date> {
        let before = match &self.node.value {
            Value::Text(text) if parse_date(text, zone).is_none() => parse_duration(text),
            Value::Map(entries) => objects::timedelta(entries),
            _ => None,
        };
        match before {
            Some(before) => Some(Date::Before(RelativeDate { before, timezone: zone })),
            None => self.date(zone, problems).map(Date::At),
        }
    }

    /// An instant; one without an offset is on the wall clock of a zone.
    pub(super) fn date(&self, zone: Tz, problems: &mut Problems) -> Option<Timestamp> {
        let text = match &self.node.value {
            Value::Text(text) => text.to_string(),
            Value::Map(entries) => objects::datetime(entries).unwrap_or_default(),
            _ => return self.expected(DATE_FORMS, problems),
        };
        match parse_date(&text, zone) {
            Some(date) if is_in_range(date) => Some(date.trunc_subsecs(6)),
            Some(_) => {
                let (first, last) = (YEARS.start(), YEARS.end());
                let message =
                    format!("expected a year from {first} to {last}; leave a date away that is never reached");
                self.fail(message, problems)
            }
            None if parse_duration(&text).is_some() => {
                self.fail(format!("only the start_date may be relative; expected {DATE_FORMS}"), problems)
            }
            None => self.expected(DATE_FORMS, problems),
        }
    }

    /// A time zone by its name in the IANA database.
    pub(super) fn zone(&self, problems: &mut Problems) -> Option<Tz> {
        let text = self.text(problems)?;
        match text.parse() {
            Ok(zone) => Some(zone),
            Err(_) => {
                let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
                let message = format!("expected a time zone such as Europe/Zurich, found {text:?}");
                problems.add_with(&self.place, message, problems.did_you_mean(&text, names));
                None
            }
        }
    }

    /// Variables of an environment.
    pub(super) fn environment(&self, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
        let layer = self.layer("a mapping of names to texts", problems)?;
        let entries = layer.items().map(|(key, item)| {
            let plain = key.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !plain || key.name.is_empty() || key.name.starts_with(|c: char| c.is_ascii_digit()) {
                return item.fail("a variable's name has only letters, digits and _", problems);
            }
            Some((key.name.to_string(), item.plain_text(problems)?))
        });
        entries.collect::<Vec<_>>().into_iter().collect()
    }

    /// Patterns of variables that are passed on.
    pub(super) fn patterns(&self, problems: &mut Problems) -> Option<Vec<String>> {
        let items = self.text_items(problems)?;
        let check = |(text, item): (String, Self)| {
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '*');
            if plain && text.contains(|c: char| c.is_ascii_alphanumeric()) {
                return Some(text);
            }
            item.fail(
                "expected a variable's name or a pattern such as STOCK_*; * alone would pass on secrets",
                problems,
            )
        };
        items.into_iter().map(check).collect::<Vec<_>>().into_iter().collect()
    }

    /// The value as JSON.
    pub(super) fn json(&self, problems: &mut Problems) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match &self.node.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(number, _) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => Json::from(number),
                (_, Ok(number)) => Json::from(number),
                (Err(_), Err(_)) => {
                    let range = format!("{} to {}", i64::MIN, u64::MAX);
                    let message = format!("a whole number is exact from {range} only; put a longer one in quotes");
                    return self.fail(message, problems);
                }
            },
            Value::Float(number, _) => match serde_json::Number::from_f64(*number) {
                Some(number) => Json::Number(number),
                None => return self.expected("a finite number", problems),
            },
            Value::Text(text) => Json::String(text.to_string()),
            Value::Refused(_) => return self.expected("a value", problems),
            Value::List(_) => {
                let items = self.list("a list", problems)?;
                items.iter().map(|item| item.json(problems)).collect::<Option<Vec<_>>>().map(Json::Array)?
            }
            Value::Map(_) => {
                let layer = self.layer("a mapping", problems)?;
                let entry =
                    |(key, item): (&crate::yaml::Key, Item<'_>)| Some((key.name.to_string(), item.json(problems)?));
                Json::Object(layer.items().map(entry).collect::<Option<_>>()?)
            }
        })
    }
}

/// A number of seconds, when it is a duration.
pub(super) fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= DURATION_MAX)
}

/// Reads `30s`, `1h30m`, `1 days 2 hours`, `PT5M` or a bare number of seconds, as DAG files have durations; none when it is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    match text.strip_prefix(['P', 'p']) {
        Some(rest) => iso_duration(&rest.to_ascii_uppercase()),
        None => unit_duration(text),
    }
}

/// Months and years, in words (`1 year 2 months 3d`) or as ISO 8601 (`P1Y2M3D`), and the rest; none when there are neither.
fn parse_calendar(text: &str) -> Option<(u32, Duration)> {
    let text = text.trim();
    let (mut months, mut rest) = (0_u32, String::new());
    if let Some(iso) = text.strip_prefix(['P', 'p']) {
        let iso = iso.to_ascii_uppercase();
        let (days, time) = iso.split_once('T').map_or((&*iso, ""), |(days, time)| (days, time));
        let mut left = days;
        while let Some((number, after)) = leading_number(left).filter(|(_, after)| after.starts_with(['Y', 'M'])) {
            let unit = if after.starts_with('Y') { 12 } else { 1 };
            months = months.checked_add(whole(number)?.checked_mul(unit)?)?;
            left = &after[1..];
        }
        if !left.is_empty() || !time.is_empty() {
            rest = if time.is_empty() { format!("P{left}") } else { format!("P{left}T{time}") };
        }
    } else {
        let mut left = text;
        while !left.is_empty() {
            let (number, after) = leading_number(left)?;
            let after = after.trim_start();
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let unit = match &*after[..end].to_ascii_lowercase() {
                "month" | "months" => Some(1),
                "year" | "years" | "y" => Some(12),
                _ => None,
            };
            match unit {
                Some(unit) => months = months.checked_add(whole(number)?.checked_mul(unit)?)?,
                None => rest += &format!("{number}{} ", &after[..end]),
            }
            left = after[end..].trim_start_matches([' ', ',']);
        }
    }
    let rest = if rest.is_empty() { Some(Duration::ZERO) } else { parse_duration(&rest) };
    (months > 0).then_some((months, rest?))
}

/// A whole number of months or years.
pub(super) fn whole(number: f64) -> Option<u32> {
    (number.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&number)).then_some(number as u32)
}

fn unit_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        total += number * unit_seconds(&after[..end].to_ascii_lowercase())?;
        rest = after[end..].trim_start_matches([' ', ',']);
    }
    if text.is_empty() { None } else { seconds(total) }
}

/// ISO 8601 after the `P`: weeks, days, hours, minutes and seconds; months and years have no fixed length.
fn iso_duration(text: &str) -> Option<Duration> {
    let (days, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (text, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let total = iso_part(days, &[('W', 604_800.0), ('D', 86_400.0)])?
        + iso_part(time, &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)])?;
    seconds(total)
}

fn iso_part(text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    let mut units = units.iter();
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let letter = after.chars().next()?;
        let (_, seconds) = units.find(|(unit, _)| *unit == letter)?;
        total += number * seconds;
        rest = &after[letter.len_utf8()..];
    }
    Some(total)
}

fn leading_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    })
}

/// A date or time; without an offset it is on the wall clock of the zone. Cut to microseconds, as it is stored.
fn parse_date(text: &str, zone: Tz) -> Option<Timestamp> {
    let text = text.trim();
    let with_offset = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z"];
    let zulu = text.strip_suffix(['Z', 'z']).map(|naive| format!("{naive}+00:00"));
    let offset_text = zulu.as_deref().unwrap_or(text);
    if let Some(date) = with_offset.iter().find_map(|form| DateTime::parse_from_str(offset_text, form).ok()) {
        return Some(date.with_timezone(&Utc));
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let local = naive
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN)))?;
    instant(local, zone)
}

/// The instant of a wall-clock time: the second one when the clock shows it twice, later by the gap when never.
pub(crate) fn instant(local: NaiveDateTime, zone: Tz) -> Option<Timestamp> {
    use chrono::MappedLocalTime as Mapped;
    match zone.from_local_datetime(&local) {
        Mapped::Single(date) | Mapped::Ambiguous(_, date) => Some(date.with_timezone(&Utc)),
        Mapped::None => {
            let before = zone.from_local_datetime(&local.checked_sub_signed(TimeDelta::days(1))?).latest()?;
            before.with_timezone(&Utc).checked_add_signed(TimeDelta::days(1))
        }
    }
}

fn is_in_range(date: Timestamp) -> bool {
    YEARS.contains(&date.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_many_spellings() {
        let minutes = |count: u64| Some(Duration::from_secs(count * 60));
        for five in ["5m", "300", "300s", "PT5M", "5 minutes", "4m60s", "0.0833333333333333h", "5 min", "pt300s"] {
            let parsed = parse_duration(five).map(|d| Duration::from_secs(d.as_secs_f64().round() as u64));
            assert_eq!(parsed, minutes(5), "{five}");
        }
        assert_eq!(parse_duration("1h30m"), minutes(90));
        assert_eq!(parse_duration("1 days"), minutes(1_440));
        assert_eq!(parse_duration("1 day, 2 hours"), minutes(1_560));
        assert_eq!(parse_duration("P1DT12H"), minutes(2_160));
        for bad in ["", "5x", "m", "P", "PT", "P1M", "PT5", "-5m", "1e99", "nan", "inf", "5m-", "P1H", "20000 days"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_date_without_an_offset_is_on_the_zones_wall_clock() {
        let zurich = Tz::Europe__Zurich;
        let utc = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(parse_date("2026-01-01", zurich), utc("2025-12-31T23:00:00Z"));
        assert_eq!(parse_date("2026-03-01T00:00:00+01:00", Tz::UTC), utc("2026-02-28T23:00:00Z"));
        assert_eq!(parse_date("2026-03-01 06:30Z", zurich), utc("2026-03-01T06:30:00Z"));
        assert_eq!(parse_date("2026-03-29T02:30:00", zurich), utc("2026-03-29T01:30:00Z"), "it never was 02:30");
        assert_eq!(parse_date("2026-10-25T02:30:00", zurich), utc("2026-10-25T01:30:00Z"), "it was 02:30 twice");
        assert_eq!(parse_date("2026-02-30", zurich), None);
        assert!(!is_in_range(parse_date("9999-01-01", zurich).unwrap()));
        assert!(parse_date("+262142-12-31T23:59:59+00:00", zurich).is_none_or(|date| !is_in_range(date)));
    }
}
