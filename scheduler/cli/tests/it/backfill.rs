//! Backfills by the command line on a running standalone, beside it and by its URL.

use serde_json::json;

use crate::standalone::{Client, Place, Standalone};

const DAG: &str = r#"dag_id: days
schedule: "0 0 * * *"
start_date: 2099-01-01
params:
  code: {type: integer, default: 0}
tasks:
  - {task_id: work, operator: bash, bash_command: "exit {{ params.code }}"}
"#;
const SLOW: &str = r#"dag_id: slow
schedule: "0 0 * * *"
start_date: 2099-01-01
tasks:
  - {task_id: work, operator: bash, bash_command: "sleep 300"}
"#;

fn range<'a>(dag: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let create = ["backfill", "create", "--dag-id", dag, "--from-date", "2026-01-01", "--to-date", "2026-01-04"];
    [&create[..], more].concat()
}

/// The states of a DAG's runs, the newest date first.
fn states(place: &impl Place, dag: &str) -> Vec<String> {
    let runs = place.json(&["runs", "list", dag]);
    runs.as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap().to_owned()).collect()
}

fn a_backfill_runs_the_dates_of_a_range(place: &impl Place) {
    let dry = place.json(&range("days", &["--dry-run", "--run-backwards"]));
    assert_eq!((dry.as_array().unwrap().len(), &dry[0]["logical_date"]), (4, &json!("2026-01-04T00:00:00Z")));
    assert_eq!(states(place, "days"), Vec::<String>::new(), "a dry run makes nothing");
    let conf = ["--dag-run-conf", r#"{"code": 3}"#, "--max-active-runs", "2", "--wait"];
    let failed = place.bad(7, &range("days", &conf));
    assert!(failed.contains("is completed; 4 of 4 dates are done: 0 success, 4 failed"), "{failed}");
    let again = place.good(&range("days", &["--reprocess-behavior", "none", "--wait"]));
    assert!(again.contains("is completed"), "{again}");
    assert_eq!(states(place, "days"), ["failed"; 4], "runs that there are stay");
    let listed = place.json(&["backfill", "list", "days"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[1]["state"]), (2, &json!("completed")));
    let id = listed[1]["id"].to_string();
    assert_eq!(place.json(&["backfill", "show", &id])[0]["max_active_runs"], 2);
    assert!(place.bad(4, &["backfill", "pause", &id]).contains("already completed"));
    for run in place.json(&["runs", "list", "days"]).as_array().unwrap() {
        place.good(&["runs", "delete", "days", run["run_id"].as_str().unwrap()]);
    }
}

fn a_backfill_is_held_back_and_ended(place: &impl Place) {
    let made = place.json(&range("slow", &["--max-active-runs", "1"]));
    let id = made[0]["id"].to_string();
    assert!(place.bad(4, &range("slow", &[])).contains("already a running backfill"));
    assert!(place.good(&["backfill", "pause", &id]).contains("is paused"));
    assert!(place.good(&["backfill", "unpause", &id]).contains("is active"));
    assert!(place.good(&["backfill", "cancel", &id]).contains("is cancelled"));
    let found = states(place, "slow");
    assert_eq!(found.iter().filter(|state| *state == "failed").count(), 3, "what waits fails: {found:?}");
    for run in place.json(&["runs", "list", "slow"]).as_array().unwrap() {
        let run = run["run_id"].as_str().unwrap();
        place.good(&["runs", "mark", "slow", run, "failed"]);
    }
    assert!(place.bad(7, &["backfill", "wait", &id]).contains("is cancelled"));
}

fn what_makes_no_sense_is_refused(place: &impl Place) {
    let refused = place.bad(4, &range("days", &["--dag-run-conf", r#"{"code": "x"}"#]));
    assert!(refused.contains("code"), "{refused}");
    let future = ["backfill", "create", "--dag-id", "days", "--from-date", "2999-01-01", "--to-date", "2999-01-02"];
    assert!(place.bad(4, &future).contains("future dates"));
    assert!(place.bad(3, &range("day", &[])).contains("did you mean days?"));
    assert!(place.bad(3, &["backfill", "show", "987654"]).contains("there is no backfill 987654"));
}

#[test]
fn a_range_of_dates_is_run_beside_a_standalone_and_by_its_url() {
    let standalone = Standalone::start(&[("days.yaml", DAG), ("slow.yaml", SLOW)]);
    for dag in ["days", "slow"] {
        standalone.good(&["dags", "unpause", dag]);
    }
    a_backfill_runs_the_dates_of_a_range(&standalone);
    a_backfill_is_held_back_and_ended(&standalone);
    what_makes_no_sense_is_refused(&standalone);
    for dag in ["days", "slow"] {
        for run in standalone.json(&["runs", "list", dag]).as_array().unwrap() {
            let run = run["run_id"].as_str().unwrap();
            while !standalone.run(&["runs", "delete", dag, run]).status.success() {}
        }
    }
    let client = Client::of(&standalone.url()).logged_in();
    let more = ["--wait", "-o", "json"];
    let made = client.good(&range("days", &more));
    assert!(made.contains("4 of 4 dates are done: 4 success"), "{made}");
    a_backfill_is_held_back_and_ended(&client);
    what_makes_no_sense_is_refused(&client);
}
