//! A process by its id and start time: ids are used again, the pair is not.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The pause before a child that ended is started again.
pub const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How long a worker may take to end what it runs once it may not wait any more: 45 s for its attempts and services, 5 s for
/// its last reports, 10 s for its guard.
const LAST_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a process that is not our child still lives.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its id.
    pub pid: i32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

impl ProcessId {
    /// The living process with this id.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self { pid, started: start_of(pid)? })
    }

    /// Whether it lives.
    #[must_use]
    pub fn lives(self) -> bool {
        start_of(self.pid) == Some(self.started)
    }

    /// Sends it a signal, if it lives.
    pub fn signal(self, signal: Signal) {
        if self.lives() {
            // It may have ended since.
            let _gone_already = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until it is gone.
    pub async fn gone(self) {
        while self.lives() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends a worker: TERM, by which it leaves; TERM again after `patience` or in a `hurry`, by which it hands back what it
    /// runs; and KILL when even that takes too long.
    pub async fn end(self, patience: Duration, hurry: &CancellationToken) {
        self.signal(Signal::SIGTERM);
        tokio::select! {
            () = self.gone() => return,
            () = tokio::time::sleep(patience) => {}
            () = hurry.cancelled() => {}
        }
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(LAST_PATIENCE, self.gone()).await.is_err() {
            self.signal(Signal::SIGKILL);
            self.gone().await;
        }
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)); a zombie does not count as living.
fn start_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    match fields.first() {
        Some(&"Z" | &"X") | None => None,
        Some(_) => fields.get(19)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_older_one_of_its_id_does_not() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.lives());
        assert!(!ProcessId { started: me.started - 1, ..me }.lives());
    }
}
