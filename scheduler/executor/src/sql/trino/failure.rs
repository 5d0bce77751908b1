//! How a Trino task fails: the query's own error with its place in the script, or what happened on the way.
//!
//! Whatever the error's type, the task's retries decide what follows, as in Airflow: the tables that a statement names may
//! be there at the next try.

use super::{
    super::{
        Script,
        script::{Position, Statement, position},
    },
    client::ClientError,
    page::{Location, QueryError, QueryId},
};
use crate::{Outcome, StopCause};

/// So much of a statement's line is shown.
const LINE_CHARS_SHOWN: usize = 160;

/// Why an attempt ends before its statements do.
#[derive(Debug)]
pub(super) enum Halt {
    /// It was asked to.
    Stopped(StopCause),
    /// One sentence.
    Failed(String),
    /// A check gave rows.
    Offended(Box<Outcome>),
}

impl From<ClientError> for Halt {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Halt> for Outcome {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Stopped(cause) => cause.into(),
            Halt::Failed(reason) => Self::failed(reason),
            Halt::Offended(outcome) => *outcome,
        }
    }
}

/// A query's error as people read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The attempt's reason.
    pub(super) reason: String,
    /// The line of the statement that the error points at, with a mark below; for the log.
    pub(super) excerpt: Option<String>,
}

/// Tells a query's error.
pub(super) fn tell(error: &QueryError, query: &QueryId, script: &Script, statement: &Statement<'_>) -> Told {
    let message = error.message.as_deref().unwrap_or("Trino gives no message");
    let place = place_of(error.error_location, &script.sql, statement);
    let (line, column) = (place.line, place.column);
    let message = without_place(message);
    let kind = kind(error);
    Told {
        reason: format!("{} line {line} column {column}: {message} ({kind}; query {query})", script.name),
        excerpt: error.error_location.and_then(|_| excerpt(&script.sql, place)),
    }
}

/// `COLUMN_NOT_FOUND, code 47, user error`
fn kind(error: &QueryError) -> String {
    let kind = match error.error_type.as_str() {
        "USER_ERROR" => "user error",
        "INTERNAL_ERROR" => "internal error of Trino",
        "INSUFFICIENT_RESOURCES" => "Trino has too few resources for it now",
        "EXTERNAL" => "error of a system behind Trino",
        _ => "error of no known type",
    };
    match error.error_name.as_str() {
        "" => kind.to_owned(),
        name => format!("{name}, code {}, {kind}", error.error_code),
    }
}

/// Trino counts from the statement's first character; people count from the script's.
fn place_of(location: Option<Location>, script: &str, statement: &Statement<'_>) -> Position {
    let start = position(script, statement.offset);
    match location {
        None => start,
        Some(Location { line_number: 0 | 1, column_number }) => {
            Position { line: start.line, column: start.column + column_number.saturating_sub(1) }
        }
        Some(Location { line_number, column_number }) => {
            Position { line: start.line + line_number - 1, column: column_number }
        }
    }
}

/// Trino's own place at the message's beginning would contradict ours.
fn without_place(message: &str) -> &str {
    let rest = message.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    match rest {
        Some((place, rest)) if place.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') => rest,
        Some(_) | None => message,
    }
}

fn excerpt(script: &str, place: Position) -> Option<String> {
    let line = script.lines().nth(place.line - 1)?;
    // A long line is shown from a little before the place on.
    let from = place.column.saturating_sub(LINE_CHARS_SHOWN / 2).min(place.column - 1);
    let from = if line.chars().count() <= LINE_CHARS_SHOWN { 0 } else { from };
    let shown: String = line.chars().skip(from).take(LINE_CHARS_SHOWN).collect();
    let mark = " ".repeat(place.column.saturating_sub(1 + from));
    Some(format!("{shown}\n{mark}^"))
}

#[cfg(test)]
mod tests {
    use super::{super::super::script::statements, *};

    fn told(sql: &str, statement: usize, location: (usize, usize)) -> Told {
        let script = Script { name: "gold.sql".into(), sql: sql.into() };
        let error = QueryError {
            message: Some(format!("line {}:{}: Column 'nope' cannot be resolved", location.0, location.1)),
            error_code: 47,
            error_name: "COLUMN_NOT_FOUND".into(),
            error_type: "USER_ERROR".into(),
            error_location: Some(Location { line_number: location.0, column_number: location.1 }),
        };
        let query = serde_json::from_str("\"q1\"").unwrap();
        tell(&error, &query, &script, &statements(&script.sql)[statement])
    }

    #[test]
    fn an_error_is_told_with_its_place_in_the_script() {
        let sql = "SELECT 1;\n\n  SELECT nope,\n    'ä', nope2 FROM t";
        let kind = "(COLUMN_NOT_FOUND, code 47, user error; query q1)";
        let first = told(sql, 1, (1, 8));
        assert_eq!(first.reason, format!("gold.sql line 3 column 10: Column 'nope' cannot be resolved {kind}"));
        assert_eq!(first.excerpt.unwrap(), "  SELECT nope,\n         ^");
        let second = told(sql, 1, (2, 10));
        assert_eq!(second.reason, format!("gold.sql line 4 column 10: Column 'nope' cannot be resolved {kind}"));
        assert_eq!(second.excerpt.unwrap(), "    'ä', nope2 FROM t\n         ^");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let sql = format!("SELECT {}nope FROM t", "1, ".repeat(500));
        let excerpt = told(&sql, 0, (1, 1508)).excerpt.unwrap();
        let (line, mark) = excerpt.split_once('\n').unwrap();
        assert_eq!(line.chars().nth(mark.len() - 1), Some('n'), "{excerpt}");
        assert!(line.chars().count() <= LINE_CHARS_SHOWN);
    }

    #[test]
    fn an_error_without_a_place_points_at_its_statement() {
        let script = Script { name: "a.sql".into(), sql: "SELECT 1;\nSELECT 2".into() };
        let error = QueryError {
            message: None,
            error_code: 0,
            error_name: String::new(),
            error_type: "EXTERNAL".into(),
            error_location: None,
        };
        let query = serde_json::from_str("\"q1\"").unwrap();
        let told = tell(&error, &query, &script, &statements(&script.sql)[1]);
        let expected = "a.sql line 2 column 1: Trino gives no message (error of a system behind Trino; query q1)";
        assert_eq!((told.reason.as_str(), told.excerpt), (expected, None));
        assert_eq!(without_place("line of thought: lost"), "line of thought: lost");
    }
}
