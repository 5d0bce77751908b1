//! Schedules: presets, crons, durations; alone, in lists, or in a mapping with a zone and a timetable.

use std::time::Duration;

use chrono_tz::Tz;

use super::{
    assets,
    fields::{Fields, Item},
    objects,
};
use crate::{
    assets::AssetCondition,
    compiled::{CronTimetable, DeltaTimetable, RunImmediately, Schedule, TickOptions},
    cron::CronExpr,
    keys::{self, Here},
    problem::Problems,
    yaml::Value,
};

/// The shortest time between runs of a duration schedule: no DAG is meant to start more often than a run takes.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest time between runs, in months: longer ones leave the years that a date may have.
const MONTHS_MAX: u32 = 1_200;

/// Words that mean null.
const NEVER: [&str; 4] = ["none", "@none", "null", "@null"];

/// How many crons one schedule may have.
const CRONS_MAX: usize = 100;

/// What lets a DAG run by itself: times, assets, or both.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct When {
    /// When runs are due.
    pub(super) schedule: Schedule,
    /// Which assets have to change for a run.
    pub(super) assets: Option<AssetCondition>,
}

impl When {
    /// Runs only when somebody asks.
    pub(super) const NEVER: Self = Self { schedule: Schedule::Never, assets: None };

    /// Whether a run comes without anybody asking.
    pub(super) fn is_by_itself(&self) -> bool {
        self.schedule != Schedule::Never || self.assets.is_some()
    }
}

