//! One `windlass standalone` in a home of its own.

use std::{
    fs::File,
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use crate::{ANY_PORT, eventually, metrics_url, processes, program, project};

/// How long a start may take on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// What a standalone is started with.
#[derive(Debug)]
pub struct StandaloneBuilder {
    home: TempDir,
    environment: Vec<(String, String)>,
    port: u16,
    registry_port: u16,
}

/// A running standalone; dropped, it is ended with everything that belongs to its home.
#[derive(Debug)]
pub struct Standalone {
    builder: StandaloneBuilder,
    child: Option<Child>,
}

/// Below what the system gives to whoever asks for any port (from 32768 on Linux): else a private PostgreSQL or an outgoing
/// connection may have it before the program that it is meant for.
const PORTS: Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that nobody has right now, and that no other caller in this process is given soon.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let ports = u32::from(PORTS.end - PORTS.start);
    (0..ports)
        .map(|_| std::process::id().wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % ports)
        .filter_map(|place| u16::try_from(place).ok())
        .map(|place| PORTS.start + place)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

impl Default for StandaloneBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl StandaloneBuilder {
    /// A new home, the shipped DAGs, free ports.
    #[must_use]
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("windlass-e2e-").tempdir().expect("a temporary folder");
        Self { home, environment: Vec::new(), port: free_port(), registry_port: free_port() }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Changes a variable for the next start.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Its home.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command with the environment of this home and nothing of the test's own settings.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
            .env("WINDLASS_HOME", self.home.path())
            .env("WINDLASS_DAGS_FOLDER", project().join("dags"))
            .env("WINDLASS_PORT", self.port.to_string())
            .env("WINDLASS_REGISTRY_PORT", self.registry_port.to_string())
            .env("WINDLASS_METRICS_LISTEN", ANY_PORT)
            .envs(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .current_dir(project());
        command
    }

    /// Runs `windlass` to its end.
    ///
    /// # Panics
    /// When it can not be started.
    #[must_use]
    pub fn windlass(&self, arguments: &[&str]) -> Output {
        self.command(&program("windlass")).args(arguments).output().expect("windlass starts")
    }

    /// Starts the standalone and waits until it is healthy.
    #[must_use]
    pub fn start(self) -> Standalone {
        let mut standalone = Standalone { builder: self, child: None };
        standalone.start_again();
        standalone
    }

    /// Where its log goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.home.path().join("standalone.log")
    }
}

pub(crate) fn is_setting(name: &str) -> bool {
    let prefixes = ["WINDLASS_", "STOCK_", "KAFKA_", "SCHEMA_", "APCA_", "AWS_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "DATABASE_URL"
}

impl Standalone {
    /// Starts it on the same home, after a stop or a kill.
    ///
    /// # Panics
    /// When it does not become healthy.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.builder.log()).expect("a log file");
        let mut command = self.builder.command(&program("windlass"));
        command.arg("standalone").stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(command.spawn().expect("windlass starts"));
        eventually("windlass standalone becomes healthy", START_LIMIT, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "standalone has ended: {ended:?}\n{}", self.log_tail());
            self.builder.windlass(&["health", "--quiet"]).status.success().then_some(())
        });
    }

    /// The settings, for commands and further starts.
    #[must_use]
    pub fn settings(&mut self) -> &mut StandaloneBuilder {
        &mut self.builder
    }

    /// Its home.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.builder.home()
    }

    /// The address of its UI and API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.builder.port)
    }

    /// The address of its schema registry.
    #[must_use]
    pub fn registry_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.builder.registry_port)
    }

    /// Where its worker shows its metrics.
    ///
    /// # Panics
    /// When the worker does not say.
    #[must_use]
    pub fn worker_metrics_url(&self) -> String {
        let log = self.home().join("logs/worker.log");
        eventually("the worker shows its metrics", START_LIMIT, || metrics_url(&log))
    }

    /// Runs `windlass`; its standard output when it succeeds.
    ///
    /// # Panics
    /// When it fails, with what it said.
    #[must_use]
    pub fn windlass(&self, arguments: &[&str]) -> String {
        let output = self.builder.windlass(arguments);
        assert!(
            output.status.success(),
            "windlass {arguments:?}: {}\n{}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log_tail(),
        );
        String::from_utf8(output.stdout).expect("windlass writes UTF-8")
    }

    /// Runs `windlass`, however it ends.
    #[must_use]
    pub fn try_windlass(&self, arguments: &[&str]) -> Output {
        self.builder.windlass(arguments)
    }

    /// A query's result as CSV.
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        self.windlass(&["lake", "query", sql, "--format", "csv"])
    }

    /// A query's only value.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn value(&self, sql: &str) -> String {
        self.query(sql).lines().nth(1).expect("one row").to_owned()
    }

    /// The processes that belong to it.
    #[must_use]
    pub fn processes(&self) -> Vec<processes::Process> {
        processes::of_home(self.home())
    }

    /// The processes whose command has this text.
    #[must_use]
    pub fn processes_of(&self, text: &str) -> Vec<processes::Process> {
        self.processes().into_iter().filter(|process| process.command.contains(text)).collect()
    }

    /// Kills the leader process, and only it.
    pub fn kill_leader(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Kills every process of the home at once.
    pub fn kill_all(&mut self) {
        for process in self.processes() {
            processes::kill_now(&process);
        }
        self.kill_leader();
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it lives");
        let status = eventually("standalone stops", Duration::from_secs(60), || child.try_wait().ok().flatten());
        assert!(status.success(), "standalone ended with {status}\n{}", self.log_tail());
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let text = std::fs::read_to_string(self.builder.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            let _gone_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            self.child = Some(child);
            for _ in 0..100 {
                if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
        self.kill_all();
    }
}
