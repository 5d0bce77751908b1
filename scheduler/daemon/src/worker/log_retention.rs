//! Deletes logs that nobody has written to for longer than they are kept.
//!
//! A log that is still needed is never one of them: that of an attempt or a service that runs here, one whose end is not yet
//! reported, and one that is not yet shipped (its note is on disk, see [`super::shipping`]). A log that begins while a look is
//! under way is younger than any age that can be set. A look reads folders beside the loop, one at a time.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use super::shipping;

/// Ages are days; a look once an hour is near enough.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// The looks at a worker's log directory; none when logs are kept for ever.
pub(super) struct LogRetention {
    log_dir: PathBuf,
    keep: Option<Duration>,
    next_look: Instant,
    looking: Option<JoinHandle<()>>,
}

impl LogRetention {
    /// Keeps the logs of this directory for so long.
    pub(super) fn new(log_dir: PathBuf, keep: Option<Duration>) -> Self {
        Self { log_dir, keep, next_look: Instant::now(), looking: None }
    }

    /// Begins a look when it is time for one; `needed` are the files that stay whatever their age.
    pub(super) fn look_when_due(&mut self, needed: impl FnOnce() -> BTreeSet<PathBuf>) {
        let Some(keep) = self.keep else { return };
        if Instant::now() < self.next_look || self.looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
            return;
        }
        self.next_look = Instant::now() + LOOK_EVERY;
        let (log_dir, needed) = (self.log_dir.clone(), needed());
        self.looking = Some(spawn_blocking(move || match delete_older(&log_dir, keep, &needed) {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "logs were older than WINDLASS_KEEP_LOGS_DAYS and are deleted"),
            Err(error) => tracing::warn!(%error, dir = %log_dir.display(), "old logs could not be deleted"),
        }));
    }
}

/// How many were deleted. A file that fails does not save the others; the first failure is told.
fn delete_older(log_dir: &Path, keep: Duration, needed: &BTreeSet<PathBuf>) -> io::Result<u64> {
    let Some(before) = SystemTime::now().checked_sub(keep) else { return Ok(0) };
    let mut deleted = 0;
    let mut failed = None;
    let mut look = |dir: &Path| match delete_in(dir, before, |path| needed.contains(path) || is_due(log_dir, path)) {
        Ok(count) => deleted += count,
        Err(error) => failed = failed.take().or(Some(error)),
    };
    look(&log_dir.join("services"));
    for dir in entries(&log_dir.join("attempts"))? {
        look(&dir?.path());
    }
    failed.map_or(Ok(deleted), Err)
}

fn delete_in(dir: &Path, before: SystemTime, is_needed: impl Fn(&Path) -> bool) -> io::Result<u64> {
    let mut deleted = 0;
    let mut failed = None;
    for entry in entries(dir)? {
        let entry = entry?;
        let is_old = |file: fs::Metadata| Ok(file.is_file() && file.modified()? < before);
        let path = entry.path();
        let removed = match entry.metadata().and_then(is_old) {
            Ok(true) if !is_needed(&path) => fs::remove_file(&path).map(|()| deleted += 1),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match removed {
            // Somebody else was faster.
            Err(error) if error.kind() != io::ErrorKind::NotFound => failed = failed.or(Some(error)),
            _ => {}
        }
    }
    failed.map_or(Ok(deleted), Err)
}

/// What is in a folder; nothing when no log has made it yet.
fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Whether a log is still to be shipped.
fn is_due(log_dir: &Path, log: &Path) -> bool {
    let id = log.file_stem().and_then(OsStr::to_str);
    id.is_some_and(|id| shipping::note(log_dir, id).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn log(dir: &Path, name: &str, age: Duration) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    }

    #[test]
    fn only_old_logs_go_that_nobody_needs() {
        let dir = tempfile::tempdir().unwrap();
        let one = |name: &str, days: u32| log(dir.path(), name, DAY * days);
        let old = [one("attempts/ab/ab1.jsonl", 8), one("services/s1.jsonl", 9), one("services/s2.1.jsonl", 9)];
        let young = one("attempts/ab/ab2.jsonl", 6);
        let (running, unshipped) = (one("attempts/cd/cd1.jsonl", 30), one("attempts/cd/cd2.jsonl", 30));
        let (note, identity) = (one("shipping/cd2.json", 30), one("identity", 300));
        let needed = BTreeSet::from([running.clone()]);
        assert_eq!(delete_older(dir.path(), DAY * 7, &needed).unwrap(), 3);
        assert!(old.iter().all(|path| !path.exists()));
        assert!([young, running, unshipped, note, identity].iter().all(|path| path.exists()));
    }

    #[test]
    fn a_folder_without_logs_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(delete_older(dir.path(), DAY, &BTreeSet::new()).unwrap(), 0);
        assert_eq!(delete_older(dir.path(), Duration::MAX, &BTreeSet::new()).unwrap(), 0);
    }
}
