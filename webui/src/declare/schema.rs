//! The schemas of values, and the values of answers that JSON has no own form for.

use chrono::SecondsFormat;
use model::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type},
    },
};

/// A value of one type.
pub fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// A text.
pub fn text() -> Schema {
    of(Type::String).into()
}

/// A whole number within these bounds, which are those of what it is kept in.
pub fn integer(least: impl Into<i64>, most: impl Into<i64>) -> Schema {
    let bound = |number: i64| isize::try_from(number).unwrap_or(isize::MAX);
    of(Type::Integer).minimum(Some(bound(least.into()))).maximum(Some(bound(most.into()))).into()
}

/// A text of so many characters.
pub fn text_of(least: usize, most: usize) -> Schema {
    of(Type::String).min_length(Some(least)).max_length(Some(most)).into()
}

/// A text of a form, of so many characters.
pub fn text_like(pattern: &str, least: usize, most: usize) -> Schema {
    of(Type::String).pattern(Some(pattern)).min_length(Some(least)).max_length(Some(most)).into()
}

/// True or false.
pub fn boolean() -> Schema {
    of(Type::Boolean).into()
}

/// An instant.
pub fn instant() -> Schema {
    of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
}

/// An instant as it is sent: as text, or as the seconds since 1970 as pydantic reads them.
pub fn instant_sent() -> Schema {
    AnyOfBuilder::new().item(instant()).item(seconds_since_1970()).into()
}

/// The same in a query, where a date alone is one in UTC.
pub fn instant_asked() -> Schema {
    let date = of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)));
    AnyOfBuilder::new().item(instant()).item(date).item(seconds_since_1970()).into()
}

/// Years 1 to 9999 in milliseconds, as which pydantic reads what is too far from 1970 in seconds.
fn seconds_since_1970() -> Schema {
    of(Type::Number).minimum(Some(-62_135_596_800_000_isize)).maximum(Some(253_402_300_799_999_isize)).into()
}

/// One of several words.
pub fn words<'a>(names: impl IntoIterator<Item = &'a str>) -> Schema {
    of(Type::String).enum_values(Some(names)).into()
}

/// A list.
pub fn list(of: impl Into<RefOr<Schema>>) -> Schema {
    ArrayBuilder::new().items(of.into()).into()
}

/// What may also be null.
pub fn nullable(of: impl Into<RefOr<Schema>>) -> Schema {
    AnyOfBuilder::new().item(of).item(self::of(Type::Null)).into()
}

/// Any JSON.
pub fn anything() -> Schema {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).into()
}

/// An instant in an answer, as Airflow writes it: UTC with `Z`, and microseconds unless they are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub Timestamp);

impl From<Timestamp> for At {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = if self.0.timestamp_subsec_micros() == 0 { SecondsFormat::Secs } else { SecondsFormat::Micros };
        f.write_str(&self.0.to_rfc3339_opts(format, true))
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<At> for Value {
    fn from(at: At) -> Self {
        Self::from(at.to_string())
    }
}

impl PartialSchema for At {
    fn schema() -> RefOr<Schema> {
        instant().into()
    }
}

impl ToSchema for At {
    fn name() -> std::borrow::Cow<'static, str> {
        "Instant".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_microseconds_or_no_fraction() {
        let at = |text: &str| serde_json::to_value(At(text.parse().unwrap())).unwrap();
        assert_eq!(at("2026-11-21T02:52:45.701834Z"), "2026-11-21T02:52:45.701834Z");
        assert_eq!(at("2026-11-21T02:52:45Z"), "2026-11-21T02:52:45Z");
        assert_eq!(at("2026-11-21T02:52:45.5Z"), "2026-11-21T02:52:45.500000Z");
    }
}
