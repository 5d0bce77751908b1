//! The guard: a small process beside each worker that outlives it just long enough to leave no process behind.
//!
//! It learns of every process group before its program runs (see `executor::process`). When the worker's pipe closes it
//! kills all groups; when the leader is silent for too long it kills those of attempts, which a new leader will give to
//! somebody else. What left its group is found by the worker's identity in its environment. It holds the worker's lock
//! until it is done, so that a new worker on the same directory starts with nothing of the old one alive.
//! Containers are the exception: a new worker goes on with them, and only when none has come in time the guard ends them.

mod containers;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, RawFd},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use executor::{
    environment,
    process::{GroupKind, LAUNCHER, clear_cgroups, tree},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigHandler, Signal, kill, killpg, signal},
    unistd::Pid,
};
use uuid::Uuid;

use self::containers::{Lock, Whose};

/// Says that the guard lives. The worker replaces one that is silent.
pub(crate) const ALIVE: &str = "alive";
/// Says that nothing comes from the leader, and that the attempts are killed in a moment: time for the worker to end them
/// in its own way, and to know why they ended.
pub(crate) const EXPIRED: &str = "expired";
/// How often the guard says that it lives.
pub(crate) const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// After so long without a word from the leader the attempts are killed: a new leader reassigns them after 75 s.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The part of the silence after which the worker is warned.
const WARN_AT: f64 = 0.9;
/// How long the guard waits for news at a time.
const POLL_MILLIS: u16 = 500;
/// How often the guard looks for what is left, at most: processes that start others while they are being killed.
const SWEEPS_MAX: u32 = 200;
/// The pause between two looks.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// So many looks are left to the launchers: they kill what is below them, and end, when their worker is gone.
const LAUNCHERS_LOOKS: u32 = 50;

/// Runs the guard until its work is done. `args` are `--worker UUID [--silence-secs N] [--lock-fd N] [--cgroups DIR]`; standard
/// input is the worker's pipe, standard output goes to the worker. It must run before anything else of the program has started.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Options::parse(args).map_err(io::Error::other).and_then(|options| Guard::new(&options).run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads this but a person who looks for what went wrong; there is no log to write to.
            let _ = writeln!(io::stderr(), "windlass guard: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the worker tells its guard at the start.
struct Options {
    worker: Uuid,
    silence_max: Duration,
    lock_fd: Option<RawFd>,
    cgroups: Option<PathBuf>,
}

impl Options {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut worker = None;
        let mut silence_max = SILENCE_MAX;
        let mut lock_fd = None;
        let mut cgroups = None;
        let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--worker" => worker = Some(value.parse().map_err(|_| format!("--worker {value} is no UUID"))?),
                "--silence-secs" => {
                    let secs = value.parse().map_err(|_| format!("--silence-secs {value} is no number of seconds"))?;
                    silence_max = Duration::from_secs(secs);
                }
                "--lock-fd" => {
                    lock_fd = Some(value.parse().map_err(|_| format!("--lock-fd {value} is no number"))?);
                }
                "--cgroups" => cgroups = Some(PathBuf::from(value)),
                other => return Err(format!("unknown argument {other}; a worker starts its guard by itself")),
            }
        }
        let worker = worker.ok_or("--worker UUID is missing; a worker starts its guard by itself")?;
        Ok(Self { worker, silence_max, lock_fd, cgroups })
    }
}

/// What the guard knows.
struct Guard {
    worker: Uuid,
    groups: BTreeMap<i32, GroupKind>,
    /// Containers with their engines.
    containers: BTreeMap<Uuid, (GroupKind, String)>,
    lock: Option<Lock>,
    /// `WINDLASS_WORKER=…`, as it stands in environments.
    mark: String,
    /// The same of the worker's launchers.
    launcher_mark: String,
    /// The folder of the worker's control groups.
    cgroups: Option<PathBuf>,
    silence_max: Duration,
    heard_at: Instant,
    /// Whether the worker was told that the leader is silent.
    warned: bool,
    said_alive_at: Option<Instant>,
    /// Bytes of a line that has not ended yet.
    line: Vec<u8>,
}

/// Whether the worker is there.
#[derive(PartialEq, Eq)]
enum Worker {
    Alive,
    Gone,
}

impl Guard {
    fn new(options: &Options) -> Self {
        Self {
            worker: options.worker,
            groups: BTreeMap::new(),
            containers: BTreeMap::new(),
            lock: options.lock_fd.and_then(|fd| Lock::inherited(fd).ok()),
            mark: format!("{}={}", environment::WORKER, options.worker),
            launcher_mark: format!("{LAUNCHER}={}", options.worker),
            cgroups: options.cgroups.clone(),
            silence_max: options.silence_max,
            heard_at: Instant::now(),
            warned: false,
            said_alive_at: None,
            line: Vec::new(),
        }
    }

