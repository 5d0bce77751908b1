//! Arithmetic with instants, durations and formats: `logical_date - macros.timedelta(days=1)`, `'%02d' % 5`.
//!
//! The template engine calculates with numbers only and can not be taught more. So the operators `+`, `-`, `*` and `%` of an
//! expression become calls of functions that can: `a - b` is read by the grammar of the engine and written as
//! `windlass_sub(a, b)`, everything else stays as it is, spaces and lines included. What this grammar can not read to its end
//! stays whole: the engine says what is wrong with it.

use std::borrow::Cow;

use chrono::TimeDelta;
use minijinja::{Environment, Error, ErrorKind, FormatStyle, State, Value, context, format_filter, value::ValueKind};

use super::{
    datetime::{DateTime, Timedelta, invalid},
    scan::{Piece, pieces},
};

/// The functions for the operators, and what they are called in templates.
const FUNCTIONS: &[(&str, &str)] =
    &[("+", "windlass_add"), ("-", "windlass_sub"), ("*", "windlass_mul"), ("%", "windlass_rem")];
/// Deeper nesting is left to the engine, which refuses it.
const DEPTH_MAX: usize = 60;

/// Adds the functions.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_function("windlass_add", |state: &State<'_, '_>, a: Value, b: Value| apply(state, "+", &a, &b));
    environment.add_function("windlass_sub", |state: &State<'_, '_>, a: Value, b: Value| apply(state, "-", &a, &b));
    environment.add_function("windlass_mul", |state: &State<'_, '_>, a: Value, b: Value| apply(state, "*", &a, &b));
    environment.add_function("windlass_rem", |state: &State<'_, '_>, a: Value, b: Value| apply(state, "%", &a, &b));
}

fn apply(state: &State<'_, '_>, operator: &str, a: &Value, b: &Value) -> Result<Value, Error> {
    if a.is_undefined() || b.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let instant = |value: &Value| value.downcast_object_ref::<DateTime>().copied();
    let duration = |value: &Value| value.downcast_object_ref::<Timedelta>().map(|delta| delta.0);
    match operator {
        "%" if a.kind() == ValueKind::String => return format_by_percent(a, b),
        "+" if let (Some(at), Some(delta)) = (instant(a).or(instant(b)), duration(a).or(duration(b))) => {
            return at.plus(delta).map(Value::from_object);
        }
        "-" if let (Some(at), Some(delta)) = (instant(a), duration(b)) => {
            return at.plus(-delta).map(Value::from_object);
        }
        "-" if let (Some(to), Some(from)) = (instant(a), instant(b)) => {
            return Ok(Value::from_object(Timedelta(to.0.signed_duration_since(from.0))));
        }
        "+" | "-" if let (Some(x), Some(y)) = (duration(a), duration(b)) => {
            let sum = if operator == "+" { x.checked_add(&y) } else { x.checked_sub(&y) };
            return sum.map(|sum| Value::from_object(Timedelta(sum))).ok_or_else(|| invalid(OUT_OF_RANGE.to_owned()));
        }
        "*" if let Some(delta) = duration(a).or(duration(b)) => {
            let factor = if duration(a).is_some() { b } else { a };
            return multiplied(delta, factor);
        }
        _ => {}
    }
    for value in [a, b] {
        if let Some(what) = instant(value).map(|_| "a date").or(duration(value).map(|_| "a duration")) {
            return Err(invalid(format!(
                "{what} {operator} {} has no meaning here: add or subtract macros.timedelta(days=1), or write .add(days=1)",
                if std::ptr::eq(value, a) { b.kind() } else { a.kind() }
            )));
        }
    }
    // What the engine can do itself. The function's own call is one step of its limit, as the operator was.
    state.env().compile_expression(&format!("a {operator} b"))?.eval(context! { a, b })
}

const OUT_OF_RANGE: &str = "the duration is out of range";

fn multiplied(delta: TimeDelta, factor: &Value) -> Result<Value, Error> {
    let micros = delta.num_microseconds().zip(f64::try_from(factor.clone()).ok());
    let (micros, factor) = micros.ok_or_else(|| invalid("a duration is multiplied with a number only".to_owned()))?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "the cast saturates; range is checked"
    )]
    let product = (micros as f64 * factor) as i64;
    Ok(Value::from_object(Timedelta(TimeDelta::microseconds(product))))
}

