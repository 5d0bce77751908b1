//! Starts a process.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::libc;
use tokio::process::{Child, Command};

use super::{GroupKind, GroupRegister};
use crate::environment::Variables;

/// Where programs are looked for without a PATH, as a shell does.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

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
    /// Descriptors that it inherits under their own numbers; every other one but the standard three is closed.
    pub inherit: Vec<OwnedFd>,
}

/// What a process has as standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinUse {
    /// Nothing.
    Empty,
    /// A pipe from the worker.
    Pipe,
}

/// A process that runs, the leader of its group.
#[derive(Debug)]
pub struct Running {
    /// The process, with its standard streams.
    pub child: Child,
    /// Its group's number.
    pub group: i32,
}

impl Launch {
    /// Starts the process, its group registered before its program runs.
    ///
    /// # Errors
    /// When the program can not be found or started, or the guard is gone: nothing runs then.
    pub fn start(self, register: &GroupRegister) -> io::Result<Running> {
        let program = find_program(&self.program, self.env.get("PATH"))?;
        let fds: Vec<RawFd> = self.inherit.iter().map(AsRawFd::as_raw_fd).collect();
        register.start(self.kind, |guard| {
            let mut command = Command::new(&program);
            command.args(&self.args).env_clear().envs(&self.env).current_dir(&self.dir);
            command.stdin(match self.stdin {
                StdinUse::Empty => Stdio::null(),
                StdinUse::Pipe => Stdio::piped(),
            });
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
            let letter = self.kind.letter();
            // SAFETY: between fork and exec the closure only makes system calls and touches memory that it owns or
            // that is on its stack; it allocates nothing and takes no lock.
            unsafe { command.pre_exec(move || before_exec(guard, letter, &fds)) };
            let child = command.spawn().map_err(|error| self.explain(&program, &error))?;
            let group =
                child.id().and_then(|id| i32::try_from(id).ok()).expect("a child that was not awaited has an id");
            Ok((Running { child, group }, group))
        })
    }

    fn explain(&self, program: &Path, error: &io::Error) -> io::Error {
        let text = format!("starting {} in {}: {error}", program.display(), self.dir.display());
        io::Error::new(error.kind(), text)
    }
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

/// Runs in the child: registers the group with the guard and lets descriptors through. Only async-signal-safe calls.
fn before_exec(guard: RawFd, letter: u8, fds: &[RawFd]) -> io::Result<()> {
    let mut line = [0; 16];
    // SAFETY: getpid has no preconditions.
    let length = registration(letter, unsafe { libc::getpid() }, &mut line);
    // SAFETY: SIGPIPE is ignored for the write, so that a dead guard is an error and not a silent death; `line` is
    // valid for `length` bytes. A write below PIPE_BUF is whole or fails.
    let written = unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let written = libc::write(guard, line.as_ptr().cast(), length);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        written
    };
    if usize::try_from(written) != Ok(length) {
        return Err(io::Error::last_os_error());
    }
    for fd in fds {
        // SAFETY: the descriptor is open in this process; the flags are plain numbers.
        if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Writes `+a123\n` into the buffer without allocating; answers its length.
fn registration(letter: u8, group: i32, line: &mut [u8; 16]) -> usize {
    let mut digits = [0; 10];
    let mut count = 0;
    let mut rest = group.unsigned_abs();
    while count == 0 || rest > 0 {
        digits[count] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        count += 1;
    }
    line[0] = b'+';
    line[1] = letter;
    for (at, digit) in digits[..count].iter().rev().enumerate() {
        line[2 + at] = *digit;
    }
    line[2 + count] = b'\n';
    count + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_the_groups_number_in_text() {
        for group in [1, 10, 4_194_304, i32::MAX] {
            let mut line = [0; 16];
            let length = registration(b's', group, &mut line);
            assert_eq!(line[..length], *format!("+s{group}\n").as_bytes());
        }
    }
}
