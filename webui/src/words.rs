//! Numbers, times and schedules in words.

use std::time::Duration;

use chrono::{Datelike, TimeDelta, Utc};
use chrono_tz::Tz;
use dag::Schedule;
use model::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use store::read::Total;

use crate::auth::Principal;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// So many assets of a schedule are named.
const NAMED_ASSETS_MAX: usize = 3;

/// A duration with its two largest units: `48 s`, `2 min 51 s`, `3 h 5 min`, `2 d`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    let two = |large: u64, unit: &str, small: u64, rest: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {rest}"),
    };
    match secs {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..MINUTE => format!("{secs} s"),
        MINUTE..HOUR => two(secs / MINUTE, "min", secs % MINUTE, "s"),
        HOUR..DAY => two(secs / HOUR, "h", secs % HOUR / MINUTE, "min"),
        _ => two(secs / DAY, "d", secs % DAY / HOUR, "h"),
    }
}

/// The time from one instant to another in words; nothing when it runs backwards.
#[must_use]
pub fn between(start: Timestamp, end: Timestamp) -> String {
    duration((end - start).to_std().unwrap_or_default())
}

/// A duration with its largest unit alone: `18 h`.
fn rough(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..MINUTE => format!("{secs} s"),
        MINUTE..HOUR => format!("{} min", secs / MINUTE),
        HOUR..DAY => format!("{} h", secs / HOUR),
        _ => format!("{} d", secs / DAY),
    }
}

/// An instant as pages show it: in words, with the exact time beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Moment {
    /// `in 18 h`, `12 min ago`.
    pub words: String,
    /// `2026-11-21 10:00:00 UTC`.
    pub exact: String,
    /// ISO 8601, for the script, which writes it in the zone that the reader chose.
    pub iso: String,
}

impl Moment {
    /// An instant seen from `now`.
    #[must_use]
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        let distance = (at - now).abs().to_std().unwrap_or_default();
        let words = match at - now {
            ahead if ahead > TimeDelta::seconds(1) => format!("in {}", rough(distance)),
            behind if behind > TimeDelta::seconds(-2) => "now".to_owned(),
            _ => format!("{} ago", rough(distance)),
        };
        Self {
            words,
            exact: at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            iso: at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        }
    }
}

/// Now, and the zone that the reader has chosen: what it takes to write an instant.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The instant that the page is made at.
    pub now: Timestamp,
    /// The reader's zone.
    pub zone: Tz,
}

impl Clock {
    /// The clock of somebody who asks.
    #[must_use]
    pub fn of(who: &Principal) -> Self {
        Self { now: Utc::now(), zone: who.prefs.zone }
    }

    /// The clock of nobody in particular.
    #[must_use]
    pub fn in_zone(zone: Tz) -> Self {
        Self { now: Utc::now(), zone }
    }

    /// An instant in words, the exact time in the reader's zone and in UTC beside it.
    #[must_use]
    pub fn moment(self, at: Timestamp) -> Moment {
        let plain = Moment::new(at, self.now);
        match self.zone {
            Tz::UTC => plain,
            _ => Moment { exact: format!("{} · {}", self.exact(at), plain.exact), ..plain },
        }
    }

    /// The exact time as its words: `21 Nov 10:00:00`, with the year when it is not this one.
    #[must_use]
    pub fn stamp(self, at: Timestamp) -> Moment {
        let local = at.with_timezone(&self.zone);
        let format = if local.year() == self.now.with_timezone(&self.zone).year() {
            "%-d %b %H:%M:%S"
        } else {
            "%-d %b %Y %H:%M:%S"
        };
        Moment { words: local.format(format).to_string(), ..self.moment(at) }
    }

