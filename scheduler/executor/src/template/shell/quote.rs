//! Writes a text so that bash reads it back as it is.

use super::lexer::Within;

/// Beside letters and digits, what no shell interprets within a word.
const SAFE_PUNCTUATION: &str = "_@%+=:,./-";
/// Beside letters and digits, what means nothing in any word of a command, whatever stands beside it.
const BARE_PUNCTUATION: &str = "_@%+:./-";
/// Words that are read as a part of the language where a command may begin.
const RESERVED: &[&str] = &[
    "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then",
    "time", "until", "while",
];

/// Whether no shell interprets any character of it.
pub(super) fn is_plain(text: &str) -> bool {
    not_plain(text).is_none()
}

/// The first character that a shell may interpret.
pub(super) fn not_plain(text: &str) -> Option<char> {
    text.chars().find(|c| !(c.is_ascii_alphanumeric() || SAFE_PUNCTUATION.contains(*c)))
}

/// As one word of a POSIX shell, in quotes when it needs them.
pub(super) fn word(text: &str) -> String {
    if !text.is_empty() && is_plain(text) { text.to_owned() } else { single_quoted(text) }
}

/// As a part of a bare word, in quotes when it needs them.
pub(super) fn bare(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || BARE_PUNCTUATION.contains(c);
    if !text.is_empty() && text.chars().all(is_bare) && !RESERVED.contains(&text) {
        text.to_owned()
    } else {
        single_quoted(text)
    }
}

/// In single quotes of its own.
pub(super) fn single_quoted(text: &str) -> String {
    format!("'{}'", within_single(text))
}

/// Inside single quotes.
pub(super) fn within_single(text: &str) -> String {
    text.replace('\'', r"'\''")
}

/// Inside double quotes.
pub(super) fn within_double(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '$' | '`' | '\\') {
            written.push('\\');
        }
        written.push(c);
    }
    written
}

/// Inside the quotes of `$'…'`: they are left for a moment, so that no escape before it can go on into it.
pub(super) fn within_ansi(text: &str) -> String {
    format!("'{}$'", single_quoted(text))
}

/// In a here-document whose delimiter has no quotes.
pub(super) fn within_here(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '$' | '`' | '\\') {
            written.push('\\');
        }
        written.push(c);
    }
    written
}

/// In a comment: what could end one is left out.
pub(super) fn within_comment(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || BARE_PUNCTUATION.contains(c);
    text.chars().map(|c| if harmless(c) { c } else { ' ' }).collect()
}

/// As a whole number, when it is one: without leading zeros, which would make it octal.
pub(super) fn number(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let is_number = !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    is_number.then(|| format!("{sign}{digits}"))
}

/// Inside backticks: they take a backslash away before the shell reads what is in them.
pub(super) fn within_backticks(text: &str, backticks: Within) -> String {
    match backticks {
        Within::Double => within_double(text),
        Within::Bare | Within::Here => within_here(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_quotes_gets_none() {
        assert_eq!(bare("a-1.csv"), "a-1.csv");
        assert_eq!(bare("a b"), "'a b'");
        assert_eq!(
            (bare(""), bare("done"), bare("~x"), bare("a=b")),
            ("''".into(), "'done'".into(), "'~x'".into(), "'a=b'".into())
        );
    }

    #[test]
    fn a_number_is_whole_and_decimal() {
        assert_eq!(number("08").as_deref(), Some("8"));
        assert_eq!(number("-0012").as_deref(), Some("-12"));
        assert_eq!(number("000").as_deref(), Some("0"));
        for text in ["", "-", "1.5", "0x1f", "a", "1 ", "１", "9999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
