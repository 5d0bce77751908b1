//! Keeps secrets out of logs, reasons and rendered fields.
//!
//! A secret is masked in the forms in which it commonly shows: as it is, percent-encoded as in a URL, escaped as in JSON,
//! in Base64 wherever it begins in what was encoded, and line by line when it has several lines. Values are known from the
//! moment they are fetched. What is secret is told by the name of its key, as in Airflow, by its place in a URL, or by being a
//! connection's password: a setting such as `"format": "json"` is a word that logs need.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use link::ConnectionFields;
use model::masking::{MASK, is_argument, is_secret_name, masked, secrets_in};

/// Shorter secrets are not masked, as in Airflow: their letters stand in ordinary words, and a masked log would be of no use.
const SECRET_CHARS_MIN: usize = 5;
/// Names of headers that carry a login, beside those that are secret anywhere.
const LOGIN_HEADERS: &[&str] = &["auth", "cookie", "signature"];

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

    /// Masks a connection's password, and what is secret in its host and extra settings.
    pub fn add_connection(&self, connection: &ConnectionFields) {
        if let Some(password) = &connection.password {
            self.add(password);
        }
        connection.host.iter().for_each(|host| self.add_in_text(host));
        let Some(extra) = &connection.extra else { return };
        match serde_json::from_str::<serde_json::Value>(extra) {
            Ok(value) => self.add_secrets_in(&value),
            Err(_) => self.add(extra),
        }
    }

    /// Masks what is secret in a JSON value: by the name of its key, in a URL, or behind a secret's name in an argument.
    pub fn add_secrets_in(&self, value: &serde_json::Value) {
        use serde_json::Value as V;
        match value {
            V::String(text) => self.add_in_text(text),
            V::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    if is_argument(items, at) { self.add_texts(item) } else { self.add_secrets_in(item) }
                }
            }
            V::Object(fields) => {
                for (name, field) in fields {
                    if is_secret_name(name) {
                        self.add_texts(field);
                    } else if name.eq_ignore_ascii_case("headers") {
                        self.add_headers(field);
                    } else {
                        self.add_secrets_in(field);
                    }
                }
            }
            V::Null | V::Bool(_) | V::Number(_) => {}
        }
    }

    fn add_headers(&self, headers: &serde_json::Value) {
        for (name, value) in headers.as_object().into_iter().flatten() {
            self.add_header(name, value.as_str().unwrap_or_default());
        }
    }

    /// Masks the value of a header that carries a login, and of `Bearer x` also `x` alone.
    pub fn add_header(&self, name: &str, value: &str) {
        let lower = name.to_ascii_lowercase();
        if is_secret_name(name) || LOGIN_HEADERS.iter().any(|part| lower.contains(part)) {
            self.add(value);
            value.split_once(' ').into_iter().for_each(|(_, credentials)| self.add(credentials));
        }
    }

    /// Masks a URL that is a secret, and what is secret in it where it shows by itself.
    pub fn add_url(&self, url: &str) {
        self.add(url);
        self.add_in_text(url);
    }

    /// Masks what pages hide in a text: passwords and tokens of URLs, and the values of `--password=x` and its kin.
    pub fn add_in_text(&self, text: &str) {
        secrets_in(text).for_each(|secret| self.add(secret));
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

    /// The JSON value without secrets, neither known ones nor what pages hide.
    #[must_use]
    pub fn mask_json(&self, value: &serde_json::Value) -> serde_json::Value {
        let mut shown = masked(value);
        self.mask_texts(&mut shown);
        shown
    }

    fn mask_texts(&self, value: &mut serde_json::Value) {
        use serde_json::Value as V;
        match value {
            V::String(text) => *text = self.mask(text).into_owned(),
            V::Array(items) => items.iter_mut().for_each(|item| self.mask_texts(item)),
            V::Object(fields) => fields.values_mut().for_each(|field| self.mask_texts(field)),
            V::Null | V::Bool(_) | V::Number(_) => {}
        }
    }

    /// Where a text that goes on can be cut so that no secret, whole or begun, is cut in two: what is before is safe to
    /// mask by itself. None when there is no such place yet.
    #[must_use]
    pub fn safe_cut(&self, text: &str) -> Option<usize> {
        self.with(|secrets| {
            let longest = secrets.forms.first().map_or(0, String::len);
            let mut cut = text.floor_char_boundary(text.len().saturating_sub(longest.saturating_sub(1)));
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
            let from = text.floor_char_boundary(cut.saturating_sub(form.len()));
            let matches = text[from..].match_indices(form.as_str()).map(|(at, _)| from + at);
            matches.take_while(|start| *start < cut).find(|start| start + form.len() > cut)
        })
    }
}

