//! The worker of a standalone: a process of its own that outlives a leader's kill -9, and is adopted by the next leader.
//!
//! It is adopted only when it runs this very program with this very environment; otherwise it is ended and started anew,
//! because services take their settings from its environment. Which worker has the home's logs is written down by that
//! worker itself once it has their lock, so that a standalone that is killed in the moment of starting one loses none.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path,
    process::{Command as StdCommand, Stdio},
    time::Duration,
};

use anyhow::Context;
use daemon::{home::Home, postgres::Urls, worker::RunFile};
use metrics::Listen;
use replay::StockSource;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::process::{ProcessId, RESTART_AFTER};
use crate::settings::{LogFormat, Settings, text};

/// The file in the run folder that says which worker runs.
const RUN_FILE: &str = "worker.json";
/// The program that runs, also when its file was replaced or removed since.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// A worker of other settings is not waited for: what it runs is handed back, and the next one takes it.
const REPLACE_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether another worker has the home.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Variables that change from terminal to terminal, from login to login or from start to start, and mean nothing to a task.
const PASSING: &[&str] = &[
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "TERM",
    "COLUMNS",
    "LINES",
    "COLORTERM",
    "LS_COLORS",
    "WINDOWID",
    "GPG_TTY",
    "STY",
    "DISPLAY",
    "WINDLASS_LOG",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MANAGERPID",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
];
/// The same, by how they begin.
const PASSING_BEGIN: &[&str] = &["SSH_", "XDG_SESSION_", "TMUX", "TERM_", "VSCODE_", "BASH_FUNC_"];
/// Variables that are none of a worker's business: it has no access to the state, this one needs no token, and the logins of
/// whoever started the standalone are theirs.
const WITHHELD: &[&str] = &[
    "DATABASE_URL",
    "WINDLASS_SECRET_KEY",
    "WINDLASS_SECRET_KEY_FILE",
    "WINDLASS_JOIN_TOKEN",
    "WINDLASS_JOIN_TOKEN_FILE",
    "WINDLASS_SERVER_URL",
    "WINDLASS_TOKEN",
    "WINDLASS_TOKEN_FILE",
    "WINDLASS_AIRFLOW_PASSWORD",
    "WINDLASS_AIRFLOW_TOKEN",
];
/// The same, by how they begin: secrets are looked up by the leader, and people log in at the web server.
const WITHHELD_BEGIN: [&str; 2] = ["WINDLASS_SECRETS_", "WINDLASS_OIDC_"];

/// What is run, and what tells it from a worker of other settings.
pub struct Plan {
    home: Home,
    environment: BTreeMap<OsString, OsString>,
    fingerprint: String,
    /// How long it may take to leave when it is asked to.
    drain_max: Duration,
}

/// A worker that runs, as it has written down.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    process: ProcessId,
    fingerprint: String,
}

/// How a worker is ended together with its standalone.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// It is asked to leave.
    pub stop: CancellationToken,
    /// It is asked to hurry.
    pub hurry: CancellationToken,
}

/// What a local worker writes down of itself.
///
/// # Errors
/// When the system does not tell about this process.
pub fn run_file(home: &Home, fingerprint: String) -> anyhow::Result<RunFile> {
    let process = ProcessId::of(std::process::id()).context("this process is not to be found in /proc")?;
    let content = serde_json::to_value(Running { process, fingerprint })?;
    Ok(RunFile { path: home.run().join(RUN_FILE), content })
}

impl Plan {
    /// The worker of these settings.
    ///
    /// # Errors
    /// When this program's folder can not be told.
    pub fn new(settings: &Settings, home: &Home, urls: &Urls) -> anyhow::Result<Self> {
        let mut environment: BTreeMap<OsString, OsString> = env::vars_os().collect();
        environment.retain(|name, _| !name.to_str().is_some_and(|name| is_passing(name) || is_withheld(name)));
        let mut set = |name: &str, value: String| environment.insert(name.into(), value.into());
        set("WINDLASS_HOME", home.root().display().to_string());
        set("WINDLASS_LAKE_DATABASE_URL", urls.lake.clone());
        set("WINDLASS_LAKE_WAREHOUSE", settings.warehouse.clone());
        set("SCHEMA_REGISTRY_URL", settings.registry());
        if settings.log_format == LogFormat::Json || text("WINDLASS_LOG_FORMAT").is_some() {
            set("WINDLASS_LOG_FORMAT", settings.log_format.name().to_owned());
        }
        if settings.fleet.metrics_listen == Some(Listen::Off) {
            set("WINDLASS_METRICS_LISTEN", "off".to_owned());
        }
        // Services run in folders of their own: a relative file is meant from where Windlass was started.
        if let StockSource::Replay(file) = StockSource::parse(&text("STOCK_SOURCE").unwrap_or_default())? {
            let source = StockSource::Replay(path::absolute(file)?);
            set("STOCK_SOURCE", source.to_string());
        }
        let fingerprint = fingerprint(&environment, settings)?;
        let drain_max = settings.fleet.worker_drain.unwrap_or(Duration::ZERO);
        Ok(Self { home: home.clone(), environment, fingerprint, drain_max })
    }

