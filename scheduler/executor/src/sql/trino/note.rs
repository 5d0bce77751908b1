//! What an attempt writes down while it runs, so that the next one can go on with its query when its worker dies.
//!
//! One file a task instance in the worker's directory, readable by its owner alone, replaced whole before each request and
//! removed when the attempt ends, however it ends. So a note that is found was left by a worker that died.

use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use model::TryNumber;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{page::QueryId, session::Session};

/// Trino forgets a query's result within minutes; an older note helps nobody.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// So many notes are looked at when old ones are removed: more are removed by the next attempts.
const SWEPT_MAX: usize = 1_000;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Noted {
    /// Whose try it was.
    pub(super) try_number: TryNumber,
    /// What it ran and where, as a hash.
    pub(super) plan: String,
    /// The statement that it was at; those before are done.
    pub(super) statement: usize,
    /// The session as that statement was sent with it, or later.
    pub(super) session: Session,
    /// Its query.
    pub(super) query: NotedQuery,
}

/// A query under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NotedQuery {
    /// Its id.
    pub(super) id: QueryId,
    /// Where its next answer is. Trino repeats the newest answer, and no older one.
    pub(super) next_uri: Url,
    /// Rows that were received, and are lost with whoever received them.
    pub(super) rows_taken: u64,
}

/// The file of one task instance.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Note {
    /// The note of a task instance below the worker's directory. The name is one of ours, without directories.
    pub(super) fn new(state_dir: &Path, instance: &str) -> Self {
        Self { path: state_dir.join("trino").join(format!("{instance}.json")) }
    }

    /// What was left behind; one that can not be read is as good as none.
    pub(super) async fn read(&self) -> Option<Noted> {
        match tokio::fs::read(&self.path).await {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(_) => None,
        }
    }

    /// Replaces it.
    pub(super) async fn write(&self, noted: &Noted) -> io::Result<()> {
        let text = serde_json::to_vec(noted).expect("a note has text keys only");
        let path = self.path.clone();
        // Only a note on disk as a whole replaces the last; a lost machine may lose it, and the query is found by its tag.
        tokio::task::spawn_blocking(move || replace(&path, &text)).await.unwrap_or_else(|panic| Err(panic.into()))
    }

    /// The attempt has ended.
    pub(super) async fn remove(&self) {
        match tokio::fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "the note of an ended attempt could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let written = write_private(&draft, text);
    if matches!(&written, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        let dir = path.parent().expect("a note lies in a directory");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        write_private(&draft, text)?;
    } else {
        written?;
    }
    if !path.exists() {
        sweep(path.parent().expect("a note lies in a directory"));
    }
    std::fs::rename(draft, path)
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text)
}

/// Removes notes of task instances that never came back to this worker.
fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let now = SystemTime::now();
    for entry in entries.take(SWEPT_MAX).flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|written| now.duration_since(written).ok()).unwrap_or_default();
        if age > KEPT_FOR {
            // Another attempt may have removed it.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(statement: usize) -> Noted {
        let query = NotedQuery {
            id: serde_json::from_str("\"20261121_135755_00002_svssv\"").unwrap(),
            next_uri: "http://h:8080/v1/statement/executing/q/y/1".parse().unwrap(),
            rows_taken: 7,
        };
        Noted { try_number: TryNumber::FIRST, plan: "p".into(), statement, session: Session::default(), query }
    }

    #[tokio::test]
    async fn the_last_note_counts_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let note = Note::new(dir.path(), "abc");
        assert_eq!(note.read().await, None);
        for statement in 0..3 {
            note.write(&noted(statement)).await.unwrap();
            assert_eq!(Note::new(dir.path(), "abc").read().await, Some(noted(statement)));
        }
        note.remove().await;
        note.remove().await;
        assert_eq!(note.read().await, None);
    }

    #[tokio::test]
    async fn old_notes_go_when_a_new_one_comes() {
        let dir = tempfile::tempdir().unwrap();
        Note::new(dir.path(), "old").write(&noted(1)).await.unwrap();
        let old = dir.path().join("trino/old.json");
        let long_ago = SystemTime::now() - KEPT_FOR - Duration::from_secs(1);
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        Note::new(dir.path(), "new").write(&noted(1)).await.unwrap();
        assert!(!old.exists() && dir.path().join("trino/new.json").exists());
    }
}
