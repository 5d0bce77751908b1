//! JSON that people wrote, with its numbers as they wrote them: `1.10` stays `1.10`, and an integer of thirty digits itself.
//!
//! `serde_json` reads numbers into 64 bits, and what is written again after a mask was lifted would not be what was stored. So
//! each number is carried as a text that begins with a NUL, in front of which a text that begins so gets one more: what hides
//! and finds secrets sees texts like any others, and two numbers are the same when they are written alike.

use std::io;

use model::masking::{self, StillMasked};
use serde::{Serialize, Serializer, de::IgnoredAny, ser::Error as _};
use serde_json::{Value, ser::Formatter, value::RawValue};

/// What a carried number begins with.
const CARRIED: char = '\0';
/// The same as JSON writes it.
const CARRIED_IN_JSON: &str = "\\u0000";

/// A JSON value with exact numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Exact(Value);

/// What stands between the members of a value that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// `{"a":1}`.
    None,
    /// `{"a": 1, "b": [2, 3]}`: as Python has it.
    Python,
}

impl Exact {
    /// Reads a text; none when it is not JSON.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(json).ok()?;
        serde_json::from_str(&carrying(json)).ok().map(Self)
    }

    /// The value, in which numbers are texts.
    #[must_use]
    pub const fn get(&self) -> &Value {
        &self.0
    }

    /// The value as it may be shown.
    #[must_use]
    pub fn masked(&self) -> Self {
        Self(masking::masked(&self.0))
    }

    /// The value that is meant by somebody who saw `stored` masked.
    ///
    /// # Errors
    /// [`StillMasked`].
    pub fn unmasked(&self, stored: &Self) -> Result<Self, StillMasked> {
        masking::unmasked(&self.0, &stored.0).map(Self)
    }

    /// The value as JSON text.
    #[must_use]
    pub fn to_text(&self, spacing: Spacing) -> String {
        written(&Carried(&self.0), spacing)
    }
}

/// A value as JSON text.
#[must_use]
pub fn written(value: &impl Serialize, spacing: Spacing) -> String {
    let mut bytes = Vec::new();
    let done = match spacing {
        Spacing::None => value.serialize(&mut serde_json::Serializer::new(&mut bytes)),
        Spacing::Python => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)),
    };
    done.expect("a JSON value can be written as JSON");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// A JSON text with its numbers carried as texts.
fn carrying(json: &str) -> String {
    let mut carried = String::with_capacity(json.len() + json.len() / 2);
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let (between, from) = rest.split_at(at);
        carried.push_str(between);
        if from.starts_with('"') {
            let (text, after) = from.split_at(text_length(from));
            let is_name = after.trim_start().starts_with(':');
            if !is_name && text[1..].starts_with(CARRIED_IN_JSON) {
                carried.push('"');
                carried.push_str(CARRIED_IN_JSON);
                carried.push_str(&text[1..]);
            } else {
                carried.push_str(text);
            }
            rest = after;
        } else {
            let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
            let (number, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
            carried.push('"');
            carried.push_str(CARRIED_IN_JSON);
            carried.push_str(number);
            carried.push('"');
            rest = after;
        }
    }
    carried.push_str(rest);
    carried
}

/// The length of the JSON text that stands at the beginning, with its quotes.
fn text_length(from: &str) -> usize {
    let mut escaped = false;
    let end = from.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(from.len(), |at| at + 2)
}

/// Writes what is carried as it was.
struct Carried<'v>(&'v Value);

impl Serialize for Carried<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => match text.strip_prefix(CARRIED) {
                None => serializer.serialize_str(text),
                Some(own) if own.starts_with(CARRIED) => serializer.serialize_str(own),
                Some(number) => {
                    RawValue::from_string(number.to_owned()).map_err(S::Error::custom)?.serialize(serializer)
                }
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Carried)),
            Value::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, member)| (name, Carried(member))))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => self.0.serialize(serializer),
        }
    }
}

/// As Python's `json.dumps` puts spaces.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_as_it_was() {
        for json in [
            r#"{"a": 1.10, "b": [123456789012345678901234567890, -0, 1E+3, 1e400], "c": "1.10"}"#,
            r#"{"\u00001": "\u00001", "d": "\u0000\u00002", "e": "a\"1\\", "f": [true, null, {}], "7": 7}"#,
            "1.10",
            "\"a text\"",
            "[-1.0, \"\u{fc} 1\"]",
        ] {
            let exact = Exact::parse(json).unwrap();
            assert_eq!(exact.to_text(Spacing::Python), json);
            assert_eq!(exact.to_text(Spacing::None).len(), json.replace(": ", ":").replace(", ", ",").len());
        }
        assert!(Exact::parse("{\"a\": 1.}").is_none() && Exact::parse("01").is_none());
    }

    #[test]
    fn secrets_are_hidden_and_found_beside_numbers_that_stay() {
        let stored =
            Exact::parse(r#"{"password": 123456789012345678901, "rate": 1.10, "args": ["--token", 7]}"#).unwrap();
        let shown = stored.masked().to_text(Spacing::Python);
        assert!(!shown.contains("1234") && shown.contains(r#""rate": 1.10"#), "{shown}");
        let edited = Exact::parse(&shown.replace("1.10", "1.20")).unwrap();
        let meant = edited.unmasked(&stored).unwrap().to_text(Spacing::Python);
        assert_eq!(meant, r#"{"password": 123456789012345678901, "rate": 1.20, "args": ["--token", 7]}"#);
    }
}