    /// `2026-11-21 11:00:00 Europe/Zurich`.
    #[must_use]
    pub fn exact(self, at: Timestamp) -> String {
        format!("{} {}", at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S"), self.zone.name())
    }

    /// `20 Nov 14:05`.
    #[must_use]
    pub fn short(self, at: Timestamp) -> String {
        at.with_timezone(&self.zone).format("%-d %b %H:%M").to_string()
    }

    /// A day as a title has it: `21 November`, with its year when it is not this one.
    #[must_use]
    pub fn day(self, at: Timestamp) -> String {
        let local = at.with_timezone(&self.zone);
        let this_year = local.year() == self.now.with_timezone(&self.zone).year();
        let format = if this_year { "%-d %B %H:%M" } else { "%-d %B %Y %H:%M" };
        local.format(format).to_string().trim_end_matches(" 00:00").to_owned()
    }
}

/// A number with its thousands apart: `41,200`.
#[must_use]
pub fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits are ASCII")).collect();
    format!("{}{}", if number < 0 { "−" } else { "" }, groups.join(","))
}

/// How many rows a list has; `10,000+` when nobody counted further.
#[must_use]
pub fn total(total: Total) -> String {
    format!("{}{}", number(total.number()), if total.limit().is_some() { "+" } else { "" })
}

/// `1 task`, `2 tasks`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// How far it is from one run of a duration to the next.
#[must_use]
pub fn step(months: u32, rest: Duration) -> String {
    let months_and_years = [(months / 12, "year"), (months % 12, "month")];
    let mut parts: Vec<String> = months_and_years
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, one)| count(*number as usize, one))
        .collect();
    if parts.is_empty() || !rest.is_zero() {
        parts.push(duration(rest));
    }
    parts.join(" ")
}

/// When runs are due.
#[must_use]
pub fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Never => "by hand".to_owned(),
        Schedule::Once => "once".to_owned(),
        Schedule::Continuous => "one after the other".to_owned(),
        Schedule::Delta { every, months, .. } => format!("every {}", step(*months, *every)),
        Schedule::Cron { expressions, timezone, .. } => {
            let words: Vec<String> = expressions.iter().map(|text| cron(text)).collect();
            let zone = timezone.name();
            let city = zone.rsplit('/').next().unwrap_or(zone).replace('_', " ");
            let suffix = if zone == "UTC" { String::new() } else { format!(", {city}") };
            format!("{}{suffix}", words.join(" and "))
        }
    }
}

/// When a DAG runs by itself: at times, when assets have changed, or both.
#[must_use]
pub fn runs_when(dag: &dag::Dag) -> String {
    let Some(condition) = &dag.assets else { return schedule(&dag.schedule) };
    let changed = format!("when {} changed", assets(condition));
    match dag.schedule {
        Schedule::Never => changed,
        Schedule::Once | Schedule::Continuous | Schedule::Delta { .. } | Schedule::Cron { .. } => {
            format!("{}, or {changed}", schedule(&dag.schedule))
        }
    }
}

/// A condition in words: `a and b have`.
fn assets(condition: &dag::AssetCondition) -> String {
    let names: Vec<&str> = condition.leaves().into_iter().map(dag::assets::Leaf::name).collect();
    match (names.as_slice(), condition) {
        ([one], _) => format!("{one} has"),
        (several, dag::AssetCondition::All(_)) if several.len() <= NAMED_ASSETS_MAX => {
            format!("{} have", several.join(" and "))
        }
        (several, dag::AssetCondition::Any(_)) if several.len() <= NAMED_ASSETS_MAX => {
            format!("{} has", several.join(" or "))
        }
        (several, _) => format!("its {} have", count(several.len(), "asset")),
    }
}

/// A cron expression in words where they are short; its text otherwise.
fn cron(text: &str) -> String {
    in_words(text).unwrap_or_else(|| text.to_owned())
}

