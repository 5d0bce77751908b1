//! Watches a DAG folder on a thread of its own, so that a slow disk or a huge file delays no decision.
//!
//! The thread belongs to its [`Watcher`]: it is woken and ends when that is dropped, so nothing that it sees can reach
//! anybody else. The other bundles are told to it by [`BundleNews`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    ops::ControlFlow,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use inotify::{Inotify, WatchMask};
use model::{BundleFile, BundleName};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use super::{Folder, FolderNews, LookSink, list::DEPTH_MAX, source::Source};

/// An editor writes a file in several steps; this long after the last one it is taken as whole.
const SETTLED_AFTER: Duration = Duration::from_millis(40);
/// A folder that is never quiet, as one that a log is written to, is looked at nevertheless.
const SETTLED_AT_LATEST: Duration = Duration::from_secs(1);
/// The folder is looked at this often even without news: a hint of the system may be lost.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Files that can be asked for before the next look, which follows within milliseconds; what is more is looked at as ever.
const AGAIN_MAX: usize = 1_000;
/// Pieces of news that wait until they are taken; the thread waits with the next one.
const PIECES_WAITING_MAX: usize = 2;

/// A folder that is watched.
#[derive(Debug)]
pub struct Watcher {
    pieces: mpsc::Receiver<FolderNews>,
    /// Closed when this is dropped, which the thread waits for.
    _alive: PipeWriter,
    news: BundleNews,
}

/// Tells the thread where the files of bundles are.
#[derive(Debug, Clone)]
pub struct BundleNews {
    told: Arc<Mutex<Told>>,
    wake: Arc<PipeWriter>,
}

/// What the thread was told, and has not looked at yet.
#[derive(Debug, Default)]
struct Told {
    sources: BTreeMap<BundleName, Source>,
    /// Files that somebody wants read again, whether they look changed or not.
    again: BTreeSet<BundleFile>,
}

impl BundleNews {
    /// Says where the files of a bundle are from now on. What was said of it before, and not looked at yet, counts no more.
    pub fn tell(&self, bundle: BundleName, source: Source) {
        self.note(|told| drop(told.sources.insert(bundle, source)));
    }

    /// Has a file read again at once, whether it looks changed or not.
    pub fn look_again(&self, file: BundleFile) {
        self.note(|told| {
            if told.again.len() < AGAIN_MAX {
                told.again.insert(file);
            }
        });
    }

    fn note(&self, note: impl FnOnce(&mut Told)) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = told.sources.is_empty() && told.again.is_empty();
        note(&mut told);
        // One byte wakes for all that is told, so the pipe never fills. Without a thread there is nobody to wake.
        if is_first && let Err(error) = (&*self.wake).write_all(&[0]) {
            tracing::debug!(%error, "the watch of the DAG folder has ended");
        }
    }

    fn take(&self) -> Told {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watcher {
    /// Starts to watch; what is in the folder is told first. `guest` is held by the thread and dropped at its end.
    ///
    /// # Errors
    /// When the system has no thread or no pipe.
    pub fn start(folder: Folder, guest: impl Send + 'static) -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let (end, alive) = io::pipe()?;
        let (woken, wake) = io::pipe()?;
        let news = BundleNews { told: Arc::default(), wake: Arc::new(wake) };
        let told = news.clone();
        std::thread::Builder::new().name("dag-folder".to_owned()).spawn(move || {
            watch(folder, sender, &told, Ear::open(end, woken));
            drop(guest);
        })?;
        Ok(Self { pieces, _alive: alive, news })
    }

    /// The way to tell of other bundles.
    #[must_use]
    pub fn bundle_news(&self) -> BundleNews {
        self.news.clone()
    }

    /// The next piece of news; none when the thread has ended by itself, which only a defect brings about.
    pub async fn next(&mut self) -> Option<FolderNews> {
        self.pieces.recv().await
    }
}

fn watch(mut folder: Folder, sender: mpsc::Sender<FolderNews>, told: &BundleNews, mut ear: Ear) {
    let on_disk = |source: &Source| match source {
        Source::Disk(root) => Some(root.clone()),
        Source::Stored(_) | Source::Gone => None,
    };
    let roots: Vec<PathBuf> = folder.sources.values().filter_map(on_disk).collect();
    let mut pieces = Pieces(sender);
    loop {
        roots.iter().for_each(|root| ear.listen_to(root, 0));
        let Told { sources, again } = told.take();
        for (bundle, source) in sources {
            folder.set(bundle, source);
        }
        again.iter().for_each(|file| folder.forget(file));
        if folder.look_in_pieces(&mut pieces).is_break() {
            return;
        }
        match ear.hears_within(LOOK_AGAIN_AFTER) {
            Heard::End => return,
            Heard::Nothing => {}
            Heard::News => {
                let at_latest = Instant::now() + SETTLED_AT_LATEST;
                while Instant::now() < at_latest && ear.hears_within(SETTLED_AFTER) == Heard::News {}
            }
        }
    }
}

struct Pieces(mpsc::Sender<FolderNews>);

impl LookSink for Pieces {
    fn listens(&self) -> bool {
        !self.0.is_closed()
    }

    fn take(&mut self, piece: FolderNews) -> ControlFlow<()> {
        if self.0.blocking_send(piece).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Nobody listens any more.
    End,
    News,
    Nothing,
}

/// The system's news of a folder and those below it (inotify(7)), what is told of other bundles, and the end of the watch.
struct Ear {
    inotify: Option<Inotify>,
    woken: PipeReader,
    end: PipeReader,
}

impl Ear {
    fn open(end: PipeReader, woken: PipeReader) -> Self {
        let inotify = Inotify::init().inspect_err(|error| {
            tracing::warn!(%error, "the DAG folder is looked at every 30 s only: the system tells nothing of it");
        });
        Self { inotify: inotify.ok(), woken, end }
    }

    /// Listens to a folder and those below it; one that it listens to already is not added again by the system.
    fn listen_to(&mut self, folder: &Path, depth: usize) {
        let Some(inotify) = &self.inotify else { return };
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
    fn hears_within(&mut self, time: Duration) -> Heard {
        /// Room for a few hundred names; what is left over is read the next time.
        const BYTES: usize = 16 * 1024;
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut fds =
            vec![PollFd::new(self.end.as_fd(), PollFlags::POLLIN), PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.inotify.as_ref().map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)));
        let ready = poll(&mut fds, timeout).is_ok_and(|ready| ready > 0);
        let has_news = |at: usize| ready && fds.get(at).is_some_and(|fd| fd.any().unwrap_or(true));
        let (ended, woken, told) = (has_news(0), has_news(1), has_news(2));
        if ended {
            return Heard::End;
        }
        // The thread holds an end for writing, so there is a byte.
        let woken = woken && self.woken.read(&mut [0; 8]).is_ok();
        // What happened does not matter, only that something did: the folder is looked at as a whole.
        let read = |inotify: &mut Inotify| inotify.read_events(&mut [0; BYTES]).is_ok();
        let told = told && self.inotify.as_mut().is_some_and(read);
        if told || woken { Heard::News } else { Heard::Nothing }
    }
}
