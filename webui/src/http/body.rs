//! JSON bodies, read member by member, so that every mistake is named with its place, as Airflow does.

use std::collections::BTreeSet;

use axum::extract::{FromRequest, Request};
use model::{
    MapIndex,
    door::{Conf, Instant, InvalidInstant, InvalidText, Json, Note, Zone, inexact, nul_at},
};
use serde_json::{Map, Value};

use store::read::{OFFSET_MAX, Range, SecondsRange};

use super::query::{LIMIT_MAX, Page, far};
use crate::{
    error::{ApiError, ApiResult, FieldError},
    http::intake,
    router::BODY_BYTES_MAX,
};

/// The members of a JSON object that have not been read yet, and what was wrong with those that have.
pub struct Body {
    members: Map<String, Value>,
    /// Members that were sent and can not be stored: they are refused already, and are not missing.
    unstorable: BTreeSet<String>,
    errors: Vec<FieldError>,
    refused: Option<ApiError>,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Self::parse(&intake::read(request, BODY_BYTES_MAX).await?)
    }
}

impl Body {
    /// Takes a JSON object.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] when it is none.
    pub fn parse(bytes: &[u8]) -> ApiResult<Self> {
        let read = serde_json::from_slice(bytes);
        if let (Ok(_), Some(number)) = (&read, std::str::from_utf8(bytes).ok().and_then(inexact)) {
            let why = "has more than 64 bits, and would not be kept exactly: send it as a text";
            return Err(malformed(
                "value_error",
                &format!("Value error, the whole number {number} {why}"),
                Value::Null,
            ));
        }
        match read {
            Ok(Value::Object(members)) => Ok(Self::checked(members)),
            Ok(other) => Err(malformed("model_attributes_type", "Input should be a valid JSON object", other)),
            Err(error) => Err(malformed("json_invalid", &format!("JSON decode error: {error}"), Value::Null)),
        }
    }

    /// Members that can not be stored are taken out and noted: no handler sees one.
    fn checked(members: Map<String, Value>) -> Self {
        let mut body = Self::of(Map::new());
        for (name, value) in members {
            if let Some(at) = nul_at(&name) {
                let why = format!("Value error, the name of a member has a NUL character at position {}", at + 1);
                body.wrong(&name.replace('\0', "\u{2400}"), "value_error", why, Value::Null);
                continue;
            }
            match Json::new(value) {
                Ok(value) => drop(body.members.insert(name, value.into_value())),
                Err(error) => {
                    body.wrong(&name, "value_error", format!("Value error, {error}"), Value::Null);
                    body.unstorable.insert(name);
                }
            }
        }
        body
    }

    /// Takes the members of an object that is a part of a body.
    #[must_use]
    pub fn of(members: Map<String, Value>) -> Self {
        Self { members, unstorable: BTreeSet::new(), errors: Vec::new(), refused: None }
    }

