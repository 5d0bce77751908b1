//! What is secret by its name or its place, and what stands for it wherever it is shown.
//!
//! One rule serves pages, REST and the audit log: the value of what has a secret's name (a member, a header, an option of a
//! command, a parameter of a URL), the password of a URL, and a token in the place of its user. What comes back from a form
//! or a client as it was shown is not a new value: [`unmasked`] finds the stored one again, or refuses.

mod text;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

pub use text::{masked_text, secrets_in};
use text::{option_name, restored};

use crate::door::Place;

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
    secret_option(items, at).is_some() && items[at].as_str().is_some_and(|text| option_name(text).is_none())
}

/// The option before an item, when what follows it is a secret.
fn secret_option(items: &[Value], at: usize) -> Option<&str> {
    let before = items.get(at.checked_sub(1)?)?.as_str()?;
    option_name(before).is_some_and(is_secret_name).then_some(before)
}

/// A value still holds a mask, and nothing tells what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} holds {MASK}, which stands for a secret that can not be told any more: write the whole value")]
pub struct StillMasked {
    /// Which member or element.
    pub place: String,
}

impl StillMasked {
    fn at(place: Place<'_>) -> Self {
        Self { place: place.told() }
    }
}

/// The value that is meant when `new` was written by somebody who saw `stored` masked: what is still as it was shown stays,
/// also inside a text of which only a part was changed.
///
/// # Errors
/// [`StillMasked`] when a mask is left where the stored value had a secret: it would be stored in its place.
pub fn unmasked(new: &Value, stored: &Value) -> Result<Value, StillMasked> {
    meant(new, stored, &masked(stored), Place::Root)
}

/// The text that is meant when `new` was written by somebody who saw `stored` masked.
///
/// # Errors
/// [`StillMasked`].
pub fn unmasked_text(new: &str, stored: &str) -> Result<String, StillMasked> {
    restored(new, stored).ok_or_else(|| StillMasked::at(Place::Root))
}

/// `shown` is what was shown of `stored`.
fn meant(new: &Value, stored: &Value, shown: &Value, place: Place<'_>) -> Result<Value, StillMasked> {
    if new == shown {
        return Ok(stored.clone());
    }
    match (new, stored, shown) {
        (Value::Object(new), Value::Object(stored), Value::Object(shown)) => {
            let member = |(name, value): (&String, &Value)| {
                let place = Place::Member(&place, name);
                let value = match (stored.get(name), shown.get(name)) {
                    (Some(stored), Some(shown)) => meant(value, stored, shown, place)?,
                    (None, _) | (_, None) => fresh(name, value, place)?,
                };
                Ok((name.clone(), value))
            };
            new.iter().map(member).collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        (Value::Array(new), Value::Array(stored), Value::Array(shown)) => {
            meant_items(new, stored, shown, place).map(Value::Array)
        }
        (Value::String(text), Value::String(old), _) => {
            // Hidden whole: what is not the mask itself is a new value, unless it holds one.
            let found = if shown.as_str() == Some(MASK) {
                (!text.contains(MASK)).then(|| text.clone())
            } else {
                restored(text, old)
            };
            found.map(Value::String).ok_or_else(|| StillMasked::at(place))
        }
        (new, ..) => fresh("", new, place),
    }
}

/// Which stored item an item of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    /// This one: it looks as that was shown.
    As(usize),
    /// One of several that were shown alike, and hide different secrets.
    OneOfSeveral,
}

/// What an item looks like: it, and the option before it whose secret argument it may be.
type Look<'v> = (Option<&'v str>, &'v Value);

/// The items that are meant. One that looks as it was shown is that one, wherever it stands now; one that was edited is what
/// stood at its place, as long as nothing was added or taken out: else nobody could tell whose secret its mask is.
fn meant_items(new: &[Value], stored: &[Value], shown: &[Value], place: Place<'_>) -> Result<Vec<Value>, StillMasked> {
    let is_aligned = new.len() == shown.len();
    let is_kept = |at: usize| is_aligned && new[at] == shown[at] && secret_option(new, at) == secret_option(shown, at);
    let by_look = by_look(stored, shown);
    let same = |at: usize| -> Option<Same> {
        if is_kept(at) { Some(Same::As(at)) } else { by_look.get(&(secret_option(new, at), &new[at])).copied() }
    };
    let found: Vec<Option<Same>> = (0..new.len()).map(same).collect();
    let taken: BTreeSet<usize> =
        found.iter().filter_map(|same| if let Some(Same::As(from)) = same { Some(*from) } else { None }).collect();
    let item = |(at, same): (usize, &Option<Same>)| {
        let place = Place::Element(&place, at);
        match same {
            Some(Same::As(from)) => Ok(stored[*from].clone()),
            Some(Same::OneOfSeveral) => Err(StillMasked::at(place)),
            None if is_aligned && !taken.contains(&at) && secret_option(new, at) == secret_option(shown, at) => {
                meant(&new[at], &stored[at], &shown[at], place)
            }
            None => fresh("", &new[at], place),
        }
    };
    found.iter().enumerate().map(item).collect()
}

