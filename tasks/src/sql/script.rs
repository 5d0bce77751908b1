//! Splits a SQL file into statements and reads each one.
//!
//! Positions always count from the start of the file, whatever statement they are in. A script is read completely before
//! its first statement runs, so a typing error in the last one changes nothing in the lake.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::command::Command;
use super::error::{Position, SqlError};

/// More statements in one script are a generated dump, which does not belong into a model.
const STATEMENTS_MAX: usize = 1_000;

/// Deeper nesting than anybody writes by hand, and still far from the end of [`PARSER_STACK_BYTES`].
const NESTING_MAX: usize = 64;

/// The parser takes some 40 KiB of stack a level when it is built without optimization.
const PARSER_STACK_BYTES: usize = 16 << 20;

/// One statement of a script.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Where it starts in the file.
    pub position: Position,
    /// Its text as written, without the semicolon.
    pub text: String,
    /// What it asks for.
    pub command: Command,
}

/// Reads all statements of a script.
///
/// # Errors
/// [`SqlError::Statement`] with the place of the first text that is not SQL or not one of the accepted statements.
pub fn parse(sql: &str) -> Result<Vec<Statement>, SqlError> {
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        match parser.spawn_scoped(scope, || parse_here(sql)) {
            Ok(parsing) => parsing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Without another thread the stack of this one serves all but the deepest nesting.
            Err(_) => parse_here(sql),
        }
    })
}

fn parse_here(sql: &str) -> Result<Vec<Statement>, SqlError> {
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| SqlError::at(Position::of(error.location).unwrap_or(Position::START), error.message))?;
    let pieces: Vec<_> = tokens.split(|token| token.token == Token::SemiColon).filter_map(trim).collect();
    if pieces.len() > STATEMENTS_MAX {
        let message = format!("the script has {} statements, at most {STATEMENTS_MAX} are allowed", pieces.len());
        return Err(SqlError::at(Position::START, message));
    }
    let text = Text::new(sql);
    pieces.into_iter().map(|piece| statement(&dialect, piece, &text)).collect()
}

fn statement(dialect: &GenericDialect, piece: &[TokenWithSpan], text: &Text<'_>) -> Result<Statement, SqlError> {
    let (first, last) = (piece.first().expect("a trimmed piece has a token"), piece.last().expect("and so a last one"));
    let position = Position::of(first.span.start).unwrap_or(Position::START);
    let mut tokens = piece.to_vec();
    tokens.push(TokenWithSpan { token: Token::EOF, span: last.span });
    let mut parser = Parser::new(dialect).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens);
    Command::expect_known(&first.token, position)?;
    let parsed = parser.parse_statement().map_err(|error| syntax(&error, position))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!("did not expect {rest} here; separate statements with a semicolon");
        return Err(SqlError::at(Position::of_span(rest.span).unwrap_or(position), message));
    }
    let command = Command::read(parsed, position)?;
    Ok(Statement { position, text: text.between(first.span.start, last.span.end).to_owned(), command })
}

/// Cuts white space and comments off both ends; nothing is left of an empty piece.
fn trim(piece: &[TokenWithSpan]) -> Option<&[TokenWithSpan]> {
    let is_text = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    let first = piece.iter().position(is_text)?;
    let last = piece.iter().rposition(is_text)?;
    Some(&piece[first..=last])
}

/// The parser writes the place at the end of its message; it becomes a position of its own.
fn syntax(error: &ParserError, start: Position) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return SqlError::at(start, format!("the statement is nested more than {NESTING_MAX} levels deep"));
        }
    };
    match split_place(text) {
        Some((message, position)) => SqlError::at(position, message.replacen("Expected:", "expected", 1)),
        None => SqlError::at(start, text.replacen("Expected:", "expected", 1)),
    }
}

fn split_place(text: &str) -> Option<(&str, Position)> {
    let (message, place) = text.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((message, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
}

/// A text with the start of each of its lines, to cut pieces out by line and column.
struct Text<'a> {
    sql: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(sql: &'a str) -> Self {
        let lines = std::iter::once(0).chain(sql.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { sql, lines }
    }

    fn between(&self, start: Location, end: Location) -> &'a str {
        &self.sql[self.offset(start)..self.offset(end)]
    }

    fn offset(&self, location: Location) -> usize {
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        let line = self.lines.get(index(location.line)).copied().unwrap_or(self.sql.len());
        let rest = &self.sql[line..];
        line + rest.char_indices().nth(index(location.column)).map_or(rest.len(), |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> String {
        parse(sql).expect_err("the script should be refused").to_string()
    }

    #[test]
    fn statements_know_their_place_and_text() {
        let statements =
            parse("-- a note; with a semicolon\nSELECT 1;\n\n  SELECT 'a;b'\n  FROM t -- end\n;;").unwrap();
        let found: Vec<_> = statements.iter().map(|s| (s.position.line, s.position.column, s.text.as_str())).collect();
        assert_eq!(found, [(2, 1, "SELECT 1"), (4, 3, "SELECT 'a;b'\n  FROM t")]);
    }

    #[test]
    fn a_syntax_error_names_its_line_and_column_in_the_file() {
        let leftover = refused("SELECT 1;\nSELECT a FROM\n  t u v");
        assert_eq!(leftover, "line 3, column 7: did not expect v here; separate statements with a semicolon");
        assert!(refused("SELECT (1;\n").starts_with("line 1, column "), "{}", refused("SELECT (1;\n"));
        assert!(
            refused("SELECT 'open").starts_with("line 1, column 8: Unterminated string"),
            "{}",
            refused("SELECT 'open")
        );
    }

    #[test]
    fn other_statements_are_refused_with_what_is_allowed() {
        for sql in [
            "DROP TABLE gold.x",
            "DELETE FROM gold.x",
            "UPDATE gold.x SET a = 1",
            "COPY gold.x TO '/tmp/x'",
            "SET a = 1",
            "CREATE VIEW v AS SELECT 1",
            "TRUNCATE TABLE gold.x",
            "ALTER TABLE gold.x ADD COLUMN a BIGINT",
            "EXPLAIN SELECT 1",
        ] {
            let message = refused(sql);
            assert!(message.starts_with("line 1, column 1: "), "{sql}: {message}");
            assert!(message.contains("MERGE INTO"), "{sql}: {message}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        let sql = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(refused(&sql).contains("levels deep"));
    }

    #[test]
    fn a_script_of_comments_has_no_statement() {
        assert!(parse("-- one\n/* two */ ;").unwrap().is_empty());
    }
}
