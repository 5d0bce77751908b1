//! Secrets inside texts: passwords and tokens in URLs, options of commands, headers, members of JSON that is text.

use std::ops::Range;

use super::{MASK, is_secret_name};

/// So much of a URL is looked at: browsers and servers take no longer ones.
const URL_BYTES_MAX: usize = 8 * 1024;

/// The text without the secrets in it: `http://me:***@host/x?api_key=***`.
#[must_use]
pub fn masked_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for secret in secrets(text) {
        shown.push_str(&text[at..secret.start]);
        shown.push_str(MASK);
        at = secret.end;
    }
    shown.push_str(&text[at..]);
    shown
}

/// The secrets in a text, in order.
pub fn secrets_in(text: &str) -> impl Iterator<Item = &str> {
    secrets(text).into_iter().map(|secret| &text[secret])
}

/// The text that is meant when `new` was written by somebody who saw `stored` masked: each mask is the secret that stood at
/// its place. None when the masks are not those that were shown.
pub(super) fn restored(new: &str, stored: &str) -> Option<String> {
    let secrets = secrets(stored);
    if secrets.is_empty() || !new.contains(MASK) {
        return Some(new.to_owned());
    }
    let parts: Vec<&str> = new.split(MASK).collect();
    if parts.len() != secrets.len() + 1 {
        return None;
    }
    let mut text = parts[0].to_owned();
    for (secret, part) in secrets.into_iter().zip(&parts[1..]) {
        text.push_str(&stored[secret]);
        text.push_str(part);
    }
    Some(text)
}

/// The name of an option, such as `password` of `--password`; none for other words.
pub(super) fn option_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    (!name.is_empty() && !name.contains('=')).then_some(name)
}

/// Where secrets stand in a text, in order, apart from each other.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut hides_next = false;
    let mut end_of_line = 0;
    for word in words(text) {
        if word.start < end_of_line {
            continue;
        }
        let whole = &text[word.clone()];
        let hides_this = std::mem::take(&mut hides_next) && option_name(whole).is_none();
        if hides_this {
            found.push(word);
        } else if let Some(name) = whole.strip_suffix(':').filter(|name| is_header(name)) {
            // `Authorization: Bearer x`: the rest of the line.
            let rest = text[word.end..].find(['\n', '\r']).map_or(text.len(), |at| word.end + at);
            let value = text[word.end..rest].trim();
            if !value.is_empty() && !name.is_empty() {
                let start = word.end + text[word.end..].find(value).unwrap_or(0);
                found.push(start..start + value.len());
            }
            end_of_line = rest;
        } else if option_name(whole).is_some_and(is_secret_name) {
            hides_next = true;
        } else {
            in_word(text, word, &mut found);
        }
    }
    found
}

/// Whether a word before a colon is the name of a header or a member that holds a secret.
fn is_header(name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.chars().all(is_name) && is_secret_name(name)
}

fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(|c: char| !c.is_whitespace())?;
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |length| start + length);
        at = end;
        Some(start..end)
    })
}

/// The secrets of one word: those of a URL, or the value of `name=value`, `"name":"value"`.
fn in_word(text: &str, word: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut at = word.start;
    while let Some(scheme_end) = text[at..word.end].find("://").map(|found| at + found) {
        pairs(text, at..scheme_end, found);
        let start = scheme_end + 3;
        // A URL ends where a quote or a bracket closes what it stands in.
        let longest = text.floor_char_boundary(word.end.min(start + URL_BYTES_MAX));
        let end = text[start..longest].find(['"', '\'', '<', '>', '`']).map_or(longest, |length| start + length);
        let scheme = text[at..scheme_end].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '+').next().unwrap_or("");
        let rest = user(text, scheme, start..end, found);
        pairs(text, rest..end, found);
        at = end;
    }
    pairs(text, at..word.end, found);
}

/// Finds who logs in by a URL, and returns where the rest of it begins.
fn user(text: &str, scheme: &str, url: Range<usize>, found: &mut Vec<Range<usize>>) -> usize {
    let whole = &text[url.clone()];
    let is_web =
        matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "git+https" | "git+http" | "ws" | "wss");
    let authority = whole.find(['/', '?', '#']).unwrap_or(whole.len());
    let inside = whole[..authority].rfind('@');
    // A password may have a `/`: then what stands behind the colon before it is no port.
    let beyond = || {
        let (_, port) = whole[..authority].rsplit_once(':')?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && (is_web || !port.is_empty());
        (!is_port || !is_web).then(|| whole.rfind('@')).flatten()
    };
    let Some(at) = inside.or_else(beyond) else { return url.start };
    let login = url.start..url.start + at;
    match text[login.clone()].find(':') {
        Some(colon) => {
            let (name, password) = (login.start..login.start + colon, login.start + colon + 1..login.end);
            // GitHub and its kin take a token as the user, with no password or a word that says so.
            let is_token = is_web && (password.is_empty() || &text[password.clone()] == "x-oauth-basic");
            if is_token && !name.is_empty() {
                found.push(name);
            } else if !password.is_empty() {
                found.push(password);
            }
        }
        None if is_web && !login.is_empty() => found.push(login.clone()),
        None => {}
    }
    login.end
}