/// The stored items by what was shown of them.
fn by_look<'v>(stored: &[Value], shown: &'v [Value]) -> HashMap<Look<'v>, Same> {
    let mut found: HashMap<Look<'v>, Same> = HashMap::with_capacity(shown.len());
    for at in 0..shown.len().min(stored.len()) {
        let same = found.entry((secret_option(shown, at), &shown[at])).or_insert(Same::As(at));
        if let Same::As(first) = *same
            && stored[first] != stored[at]
        {
            *same = Same::OneOfSeveral;
        }
    }
    found
}

/// A value that was not there before: a mask in the place of a secret can stand for nothing.
fn fresh(name: &str, value: &Value, place: Place<'_>) -> Result<Value, StillMasked> {
    let is_left = match value {
        Value::String(text) => text == MASK || (is_secret_name(name) && text.contains(MASK)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .try_for_each(|(at, item)| fresh("", item, Place::Element(&place, at)).map(drop))?;
            false
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(name, member)| fresh(name, member, Place::Member(&place, name)).map(drop))?;
            false
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    if is_left { Err(StillMasked::at(place)) } else { Ok(value.clone()) }
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
    fn the_secret_of_an_edited_item_is_never_that_of_another() {
        let item = |name: &str, password: &str| json!({"name": name, "password": password});
        let stored = json!([item("a", "pa"), item("b", "pb"), item("c", "pc")]);
        // One was taken out and one renamed: which of them it was can not be told.
        let shrunk = json!([item("b2", "***"), item("c", "***")]);
        assert!(unmasked(&shrunk, &stored).is_err());
        let moved = json!([item("b", "***"), item("a2", "***"), item("c", "***")]);
        assert!(unmasked(&moved, &stored).is_err(), "what stood there is elsewhere now");
        let edited = json!([item("a", "***"), item("b2", "***"), item("c", "new")]);
        assert_eq!(unmasked(&edited, &stored), Ok(json!([item("a", "pa"), item("b2", "pb"), item("c", "new")])));
        let alike = json!([{"password": "p1"}, {"password": "p2"}]);
        assert_eq!(unmasked(&masked(&alike), &alike), Ok(alike.clone()));
        assert!(unmasked(&json!([{"password": "***"}]), &alike).is_err(), "one of two that look alike");
        assert_eq!(
            unmasked(&json!([{"password": "***"}]), &json!([{"password": "p"}, {"password": "p"}])),
            Ok(json!([{"password": "p"}]))
        );
    }

    #[test]
    fn arguments_keep_their_secrets_when_others_come_or_go() {
        let stored = json!(["--verbose", "--password", "p", "--token", "t"]);
        for (edited, meant) in [
            (json!(["--password", "***", "--token", "***"]), json!(["--password", "p", "--token", "t"])),
            (json!(["--token", "***"]), json!(["--token", "t"])),
            (json!(["--token", "***", "--password", "***", "x"]), json!(["--token", "t", "--password", "p", "x"])),
        ] {
            assert_eq!(unmasked(&edited, &stored), Ok(meant), "{edited}");
        }
        assert!(unmasked(&json!(["--verbose", "--secret", "***", "--token", "***"]), &stored).is_err());
    }

    #[test]
    fn a_long_list_is_compared_in_one_walk() {
        // To look for each of so many items in all of the others would never end.
        const ITEMS: usize = 200_000;
        let stored: Vec<Value> = (0..ITEMS).map(|at| json!({"name": at, "password": format!("p{at}")})).collect();
        let stored = Value::Array(stored);
        let Value::Array(mut shown) = masked(&stored) else { panic!("a list") };
        shown.reverse();
        let meant = unmasked(&Value::Array(shown), &stored).unwrap();
        assert_eq!((&meant[0], &meant[ITEMS - 1]), (&stored[ITEMS - 1], &stored[0]));
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