    /// The living worker of the home, whoever started it.
    fn living(&self) -> Option<Running> {
        let running: Running = serde_json::from_value(self.home.read_run_file(RUN_FILE)?).ok()?;
        running.process.lives().then_some(running)
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = fs::File::options().create(true).append(true).open(super::worker_log::path(&self.home))?;
        let mut command = StdCommand::new(THIS_PROGRAM);
        command
            .arg0("windlass")
            .args(["worker", "--local", "--fingerprint", &self.fingerprint])
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        Command::from(command).spawn().context("the worker can not be started")
    }

    /// Waits until another process than this child has the home: one that an earlier standalone started, and that had
    /// not written itself down yet when this one looked.
    async fn other_than(&self, child: Option<ProcessId>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.living().is_some_and(|running| Some(running.process) != child) {
                return;
            }
        }
    }

    async fn watch(&self, mut child: Child, ending: &Ending) {
        let process = child.id().and_then(ProcessId::of);
        tokio::select! {
            ended = child.wait() => match ended {
                Ok(status) => tracing::warn!(%status, "the worker has ended; starting a new one"),
                Err(error) => tracing::error!(%error, "the worker can not be watched"),
            },
            () = self.other_than(process) => {
                tracing::info!("the worker of an earlier standalone lives; the new one is not needed");
                if let Err(error) = child.kill().await {
                    tracing::debug!(%error, "the new worker had ended");
                }
            }
            () = ending.stop.cancelled() => {
                if let Some(process) = process {
                    process.end(self.drain_max, &ending.hurry).await;
                }
            }
        }
    }

    async fn adopt(&self, running: Running, ending: &Ending) {
        let process = running.process;
        if running.fingerprint != self.fingerprint {
            tracing::info!(pid = process.pid, "the worker of an earlier standalone has other settings and is replaced");
            return process.end(REPLACE_PATIENCE, &ending.hurry).await;
        }
        tracing::info!(pid = process.pid, "the worker of an earlier standalone lives and is adopted");
        tokio::select! {
            () = process.gone() => tracing::warn!("the adopted worker has ended; starting a new one"),
            () = ending.stop.cancelled() => process.end(self.drain_max, &ending.hurry).await,
        }
    }
}

fn is_passing(name: &str) -> bool {
    PASSING.contains(&name) || PASSING_BEGIN.iter().any(|begin| name.starts_with(begin))
}

fn is_withheld(name: &str) -> bool {
    WITHHELD.contains(&name) || WITHHELD_BEGIN.iter().any(|begin| name.starts_with(begin))
}

/// The program that runs and the environment in one word, without showing any value. The program's file may have been
/// replaced since it was started: what runs counts, not what lies there now.
fn fingerprint(environment: &BTreeMap<OsString, OsString>, settings: &Settings) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    for text in environment.iter().flat_map(|(name, value)| [name, value]) {
        digest.update(format!("{}:", text.len()));
        digest.update(text.as_encoded_bytes());
    }
    let program = fs::metadata(THIS_PROGRAM).context("the program that runs can not be looked at")?;
    digest.update(format!("{:?} {} {}", settings.program_dir()?, program.dev(), program.ino()));
    digest.update(format!("{:?} {}", program.modified().ok(), program.len()));
    Ok(hex::encode(digest.finalize()))
}

/// Keeps a worker running until asked to stop.
pub async fn keep(plan: Plan, ending: Ending) {
    while !ending.stop.is_cancelled() {
        if let Some(running) = plan.living() {
            plan.adopt(running, &ending).await;
            continue;
        }
        match plan.spawn() {
            Ok(child) => plan.watch(child, &ending).await,
            Err(error) => tracing::error!("{error:#}"),
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART_AFTER) => {}
            () = ending.stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_login_to_login_makes_no_other_worker() {
        for name in ["INVOCATION_ID", "SSH_CONNECTION", "TMUX_PANE", "XDG_SESSION_ID", "WINDLASS_LOG"] {
            assert!(is_passing(name), "{name}");
        }
        for name in ["PATH", "HOME", "STOCK_SOURCE", "WINDLASS_WORKER_SLOTS", "AWS_REGION", "TZ"] {
            assert!(!is_passing(name), "{name}");
        }
    }
}
