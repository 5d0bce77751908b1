//! Processes as /proc shows them: told apart by the WINDLASS_HOME in their environment, so that a test touches its own only.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A living process of a Windlass home.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its arguments, joined by blanks.
    pub command: String,
}

/// Every process whose environment or arguments name this home.
#[must_use]
pub fn of_home(home: &Path) -> Vec<Process> {
    let home = home.to_string_lossy();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != std::process::id().cast_signed())
        .filter_map(|pid| {
            let read = |name: &str| {
                fs::read(format!("/proc/{pid}/{name}")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            };
            let command = read("cmdline").ok()?.replace('\0', " ");
            let environment = read("environ").unwrap_or_default();
            let living = !command.is_empty() && !is_zombie(pid);
            (living && (environment.contains(home.as_ref()) || command.contains(home.as_ref())))
                .then(|| Process { pid, command: command.trim().to_owned() })
        })
        .collect()
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Sends SIGKILL to a process of the test.
pub fn kill_now(process: &Process) {
    let _gone_already = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
}
