//! Where the files of the private PostgreSQL lie.
//!
//! Normally all below the home. When root's home can not be entered by the user that the server runs as, the cluster
//! lies below `/var/lib/windlass`, and a link in the home says so for ever. The socket's folder is short and private.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    error::{PostgresError, at},
    owner::Owner,
};

/// A socket's path has at most 107 bytes; its name, `/.s.PGSQL.65535`, takes 15 of them.
const SOCKETS_BYTES_MAX: usize = 107 - 15;
/// Where a cluster lies that can not lie in its home.
const ELSEWHERE: &str = "/var/lib/windlass";

/// The files of one home's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The cluster.
    pub data: PathBuf,
    /// The folder of its socket.
    pub sockets: PathBuf,
    /// What it writes to its standard output and error.
    pub log: PathBuf,
    /// Held by the process that looks after it.
    pub lock: PathBuf,
    /// Says which process it is, and where it listens.
    pub run_file: PathBuf,
    /// Its passwords, not readable by the user that it runs as.
    pub passwords: PathBuf,
    /// For files on their way to the server's user.
    pub base: PathBuf,
}

impl Layout {
    /// Makes the folders, or finds them as they were made before.
    pub(super) fn prepare(home: &Path, owner: &Owner) -> Result<Self, PostgresError> {
        for folder in [home.to_owned(), home.join("run"), home.join("keys")] {
            make_private(&folder)?;
        }
        let home = home.canonicalize().map_err(at(home))?;
        let place = home.join("postgres");
        if !place.exists() {
            make_base(&home, &place, *owner)?;
        }
        let layout = Self::existing(&home)?;
        if !layout.sockets.exists() {
            make_private(&layout.sockets)?;
            owner.give(&layout.sockets)?;
        }
        let metadata = layout.sockets.symlink_metadata().map_err(at(&layout.sockets))?;
        let private = metadata.is_dir() && owner.owns(&metadata) && metadata.permissions().mode() & 0o077 == 0;
        if private { Ok(layout) } else { Err(PostgresError::ForeignFolder { path: layout.sockets }) }
    }

    /// The files of a home that was prepared before.
    pub(super) fn existing(home: &Path) -> Result<Self, PostgresError> {
        let not_running = |_| PostgresError::NotRunning { home: home.to_owned() };
        let home = home.canonicalize().map_err(not_running)?;
        let base = home.join("postgres").canonicalize().map_err(not_running)?;
        Ok(Self {
            data: base.join("data"),
            sockets: sockets(&base),
            log: base.join("postgres.log"),
            lock: home.join("run/postgres.lock"),
            run_file: home.join("run/postgres.json"),
            passwords: home.join("keys/postgres.json"),
            base,
        })
    }
}

impl Layout {
    /// Deletes what lies elsewhere than in the home, and the cluster.
    pub(super) fn delete(&self) -> Result<(), PostgresError> {
        for folder in [&self.sockets, &self.base] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(folder)(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn make_base(home: &Path, place: &Path, owner: Owner) -> Result<(), PostgresError> {
    if owner.can_reach(home) {
        make_private(place)?;
        return owner.give(place);
    }
    fs::create_dir_all(ELSEWHERE).map_err(at(Path::new(ELSEWHERE)))?;
    let elsewhere = Path::new(ELSEWHERE).join(digest(home));
    make_private(&elsewhere)?;
    owner.give(&elsewhere)?;
    symlink(&elsewhere, place).map_err(at(place))
}

/// In the cluster's folder when that is short enough, else in the system's folder for temporary files.
fn sockets(base: &Path) -> PathBuf {
    let inside = base.join("run");
    if inside.as_os_str().len() <= SOCKETS_BYTES_MAX {
        return inside;
    }
    std::env::temp_dir().join(format!("windlass-pg-{}", digest(base)))
}

/// A short name for a path.
fn digest(path: &Path) -> String {
    hex::encode(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..8])
}

/// A new folder that only its owner can enter; one that is there already is left as it is.
fn make_private(folder: &Path) -> Result<(), PostgresError> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_path_fits_however_long_the_home_is() {
        let long = Path::new("/home").join("x".repeat(200));
        assert!(sockets(&long).as_os_str().len() <= SOCKETS_BYTES_MAX);
        assert_eq!(sockets(Path::new("/srv/w/postgres")), Path::new("/srv/w/postgres/run"));
        assert_ne!(sockets(&long), sockets(&long.join("other")));
    }
}
