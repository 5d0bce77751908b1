//! When two schemas are the same: equal canonical forms, whatever their spacing and the order of their attributes.
//!
//! Everything that a reader could notice stays in the form, also defaults, documentation and logical types; Avro's own
//! parsing canonical form drops those and would give two different schemas one id.

use apache_avro::Schema;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

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

/// The same schema in one of the many forms that it can be written in: names in full, attributes in order, no blanks.
///
/// # Errors
/// What is wrong with the schema, as a sentence.
pub fn normalised(text: &str) -> Result<String, String> {
    Schema::parse_str(text).map_err(|error| error.to_string())?;
    let mut value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    qualify(&mut value, "", &mut BTreeSet::new());
    Ok(canonical(value).to_string())
}

/// Writes names in full; `known` are the types defined so far.
fn qualify(schema: &mut Value, namespace: &str, known: &mut BTreeSet<String>) {
    match schema {
        Value::String(name) => {
            let full = full_name(name, namespace);
            if known.contains(&full) {
                *name = full;
            }
        }
        Value::Array(branches) => branches.iter_mut().for_each(|branch| qualify(branch, namespace, known)),
        Value::Object(object) => qualify_object(object, namespace, known),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn qualify_object(object: &mut Map<String, Value>, namespace: &str, known: &mut BTreeSet<String>) {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut inside = namespace.to_owned();
    if matches!(kind, "record" | "error" | "enum" | "fixed") {
        let own = object.remove("namespace");
        let own = own.as_ref().and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(object.get("name").and_then(Value::as_str).unwrap_or_default(), own);
        inside = full.rsplit_once('.').map_or(String::new(), |(namespace, _)| namespace.to_owned());
        for alias in object.get_mut("aliases").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::String(name) = alias {
                *name = full_name(name, &inside);
            }
        }
        object.insert("name".to_owned(), Value::String(full.clone()));
        known.insert(full);
    } else if let Some(inner) = object.get_mut("type") {
        qualify(inner, namespace, known);
    }
    for part in ["items", "values"] {
        if let Some(part) = object.get_mut(part) {
            qualify(part, &inside, known);
        }
    }
    for field in object.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(kind) = field.get_mut("type") {
            qualify(kind, &inside, known);
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
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
    fn a_normalised_schema_has_one_form_however_names_are_written() {
        let short = r#"{"type":"record","name":"R","namespace":"n","aliases":["Q"],"fields":[
            {"name":"a","type":{"type":"fixed","size":2,"name":"F"}},{"name":"b","type":["null","F"]}]}"#;
        let long = r#"{"fields":[{"name":"a","type":{"type":"fixed","name":"n.F","size":2}},
            {"name":"b","type":["null","n.F"]}],"name":"n.R","aliases":["n.Q"],"type":"record"}"#;
        assert_eq!(normalised(short).unwrap(), normalised(long).unwrap());
        assert_ne!(fingerprint(short).unwrap(), fingerprint(long).unwrap());
        assert_eq!(normalised(&normalised(short).unwrap()).unwrap(), normalised(short).unwrap());
        assert_eq!(normalised("\"int\"").unwrap(), "\"int\"");
    }

    #[test]
    fn what_is_no_schema_is_refused_with_a_reason() {
        assert!(fingerprint(r#"{"type":"recrod"}"#).is_err());
        assert!(fingerprint("{").is_err());
    }
}
