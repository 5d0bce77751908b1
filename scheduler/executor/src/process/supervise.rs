//! Waits for a process and ends everything that it started.

use std::{collections::BTreeSet, io, os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::time::{Instant, timeout};

use super::{
    Running,
    launchers::Launcher,
    tree::{self, Found},
    wire::{Leftovers, Reply},
};
use crate::{Stop, StopCause, log::Log};

/// How long what a finished process left may take to end after TERM.
const LEFTOVERS_GRACE: Duration = Duration::from_secs(2);
/// How long to kill: only the kernel is slower, or a process that makes others faster than they are found.
const KILLED_WAIT: Duration = Duration::from_secs(2);
/// How often what is being killed is looked at: others may have been started meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It exited.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
}

impl std::fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

impl From<ExitStatus> for ProcessEnd {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signalled(signal.unwrap_or_default()),
        }
    }
}

/// A process that is gone, with everything that it started.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: ProcessEnd,
    /// Why it was ended, when it did not end by itself.
    pub stopped: Option<StopCause>,
    /// Whether everything that it started is known to be gone.
    pub is_gone: bool,
}

/// Waits until the process ends, or ends it when asked: TERM to everything below its launcher, KILL after `grace`. What it
/// leaves, in whatever session or group, is ended as well and named in the log; then its group is forgotten.
///
/// # Errors
/// When its launcher was killed, so that nobody knows how it ended; what it started is killed then, as far as it is found.
pub async fn supervise(running: &mut Running, stop: &Stop, grace: Duration, log: &Log) -> io::Result<Finished> {
    let mut launcher = running.launcher.take().expect("a process is awaited once");
    let ended = tokio::select! {
        ended = await_end(&mut launcher) => ended.map(|ended| (ended, None)),
        cause = stop.requested() => {
            end(running, &mut launcher, grace).await.map(|ended| (ended, Some(cause)))
        }
    };
    let outcome = match ended {
        Some(((end, leftovers), stopped)) => {
            launcher.cgroup.as_mut().into_iter().filter_map(|cgroup| cgroup.news()).for_each(|news| log.system(&news));
            let left = match leftovers {
                Leftovers::None => Left::Nothing,
                Leftovers::Some => end_leftovers(&mut launcher, log).await,
            };
            match left {
                Left::Nothing => running.launchers.give_back(launcher),
                Left::Something => {}
                Left::Unknown => kill_found(running, &launcher, log).await,
            }
            Ok(Finished { end, stopped, is_gone: left == Left::Nothing })
        }
        None => Err(abandoned(running, launcher, log).await),
    };
    running.launchers.groups().forget(running.group);
    outcome
}

