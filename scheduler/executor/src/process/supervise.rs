//! Waits for a process and ends its whole group.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::time::{Instant, timeout};

use super::{GroupRegister, Running};
use crate::{Stop, StopCause};

/// How long what a finished process left in its group may take to end after TERM.
const LEFTOVERS_GRACE: Duration = Duration::from_secs(2);
/// How long to wait for a group to be empty after KILL: only the kernel, or an init that does not reap, is slower.
const KILLED_WAIT: Duration = Duration::from_secs(2);
/// How often a group is looked at: its members are not our children, so nothing tells us of their end.
const GROUP_LOOK: Duration = Duration::from_millis(10);

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

/// A process that is gone, with its group.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: ProcessEnd,
    /// Why it was ended, when it did not end by itself.
    pub stopped: Option<StopCause>,
}

/// Waits until the process ends, or ends it when asked: TERM to its group, KILL after `grace`. What it leaves in its
/// group is ended as well, and the group is forgotten.
///
/// # Errors
/// When the process can not be awaited.
pub async fn supervise(
    running: &mut Running,
    register: &GroupRegister,
    stop: &Stop,
    grace: Duration,
) -> std::io::Result<Finished> {
    let (status, stopped) = tokio::select! {
        status = running.child.wait() => (status, None),
        cause = stop.requested() => (end_child(running, grace).await, Some(cause)),
    };
    end_group(running.group).await;
    register.forget(running.group);
    Ok(Finished { end: status?.into(), stopped })
}

async fn end_child(running: &mut Running, grace: Duration) -> std::io::Result<ExitStatus> {
    signal(running.group, Signal::SIGTERM);
    match timeout(grace, running.child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            signal(running.group, Signal::SIGKILL);
            running.child.wait().await
        }
    }
}

/// Ends what is left of a group whose leader is gone.
async fn end_group(group: i32) {
    for (with, wait) in [(Signal::SIGTERM, LEFTOVERS_GRACE), (Signal::SIGKILL, KILLED_WAIT)] {
        if signal(group, with) == GroupState::Empty {
            return;
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if is_empty(group) {
                return;
            }
            tokio::time::sleep(GROUP_LOOK).await;
        }
    }
    tracing::warn!(group, "a process group is still there after KILL");
}

#[derive(PartialEq, Eq)]
enum GroupState {
    Living,
    Empty,
}

fn signal(group: i32, signal: Signal) -> GroupState {
    match killpg(Pid::from_raw(group), signal) {
        Err(Errno::ESRCH) => GroupState::Empty,
        // EPERM: a member runs as somebody else; the group lives.
        Ok(()) | Err(_) => GroupState::Living,
    }
}

fn is_empty(group: i32) -> bool {
    killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH)
}
