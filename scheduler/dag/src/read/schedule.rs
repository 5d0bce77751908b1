//! Schedules: presets, crons, durations; alone, in lists, or in a mapping with a zone and a timetable.

use std::time::Duration;

use chrono_tz::Tz;

use super::{fields::Item, objects};
use crate::{
    compiled::{CronTimetable, DeltaTimetable, Schedule},
    cron::CronExpr,
    keys::{self, Here},
    problem::Problems,
    yaml::Value,
};

/// The shortest time between runs of a duration schedule: no DAG is meant to start more often than a run takes.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Words that mean null.
const NEVER: [&str; 4] = ["none", "@none", "null", "@null"];

/// How many crons one schedule may have.
const CRONS_MAX: usize = 100;

/// Reads a schedule; a cron without a zone of its own uses the DAG's.
pub(super) fn read(item: &Item<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<Schedule> {
    match &item.node.value {
        Value::Text(text) => read_text(text, item, zone, problems),
        Value::Int(..) | Value::Float(..) => every(item, DeltaTimetable::DeltaTrigger, problems),
        Value::List(_) => {
            let items = item.list("a list of crons", problems)?;
            if items.iter().any(|item| matches!(item.node.value, Value::Map(_))) {
                return item.fail("not supported yet: schedules by assets", problems);
            }
            cron(item, zone, CronTimetable::CronTrigger, problems)
        }
        Value::Map(_) => read_mapping(item, zone, problems),
        Value::Null => Some(Schedule::Never),
        Value::Bool(_) | Value::Refused(_) => {
            item.expected("a cron, a preset such as @daily, a duration or null", problems)
        }
    }
}

fn read_text(text: &str, item: &Item<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<Schedule> {
    match text.trim() {
        "@once" => Some(Schedule::Once),
        "@continuous" => Some(Schedule::Continuous),
        // What people write for null, in Python's spelling and others.
        text if text.is_empty() || NEVER.contains(&text.to_lowercase().as_str()) => Some(Schedule::Never),
        text if text.starts_with('@') || text.split_whitespace().count() >= 5 => {
            cron(item, zone, CronTimetable::CronTrigger, problems)
        }
        text if text.starts_with(|c: char| c.is_ascii_digit() || c == 'P') => {
            every(item, DeltaTimetable::DeltaTrigger, problems)
        }
        _ => cron(item, zone, CronTimetable::CronTrigger, problems),
    }
}

fn every(item: &Item<'_>, timetable: DeltaTimetable, problems: &mut Problems) -> Option<Schedule> {
    match item.duration(problems)? {
        every if every < EVERY_MIN => item.fail("expected at least 1s between runs", problems),
        every => Some(Schedule::Delta { every, timetable }),
    }
}

/// One of Airflow's timetables as dag-factory's files name it.
fn timetable(class: &str, item: &Item<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<Schedule> {
    let fields = item.fields("a timetable", problems)?;
    let given = fields.take(objects::ARGS);
    let given = given.map_or(Some(Vec::new()), |item| item.list("a list of what the timetable is given", problems))?;
    let first = |name: &str| fields.take(name).or_else(|| given.first().cloned());
    let zone = fields.take("timezone").map_or(Some(zone), |item| item.zone(problems).map(Some))?;
    let known: &[&str] = match class {
        "CronTriggerTimetable" | "CronDataIntervalTimetable" => &["cron", "timezone"],
        "MultipleCronTriggerTimetable" => &["timezone"],
        _ => &["delta"],
    };
    let known = |name: &str| name == objects::TYPE || name == objects::ARGS || known.contains(&name);
    let layer = item.layer("a timetable", problems)?;
    if let Some((key, item)) = layer.items().find(|(key, _)| !known(&key.name)) {
        return item.fail(format!("not supported yet: {} of a {class}", key.name), problems);
    }
    let missing = |problems: &mut Problems| item.fail(format!("{class} is given nothing"), problems);
    match class {
        "CronTriggerTimetable" => {
            cron(&first("cron").or_else(|| missing(problems))?, zone, CronTimetable::CronTrigger, problems)
        }
        "CronDataIntervalTimetable" => {
            cron(&first("cron").or_else(|| missing(problems))?, zone, CronTimetable::CronDataInterval, problems)
        }
        "MultipleCronTriggerTimetable" => {
            cron(&fields.take(objects::ARGS).or_else(|| missing(problems))?, zone, CronTimetable::CronTrigger, problems)
        }
        "DeltaTriggerTimetable" => {
            every(&first("delta").or_else(|| missing(problems))?, DeltaTimetable::DeltaTrigger, problems)
        }
        "DeltaDataIntervalTimetable" => {
            every(&first("delta").or_else(|| missing(problems))?, DeltaTimetable::DeltaDataInterval, problems)
        }
        _ => item.fail(
            format!("timetable {class} is not known; write a cron, a duration, or a list of crons in its place"),
            problems,
        ),
    }
}

fn read_mapping(item: &Item<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<Schedule> {
    if let Value::Map(entries) = &item.node.value
        && let Some(class) = objects::class(entries)
    {
        return timetable(class, item, zone, problems);
    }
    let fields = item.fields("a schedule", problems)?;
    fields.check_keys(&[keys::SCHEDULE], &[keys::SCHEDULE_NOT_YET], Here::Part, problems);
    let timetable = fields.take("timetable");
    if let Some(duration) = fields.take("duration") {
        for key in ["cron", "timezone"] {
            if let Some(other) = fields.take(key) {
                problems.add(&other.place, format!("a schedule by duration has no {key}; name a cron or a duration"));
                return None;
            }
        }
        let known = [
            ("delta_trigger", DeltaTimetable::DeltaTrigger),
            ("delta_data_interval", DeltaTimetable::DeltaDataInterval),
        ];
        return every(&duration, timetable_of("a duration", timetable.as_ref(), known, problems)?, problems);
    }
    let known = [("cron_trigger", CronTimetable::CronTrigger), ("cron_data_interval", CronTimetable::CronDataInterval)];
    let timetable = timetable_of("a cron", timetable.as_ref(), known, problems);
    let own_zone = fields.take("timezone").map(|item| item.zone(problems));
    let cron_item = fields.required("cron", problems);
    // A problem with one key is no reason not to look at the others.
    let known = (own_zone.flatten().or(zone), timetable.unwrap_or(CronTimetable::CronTrigger));
    let schedule = cron_item.and_then(|item| cron(&item, known.0, known.1, problems));
    if own_zone == Some(None) || timetable.is_none() { None } else { schedule }
}

/// The timetable of a kind of schedule, which has two; the first is meant when none is named.
fn timetable_of<T: Copy>(
    kind: &str,
    item: Option<&Item<'_>>,
    [(first, default), (second, other)]: [(&str, T); 2],
    problems: &mut Problems,
) -> Option<T> {
    let Some(item) = item else { return Some(default) };
    match item.word::<String>(keys::TIMETABLES, problems)?.as_str() {
        name if name == first => Some(default),
        name if name == second => Some(other),
        _ => item.fail(format!("{kind} has the timetable {first} or {second}"), problems),
    }
}

fn cron(item: &Item<'_>, zone: Option<Tz>, timetable: CronTimetable, problems: &mut Problems) -> Option<Schedule> {
    let items = item.text_items(problems)?;
    if items.is_empty() || items.len() > CRONS_MAX {
        return item.fail(format!("expected 1 to {CRONS_MAX} crons, found {}", items.len()), problems);
    }
    let mut expressions = Vec::new();
    for (text, item) in &items {
        expressions.push(expression(text, item, problems));
    }
    let expressions = expressions.into_iter().collect::<Option<_>>()?;
    Some(Schedule::Cron { expressions, timezone: zone.unwrap_or(Tz::UTC), timetable })
}

fn expression(text: &str, item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    match CronExpr::parse(text) {
        Ok(expression) if expression.can_fire() => Some(expression.as_str().to_owned()),
        Ok(_) => item.fail(format!("no day fits the cron {text:?}; there would never be a run"), problems),
        Err(why) => item.fail(format!("{text:?} is not a cron expression: {why}"), problems),
    }
}
