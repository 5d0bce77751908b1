//! JSON values as YAML that people like to read: block style, quotes only where they are needed.
//!
//! Reading the text back gives the same values.

use serde_json::{Map, Value};

/// A value as a YAML document.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(entries) if !entries.is_empty() => mapping(entries, 0, Start::NewLine, &mut text),
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| list_item(item, 0, &mut text)),
        other => {
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
    text
}

/// Where the first line of a mapping goes.
#[derive(Clone, Copy)]
enum Start {
    /// On a line of its own.
    NewLine,
    /// Behind what stands on the line already, such as `- `.
    SameLine,
}

fn mapping(entries: &Map<String, Value>, indent: usize, start: Start, text: &mut String) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 || matches!(start, Start::NewLine) {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&word(key));
        text.push(':');
        child(value, indent, text);
    }
}

/// What follows a key: on the same line, or indented below it.
fn child(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            text.push('\n');
            mapping(entries, indent + 2, Start::NewLine, text);
        }
        Value::Array(items) if items.iter().any(|item| !is_short(item)) => {
            text.push('\n');
            for item in items {
                list_item(item, indent + 2, text);
            }
        }
        Value::String(lines) if fits_block(lines) => block(lines, indent + 2, text),
        other => {
            text.push(' ');
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

fn list_item(item: &Value, indent: usize, text: &mut String) {
    text.push_str(&" ".repeat(indent));
    text.push('-');
    match item {
        Value::Object(entries) if !entries.is_empty() => {
            text.push(' ');
            mapping(entries, indent + 2, Start::SameLine, text);
        }
        Value::String(lines) if fits_block(lines) => block(lines, indent + 2, text),
        other => {
            text.push(' ');
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

/// Several lines as they are, after `|`.
fn block(lines: &str, indent: usize, text: &mut String) {
    text.push_str(if lines.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in lines.lines() {
        if !line.is_empty() {
            text.push_str(&" ".repeat(indent));
            text.push_str(line);
        }
        text.push('\n');
    }
}

/// Whether a text of several lines comes back unchanged from a block.
fn fits_block(lines: &str) -> bool {
    let body = lines.strip_suffix('\n').unwrap_or(lines);
    let plain = |c: char| c == '\n' || (!c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'));
    body.contains('\n')
        && lines.chars().all(plain)
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && body.lines().all(|line| line.is_empty() || !line.trim().is_empty())
}

/// Whether a value may stand in a list on one line.
fn is_short(value: &Value) -> bool {
    const SHORT_MAX: usize = 40;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= SHORT_MAX && !text.contains('\n'),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// A value on one line.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", word(key), scalar(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Text as it is when it can be mistaken for nothing else, otherwise in double quotes.
fn word(text: &str) -> String {
    const RESERVED: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let plain_char = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(plain_char)
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// JSON's quotes are YAML's, except that YAML also wants its line separators and the byte order mark escaped.
fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}
