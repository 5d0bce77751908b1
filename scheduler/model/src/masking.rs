//! What is secret by its name, and what stands for it wherever it is shown.
//!
//! One list of names serves logs, pages, REST and the audit log. What comes back from a form or a client as it was shown
//! is not a new value: [`unmasked`] finds the stored one again.

use serde_json::Value;

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
    "token",
];

/// Whether the value of something with this name is a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// The value as it may be shown: what has a secret's name is masked whole, and so are passwords in URLs.
#[must_use]
pub fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked_text(text)),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| {
                    let hidden = is_secret_name(name) && !field.is_null();
                    (name.clone(), if hidden { MASK.into() } else { masked(field) })
                })
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The text without the password of a URL in it: `http://me:***@host`.
#[must_use]
pub fn masked_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|at| at + 3) {
        let (before, after) = rest.split_at(start);
        shown.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#')).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => shown.extend([user, ":", MASK, "@", host]),
            None => shown.push_str(authority),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

/// The value that is meant when `new` was written by somebody who saw `stored` masked: what is still as it was shown stays.
#[must_use]
pub fn unmasked(new: &Value, stored: &Value) -> Value {
    match (new, stored) {
        (Value::Object(new), Value::Object(stored)) => Value::Object(
            new.iter()
                .map(|(name, value)| {
                    let kept = stored.get(name).map(|old| {
                        let hidden = is_secret_name(name) && value.as_str() == Some(MASK);
                        if hidden { old.clone() } else { unmasked(value, old) }
                    });
                    (name.clone(), kept.unwrap_or_else(|| value.clone()))
                })
                .collect(),
        ),
        (Value::Array(new), Value::Array(stored)) => {
            let one =
                |(at, value): (usize, &Value)| stored.get(at).map_or_else(|| value.clone(), |old| unmasked(value, old));
            Value::Array(new.iter().enumerate().map(one).collect())
        }
        (Value::String(text), Value::String(old)) if *text == masked_text(old) => stored.clone(),
        (new, _) => new.clone(),
    }
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
    fn the_password_of_a_url_is_hidden_and_the_rest_is_not() {
        assert_eq!(
            masked_text("see https://me:p@ss@h:1/a?b and http://h/x:y@z"),
            "see https://me:***@h:1/a?b and http://h/x:y@z"
        );
        assert_eq!(masked_text("no://secret here"), "no://secret here");
    }

    #[test]
    fn what_comes_back_as_it_was_shown_is_the_stored_value() {
        let stored = json!({"token": "t", "url": "http://a:b@h", "list": [{"secret": 1}], "x": 1});
        let shown = masked(&stored);
        assert_eq!(unmasked(&shown, &stored), stored);
        let changed = json!({"token": "new", "url": "http://h", "x": 2});
        assert_eq!(unmasked(&changed, &stored), changed);
    }
}
