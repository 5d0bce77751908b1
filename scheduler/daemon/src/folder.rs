//! The DAG folder: watched, and read again when something in it changes.
//!
//! Reading and compiling have a thread of their own, so that a slow disk or a huge file delays no decision. Only what
//! changed is compiled: a file counts as changed when its text, or a file that it refers to, did.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use dag::{CompiledDag, DagFileError, FileProblem, ReadFile};
use inotify::{Inotify, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

/// An editor writes a file in several steps; this long after the last one it is taken as whole.
const SETTLED_AFTER: Duration = Duration::from_millis(150);
/// The folder is looked at this often even without news: a hint of the system may be lost.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A DAG file that is larger is refused: people write them.
const DAG_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Folders below the DAG folder, at most so deep.
const DEPTH_MAX: usize = 8;

/// What a look at the folder found to have changed.
#[derive(Debug, Clone, Default)]
pub struct FolderNews {
    /// Files that are new or changed, by their name below the folder.
    pub changed: BTreeMap<String, FileNews>,
    /// Files that are gone.
    pub gone: Vec<String>,
}

/// What a file holds now.
#[derive(Debug, Clone, Default)]
pub struct FileNews {
    /// The DAGs that it defines.
    pub dags: Vec<CompiledDag>,
    /// What is wrong with it.
    pub errors: Vec<DagFileError>,
    /// How long reading and compiling it took.
    pub took: Duration,
}

/// A DAG folder, and what was last seen in it.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    stamp: Stamp,
    referred: BTreeMap<String, Stamp>,
}

/// What tells a file from its changed self without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Folder {
    /// A folder that has not been looked at.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: BTreeMap::new() }
    }

    /// Looks at the folder and compiles what changed since the last look.
    pub fn look(&mut self) -> FolderNews {
        let mut names = Vec::new();
        list(&self.root, "", 0, &mut names);
        let mut news = FolderNews {
            gone: self.seen.keys().filter(|name| !names.contains(name)).cloned().collect(),
            changed: BTreeMap::new(),
        };
        for name in &news.gone {
            self.seen.remove(name);
        }
        for name in names {
            if !self.is_unchanged(&name) {
                let file = self.compile(&name);
                news.changed.insert(name, file);
            }
        }
        news
    }

    /// Compiles one file of the folder, whether it has changed or not.
    pub fn file(&mut self, name: &str) -> FileNews {
        self.compile(name)
    }

    fn is_unchanged(&self, name: &str) -> bool {
        self.seen.get(name).is_some_and(|seen| {
            self.stamp(name) == Some(seen.stamp)
                && seen.referred.iter().all(|(referred, stamp)| self.stamp(referred) == Some(*stamp))
        })
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        let metadata = fs::metadata(self.root.join(name)).ok()?;
        Some(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
    }

    fn compile(&mut self, name: &str) -> FileNews {
        let began = Instant::now();
        let stamp = self.stamp(name);
        let text = match read_text(&self.root.join(name)) {
            Ok(text) => text,
            Err(message) => return FileNews { errors: vec![of_file(name, message)], ..FileNews::default() },
        };
        let loaded = dag::load(name, &text, self);
        let referred = loaded.dags.iter().flat_map(|dag| &dag.files);
        let referred = referred.filter_map(|file| Some((file.name.clone(), self.stamp(&file.name)?))).collect();
        // A file with errors is compiled at each look: what it lacked may have come.
        if let (Some(stamp), true) = (stamp, loaded.errors.is_empty()) {
            self.seen.insert(name.to_owned(), Seen { stamp, referred });
        }
        FileNews { dags: loaded.dags, errors: loaded.errors, took: began.elapsed() }
    }
}

