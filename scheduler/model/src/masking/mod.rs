//! What is secret by its name or its place, and what stands for it wherever it is shown.
//!
//! One rule serves pages, REST and the audit log: the value of what has a secret's name (a member, a header, an option of a
//! command, a parameter of a URL), the password of a URL, and a token in the place of its user. What comes back from a form
//! or a client as it was shown is not a new value: [`unmasked`] finds the stored one again, or refuses.

mod text;

use serde_json::{Map, Value};

pub use text::{masked_text, secrets_in};
use text::{option_name, restored};

/// What stands for a secret.
pub const MASK: &str = "***";

/// Parts of names whose values are secrets, in Airflow's spirit.
const SECRET_NAMES: &[&str] = &[
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "credential",
    "keyfile",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "pwd",
    "secret",
    "service_account",
    "signature",
    "token",
];

/// Whether the value of something with this name is a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Headers whose values everybody may see; any other one may be a way to log in.
const OPEN_HEADERS: &[&str] = &["accept", "accept-encoding", "accept-language", "content-type", "user-agent"];

/// Whether a member holds headers: their names say little of whether their values are secret.
fn holds_headers(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("headers")
}

/// How the value of a member is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Hidden,
    Headers,
    Searched,
}

fn shown_as(name: &str, value: &Value) -> Shown {
    match value {
        Value::Null => Shown::Searched,
        _ if is_secret_name(name) => Shown::Hidden,
        Value::Object(_) if holds_headers(name) => Shown::Headers,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => Shown::Searched,
    }
}

/// The value as it may be shown.
#[must_use]
pub fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked_text(text)),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(at, item)| if is_argument(items, at) { MASK.into() } else { masked(item) })
                .collect(),
        ),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), masked_member(name, member))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The members of an object as they may be shown.
#[must_use]
pub fn masked_members(members: &Map<String, Value>) -> Map<String, Value> {
    members.iter().map(|(name, member)| (name.clone(), masked_member(name, member))).collect()
}

/// The value of something with a name as it may be shown.
#[must_use]
pub fn masked_member(name: &str, value: &Value) -> Value {
    match (shown_as(name, value), value) {
        (Shown::Hidden, _) => MASK.into(),
        (Shown::Headers, Value::Object(headers)) => {
            headers.iter().map(|(header, value)| (header.clone(), masked_header(header, value))).collect()
        }
        (Shown::Headers | Shown::Searched, value) => masked(value),
    }
}

fn masked_header(header: &str, value: &Value) -> Value {
    let is_open = OPEN_HEADERS.iter().any(|open| header.eq_ignore_ascii_case(open));
    if is_open || value.is_null() { masked(value) } else { MASK.into() }
}

/// Whether an item is the secret argument of the option before it: `["--password", "x"]`.
#[must_use]
pub fn is_argument(items: &[Value], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| items[before].as_str()).and_then(option_name);
    before.is_some_and(is_secret_name) && items[at].as_str().is_some_and(|text| option_name(text).is_none())
}

/// A value still holds a mask, and nothing tells what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} holds {MASK}, which stands for a secret that can not be told any more: write the whole value")]
pub struct StillMasked {
    /// Which member or element.
    pub place: String,
}

/// The value that is meant when `new` was written by somebody who saw `stored` masked: what is still as it was shown stays,
/// also inside a text of which only a part was changed.
///
/// # Errors
/// [`StillMasked`] when a mask is left where the stored value had a secret: it would be stored in its place.
pub fn unmasked(new: &Value, stored: &Value) -> Result<Value, StillMasked> {
    meant(new, stored, &masked(stored), "the value")
}

/// The text that is meant when `new` was written by somebody who saw `stored` masked.
///
/// # Errors
/// [`StillMasked`].
pub fn unmasked_text(new: &str, stored: &str) -> Result<String, StillMasked> {
    restored(new, stored).ok_or_else(|| StillMasked { place: "the value".to_owned() })
}

