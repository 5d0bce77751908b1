//! Messages as JSON: how they are written in DAG files and XComs, and how they are shown.

use crate::runtime::group::TopicRecord;
use crate::runtime::{Headers, NewRecord, partition_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A message to be produced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenMessage {
    #[serde(default)]
    key: Value,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    partition: Option<i32>,
}

impl GivenMessage {
    /// A message as a mapping, or its value alone.
    pub(super) fn of(value: Value) -> Result<Self, String> {
        let Value::Object(fields) = &value else {
            return Ok(Self { key: Value::Null, value, headers: BTreeMap::new(), partition: None });
        };
        // A mapping with none of a message's names is a value.
        if !fields.is_empty() && !["key", "value", "headers", "partition"].iter().any(|name| fields.contains_key(*name))
        {
            return Err(format!(
                "a message is a mapping with value, and if wanted key, headers and partition; this one has {}",
                fields.keys().cloned().collect::<Vec<_>>().join(", ")
            ));
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// The record, in the partition that is named, of its key, or that `turn` comes to.
    pub(super) fn into_record(self, turn: usize, partitions: i32) -> NewRecord {
        let key = bytes_of(self.key);
        let partition = match (self.partition, &key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, partitions),
            (None, None) => i32::try_from(turn).unwrap_or(0) % partitions.max(1),
        };
        let headers: Vec<(String, Bytes)> =
            self.headers.into_iter().map(|(name, value)| (name, bytes_of(value).unwrap_or_default())).collect();
        NewRecord {
            partition,
            key,
            value: bytes_of(self.value),
            headers: Headers::new(headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()))),
            time_ms: Utc::now().timestamp_millis(),
        }
    }
}

/// Text as it is, null as none, anything else as JSON.
fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes().into()),
        other => Some(other.to_string().into_bytes().into()),
    }
}

/// A record as a task sees it.
pub(super) fn shown(read: &TopicRecord) -> Value {
    let record = &read.record;
    let mut message = Map::new();
    message.insert("topic".to_owned(), json!(read.topic));
    message.insert("partition".to_owned(), json!(record.partition));
    message.insert("offset".to_owned(), json!(record.offset));
    message.insert("timestamp".to_owned(), json!(DateTime::from_timestamp_millis(record.time_ms)));
    insert_text(&mut message, "key", record.key.as_deref());
    insert_text(&mut message, "value", record.value.as_deref());
    if let Some(structured) = record.value.as_deref().and_then(structured) {
        message.insert("value".to_owned(), structured);
    }
    let mut headers = Map::new();
    for (name, value) in record.headers.iter() {
        insert_text(&mut headers, name, Some(value));
    }
    message.insert("headers".to_owned(), headers.into());
    message.into()
}

/// A JSON object or list is shown as what it is.
fn structured(value: &[u8]) -> Option<Value> {
    if !matches!(value.first(), Some(b'{' | b'[')) {
        return None;
    }
    serde_json::from_slice(value).ok()
}

/// Text as it is; other bytes in base64, under a name that says so, and none under the name itself.
fn insert_text(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let text = bytes.map(std::str::from_utf8);
    let value = match text {
        Some(Ok(text)) => text.into(),
        Some(Err(_)) | None => Value::Null,
    };
    object.insert(name.to_owned(), value);
    if let (Some(bytes), Some(Err(_))) = (bytes, text) {
        object.insert(format!("{name}_base64"), BASE64.encode(bytes).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Record;

    fn record(message: Value) -> NewRecord {
        GivenMessage::of(message).unwrap().into_record(4, 3)
    }

    #[test]
    fn values_are_text_none_or_json() {
        let value = |message| record(message).value.map(|value| String::from_utf8(value.to_vec()).unwrap());
        assert_eq!(value(json!("text")).as_deref(), Some("text"));
        assert_eq!(value(json!({"value": {"a": 1}})).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(value(json!({"key": "k"})), None);
        assert_eq!(value(json!(5)).as_deref(), Some("5"));
        assert_eq!(record(json!({"value": 1, "headers": {"h": 2}})).headers.text("h"), Some("2"));
    }

    #[test]
    fn a_partition_is_named_of_the_key_or_by_turns() {
        assert_eq!(record(json!({"value": 1, "partition": 2, "key": "k"})).partition, 2);
        assert_eq!(record(json!({"value": 1, "key": "k"})).partition, partition_of(b"k", 3));
        assert_eq!(record(json!("a")).partition, 1);
    }

    #[test]
    fn another_mapping_is_refused_with_its_names() {
        let said = GivenMessage::of(json!({"vale": 1})).unwrap_err();
        assert!(said.contains("this one has vale"), "{said}");
        assert!(GivenMessage::of(json!({"value": 1, "extra": 2})).unwrap_err().contains("extra"));
    }

    #[test]
    fn json_is_shown_as_what_it_is_and_bytes_in_base64() {
        let read = |value: &'static [u8]| {
            let record = Record {
                partition: 1,
                offset: 7,
                key: None,
                value: Some(Bytes::from_static(value)),
                headers: Headers::default(),
                time_ms: 0,
            };
            shown(&TopicRecord { topic: "t".into(), record })
        };
        assert_eq!(read(br#"{"a": 1}"#)["value"]["a"], 1);
        assert_eq!(read(b"5")["value"], "5");
        let bytes = read(b"\xff\x00");
        assert_eq!((&bytes["value"], &bytes["value_base64"]), (&Value::Null, &json!("/wA=")));
        assert_eq!((&bytes["offset"], &bytes["key"]), (&json!(7), &Value::Null));
    }
}
