//! YAML that is no DAG file, as JSON.

use serde_json::{Map, Number, Value as Json};

use crate::yaml::{Node, Value, parse};

/// One YAML document as JSON, read as DAG files are: with their limits and their rules for scalars.
///
/// # Errors
/// Where it can not be read. The document may hold secrets, and the message repeats nothing of it.
pub fn yaml_as_json(text: &str) -> Result<Json, String> {
    let unread = |line: usize| format!("line {line}: this is no YAML that can be read as plain values");
    let root = parse(text).map_err(|stop| unread(stop.place.at.line))?;
    json(&root).map_err(unread)
}

/// The value, or the line of what is none. The tree is no deeper than the reader allows.
fn json(node: &Node) -> Result<Json, usize> {
    Ok(match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number, text) => i64::try_from(*number).map_or_else(|_| Json::from(text.as_ref()), Json::from),
        Value::Float(number, text) => Number::from_f64(*number).map_or_else(|| Json::from(text.as_ref()), Json::Number),
        Value::Text(text) => Json::from(text.as_ref()),
        Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Map(entries) => {
            let entry = |(key, node): &(crate::yaml::Key, Node)| Ok((key.name.to_string(), json(node)?));
            Json::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, usize>>()?)
        }
        Value::Refused(_) => return Err(node.at.line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_its_json_and_an_error_shows_nothing_of_it() {
        let found =
            yaml_as_json("a: postgres://u:p@h/d\nb: {conn_type: http, port: 80, extra: {x: [1.5, true, null]}}\n");
        let expected = serde_json::json!({
            "a": "postgres://u:p@h/d",
            "b": {"conn_type": "http", "port": 80, "extra": {"x": [1.5, true, null]}},
        });
        assert_eq!(found.unwrap(), expected);
        for bad in ["a: 1\nb: [s3cret", "a: 1\na: s3cret", "- s3cret: 1\n  s3cret: 2"] {
            let error = yaml_as_json(bad).unwrap_err();
            assert!(error.starts_with("line ") && !error.contains("s3cret"), "{error}");
        }
    }
}
