//! `deadline`: by when a run has to have succeeded, and what is done when it has not.

use chrono_tz::Tz;

use super::{
    callbacks,
    fields::{Fields, Item, Layer},
};
use crate::{
    compiled::{Deadline, DeadlineReference},
    files::FileSet,
    keys::{Here, callbacks as keys},
    problem::Problems,
    yaml::Value,
};

/// Reads all deadlines of a DAG: one mapping, or a list of them.
pub(super) fn read_all(
    fields: &Fields<'_>,
    defaults: &[Layer<'_>],
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Vec<Deadline> {
    let Some(item) = fields.take("deadline") else { return Vec::new() };
    let what = "a mapping such as {reference: queued_at, interval: 1h, callback: …}, or a list of these";
    let items = match &item.node.value {
        Value::Bool(false) => Vec::new(),
        Value::List(_) => item.list(what, problems).unwrap_or_default(),
        _ => vec![item.clone()],
    };
    if items.len() > keys::DEADLINES_MAX {
        let message = format!("expected at most {} deadlines, found {}", keys::DEADLINES_MAX, items.len());
        problems.add(&item.place, message);
        return Vec::new();
    }
    // A zone that is wrong is told where the DAG itself is read.
    let zone_of = |item: Item<'_>| match &item.node.value {
        Value::Text(text) => text.trim().parse::<Tz>().ok(),
        _ => None,
    };
    let zone = fields.with_defaults(defaults).take("timezone").and_then(zone_of).unwrap_or(Tz::UTC);
    items.iter().filter_map(|item| read(item, what, (zone, files), problems)).collect()
}

fn read(
    item: &Item<'_>,
    what: &str,
    (zone, files): (Tz, &mut FileSet<'_>),
    problems: &mut Problems,
) -> Option<Deadline> {
    let fields = item.fields(what, problems)?;
    fields.check_keys(&[keys::DEADLINE], &[], Here::Part, problems);
    let reference = reference(&fields, zone, problems);
    let interval = fields.required("interval", problems).and_then(|item| item.duration(problems));
    let callback = fields.required("callback", problems)?;
    let callbacks = callbacks::read(&callback, files, problems);
    if callbacks.as_ref().is_some_and(Vec::is_empty) {
        return callback.expected("what is done when the deadline is missed", problems);
    }
    let text = |name: &str, problems: &mut Problems| fields.take(name).and_then(|item| item.text_or_none(problems));
    Some(Deadline {
        name: text("name", problems),
        description: text("description", problems),
        reference: reference?,
        interval: interval?,
        callbacks: callbacks?,
    })
}

/// Airflow's names, ours, or a date.
fn reference(fields: &Fields<'_>, zone: Tz, problems: &mut Problems) -> Option<DeadlineReference> {
    let item = fields.required("reference", problems)?;
    let word = match &item.node.value {
        Value::Text(text) => text.trim().to_ascii_lowercase(),
        _ => String::new(),
    };
    let plain = word.strip_prefix("deadlinereference.").unwrap_or(&word);
    let plain = plain.strip_prefix("dagrun_").unwrap_or(plain);
    let whole = |name: &str, absent: u32, problems: &mut Problems| {
        fields.take(name).map_or(Some(absent), |item| item.whole(1..=1_000, problems))
    };
    if plain != "average_runtime"
        && let Some(other) = ["max_runs", "min_runs"].iter().find_map(|name| fields.take(name))
    {
        return other.fail("only the reference average_runtime has this key", problems);
    }
    match plain {
        "queued_at" => Some(DeadlineReference::QueuedAt),
        "logical_date" => Some(DeadlineReference::LogicalDate),
        "average_runtime" => {
            let max_runs = whole("max_runs", keys::AVERAGE_RUNS, problems)?;
            let min_runs = whole("min_runs", max_runs, problems)?;
            if min_runs > max_runs {
                let min = fields.take("min_runs").unwrap_or(item);
                return min.fail("min_runs is larger than max_runs; there would be no deadline", problems);
            }
            Some(DeadlineReference::AverageRuntime { max_runs, min_runs })
        }
        _ if word.chars().next().is_some_and(|c| c.is_ascii_digit()) || word.is_empty() => {
            item.date(zone, problems).map(DeadlineReference::At)
        }
        _ => {
            let message = format!("expected one of {}, or a date; found {word:?}", keys::REFERENCES.join(", "));
            problems.add_with(&item.place, message, problems.did_you_mean(&word, keys::REFERENCES.iter().copied()));
            None
        }
    }
}