    /// The names of all members that were sent and not taken yet.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.members.keys().cloned().collect()
    }

    /// Refuses what was wrong, and members that nothing has asked for.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub fn finish(mut self) -> ApiResult<()> {
        for (name, value) in self.members {
            self.errors.push(FieldError::body(&name, "extra_forbidden", "Extra inputs are not permitted", value));
        }
        if !self.errors.is_empty() {
            return Err(ApiError::Malformed(self.errors));
        }
        self.refused.map_or(Ok(()), Err)
    }

    /// Notes what is refused as a whole; the first reason is told.
    pub fn refuse(&mut self, error: ApiError) {
        self.refused.get_or_insert(error);
    }

    /// Takes a member out; null counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Takes a member out as it is.
    pub fn take_or_null(&mut self, name: &str) -> Value {
        self.members.shift_remove(name).unwrap_or(Value::Null)
    }

    /// Whether a member was sent, null or not.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Whether a member was sent and is not null.
    #[must_use]
    pub fn has_value(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// Puts a member back that was looked at.
    pub fn put_back(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    /// Sets a member that was not sent.
    pub fn fill_in(&mut self, name: &str, text: &str) {
        self.members.entry(name).or_insert_with(|| Value::from(text));
    }

    /// Notes a mistake.
    pub fn wrong(&mut self, name: &str, kind: &'static str, message: impl Into<String>, input: Value) {
        self.errors.push(FieldError::body(name, kind, message, input));
    }

    /// Notes that a member is missing.
    pub fn missing(&mut self, name: &str) {
        if self.unstorable.contains(name) {
            return;
        }
        self.wrong(name, "missing", "Field required", Value::Null);
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(name, "string_type", "Input should be a valid string", other);
                None
            }
        }
    }

    /// A text that has to be there.
    pub fn required_text(&mut self, name: &str) -> String {
        if !self.members.contains_key(name) {
            self.missing(name);
            return String::new();
        }
        match self.members.shift_remove(name) {
            Some(Value::String(text)) => text,
            other => {
                self.wrong(name, "string_type", "Input should be a valid string", other.unwrap_or_default());
                String::new()
            }
        }
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        let found = whole(&value).or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        if found.is_none() {
            self.wrong(name, "int_parsing", "Input should be a valid integer", value);
        }
        found
    }

    /// A whole number that has to be there.
    pub fn required_integer(&mut self, name: &str) -> i64 {
        if !self.has(name) {
            self.missing(name);
        } else if self.members.get(name).is_some_and(Value::is_null) {
            self.members.shift_remove(name);
            self.wrong(name, "int_type", "Input should be a valid integer", Value::Null);
        }
        self.integer(name).unwrap_or(0)
    }

    /// A boolean that has to be there.
    pub fn required_flag(&mut self, name: &str) -> bool {
        if !self.has(name) {
            self.missing(name);
        } else if self.members.get(name).is_some_and(Value::is_null) {
            self.members.shift_remove(name);
            self.wrong(name, "bool_type", "Input should be a valid boolean", Value::Null);
        }
        self.flag(name, false)
    }

    /// A boolean, or its default.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.take(name) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.wrong(name, "bool_parsing", "Input should be a valid boolean", other);
                default
            }
        }
    }

    /// A boolean that may be absent.
    pub fn optional_flag(&mut self, name: &str) -> Option<bool> {
        if self.has_value(name) {
            return Some(self.flag(name, false));
        }
        self.members.shift_remove(name);
        None
    }

    /// A list, empty when absent.
    pub fn list(&mut self, name: &str) -> Vec<Value> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(name, "list_type", "Input should be a valid list", other);
                Vec::new()
            }
        }
    }

    /// An object, empty when absent.
    pub fn object(&mut self, name: &str) -> Map<String, Value> {
        match self.take(name) {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(other) => {
                self.wrong(name, "dict_type", "Input should be a valid dictionary", other);
                Map::new()
            }
        }
    }

    /// A run's conf, empty when absent.
    pub fn conf(&mut self, name: &str) -> Conf {
        match Conf::new(self.object(name)) {
            Ok(conf) => conf,
            Err(error) => {
                self.wrong(name, "value_error", format!("Value error, {error}"), Value::Null);
                Conf::default()
            }
        }
    }

    /// A remark; an empty one is none.
    pub fn note(&mut self, name: &str) -> Option<Note> {
        let text = self.text(name).filter(|text| !text.is_empty())?;
        match Note::new(text) {
            Ok(note) => Some(note),
            Err(InvalidText::TooLong { found, max }) => {
                let message = format!("String should have at most {max} characters");
                self.wrong(name, "string_too_long", message, Value::from(format!("{found} characters")));
                None
            }
            Err(error @ (InvalidText::Nul { .. } | InvalidText::Empty)) => {
                self.wrong(name, "value_error", format!("Value error, {error}"), Value::Null);
                None
            }
        }
    }

    /// `map_index`; what is absent or null stands for a task that is not expanded.
    pub fn map_index(&mut self) -> MapIndex {
        let Some(index) = self.integer("map_index") else { return MapIndex::UNMAPPED };
        i32::try_from(index).map(MapIndex).unwrap_or_else(|_| {
            self.wrong("map_index", "int_parsing", "Input should be a valid integer", Value::from(index));
            MapIndex::UNMAPPED
        })
    }

    /// A list of texts, empty when absent.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        let texts = self.list(name).into_iter().map(|item| match item {
            Value::String(text) => Ok(text),
            other => Err(other),
        });
        let (good, bad): (Vec<_>, Vec<_>) = texts.partition(Result::is_ok);
        for other in bad.into_iter().filter_map(Result::err) {
            self.wrong(name, "string_type", "Input should be a valid string", other);
        }
        good.into_iter().filter_map(Result::ok).collect()
    }

    /// A whole number from 0 on, or its default.
    pub fn count(&mut self, name: &str, default: i64) -> i64 {
        match self.take(name) {
            None => default,
            Some(value) => whole(&value).filter(|number| *number >= 0).unwrap_or_else(|| {
                self.wrong(name, "greater_than_equal", "Input should be a whole number that is not negative", value);
                default
            }),
        }
    }

    /// `<name>_gte`, `_gt`, `_lte`, `_lt`, as instants.
    pub fn range(&mut self, name: &str) -> Range {
        let mut bound = |sign: &str| self.instant(&format!("{name}_{sign}")).map(Instant::get);
        Range { gte: bound("gte"), gt: bound("gt"), lte: bound("lte"), lt: bound("lt") }
    }

    /// The same in seconds.
    pub fn seconds(&mut self, name: &str) -> SecondsRange {
        SecondsRange {
            gte: self.decimal(&format!("{name}_gte")),
            gt: self.decimal(&format!("{name}_gt")),
            lte: self.decimal(&format!("{name}_lte")),
            lt: self.decimal(&format!("{name}_lt")),
        }
    }

    fn decimal(&mut self, name: &str) -> Option<f64> {
        let value = self.take(name)?;
        let number = value.as_f64();
        if number.is_none() {
            self.wrong(name, "float_type", "Input should be a valid number", value);
        }
        number
    }

    /// `page_limit` and `page_offset`, as bodies of batch requests have them.
    pub fn page(&mut self) -> Page {
        let limit = self.count("page_limit", LIMIT_MAX).min(LIMIT_MAX);
        let offset = self.count("page_offset", 0);
        if offset > OFFSET_MAX {
            self.wrong("page_offset", "less_than_equal", far(OFFSET_MAX), Value::from(offset));
        }
        Page { limit, offset }
    }

    /// An instant with its zone, which Airflow demands, or the seconds since 1970.
    pub fn instant(&mut self, name: &str) -> Option<Instant> {
        let value = self.take(name)?;
        let read = match &value {
            Value::String(text) => Instant::parse(text, Zone::Required),
            Value::Number(number) => number.as_f64().ok_or(InvalidInstant::OutOfRange).and_then(Instant::since_1970),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(InvalidInstant::Unreadable),
        };
        match read {
            Ok(instant) => Some(instant),
            Err(error) => {
                let (kind, message) = instant_mistake(error);
                self.wrong(name, kind, message, value);
                None
            }
        }
    }
}

