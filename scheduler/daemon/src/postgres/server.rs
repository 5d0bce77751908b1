//! The server's process: found alive and adopted, or started; watched until it answers; stopped in order.
//!
//! What it writes to `postmaster.pid` is believed only when the process that it names is alive and works in the
//! cluster's folder: after a crash the number may belong to anybody.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::{
    binaries::Binaries,
    cluster::write_private,
    databases::{self, Urls},
    error::{PostgresError, at},
    layout::Layout,
    owner::Owner,
};

/// Recovery after a crash replays at most a checkpoint's distance; this is far more than that takes.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Another process may take the free port first; what else makes a start fail is seldom gone by the next.
const START_TRIES_MAX: u32 = 4;
/// The pause between two looks at whether it answers or has gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A server writes its file within milliseconds, and the children of a killed one end within seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// How long an orderly stop may take before the server is told to stop at once; it recovers at the next start.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// A log that is larger is begun anew at a start.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// How much of the log an error shows.
const LOG_TAIL_BYTES: u64 = 2_000;

/// Durable, and listening to nobody but this machine. The port and the socket's folder are added.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_permissions=0700",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=100",
    "logging_collector=off",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    pid: Pid,
    started_at: i64,
    port: u16,
    /// None when it was adopted.
    child: Option<Child>,
}

/// The run file: for people, and for the next start, which takes the same port when it can.
#[derive(Debug, Serialize, Deserialize)]
struct RunFile {
    pid: i32,
    started_at: i64,
    port: u16,
}

/// The lines of `postmaster.pid` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Postmaster {
    pid: Pid,
    started_at: i64,
    port: u16,
}

