//! JSON that can be stored and read back: no NUL in any text or name, and not deeper than every reader on its way goes.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::nul_at;

/// How deep JSON from outside may be nested. Readers stop at 128, and on its way a value is wrapped a few times.
const DEPTH_MAX: usize = 64;
/// So much of a place is told: the rest of a deep or long one helps nobody.
const PLACE_CHARS_MAX: usize = 200;

/// JSON that is refused, with its place, such as `conf.tags[2]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJson {
    /// PostgreSQL has no text with this character.
    #[error("a NUL character stands in {place}: a text has none; leave it out")]
    Nul {
        /// Which member or element.
        place: String,
    },
    /// It is nested too deeply.
    #[error("{place} is nested more than {DEPTH_MAX} levels deep: flatten it, or pass it as a text")]
    TooDeep {
        /// The outermost member that is.
        place: String,
    },
    /// A list of runs has a hundred of them.
    #[error("it has {bytes} bytes as JSON text, and a run is given at most {max}: put what is larger into a file or a table, and hand on its name", max = Conf::BYTES_MAX)]
    TooLarge {
        /// How many.
        bytes: usize,
    },
}

/// Any JSON value that can be stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Json(Value);

/// A run's conf: a JSON object that can be stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Conf(Map<String, Value>);

impl Json {
    /// Checks a value.
    ///
    /// # Errors
    /// [`InvalidJson`] with the place of what is wrong.
    pub fn new(value: Value) -> Result<Self, InvalidJson> {
        check(&value, &Place::Root)?;
        Ok(Self(value))
    }

    /// The value.
    #[must_use]
    pub const fn get(&self) -> &Value {
        &self.0
    }

    /// The value, to keep.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }
}

impl Conf {
    /// The most that it may have as JSON text; as much as an XCom.
    pub const BYTES_MAX: usize = crate::XComValue::BYTES_MAX;

    /// Checks an object.
    ///
    /// # Errors
    /// [`InvalidJson`] with the place of what is wrong.
    pub fn new(members: Map<String, Value>) -> Result<Self, InvalidJson> {
        check_members(&members, &Place::Root)?;
        let bytes = serde_json::to_string(&members).map_or(usize::MAX, |text| text.len());
        if bytes > Self::BYTES_MAX { Err(InvalidJson::TooLarge { bytes }) } else { Ok(Self(members)) }
    }

