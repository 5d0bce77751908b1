//! Secrets inside texts: passwords and tokens in URLs, options of commands, headers, members of JSON that is text.

use std::ops::Range;

use super::{MASK, is_secret_name};

/// So much of a URL is looked at: browsers and servers take no longer ones.
const URL_BYTES_MAX: usize = 8 * 1024;

/// What closes the place that a URL stands in.
const CLOSING: [char; 5] = ['"', '\'', '<', '>', '`'];

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

/// The secrets of one word: those of the URLs in it, and the values of `name=value`, `"name":"value"`.
fn in_word(text: &str, word: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut at = word.start;
    while let Some(scheme_end) = text[at..word.end].find("://").map(|found| at + found) {
        let seen = pairs(text, at..scheme_end, word.end, found);
        if seen > scheme_end {
            // The URL is a secret whole: the value of something that is named so.
            at = seen;
            continue;
        }
        let start = scheme_end + 3;
        // A URL ends where a quote or a bracket closes what it stands in, and where another one begins.
        let longest = text.floor_char_boundary(word.end.min(start + URL_BYTES_MAX));
        let end = another(&text[start..longest]).map_or(longest, |length| start + length);
        let end = text[start..end].find(CLOSING).map_or(end, |length| start + length);
        let scheme = &text[at..scheme_end][scheme_at(&text[at..scheme_end])..];
        let rest = user(text, scheme, start..end, found);
        at = pairs(text, rest..end, word.end, found);
    }
    pairs(text, at..word.end, word.end, found);
}

/// Where the scheme begins that a text ends with.
fn scheme_at(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '+';
    text.rfind(|c| !is_part(c)).map_or(0, |last| last + char_len(text, last))
}

/// Where another URL begins in a URL: behind a comma, as the value of a parameter, as a path. What looks like one inside of a
/// password is none.
fn another(url: &str) -> Option<usize> {
    let (mut has_user, mut seen) = (false, 0);
    for (scheme_end, _) in url.match_indices("://") {
        // Each part is looked at once, however many there are.
        if url[seen..scheme_end].contains(CLOSING) {
            return None;
        }
        let begin = seen + scheme_at(&url[seen..scheme_end]);
        has_user |= url[seen..begin].contains('@');
        seen = scheme_end;
        if begin == 0 || begin == scheme_end || url[..begin].ends_with(':') {
            continue;
        }
        let authority = url[..begin].find(['/', '?', '#']).unwrap_or(begin);
        let host = url[..authority].trim_end_matches([',', ';', '|', '&', '=', '(', ')', '[', ']']);
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // `user:pass…`: the password goes on until the `@`, whatever stands in it.
        let is_in_password = !has_user && host.rsplit_once(':').is_some_and(|(_, port)| !is_port(port));
        if !is_in_password {
            return Some(begin);
        }
    }
    None
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

/// `name=value` and `"name":"value"` whose sign stands in a range, of which a URL has several; a value may go on until `limit`.
/// Returns up to where all has been looked at.
fn pairs(text: &str, range: Range<usize>, limit: usize, found: &mut Vec<Range<usize>>) -> usize {
    let mut at = range.start;
    while at < range.end
        && let Some(sign) = text[at..range.end].find(['=', ':']).map(|found| at + found)
    {
        let is_json = text.as_bytes()[sign] == b':';
        let before = text[at..sign].trim_end_matches(['"', '\'', '\\']);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &before[before.rfind(|c: char| !is_name(c)).map_or(0, |last| last + char_len(before, last))..];
        let after = &text[sign + 1..limit];
        let open = after.len() - after.trim_start_matches(['"', '\'', '\\']).len();
        let start = sign + 1 + open;
        // A colon says little without quotes: it stands in times, ports and sentences.
        let counts = !is_json || (before.len() < sign - at && (open > 0 || !after.is_empty()));
        at = sign + 1;
        if counts && is_secret_name(name) && start < limit {
            let end = text[start..limit]
                .find(['&', ';', ',', '"', '\'', '\\', '}', ']', '#'])
                .map_or(limit, |length| start + length);
            if end > start {
                found.push(start..end);
            }
            at = end.max(at);
        }
    }
    at.max(range.end)
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
            ("http://u:p@h1,http://u:p2@h2", "http://u:***@h1,http://u:***@h2"),
            ("kafka://h1:9092,kafka://u:p@h2:9092", "kafka://h1:9092,kafka://u:***@h2:9092"),
            ("http://h/?next=http://u:p@x&y=1", "http://h/?next=http://u:***@x&y=1"),
            ("https://archive.example/web/http://u:p@x/y", "https://archive.example/web/http://u:***@x/y"),
            ("https://h/?api_key=abc://def&x=1", "https://h/?api_key=***&x=1"),
            ("token=https://u:p@h,http://u:q@i", "token=***,http://u:***@i"),
            ("a=1;url=http://u:p@h;b=http://v:q@i", "a=1;url=http://u:***@h;b=http://v:***@i"),
            ("postgres://u:p/w://x@h/db", "postgres://u:***@h/db"),
            ("jdbc:postgresql://u:p@h/db", "jdbc:postgresql://u:***@h/db"),
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
    fn a_long_word_is_searched_in_one_walk() {
        // To look at the rest of such a word from each of its parts would never end.
        const BYTES: usize = 4_000_000;
        for part in ["a://", "u:p@x://", "=http://u:", "x:y://", "password=", "://@,"] {
            let text = part.repeat(BYTES / part.len());
            let shown = masked_text(&text);
            assert_eq!(restored(&shown, &text).as_deref(), Some(text.as_str()), "{part}");
        }
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