impl Server {
    /// Adopts the cluster's server when it lives, and starts one otherwise.
    pub(super) async fn start(layout: &Layout, binaries: &Binaries, owner: &Owner) -> Result<Self, PostgresError> {
        if let Some(found) = settled(&layout.data).await {
            tracing::info!(pid = found.pid.as_raw(), port = found.port, "the private PostgreSQL still runs: adopted");
            return Ok(Self { pid: found.pid, started_at: found.started_at, port: found.port, child: None });
        }
        remove_stale_files(layout)?;
        let mut last = String::new();
        for _ in 0..START_TRIES_MAX {
            let port = free_port(layout)?;
            let mut child = spawn(layout, binaries, owner, port)?;
            match wait_for_pid_file(layout, &mut child).await? {
                Ok(found) => {
                    return Ok(Self { pid: found.pid, started_at: found.started_at, port, child: Some(child) });
                }
                Err(reason) => last = reason,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(not_ready(layout, last))
    }

    #[cfg(test)]
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether its process is there.
    pub(super) fn is_alive(&mut self) -> bool {
        // A child that has ended stays a zombie until it is waited for.
        let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        !ended && is_alive(self.pid)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it accepts connections, recovery after a crash included.
    pub(super) async fn wait_until_ready(&self, urls: &Urls, layout: &Layout) -> Result<(), PostgresError> {
        let begun = Instant::now();
        loop {
            let why_not = match databases::reach(urls).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if !is_alive(self.pid) {
                return Err(not_ready(layout, "it has ended".to_owned()));
            }
            if begun.elapsed() >= READY_WITHIN || is_refusal(&why_not) {
                return Err(not_ready(layout, format!("it does not let us in: {why_not}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn write_run_file(&self, layout: &Layout) -> Result<(), PostgresError> {
        let content = RunFile { pid: self.pid.as_raw(), started_at: self.started_at, port: self.port };
        let content = serde_json::to_vec(&content).expect("three numbers are JSON");
        write_private(&layout.run_file, &content)
    }

    /// Ends its connections and lets it write everything; when that takes too long it is stopped at once.
    pub(super) async fn stop(mut self) {
        for (signal, patience) in [(Signal::SIGINT, STOP_WITHIN), (Signal::SIGQUIT, STOP_WITHIN)] {
            if let Err(error) = kill(self.pid, signal) {
                tracing::debug!(%error, "the private PostgreSQL has gone already");
            }
            let begun = Instant::now();
            while begun.elapsed() < patience {
                if self.has_gone() {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            tracing::warn!(pid = self.pid.as_raw(), "the private PostgreSQL takes long to stop");
        }
    }

    /// A child that has ended stays in the table of processes until somebody asks for its status.
    fn has_gone(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !is_alive(self.pid),
        }
    }
}

/// The port of a living server.
pub(super) fn running_port(layout: &Layout) -> Option<u16> {
    living(&layout.data).map(|found| found.port)
}

fn spawn(layout: &Layout, binaries: &Binaries, owner: &Owner, port: u16) -> Result<Child, PostgresError> {
    let program = binaries.program("postgres");
    let log = open_log(layout)?;
    let error_log = log.try_clone().map_err(at(&layout.log))?;
    let mut command = Command::new(&program);
    command.arg("-D").arg(&layout.data).arg("-p").arg(port.to_string()).arg("-k").arg(&layout.sockets);
    for setting in SETTINGS {
        command.arg("-c").arg(setting);
    }
    // A group of its own: what the terminal sends to us is not meant for it.
    command.current_dir("/").stdin(Stdio::null()).stdout(log).stderr(error_log).process_group(0).kill_on_drop(false);
    owner.run_as(&mut command);
    command.spawn().map_err(at(&program))
}

fn open_log(layout: &Layout) -> Result<File, PostgresError> {
    let is_large = fs::metadata(&layout.log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX);
    if is_large {
        fs::rename(&layout.log, layout.log.with_extension("log.1")).map_err(at(&layout.log))?;
    }
    File::options().create(true).append(true).open(&layout.log).map_err(at(&layout.log))
}

/// The process that it wrote down, or why it ended instead.
async fn wait_for_pid_file(layout: &Layout, child: &mut Child) -> Result<Result<Postmaster, String>, PostgresError> {
    loop {
        if let Some(status) = child.try_wait().map_err(at(&layout.data))? {
            return Ok(Err(format!("it ended at once ({status})")));
        }
        let ours = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(found) = living(&layout.data).filter(|found| Some(found.pid.as_raw()) == ours) {
            return Ok(Ok(found));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The port of the last time when nobody has taken it since, for workers that remember it; else any free one.
fn free_port(layout: &Layout) -> Result<u16, PostgresError> {
    let before = fs::read(&layout.run_file).ok().and_then(|text| serde_json::from_slice::<RunFile>(&text).ok());
    let same = before.and_then(|before| TcpListener::bind(("127.0.0.1", before.port)).ok());
    let listener = same.map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok);
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(at(Path::new("127.0.0.1")))
}

/// The cluster's server, if it lives, once nothing is on its way: a server that was just started has not written its file
/// yet, and the children of one that was just killed still end. Starting another one beside them would be wrong.
async fn settled(data: &Path) -> Option<Postmaster> {
    let begun = Instant::now();
    loop {
        let found = living(data);
        if found.is_some() || begun.elapsed() >= SETTLED_WITHIN || !has_processes(data) {
            return found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether any process works in the cluster's folder, as all of a server's do.
fn has_processes(data: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|folder| folder == data))
}

/// The cluster's server, if it lives.
fn living(data: &Path) -> Option<Postmaster> {
    let found = parse_pid_file(&fs::read_to_string(data.join("postmaster.pid")).ok()?)?;
    let works_in = fs::read_link(format!("/proc/{}/cwd", found.pid)).ok()?;
    (works_in == data && is_alive(found.pid)).then_some(found)
}

/// Process, folder, start and port are the first four lines.
fn parse_pid_file(text: &str) -> Option<Postmaster> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pid = lines.first()?.parse().ok().filter(|pid| *pid > 1)?;
    Some(Postmaster {
        pid: Pid::from_raw(pid),
        started_at: lines.get(2)?.parse().ok()?,
        port: lines.get(3)?.parse().ok()?,
    })
}

/// PostgreSQL itself would believe a number that a process of another kind has got since, or that of a zombie. The
/// folder of the sockets is the cluster's own, so whatever a dead server left there belongs to nobody.
fn remove_stale_files(layout: &Layout) -> Result<(), PostgresError> {
    remove(&layout.data.join("postmaster.pid"))?;
    let left = fs::read_dir(&layout.sockets).map_err(at(&layout.sockets))?;
    let of_a_socket = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".s.PGSQL.");
    left.flatten().filter(of_a_socket).try_for_each(|entry| remove(&entry.path()))
}

fn remove(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A process that has ended and whose status nobody has asked for does not live.
fn is_alive(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name before the state may hold anything, a parenthesis too.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A wrong password will not become right by waiting.
fn is_refusal(error: &sqlx::Error) -> bool {
    const WRONG_PASSWORD: &str = "28P01";
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(WRONG_PASSWORD))
}

fn not_ready(layout: &Layout, reason: String) -> PostgresError {
    let tail = tail(&layout.log).unwrap_or_else(|error| error.to_string());
    PostgresError::NotReady { reason, log: layout.log.clone(), tail }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_that_is_not_whole_names_nobody() {
        let whole = "4711\n/srv/w/postgres/data\n1795255200\n40123\n/srv/w/postgres/run\n127.0.0.1\n";
        let found = Postmaster { pid: Pid::from_raw(4711), started_at: 1_795_255_200, port: 40123 };
        assert_eq!(parse_pid_file(whole), Some(found));
        for cut in ["", "4711\n", "4711\n/srv\n1795255200\n", "0\n/srv\n1\n2\n", "-4\n/srv\n1\n2\n"] {
            assert_eq!(parse_pid_file(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn a_pid_of_somebody_else_is_not_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().canonicalize().unwrap();
        let text = format!("{}\n{}\n1795255200\n40123\n", std::process::id(), data.display());
        fs::write(data.join("postmaster.pid"), text).unwrap();
        assert_eq!(living(&data), None);
    }
}