    fn run(mut self) -> io::Result<()> {
        ignore_signals()?;
        let stdin = io::stdin();
        while self.listen(&stdin)? == Worker::Alive {
            self.end_attempts_in_silence();
            self.say_alive();
        }
        self.groups.keys().for_each(|group| kill_group(*group));
        self.clear_cgroups();
        self.end_launchers();
        self.sweep(&[&self.mark]);
        self.outwait();
        Ok(())
    }

    /// Waits until a new worker takes the containers up, or the leader has given up on the old one: they go then.
    #[allow(clippy::disallowed_methods, reason = "nothing tells of a lock that is taken")]
    fn outwait(&mut self) {
        let (Some(mut lock), false) = (self.lock.take(), self.containers.is_empty()) else { return };
        lock.release();
        loop {
            // Held for the moment only, so that a new worker gets it; without the directory none can come.
            let held = lock.take();
            if matches!(held, Ok(None)) {
                return;
            }
            if self.heard_at.elapsed() >= self.silence_max {
                self.end_containers(Whose::All);
                return;
            }
            drop(held);
            std::thread::sleep(Duration::from_millis(POLL_MILLIS.into()));
        }
    }

    fn end_containers(&mut self, whose: Whose) {
        let meant = |kind: GroupKind| whose == Whose::All || kind == GroupKind::Attempt;
        let engines: BTreeSet<String> =
            self.containers.values().filter(|(kind, _)| meant(*kind)).map(|(_, engine)| engine.clone()).collect();
        for engine in engines {
            if let Err(error) = containers::end_all(&engine, self.worker, whose) {
                let _ = writeln!(io::stderr(), "windlass guard: containers on {engine} may still run: {error}");
            }
        }
        self.containers.retain(|_, (kind, _)| !meant(*kind));
    }

    /// Waits a moment for news and takes it.
    fn listen(&mut self, stdin: &io::Stdin) -> io::Result<Worker> {
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(POLL_MILLIS)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Worker::Alive),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 4096];
        let read = stdin.lock().read(&mut bytes)?;
        bytes[..read].iter().for_each(|byte| self.take_byte(*byte));
        Ok(if read == 0 { Worker::Gone } else { Worker::Alive })
    }

    fn take_byte(&mut self, byte: u8) {
        if byte == b'\n' {
            let line = std::mem::take(&mut self.line);
            self.take_line(&String::from_utf8_lossy(&line));
        } else {
            self.line.push(byte);
        }
    }

    fn take_line(&mut self, line: &str) {
        let number = |text: &str| text.parse::<i32>().ok().filter(|group| *group > 1);
        if let Some(group) = line.strip_prefix("+a").and_then(number) {
            self.groups.insert(group, GroupKind::Attempt);
        } else if let Some(group) = line.strip_prefix("+s").and_then(number) {
            self.groups.insert(group, GroupKind::Service);
        } else if let Some((id, container)) = container(line) {
            self.containers.insert(id, container);
        } else if let Some(id) = line.strip_prefix("-c").and_then(|id| id.parse().ok()) {
            self.containers.remove(&id);
        } else if let Some(group) = line.strip_prefix('-').and_then(number) {
            self.groups.remove(&group);
        } else if line == "ok" {
            self.heard_at = Instant::now();
            self.warned = false;
        }
    }

    fn end_attempts_in_silence(&mut self) {
        let silence = self.heard_at.elapsed();
        let idle = self.of_attempts().next().is_none() && self.containers.is_empty();
        if idle || silence < self.silence_max.mul_f64(WARN_AT) {
            return;
        }
        if !self.warned {
            say(EXPIRED);
            self.warned = true;
        } else if silence >= self.silence_max {
            for group in self.of_attempts().collect::<Vec<_>>() {
                self.kill_beside(group);
                kill_group(group);
                self.groups.remove(&group);
            }
            self.sweep(&[&self.mark, &format!("{}=", environment::ATTEMPT)]);
            self.end_containers(Whose::Attempts);
        }
    }

    /// Kills all that an attempt has started, in whatever group: it is below the launcher of the group's first process.
    fn kill_beside(&self, group: i32) {
        let launcher = tree::parent(group).filter(|parent| tree::carries(*parent, &[&self.launcher_mark]));
        if let Some(launcher) = launcher {
            tree::signal(&tree::below(launcher), Signal::SIGKILL);
        }
    }

    fn of_attempts(&self) -> impl Iterator<Item = i32> {
        self.groups.iter().filter(|(_, kind)| **kind == GroupKind::Attempt).map(|(group, _)| *group)
    }

    fn say_alive(&mut self) {
        if self.said_alive_at.is_none_or(|at| at.elapsed() >= ALIVE_EVERY) {
            say(ALIVE);
            self.said_alive_at = Some(Instant::now());
        }
    }

    /// Kills what is in the worker's control groups, and removes them.
    #[allow(clippy::disallowed_methods, reason = "nothing tells of a group that is empty but its own files")]
    fn clear_cgroups(&self) {
        let Some(dir) = &self.cgroups else { return };
        for _ in 0..SWEEPS_MAX {
            if clear_cgroups(dir) {
                return;
            }
            std::thread::sleep(SWEEP_PAUSE);
        }
        let _ = writeln!(io::stderr(), "windlass guard: the control groups in {} can not be removed", dir.display());
    }

    /// Waits until the launchers have ended with all that is below them; those that do not are killed last, because their
    /// death would let the rest escape.
    #[allow(clippy::disallowed_methods, reason = "nothing tells of the end of processes that are not our children")]
    fn end_launchers(&self) {
        for look in 0..SWEEPS_MAX {
            let launchers = tree::carriers(&[&self.launcher_mark]);
            if launchers.is_empty() {
                return;
            }
            if look >= LAUNCHERS_LOOKS {
                launchers.iter().for_each(|launcher| kill_with_all_below(launcher.pid));
            }
            std::thread::sleep(SWEEP_PAUSE);
        }
    }

    /// Kills every process that carries all the marks, until none is found.
    #[allow(clippy::disallowed_methods, reason = "nothing tells of the end of processes that are not our children")]
    fn sweep(&self, marks: &[&str]) {
        for _ in 0..SWEEPS_MAX {
            let found = tree::carriers(marks);
            if found.is_empty() {
                return;
            }
            tree::signal(&found, Signal::SIGKILL);
            std::thread::sleep(SWEEP_PAUSE);
        }
    }
}

