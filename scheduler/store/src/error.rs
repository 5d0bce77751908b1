//! What can go wrong with the store, by what a caller can do about it.

use model::UnknownCode;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Raised by the function `refuse` in a statement that must leave nothing behind.
const REFUSED: &str = "WL001";

/// PostgreSQL's code for a statement that was ended, here by `statement_timeout`.
const CANCELED: &str = "57014";

/// A store operation that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another leader's epoch is in force: stop deciding. Nothing was written.
    #[error("this process does not lead any more: another leader has taken over")]
    Deposed,
    /// Memory and database differ: discard memory and load again. Nothing was written.
    #[error("memory and database differ ({what}); the turn left nothing behind")]
    Diverged {
        /// What was found to differ.
        what: String,
    },
    /// The connection broke before the answer: the turn is stored or it is not. Ask with [`crate::resume`].
    #[error("the connection to PostgreSQL broke while a turn was being stored; it may be stored or not: {reason}")]
    Unknown {
        /// How it broke.
        reason: String,
    },
    /// PostgreSQL can not be reached or has ended the connection: try again later on a new connection.
    #[error("{doing}: PostgreSQL can not be reached: {source}")]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// PostgreSQL refused: repeating it will not help.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// The statement took longer than its connection allows, and was ended: ask for less.
    #[error("{doing}: PostgreSQL did not finish within the time that is allowed")]
    TooHeavy {
        /// What was being done.
        doing: &'static str,
    },
    /// A newer Windlass has raised the format of the state: this binary must not lead.
    #[error(
        "the state has format {found}, this binary knows up to {known}: start the version of windlass that led last, or a newer one"
    )]
    NewerFormat {
        /// The format of the database.
        found: i32,
        /// The newest format that this binary writes.
        known: i32,
    },
    /// The server or the way to it can not carry Windlass.
    #[error("this PostgreSQL can not be used: {reason}")]
    Unsuitable {
        /// Why, and what to do.
        reason: String,
    },
    /// A stored value makes no sense to this binary.
    #[error("stored state can not be read: {what}")]
    Corrupt {
        /// Which value.
        what: String,
    },
    /// What was given breaks a limit or a rule of the store.
    #[error("{reason}")]
    Refused {
        /// Which one, and what to do.
        reason: String,
    },
}

impl StoreError {
    /// PostgreSQL's words when a value is what it refused (SQLSTATE classes 22 and 54): one that it can not hold, or one
    /// that is too large for an index. Another value will do.
    #[must_use]
    pub fn refused_value(&self) -> Option<String> {
        let Self::Database { source, .. } = self else { return None };
        let error = source.as_database_error()?;
        let code = error.code()?;
        (code.starts_with("22") || code.starts_with("54")).then(|| error.message().to_owned())
    }

    /// Whether the leadership or the way to PostgreSQL is lost or in doubt: then nothing of a leader's memory may be
    /// relied on. Every other error is about what was to be read or stored, and belongs to that.
    #[must_use]
    pub fn ends_leadership(&self) -> bool {
        match self {
            Self::Deposed
            | Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::NewerFormat { .. }
            | Self::Unsuitable { .. } => true,
            Self::Diverged { .. }
            | Self::Database { .. }
            | Self::TooHeavy { .. }
            | Self::Corrupt { .. }
            | Self::Refused { .. } => false,
        }
    }

    /// Whether it is a value that is refused, so that trying again can not help: a text or number that PostgreSQL can not
    /// keep, a broken constraint, a row that is too large, a limit of the store.
    #[must_use]
    pub fn refuses_value(&self) -> bool {
        /// Classes of SQLSTATE: data exception, integrity constraint violation, program limit exceeded.
        const OF_VALUES: [&str; 3] = ["22", "23", "54"];
        match self {
            Self::Refused { .. } => true,
            Self::Database { source: sqlx::Error::Encode(_), .. } => true,
            Self::Database { source, .. } => source
                .as_database_error()
                .and_then(|error| error.code())
                .is_some_and(|code| OF_VALUES.iter().any(|class| code.starts_with(class))),
            Self::Deposed
            | Self::Diverged { .. }
            | Self::Unknown { .. }
            | Self::Unreachable { .. }
            | Self::NewerFormat { .. }
            | Self::Unsuitable { .. }
            | Self::TooHeavy { .. }
            | Self::Corrupt { .. } => false,
        }
    }
}

impl From<UnknownCode> for StoreError {
    fn from(error: UnknownCode) -> Self {
        Self::Corrupt { what: error.to_string() }
    }
}

/// Says what was being done when the driver failed.
pub(crate) trait Doing<T> {
    /// Turns a driver's error into one that a caller can act on.
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| classify(error, what))
    }
}

/// A driver's error as one that a caller can act on.
pub(crate) fn classify(source: sqlx::Error, doing: &'static str) -> StoreError {
    if let Some(refusal) = refusal(&source) {
        return refusal;
    }
    if source.as_database_error().is_some_and(|error| error.code().as_deref() == Some(CANCELED)) {
        return StoreError::TooHeavy { doing };
    }
    if is_connection_lost(&source) {
        StoreError::Unreachable { doing, source }
    } else {
        StoreError::Database { doing, source }
    }
}

/// The same for a statement that stores a turn: a lost connection leaves its outcome open.
pub(crate) fn classify_turn(source: sqlx::Error) -> StoreError {
    match classify(source, "storing a turn") {
        StoreError::Unreachable { source, .. } => StoreError::Unknown { reason: source.to_string() },
        other => other,
    }
}

fn refusal(error: &sqlx::Error) -> Option<StoreError> {
    let error = error.as_database_error().filter(|error| error.code().as_deref() == Some(REFUSED))?;
    Some(match error.message() {
        "deposed" => StoreError::Deposed,
        other => StoreError::Diverged { what: other.trim_start_matches("diverged: ").to_owned() },
    })
}

/// An ERROR rolls back and leaves the connection; FATAL and PANIC end it, as every failure of the transport does.
fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}