/// Python's `'%s of %d' % (a, b)`.
fn format_by_percent(format: &Value, given: &Value) -> Result<Value, Error> {
    let text = format.as_str().unwrap_or_default();
    let items = match given.kind() {
        ValueKind::Seq | ValueKind::Iterable => given.try_iter()?.collect(),
        _ => vec![given.clone()],
    };
    format_text(FormatStyle::Printf, text, &items)
}

/// Formats a text as Python does, with a bound on what widths may ask for.
pub(super) fn format_text(style: FormatStyle, text: &str, items: &[Value]) -> Result<Value, Error> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    if digits > WIDTH_DIGITS_MAX {
        return Err(invalid(format!("{text:?} asks for a width of more than {WIDTH_DIGITS_MAX} digits")));
    }
    format_filter(style, text, items).map(Value::from)
}

/// A width of more digits is no width of a text.
const WIDTH_DIGITS_MAX: usize = 4;

/// The template with the operators of its expressions as calls.
pub(super) fn rewritten(source: &str) -> Cow<'_, str> {
    if !has_operator(source) {
        return Cow::Borrowed(source);
    }
    let whole = pieces(source).into_iter().map(|piece| match piece {
        Piece::Text(text) => Cow::Borrowed(text),
        Piece::Expression { open, expression: code, close } => match expression(code) {
            Cow::Borrowed(code) => Cow::Owned(format!("{open}{code}{close}")),
            Cow::Owned(code) => Cow::Owned(format!("{open}{code}{close}")),
        },
        Piece::Tag { text, keyword } => tag(text, keyword),
    });
    Cow::Owned(whole.collect())
}

/// The expression with its operators as calls.
pub(super) fn expression(code: &str) -> Cow<'_, str> {
    if !has_operator(code) {
        return Cow::Borrowed(code);
    }
    let Some(tokens) = tokens(code) else { return Cow::Borrowed(code) };
    let mut rewriter = Rewriter { code, tokens: &tokens, at: 0, depth: 0, changed: false };
    match rewriter.conditional() {
        Some(mut text) if rewriter.at == tokens.len() && rewriter.changed => {
            let end = tokens.last().map_or(0, |token| token.end);
            text.push_str(&code[end..]);
            Cow::Owned(text)
        }
        Some(_) | None => Cow::Borrowed(code),
    }
}

fn has_operator(code: &str) -> bool {
    code.contains(['+', '-', '*', '%'])
}

/// A tag whose expression is everything after its keyword, or after the first `=` of a `set`.
fn tag<'t>(text: &'t str, keyword: &str) -> Cow<'t, str> {
    let Some(after_keyword) = text.find(keyword).map(|at| at + keyword.len()) else { return Cow::Borrowed(text) };
    let trimmed = text.len() - 2;
    let end = if text[..trimmed].ends_with(['-', '+']) { trimmed - 1 } else { trimmed };
    let start = match keyword {
        "if" | "elif" => after_keyword,
        "set" => match text[after_keyword..end].find('=') {
            Some(at) => after_keyword + at + 1,
            None => return Cow::Borrowed(text),
        },
        _ => return Cow::Borrowed(text),
    };
    match expression(&text[start..end]) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(code) => Cow::Owned(format!("{}{code}{}", &text[..start], &text[end..])),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Name,
    Literal,
    Sign,
}

#[derive(Debug, Clone, Copy)]
struct Spanned {
    token: Token,
    start: usize,
    end: usize,
}

/// The tokens of an expression; none when a text in it is not closed.
fn tokens(code: &str) -> Option<Vec<Spanned>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let (token, length) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => (Token::Literal, text_length(rest)?),
            c if c.is_ascii_digit() => (Token::Literal, number_length(rest)),
            c if c.is_alphabetic() || c == '_' => {
                (Token::Name, rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()))
            }
            _ => {
                let two = ["**", "//", "==", "!=", "<=", ">="].iter().any(|sign| rest.starts_with(sign));
                (Token::Sign, if two { 2 } else { c.len_utf8() })
            }
        };
        found.push(Spanned { token, start: at, end: at + length });
        at += length;
    }
    Some(found)
}

fn text_length(rest: &str) -> Option<usize> {
    let quote = rest.chars().next()?;
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A number, with its point and its exponent.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let after_exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E') && !rest.starts_with("0x");
        let is_point = *byte == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        let is_sign =
            matches!(byte, b'+' | b'-') && after_exponent && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || *byte == b'_' || is_point || is_sign) {
            break;
        }
        at += 1;
    }
    at
}

