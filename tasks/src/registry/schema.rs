//! When two schemas are the same: equal canonical forms, whatever their spacing and the order of their attributes.
//!
//! Everything that a reader could notice stays in the form, also defaults, documentation and logical types; Avro's own
//! parsing canonical form drops those and would give two different schemas one id.

use apache_avro::Schema;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Fingerprint of a schema's canonical form.
pub type Fingerprint = [u8; 32];

/// Checks an Avro schema and gives its fingerprint.
///
/// # Errors
/// What is wrong with the schema, as a sentence.
pub fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Schema::parse_str(text).map_err(|error| error.to_string())?;
    // A primitive's bare name is a schema, but only in quotes is it JSON.
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let canonical = canonical(value).to_string();
    Ok(Sha256::digest(canonical.as_bytes()).into())
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            if let (1, Some(Value::String(name))) = (object.len(), object.get("type")) {
                return Value::String(name.clone());
            }
            let mut entries: Vec<(String, Value)> =
                object.into_iter().map(|(key, value)| (key, canonical(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(canonical).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_and_order_make_no_difference() {
        let one = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#;
        let other = r#"{ "name": "R", "type": "record", "fields": [ {"type": {"type": "long"}, "name": "a"} ] }"#;
        assert_eq!(fingerprint(one).unwrap(), fingerprint(other).unwrap());
        assert_eq!(fingerprint("\"string\"").unwrap(), fingerprint("{\"type\": \"string\"}").unwrap());
    }

    #[test]
    fn logical_types_defaults_and_names_do() {
        let of = |field: &str| {
            fingerprint(&format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a",{field}}}]}}"#)).unwrap()
        };
        let plain = of(r#""type":"long""#);
        assert_ne!(plain, of(r#""type":{"type":"long","logicalType":"timestamp-micros"}"#));
        assert_ne!(plain, of(r#""type":"long","default":0"#));
    }

    #[test]
    fn what_is_no_schema_is_refused_with_a_reason() {
        assert!(fingerprint(r#"{"type":"recrod"}"#).is_err());
        assert!(fingerprint("{").is_err());
    }
}