    /// The members.
    #[must_use]
    pub const fn get(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The members, to keep.
    #[must_use]
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

/// The first whole number in a JSON text that has more than 64 bits: readers here make a fraction of it, which is another
/// number as a rule.
#[must_use]
pub fn inexact(json: &str) -> Option<&str> {
    let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                at += 1;
            }
            byte if byte == b'-' || byte.is_ascii_digit() => {
                let length = bytes[at..].iter().take_while(|byte| is_number(byte)).count();
                let number = &json[at..at + length];
                let is_whole = !number.contains(['.', 'e', 'E']);
                if is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(number);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

impl TryFrom<Value> for Json {
    type Error = InvalidJson;
    fn try_from(value: Value) -> Result<Self, InvalidJson> {
        Self::new(value)
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        json.0
    }
}

impl TryFrom<Map<String, Value>> for Conf {
    type Error = InvalidJson;
    fn try_from(members: Map<String, Value>) -> Result<Self, InvalidJson> {
        Self::new(members)
    }
}

impl From<Conf> for Map<String, Value> {
    fn from(conf: Conf) -> Self {
        conf.0
    }
}

/// Where a value stands: a chain from the value outwards, so that nothing is built unless it is told.
#[derive(Clone, Copy)]
pub enum Place<'p> {
    /// The whole value.
    Root,
    /// A member of an object.
    Member(&'p Place<'p>, &'p str),
    /// An element of a list.
    Element(&'p Place<'p>, usize),
}

impl Place<'_> {
    fn depth(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Member(outer, _) | Self::Element(outer, _) => outer.depth() + 1,
        }
    }

    /// The place in words, such as `tags[2].name`.
    pub fn told(&self) -> String {
        let text = self.to_string();
        let visible: String = text.trim_start_matches('.').chars().take(PLACE_CHARS_MAX).collect();
        if visible.is_empty() { "the value".to_owned() } else { visible.replace('\0', "\u{2400}") }
    }

    fn outermost(&self) -> String {
        match self {
            Self::Root => self.told(),
            Self::Member(outer, _) | Self::Element(outer, _) => match outer {
                Place::Root => self.told(),
                Place::Member(..) | Place::Element(..) => outer.outermost(),
            },
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(outer, name) => write!(f, "{outer}.{name}"),
            Self::Element(outer, at) => write!(f, "{outer}[{at}]"),
        }
    }
}

fn check(value: &Value, place: &Place<'_>) -> Result<(), InvalidJson> {
    match value {
        Value::String(text) => check_text(text, place),
        Value::Array(items) => {
            check_depth(place)?;
            items.iter().enumerate().try_for_each(|(at, item)| check(item, &Place::Element(place, at)))
        }
        Value::Object(members) => check_members(members, place),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn check_members(members: &Map<String, Value>, place: &Place<'_>) -> Result<(), InvalidJson> {
    check_depth(place)?;
    members.iter().try_for_each(|(name, member)| {
        let inner = Place::Member(place, name);
        check_text(name, &inner)?;
        check(member, &inner)
    })
}

fn check_text(text: &str, place: &Place<'_>) -> Result<(), InvalidJson> {
    match nul_at(text) {
        Some(_) => Err(InvalidJson::Nul { place: place.told() }),
        None => Ok(()),
    }
}

fn check_depth(place: &Place<'_>) -> Result<(), InvalidJson> {
    if place.depth() >= DEPTH_MAX { Err(InvalidJson::TooDeep { place: place.outermost() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn whole_numbers_that_no_64_bits_hold_are_found_and_nothing_else() {
        for (json, found) in [
            (r#"{"a": 12345678901234567890123}"#, Some("12345678901234567890123")),
            ("[1, -9223372036854775809]", Some("-9223372036854775809")),
            ("18446744073709551616", Some("18446744073709551616")),
            ("[18446744073709551615, -9223372036854775808]", None),
            (r#"{"12345678901234567890123": "12345678901234567890123", "q": "\"12345678901234567890123"}"#, None),
            ("[1.2345678901234567890123, 12345678901234567890123e0, 1e400]", None),
        ] {
            assert_eq!(inexact(json), found, "{json}");
        }
    }

    use super::*;

    #[test]
    fn a_nul_is_found_wherever_it_hides() {
        let error = Json::new(json!({"a": [1, {"b": "x\0"}]})).unwrap_err();
        assert_eq!(error.to_string(), "a NUL character stands in a[1].b: a text has none; leave it out");
        assert!(Json::new(json!({"a\0": 1})).is_err());
        assert!(serde_json::from_str::<Conf>(r#"{"a": "\u0000"}"#).is_err());
        assert!(Json::new(json!("\0")).unwrap_err().to_string().contains("the value"));
    }

    #[test]
    fn a_conf_is_no_larger_than_lists_of_runs_can_bear() {
        let conf = |letters: usize| serde_json::from_value::<Conf>(json!({"a": "x".repeat(letters)}));
        let frame = r#"{"a":""}"#.len();
        assert!(conf(Conf::BYTES_MAX - frame).is_ok());
        let error = conf(Conf::BYTES_MAX - frame + 1).unwrap_err().to_string();
        assert!(error.contains("65537 bytes") && error.contains("at most 65536"), "{error}");
    }

    #[test]
    fn what_is_too_deep_is_refused_before_a_reader_stumbles_over_it() {
        let nested = |depth: usize| format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(serde_json::from_str::<Json>(&nested(63)).is_ok());
        let error = serde_json::from_str::<Json>(&nested(64)).unwrap_err().to_string();
        assert!(error.starts_with("a is nested more than 64 levels deep"), "{error}");
    }
}
