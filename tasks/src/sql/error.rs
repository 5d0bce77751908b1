//! What can go wrong with SQL, told to the person who wrote it: every error of a statement carries the place in the file.

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use crate::lake::LakeError;

/// A place in a SQL text; both numbers start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The parser's location, when it is a real one.
    #[must_use]
    pub fn of(location: Location) -> Option<Self> {
        (location.line > 0).then_some(Self { line: location.line, column: location.column })
    }

    /// Where a piece of a statement starts, when the parser kept it.
    #[must_use]
    pub fn of_span(span: Span) -> Option<Self> {
        Self::of(span.start)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// An error of the SQL engine.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text itself is wrong, or asks for something that is not allowed: whoever wrote it has to change it.
    #[error("{position}: {message}")]
    Statement {
        /// Where in the text.
        position: Position,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Another writer kept committing to the same table.
    #[error(
        "{position}: {table} was changed by another writer {attempts} times while this statement ran; run it again when that writer is done"
    )]
    Contended {
        /// Where the statement starts.
        position: Position,
        /// The table written to.
        table: String,
        /// How often the statement was tried.
        attempts: u32,
    },
    /// The engine failed while it ran a statement that is right.
    #[error("{position}: {message}")]
    Run {
        /// Where the statement starts.
        position: Position,
        /// What failed.
        message: String,
    },
    /// The statement needs more memory than it may take, and has nothing left to put on the disk.
    #[error("{position}: {message}")]
    Memory {
        /// Where the statement starts.
        position: Position,
        /// What used how much.
        message: String,
    },
    /// The lake could not be read or written.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl SqlError {
    /// A mistake in the text at a place.
    pub fn at(position: Position, message: impl Into<String>) -> Self {
        Self::Statement { position, message: message.into() }
    }

    /// Where in the text the error is, when it has a place there.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Statement { position, .. }
            | Self::Contended { position, .. }
            | Self::Run { position, .. }
            | Self::Memory { position, .. } => Some(*position),
            Self::Lake(_) => None,
        }
    }

    /// The text without the place, for readers that show the place themselves.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Statement { message, .. } | Self::Run { message, .. } | Self::Memory { message, .. } => {
                message.clone()
            }
            Self::Contended { .. } | Self::Lake(_) => self.to_string(),
        }
    }

    /// An error from planning: the place is the engine's when it knows one, otherwise the statement's start.
    pub(super) fn planning(error: &DataFusionError, start: Position) -> Self {
        let Some(diagnostic) = error.diagnostic() else {
            return Self::at(start, first_line(error));
        };
        let position =
            diagnostic.span.map_or(start, |span| Position { line: span.start.line, column: span.start.column });
        let helps: String = diagnostic.helps.iter().map(|help| format!("; {}", help.message)).collect();
        Self::at(position, format!("{}{helps}", first_line(error)))
    }

    /// An error from running a planned statement.
    pub(super) fn running(error: &DataFusionError, start: Position) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(what) => Self::Memory {
                position: start,
                message: format!(
                    "the statement needs more memory than it may take; select fewer columns or rows, or split it ({what})"
                ),
            },
            root => Self::Run { position: start, message: first_line(root) },
        }
    }
}

/// The engine's text without the chain of contexts that only its developers need.
fn first_line(error: &DataFusionError) -> String {
    let message = error.find_root().message();
    message.lines().next().unwrap_or("the engine gave no reason").to_owned()
}