/// `shown` is what was shown of `stored`.
fn meant(new: &Value, stored: &Value, shown: &Value, place: &str) -> Result<Value, StillMasked> {
    if new == shown {
        return Ok(stored.clone());
    }
    match (new, stored, shown) {
        (Value::Object(new), Value::Object(stored), Value::Object(shown)) => {
            let member = |(name, value): (&String, &Value)| {
                let place = format!("{place}.{name}");
                let value = match (stored.get(name), shown.get(name)) {
                    (Some(stored), Some(shown)) => meant(value, stored, shown, &place)?,
                    (None, _) | (_, None) => fresh(name, value, &place)?,
                };
                Ok((name.clone(), value))
            };
            new.iter().map(member).collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        (Value::Array(new), Value::Array(stored), Value::Array(shown)) => {
            let item = |(at, value): (usize, &Value)| {
                let place = format!("{place}[{at}]");
                // Items may have moved: one that is as it was shown elsewhere is that one.
                let same = |at: usize| shown.get(at).is_some_and(|shown| shown == value);
                let from = if same(at) { Some(at) } else { (0..shown.len()).find(|other| same(*other)) };
                match from.or(Some(at)).and_then(|at| Some((stored.get(at)?, shown.get(at)?))) {
                    Some((stored, shown)) => meant(value, stored, shown, &place),
                    None => fresh("", value, &place),
                }
            };
            new.iter().enumerate().map(item).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        (Value::String(text), Value::String(old), _) => {
            // Hidden whole: what is not the mask itself is a new value, unless it holds one.
            let found = if shown.as_str() == Some(MASK) {
                (!text.contains(MASK)).then(|| text.clone())
            } else {
                restored(text, old)
            };
            found.map(Value::String).ok_or_else(|| StillMasked { place: place.to_owned() })
        }
        (new, ..) => fresh("", new, place),
    }
}

/// A value that was not there before: a mask in the place of a secret can stand for nothing.
fn fresh(name: &str, value: &Value, place: &str) -> Result<Value, StillMasked> {
    let is_left = match value {
        Value::String(text) => text == MASK || (is_secret_name(name) && text.contains(MASK)),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(at, item)| fresh("", item, &format!("{place}[{at}]")).map(drop))?;
            false
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(name, member)| fresh(name, member, &format!("{place}.{name}")).map(drop))?;
            false
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    if is_left { Err(StillMasked { place: place.to_owned() }) } else { Ok(value.clone()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_decides_wherever_it_is_nested() {
        let value = json!({"region": "eu", "env": [{"API-TOKEN": {"a": 1}}], "password": null});
        assert_eq!(masked(&value), json!({"region": "eu", "env": [{"API-TOKEN": "***"}], "password": null}));
    }

    #[test]
    fn headers_and_arguments_of_options_are_hidden() {
        let value = json!({
            "headers": {"X-Auth": "canary", "Content-Type": "text/csv"},
            "args": ["--password=canary", "--token", "canary", "--verbose", "x", "--secret-file=canary"],
        });
        let shown = masked(&value);
        assert!(!shown.to_string().contains("canary"), "{shown}");
        assert_eq!(shown["headers"]["Content-Type"], "text/csv");
        assert_eq!(shown["args"], json!(["--password=***", "--token", "***", "--verbose", "x", "--secret-file=***"]));
        assert_eq!(unmasked(&shown, &value), Ok(value));
    }

    #[test]
    fn what_comes_back_as_it_was_shown_is_the_stored_value() {
        let stored = json!({"token": "t", "url": "http://a:b@h", "list": [{"secret": 1}], "x": 1});
        let shown = masked(&stored);
        assert_eq!(unmasked(&shown, &stored), Ok(stored.clone()));
        let changed = json!({"token": "new", "url": "http://h", "x": 2});
        assert_eq!(unmasked(&changed, &stored), Ok(changed.clone()));
        let edited = json!({"token": "***", "url": "http://a:***@new.example", "list": [{"secret": "***"}], "x": 3});
        let expected = json!({"token": "t", "url": "http://a:b@new.example", "list": [{"secret": 1}], "x": 3});
        assert_eq!(unmasked(&edited, &stored), Ok(expected));
    }

    #[test]
    fn an_item_that_has_moved_keeps_its_secret() {
        let stored = json!([{"name": "a", "password": "pa"}, {"name": "b", "password": "pb"}]);
        let moved = json!([{"name": "b", "password": "***"}]);
        assert_eq!(unmasked(&moved, &stored), Ok(json!([{"name": "b", "password": "pb"}])));
    }

    #[test]
    fn a_mask_that_stands_for_nothing_is_never_the_value() {
        let stored = json!({"password": "p", "url": "http://a:b@h", "note": "plain"});
        for lost in [
            json!({"passwort": "***"}),
            json!({"password": "x***"}),
            json!({"url": "http://a:***@h http://c:***@i"}),
            json!({"url": {"inner": "***"}}),
            json!({"new": [{"token": "***"}]}),
        ] {
            assert!(unmasked(&lost, &stored).is_err(), "{lost}");
        }
        // Three stars where no secret was are three stars.
        let stars = json!({"note": "a *** hotel"});
        assert_eq!(unmasked(&stars, &stored), Ok(stars.clone()));
    }
}
