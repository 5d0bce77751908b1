//! Texts that are a value in Python's spelling: `[1, 'a']`, `{'x': None}`, `True`.
//!
//! Jinja's native environment reads what it has rendered so, with `ast.literal_eval`. What has no form in JSON (sets, bytes,
//! complex numbers, whole numbers of more than 64 bits) stays a text here.

use std::{iter::Peekable, str::Chars};

use serde_json::{Map, Number, Value};

/// Deeper nesting is a text.
const DEPTH_MAX: usize = 100;

/// The value that a text is; none when it is only a text.
pub(super) fn value_of(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text.trim().chars().peekable() };
    let value = reader.value(0)?;
    reader.rest.next().is_none().then_some(value)
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_spaces();
        let value = match *self.rest.peek()? {
            '[' => Value::Array(self.items(']', depth)?.0),
            '(' => self.tuple(depth)?,
            '{' => self.mapping(depth)?,
            '\'' | '"' => Value::String(self.texts()?),
            first if first.is_ascii_digit() || matches!(first, '-' | '+' | '.') => self.number()?,
            first if first.is_ascii_alphabetic() => self.word()?,
            _ => return None,
        };
        self.skip_spaces();
        Some(value)
    }

    /// The items up to a closing bracket, and whether a comma stood among them.
    fn items(&mut self, close: char, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.rest.next();
        let (mut items, mut comma) = (Vec::new(), false);
        loop {
            self.skip_spaces();
            if self.takes(close) {
                return Some((items, comma));
            }
            items.push(self.value(depth + 1)?);
            if self.takes(',') {
                comma = true;
            } else if *self.rest.peek()? != close {
                return None;
            }
        }
    }

    /// A tuple is a list in JSON; brackets around one value are only brackets.
    fn tuple(&mut self, depth: usize) -> Option<Value> {
        let (mut items, comma) = self.items(')', depth)?;
        if items.len() == 1 && !comma { items.pop() } else { Some(Value::Array(items)) }
    }

    fn mapping(&mut self, depth: usize) -> Option<Value> {
        self.rest.next();
        let mut fields = Map::new();
        loop {
            self.skip_spaces();
            if self.takes('}') {
                return Some(Value::Object(fields));
            }
            let Value::String(key) = self.value(depth + 1)? else { return None };
            if !self.takes(':') {
                return None;
            }
            fields.insert(key, self.value(depth + 1)?);
            if !self.takes(',') && *self.rest.peek()? != '}' {
                return None;
            }
        }
    }

    /// One text, or several beside each other, which are one.
    fn texts(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(quote) = self.rest.next_if(|c| matches!(c, '\'' | '"')) {
            loop {
                match self.rest.next()? {
                    c if c == quote => break,
                    '\n' => return None,
                    '\\' => text.push(self.escaped()?),
                    c => text.push(c),
                }
            }
            self.skip_spaces();
        }
        Some(text)
    }

    fn escaped(&mut self) -> Option<char> {
        match self.rest.next()? {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'x' => self.code(2),
            'u' => self.code(4),
            'U' => self.code(8),
            c @ ('\\' | '\'' | '"') => Some(c),
            _ => None,
        }
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.rest.next()?.to_digit(16)?;
        }
        char::from_u32(code)
    }

    fn number(&mut self) -> Option<Value> {
        let mut text = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+')) {
            // A sign stands at the beginning, or behind the `e` of a float.
            if matches!(c, '-' | '+') && !(text.is_empty() || text.ends_with(['e', 'E'])) {
                return None;
            }
            text.push(c);
        }
        if text.contains("__") || text.starts_with('_') || text.ends_with('_') {
            return None;
        }
        let plain = text.replace('_', "");
        let digits = plain.trim_start_matches(['-', '+']);
        if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
            // Python has no number such as 007.
            if digits.len() > 1 && digits.starts_with('0') && digits.contains(|c| c != '0') {
                return None;
            }
            let signed = plain.trim_start_matches('+');
            return signed.parse::<i64>().map(Value::from).or_else(|_| signed.parse::<u64>().map(Value::from)).ok();
        }
        let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'));
        if is_float { Number::from_f64(plain.parse().ok()?).map(Value::Number) } else { None }
    }

    fn word(&mut self) -> Option<Value> {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        match word.as_str() {
            "None" => Some(Value::Null),
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            _ => None,
        }
    }

    fn takes(&mut self, wanted: char) -> bool {
        let found = self.rest.next_if_eq(&wanted).is_some();
        self.skip_spaces();
        found
    }

    fn skip_spaces(&mut self) {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_a_value_where_python_says_so() {
        for (text, value) in [
            ("5", json!(5)),
            (" -7 ", json!(-7)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("1.50", json!(1.5)),
            (".5e3", json!(500.0)),
            ("0", json!(0)),
            ("None", json!(null)),
            ("True", json!(true)),
            ("'a\\'b' \"c\"", json!("a'bc")),
            ("'\\u00e9\\n'", json!("é\n")),
            ("[1, 'a', [None,],]", json!([1, "a", [null]])),
            ("(1,)", json!([1])),
            ("(1)", json!(1)),
            ("()", json!([])),
            ("{'a': {'b': [False]}}", json!({"a": {"b": [false]}})),
            ("20260131", json!(20_260_131)),
        ] {
            assert_eq!(value_of(text), Some(value), "{text}");
        }
    }

    #[test]
    fn everything_else_is_a_text() {
        for text in [
            "",
            "eu",
            "none",
            "true",
            "2026-01-31",
            "1+1",
            "1 2",
            "007",
            "1__0",
            "5 apples",
            "[1",
            "[1 2]",
            "{1: 2}",
            "{'a'}",
            "a()",
            "'a",
            "\\",
            "18446744073709551616",
            "inf",
            "1.2.3",
            "0x10",
            "{'a': 1 'b': 2}",
            "+",
            "-",
            ".",
            "e5",
        ] {
            assert_eq!(value_of(text), None, "{text}");
        }
        assert_eq!(value_of(&format!("{}{}", "[".repeat(200), "]".repeat(200))), None);
    }
}
