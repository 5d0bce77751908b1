//! Reads files of the DAG folder, and remembers what was asked for: whoever asked is compiled anew when that changes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt as _},
    path::Path,
};

use dag::{FileProblem, ReadFile};
use nix::fcntl::OFlag;

use super::source::Source;

/// A DAG file that is larger is refused: people write them.
const DAG_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What tells a file from its changed self without reading it. The time of its last change is the system's own: a copy
/// that keeps size and time of modification is seen, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Of a file on a disk.
    OnDisk {
        /// Which file.
        inode: u64,
        /// Its size.
        bytes: u64,
        /// When it was written.
        modified: (i64, i64),
        /// When anything of it changed.
        changed: (i64, i64),
    },
    /// Of a file in the store: what it holds.
    Stored(String),
}

/// Why a file has no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not there.
    Missing,
    /// It is there, and this is wrong with it.
    Unreadable(String),
}

/// The stamp of a file below a folder; none when there is no such file.
pub(super) fn stamp(root: &Path, name: &str) -> Option<Stamp> {
    let found = fs::metadata(root.join(name)).ok()?;
    Some(Stamp::OnDisk {
        inode: found.ino(),
        bytes: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// The text of a DAG file.
pub(super) fn read_text(path: &Path) -> Result<String, Unread> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Unreadable(format!("the file can not be read: {error}")),
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(Unread::Unreadable("this is no regular file; a DAG file is one".to_owned()));
    }
    let bytes = read_at_most(path, DAG_FILE_BYTES_MAX + 1).map_err(unreadable)?;
    if bytes.len() as u64 > DAG_FILE_BYTES_MAX {
        let size = found.len().max(bytes.len() as u64);
        let message = format!("the file has {size} bytes; a DAG file has at most {DAG_FILE_BYTES_MAX}");
        return Err(Unread::Unreadable(message));
    }
    dag_text(bytes)
}

/// The text that a DAG file's bytes are.
pub(super) fn dag_text(bytes: Vec<u8>) -> Result<String, Unread> {
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Unread::Unreadable(format!("the file is no UTF-8 text: byte {} is wrong; save it as UTF-8", place + 1))
    })
}

fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Some files of the system's own look regular and have a reader wait for what comes: they are an error of that file.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Lends a bundle's files to the compiler of one of them.
#[derive(Debug)]
pub(super) struct FolderReader<'f> {
    source: &'f Source,
    asked: RefCell<BTreeMap<String, Option<Stamp>>>,
    all_read: Cell<bool>,
}

impl<'f> FolderReader<'f> {
    pub(super) fn new(source: &'f Source) -> Self {
        Self { source, asked: RefCell::default(), all_read: Cell::new(true) }
    }

    /// What was asked for, as it was then, and whether all that is there could be read.
    pub(super) fn into_asked(self) -> (BTreeMap<String, Option<Stamp>>, bool) {
        (self.asked.into_inner(), self.all_read.get())
    }

    fn content(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        match self.source {
            Source::Disk(root) => Self::on_disk(root, name),
            Source::Stored(stored) => stored.read(name),
            Source::Gone => Err(FileProblem::Missing),
        }
    }

    fn on_disk(root: &Path, name: &str) -> Result<Vec<u8>, FileProblem> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => FileProblem::Missing,
            _ => FileProblem::Unreadable(error.to_string()),
        };
        let root = root.canonicalize().map_err(unreadable)?;
        let path = root.join(name).canonicalize().map_err(unreadable)?;
        if !path.starts_with(&root) {
            return Err(FileProblem::Outside);
        }
        let found = fs::metadata(&path).map_err(unreadable)?;
        if !found.is_file() {
            return Err(FileProblem::Unreadable("it is no regular file".to_owned()));
        }
        // One byte more than allowed shows that it is too large.
        let bytes_max = dag::FILE_BYTES_MAX as u64;
        if found.len() > bytes_max {
            return Err(FileProblem::TooLarge { bytes: found.len() });
        }
        read_at_most(&path, bytes_max + 1).map_err(unreadable)
    }
}

impl ReadFile for FolderReader<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        self.asked.borrow_mut().insert(name.to_owned(), self.source.stamp(name));
        let content = self.content(name);
        if matches!(content, Err(FileProblem::Unreadable(_))) {
            self.all_read.set(false);
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_have_its_reader_wait_is_read_at_once() {
        // Stands for those that look regular, such as /proc/kmsg: reading that would take messages from who needs them.
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("x.yaml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(read_at_most(&pipe, 10)));
        let read = told.recv_timeout(std::time::Duration::from_secs(10)).expect("it still waits");
        assert_eq!(read.unwrap(), b"");
    }
}
