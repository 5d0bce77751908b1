//! What was typed, as a wish for a run: every mistake is gathered under the name of its field.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone};
use dag::{Dag, Param};
use model::{
    RunId,
    door::{Conf, Instant, Note, Zone},
};
use serde_json::{Map, Value};

use super::{
    super::words::Clock,
    field::{self, Kind, PREFIX},
};
use crate::auth::form::PageForm;

/// Mistakes by field: the name of a param, `run_id`, `logical_date`, `conf`; empty for what is wrong with no field alone.
pub type Mistakes = BTreeMap<String, String>;

/// A run that somebody asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Wish {
    /// Its id, when one was given.
    pub run_id: Option<RunId>,
    /// The date that it stands for.
    pub logical_date: Option<Instant>,
    /// What differs from the defaults.
    pub conf: Conf,
    /// A remark.
    pub note: Option<Note>,
}

/// Reads a form. The button of the list sends no fields: every param has its default then.
///
/// # Errors
/// What is wrong, by field.
pub fn wish(dag: &Dag, form: &PageForm, clock: Clock) -> Result<Wish, Mistakes> {
    let mut mistakes = Mistakes::new();
    let mut wish = Wish::default();
    let mut conf = Map::new();
    let typed = |name: &str| Some(form.text(name).trim()).filter(|text| !text.is_empty());
    if form.ticked("whole") {
        for (name, param) in dag.params.iter() {
            match value(param, form.text(&format!("{PREFIX}{name}")), clock) {
                Ok(value) if value == param.default => {}
                Ok(value) => drop(conf.insert(name.clone(), value)),
                Err(mistake) => drop(mistakes.insert(name.clone(), mistake)),
            }
        }
    }
    match typed("conf").map(serde_json::from_str) {
        None => {}
        Some(Ok(Value::Object(more))) => conf.extend(more),
        Some(Ok(_)) => drop(mistakes.insert("conf".to_owned(), "expected a JSON object, {…}".to_owned())),
        Some(Err(error)) => drop(mistakes.insert("conf".to_owned(), format!("this is not JSON: {error}"))),
    }
    match typed("run_id").map(RunId::new).transpose() {
        Ok(run_id) => wish.run_id = run_id,
        Err(error) => drop(mistakes.insert("run_id".to_owned(), error.to_string())),
    }
    match typed("logical_date").map(|text| instant(text, clock)).transpose() {
        Ok(date) => wish.logical_date = date,
        Err(mistake) => drop(mistakes.insert("logical_date".to_owned(), mistake)),
    }
    match typed("note").map(Note::new).transpose() {
        Ok(text) => wish.note = text,
        Err(error) => drop(mistakes.insert("note".to_owned(), error.to_string())),
    }
    if let Err(sentences) = dag.validate_conf(&conf) {
        sentences.iter().for_each(|sentence| note(dag, sentence, &mut mistakes));
    }
    match Conf::new(conf) {
        Ok(conf) => wish.conf = conf,
        Err(error) => drop(mistakes.insert("conf".to_owned(), error.to_string())),
    }
    if mistakes.is_empty() { Ok(wish) } else { Err(mistakes) }
}

/// Puts a sentence of the check to its param; what could not be read at all is told already.
fn note(dag: &Dag, sentence: &str, mistakes: &mut Mistakes) {
    let of_param =
        |name: &&String| sentence.strip_prefix("param ").is_some_and(|rest| rest.starts_with(&format!("{name}: ")));
    match dag.params.names().find(of_param) {
        Some(name) => {
            let why = sentence.trim_start_matches("param ").trim_start_matches(name.as_str()).trim_start_matches(": ");
            mistakes.entry(name.clone()).or_insert_with(|| why.to_owned());
        }
        None => drop(mistakes.insert(String::new(), sentence.to_owned())),
    }
}

/// What was typed into the field of a param.
///
/// # Errors
/// What is wrong with it.
pub fn typed_value(name: &str, param: &Param, form: &PageForm, clock: Clock) -> Result<Value, String> {
    value(param, form.text(&format!("{PREFIX}{name}")), clock)
}

/// What was typed into a param's field.
fn value(param: &Param, text: &str, clock: Clock) -> Result<Value, String> {
    let kind = field::kind(param);
    // As it was shown: a default that the field can not express stays what it is.
    if kind != Kind::Flag && text == field::text_of(&param.default, kind, clock) {
        return Ok(param.default.clone());
    }
    let trimmed = text.trim();
    if trimmed.is_empty() && kind != Kind::Flag {
        return match kind {
            _ if field::is_nullable(param) => Ok(Value::Null),
            Kind::Text | Kind::LongText => Ok(Value::from(text)),
            _ => Err("a value is missing".to_owned()),
        };
    }
    match kind {
        Kind::Text => Ok(Value::from(text)),
        // Browsers send lines with CR LF.
        Kind::LongText => Ok(Value::from(text.replace("\r\n", "\n"))),
        Kind::Flag => Ok(Value::Bool(text == "true")),
        Kind::Integer => trimmed.parse::<i64>().map(Value::from).map_err(|_| format!("{text:?} is not a whole number")),
        Kind::Number => match trimmed.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                Ok(trimmed.parse::<i64>().map_or_else(|_| Value::from(number), Value::from))
            }
            _ => Err(format!("{text:?} is not a number")),
        },
        Kind::Date => match trimmed.parse::<NaiveDate>() {
            Ok(date) => Ok(Value::from(date.to_string())),
            Err(_) => Err(format!("{text:?} is not a date: write it as 2026-11-21")),
        },
        Kind::DateTime => {
            instant(trimmed, clock).map(|at| Value::from(at.get().to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        Kind::Time => Ok(Value::from(trimmed)),
        Kind::Choice => serde_json::from_str(text).map_err(|_| format!("{text:?} is not one of the choices")),
        Kind::Json => serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}")),
    }
}

