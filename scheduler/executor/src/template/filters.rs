//! Airflow's filters: an instant, or a text that is one, in the forms that file names and SQL use.

use minijinja::{Environment, Error, Value};

use super::datetime::DateTime;

/// Adds `ds`, `ds_nodash`, `ts`, `ts_nodash` and `ts_nodash_with_tz`.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("ds", |value: Value| instant(&value)?.strftime("%Y-%m-%d"));
    environment.add_filter("ds_nodash", |value: Value| instant(&value)?.strftime("%Y%m%d"));
    environment.add_filter("ts", |value: Value| instant(&value).map(DateTime::isoformat));
    environment.add_filter("ts_nodash", |value: Value| instant(&value)?.strftime("%Y%m%dT%H%M%S"));
    environment.add_filter("ts_nodash_with_tz", |value: Value| instant(&value)?.strftime("%Y%m%dT%H%M%S%z"));
}

fn instant(value: &Value) -> Result<DateTime, Error> {
    match value.downcast_object_ref::<DateTime>() {
        Some(instant) => Ok(*instant),
        None => DateTime::parse(&value.to_string()),
    }
}