impl ReadFile for Folder {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileProblem::Missing,
            _ => FileProblem::Unreadable(error.to_string()),
        };
        let root = self.root.canonicalize().map_err(unreadable)?;
        let path = root.join(name).canonicalize().map_err(unreadable)?;
        if !path.starts_with(&root) {
            return Err(FileProblem::Outside);
        }
        let bytes = fs::metadata(&path).map_err(unreadable)?.len();
        if bytes > dag::FILE_BYTES_MAX as u64 {
            return Err(FileProblem::TooLarge { bytes });
        }
        fs::read(&path).map_err(unreadable)
    }
}

fn of_file(name: &str, message: String) -> DagFileError {
    let (file, field) = (name.to_owned(), String::new());
    DagFileError { file, line: 0, column: 0, field, message, suggestion: None, excerpt: None }
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = fs::metadata(path).map_err(|error| format!("the file can not be read: {error}"))?.len();
    if bytes > DAG_FILE_BYTES_MAX {
        return Err(format!("the file has {bytes} bytes; a DAG file has at most {DAG_FILE_BYTES_MAX}"));
    }
    fs::read_to_string(path).map_err(|error| format!("the file can not be read as UTF-8 text: {error}"))
}

/// Names of the YAML files below a folder; hidden ones and symbolic links to folders are passed over.
fn list(root: &Path, below: &str, depth: usize, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let name = if below.is_empty() { file_name.to_owned() } else { format!("{below}/{file_name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => list(root, &name, depth + 1, names),
            Ok(_) if is_yaml(file_name) => names.push(name),
            Ok(_) | Err(_) => {}
        }
    }
    names.sort();
}

fn is_yaml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Watches a folder on a thread of its own and tells what changes, the whole folder first. The thread ends when nobody
/// listens any more.
///
/// # Errors
/// When the system starts no thread.
pub fn watch(root: PathBuf, news: mpsc::Sender<FolderNews>) -> std::io::Result<()> {
    std::thread::Builder::new().name("dag-folder".to_owned()).spawn(move || watch_until_unheard(&root, &news)).map(drop)
}

fn watch_until_unheard(root: &Path, news: &mpsc::Sender<FolderNews>) {
    let mut ear = Ear::open();
    let mut folder = Folder::new(root);
    loop {
        ear.listen_to(root, 0);
        let found = folder.look();
        let is_news = !(found.changed.is_empty() && found.gone.is_empty());
        if (is_news && news.blocking_send(found).is_err()) || news.is_closed() {
            return;
        }
        if ear.hears_within(LOOK_AGAIN_AFTER) {
            while ear.hears_within(SETTLED_AFTER) {}
        }
    }
}

/// The system's news of a folder and those below it (inotify(7)).
struct Ear(Option<Inotify>);

impl Ear {
    fn open() -> Self {
        let inotify = Inotify::init().inspect_err(|error| {
            tracing::warn!(%error, "the DAG folder is looked at every 30 s only: the system tells nothing of it");
        });
        Self(inotify.ok())
    }

    /// Listens to a folder and those below it; one that it listens to already is not added again by the system.
    fn listen_to(&mut self, folder: &Path, depth: usize) {
        let Some(inotify) = &self.0 else { return };
        let mask =
            WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::DELETE_SELF;
        if let Err(error) = inotify.watches().add(folder, mask) {
            tracing::debug!(folder = %folder.display(), %error, "the system tells nothing of this folder");
        }
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in below.filter(|entry| depth < DEPTH_MAX && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            self.listen_to(&entry.path(), depth + 1);
        }
    }

    /// Waits for news, at most so long.
    fn hears_within(&mut self, time: Duration) -> bool {
        /// Room for a few hundred names; what is left over is read the next time.
        const BYTES: usize = 16 * 1024;
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let Some(inotify) = &mut self.0 else {
            std::thread::park_timeout(time);
            return false;
        };
        let ready = poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout);
        // What happened does not matter, only that something did: the folder is looked at as a whole.
        matches!(ready, Ok(1..)) && inotify.read_events(&mut [0; BYTES]).is_ok()
    }
}