/// Reads a schedule; a cron without a zone of its own uses the DAG's.
pub(super) fn read(item: &Item<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<When> {
    let at = |schedule| When { schedule, assets: None };
    let by = |assets| When { schedule: Schedule::Never, assets: Some(assets) };
    match &item.node.value {
        Value::Text(text) if text.contains("://") => assets::condition(item, problems).map(by),
        Value::Text(text) => read_text(text, item, zone, problems).map(at),
        Value::Int(..) | Value::Float(..) => every(item, DeltaTimetable::DeltaTrigger, problems).map(at),
        Value::List(_) => {
            let items = item.list("a list of crons or of assets", problems)?;
            let crons = items.iter().filter(|item| is_cron(item)).count();
            if crons == items.len() {
                return cron(item, zone, CronTimetable::CronTrigger, problems).map(at);
            }
            if crons > 0 {
                let message = "a list has crons or assets; for both write {cron: [...], or_assets: [...]}";
                return item.fail(message, problems);
            }
            assets::condition(item, problems).map(by)
        }
        Value::Map(_) => read_mapping(item, zone, problems),
        Value::Null => Some(When::NEVER),
        Value::Bool(_) | Value::Refused(_) => {
            item.expected("a cron, a preset such as @daily, a duration, assets or null", problems)
        }
    }
}

/// Whether an item of a list is meant as a cron: it has several fields, or is a preset.
fn is_cron(item: &Item<'_>) -> bool {
    match &item.node.value {
        Value::Text(text) => {
            let text = text.trim();
            text.starts_with('@') || text.is_empty() || (text.contains(char::is_whitespace) && !text.contains("://"))
        }
        Value::Null | Value::Bool(_) | Value::Int(..) | Value::Float(..) | Value::Refused(_) => true,
        Value::List(_) | Value::Map(_) => false,
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
    match item.calendar_duration(problems)? {
        (0, every) if every < EVERY_MIN => item.fail("expected at least 1s between runs", problems),
        (months, _) if months > MONTHS_MAX => {
            item.fail(format!("expected at most {} years between runs", MONTHS_MAX / 12), problems)
        }
        (months, every) => Some(Schedule::Delta { every, months, timetable }),
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
        "CronTriggerTimetable" => &["cron", "timezone", "interval", "run_immediately"],
        "CronDataIntervalTimetable" => &["cron", "timezone"],
        "MultipleCronTriggerTimetable" => &["timezone", "interval", "run_immediately"],
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
            let item = first("cron").or_else(|| missing(problems))?;
            let schedule = cron(&item, zone, CronTimetable::CronTrigger, problems)?;
            Some(with_ticks(schedule, ticks(&fields, CronTimetable::CronTrigger, problems)?))
        }
        "CronDataIntervalTimetable" => {
            cron(&first("cron").or_else(|| missing(problems))?, zone, CronTimetable::CronDataInterval, problems)
        }
        "MultipleCronTriggerTimetable" => {
            let item = fields.take(objects::ARGS).or_else(|| missing(problems))?;
            let schedule = cron(&item, zone, CronTimetable::CronTrigger, problems)?;
            Some(with_ticks(schedule, ticks(&fields, CronTimetable::CronTrigger, problems)?))
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

fn read_mapping(item: &Item<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<When> {
    if let Value::Map(entries) = &item.node.value
        && let Some(class) = objects::class(entries)
    {
        return timetable(class, item, zone, problems).map(|schedule| When { schedule, assets: None });
    }
    let fields = item.fields("a schedule", problems)?;
    let has_time = ["cron", "duration", "timetable", "timezone", "interval", "run_immediately"]
        .iter()
        .any(|key| fields.take(key).is_some());
    if !has_time && assets::is_condition(&fields) {
        let condition = assets::condition(item, problems)?;
        return Some(When { schedule: Schedule::Never, assets: Some(condition) });
    }
    fields.check_keys(&[keys::SCHEDULE], &[], Here::Part, problems);
    let assets = fields.take("or_assets").map(|item| assets::condition(&item, problems));
    let schedule = match &assets {
        // Only assets let it run, whichever way that was said.
        Some(_) if !has_time => Some(Schedule::Never),
        _ => read_time(&fields, zone, problems),
    };
    if assets == Some(None) {
        return None;
    }
    Some(When { schedule: schedule?, assets: assets.flatten() })
}

fn read_time(fields: &Fields<'_>, zone: Option<Tz>, problems: &mut Problems) -> Option<Schedule> {
    let timetable = fields.take("timetable");
    if let Some(duration) = fields.take("duration") {
        for key in ["cron", "timezone", "interval", "run_immediately"] {
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
    let ticks = ticks(fields, known.1, problems);
    if own_zone == Some(None) || timetable.is_none() { None } else { Some(with_ticks(schedule?, ticks?)) }
}

/// What else is said of runs at ticks.
fn ticks(fields: &Fields<'_>, timetable: CronTimetable, problems: &mut Problems) -> Option<TickOptions> {
    let given = (fields.take("interval"), fields.take("run_immediately"));
    if timetable == CronTimetable::CronDataInterval {
        for item in [&given.0, &given.1].into_iter().flatten() {
            item.fail::<()>("this is for the timetable cron_trigger, whose runs stand for their ticks", problems);
        }
        return (given.0.is_none() && given.1.is_none()).then(TickOptions::default);
    }
    let (interval, run_immediately) = given;
    let interval = interval.map(|item| item.duration(problems));
    let run_immediately = run_immediately.map(|item| match item.node.value {
        Value::Bool(true) => Some(RunImmediately::Always),
        // As in Airflow it is what happens when nothing is said.
        Value::Bool(false) => Some(RunImmediately::WhenRecent),
        _ => item.duration(problems).map(RunImmediately::Within),
    });
    Some(TickOptions {
        interval: interval.map_or(Some(None), |interval| interval.map(Some))?.filter(|interval| !interval.is_zero()),
        run_immediately: run_immediately.unwrap_or(Some(RunImmediately::WhenRecent))?,
    })
}

fn with_ticks(schedule: Schedule, ticks: TickOptions) -> Schedule {
    match schedule {
        Schedule::Cron { expressions, timezone, timetable, .. } => {
            Schedule::Cron { expressions, timezone, timetable, ticks }
        }
        Schedule::Never | Schedule::Once | Schedule::Continuous | Schedule::Delta { .. } => schedule,
    }
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
    Some(Schedule::Cron { expressions, timezone: zone.unwrap_or(Tz::UTC), timetable, ticks: TickOptions::default() })
}

fn expression(text: &str, item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    match CronExpr::parse(text) {
        Ok(expression) if expression.can_fire() => Some(expression.as_str().to_owned()),
        Ok(_) => item.fail(format!("no day fits the cron {text:?}; there would never be a run"), problems),
        Err(why) => item.fail(format!("{text:?} is not a cron expression: {why}"), problems),
    }
}
