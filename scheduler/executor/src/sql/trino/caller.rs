//! Who asks, for Trino's own records: source, client tags and client info, by which lineage and operators find the task.

use link::Assignment;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::settings::Settings;

/// `source` of every query.
pub(super) const SOURCE: &str = "windlass";
/// So many digits of the hash tell task instances apart.
const INSTANCE_HEX: usize = 32;

/// What the queries of an attempt say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The task instance, the same for each of its tries, and different in every installation: its run's start is part
    /// of it. Windlass cancels only queries that carry it.
    pub(super) instance: String,
    /// All client tags.
    pub(super) tags: Vec<String>,
    /// JSON text in ASCII.
    pub(super) info: String,
}

impl Caller {
    /// The caller that an attempt is.
    pub(super) fn of(assignment: &Assignment, settings: &Settings) -> Self {
        let context = &assignment.context;
        let instance = instance(assignment);
        let mut tags = vec![
            format!("dag:{}", context.dag_id),
            format!("task:{}", context.task_id),
            format!("run:{}", context.run_id),
            format!("try:{}", context.try_number),
        ];
        if context.map_index != model::MapIndex::UNMAPPED {
            tags.push(format!("map_index:{}", context.map_index));
        }
        tags.push(instance_tag(&instance));
        tags.extend(settings.tags.iter().cloned());
        let info = json!({
            "application": SOURCE,
            "dag_id": context.dag_id,
            "run_id": context.run_id,
            "task_id": context.task_id,
            "map_index": context.map_index,
            "try_number": context.try_number,
            "attempt": assignment.attempt,
            "logical_date": context.logical_date,
        });
        Self { instance, tags: tags.iter().map(|tag| tag_text(tag)).collect(), info: ascii(&info.to_string()) }
    }

    /// The tag that all queries of the task instance carry.
    pub(super) fn instance_tag(&self) -> String {
        instance_tag(&self.instance)
    }
}

fn instance_tag(instance: &str) -> String {
    format!("instance:{instance}")
}

fn instance(assignment: &Assignment) -> String {
    let context = &assignment.context;
    let digest = Sha256::digest(format!(
        "{}\0{}\0{:?}\0{}\0{}\0{}",
        context.dag_id,
        context.run_id,
        assignment.ti,
        context.run_started_at.timestamp_micros(),
        context.task_id,
        context.map_index,
    ));
    let mut hex = format!("{digest:x}");
    hex.truncate(INSTANCE_HEX);
    hex
}

/// Tags are ASCII, and a comma would part one; both are escaped as in a URL.
fn tag_text(tag: &str) -> String {
    let mut text = String::with_capacity(tag.len());
    for byte in tag.bytes() {
        match byte {
            b',' | b'%' | 0..=0x20 | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
    }
    text
}

/// JSON text with everything outside ASCII escaped, as a header must be.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_tag_whatever_is_in_it() {
        assert_eq!(tag_text("run:manual__2026-01-30T00:00:00+00:00"), "run:manual__2026-01-30T00:00:00+00:00");
        assert_eq!(tag_text("run:a,b ä"), "run:a%2Cb%20%C3%A4");
    }

    #[test]
    fn client_info_is_json_in_ascii() {
        let json = r#"{"run_id":"ä 😀"}"#;
        let text = ascii(json);
        assert_eq!(text, r#"{"run_id":"\u00e4 \ud83d\ude00"}"#);
        let (left, right): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(json).unwrap());
        assert_eq!(left, right);
    }
}
