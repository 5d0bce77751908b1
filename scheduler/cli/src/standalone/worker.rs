//! The worker of a standalone: a process of its own that outlives a leader's kill -9, and is adopted by the next leader.
//!
//! It is adopted only when it runs this very program with this very environment; otherwise it is ended and started anew,
//! because services take their settings from its environment.

use std::{
    collections::BTreeMap,
    env,
    path::{self, Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use daemon::{home::Home, postgres::Urls};
use metrics::Listen;
use replay::StockSource;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::{children::RESTART_AFTER, process::ProcessId};
use crate::settings::{Settings, text};

/// The file in the run folder that says which worker runs.
const RUN_FILE: &str = "worker.json";
/// A worker stops its services within their stop_timeout of 10 s, and reports for 5 s more.
const STOP_PATIENCE: Duration = Duration::from_secs(25);
/// Variables that change from terminal to terminal and mean nothing to a task.
const PASSING: &[&str] = &["PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLUMNS", "LINES", "WINDLASS_LOG"];
/// Variables that are none of a worker's business: it has no access to the state, and this one needs no token.
const WITHHELD: &[&str] = &[
    "DATABASE_URL",
    "WINDLASS_SECRET_KEY",
    "WINDLASS_SECRET_KEY_FILE",
    "WINDLASS_JOIN_TOKEN",
    "WINDLASS_JOIN_TOKEN_FILE",
];

/// Where a worker finds the leader of the moment.
#[must_use]
pub fn endpoint_file(home: &Home) -> PathBuf {
    home.run().join("leader.endpoint")
}

/// What is run, and what tells it from a worker of other settings.
pub struct Plan {
    home: Home,
    environment: BTreeMap<String, String>,
    fingerprint: String,
}

/// A worker that runs, as written down.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    process: ProcessId,
    fingerprint: String,
}

impl Plan {
    /// The worker of these settings.
    ///
    /// # Errors
    /// When this program's folder can not be told.
    pub fn new(settings: &Settings, home: &Home, urls: &Urls) -> anyhow::Result<Self> {
        let mut environment: BTreeMap<String, String> = env::vars().collect();
        environment.retain(|name, _| !PASSING.contains(&name.as_str()) && !WITHHELD.contains(&name.as_str()));
        environment.insert("WINDLASS_HOME".to_owned(), home.root().display().to_string());
        environment.insert("WINDLASS_LAKE_DATABASE_URL".to_owned(), urls.lake.clone());
        environment.insert("WINDLASS_LAKE_WAREHOUSE".to_owned(), settings.warehouse.clone());
        environment.insert("SCHEMA_REGISTRY_URL".to_owned(), settings.registry());
        if settings.fleet.metrics_listen == Some(Listen::Off) {
            environment.insert("WINDLASS_METRICS_LISTEN".to_owned(), "off".to_owned());
        }
        // Services run in folders of their own: a relative file is meant from where Windlass was started.
        if let StockSource::Replay(file) = StockSource::parse(&text("STOCK_SOURCE").unwrap_or_default())? {
            let source = StockSource::Replay(path::absolute(file)?);
            environment.insert("STOCK_SOURCE".to_owned(), source.to_string());
        }
        let fingerprint = fingerprint(&environment, &settings.program_dir()?)?;
        Ok(Self { home: home.clone(), environment, fingerprint })
    }

    /// A living worker that can be taken over; one that can not is ended.
    async fn adopt(&self) -> Option<ProcessId> {
        let running: Running = serde_json::from_value(self.home.read_run_file(RUN_FILE)?).ok()?;
        if !running.process.lives() {
            return None;
        }
        if running.fingerprint == self.fingerprint {
            tracing::info!(pid = running.process.pid, "the worker of an earlier standalone lives and is adopted");
            return Some(running.process);
        }
        tracing::info!(
            pid = running.process.pid,
            "the worker of an earlier standalone has other settings and is replaced"
        );
        running.process.end(STOP_PATIENCE).await;
        None
    }

    fn spawn(&self) -> anyhow::Result<tokio::process::Child> {
        let log = std::fs::File::options().create(true).append(true).open(self.home.logs().join("worker.log"))?;
        let child = Command::new(env::current_exe()?)
            .args(["worker", "--local"])
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("the worker can not be started")?;
        if let Some(process) = child.id().and_then(ProcessId::of) {
            let running = Running { process, fingerprint: self.fingerprint.clone() };
            self.home.write_run_file(RUN_FILE, &serde_json::to_value(running)?)?;
        }
        Ok(child)
    }
}

/// The program and the environment in one word, without showing any value.
fn fingerprint(environment: &BTreeMap<String, String>, program_dir: &Path) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    for (name, value) in environment {
        digest.update(format!("{}:{name}={}:{value}\n", name.len(), value.len()));
    }
    let program = env::current_exe()?;
    let metadata = std::fs::metadata(&program).with_context(|| format!("{} is gone", program.display()))?;
    digest.update(format!("{:?} {:?} {}", program_dir, metadata.modified().ok(), metadata.len()));
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Keeps a worker running until asked to stop.
pub async fn keep(plan: Plan, stop: CancellationToken) {
    if let Some(process) = plan.adopt().await {
        tokio::select! {
            () = process.gone() => tracing::warn!("the adopted worker has ended; starting a new one"),
            () = stop.cancelled() => return process.end(STOP_PATIENCE).await,
        }
    }
    while !stop.is_cancelled() {
        match plan.spawn() {
            Ok(child) => watch(child, &stop).await,
            Err(error) => tracing::error!("{error:#}"),
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART_AFTER) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn watch(mut child: tokio::process::Child, stop: &CancellationToken) {
    let process = child.id().and_then(ProcessId::of);
    tokio::select! {
        ended = child.wait() => match ended {
            Ok(status) => tracing::warn!(%status, "the worker has ended; starting a new one"),
            Err(error) => tracing::error!(%error, "the worker can not be watched"),
        },
        () = stop.cancelled() => {
            if let Some(process) = process {
                process.end(STOP_PATIENCE).await;
            }
        }
    }
}
