//! What a run is given: a `conf` over the DAG's params, checked against their JSON Schemas.

mod references;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use model::operator::Asking;
use serde_json::{Map, Value};

use crate::{
    compiled::{Dag, Param},
    params::{Params, asked_params},
};

/// How many mismatches of one value are told.
const MISMATCHES_MAX: usize = 3;

/// Why a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The schema is not one.
    Schema(String),
    /// The value breaks it.
    Value(String),
}

/// Checks what an answer gives for the params of a question; a param that it does not name keeps the value of the file.
///
/// # Errors
/// A sentence for each value that breaks its schema or belongs to no param, beginning with the param's name.
pub fn check_input(asking: &Asking, given: &Map<String, Value>) -> Result<(), Vec<String>> {
    let params = asked_params(asking);
    let unknown = given.keys().filter(|name| params.get(name).is_none());
    let mut mismatches: Vec<String> =
        unknown.map(|name| format!("param {name}: the question does not ask for it")).collect();
    mismatches.extend(mismatches_of(&params, given, &asking.with_input(given)));
    if mismatches.is_empty() { Ok(()) } else { Err(mismatches) }
}

/// What is wrong with the values of params, of which these were given.
fn mismatches_of(params: &Params, given: &Map<String, Value>, values: &Map<String, Value>) -> Vec<String> {
    let mismatch =
        |(name, param): (&String, &Param)| match check_value(&param.schema, values.get(name).unwrap_or(&Value::Null)) {
            Ok(()) => None,
            Err(_) if !given.contains_key(name) && param.default.is_null() => {
                Some(format!("param {name}: a value is missing"))
            }
            Err(Mismatch::Value(why) | Mismatch::Schema(why)) => Some(format!("param {name}: {why}")),
        };
    params.iter().filter_map(mismatch).collect()
}

impl Dag {
    /// The params of a run with this conf: the DAG's defaults with the conf over them. A key of the conf that is no param
    /// is kept, as in Airflow.
    ///
    /// # Errors
    /// A sentence for each param whose value breaks its schema, beginning with the param's name.
    pub fn validate_conf(&self, conf: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
        let mut values: Map<String, Value> =
            self.params.iter().map(|(name, param)| (name.clone(), param.default.clone())).collect();
        values.extend(conf.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mismatches = mismatches_of(&self.params, conf, &values);
        if mismatches.is_empty() { Ok(values) } else { Err(mismatches) }
    }
}

/// Checks a value against a JSON Schema, formats of texts included, as Airflow does. References to other documents are not
/// followed.
pub(crate) fn check_value(schema: &Value, value: &Value) -> Result<(), Mismatch> {
    if schema.as_object().is_some_and(Map::is_empty) {
        return Ok(());
    }
    if let Some(why) = references::refusal(schema) {
        return Err(Mismatch::Schema(why));
    }
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .with_format("date", is_date)
        .with_format("time", is_time)
        .with_format("date-time", is_date_time)
        .with_retriever(NothingElsewhere)
        .build(schema)
        .map_err(|why| Mismatch::Schema(why.to_string()))?;
    let mismatches: Vec<String> = validator.iter_errors(value).take(MISMATCHES_MAX).map(|error| told(&error)).collect();
    if mismatches.is_empty() { Ok(()) } else { Err(Mismatch::Value(mismatches.join("; "))) }
}

fn told(error: &jsonschema::ValidationError<'_>) -> String {
    let example = match &error.kind {
        jsonschema::error::ValidationErrorKind::Format { format } => match format.as_str() {
            "date" => " (write 2026-01-31)",
            "time" => " (write 06:30:00)",
            "date-time" => " (write 2026-01-31T06:30:00Z)",
            _ => "",
        },
        _ => "",
    };
    match error.instance_path.to_string() {
        path if path.is_empty() => format!("{error}{example}"),
        path => format!("{path}: {error}{example}"),
    }
}

/// A day of the calendar, as 2026-01-31.
fn is_date(text: &str) -> bool {
    text.len() == "2026-01-31".len() && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// A time of day, with an offset or without one, as Airflow's own example has it.
fn is_time(text: &str) -> bool {
    is_date_time(&format!("2000-01-01T{text}"))
}

/// A day and a time of day, with an offset or without one: a form's field gives it without.
fn is_date_time(text: &str) -> bool {
    let text = &text.replacen([' ', 't'], "T", 1);
    let zulu = text.strip_suffix(['Z', 'z']).map(|naive| format!("{naive}+00:00"));
    let with_offset = zulu.as_deref().unwrap_or(text);
    text.is_ascii()
        && text.get(..10).is_some_and(is_date)
        && (["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"]
            .iter()
            .any(|form| DateTime::parse_from_str(with_offset, form).is_ok())
            || ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
                .iter()
                .any(|form| NaiveDateTime::parse_from_str(text, form).is_ok()))
}

/// Refuses references to other documents: a DAG file must not make the leader call addresses or read files.
struct NothingElsewhere;

impl jsonschema::Retrieve for NothingElsewhere {
    fn retrieve(&self, _uri: &jsonschema::Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("a param's schema can only refer to itself".into())
    }
}
