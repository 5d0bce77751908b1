//! Who the server runs as: the current user, or `windlass` when that is root, as which PostgreSQL refuses to run.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path, process::Command};

use nix::unistd::{Gid, Uid, User};

use super::error::PostgresError;

/// The user of a server that root starts.
const NAME: &str = "windlass";
/// Held while the user is looked for and made: of two `useradd` at the same time one undoes what the other did.
const LOCK: &str = "/run/windlass-user.lock";

/// The user that the cluster belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    uid: Uid,
    /// Set when we are root, and processes and files have to be handed over.
    handed: Option<Gid>,
}

impl Owner {
    /// The current user, or `windlass`, which is created when it is missing.
    pub(super) fn find() -> Result<Self, PostgresError> {
        if !Uid::effective().is_root() {
            return Ok(Self { uid: Uid::effective(), handed: None });
        }
        let user = look_up_or_create()?;
        Ok(Self { uid: user.uid, handed: Some(user.gid) })
    }

    /// Makes a program run as this user.
    pub(super) fn run_as(self, command: &mut tokio::process::Command) {
        if let Some(gid) = self.handed {
            command.uid(self.uid.as_raw()).gid(gid.as_raw());
        }
    }

    /// Gives it a file or folder.
    pub(super) fn give(self, path: &Path) -> Result<(), PostgresError> {
        let Some(gid) = self.handed else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(gid.as_raw())).map_err(super::error::at(path))
    }

    /// Whether a folder is its own.
    pub(super) fn owns(self, metadata: &std::fs::Metadata) -> bool {
        metadata.uid() == self.uid.as_raw()
    }

    /// Whether it can get into a folder: every part of the path must let it pass.
    pub(super) fn can_reach(self, folder: &Path) -> bool {
        const ALL_MAY_PASS: u32 = 0o001;
        const OWNER_MAY_PASS: u32 = 0o100;
        self.handed.is_none()
            || folder.ancestors().all(|part| {
                part.metadata().is_ok_and(|metadata| {
                    let bit = if self.owns(&metadata) { OWNER_MAY_PASS } else { ALL_MAY_PASS };
                    metadata.mode() & bit != 0
                })
            })
    }
}

fn look_up_or_create() -> Result<User, PostgresError> {
    let lock = |error: io::Error| no_user(format!("{LOCK} can not be locked: {error}"));
    let held = File::options().create(true).truncate(false).write(true).open(LOCK).map_err(lock)?;
    held.lock().map_err(lock)?;
    match look_up()? {
        Some(user) => Ok(user),
        None => create(),
    }
}

fn look_up() -> Result<Option<User>, PostgresError> {
    User::from_name(NAME).map_err(|error| no_user(error.to_string()))
}

fn create() -> Result<User, PostgresError> {
    let made = Command::new("useradd")
        .args(["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"])
        .args(["--shell", "/usr/sbin/nologin", NAME])
        .output()
        .map_err(|error| no_user(format!("useradd could not be run: {error}")))?;
    look_up()?.ok_or_else(|| no_user(String::from_utf8_lossy(&made.stderr).trim().to_owned()))
}

fn no_user(reason: String) -> PostgresError {
    PostgresError::NoUser { name: NAME, reason }
}
