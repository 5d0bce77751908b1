//! A standalone that is killed and started again while its worker lives.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::printed;

/// Long and short tasks, so that a kill falls into each moment of an attempt.
const DAG: &str = r#"
dag_id: long
schedule: null
is_paused_upon_creation: false
max_active_tasks: 4
default_args: {retries: 0}
tasks:
  - {task_id: first, operator: bash, bash_command: "sleep 12"}
  - {task_id: a1, operator: bash, bash_command: "sleep 0.4"}
  - {task_id: a2, operator: bash, bash_command: "sleep 0.4", dependencies: [a1]}
  - {task_id: a3, operator: bash, bash_command: "sleep 0.4", dependencies: [a2]}
  - {task_id: a4, operator: bash, bash_command: "sleep 0.4", dependencies: [a3]}
  - {task_id: a5, operator: bash, bash_command: "sleep 0.4", dependencies: [a4]}
  - {task_id: a6, operator: bash, bash_command: "sleep 0.4", dependencies: [a5]}
  - {task_id: last, operator: bash, bash_command: "true", dependencies: [first, a6]}
"#;
const UP_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// A home on a database of its own, with a copy of the program that can be replaced.
struct Home {
    folder: tempfile::TempDir,
    database: String,
    port: u16,
    /// What differs from start to start, when something does.
    variable: String,
    child: Option<Child>,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("wl").tempdir().unwrap();
        fs::create_dir(folder.path().join("dags")).unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("dags/long.yaml"), DAG).unwrap();
        let home = Self { folder, database: database(), port: free_port(), variable: "same".to_owned(), child: None };
        home.place_program();
        home
    }

    /// Puts a new file in place of the program, as an upgrade does.
    fn place_program(&self) {
        let (draft, program) = (self.folder.path().join("bin/new"), self.program());
        fs::copy(env!("CARGO_BIN_EXE_windlass"), &draft).unwrap();
        fs::rename(draft, program).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("bin/windlass")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("DATABASE_URL", &self.database)
            .env("WINDLASS_PORT", self.port.to_string())
            .env("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
            .env("WINDLASS_METRICS_LISTEN", "off")
            .env("CHANGES", &self.variable);
        command
    }

    fn start(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.folder.path().join("standalone.log")).unwrap();
        let child = self.command(&["standalone"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    fn run(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command(arguments).output().unwrap();
        output.status.success().then(|| printed(&output))
    }

    fn is_up(&self) {
        let since = Instant::now();
        while self.run(&["dags", "list"]).is_none_or(|list| !list.contains("long")) {
            assert!(since.elapsed() < UP_WITHIN, "{}", self.log());
        }
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn worker(&self) -> Option<i32> {
        let text = fs::read_to_string(self.folder.path().join(".windlass/run/worker.json")).ok()?;
        let running: serde_json::Value = serde_json::from_str(&text).ok()?;
        running["process"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    fn log(&self) -> String {
        let read = |path: &str| fs::read_to_string(self.folder.path().join(path)).unwrap_or_default();
        format!("standalone:\n{}\nworker:\n{}", read("standalone.log"), read(".windlass/logs/worker.log"))
    }

    fn ends_well(&self) {
        let since = Instant::now();
        loop {
            let state: Option<i16> = self.ask("SELECT state FROM dag_run");
            match state.and_then(|code| model::DagRunState::try_from(code).ok()) {
                Some(model::DagRunState::Success) => return,
                Some(model::DagRunState::Failed) => {
                    let why: Option<String> = self.ask("SELECT string_agg(reason, '; ') FROM task_failure");
                    panic!("the run failed: {why:?}\n{}", self.log());
                }
                _ => assert!(since.elapsed() < ENDS_WITHIN, "the run does not end\n{}", self.log()),
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    fn ask<T>(&self, query: &str) -> Option<T>
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        runtime().block_on(async {
            let mut connection = PgConnection::connect(&self.database).await.unwrap();
            sqlx::query_scalar::<_, Option<T>>(query).fetch_optional(&mut connection).await.unwrap().flatten()
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id()).unwrap();
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn database() -> String {
    let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL");
    let unique = format!("{:x}{:x}", std::process::id(), std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    runtime().block_on(async {
        let mut connection = PgConnection::connect(&server).await.unwrap();
        connection.execute(format!("CREATE DATABASE restarts_{unique}").as_str()).await.unwrap();
    });
    let (address, _) = server.rsplit_once('/').unwrap();
    format!("{address}/restarts_{unique}")
}

fn until(what: &str, home: &Home, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < UP_WITHIN, "never: {what}\n{}", home.log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Kills and starts it again so often, each time a while later; `between` changes what it is started with.
fn restart_under_way(home: &mut Home, mut between: impl FnMut(&mut Home, u64)) {
    home.start();
    home.is_up();
    // What was assigned within five seconds of a worker's start may have been assigned to the process before, and is tried again.
    std::thread::park_timeout(Duration::from_secs(6));
    home.run(&["dags", "trigger", "long"]).expect("the run is triggered");
    for round in 0..6_u64 {
        // Where in the work the kill falls is the point of the test.
        let moment = (u64::from(std::process::id()) * 37 + round * 613) % 1_700;
        std::thread::park_timeout(Duration::from_millis(moment));
        home.kill();
        between(home, round);
        home.start();
    }
    home.ends_well();
}

const FAILURES: &str =
    "SELECT max(n) FROM (SELECT count(*) AS n FROM task_failure GROUP BY run_id, task_idx, map_index) f";

#[test]
fn a_standalone_that_is_killed_again_and_again_loses_no_attempt_of_a_worker_that_lives() {
    let mut home = Home::new();
    restart_under_way(&mut home, |_, _| {});
    assert_eq!(home.ask::<i64>(FAILURES), None, "nothing is lost\n{}", home.log());
}

#[test]
fn a_worker_that_is_replaced_at_each_start_costs_nothing() {
    let mut home = Home::new();
    restart_under_way(&mut home, |home, round| home.variable = format!("start {round}"));
    let losses = home.ask::<i64>("SELECT sum(infrastructure_losses) FROM task_instance_extra");
    assert!(losses.is_none_or(|losses| losses == 0), "{losses:?}\n{}", home.log());
    assert_eq!(home.ask::<i64>(FAILURES), None, "{}", home.log());
    assert!(home.log().contains("has other settings and is replaced"), "{}", home.log());
}

#[test]
fn a_worker_is_started_again_when_the_program_was_replaced_and_removed() {
    let mut home = Home::new();
    home.start();
    home.is_up();
    until("a worker runs", &home, || home.worker().is_some_and(lives));
    home.place_program();
    let first = home.worker().unwrap();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    until("another worker runs", &home, || home.worker().is_some_and(|pid| pid != first && lives(pid)));
    home.run(&["dags", "trigger", "long"]).expect("the run is triggered");
    let second = home.worker().unwrap();
    fs::remove_file(home.program()).unwrap();
    kill(Pid::from_raw(second), Signal::SIGKILL).unwrap();
    until("a third worker runs", &home, || home.worker().is_some_and(|pid| pid != second && lives(pid)));
    home.ends_well();
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
