//! The commands beside a running standalone, in the order in which a new user meets them.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{printed, said, windlass_in};

const DAG: &str = r#"
dag_id: etl
schedule: null
is_paused_upon_creation: false
max_active_runs: 1
params:
  code: {type: integer, default: 0}
tasks:
  - {task_id: extract, operator: bash, bash_command: "echo extracting; exit {{ params.code }}"}
  - {task_id: load, operator: bash, bash_command: "echo loaded", dependencies: [extract]}
"#;

/// A standalone takes some seconds to make its database.
const UP_WITHIN: Duration = Duration::from_secs(90);

/// A standalone that ends with the test.
struct Standalone {
    child: Child,
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Standalone {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dags")).unwrap();
        fs::write(folder.path().join("dags/etl.yaml"), DAG).unwrap();
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let environment = vec![("WINDLASS_PORT", port()), ("WINDLASS_REGISTRY_PORT", port())];
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .arg("standalone")
            .current_dir(folder.path())
            .env_remove("DATABASE_URL")
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("standalone.log")).unwrap())
            .spawn()
            .unwrap();
        let standalone = Self { child, folder, environment };
        let since = Instant::now();
        // Health asks the web server alone; any other command would use the home itself while nobody holds it.
        let is_up = || {
            standalone.run(&["health", "--quiet"]).status.success()
                && printed(&standalone.run(&["dags", "list"])).contains("etl")
        };
        while !is_up() {
            let log = fs::read_to_string(standalone.path().join("standalone.log")).unwrap();
            assert!(since.elapsed() < UP_WITHIN, "the standalone does not come up: {log}");
        }
        standalone
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        windlass_in(self.path(), arguments, &environment)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        let output = self.run(&all);
        serde_json::from_str(&printed(&output)).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    }

    /// What a command that succeeds prints.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", printed(&output), said(&output));
        printed(&output)
    }

    /// What a command that is refused says.
    fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}{}", printed(&output), said(&output));
        printed(&output) + &said(&output)
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

fn workers_are_listed(standalone: &Standalone) {
    let listed = standalone.good(&["workers", "list"]);
    assert!(listed.starts_with("NAME"), "{listed}");
    assert!(standalone.bad(&["workers", "revoke", "nosuch"]).contains("no worker nosuch"));
    assert!(!standalone.good(&["workers", "token"]).trim().is_empty());
    let nobody = tempfile::tempdir().unwrap();
    let refused = windlass_in(nobody.path(), &["workers", "list"], &[]);
    let why = said(&refused);
    assert!(why.contains("WINDLASS_HOME") && why.contains("DATABASE_URL"), "{why}");
}

#[test]
fn every_command_works_beside_a_standalone() {
    let standalone = Standalone::start();
    dags_are_found(&standalone);
    workers_are_listed(&standalone);
    a_failed_run_is_explained(&standalone);
    a_paused_run_says_why_it_waits(&standalone);
}

fn dags_are_found(standalone: &Standalone) {
    assert_eq!(standalone.json(&["dags", "list"])[0]["dag_id"], "etl");
    assert!(standalone.good(&["dags", "details", "etl"]).contains("max_active_runs"));
    assert_eq!(standalone.good(&["dags", "next-execution", "etl"]), "None\n");
    assert_eq!(standalone.json(&["dags", "list-import-errors"]), serde_json::json!([]));
    let tasks = standalone.json(&["tasks", "list", "etl"]);
    assert_eq!((&tasks[0]["task_id"], &tasks[1]["upstream"]), (&"extract".into(), &"extract".into()));
    let unknown = standalone.bad(&["dags", "details", "elt"]);
    assert!(unknown.contains("did you mean etl?") && unknown.contains("windlass dags list"), "{unknown}");
    assert!(standalone.bad(&["dags", "trigger", "etl", "--conf", r#"{"code": "x"}"#]).contains("param code"));
}

fn a_failed_run_is_explained(standalone: &Standalone) {
    let failed = standalone.bad(&["dags", "trigger", "etl", "-r", "one", "--conf", r#"{"code": 3}"#, "--wait"]);
    assert!(failed.contains("extract failed") && failed.contains("run one failed"), "{failed}");
    let states = standalone.json(&["tasks", "states-for-dag-run", "etl", "one"]);
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&"failed".into(), &"upstream_failed".into()));
    assert!(standalone.good(&["tasks", "logs", "etl", "one", "extract", "--follow"]).contains("extracting"));
    assert!(standalone.bad(&["tasks", "logs", "etl", "one", "load"]).contains("has not begun"));
    assert!(standalone.good(&["tasks", "render", "etl", "latest", "extract"]).contains("exit 3"));
    assert!(standalone.good(&["tasks", "why", "etl", "one", "extract"]).contains("exit"));
    assert!(standalone.bad(&["tasks", "why", "etl", "one", "extrct"]).contains("did you mean extract"));
    assert!(standalone.good(&["tasks", "clear", "etl", "one", "extract", "-d", "--dry-run"]).contains("extract, load"));
    standalone.good(&["tasks", "mark", "etl", "one", "extract", "success"]);
    assert!(standalone.good(&["runs", "clear", "etl", "one", "--only-failed"]).contains("cleared"));
    assert_eq!(standalone.json(&["runs", "list", "etl"])[0]["run_id"], "one");
    assert!(standalone.bad(&["runs", "show", "etl", "oen"]).contains("windlass runs list etl"));
}

fn a_paused_run_says_why_it_waits(standalone: &Standalone) {
    standalone.good(&["dags", "pause", "etl"]);
    standalone.good(&["dags", "trigger", "etl", "-r", "two", "--note", "by the test"]);
    assert!(standalone.good(&["tasks", "why", "etl", "two", "extract"]).contains("paused"));
    let shown = standalone.run(&["runs", "show", "etl", "two"]);
    assert!(said(&shown).contains("by the test") && said(&shown).contains("paused"), "{}", said(&shown));
    standalone.good(&["runs", "note", "etl", "two", ""]);
    standalone.good(&["runs", "mark", "etl", "two", "failed"]);
    assert_eq!(standalone.json(&["dags", "list-runs", "etl", "--state", "failed"])[0]["run_id"], "two");
    standalone.good(&["runs", "delete", "etl", "two"]);
    assert!(standalone.bad(&["dags", "delete", "etl"]).contains("--yes"));
    standalone.good(&["dags", "unpause", "etl"]);
    let waited = standalone.good(&["dags", "trigger", "etl", "-r", "three", "--wait"]);
    assert!(waited.contains("run three success"), "{waited}");
    standalone.good(&["dags", "delete", "etl", "--yes"]);
    assert_eq!(standalone.json(&["runs", "list"]), serde_json::json!([]));
    assert_eq!(standalone.json(&["dags", "list"])[0]["dag_id"], "etl", "its file is still there");
}
