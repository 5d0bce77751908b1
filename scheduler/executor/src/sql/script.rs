//! Takes SQL text apart: statements, and the places of parameters. Nothing in quotes or comments counts.

use serde_json::Value;

/// One statement of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Its text, without the semicolon.
    pub(super) text: &'a str,
    /// Where it starts in the script, in bytes.
    pub(super) offset: usize,
}

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The line.
    pub(super) line: usize,
    /// The column, in characters.
    pub(super) column: usize,
}

/// The statements of a script that are more than comments.
pub(super) fn statements(script: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut has_code = false;
    let mut nesting = Nesting::default();
    let mut at = 0;
    while at < script.len() {
        let (token, length) = token(&script[at..]);
        if token == Token::Semicolon && nesting.is_outermost() {
            found.extend(has_code.then(|| statement(script, start, at)));
            start = at + length;
            has_code = false;
            nesting = Nesting::default();
        }
        nesting.enter(token, &script[at..at + length]);
        has_code |= matches!(token, Token::Quoted | Token::Code(_));
        at += length;
    }
    found.extend(has_code.then(|| statement(script, start, script.len())));
    found
}

/// The script with `:name` replaced by its value as a literal. A colon before anything else is left alone.
pub(super) fn bind(script: &str, parameters: &Value) -> String {
    let mut bound = String::with_capacity(script.len());
    let mut at = 0;
    let mut before = ' ';
    while at < script.len() {
        let rest = &script[at..];
        let (token, length) = token(rest);
        let name = parameter(rest).filter(|_| token == Token::Code(':') && before != ':');
        match name.and_then(|name| Some((name, parameters.get(name)?))) {
            Some((name, value)) => {
                bound.push_str(&literal(value));
                at += 1 + name.len();
            }
            None => {
                bound.push_str(&rest[..length]);
                at += length;
            }
        }
        before = bound.chars().next_back().unwrap_or(' ');
    }
    bound
}

/// The comments before a statement.
pub(super) fn lead(statement: &str) -> &str {
    &statement[..statement.len() - without_lead(statement).len()]
}

/// A statement without the comments before it.
pub(super) fn without_lead(statement: &str) -> &str {
    let mut rest = statement;
    while let (Token::Space | Token::Comment, length) = token(rest) {
        if rest.is_empty() {
            break;
        }
        rest = &rest[length..];
    }
    rest
}

/// The place of a byte.
pub(super) fn position(script: &str, offset: usize) -> Position {
    let before = script.get(..offset).unwrap_or(script);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

fn statement(script: &str, start: usize, end: usize) -> Statement<'_> {
    let text = &script[start..end];
    let lead = text.len() - text.trim_start().len();
    Statement { text: text.trim(), offset: start + lead }
}

/// Where a semicolon belongs to a larger statement: in parentheses (`CREATE RULE … DO ALSO (a; b)`) and in a body of standard
/// SQL (`CREATE FUNCTION … BEGIN ATOMIC a; b; END`), in which `CASE` has an `END` of its own.
#[derive(Debug, Default)]
struct Nesting {
    parentheses: usize,
    blocks: usize,
    after_begin: bool,
}