fn forms_of(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let lines = secret.lines().filter(|_| secret.contains('\n'));
    for text in std::iter::once(secret).chain(lines) {
        let text = text.trim_matches(['\r', '\n']);
        if text.chars().count() < SECRET_CHARS_MIN {
            continue;
        }
        let json = serde_json::Value::from(text).to_string();
        forms.extend([text.to_owned(), json.trim_matches('"').to_owned()]);
        forms.extend([percent_encoded(text, HexCase::Upper), percent_encoded(text, HexCase::Lower)]);
        forms.extend((0..3).filter_map(|before| base64(text, before)));
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

/// Base64 of a secret that so many bytes (modulo 3) stand before, as in `user:secret`: without the first and last characters,
/// which depend on what is around it. None where too little is left to tell it from other text.
fn base64(text: &str, before: usize) -> Option<String> {
    let encoded = STANDARD.encode([&[0; 2][..before], text.as_bytes()].concat());
    let from = (before * 8).div_ceil(6);
    let to = (before + text.len()) * 8 / 6;
    let whole = encoded.get(from..to)?;
    (whole.len() >= SECRET_CHARS_MIN).then(|| whole.to_owned())
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
        for user in ["", "a", "ab", "abc", "user"] {
            let basic = STANDARD.encode(format!("{user}:hunter22"));
            let masked = masker.mask(&basic).into_owned();
            assert!(masked.contains(MASK), "{basic}");
            let rest = masked.replace(MASK, "");
            assert!(rest.len() <= STANDARD.encode(format!("{user}:")).len() + 3, "{basic} {masked}");
        }
    }

    #[test]
    fn only_what_is_secret_by_its_key_or_place_is_masked_and_nothing_short() {
        let extra = serde_json::json!({
            "region": "eu-west", "format": "json", "mode": "true", "sslmode": "require", "password": "s3cret-one",
            "nested": {"api-key": ["s3cret-two"]}, "url": "postgres://me:p/w-three@h/db", "pin_token": "abcd",
            "git": "https://s3cret-four@github.test/x", "query": "https://h/?api_key=s3cret-five&a=plain-text",
            "headers": {"X-Auth": "s3cret-six", "Accept": "application/json", "Authorization": "Bearer s3cret-seven"},
            "args": ["--password=s3cret-eight", "--verbose=always", "--token", "s3cret-eleven", "--format", "parquet"],
        });
        let masker = Masker::default();
        masker.add_connection(&ConnectionFields {
            conn_id: "c".into(),
            conn_type: "http".into(),
            host: Some("https://me:s3cret-nine@h".into()),
            schema: None,
            login: Some("somebody".into()),
            password: Some("s3cret-ten".into()),
            port: None,
            extra: Some(extra.to_string()),
        });
        for word in [
            "eu-west",
            "json",
            "true",
            "require",
            "abcd",
            "plain-text",
            "always",
            "application/json",
            "somebody",
            "parquet",
        ] {
            assert_eq!(masker.mask(word), word);
        }
        for secret in ["one", "two", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"] {
            assert_eq!(masker.mask(&format!("s3cret-{secret}")), MASK, "{secret}");
        }
        assert_eq!(masker.mask("p/w-three"), MASK);
    }

    #[test]
    fn a_urls_password_is_masked_where_it_shows_without_the_url() {
        let masker = Masker::default();
        masker.add_url("postgres://lake:lakesecret@h/lake?sslkey=/etc/key.pem");
        assert_eq!(masker.mask("password lakesecret, /etc/key.pem"), "password ***, /etc/key.pem");
    }

    #[test]
    fn a_longer_secret_goes_before_one_inside_it() {
        assert_eq!(masker(&["abcde", "abcdefgh"]).mask("abcdefgh abcde"), "*** ***");
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
        let value =
            serde_json::json!({"args": ["--token", "t"], "url": "https://me:pw@h/?api_key=k", "n": "a hunter22"});
        let expected =
            serde_json::json!({"args": ["--token", "***"], "url": "https://me:***@h/?api_key=***", "n": "a ***"});
        assert_eq!(masker(&["hunter22"]).mask_json(&value), expected);
    }
}
