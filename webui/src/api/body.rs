//! JSON bodies, read member by member, so that every mistake is named with its place, as Airflow does.

use std::collections::BTreeSet;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use chrono::{DateTime, Utc};
use model::Timestamp;
use serde_json::{Map, Value};

use store::read::{Range, SecondsRange};

use super::query::{LIMIT_MAX, Page, Paging};
use crate::error::{ApiError, ApiResult, FieldError};

/// The members of a JSON object that have not been read yet, and what was wrong with those that have.
pub struct Body {
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| ApiError::BadRequest(format!("the body could not be read: {error}")))?;
        Self::parse(&bytes)
    }
}

impl Body {
    /// Takes a JSON object.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] when it is none.
    pub fn parse(bytes: &[u8]) -> ApiResult<Self> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Self { members, errors: Vec::new() }),
            Ok(other) => Err(malformed("model_attributes_type", "Input should be a valid JSON object", other)),
            Err(error) => Err(malformed("json_invalid", &format!("JSON decode error: {error}"), Value::Null)),
        }
    }

    /// Takes the members of an object that is a part of a body.
    #[must_use]
    pub fn of(members: Map<String, Value>) -> Self {
        Self { members, errors: Vec::new() }
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
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Malformed(self.errors)) }
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
        let found = value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        if found.is_none() {
            self.wrong(name, "int_parsing", "Input should be a valid integer", value);
        }
        found
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
            Some(value) => value.as_i64().filter(|number| *number >= 0).unwrap_or_else(|| {
                self.wrong(name, "greater_than_equal", "Input should be a whole number that is not negative", value);
                default
            }),
        }
    }

    /// `<name>_gte`, `_gt`, `_lte`, `_lt`, as instants.
    pub fn range(&mut self, name: &str) -> Range {
        Range {
            gte: self.instant(&format!("{name}_gte")),
            gt: self.instant(&format!("{name}_gt")),
            lte: self.instant(&format!("{name}_lte")),
            lt: self.instant(&format!("{name}_lt")),
        }
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
        Page { limit, offset: self.count("page_offset", 0), paging: Paging::Offset }
    }

    /// An instant with its zone: Airflow takes no other.
    pub fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        match DateTime::parse_from_rfc3339(&text) {
            Ok(instant) => Some(instant.with_timezone(&Utc)),
            Err(_) => {
                self.wrong(name, "timezone_aware", "Input should have timezone info", Value::from(text));
                None
            }
        }
    }
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
    fn what_is_no_object_is_refused() {
        assert!(Body::parse(b"[]").is_err());
        assert!(Body::parse(b"{").is_err());
    }
}
