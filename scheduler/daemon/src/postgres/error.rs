//! Why there is no private PostgreSQL, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The private PostgreSQL can not be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server is installed.
    #[error(
        "no PostgreSQL 14 or newer was found in PATH or below /usr/lib/postgresql. Install it (Debian: apt-get install \
         postgresql), or set DATABASE_URL to a server of your own"
    )]
    NoBinaries,
    /// Only other versions than the one that made the cluster are installed.
    #[error(
        "the data in {data} was made by PostgreSQL {made_by}, and the installed versions are {found}. Install \
         PostgreSQL {made_by} again, or move the data with pg_upgrade"
    )]
    OtherVersion {
        /// The cluster.
        data: PathBuf,
        /// The version that it needs.
        made_by: u32,
        /// The versions that are there.
        found: String,
    },
    /// Another process looks after this home's server.
    #[error("another windlass process holds {lock}: it has started the private PostgreSQL of this home")]
    InUse {
        /// The file that it holds.
        lock: PathBuf,
    },
    /// The server of this home does not run.
    #[error("the private PostgreSQL of {home} does not run; start `windlass standalone`")]
    NotRunning {
        /// The home.
        home: PathBuf,
    },
    /// There is no user to run it as.
    #[error("PostgreSQL refuses to run as root, and there is no user {name} to run it as: {reason}")]
    NoUser {
        /// The user.
        name: &'static str,
        /// Why it could not be made.
        reason: String,
    },
    /// A file or folder can not be used.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder for sockets belongs to somebody else.
    #[error("{path} is there already and is not a private folder of the user that runs PostgreSQL; remove it")]
    ForeignFolder {
        /// Which.
        path: PathBuf,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// Which.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// The server ended, or did not answer in time.
    #[error("the private PostgreSQL did not start: {reason}\nthe end of {log}:\n{tail}")]
    NotReady {
        /// What was seen.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// The file with its passwords is lost or damaged.
    #[error("{path} does not hold the passwords of the private PostgreSQL; restore it, or remove {data} to begin anew")]
    Passwords {
        /// The file.
        path: PathBuf,
        /// The cluster that they belong to.
        data: PathBuf,
    },
    /// It answers, but its databases can not be prepared.
    #[error("preparing the databases of the private PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
}

/// Names the file of an error.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> PostgresError + use<> {
    let path = path.to_owned();
    move |source| PostgresError::Io { path: path.clone(), source }
}
