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

/// A whole number.
pub fn integer() -> Schema {
    of(Type::Integer).into()
}

/// True or false.
pub fn boolean() -> Schema {
    of(Type::Boolean).into()
}

/// An instant.
pub fn instant() -> Schema {
    of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
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