fn in_words(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return None };
    let every_day = *day == "*" && *month == "*";
    if *hour == "*" && every_day && *weekday == "*" {
        return within_the_hour(minute);
    }
    let minute: u32 = minute.parse().ok()?;
    if let (Some(step), true, "*") = (hour.strip_prefix("*/"), every_day, *weekday) {
        return Some(format!("every {} hours at :{minute:02}", step.parse::<u32>().ok()?));
    }
    let time = format!("{:02}:{minute:02}", hour.parse::<u32>().ok()?);
    match (*day, *month, *weekday) {
        ("*", "*", "*") => Some(format!("every day at {time}")),
        ("*", "*", days) => Some(format!("{} at {time}", weekdays(days)?)),
        (day, "*", "*") => Some(format!("{} of the month at {time}", ordinal(day.parse().ok()?))),
        _ => None,
    }
}

fn within_the_hour(minute: &str) -> Option<String> {
    if minute == "*" {
        return Some("every minute".to_owned());
    }
    if let Some(step) = minute.strip_prefix("*/") {
        return Some(format!("every {} minutes", step.parse::<u32>().ok()?));
    }
    match minute.parse::<u32>().ok()? {
        0 => Some("every hour".to_owned()),
        minute => Some(format!("every hour at :{minute:02}")),
    }
}

/// `mon-fri`, `0`, `6`; a range or one day.
fn weekdays(text: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let name = |text: &str| match text.parse::<usize>() {
        Ok(number) => NAMES.get(number).copied(),
        Err(_) => NAMES.iter().copied().find(|name| name.eq_ignore_ascii_case(text)),
    };
    match text.split_once('-') {
        Some((first, last)) => Some(format!("{}–{}", name(first)?, name(last)?)),
        None => Some(format!("every {}", name(text)?)),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        let words = |secs| duration(Duration::from_secs_f64(secs));
        assert_eq!(words(0.94), "0.9 s");
        assert_eq!(words(48.2), "48 s");
        assert_eq!(words(171.0), "2 min 51 s");
        assert_eq!(words(3.0 * 3600.0 + 300.0), "3 h 5 min");
        assert_eq!(words(2.0 * 86_400.0), "2 d");
    }

    #[test]
    fn an_instant_is_ahead_or_behind() {
        let now: Timestamp = "2026-11-21T06:00:00Z".parse().unwrap();
        let moment = |text: &str| Moment::new(text.parse().unwrap(), now).words;
        assert_eq!(moment("2026-11-22T00:00:00Z"), "in 18 h");
        assert_eq!(moment("2026-11-21T05:48:00Z"), "12 min ago");
        assert_eq!(moment("2026-11-21T06:00:00Z"), "now");
    }

    #[test]
    fn a_reader_s_zone_comes_first_and_utc_is_beside_it() {
        let now: Timestamp = "2026-11-21T06:00:00Z".parse().unwrap();
        let clock = Clock { now, zone: Tz::Europe__Zurich };
        let moment = clock.moment("2026-11-20T23:30:00Z".parse().unwrap());
        assert_eq!(moment.exact, "2026-11-21 00:30:00 Europe/Zurich · 2026-11-20 23:30:00 UTC");
        assert_eq!(clock.day("2026-11-20T23:00:00Z".parse().unwrap()), "21 November");
        assert_eq!(clock.stamp("2025-12-31T23:00:00Z".parse().unwrap()).words, "1 Jan 00:00:00");
        assert_eq!(Clock { now, zone: Tz::UTC }.moment(now).exact, "2026-11-21 06:00:00 UTC");
    }

    #[test]
    fn schedules_are_read_aloud() {
        let pairs = [
            ("0 0 * * *", "every day at 00:00"),
            ("0 * * * *", "every hour"),
            ("*/15 * * * *", "every 15 minutes"),
            ("30 2 * * mon-fri", "Mon–Fri at 02:30"),
            ("0 6 1 * *", "1st of the month at 06:00"),
            ("0 0 * * 0", "every Sun at 00:00"),
            ("7 3,9 * * *", "7 3,9 * * *"),
        ];
        for (text, words) in pairs {
            assert_eq!(cron(text), words);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(41_200), "41,200");
        assert_eq!(number(-7), "−7");
        assert_eq!(number(1_000_000), "1,000,000");
    }
}
