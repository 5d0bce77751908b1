//! Keeps secrets out of logs, reasons and rendered fields.
//!
//! A secret is masked in the forms in which it commonly shows: as it is, percent-encoded as in a URL, escaped as in JSON,
//! in Base64, and line by line when it has several lines. Values are known from the moment they are fetched.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, PoisonError, RwLock},
};

use link::ConnectionFields;
use model::masking::{MASK, is_secret_name};

/// Shorter secrets are not masked: their letters stand in ordinary words, and a masked log would be of no use.
const SECRET_BYTES_MIN: usize = 3;

/// The secrets that an attempt has seen. Clones share them.
#[derive(Clone, Default)]
pub struct Masker(Arc<RwLock<Secrets>>);

#[derive(Default)]
struct Secrets {
    /// Longest first, so that a secret within another leaves nothing of the longer one.
    forms: Vec<String>,
}

impl std::fmt::Debug for Masker {
    /// Shows how many secrets there are, and none of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} forms)", self.with(|secrets| secrets.forms.len()))
    }
}

impl Masker {
    /// From now on this text is masked.
    pub fn add(&self, secret: &str) {
        let forms = forms_of(secret);
        // A panic of another thread leaves the list whole: it is replaced in one step.
        let mut secrets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let all: BTreeSet<String> = secrets.forms.drain(..).chain(forms).collect();
        secrets.forms = all.into_iter().collect();
        secrets.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// Masks the value of a name when it is a secret's name.
    pub fn add_named(&self, name: &str, value: &str) {
        if is_secret_name(name) {
            self.add(value);
        }
    }

    /// Masks a connection's password and every text in its extra settings.
    pub fn add_connection(&self, connection: &ConnectionFields) {
        if let Some(password) = &connection.password {
            self.add(password);
        }
        let Some(extra) = &connection.extra else { return };
        match serde_json::from_str::<serde_json::Value>(extra) {
            Ok(value) => self.add_texts(&value),
            Err(_) => self.add(extra),
        }
    }

    /// Masks every text in a JSON value.
    pub fn add_texts(&self, value: &serde_json::Value) {
        use serde_json::Value as V;
        match value {
            V::String(text) => self.add(text),
            V::Array(items) => items.iter().for_each(|item| self.add_texts(item)),
            V::Object(fields) => fields.values().for_each(|field| self.add_texts(field)),
            V::Null | V::Bool(_) | V::Number(_) => {}
        }
    }

    /// The text without secrets.
    #[must_use]
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.with(|secrets| {
            let mut masked = Cow::Borrowed(text);
            for form in &secrets.forms {
                if masked.contains(form.as_str()) {
                    masked = Cow::Owned(masked.replace(form.as_str(), MASK));
                }
            }
            masked
        })
    }

    /// The JSON value without secrets, neither known ones nor values with a secret's name.
    #[must_use]
    pub fn mask_json(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value as V;
        match value {
            V::String(text) => V::String(self.mask(text).into_owned()),
            V::Array(items) => V::Array(items.iter().map(|item| self.mask_json(item)).collect()),
            V::Object(fields) => V::Object(fields.iter().map(|(name, field)| self.mask_field(name, field)).collect()),
            V::Null | V::Bool(_) | V::Number(_) => value.clone(),
        }
    }

    fn mask_field(&self, name: &str, value: &serde_json::Value) -> (String, serde_json::Value) {
        let hidden = is_secret_name(name) && !value.is_null();
        (name.to_owned(), if hidden { MASK.into() } else { self.mask_json(value) })
    }

    /// Where a text that goes on can be cut so that no secret, whole or begun, is cut in two: what is before is safe to
    /// mask by itself. None when there is no such place yet.
    #[must_use]
    pub fn safe_cut(&self, text: &str) -> Option<usize> {
        self.with(|secrets| {
            let longest = secrets.forms.first().map_or(0, String::len);
            let mut cut = floor_char_boundary(text, text.len().saturating_sub(longest.saturating_sub(1)));
            // Moving the cut may put it inside an earlier secret; each move goes left, so this ends.
            while let Some(start) = secrets.spanning(text, cut) {
                cut = start;
            }
            (cut > 0).then_some(cut)
        })
    }

