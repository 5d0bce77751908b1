//! A worker's launchers: as many as processes run at once, used again and again.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::UnixStream,
    process::{Child, Command},
};
use uuid::Uuid;

use super::{
    GroupRegister,
    cgroup::{Cgroup, Cgroups},
    launcher::LAUNCHER,
    wire::{self, REPLY_BYTES, Reply},
};

/// Launchers that wait for work. More were needed at once, and would only hold memory.
const IDLE_MAX: usize = 32;

/// The worker's launchers. Clones share them.
#[derive(Debug, Clone)]
pub struct Launchers(Arc<Inner>);

/// How launchers are started.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// A program and its arguments.
    pub command: Vec<OsString>,
    /// The worker's identity, by which its guard finds them.
    pub worker: Uuid,
    /// Where each gets a control group of its own, when the system has them.
    pub cgroups: Option<Cgroups>,
}

#[derive(Debug)]
struct Inner {
    recipe: Recipe,
    groups: Arc<GroupRegister>,
    /// What a process reads that is given nothing.
    nothing: File,
    idle: Mutex<Vec<Launcher>>,
}

impl Launchers {
    /// No launchers yet.
    ///
    /// # Errors
    /// When `/dev/null` can not be opened.
    pub fn new(recipe: Recipe, groups: Arc<GroupRegister>) -> io::Result<Self> {
        let nothing = File::open("/dev/null")?;
        Ok(Self(Arc::new(Inner { recipe, groups, nothing, idle: Mutex::default() })))
    }

    /// Where process groups are made known.
    #[must_use]
    pub fn groups(&self) -> &GroupRegister {
        &self.0.groups
    }

    /// What a process reads that is given nothing.
    pub(super) fn nothing(&self) -> BorrowedFd<'_> {
        self.0.nothing.as_fd()
    }

    /// A launcher that has nothing to do.
    pub(super) fn take(&self) -> io::Result<Launcher> {
        loop {
            let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut launcher) = idle else { return self.0.make() };
            // One that somebody has killed meanwhile is of no use.
            if launcher.ended().is_none() {
                return Ok(launcher);
            }
        }
    }

    /// Takes one back, with nothing below it.
    pub(super) fn give_back(&self, launcher: Launcher) {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(launcher);
        }
    }
}

impl Inner {
    fn make(&self) -> io::Result<Launcher> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let words = &self.recipe.command;
        let (program, words) =
            words.split_first().ok_or_else(|| io::Error::other("the launcher's command is empty"))?;
        let mut command = Command::new(program);
        command.args(words).env_clear().env(LAUNCHER, self.recipe.worker.to_string()).current_dir("/");
        // A group of its own keeps it from what is meant for the worker's. Without a closure to run, std makes the process
        // without copying this one's memory.
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit()).process_group(0);
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("starting a launcher: {error}"));
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).expect("a child that was not awaited has an id");
        let cgroup = match &self.recipe.cgroups {
            Some(cgroups) => cgroups.make(pid)?,
            None => None,
        };
        Ok(Launcher { socket: UnixStream::from_std(ours)?, child, pid, cgroup, said: Vec::new() })
    }
}

/// One launcher. Dropped, it kills what is below it, and ends.
#[derive(Debug)]
pub(super) struct Launcher {
    socket: UnixStream,
    child: Child,
    pub(super) pid: i32,
    pub(super) cgroup: Option<Cgroup>,
    /// The part of a reply that has come.
    said: Vec<u8>,
}

impl Launcher {
    /// Sends a request with its descriptors.
    pub(super) async fn ask(&mut self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let socket = self.socket.as_raw_fd();
        let send = || wire::send_first(socket, frame, fds);
        let sent = self.socket.async_io(Interest::WRITABLE, send).await?;
        self.socket.write_all(&frame[sent..]).await
    }

    /// The next reply; none when it is gone. Nothing is lost when the wait is given up.
    pub(super) async fn reply(&mut self) -> io::Result<Option<Reply>> {
        loop {
            if let Some((first, _)) = self.said.split_first_chunk::<REPLY_BYTES>() {
                let reply = Reply::from_bytes(*first)?;
                self.said.drain(..REPLY_BYTES);
                return Ok(Some(reply));
            }
            let mut bytes = [0; 4 * REPLY_BYTES];
            match self.socket.read(&mut bytes).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(read) => self.said.extend_from_slice(&bytes[..read]),
            }
        }
    }

    /// How it ended, when it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended.
    pub(super) async fn gone(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }
}
