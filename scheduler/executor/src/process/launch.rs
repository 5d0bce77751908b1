//! Starts a process.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use tokio::net::unix::pipe;

use super::{
    GroupKind,
    launchers::{Launcher, Launchers},
    wire::{FDS_MAX, INHERITED_FROM, Reply, Request, Step},
};
use crate::environment::{self, Variables};

/// Where programs are looked for without a PATH, as a shell does.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
/// The guard's pipe and the three standard descriptors.
const FDS_ALWAYS: usize = 4;

/// A process to be.
#[derive(Debug)]
pub struct Launch {
    /// The program: a path, or a name that is looked up in the PATH of `env`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Variables,
    /// Its working directory.
    pub dir: PathBuf,
    /// What it belongs to.
    pub kind: GroupKind,
    /// Whether it is written to; otherwise its standard input is empty.
    pub stdin: StdinUse,
    /// What it inherits beside the standard three; every other descriptor is closed.
    pub inherit: Vec<Inherited>,
}

/// A descriptor that a process inherits.
#[derive(Debug)]
pub struct Inherited {
    /// The variable that tells the process its number.
    pub variable: &'static str,
    /// The descriptor.
    pub fd: OwnedFd,
}

/// What a process has as standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinUse {
    /// Nothing.
    Empty,
    /// A pipe from the worker.
    Pipe,
}

/// A process that runs, the leader of its group. Dropped, it is killed with everything that it started.
#[derive(Debug)]
pub struct Running {
    /// Its standard input, when it is written to.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error.
    pub stderr: Option<pipe::Receiver>,
    /// Its number, which is its group's.
    pub group: i32,
    /// A variable that it carries and no other attempt's or service's process does.
    pub(super) mark: Option<String>,
    /// None once the launcher is given back or lost.
    pub(super) launcher: Option<Launcher>,
    pub(super) launchers: Launchers,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.launchers.groups().forget(self.group);
    }
}

/// The worker's ends of a process's pipes.
struct Ours {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

/// The process's ends.
struct Theirs {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Launch {
    /// Starts the process, its group registered before its program runs.
    ///
    /// # Errors
    /// When the program can not be found or started, or the guard is gone: nothing runs then.
    pub async fn start(mut self, launchers: &Launchers) -> io::Result<Running> {
        assert!(self.inherit.len() + FDS_ALWAYS <= FDS_MAX, "no executor passes so many descriptors");
        let program = find_program(&self.program, self.env.get("PATH"))?;
        for (number, inherited) in (INHERITED_FROM..).zip(&self.inherit) {
            self.env.insert(inherited.variable.to_owned(), number.to_string());
        }
        let frame = self.request(&program).frame()?;
        let (ours, theirs) = pipes(self.stdin)?;
        let mut launcher = launchers.take()?;
        let guard = launchers.groups().guard();
        let stdin = theirs.stdin.as_ref().map_or_else(|| launchers.nothing(), |pipe| pipe.as_fd());
        let mut fds = vec![guard.as_fd(), stdin, theirs.stdout.as_fd(), theirs.stderr.as_fd()];
        fds.extend(self.inherit.iter().map(|inherited| inherited.fd.as_fd()));
        launcher.ask(&frame, &fds).await?;
        match launcher.reply().await? {
            Some(Reply::Started(group)) => {
                launchers.groups().started(group, self.kind, &guard);
                Ok(Running {
                    stdin: ours.stdin,
                    stdout: Some(ours.stdout),
                    stderr: Some(ours.stderr),
                    group,
                    mark: self.mark(),
                    launcher: Some(launcher),
                    launchers: launchers.clone(),
                })
            }
            Some(Reply::Refused { step, errno }) => {
                launchers.give_back(launcher);
                Err(self.explain(&program, step, &io::Error::from_raw_os_error(errno)))
            }
            Some(Reply::Ended { .. } | Reply::Empty) | None => {
                let how = launcher.ended().map_or_else(|| "went away".to_owned(), |status| format!("ended ({status})"));
                Err(io::Error::other(format!("its launcher {} {how}", launcher.pid)))
            }
        }
    }

    fn request<'l>(&'l self, program: &'l Path) -> Request<'l> {
        let words = std::iter::once(program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        Request {
            kind: self.kind,
            dir: self.dir.as_os_str(),
            words: words.collect(),
            env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        }
    }

    fn mark(&self) -> Option<String> {
        let name = match self.kind {
            GroupKind::Attempt => environment::ATTEMPT,
            GroupKind::Service => environment::SERVICE_INSTANCE,
        };
        self.env.get(name).map(|value| format!("{name}={value}"))
    }

    fn explain(&self, program: &Path, step: Step, error: &io::Error) -> io::Error {
        let (program, dir) = (program.display(), self.dir.display());
        let text = match step {
            Step::Program => format!("starting {program} in {dir}: {error}"),
            Step::Directory => {
                format!("starting {program} in {dir}: its working directory can not be entered: {error}")
            }
            Step::Guard => format!("starting {program}: the guard does not hear of it: {error}"),
            Step::Process => format!("starting {program}: no process can be made: {error}"),
            Step::Descriptors | Step::Request => format!("starting {program}: its descriptors can not be set: {error}"),
        };
        io::Error::new(error.kind(), text)
    }
}

fn pipes(stdin: StdinUse) -> io::Result<(Ours, Theirs)> {
    let (stdout, their_stdout) = io::pipe()?;
    let (stderr, their_stderr) = io::pipe()?;
    let (their_stdin, stdin) = match stdin {
        StdinUse::Empty => (None, None),
        StdinUse::Pipe => {
            let (reader, writer) = io::pipe()?;
            (Some(reader.into()), Some(pipe::Sender::from_owned_fd(writer.into())?))
        }
    };
    let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
    let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
    let theirs = Theirs { stdin: their_stdin, stdout: their_stdout.into(), stderr: their_stderr.into() };
    Ok((Ours { stdin, stdout, stderr }, theirs))
}

/// The program's path: as it is when it has directories, else by the directories of `path`.
///
/// # Errors
/// When no directory has such a program.
pub fn find_program(program: &OsStr, path: Option<&String>) -> io::Result<PathBuf> {
    let name = Path::new(program);
    if name.components().count() > 1 {
        return Ok(name.to_owned());
    }
    let path = path.map_or(PATH_DEFAULT, String::as_str);
    let found = std::env::split_paths(path).map(|dir| dir.join(name)).find(|candidate| is_executable(candidate));
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no program {} in PATH {path}", name.display()));
    found.ok_or_else(missing)
}

fn is_executable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
}