    fn with<T>(&self, read: impl FnOnce(&Secrets) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Secrets {
    /// Where a secret starts that begins before `cut` and ends after it.
    fn spanning(&self, text: &str, cut: usize) -> Option<usize> {
        self.forms.iter().find_map(|form| {
            let from = floor_char_boundary(text, cut.saturating_sub(form.len()));
            let matches = text[from..].match_indices(form.as_str()).map(|(at, _)| from + at);
            matches.take_while(|start| *start < cut).find(|start| start + form.len() > cut)
        })
    }
}

fn floor_char_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn forms_of(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let lines = secret.lines().filter(|_| secret.contains('\n'));
    for text in std::iter::once(secret).chain(lines) {
        let text = text.trim_matches(['\r', '\n']);
        if text.len() < SECRET_BYTES_MIN {
            continue;
        }
        let json = serde_json::Value::from(text).to_string();
        forms.extend([text.to_owned(), json.trim_matches('"').to_owned()]);
        forms.extend([percent_encoded(text, HexCase::Upper), percent_encoded(text, HexCase::Lower), base64(text)]);
        forms.push(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
    }
    forms
}

#[derive(Clone, Copy)]
enum HexCase {
    Upper,
    Lower,
}

fn percent_encoded(text: &str, case: HexCase) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let written = match case {
                HexCase::Upper => write!(encoded, "%{byte:02X}"),
                HexCase::Lower => write!(encoded, "%{byte:02x}"),
            };
            written.expect("writing to a String does not fail");
        }
        encoded
    })
}

/// Base64 without its last, incomplete group: those characters depend on what follows the secret.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks_exact(3) {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for shift in [18, 12, 6, 0] {
            encoded.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker(secrets: &[&str]) -> Masker {
        let masker = Masker::default();
        secrets.iter().for_each(|secret| masker.add(secret));
        masker
    }

    #[test]
    fn a_secret_is_masked_in_every_form_it_shows_in() {
        let masker = masker(&["p@ss/wörd \"1\""]);
        let percent = "postgres://u:p%40ss%2Fw%C3%B6rd%20%221%22@h";
        for text in ["say p@ss/wörd \"1\" now", r#"{"k":"p@ss/wörd \"1\""}"#, percent, &percent.to_lowercase()] {
            let masked = masker.mask(text);
            assert!(masked.contains(MASK) && !masked.contains("rd"), "{masked}");
        }
    }

    #[test]
    fn base64_and_single_lines_of_a_key_are_masked() {
        let masker = masker(&["-----BEGIN-----\nabcdef123456\n-----END-----"]);
        assert_eq!(masker.mask("line abcdef123456"), "line ***");
        let masker = self::masker(&["hunter22"]);
        assert!(masker.mask("aHVudGVyMjI=").starts_with(MASK));
    }

    #[test]
    fn a_longer_secret_goes_before_one_inside_it() {
        assert_eq!(masker(&["abc", "abcdef"]).mask("abcdef abc"), "*** ***");
    }

    #[test]
    fn a_cut_never_parts_a_secret() {
        let masker = masker(&["SECRETVALUE"]);
        for before in 0..40 {
            let text = format!("{}SECRETVALUE{}", "x".repeat(before), "é".repeat(20));
            for end in (1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
                let so_far = &text[..end];
                let Some(cut) = masker.safe_cut(so_far) else { continue };
                let pieces = format!("{}{}", masker.mask(&text[..cut]), masker.mask(&text[cut..]));
                assert!(pieces.contains(MASK), "{before} {end} {cut} {pieces}");
            }
        }
    }

    #[test]
    fn a_value_with_a_secrets_name_is_hidden_wherever_it_is_nested() {
        let value = serde_json::json!({"env": {"API_TOKEN": "t", "REGION": "eu"}, "list": [{"db-password": 5}]});
        let expected =
            serde_json::json!({"env": {"API_TOKEN": "***", "REGION": "eu"}, "list": [{"db-password": "***"}]});
        assert_eq!(Masker::default().mask_json(&value), expected);
    }
}
