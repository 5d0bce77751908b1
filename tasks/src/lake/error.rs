//! The lake's errors: what a caller can act on, and what was being done when the rest went wrong.

use std::error::Error;

/// What went wrong in the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// A setting is missing or makes no sense; nothing was started.
    #[error("{name}: {problem}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// What is wrong with it, and what was expected.
        problem: String,
    },
    /// A text that is not a table's name.
    #[error("{0:?} is not a table name; a name is namespace.table or lake.namespace.table")]
    BadName(String),
    /// There is no such table.
    #[error("there is no table {table}; the tables are: {known}")]
    NoSuchTable {
        /// The name asked for.
        table: String,
        /// The names that exist.
        known: String,
    },
    /// A batch does not fit the table that it is to be written to.
    #[error("rows do not fit the table: {0}")]
    BadBatch(String),
    /// Somebody else committed first and the commit cannot be repeated on top of theirs: compute it anew.
    #[error("somebody else committed to {table} first; load the table again and repeat")]
    Conflict {
        /// The table that changed.
        table: String,
    },
    /// PostgreSQL went away during COMMIT and did not come back in time: the commit may or may not be there.
    #[error("the outcome of a commit to {table} is unknown, since PostgreSQL does not answer: {source}")]
    Unknown {
        /// The table that was committed to.
        table: String,
        /// The database's error.
        source: sqlx::Error,
    },
    /// Anything that a caller can only report or try again.
    #[error("{doing}: {source}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What the layer below said.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Adds what was being done to an error of a layer below.
pub(crate) trait Doing<T> {
    /// Turns the error into [`LakeError::Failed`] with this sentence.
    fn doing(self, what: impl Into<String>) -> Result<T, LakeError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, LakeError> {
        self.map_err(|source| LakeError::Failed { doing: what.into(), source: source.into() })
    }
}