/// `name=value` and `"name":"value"` in a range, of which a URL has several.
fn pairs(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut at = range.start;
    while let Some(sign) = text[at..range.end].find(['=', ':']).map(|found| at + found) {
        let is_json = text.as_bytes()[sign] == b':';
        let before = text[at..sign].trim_end_matches(['"', '\'', '\\']);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &before[before.rfind(|c: char| !is_name(c)).map_or(0, |last| last + char_len(before, last))..];
        let after = &text[sign + 1..range.end];
        let open = after.len() - after.trim_start_matches(['"', '\'', '\\']).len();
        let start = sign + 1 + open;
        // A colon says little without quotes: it stands in times, ports and sentences.
        let counts = !is_json || (before.len() < sign - at && (open > 0 || !after.is_empty()));
        if counts && is_secret_name(name) && start < range.end {
            let end = text[start..range.end]
                .find(['&', ';', ',', '"', '\'', '\\', '}', ']', '#'])
                .map_or(range.end, |length| start + length);
            if end > start {
                found.push(start..end);
            }
            at = end.max(sign + 1);
        } else {
            at = sign + 1;
        }
    }
}

fn char_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_hidden_and_the_rest_is_not() {
        for (text, shown) in [
            ("see https://me:p@ss@h:1/a?b and http://h/x:y@z", "see https://me:***@h:1/a?b and http://h/x:y@z"),
            ("no://secret here", "no://secret here"),
            ("postgres://me:p/w@h/db", "postgres://me:***@h/db"),
            ("postgres://me:p?w#1@h/db", "postgres://me:***@h/db"),
            ("postgres://me@h/db", "postgres://me@h/db"),
            ("https://ghp_0123@github.com/x", "https://***@github.com/x"),
            ("https://ghp_0123:x-oauth-basic@github.com/x", "https://***:x-oauth-basic@github.com/x"),
            ("https://ghp_0123:@github.com/x", "https://***:@github.com/x"),
            ("https://h/?api_key=abc&x=1", "https://h/?api_key=***&x=1"),
            ("https://h/p?x=1&access_token=abc#f", "https://h/p?x=1&access_token=***#f"),
            ("https://b.s3/x?X-Amz-Signature=abc&X-Amz-Date=1", "https://b.s3/x?X-Amz-Signature=***&X-Amz-Date=1"),
            ("http://h:8080/a@b", "http://h:8080/a@b"),
            ("[\"redis://:pw@h:6379/0\"]", "[\"redis://:***@h:6379/0\"]"),
        ] {
            assert_eq!(masked_text(text), shown);
            assert_eq!(restored(shown, text).as_deref(), Some(text), "{shown}");
        }
    }

    #[test]
    fn options_headers_and_json_in_a_text_are_searched() {
        for (text, shown) in [
            ("run --password=abc --verbose", "run --password=*** --verbose"),
            ("run --password abc --verbose", "run --password *** --verbose"),
            ("host=h password=abc user=me", "host=h password=*** user=me"),
            ("Authorization: Bearer abc def\nAccept: x", "Authorization: ***\nAccept: x"),
            (r#"{"password":"abc","a":1}"#, r#"{"password":"***","a":1}"#),
            ("the token is spent; 12:30, a=b", "the token is spent; 12:30, a=b"),
            ("", ""),
            ("ä=ö ü://é", "ä=ö ü://é"),
        ] {
            assert_eq!(masked_text(text), shown);
        }
    }

    #[test]
    fn one_member_of_a_url_can_be_changed() {
        let stored = "postgres://me:p/w@h/db?sslpassword=x";
        let edited = "postgres://you:***@other/db?sslpassword=***";
        assert_eq!(restored(edited, stored).as_deref(), Some("postgres://you:p/w@other/db?sslpassword=x"));
        assert_eq!(restored("postgres://you:***@other/db", stored), None);
        assert_eq!(restored("postgres://you:new@other/db", stored).as_deref(), Some("postgres://you:new@other/db"));
    }

    #[test]
    fn any_text_can_be_searched() {
        for text in [
            "://",
            "a://",
            "=",
            ":=",
            "password=",
            "\"password\":",
            "--token",
            "é=://@:@",
            "token=\u{1F600}&",
            "x:y:z@://@",
        ] {
            let shown = masked_text(text);
            assert_eq!(restored(&shown, text).as_deref(), Some(text), "{text}");
        }
    }
}