/// Reads an expression by the engine's grammar and writes it again. Each function gives the text of what it has read, with
/// the blanks before it.
struct Rewriter<'c> {
    code: &'c str,
    tokens: &'c [Spanned],
    at: usize,
    depth: usize,
    changed: bool,
}

impl Rewriter<'_> {
    fn next_text(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| &self.code[token.start..token.end])
    }

    fn next_is(&self, token: Token) -> bool {
        self.tokens.get(self.at).is_some_and(|next| next.token == token)
    }

    fn is_sign(&self, sign: &str) -> bool {
        self.next_is(Token::Sign) && self.next_text() == sign
    }

    fn is_word(&self, word: &str) -> bool {
        self.next_is(Token::Name) && self.next_text() == word
    }

    /// The next token with the blanks before it.
    fn take(&mut self) -> Option<String> {
        let from = self.at.checked_sub(1).map_or(0, |before| self.tokens[before].end);
        let end = self.tokens.get(self.at)?.end;
        self.at += 1;
        Some(self.code[from..end].to_owned())
    }

    fn expect(&mut self, sign: &str) -> Option<String> {
        if self.is_sign(sign) { self.take() } else { None }
    }

    fn conditional(&mut self) -> Option<String> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let mut text = self.or()?;
        while self.is_word("if") {
            text += &self.take()?;
            text += &self.or()?;
            if self.is_word("else") {
                text += &self.take()?;
                text += &self.conditional()?;
            }
        }
        self.depth -= 1;
        Some(text)
    }

    fn or(&mut self) -> Option<String> {
        self.infix(
            |rewriter| rewriter.is_word("or"),
            |rewriter| rewriter.infix(|rewriter| rewriter.is_word("and"), Self::not),
        )
    }

    fn infix(
        &mut self,
        is_operator: fn(&Self) -> bool,
        mut operand: impl FnMut(&mut Self) -> Option<String>,
    ) -> Option<String> {
        let mut text = operand(self)?;
        while is_operator(self) {
            text += &self.take()?;
            text += &operand(self)?;
        }
        Some(text)
    }

    fn not(&mut self) -> Option<String> {
        let mut text = String::new();
        while self.is_word("not") {
            text += &self.take()?;
        }
        Some(text + &self.compare()?)
    }

    fn compare(&mut self) -> Option<String> {
        let mut text = self.sum()?;
        loop {
            let is_sign = ["==", "!=", "<", "<=", ">", ">="].iter().any(|sign| self.is_sign(sign));
            if self.is_word("not") {
                text += &self.take()?;
                if !self.is_word("in") {
                    return None;
                }
            } else if !is_sign && !self.is_word("in") {
                return Some(text);
            }
            text += &self.take()?;
            text += &self.sum()?;
        }
    }

    fn sum(&mut self) -> Option<String> {
        self.calls(&["+", "-"], |rewriter| rewriter.infix(|rewriter| rewriter.is_sign("~"), Self::product))
    }

    fn product(&mut self) -> Option<String> {
        let mut text = self.power()?;
        while ["*", "%", "/", "//"].iter().any(|sign| self.is_sign(sign)) {
            text = self.call_or_operator(text, Self::power)?;
        }
        Some(text)
    }

    fn calls(&mut self, signs: &[&str], mut operand: impl FnMut(&mut Self) -> Option<String>) -> Option<String> {
        let mut text = operand(self)?;
        while signs.iter().any(|sign| self.is_sign(sign)) {
            text = self.call_or_operator(text, &mut operand)?;
        }
        Some(text)
    }

    /// The operator that comes, between what is before it and its second operand.
    fn call_or_operator(&mut self, left: String, operand: impl FnOnce(&mut Self) -> Option<String>) -> Option<String> {
        let sign = self.next_text();
        let function = FUNCTIONS.iter().find(|(operator, _)| *operator == sign).map(|(_, function)| *function);
        let sign_length = sign.len();
        let operator = self.take()?;
        let right = operand(self)?;
        Some(match function {
            Some(function) => {
                self.changed = true;
                // The blanks before the operator may be lines, and those before its operand part it from a word.
                let blanks = &operator[..operator.len() - sign_length];
                let (before, left) = left.split_at(left.len() - left.trim_start().len());
                format!("{before}{function}({left}{blanks},{right})")
            }
            None => left + &operator + &right,
        })
    }

    fn power(&mut self) -> Option<String> {
        self.infix(|rewriter| rewriter.is_sign("**"), Self::unary)
    }

    fn unary(&mut self) -> Option<String> {
        let mut text = self.signed()?;
        loop {
            if self.is_sign("|") {
                text += &self.take()?;
                text += &self.dotted_name()?;
                if self.is_sign("(") {
                    text += &self.arguments()?;
                }
            } else if self.is_word("is") {
                text += &self.take()?;
                if self.is_word("not") {
                    text += &self.take()?;
                }
                text += &self.dotted_name()?;
                text += &self.test_argument()?;
            } else {
                return Some(text);
            }
        }
    }

    fn dotted_name(&mut self) -> Option<String> {
        let mut text = if self.next_is(Token::Name) { self.take()? } else { return None };
        while self.is_sign(".") {
            text += &self.take()?;
            text += &self.take()?;
        }
        Some(text)
    }

    fn test_argument(&mut self) -> Option<String> {
        if self.is_sign("(") {
            return self.arguments();
        }
        let is_word =
            self.next_is(Token::Name) && !["and", "or", "else", "is", "if", "in", "not"].contains(&self.next_text());
        let has_argument =
            is_word || self.next_is(Token::Literal) || ["[", "{", "-"].iter().any(|sign| self.is_sign(sign));
        if has_argument { self.signed() } else { Some(String::new()) }
    }

    /// A primary with the minus signs before it and what follows it: attributes, items, calls.
    fn signed(&mut self) -> Option<String> {
        let mut text = String::new();
        while self.is_sign("-") {
            text += &self.take()?;
        }
        text += &self.primary()?;
        loop {
            if self.is_sign(".") {
                text += &self.take()?;
                text += &self.take()?;
            } else if self.is_sign("[") {
                text += &self.list("[", "]")?;
            } else if self.is_sign("(") {
                text += &self.arguments()?;
            } else {
                return Some(text);
            }
        }
    }

    fn primary(&mut self) -> Option<String> {
        match self.next_text() {
            "(" => self.list("(", ")"),
            "[" => self.list("[", "]"),
            "{" => self.list("{", "}"),
            _ if self.next_is(Token::Sign) => None,
            _ => self.take(),
        }
    }

    fn arguments(&mut self) -> Option<String> {
        self.list("(", ")")
    }

    /// Expressions between brackets, with what may stand between them.
    fn list(&mut self, open: &str, close: &str) -> Option<String> {
        let mut text = self.expect(open)?;
        loop {
            if self.is_sign(close) {
                return Some(text + &self.take()?);
            }
            let between = [",", ":", "="].iter().any(|sign| self.is_sign(sign));
            let splat = (self.is_sign("*") || self.is_sign("**")) && (text.ends_with(open) || text.ends_with(','));
            text += &if between || splat { self.take()? } else { self.conditional()? };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_become_calls_and_nothing_else_changes() {
        for (code, expected) in [
            ("a - b", "windlass_sub(a , b)".to_owned()),
            (" a -\n b ", " windlass_sub(a ,\n b) ".to_owned()),
            ("a - b - c", "windlass_sub(windlass_sub(a , b) , c)".to_owned()),
            ("a * b + c", "windlass_add(windlass_mul(a , b) , c)".to_owned()),
            ("x if a + 1 > -2 else 'a-b'", "x if windlass_add(a , 1) > -2 else 'a-b'".to_owned()),
            ("f(a - 1, k=b % 2)[n-1:]", "f(windlass_sub(a , 1), k=windlass_rem(b , 2))[windlass_sub(n,1):]".to_owned()),
            ("(a - b).days | int is even", "(windlass_sub(a , b)).days | int is even".to_owned()),
            ("a / b * c", "windlass_mul(a / b , c)".to_owned()),
            ("not a in [b + 1] and {'k': -c}", "not a in [windlass_add(b , 1)] and {'k': -c}".to_owned()),
        ] {
            assert_eq!(expression(code), expected, "{code}");
        }
        for code in ["a", "-1", "'a - b'", "1e-5", "f(*a)", "a ~ -b", "a -", "a - 'b", "a ? b - c"] {
            assert_eq!(expression(code), code);
        }
    }

    #[test]
    fn tags_and_texts_of_a_template_keep_their_lines() {
        let source = "a - b\n{%- if n - 1 -%}\n{% set x = n - 1 %}{{- x -}}{% raw %}{{ a - b }}{% endraw %}";
        let expected = "a - b\n{%- if windlass_sub(n , 1) -%}\n{% set x = windlass_sub(n , 1) %}{{- x -}}{% raw %}{{ a - b }}{% endraw %}";
        assert_eq!(rewritten(source), expected);
    }
}