/// The forms in which browsers send a day and a time.
const LOCAL_FORMATS: [&str; 4] = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];

/// An instant: with its zone, or in the reader's.
///
/// # Errors
/// Why it is none.
pub fn instant(text: &str, clock: Clock) -> Result<Instant, String> {
    if let Ok(at) = Instant::parse(text, Zone::Required) {
        return Ok(at);
    }
    let local = LOCAL_FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let local = local.ok_or_else(|| format!("{text:?} is not a date with a time: write it as 2026-11-21T10:00"))?;
    let at = clock.zone.from_local_datetime(&local).earliest();
    let at =
        at.ok_or_else(|| format!("{text} does not exist in {}: the clocks are put forward then", clock.zone.name()))?;
    Instant::new(at.to_utc()).map_err(|error| error.to_string())
}

/// An instant as a field of a day and a time takes it; any other text as it is.
pub(super) fn local_text(text: &str, clock: Clock) -> String {
    let at = DateTime::parse_from_rfc3339(text).ok();
    at.map_or_else(|| text.to_owned(), |at| at.with_timezone(&clock.zone).format("%Y-%m-%dT%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use chrono_tz::Tz;
    use dag::{FileProblem, ReadFile};
    use serde_json::json;

    use super::*;

    struct NoFiles;

    impl ReadFile for NoFiles {
        fn read(&self, _: &str) -> Result<Vec<u8>, FileProblem> {
            Err(FileProblem::Missing)
        }
    }

    const YAML: &str = r#"
dag_id: form
schedule: null
params:
  count: {type: integer, default: 3, minimum: 1, maximum: 5}
  flag: {type: boolean, default: true}
  maybe: {type: ["integer", "null"], default: null}
  at: {type: string, format: date-time, default: "2026-11-21T10:00:00Z"}
  which: {enum: [a, b, 2], default: a}
  list: {type: array, items: {type: integer}, default: [1, 2]}
  name: {type: string, default: world, pattern: "^[a-z]+$"}
tasks: [{task_id: t, operator: empty}]
"#;

    fn read(fields: &[(&str, &str)]) -> Result<Wish, Mistakes> {
        let loaded = dag::load("form.yaml", YAML, &NoFiles);
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
        let dag = &loaded.dags[0].dag;
        let clock = Clock { now: Utc::now(), zone: Tz::Europe__Zurich };
        let shown = |name: &str| field::text_of(&dag.params[name].default, field::kind(&dag.params[name]), clock);
        let mut all: Vec<(String, String)> = vec![("whole".to_owned(), "1".to_owned())];
        all.extend(fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        for name in dag.params.names().filter(|name| *name != "flag") {
            let sent = format!("param.{name}");
            if !all.iter().any(|(known, _)| *known == sent) {
                all.push((sent, shown(name)));
            }
        }
        wish(dag, &PageForm::of(all), clock)
    }

    #[test]
    fn what_is_left_as_it_was_adds_nothing() {
        assert_eq!(read(&[("param.flag", "true")]), Ok(Wish::default()));
    }

    #[test]
    fn what_is_typed_gets_the_type_of_its_schema() {
        let fields = [
            ("param.count", "5"),
            ("param.maybe", "7"),
            ("param.at", "2026-11-21T12:00"),
            ("param.which", "2"),
            ("param.list", "[3]"),
            ("param.name", "moon"),
            ("conf", r#"{"more": {"a": 1}}"#),
            ("logical_date", "2026-07-01T00:00"),
            ("run_id", " mine "),
        ];
        let wish = read(&fields).unwrap();
        let expected = json!({"at": "2026-11-21T11:00:00Z", "count": 5, "flag": false, "list": [3], "maybe": 7,
            "name": "moon", "which": 2, "more": {"a": 1}});
        assert_eq!(Value::Object(wish.conf.into_map()), expected);
        assert_eq!(wish.run_id.unwrap().as_str(), "mine");
        assert_eq!(wish.logical_date.unwrap().get().to_rfc3339(), "2026-06-30T22:00:00+00:00");
    }

    #[test]
    fn each_mistake_stands_at_its_field() {
        let fields = [
            ("param.count", "9"),
            ("param.maybe", "many"),
            ("param.at", "yesterday"),
            ("param.list", "[1,"),
            ("param.name", "Moon"),
            ("conf", "[]"),
            ("run_id", "<b>"),
            ("logical_date", "2026-03-29T02:30"),
        ];
        let mistakes = read(&fields).unwrap_err();
        let names: Vec<&str> = mistakes.keys().map(String::as_str).collect();
        assert_eq!(names, ["at", "conf", "count", "list", "logical_date", "maybe", "name", "run_id"]);
        assert!(mistakes["count"].contains('5') && !mistakes["count"].contains("param"), "{mistakes:?}");
        assert!(mistakes["logical_date"].contains("put forward"), "{mistakes:?}");
    }
}
