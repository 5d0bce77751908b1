//! `macros`: Airflow's helpers, those that have the same answer everywhere.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Object, ObjectRepr, Rest, from_args},
};

use super::datetime::{DateTime, Timedelta, invalid, timedelta};
use crate::xcom;

/// The object `macros`.
pub(super) fn macros() -> Value {
    Value::from_iter([
        ("ds_add", Value::from_function(ds_add)),
        ("ds_format", Value::from_function(ds_format)),
        ("datetime", Value::from_object(DateTimeClass)),
        (
            "timedelta",
            Value::from_function(|kwargs: Kwargs| timedelta(&kwargs).map(|delta| Value::from_object(Timedelta(delta)))),
        ),
        (
            "json",
            Value::from_object(Functions(BTreeMap::from([
                ("dumps", Value::from_function(dumps)),
                ("loads", Value::from_function(loads)),
            ]))),
        ),
        (
            "uuid",
            Value::from_object(Functions(BTreeMap::from([(
                "uuid4",
                Value::from_function(|| uuid::Uuid::new_v4().to_string()),
            )]))),
        ),
        ("random", Value::from_function(rand::random::<f64>)),
    ])
}

/// A named set of functions, such as Python's module `json`.
#[derive(Debug)]
struct Functions(BTreeMap<&'static str, Value>);

impl Object for Functions {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }
}

/// Python's class `datetime`: makes instants.
#[derive(Debug)]
struct DateTimeClass;

impl Object for DateTimeClass {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (year, month, day, time): (i32, u32, u32, Rest<u32>) = from_args(args)?;
        let part = |at: usize| time.get(at).copied().unwrap_or(0);
        let date = NaiveDate::from_ymd_opt(year, month, day);
        let time = NaiveTime::from_hms_opt(part(0), part(1), part(2));
        let naive = date.zip(time).map(|(date, time)| date.and_time(time));
        let naive = naive.ok_or_else(|| invalid("there is no such date and time".to_owned()))?;
        Ok(Value::from_object(DateTime::from(naive.and_utc())))
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let instant = match method {
            "now" | "utcnow" | "today" => DateTime::from(Utc::now()),
            "fromisoformat" => DateTime::parse(from_args::<(&str,)>(args)?.0)?,
            "strptime" => {
                let (text, format): (&str, &str) = from_args(args)?;
                parse_by(text, format)?
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        Ok(Value::from_object(instant))
    }
}

fn parse_by(text: &str, format: &str) -> Result<DateTime, Error> {
    let time = NaiveDateTime::parse_from_str(text, format).ok();
    let date = || NaiveDate::parse_from_str(text, format).ok()?.and_hms_opt(0, 0, 0);
    let naive = time.or_else(date).ok_or_else(|| invalid(format!("{text:?} has not the form {format:?}")))?;
    Ok(naive.and_utc().into())
}

fn ds_add(ds: &str, days: i64) -> Result<String, Error> {
    let date = parse_by(ds, "%Y-%m-%d")?;
    let delta = TimeDelta::try_days(days).ok_or_else(|| invalid(format!("{days} days are too many")))?;
    let moved = date.0.checked_add_signed(delta).ok_or_else(|| invalid("the date is out of range".to_owned()))?;
    DateTime(moved).strftime("%Y-%m-%d")
}

fn ds_format(ds: &str, input: &str, output: &str) -> Result<String, Error> {
    parse_by(ds, input)?.strftime(output)
}

fn dumps(value: Value) -> Result<String, Error> {
    serde_json::to_string(&value).map_err(|error| invalid(format!("no JSON: {error}")))
}

fn loads(text: &str) -> Result<Value, Error> {
    let value: serde_json::Value = xcom::parse(text).map_err(|error| invalid(format!("no JSON: {error}")))?;
    Ok(Value::from_serialize(value))
}
