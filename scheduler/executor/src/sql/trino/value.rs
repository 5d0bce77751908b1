//! Trino's values as the embedded engine writes them, so that a DAG sees the same XComs on both.
//!
//! Numbers and truth values are JSON's; decimals are text, since readers of JSON would make doubles of them; instants are
//! `2026-01-30T14:30:00Z`. Arrays, maps and rows keep their shape. Everything else is text as Trino writes it.

use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeZone as _};
use serde_json::{Map, Value};

use super::page::{TypeArgument, TypeSignature};

/// How Trino writes the seconds of a timestamp.
const SECONDS: &str = "%Y-%m-%d %H:%M:%S";

/// A value of a column with this type.
pub(super) fn json_of(value: Value, of: &TypeSignature) -> Value {
    match (of.raw_type.as_str(), value) {
        ("timestamp", Value::String(text)) => local(&text).unwrap_or(text).into(),
        ("timestamp with time zone", Value::String(text)) => instant(&text).unwrap_or(text).into(),
        ("json", Value::String(text)) => serde_json::from_str(&text).unwrap_or_else(|_| text.into()),
        ("array", Value::Array(items)) => match element(of, 0) {
            Some(element) => items.into_iter().map(|item| json_of(item, element)).collect(),
            None => Value::Array(items),
        },
        ("map", Value::Object(fields)) => match element(of, 1) {
            Some(element) => Value::Object(fields.into_iter().map(|(k, v)| (k, json_of(v, element))).collect()),
            None => Value::Object(fields),
        },
        ("row", Value::Array(items)) => row(items, of),
        (_, value) => value,
    }
}

fn element(of: &TypeSignature, at: usize) -> Option<&TypeSignature> {
    match of.arguments.get(at)? {
        TypeArgument::Type(signature) => Some(signature),
        TypeArgument::NamedType(named) => Some(&named.type_signature),
        TypeArgument::Long(_) | TypeArgument::Other(_) => None,
    }
}

/// An object by the fields' names; `field1` and so on for those that have none.
fn row(items: Vec<Value>, of: &TypeSignature) -> Value {
    let field = |(at, item): (usize, Value)| {
        let named = match of.arguments.get(at) {
            Some(TypeArgument::NamedType(named)) => named.field_name.as_ref().map(|field| field.name.clone()),
            Some(TypeArgument::Type(_) | TypeArgument::Long(_) | TypeArgument::Other(_)) | None => None,
        };
        let item = match element(of, at) {
            Some(element) => json_of(item, element),
            None => item,
        };
        (named.unwrap_or_else(|| format!("field{}", at + 1)), item)
    };
    Value::Object(items.into_iter().enumerate().map(field).collect::<Map<_, _>>())
}

fn local(text: &str) -> Option<String> {
    let (seconds, fraction) = parts(text)?;
    Some(format!("{}{}", seconds.format("%Y-%m-%dT%H:%M:%S"), fraction_text(fraction)))
}

/// `2026-01-30 14:30:00.000 UTC`, or with `+01:00` or a zone's name, as RFC 3339 has it.
fn instant(text: &str) -> Option<String> {
    let (clock, zone) = text.rsplit_once(' ')?;
    let (seconds, fraction) = parts(clock)?;
    let suffix = if matches!(zone, "UTC" | "Z" | "+00:00") {
        "Z".to_owned()
    } else if zone.starts_with(['+', '-']) {
        zone.to_owned()
    } else {
        let zone: chrono_tz::Tz = zone.parse().ok()?;
        // Of an hour that a clock has twice, Trino's text does not say which it is.
        let at: DateTime<chrono_tz::Tz> = zone.from_local_datetime(&seconds).earliest()?;
        at.to_rfc3339_opts(SecondsFormat::Secs, false)[seconds.format("%Y-%m-%dT%H:%M:%S").to_string().len()..]
            .to_owned()
    };
    Some(format!("{}{}{suffix}", seconds.format("%Y-%m-%dT%H:%M:%S"), fraction_text(fraction)))
}

fn parts(clock: &str) -> Option<(NaiveDateTime, &str)> {
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    Some((NaiveDateTime::parse_from_str(seconds, SECONDS).ok()?, fraction))
}

/// None, three, six, nine or twelve digits, whatever the column's precision.
fn fraction_text(fraction: &str) -> String {
    let digits = fraction.trim_end_matches('0').len();
    if digits == 0 {
        return String::new();
    }
    let wanted = digits.next_multiple_of(3);
    format!(".{fraction:0<wanted$.wanted$}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signature(json: Value) -> TypeSignature {
        serde_json::from_value(json).unwrap()
    }

    fn plain(name: &str) -> Value {
        json!({"rawType": name, "arguments": []})
    }

    #[test]
    fn instants_read_as_the_embedded_engine_writes_them() {
        for (kind, text, expected) in [
            ("timestamp with time zone", "2000-03-01 14:30:00.000000 UTC", "2000-03-01T14:30:00Z"),
            ("timestamp with time zone", "2000-03-01 14:30:00.000001 UTC", "2000-03-01T14:30:00.000001Z"),
            ("timestamp with time zone", "2000-03-01 14:30:00.120 +05:30", "2000-03-01T14:30:00.120+05:30"),
            ("timestamp with time zone", "2000-07-01 14:30:00 Europe/Zurich", "2000-07-01T14:30:00+02:00"),
            ("timestamp", "2000-03-01 14:30:00.123456789012", "2000-03-01T14:30:00.123456789012"),
            ("timestamp", "2000-03-01 14:30:00", "2000-03-01T14:30:00"),
            ("timestamp", "+12000-03-01 14:30:00 what", "+12000-03-01 14:30:00 what"),
            ("date", "2000-03-01", "2000-03-01"),
        ] {
            assert_eq!(json_of(text.into(), &signature(plain(kind))), json!(expected), "{kind} {text}");
        }
    }

    #[test]
    fn numbers_stay_numbers_and_decimals_stay_text() {
        for value in [json!(1), json!(0.1), json!("NaN"), json!(true), json!("12.50"), json!(null)] {
            assert_eq!(json_of(value.clone(), &signature(plain("whatever"))), value);
        }
        assert_eq!(json_of(r#"{"a":[1]}"#.into(), &signature(plain("json"))), json!({"a": [1]}));
        assert_eq!(json_of(Value::Null, &signature(plain("timestamp"))), Value::Null);
    }

    #[test]
    fn what_is_nested_keeps_its_shape() {
        let ts = plain("timestamp");
        let array = json!({"rawType": "array", "arguments": [{"kind": "TYPE", "value": ts}]});
        let map = json!({"rawType": "map", "arguments": [
            {"kind": "TYPE", "value": plain("varchar")}, {"kind": "TYPE", "value": array}
        ]});
        let row = json!({"rawType": "row", "arguments": [
            {"kind": "NAMED_TYPE", "value": {"fieldName": {"name": "m"}, "typeSignature": map}},
            {"kind": "NAMED_TYPE", "value": {"typeSignature": plain("bigint")}},
        ]});
        let value = json!([{"k": ["2000-03-01 14:30:00.000", null]}, 7]);
        assert_eq!(json_of(value, &signature(row)), json!({"m": {"k": ["2000-03-01T14:30:00", null]}, "field2": 7}));
    }
}
