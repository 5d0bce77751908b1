//! Airflow's filters: an instant, or a text that is one, in the forms that file names and SQL use.

use minijinja::{Environment, Error, Value};

use super::datetime::DateTime;

/// Adds `ds`, `ds_nodash`, `ts`, `ts_nodash` and `ts_nodash_with_tz`.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("ds", |value: Value| formatted(&value, |at| at.strftime("%Y-%m-%d")));
    environment.add_filter("ds_nodash", |value: Value| formatted(&value, |at| at.strftime("%Y%m%d")));
    environment.add_filter("ts", |value: Value| formatted(&value, |at| Ok(at.isoformat())));
    environment.add_filter("ts_nodash", |value: Value| formatted(&value, |at| at.strftime("%Y%m%dT%H%M%S")));
    environment.add_filter("ts_nodash_with_tz", |value: Value| formatted(&value, |at| at.strftime("%Y%m%dT%H%M%S%z")));
    environment.add_filter("truncate", truncate);
}

/// What is missing passes through, as in Airflow.
fn formatted(value: &Value, format: impl FnOnce(DateTime) -> Result<String, Error>) -> Result<Value, Error> {
    if value.is_none() {
        return Ok(value.clone());
    }
    format(instant(value)?).map(Value::from)
}

/// Jinja's: at most `length` characters with `end`, cut between words unless `killwords`; a text that is over by no more
/// than `leeway` stays.
fn truncate(
    text: &str,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<&str>,
    leeway: Option<usize>,
) -> String {
    let (length, end) = (length.unwrap_or(255), end.unwrap_or("..."));
    if text.chars().count() <= length.saturating_add(leeway.unwrap_or(5)) {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept =
        if killwords == Some(true) { &kept } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(words, _)| words) };
    format!("{kept}{end}")
}

fn instant(value: &Value) -> Result<DateTime, Error> {
    match value.downcast_object_ref::<DateTime>() {
        Some(instant) => Ok(*instant),
        None => DateTime::parse(&value.to_string()),
    }
}
