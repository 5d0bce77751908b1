//! What a worker is told when it starts.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, time::Duration};

use executor::{LakeSettings, docker::DockerPolicy, log::remote::RemoteLogs, process::Limits};
use model::Capability;

/// The queue that every worker serves unless it is told otherwise.
const DEFAULT_QUEUE: &str = "default";
/// Attempts at once, unless it is told otherwise: most of them wait for other machines.
const SLOTS_DEFAULT: u32 = 16;
/// How long processes may take to end after TERM before they are killed, unless it is told otherwise.
const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// How long attempts may go on when their worker is asked to end, unless it is told otherwise: what Airflow's own chart
/// gives its workers.
pub const DRAIN_MAX_DEFAULT: Duration = Duration::from_secs(600);

/// How often a log that grows is shipped: what a lost machine loses of it.
const SHIP_LOGS_EVERY_DEFAULT: Duration = Duration::from_secs(10);

/// A file that says which process has the worker's directory.
#[derive(Debug, Clone)]
pub struct RunFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub content: serde_json::Value,
}

impl RunFile {
    pub(super) fn write(&self) -> std::io::Result<()> {
        super::spool::write_whole(&self.path, &self.content)
    }
}

/// A worker's settings.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// A name for people.
    pub name: String,
    /// Logs, identity and unsent reports. It belongs to one worker at a time.
    pub log_dir: PathBuf,
    /// Working directories of attempts are made below it.
    pub temp_dir: PathBuf,
    /// Windlass's own directory, first in the PATH of tasks: `windlass` and `windlass-tasks` are there.
    pub program_dir: PathBuf,
    /// Attempts that run at once; services and waits do not count.
    pub slots: u32,
    /// The queues that it serves.
    pub queues: BTreeSet<String>,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// The embedded lake, when it can reach one.
    pub lake: Option<LakeSettings>,
    /// What starts a guard: a program and its first arguments. This program with `guard`, unless it is told otherwise.
    pub guard_command: Vec<OsString>,
    /// What starts a launcher: a program and its arguments. This program with `launcher`, unless it is told otherwise.
    pub launcher_command: Vec<OsString>,
    /// What each attempt and each service may use at most.
    pub limits: Limits,
    /// Where logs are shipped to, when they are.
    pub logs_remote: Option<RemoteLogs>,
    /// How often a log that grows is shipped.
    pub ship_logs_every: Duration,
    /// How long logs are kept after the last write to them; for ever when it is not told.
    pub keep_logs: Option<Duration>,
    /// How long attempts go on without a word from the leader.
    pub silence_max: Duration,
    /// How long processes may take to end after TERM before they are killed.
    pub kill_grace: Duration,
    /// What containers may do with its machine.
    pub docker: DockerPolicy,
    /// How long attempts may go on when the worker is asked to end; then they are handed back.
    pub drain_max: Duration,
    /// What is written down as soon as its directory is its own, for whoever started it to find it again.
    pub run_file: Option<RunFile>,
    /// Where it counts what it does.
    pub metrics: super::WorkerMetrics,
}

impl WorkerSettings {
    /// Settings for a worker that can run processes, with defaults for everything else.
    #[must_use]
    pub fn new(log_dir: impl Into<PathBuf>, temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: format!("{}:{}", host_name(), std::process::id()),
            log_dir: log_dir.into(),
            temp_dir: temp_dir.into(),
            program_dir: program_dir(),
            slots: SLOTS_DEFAULT,
            queues: BTreeSet::from([DEFAULT_QUEUE.to_owned()]),
            capabilities: BTreeSet::from([Capability::Light, Capability::Process]),
            lake: None,
            logs_remote: None,
            ship_logs_every: SHIP_LOGS_EVERY_DEFAULT,
            keep_logs: None,
            // The link works even when the program's file was replaced by a newer one.
            guard_command: vec!["/proc/self/exe".into(), "guard".into()],
            launcher_command: vec!["/proc/self/exe".into(), "launcher".into()],
            limits: Limits::default(),
            silence_max: crate::guard::SILENCE_MAX,
            kill_grace: KILL_GRACE_DEFAULT,
            docker: DockerPolicy::default(),
            drain_max: DRAIN_MAX_DEFAULT,
            run_file: None,
            metrics: super::WorkerMetrics::default(),
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn program_dir() -> PathBuf {
    let program = std::env::current_exe().ok();
    program.and_then(|path| path.parent().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("/usr/local/bin"))
}
