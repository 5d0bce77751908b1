//! Values that dag-factory's files write as Python objects: `{__type__: datetime.timedelta, hours: 1}`.

use std::time::Duration;

use super::value::seconds;
use crate::yaml::{Key, Node, Value};

/// The key that names the class.
pub(super) const TYPE: &str = "__type__";
/// The key of what the class is given by position.
pub(super) const ARGS: &str = "__args__";

/// The key of a text that is put together.
const JOIN: &str = "__join__";

/// What a timedelta is given, in the order of Python, in seconds.
const UNITS: &[(&str, f64)] = &[
    ("days", 86_400.0),
    ("seconds", 1.0),
    ("microseconds", 1e-6),
    ("milliseconds", 1e-3),
    ("minutes", 60.0),
    ("hours", 3_600.0),
    ("weeks", 604_800.0),
];

/// What a datetime is given, in the order of Python, and what it is when it is not given.
const PARTS: &[(&str, Option<i128>)] = &[
    ("year", None),
    ("month", None),
    ("day", None),
    ("hour", Some(0)),
    ("minute", Some(0)),
    ("second", Some(0)),
    ("microsecond", Some(0)),
];

/// The class that a mapping names, without its module.
pub(super) fn class(entries: &[(Key, Node)]) -> Option<&str> {
    let (_, node) = entries.iter().find(|(key, _)| *key.name == *TYPE)?;
    match &node.value {
        Value::Text(text) => text.rsplit('.').next(),
        _ => None,
    }
}

/// A `datetime.timedelta`; none when it is something else, or negative.
pub(super) fn timedelta(entries: &[(Key, Node)]) -> Option<Duration> {
    if !matches!(class(entries)?, "timedelta" | "duration") {
        return None;
    }
    let given = given(entries, &names(UNITS))?;
    let total = given.into_iter().zip(UNITS).map(|(value, (_, unit))| value.map_or(0.0, |value| value * unit)).sum();
    seconds(total)
}

/// A `relativedelta` of months and years, and what it has beside them; none when it is something else, or has neither.
pub(super) fn relativedelta(entries: &[(Key, Node)]) -> Option<(u32, Duration)> {
    if class(entries)? != "relativedelta" {
        return None;
    }
    let table: Vec<&str> = ["years", "months"].into_iter().chain(names(UNITS)).collect();
    let given = given(entries, &table)?;
    let month = |at: usize| given[at].map_or(Some(0), super::value::whole);
    let months = month(0)?.checked_mul(12)?.checked_add(month(1)?)?;
    let rest = given[2..].iter().zip(UNITS).map(|(value, (_, unit))| value.map_or(0.0, |value| value * unit)).sum();
    seconds(rest).map(|rest| (months, rest))
}

/// A `datetime.datetime`, `pendulum.datetime` or `datetime.date` as the text of a date.
pub(super) fn datetime(entries: &[(Key, Node)]) -> Option<String> {
    if !matches!(class(entries)?, "datetime" | "date" | "DateTime") {
        return None;
    }
    let given = given(entries, &names(PARTS))?;
    let mut parts = Vec::new();
    for (value, (_, absent)) in given.into_iter().zip(PARTS) {
        parts.push(match (value, absent) {
            (Some(value), _) if value.fract() == 0.0 => format!("{value}"),
            (None, Some(absent)) => absent.to_string(),
            (Some(_) | None, _) => return None,
        });
    }
    let [year, month, day, hour, minute, second, micros] = parts.as_slice() else { return None };
    Some(format!("{year:0>4}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:{second:0>2}.{micros:0>6}"))
}

/// The text of `{__join__: [a, b]}`; none when it is something else.
pub(super) fn joined(entries: &[(Key, Node)]) -> Option<String> {
    let [(key, node)] = entries else { return None };
    let Value::List(items) = &node.value else { return None };
    let text = |item: &Node| match &item.value {
        Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => Some(text.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Map(entries) => joined(entries),
        Value::Null | Value::List(_) | Value::Refused(_) => None,
    };
    if *key.name == *JOIN { items.iter().map(text).collect() } else { None }
}

/// The numbers that a class is given, by position or by name; none when it is given anything else.
fn given(entries: &[(Key, Node)], names: &[&str]) -> Option<Vec<Option<f64>>> {
    let mut found: Vec<Option<f64>> = vec![None; names.len()];
    for (key, node) in entries.iter().filter(|(key, _)| *key.name != *TYPE) {
        if *key.name == *ARGS {
            let Value::List(items) = &node.value else { return None };
            for (index, item) in items.iter().enumerate() {
                *found.get_mut(index)? = Some(number(item)?);
            }
        } else {
            let index = names.iter().position(|name| *name == &*key.name)?;
            found[index] = Some(number(node)?);
        }
    }
    Some(found)
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Int(number, _) => Some(number as f64),
        Value::Float(number, _) => Some(number),
        _ => None,
    }
}

fn names<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(name, _)| *name).collect()
}