/// A whole number, also when it is written as `95.0`: JSON does not tell them apart.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        // Text and back: a conversion of numbers would cut what does not fit.
        format!("{number:.0}").parse().ok()
    })
}

/// What is wrong with an instant, in pydantic's words.
pub fn instant_mistake(error: InvalidInstant) -> (&'static str, &'static str) {
    match error {
        InvalidInstant::NoZone => ("timezone_aware", "Input should have timezone info"),
        InvalidInstant::Unreadable => {
            ("datetime_from_date_parsing", "Input should be a valid datetime or date, such as 2026-11-21T10:00:00Z")
        }
        InvalidInstant::OutOfRange => {
            ("datetime_parsing", "Input should be a valid datetime, in the years 1 to 9999 in UTC")
        }
    }
}

/// The map index in JSON; what is missing or no such number stands for a task that is not expanded.
#[must_use]
pub fn map_index_of(value: Option<&Value>) -> MapIndex {
    value.and_then(Value::as_i64).and_then(|map| i32::try_from(map).ok()).map_or(MapIndex::UNMAPPED, MapIndex)
}

fn malformed(kind: &'static str, message: &str, input: Value) -> ApiError {
    ApiError::Malformed(vec![FieldError { kind, loc: vec!["body".to_owned()], msg: message.to_owned(), input }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let mut body =
            Body::parse(br#"{"note": 1, "conf": {"a": 1}, "foo": true, "run_after": "2026-01-01"}"#).unwrap();
        assert_eq!(body.text("note"), None);
        assert_eq!(body.object("conf").len(), 1);
        assert_eq!(body.instant("run_after"), None);
        let Err(ApiError::Malformed(errors)) = body.finish() else { panic!("refused") };
        let kinds: Vec<_> = errors.iter().map(|error| (error.kind, error.loc[1].as_str())).collect();
        assert_eq!(kinds, [("string_type", "note"), ("timezone_aware", "run_after"), ("extra_forbidden", "foo")]);
    }

    #[test]
    fn instants_are_read_in_every_form_that_pydantic_takes() {
        for form in [
            "\"2026-01-01T00:00Z\"",
            "\"2026-01-01 00:00:00+0000\"",
            "\"2026-01-01T01:00:00+01:00\"",
            "1767225600",
            "1767225600.0",
            "1767225600000",
            "\"1767225600\"",
        ] {
            let mut body = Body::parse(format!("{{\"at\": {form}}}").as_bytes()).unwrap();
            assert_eq!(body.instant("at").unwrap().to_string(), "2026-01-01 00:00:00 UTC", "{form}");
            body.finish().unwrap();
        }
        let kind = |form: &str| {
            let mut body = Body::parse(format!("{{\"at\": {form}}}").as_bytes()).unwrap();
            assert_eq!(body.instant("at"), None, "{form}");
            let Err(ApiError::Malformed(errors)) = body.finish() else { panic!("{form} is refused") };
            errors[0].kind
        };
        assert_eq!(kind("\"2026-01-01T00:00\""), "timezone_aware");
        assert_eq!(kind("\"0000-01-01T00:00:00Z\""), "datetime_parsing");
        assert_eq!(kind("1e300"), "datetime_parsing");
        assert_eq!(kind("\"soon\""), "datetime_from_date_parsing");
        assert_eq!(kind("[]"), "datetime_from_date_parsing");
    }

    #[test]
    fn no_handler_sees_a_member_with_a_nul() {
        let mut body = Body::parse(br#"{"note": "a\u0000b", "conf": {"x": ["\u0000"]}, "a\u0000": 1}"#).unwrap();
        assert_eq!((body.note("note"), body.conf("conf").get().len()), (None, 0));
        let Err(ApiError::Malformed(errors)) = body.finish() else { panic!("refused") };
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[1].msg.contains("x[0]"), "{errors:?}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(Body::parse(b"[]").is_err());
        assert!(Body::parse(b"{").is_err());
    }
}
