//! A process by its id and start time: ids are used again, the pair is not.

use std::{
    fs,
    time::{Duration, Instant},
};

use daemon::home::{Home, HomeError, HomeLock};
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

/// A process that was killed lets go of what it held when its memory is given back: of many gigabytes within this.
const ENDING_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const HELD_EVERY: Duration = Duration::from_millis(100);
/// The kernel's flag of a process that is on its way out (proc(5), field 9 of stat).
const PF_EXITING: u64 = 0x4;

/// Claims a home; a standalone that is ending and still holds it is waited for.
///
/// # Errors
/// [`HomeError::InUse`] when one that is not ending holds it, or one that is does not let go.
pub async fn claim(home: &Home) -> Result<HomeLock, HomeError> {
    let until = Instant::now() + ENDING_MAX;
    let mut ending: Option<String> = None;
    loop {
        match home.lock() {
            Err(HomeError::InUse { pid, .. }) if is_ending(&pid) && Instant::now() < until => {
                if ending.is_none() {
                    tracing::info!(
                        pid,
                        wait_secs_max = ENDING_MAX.as_secs(),
                        "waiting for a standalone that is ending"
                    );
                }
                ending = Some(pid);
            }
            // It has let go of the home, and of its ports and its PostgreSQL when it is gone.
            Ok(_) if ending.as_deref().is_some_and(is_there) && Instant::now() < until => {}
            claimed => return claimed,
        }
        tokio::time::sleep(HELD_EVERY).await;
    }
}

/// Whether a process still holds anything.
fn is_there(pid: &str) -> bool {
    pid.parse().is_ok_and(|pid| start_of(pid).is_some())
}

/// Whether the process with this id is gone, or was killed and is not gone yet.
fn is_ending(pid: &str) -> bool {
    let Ok(pid) = pid.parse::<i32>() else { return false };
    let Some(Stat { state, flags, .. }) = stat_of(pid) else { return true };
    matches!(state, 'Z' | 'X') || flags & PF_EXITING != 0 || is_killed(pid)
}

/// Whether a SIGKILL waits to be taken.
fn is_killed(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending =
        status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or_else(|| line.strip_prefix("SigPnd:")));
    let mut masks = pending.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    masks.any(|mask| mask & (1 << (Signal::SIGKILL as i32 - 1)) != 0)
}

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

/// When a process was started, in the kernel's ticks; a zombie does not count as living.
fn start_of(pid: i32) -> Option<u64> {
    stat_of(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X')).map(|stat| stat.started)
}

/// Fields 3, 9 and 22 of `/proc/<pid>/stat` (proc(5)).
struct Stat {
    state: char,
    flags: u64,
    started: u64,
}

fn stat_of(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse().ok();
    Some(Stat { state: fields.first()?.chars().next()?, flags: number(9)?, started: number(22)? })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn this_process_lives_and_an_older_one_of_its_id_does_not() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.lives());
        assert!(!ProcessId { started: me.started - 1, ..me }.lives());
    }

    #[test]
    fn a_process_that_was_killed_is_ending_until_it_is_gone_and_a_living_one_is_not() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().to_string();
        assert!(!is_ending(&pid) && is_there(&pid) && !is_ending("") && !is_ending("nobody"));
        child.kill().unwrap();
        // Killed, on its way out, or a zombie: whichever it is at this moment.
        assert!(is_ending(&pid));
        child.wait().unwrap();
        assert!(is_ending(&pid) && !is_there(&pid));
    }

    #[tokio::test]
    async fn a_home_is_waited_for_while_who_holds_it_is_ending() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let held = home.lock().unwrap();
        assert!(matches!(claim(&home).await, Err(HomeError::InUse { .. })), "this process lives");
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        fs::write(home.run().join("standalone.lock"), child.id().to_string()).unwrap();
        let letting_go = async {
            tokio::time::sleep(HELD_EVERY * 3).await;
            drop(held);
        };
        let (claimed, ()) = tokio::join!(claim(&home), letting_go);
        claimed.unwrap();
    }
}