/// A container in the register's words: `+ca` or `+cs`, its id, a space, its engine.
fn container(line: &str) -> Option<(Uuid, (GroupKind, String))> {
    let (kind, rest) = match (line.strip_prefix("+ca"), line.strip_prefix("+cs")) {
        (Some(rest), _) => (GroupKind::Attempt, rest),
        (None, Some(rest)) => (GroupKind::Service, rest),
        (None, None) => return None,
    };
    let (id, engine) = rest.split_once(' ')?;
    Some((id.parse().ok()?, (kind, engine.to_owned())))
}

/// Ctrl-C and a stop of the machine reach the worker as well; the guard ends after it.
fn ignore_signals() -> io::Result<()> {
    for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler that could run.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}

fn say(word: &str) {
    // A worker that is gone is noticed by its pipe.
    let _ = writeln!(io::stdout(), "{word}");
    let _ = io::stdout().flush();
}

fn kill_group(group: i32) {
    // A group that has ended meanwhile is what we want.
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
}

/// Everything below a launcher, and the launcher itself once nothing is.
fn kill_with_all_below(launcher: i32) {
    let below = tree::below(launcher);
    if below.is_empty() {
        // One that has ended meanwhile is what we want.
        let _ = kill(Pid::from_raw(launcher), Signal::SIGKILL);
    }
    tree::signal(&below, Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&Options { worker: Uuid::nil(), silence_max: SILENCE_MAX, lock_fd: None, cgroups: None })
    }

    #[test]
    fn lines_may_arrive_in_pieces_and_group_numbers_are_checked() {
        let mut guard = guard();
        b"+a12\n+s34\n+a5".iter().for_each(|byte| guard.take_byte(*byte));
        assert_eq!(guard.groups, BTreeMap::from([(12, GroupKind::Attempt), (34, GroupKind::Service)]));
        b"6\n-12\n+a0\n+a-1\n+a1\nok\nnoise\n".iter().for_each(|byte| guard.take_byte(*byte));
        assert_eq!(guard.groups, BTreeMap::from([(34, GroupKind::Service), (56, GroupKind::Attempt)]));
    }

    #[test]
    fn containers_are_known_by_id_with_their_engine() {
        let mut guard = guard();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        guard.take_line(&format!("+ca{one} unix:///run/docker.sock"));
        guard.take_line(&format!("+cs{two} tcp://10.0.0.1:2375"));
        guard.take_line("+canonsense");
        assert_eq!(guard.containers[&one], (GroupKind::Attempt, "unix:///run/docker.sock".to_owned()));
        guard.take_line(&format!("-c{one}"));
        assert_eq!(guard.containers.keys().copied().collect::<Vec<_>>(), [two]);
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused_in_words() {
        for (args, says) in [(vec![], "--worker"), (vec!["--worker", "x"], "UUID"), (vec!["--wat", "1"], "--wat")] {
            let error = Options::parse(args.into_iter().map(OsString::from)).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }
}