impl Nesting {
    fn is_outermost(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn enter(&mut self, token: Token, text: &str) {
        match token {
            Token::Code('(') => self.parentheses += 1,
            Token::Code(')') => self.parentheses = self.parentheses.saturating_sub(1),
            Token::Code(_) => {
                let is = |word: &str| text.eq_ignore_ascii_case(word);
                if self.after_begin && is("atomic") || self.blocks > 0 && is("case") {
                    self.blocks += 1;
                } else if is("end") {
                    self.blocks = self.blocks.saturating_sub(1);
                }
                self.after_begin = is("begin");
            }
            Token::Space | Token::Comment => {}
            Token::Quoted | Token::Semicolon => self.after_begin = false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Space,
    Comment,
    Quoted,
    Semicolon,
    Code(char),
}

/// The token at the start of the text, and its length. What is not closed goes to the end.
fn token(text: &str) -> (Token, usize) {
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '\'' => (Token::Quoted, quoted(text, '\'')),
        '"' => (Token::Quoted, quoted(text, '"')),
        'e' | 'E' if text[1..].starts_with('\'') => (Token::Quoted, escaped(text)),
        '$' => dollar_quoted(text).map_or((Token::Code('$'), 1), |length| (Token::Quoted, length)),
        '-' if text.starts_with("--") => (Token::Comment, text.find('\n').unwrap_or(text.len())),
        '/' if text.starts_with("/*") => (Token::Comment, comment(text)),
        ';' => (Token::Semicolon, 1),
        c if c.is_whitespace() => (Token::Space, c.len_utf8()),
        c if is_word(c) => (Token::Code(c), text.find(|c| !is_word(c)).unwrap_or(text.len())),
        c => (Token::Code(c), c.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A doubled quote is read as two texts side by side, which ends at the same place.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |at| at + 2)
}

fn escaped(text: &str) -> usize {
    let mut skip = false;
    for (at, c) in text.char_indices().skip(2) {
        match c {
            _ if skip => skip = false,
            '\\' => skip = true,
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn dollar_quoted(text: &str) -> Option<usize> {
    let tag_end = 1 + text[1..].find(|c| !is_word(c))?;
    let starts_with_digit = text[1..].starts_with(|c: char| c.is_ascii_digit());
    if starts_with_digit || !text[tag_end..].starts_with('$') {
        return None;
    }
    let tag = &text[..=tag_end];
    Some(text[tag.len()..].find(tag).map_or(text.len(), |at| at + 2 * tag.len()))
}

fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn parameter(text: &str) -> Option<&str> {
    let name = text.strip_prefix(':')?;
    let end = name.find(|c| !is_word(c)).unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string().to_uppercase(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quote(text),
        Value::Array(_) | Value::Object(_) => quote(&value.to_string()),
    }
}

/// A literal of standard SQL: a backslash is a character like any other.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        statements(script).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_semicolon_in_quotes_or_comments_ends_nothing() {
        let script = "-- a; b\nSELECT ';' AS \"x;y\" /* ; /* ; */ ; */ ;\n; DO $x$ BEGIN; END $x$;SELECT E'\\';', 'it''s;' ; -- end;";
        let expected =
            ["-- a; b\nSELECT ';' AS \"x;y\" /* ; /* ; */ ; */", "DO $x$ BEGIN; END $x$", "SELECT E'\\';', 'it''s;'"];
        assert_eq!(texts(script), expected);
        assert!(texts(" -- nothing\n ; /* x */ ;").is_empty());
    }

    #[test]
    fn a_semicolon_inside_a_larger_statement_ends_nothing() {
        let function =
            "CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT 2; END";
        let rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)";
        assert_eq!(
            texts(&format!("{function};{rule};\nSELECT 1; BEGIN; COMMIT")),
            [function, rule, "SELECT 1", "BEGIN", "COMMIT"]
        );
    }

    #[test]
    fn what_is_said_before_a_statement_can_be_left_out() {
        assert_eq!(without_lead("-- Trades.\n/* all */\n  SELECT 1 -- one"), "SELECT 1 -- one");
        assert_eq!(["", " ", "-- nothing", "ä"].map(without_lead), ["", "", "", "ä"]);
    }

    #[test]
    fn a_statement_knows_its_place() {
        let script = "SELECT 1;\n\n  SELECT 'ä', 2";
        let second = statements(script)[1];
        assert_eq!(position(script, second.offset), Position { line: 3, column: 3 });
        assert_eq!(position(script, script.len()), Position { line: 3, column: 16 });
    }

    #[test]
    fn parameters_become_literals_and_nothing_else_changes() {
        let parameters = json!({"name": "O'Hara; DROP", "n": 5, "flag": true, "none": null, "list": [1]});
        let script = "SELECT :name, :n, :flag, :none, :list, ':n', x::text, a[1:n], t.x, :unknown -- :n\n";
        let expected = "SELECT 'O''Hara; DROP', 5, TRUE, NULL, '[1]', ':n', x::text, a[1:n], t.x, :unknown -- :n\n";
        let expected = expected.replace("a[1:n]", "a[15]");
        assert_eq!(bind(script, &parameters), expected);
        assert_eq!(bind("a::n", &parameters), "a::n");
    }
}
