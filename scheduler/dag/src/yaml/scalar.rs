//! Scalars by YAML 1.2's core schema.

use granit_parser::Tag;

use super::Value;

/// Why a NUL is refused, and how to write what was meant.
const NO_NUL: &str = "this text has a NUL character (\\0), which can not be stored; for a backslash and a zero, as in \
                      tr '\\0' '\\n', put the text in single quotes or write \\\\0";

/// The value of a scalar.
pub(super) fn value(text: &str, is_plain: bool, tag: Option<&Tag>) -> Value {
    if model::door::nul_at(text).is_some() {
        return Value::Refused(NO_NUL.into());
    }
    match tag {
        Some(tag) if tag.is_yaml_core_schema_tag("str") || !tag.is_yaml_core_schema() => Value::Text(text.into()),
        _ if is_plain => plain(text),
        _ => Value::Text(text.into()),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match whole(text) {
            Some(number) => Value::Int(number, text.into()),
            None => match float(text) {
                Some(number) => Value::Float(number, text.into()),
                None => Value::Text(text.into()),
            },
        },
    }
}

/// A whole number; one beyond 128 bits is the nearest that has them.
fn whole(text: &str) -> Option<i128> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        (None, None) => (text.strip_prefix(['+', '-']).unwrap_or(text), 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    Some(if text.starts_with('-') { -number } else { number })
}

fn float(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" if text.len() <= 5 => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        ".nan" | ".NaN" | ".NAN" if text.starts_with('.') => return Some(f64::NAN),
        _ => {}
    }
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let shape = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if digits && shape { text.parse().ok() } else { None }
}

/// What a scalar without quotes meant to those who know YAML 1.1, when it means something else here.
pub(crate) fn meant_otherwise(text: &str, value: &Value) -> Option<String> {
    match value {
        Value::Text(_) => match text {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(truth(text, true)),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(truth(text, false)),
            _ => {
                let number = text.strip_prefix(['+', '-']).unwrap_or(text);
                let has_digits_alone = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
                let is_number = has_digits_alone && number.contains('_') && number.starts_with(|c: char| c != '_');
                is_number.then(|| {
                    format!("{text} is a text, not a number; write {}, or put it in quotes", text.replace('_', ""))
                })
            }
        },
        Value::Int(..) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let is_octal_to_some = digits.len() > 1 && digits.bytes().all(|byte| byte.is_ascii_digit());
            (is_octal_to_some && digits.starts_with('0')).then(|| {
                let decimal = digits.trim_start_matches('0');
                let decimal = if decimal.is_empty() { "0" } else { decimal };
                format!("{text} is the number {decimal}, not an octal one; for the text, put it in quotes")
            })
        }
        _ => None,
    }
}

fn truth(text: &str, meant: bool) -> String {
    format!("{text} is the text {text:?}, not {meant}; write {meant}, or put it in quotes")
}
