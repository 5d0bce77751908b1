//! The commands beside a running standalone, in the order in which a new user meets them.

use crate::{
    said,
    standalone::{Place as _, Standalone},
    windlass_in,
};

/// A DAG with a task that fails when it is told to.
pub const DAG: &str = r#"
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

fn workers_are_listed(standalone: &Standalone) {
    let listed = standalone.good(&["workers", "list"]);
    assert!(listed.starts_with("name"), "{listed}");
    assert!(standalone.bad(3, &["workers", "revoke", "nosuch"]).contains("no worker nosuch"));
    assert!(!standalone.good(&["workers", "token"]).trim().is_empty());
    let nobody = tempfile::tempdir().unwrap();
    let refused = windlass_in(nobody.path(), &["workers", "list"], &[]);
    let why = said(&refused);
    assert!(why.contains("WINDLASS_HOME") && why.contains("DATABASE_URL"), "{why}");
}

#[test]
fn every_command_works_beside_a_standalone() {
    let standalone = Standalone::start(&[("etl.yaml", DAG)]);
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
    let unknown = standalone.bad(3, &["dags", "details", "elt"]);
    assert!(unknown.contains("did you mean etl?") && unknown.contains("windlass dags list"), "{unknown}");
    assert!(standalone.bad(4, &["dags", "trigger", "etl", "--conf", r#"{"code": "x"}"#]).contains("param code"));
}

fn a_failed_run_is_explained(standalone: &Standalone) {
    let failed = standalone.bad(7, &["dags", "trigger", "etl", "-r", "one", "--conf", r#"{"code": 3}"#, "--wait"]);
    assert!(failed.contains("extract failed") && failed.contains("run one failed"), "{failed}");
    let states = standalone.json(&["tasks", "states-for-dag-run", "etl", "one"]);
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&"failed".into(), &"upstream_failed".into()));
    assert!(standalone.good(&["tasks", "logs", "etl", "one", "extract", "--follow"]).contains("extracting"));
    assert!(standalone.bad(3, &["tasks", "logs", "etl", "one", "load"]).contains("has not begun"));
    assert!(standalone.good(&["tasks", "render", "etl", "latest", "extract"]).contains("exit 3"));
    assert!(standalone.good(&["tasks", "why", "etl", "one", "extract"]).contains("exit"));
    assert!(standalone.bad(3, &["tasks", "why", "etl", "one", "extrct"]).contains("did you mean extract"));
    assert!(standalone.good(&["tasks", "clear", "etl", "one", "extract", "-d", "--dry-run"]).contains("extract, load"));
    standalone.good(&["tasks", "mark", "etl", "one", "extract", "success"]);
    assert!(standalone.good(&["runs", "clear", "etl", "one", "--only-failed"]).contains("cleared"));
    assert_eq!(standalone.json(&["runs", "list", "etl"])[0]["run_id"], "one");
    assert!(standalone.bad(3, &["runs", "show", "etl", "oen"]).contains("windlass runs list etl"));
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
    assert!(standalone.bad(4, &["dags", "delete", "etl"]).contains("--yes"));
    standalone.good(&["dags", "unpause", "etl"]);
    let waited = standalone.good(&["dags", "trigger", "etl", "-r", "three", "--wait"]);
    assert!(waited.contains("run three success"), "{waited}");
    standalone.good(&["dags", "delete", "etl", "--yes"]);
    assert_eq!(standalone.json(&["runs", "list"]), serde_json::json!([]));
    assert_eq!(standalone.json(&["dags", "list"])[0]["dag_id"], "etl", "its file is still there");
}
