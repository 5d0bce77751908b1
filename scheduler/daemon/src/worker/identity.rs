//! Who a worker is: a file in its log directory, and a lock that one process and its guard hold.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use link::transport::tls::WorkerFiles;
use tokio::time::Instant;
use uuid::Uuid;

use super::WorkerError;

/// How long to wait for an earlier worker's guard to end what it left: it needs milliseconds, and tries for seconds.
const LOCK_WAIT: Duration = Duration::from_secs(20);
/// How often to look.
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// A worker's identity, held as long as the worker lives.
#[derive(Debug)]
pub(super) struct Identity {
    id: Uuid,
    lock: File,
}

impl Identity {
    /// Takes the directory and reads or makes the identity in it.
    pub(super) async fn open(log_dir: &Path) -> Result<Self, WorkerError> {
        let failed = |error| WorkerError::Directory { dir: log_dir.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(log_dir).map_err(failed)?;
        let lock = open_private(&log_dir.join("worker.lock")).map_err(failed)?;
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => tokio::time::sleep(LOCK_LOOK).await,
                Err(TryLockError::WouldBlock) => return Err(WorkerError::Busy { dir: log_dir.to_owned() }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        let id = read_or_make(&WorkerFiles::id_file(log_dir)).map_err(failed)?;
        Ok(Self { id, lock })
    }

    /// The identity.
    pub(super) const fn id(&self) -> Uuid {
        self.id
    }

    /// The lock, for the guard to hold as well.
    pub(super) const fn lock(&self) -> &File {
        &self.lock
    }
}

fn read_or_make(path: &Path) -> io::Result<Uuid> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let text = format!("{} is no UUID: restore it, or remove it to make this a new worker", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::new_v4();
            let draft = path.with_extension("new");
            let mut file = open_private(&draft)?;
            file.set_len(0)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
            fs::rename(&draft, path)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}
