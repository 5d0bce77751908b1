//! The ends of attempts on disk, until the leader has stored them: a worker that is killed after an attempt has ended still
//! reports it when it is started again.
//!
//! All are lines of one file, since a file for each would be made and removed with each attempt. Lines are added by the
//! attempts' own tasks, so that a slow disk holds back nobody else. What is stored goes when the file is tidied, once a second
//! at most: a line that outlives its end by that is reported once more by the next worker, and then ignored.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use model::{AttemptEnd, AttemptId};
use serde::{Deserialize, Serialize};

use super::spool::put_whole;

/// A file in which something is still waiting is not tidied before it has so many bytes, and twice what was left in it.
const TIDY_BYTES: u64 = 256 * 1024;

/// The ends that wait. Clones mean the same file.
#[derive(Debug, Clone)]
pub(super) struct Ends(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: Mutex<Writing>,
    /// Never held while the file is written or read. An attempt is in here before its line is in the file.
    waiting: Mutex<BTreeSet<AttemptId>>,
    bytes: AtomicU64,
    due_bytes: AtomicU64,
}

#[derive(Debug)]
struct Writing {
    file: File,
    /// Whether a line could be written in part only.
    torn: bool,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'e> {
    attempt: AttemptId,
    end: Cow<'e, AttemptEnd>,
}

impl Line<'_> {
    /// With its break.
    fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The part of a line that says whose it is.
#[derive(Debug, Deserialize)]
struct Whose {
    attempt: AttemptId,
}

impl Ends {
    /// Opens the file in a worker's log directory, and gives what an earlier worker could not deliver.
    pub(super) fn open(log_dir: &Path) -> io::Result<(Self, BTreeMap<AttemptId, AttemptEnd>)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(log_dir)?;
        let path = log_dir.join("ends.jsonl");
        let mut found = of_0_1_0(log_dir)?;
        // Half a line: the worker died while it wrote. The attempt counts as lost.
        let lines = read(&path)?.into_iter().filter_map(|line| serde_json::from_slice::<Line<'_>>(&line).ok());
        found.extend(lines.map(|Line { attempt, end }| (attempt, end.into_owned())));
        let mut bytes = Vec::new();
        for (attempt, end) in &found {
            bytes.extend(Line { attempt: *attempt, end: Cow::Borrowed(end) }.to_bytes()?);
        }
        let file = put_whole(&path, &bytes)?;
        // They are in the file now.
        let _ = fs::remove_dir_all(log_dir.join(SPOOL));
        let shared = Shared {
            path,
            file: Mutex::new(Writing { file, torn: false }),
            waiting: Mutex::new(found.keys().copied().collect()),
            bytes: AtomicU64::new(bytes.len() as u64),
            due_bytes: AtomicU64::new(TIDY_BYTES),
        };
        Ok((Self(Arc::new(shared)), found))
    }

    /// Writes an end down. The last one of an attempt counts.
    pub(super) fn add(&self, attempt: AttemptId, end: &AttemptEnd) {
        self.waiting().insert(attempt);
        if let Err(error) = self.write(attempt, end) {
            // The report is still in memory; only a death of this process before the leader's answer would lose it.
            tracing::warn!(%error, attempt.id = %attempt, "an attempt's end could not be written to disk");
        }
    }

    /// Whether an attempt's end waits here.
    pub(super) fn has(&self, attempt: AttemptId) -> bool {
        self.waiting().contains(&attempt)
    }

    /// The leader has stored the end.
    pub(super) fn stored(&self, attempt: AttemptId) {
        self.waiting().remove(&attempt);
    }

    /// Whether it is time to tidy.
    pub(super) fn is_due(&self) -> bool {
        let bytes = self.0.bytes.load(Ordering::Relaxed);
        bytes >= self.0.due_bytes.load(Ordering::Relaxed) || bytes > 0 && self.waiting().is_empty()
    }

