//! Watches a DAG folder on a thread of its own, so that a slow disk or a huge file delays no decision.
//!
//! The thread belongs to its [`Watcher`]: it is woken and ends when that is dropped, so nothing that it sees can reach
//! anybody else.

use std::{
    fs,
    io::{self, PipeReader, PipeWriter},
    ops::ControlFlow,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use inotify::{Inotify, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use super::{Folder, FolderNews, LookSink, list::DEPTH_MAX};

/// An editor writes a file in several steps; this long after the last one it is taken as whole.
const SETTLED_AFTER: Duration = Duration::from_millis(40);
/// A folder that is never quiet, as one that a log is written to, is looked at nevertheless.
const SETTLED_AT_LATEST: Duration = Duration::from_secs(1);
/// The folder is looked at this often even without news: a hint of the system may be lost.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Pieces of news that wait until they are taken; the thread waits with the next one.
const PIECES_WAITING_MAX: usize = 2;

/// A folder that is watched.
#[derive(Debug)]
pub struct Watcher {
    pieces: mpsc::Receiver<FolderNews>,
    /// Closed when this is dropped, which the thread waits for.
    _alive: PipeWriter,
}

impl Watcher {
    /// Starts to watch; what is in the folder is told first. `guest` is held by the thread and dropped at its end.
    ///
    /// # Errors
    /// When the system has no thread or no pipe.
    pub fn start(folder: Folder, guest: impl Send + 'static) -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let (end, alive) = io::pipe()?;
        std::thread::Builder::new().name("dag-folder".to_owned()).spawn(move || {
            watch(folder, sender, end);
            drop(guest);
        })?;
        Ok(Self { pieces, _alive: alive })
    }

    /// The next piece of news; none when the thread has ended by itself, which only a defect brings about.
    pub async fn next(&mut self) -> Option<FolderNews> {
        self.pieces.recv().await
    }
}

fn watch(mut folder: Folder, sender: mpsc::Sender<FolderNews>, end: PipeReader) {
    let root = folder.root.clone();
    let mut ear = Ear::open(end);
    let mut pieces = Pieces(sender);
    loop {
        ear.listen_to(&root, 0);
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

/// The system's news of a folder and those below it (inotify(7)), and the end of the watch.
struct Ear {
    inotify: Option<Inotify>,
    end: PipeReader,
}

impl Ear {
    fn open(end: PipeReader) -> Self {
        let inotify = Inotify::init().inspect_err(|error| {
            tracing::warn!(%error, "the DAG folder is looked at every 30 s only: the system tells nothing of it");
        });
        Self { inotify: inotify.ok(), end }
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
        let end = PollFd::new(self.end.as_fd(), PollFlags::POLLIN);
        let (ended, told) = match &self.inotify {
            Some(inotify) => {
                let mut both = [end, PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
                let ready = poll(&mut both, timeout).is_ok_and(|ready| ready > 0);
                (ready && both[0].any().unwrap_or(true), ready && both[1].any().unwrap_or(true))
            }
            None => {
                let mut only = [end];
                (poll(&mut only, timeout).is_ok_and(|ready| ready > 0), false)
            }
        };
        if ended {
            return Heard::End;
        }
        // What happened does not matter, only that something did: the folder is looked at as a whole.
        let read = |inotify: &mut Inotify| inotify.read_events(&mut [0; BYTES]).is_ok();
        if told && self.inotify.as_mut().is_some_and(read) { Heard::News } else { Heard::Nothing }
    }
}
