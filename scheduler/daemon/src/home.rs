//! `WINDLASS_HOME`: where a standalone keeps its state, and how two of them are kept apart.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::private;

/// A Unix socket's path has at most 107 bytes; the file's name takes some of them.
const SOCKET_FOLDER_BYTES_MAX: usize = 80;
/// Bytes of the key that signs sessions.
const SIGNING_KEY_BYTES: usize = 64;

/// The folder, made and its own.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// A standalone's claim on its home, given up when it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

/// Why a home can not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The folder can not be made or written.
    #[error("WINDLASS_HOME {path}: {source}. Choose a folder that this user can write")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder of ours can be entered or changed by others: they could take the leader's place.
    #[error(
        "{path} {problem}: whoever can write there could run tasks as this user. Remove it, or set WINDLASS_HOME to another folder"
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another standalone uses it.
    #[error("another windlass standalone (pid {pid}) runs on {path}. Stop it, or set WINDLASS_HOME to another folder")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other process, as it wrote down.
        pid: String,
    },
}

impl Home {
    /// Makes the folder, for this user alone where nothing else is needed.
    ///
    /// # Errors
    /// [`HomeError::Io`] when it can not be made.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        fs::create_dir_all(root).map_err(at(root))?;
        let root = root.canonicalize().map_err(at(root))?;
        let home = Self { root };
        for folder in [home.logs(), home.temporary(), home.lake(), home.run(), home.keys()] {
            make_private(&folder)?;
        }
        Ok(home)
    }

    /// Claims it for a standalone.
    ///
    /// # Errors
    /// [`HomeError::InUse`] when another one has it.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.run().join("standalone.lock");
        let mut options = File::options();
        let mut file = options.create(true).truncate(false).read(true).write(true).open(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                return Err(HomeError::InUse { path: self.root.clone(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        file.set_len(0).map_err(at(&path))?;
        writeln!(file, "{}", std::process::id()).map_err(at(&path))?;
        Ok(HomeLock { _file: file })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Logs of attempts and services, and the worker's identity.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Working directories of attempts.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The warehouse of the embedded lake.
    #[must_use]
    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    /// Files that say what runs.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Where a worker finds the leader of the moment.
    #[must_use]
    pub fn endpoint_file(&self) -> PathBuf {
        self.run().join("leader.endpoint")
    }

    fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The key that encrypts connections and variables; never in the database.
    #[must_use]
    pub fn secret_key(&self) -> PathBuf {
        Self::secret_key_of(&self.root)
    }

    /// Where that key lies in the home of this folder, whether or not that is there.
    #[must_use]
    pub fn secret_key_of(root: &Path) -> PathBuf {
        root.join("keys/secret.key")
    }

    /// The key that signs sessions and tokens, made at the first start.
    ///
    /// # Errors
    /// [`HomeError::Io`] when it can neither be read nor made.
    pub fn signing_key(&self) -> Result<Vec<u8>, HomeError> {
        let path = signing_key(&self.root);
        if let Ok(key) = fs::read(&path)
            && key.len() == SIGNING_KEY_BYTES
        {
            return Ok(key);
        }
        let mut key = vec![0; SIGNING_KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        private::write(&path, &key).map_err(at(&path))?;
        Ok(key)
    }

    /// Gives up the key that signs sessions and tokens in this home, if it has one; the next start makes another. Answers
    /// whether it had one.
    ///
    /// # Errors
    /// [`HomeError::Io`] when it can not be removed.
    pub fn forget_signing_key(root: &Path) -> Result<bool, HomeError> {
        let path = signing_key(root);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Where the leader's socket lies: in the home when its path is short enough for a socket, else below the system's
    /// temporary folder under a name made from the home's.
    ///
    /// # Errors
    /// [`HomeError::Io`] when the folder can not be made.
    pub fn sockets(&self) -> Result<PathBuf, HomeError> {
        let run = self.run();
        if run.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX {
            return Ok(run);
        }
        let digest = hex::encode(Sha256::digest(self.root.as_os_str().as_encoded_bytes()));
        let folder = std::env::temp_dir().join(format!("windlass-{}", &digest[..16]));
        make_private(&folder)?;
        Ok(folder)
    }

    /// Reads a file of the run folder; none when it is not there or not whole.
    #[must_use]
    pub fn read_run_file(&self, name: &str) -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(self.run().join(name)).ok()?).ok()
    }
}

fn signing_key(root: &Path) -> PathBuf {
    root.join("keys/signing.key")
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { path, source }
}

/// Makes a folder for this user alone. One that is there is used only when it is this user's and nobody else may write
/// there; what others could read of an older version's is closed.
fn make_private(folder: &Path) -> Result<(), HomeError> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(folder)(error)),
        Err(_) => {}
    }
    let metadata = folder.symlink_metadata().map_err(at(folder))?;
    let refused = |problem: String| HomeError::NotPrivate { path: folder.to_owned(), problem };
    let (owner, mode) = (metadata.uid(), metadata.permissions().mode() & 0o777);
    if !metadata.is_dir() {
        return Err(refused("is no folder".to_owned()));
    }
    if owner != geteuid().as_raw() {
        return Err(refused(format!("belongs to user {owner}")));
    }
    if mode & 0o022 != 0 {
        return Err(refused(format!("has the mode {mode:o}, by which others may write there")));
    }
    if mode & 0o077 != 0
        && let Err(error) = fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
    {
        // As a volume that is mounted to be read: what is secret in it has a mode of its own.
        tracing::debug!(%error, path = %folder.display(), "the folder stays readable for others");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_belongs_to_one_standalone_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let first = home.lock().unwrap();
        assert!(matches!(home.lock(), Err(HomeError::InUse { .. })));
        drop(first);
        assert!(home.lock().is_ok());
    }

    #[test]
    fn a_folder_of_sockets_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("x".repeat(120))).unwrap();
        let sockets = home.sockets().unwrap();
        let set = |mode| fs::set_permissions(&sockets, fs::Permissions::from_mode(mode)).unwrap();
        set(0o777);
        let error = home.sockets().unwrap_err().to_string();
        assert!(error.contains("777") && error.contains(sockets.to_str().unwrap()), "{error}");
        set(0o755);
        home.sockets().unwrap();
        assert_eq!(fs::metadata(&sockets).unwrap().permissions().mode() & 0o777, 0o700, "nobody else looks in");
        fs::remove_dir(&sockets).unwrap();
        std::os::unix::fs::symlink(folder.path(), &sockets).unwrap();
        assert!(home.sockets().unwrap_err().to_string().contains("is no folder"));
        fs::remove_file(&sockets).unwrap();
        if geteuid().is_root() {
            fs::create_dir(&sockets).unwrap();
            std::os::unix::fs::chown(&sockets, Some(65_534), None).unwrap();
            assert!(home.sockets().unwrap_err().to_string().contains("belongs to user 65534"));
            fs::remove_dir(&sockets).unwrap();
        }
    }

    #[test]
    fn the_signing_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let key = home.signing_key().unwrap();
        assert_eq!(home.signing_key().unwrap(), key);
        let mode = fs::metadata(home.root().join("keys/signing.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Home::forget_signing_key(home.root()).unwrap() && !Home::forget_signing_key(home.root()).unwrap());
        assert_ne!(home.signing_key().unwrap(), key);
    }

    #[test]
    fn a_long_home_gets_its_sockets_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("x".repeat(120))).unwrap();
        assert!(home.sockets().unwrap().as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX);
    }
}
