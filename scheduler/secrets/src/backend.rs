//! What a backend is, and how it says that it can not answer.

use std::fmt;

use futures::future::BoxFuture;
use store::secrets::Kind;

/// The most that one secret may have, in bytes, wherever it comes from: as much as a stored variable.
pub(crate) const SECRET_BYTES_MAX: usize = 512 * 1024;

/// A text that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A place where connections and variables lie.
pub(crate) trait Backend: Send + Sync {
    /// What it is and where, for messages: `Vault at https://vault:8200`.
    fn name(&self) -> &str;

    /// Where it looks for this; none when it is not asked for it.
    fn place(&self, kind: Kind, id: &str) -> Option<String>;

    /// The text of a secret: a variable's value, or a connection as a URI or a JSON object. None when there is none.
    fn read<'a>(&'a self, kind: Kind, id: &'a str) -> BoxFuture<'a, Result<Option<Secret>, Failure>>;

    /// Keeps what it needs for its answers from running out; ends when there is nothing to keep.
    fn keep(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened and what to do, without secrets.
    pub(crate) what: String,
    /// Whether the same call may succeed a moment later.
    pub(crate) passes: bool,
}

impl Failure {
    /// Nothing changes by asking again.
    pub(crate) fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), passes: false }
    }

    /// It may be over in a moment.
    pub(crate) fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), passes: true }
    }
}

/// A backend that could not say whether it has something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{backend}, asked for {place}: {what}")]
pub struct BackendError {
    /// Which one, and where.
    pub backend: String,
    /// What it was asked for.
    pub place: String,
    /// What happened, and what to do.
    pub what: String,
}