    /// Takes lines out of the file that need not be there. It may block.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let mut writing = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.waiting().clone();
        let bytes = if waiting.is_empty() {
            writing.file.set_len(0)?;
            0
        } else {
            let mut lines = read(&self.0.path)?;
            lines.retain(|line| {
                serde_json::from_slice::<Whose>(line).is_ok_and(|whose| waiting.contains(&whose.attempt))
            });
            let bytes: Vec<u8> = lines.into_iter().flat_map(|line| [line, vec![b'\n']].concat()).collect();
            writing.file = put_whole(&self.0.path, &bytes)?;
            bytes.len() as u64
        };
        writing.torn = false;
        self.0.bytes.store(bytes, Ordering::Relaxed);
        self.0.due_bytes.store(TIDY_BYTES.max(2 * bytes), Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, attempt: AttemptId, end: &AttemptEnd) -> io::Result<()> {
        let mut line = Line { attempt, end: Cow::Borrowed(end) }.to_bytes()?;
        let mut writing = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.torn {
            line.insert(0, b'\n');
        }
        writing.torn = true;
        writing.file.write_all(&line)?;
        writing.torn = false;
        self.0.bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<AttemptId>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of a file, without their breaks; none of one that is not there.
fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => BufReader::new(file).split(b'\n').collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Where 0.1.0 kept ends, a file each.
const SPOOL: &str = "spool";

fn of_0_1_0(log_dir: &Path) -> io::Result<BTreeMap<AttemptId, AttemptEnd>> {
    let entries = match fs::read_dir(log_dir.join(SPOOL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        if let Ok(Line { attempt, end }) = serde_json::from_slice(&fs::read(entry?.path())?) {
            found.insert(attempt, end.into_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use model::EndKind;
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> AttemptId {
        AttemptId(Uuid::from_u128(number))
    }

    fn end(reason: &str) -> AttemptEnd {
        AttemptEnd::new(EndKind::Failed, reason)
    }

    fn found(dir: &Path) -> Vec<(u128, String)> {
        let (_, found) = Ends::open(dir).unwrap();
        found.into_iter().map(|(attempt, end)| (attempt.0.as_u128(), end.reason)).collect()
    }

    #[test]
    fn half_a_line_costs_its_own_end_alone_and_nothing_is_glued_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (ends, _) = Ends::open(dir.path()).unwrap();
        ends.add(id(1), &end("one"));
        drop(ends);
        let mut file = fs::OpenOptions::new().append(true).open(dir.path().join("ends.jsonl")).unwrap();
        file.write_all(b"{\"attempt\":\"0000").unwrap();
        let (ends, before) = Ends::open(dir.path()).unwrap();
        assert_eq!(before.len(), 1);
        ends.add(id(2), &end("two"));
        drop(ends);
        assert_eq!(found(dir.path()), [(1, "one".into()), (2, "two".into())]);
    }

    #[test]
    fn the_last_end_of_an_attempt_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (ends, _) = Ends::open(dir.path()).unwrap();
        ends.add(id(1), &end("first"));
        ends.add(id(1), &end("second"));
        assert_eq!(found(dir.path()), [(1, "second".into())]);
    }

    #[test]
    fn tidying_takes_what_is_stored_and_leaves_the_rest_while_more_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let (ends, _) = Ends::open(dir.path()).unwrap();
        (1..=3000).for_each(|number| ends.add(id(number), &end("stored soon")));
        ends.add(id(9999), &end("kept"));
        assert!(ends.is_due(), "the file is large");
        (1..=3000).for_each(|number| ends.stored(id(number)));
        let adding = ends.clone();
        let more = std::thread::spawn(move || (5000..5500).for_each(|number| adding.add(id(number), &end("more"))));
        while !more.is_finished() {
            ends.tidy().unwrap();
        }
        more.join().unwrap();
        ends.tidy().unwrap();
        assert!(!ends.is_due() && ends.has(id(9999)) && !ends.has(id(1)));
        let left = found(dir.path());
        assert_eq!(left.len(), 501);
        assert!(left.iter().all(|(number, reason)| (reason == "kept") == (*number == 9999)), "{left:?}");
    }

    #[test]
    fn a_file_in_which_nothing_waits_becomes_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (ends, _) = Ends::open(dir.path()).unwrap();
        ends.add(id(1), &end("one"));
        assert!(!ends.is_due());
        ends.stored(id(1));
        assert!(ends.is_due());
        ends.tidy().unwrap();
        assert!(!ends.is_due());
        assert_eq!(fs::metadata(dir.path().join("ends.jsonl")).unwrap().len(), 0);
        ends.add(id(2), &end("two"));
        assert_eq!(found(dir.path()), [(2, "two".into())]);
    }

    #[test]
    fn ends_that_0_1_0_has_left_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        let line = Line { attempt: id(7), end: Cow::Owned(end("old")) }.to_bytes().unwrap();
        fs::write(dir.path().join("spool/a.json"), line).unwrap();
        fs::write(dir.path().join("spool/b.json"), "{\"attempt\":").unwrap();
        assert_eq!(found(dir.path()), [(7, "old".into())]);
        assert!(!dir.path().join("spool").exists());
        assert_eq!(found(dir.path()), [(7, "old".into())], "it is in the file");
    }
}
