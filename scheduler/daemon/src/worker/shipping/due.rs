//! The logs that have still to be shipped, on disk: a small file each, there before the log is and gone after it.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use link::LogPlace;
use model::AttemptId;

use crate::worker::spool::write_whole;

/// The list below a worker's log directory.
#[derive(Debug)]
pub(super) struct DueList {
    dir: PathBuf,
}

impl DueList {
    /// Opens the list, and makes it when there is none.
    pub(super) fn open(log_dir: &Path) -> io::Result<Self> {
        let dir = dir_below(log_dir);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
    }

    /// Adds a log; whole or not at all.
    pub(super) fn add(&self, place: &LogPlace) -> io::Result<()> {
        write_whole(&self.path(place.attempt), place)
    }

    /// All of its logs is shipped.
    pub(super) fn remove(&self, attempt: AttemptId) {
        // A file that stays costs one look at the store at the next start.
        let _ = fs::remove_file(self.path(attempt));
    }

    /// At most so many logs of the list, without those that are known. Half a file is one whose attempt was never begun.
    pub(super) fn read(&self, count_max: usize, known: &BTreeSet<AttemptId>) -> io::Result<Vec<LogPlace>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if found.len() >= count_max {
                break;
            }
            match attempt_of(&path) {
                Some(attempt) if !known.contains(&attempt) => {}
                Some(_) | None => continue,
            }
            match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(place)) => found.push(place),
                Ok(Err(error)) => tracing::warn!(%error, path = %path.display(), "this log to be shipped is not known"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn path(&self, attempt: AttemptId) -> PathBuf {
        note_in(&self.dir, &attempt.to_string())
    }
}

/// The note in a worker's log directory that says that the log of this attempt is not yet shipped.
pub(in crate::worker) fn note(log_dir: &Path, attempt: &str) -> PathBuf {
    note_in(&dir_below(log_dir), attempt)
}

fn dir_below(log_dir: &Path) -> PathBuf {
    log_dir.join("shipping")
}

fn note_in(dir: &Path, attempt: &str) -> PathBuf {
    dir.join(format!("{attempt}.json"))
}

fn attempt_of(path: &Path) -> Option<AttemptId> {
    path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok().map(AttemptId)
}
