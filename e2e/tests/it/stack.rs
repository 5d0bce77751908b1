//! The real components that `e2e/stack` has started, as the tests use them.
//!
//! There is one where `WINDLASS_E2E_TRINO_URL` names its Trino and the environment has what `e2e/stack env` prints. Its lake is
//! emptied, so it must be one for tests.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Output},
};

use tokio::sync::{Mutex, MutexGuard};
use windlass_e2e::{StandaloneBuilder, project, trino};

/// There is one stack, and one lake in it: one test at a time has them.
static STACK: Mutex<()> = Mutex::const_new(());

/// What the stack's settings are called.
const SETTINGS: &[&str] = &[
    "DATABASE_URL",
    "WINDLASS_LAKE_DATABASE_URL",
    "WINDLASS_LAKE_WAREHOUSE",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
];

/// The stack of a test.
pub struct Stack {
    pub trino: String,
    settings: BTreeMap<&'static str, String>,
    _alone: MutexGuard<'static, ()>,
}

impl Stack {
    /// The one that the environment describes, once no other test has it; none, and a line that says so, when it describes none.
    pub async fn of_environment() -> Option<Self> {
        let Some(trino) = std::env::var("WINDLASS_E2E_TRINO_URL").ok().filter(|url| !url.is_empty()) else {
            println!("skipped: WINDLASS_E2E_TRINO_URL names no Trino");
            return None;
        };
        let setting = |name: &&'static str| {
            let value = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see `e2e/stack env`"));
            (*name, value)
        };
        let settings = SETTINGS.iter().map(setting).collect();
        Some(Self { trino, settings, _alone: STACK.lock().await })
    }

    /// State and lake as on the first day. The object store keeps what nobody refers to any more.
    pub fn empty(&self) {
        let state = &self.settings["DATABASE_URL"];
        let (server, database) = state.rsplit_once('/').unwrap();
        let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        let create = format!("CREATE DATABASE {database}");
        psql(&format!("{server}/postgres"), &["-c", &drop, "-c", &create]);
        // Trino keeps its connections to the catalogue, and would fail once on each that a dropped database had cut.
        let catalogue = project().join("configs/iceberg-catalog.sql");
        let anew = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
        psql(
            &self.settings["WINDLASS_LAKE_DATABASE_URL"],
            &["-c", "SET client_min_messages = warning", "-c", anew, "-f", catalogue.to_str().unwrap()],
        );
    }

    /// A standalone that replays the shipped trades into this stack.
    pub fn builder(&self) -> StandaloneBuilder {
        let file = project().join("dags/data/stocks/trades.csv.gz");
        let builder = StandaloneBuilder::new()
            .env("STOCK_SOURCE", format!("replay:{}", file.display()))
            .env("STOCK_REPLAY_SPEED", "0");
        self.settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
    }

    /// How many statements that begin so Windlass has started.
    pub async fn started(&self, beginning: &str) -> u64 {
        let count = format!(
            "SELECT count(*) FROM system.runtime.queries WHERE source = 'windlass' AND query LIKE '{beginning}%'"
        );
        self.trino(&count).await[0][0].as_u64().unwrap()
    }

    /// A statement's rows.
    pub async fn trino(&self, sql: &str) -> Vec<serde_json::Value> {
        self.try_trino(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A statement's rows, or why Trino refuses it.
    pub async fn try_trino(&self, sql: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let (user, server) = self.trino.trim_start_matches("trino://").split_once('@').unwrap();
        trino::rows(server.split('/').next().unwrap(), user, sql).await
    }

    /// A program of this build or another, with the stack's settings.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(&self.settings);
        command
    }

    /// Kills a component at whatever it is doing.
    pub fn kill(&self, component: &str) {
        let pid = std::fs::read_to_string(folder().join("data").join(component).join("pid")).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// Starts a component that was killed, and waits until it answers.
    pub fn start(&self, component: &str) {
        let output = stack(&["up", component]);
        assert!(output.status.success(), "{component}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Where the stack keeps its data.
fn folder() -> PathBuf {
    std::env::var_os("STACK_DIR").map_or_else(|| project().join(".stack"), PathBuf::from)
}

fn psql(database: &str, commands: &[&str]) {
    let output =
        Command::new("psql").args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", database]).args(commands).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn stack(arguments: &[&str]) -> Output {
    Command::new(project().join("e2e/stack")).args(arguments).output().unwrap()
}