/// How the process ended, and whether anything is left of it; none when its launcher is gone.
async fn await_end(launcher: &mut Launcher) -> Option<(ProcessEnd, Leftovers)> {
    loop {
        match launcher.reply().await {
            Ok(Some(Reply::Ended { status, leftovers })) => {
                return Some((ExitStatus::from_raw(status).into(), leftovers));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Asks a process and everything below it to end, and kills what does not.
async fn end(running: &Running, launcher: &mut Launcher, grace: Duration) -> Option<(ProcessEnd, Leftovers)> {
    // The group first: its members get the signal at once, as from a terminal.
    let _ = killpg(Pid::from_raw(running.group), Signal::SIGTERM);
    let mut others = tree::below(launcher.pid);
    let in_group = |one: &Found| group_of(one.pid) == Some(running.group);
    others.retain(|one| !in_group(one));
    tree::signal(&others, Signal::SIGTERM);
    if let Ok(ended) = timeout(grace, await_end(launcher)).await {
        return ended;
    }
    let until = Instant::now() + KILLED_WAIT;
    while Instant::now() < until {
        tree::signal(&tree::below(launcher.pid), Signal::SIGKILL);
        if let Ok(ended) = timeout(LOOK, await_end(launcher)).await {
            return ended;
        }
    }
    kill_cgroup(launcher).await;
    // Only the kernel is between KILL and the end now.
    await_end(launcher).await
}

fn group_of(process: i32) -> Option<i32> {
    nix::unistd::getpgid(Some(Pid::from_raw(process))).ok().map(Pid::as_raw)
}

/// What is left of an attempt in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// What even KILL has not ended.
    Something,
    /// The launcher is gone, and what was below it is anywhere.
    Unknown,
}

/// Ends what a process that is gone has left.
async fn end_leftovers(launcher: &mut Launcher, log: &Log) -> Left {
    let mut named = BTreeSet::new();
    let mut all = Vec::new();
    for (with, wait) in [(Signal::SIGTERM, LEFTOVERS_GRACE), (Signal::SIGKILL, KILLED_WAIT)] {
        let until = Instant::now() + wait;
        let mut asked = BTreeSet::new();
        while Instant::now() < until {
            let mut found = tree::below(launcher.pid);
            all.extend(found.iter().filter(|one| named.insert(one.pid)).cloned());
            // One that was asked is not asked again, but killed again: it may have been made into somebody else's meanwhile.
            found.retain(|one| asked.insert(one.pid) || with == Signal::SIGKILL);
            tree::signal(&found, with);
            match timeout(LOOK, launcher.reply()).await {
                Err(_) => {}
                Ok(Ok(Some(Reply::Empty))) => {
                    tell_leftovers(&all, log);
                    return Left::Nothing;
                }
                Ok(_) => {
                    tell_leftovers(&all, log);
                    return Left::Unknown;
                }
            }
        }
    }
    tell_leftovers(&all, log);
    kill_cgroup(launcher).await;
    let left = tree::below(launcher.pid);
    if !left.is_empty() {
        let left = tree::named(&left);
        tracing::warn!(left, "processes are still there after KILL");
        log.system(&format!("Still there after KILL: {left}"));
    }
    Left::Something
}

fn tell_leftovers(found: &[Found], log: &Log) {
    // What ended by itself in this moment was nobody's trouble.
    if !found.is_empty() {
        log.system(&format!("Ended what was left running: {}", tree::named(found)));
    }
}

/// Kills the launcher with everything below it at once, where the system can do that.
async fn kill_cgroup(launcher: &mut Launcher) {
    if let Some(cgroup) = &launcher.cgroup
        && cgroup.kill().is_ok()
    {
        // It is killed already: only the kernel can be slow.
        let _ = timeout(KILLED_WAIT, launcher.gone()).await;
    }
}

/// A launcher was killed by somebody.
async fn abandoned(running: &Running, mut launcher: Launcher, log: &Log) -> io::Error {
    let status = timeout(KILLED_WAIT, launcher.gone()).await.ok().flatten();
    let how = status.map_or_else(|| "went away".to_owned(), |status| format!("ended ({status})"));
    kill_found(running, &launcher, log).await;
    io::Error::other(format!("its launcher {} {how}, so that nobody knows how it ended", launcher.pid))
}

/// Kills what was below a launcher that is gone, and waits until it is dead: it is found by its group and by the variable that
/// it carries.
async fn kill_found(running: &Running, launcher: &Launcher, log: &Log) {
    let mut all: Vec<Found> = Vec::new();
    let until = Instant::now() + KILLED_WAIT;
    loop {
        // Before the kill: who is dying has no variables any more.
        let mut found = running.mark.as_ref().map_or_else(Vec::new, |mark| tree::carriers(&[mark]));
        found.extend(tree::of_group(running.group));
        if let Some(cgroup) = &launcher.cgroup {
            let _ = cgroup.kill();
        }
        let _ = killpg(Pid::from_raw(running.group), Signal::SIGKILL);
        tree::signal(&found, Signal::SIGKILL);
        let is_over = found.is_empty() && !tree::still_there(&all);
        all.extend(found.into_iter().filter(|one| !all.contains(one)).collect::<Vec<_>>());
        if is_over || Instant::now() >= until {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    tell_leftovers(&all, log);
}
