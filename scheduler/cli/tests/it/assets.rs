//! Assets by the command line on a running standalone, beside it and by its URL: what one DAG writes lets another run.

use serde_json::{Value, json};

use crate::standalone::{Client, Place, Standalone};

const WRITES: &str = r#"dag_id: writes
is_paused_upon_creation: false
params:
  rows: {type: integer, default: 3}
tasks:
  - task_id: write
    operator: bash
    bash_command: |
      echo '{"uri": "s3://b/trades", "extra": {"rows": {{ params.rows }}}}' >> "$WINDLASS_OUTLET_EVENTS"
    outlets: [{name: trades, uri: "s3://b/trades"}]
"#;
const READS: &str = r#"dag_id: reads
is_paused_upon_creation: false
schedule: ["s3://b/trades"]
tasks:
  - task_id: read
    operator: bash
    bash_command: "echo rows={{ triggering_asset_events['s3://b/trades'] | map(attribute='extra.rows') | join('+') }}"
"#;

/// The runs of the DAG that waits, once there are so many and all have succeeded.
fn runs(place: &impl Place, count: usize) -> Vec<Value> {
    // Each look takes the time of a process.
    for _ in 0..600 {
        let listed = place.json(&["runs", "list", "reads"]);
        let listed = listed.as_array().unwrap();
        if listed.len() >= count && listed.iter().all(|run| run["state"] == "success") {
            return listed.clone();
        }
    }
    panic!("{count} runs never come: {}", place.json(&["runs", "list", "reads"]));
}

fn what_a_task_has_written_lets_another_dag_run(place: &impl Place, before: usize) {
    let made = place.good(&["assets", "materialize", "trades", "--conf", r#"{"rows": 7}"#]);
    assert!(made.contains("writes: run "), "{made}");
    let run = runs(place, before + 1);
    let newest = run[0]["run_id"].as_str().unwrap();
    assert!(newest.starts_with("asset_triggered__"), "{newest}");
    let log = place.good(&["tasks", "logs", "reads", newest, "read"]);
    assert!(log.contains("rows=7"), "the task sees the event's extra: {log}");
    let events = place.json(&["assets", "events", "s3://b/trades", "--limit", "1"]);
    assert_eq!((&events[0]["source_dag_id"], &events[0]["extra"]["rows"]), (&json!("writes"), &json!(7)));
}

fn somebody_says_that_it_has_changed(place: &impl Place, before: usize) {
    let told = place.good(&["assets", "emit", "trades", "--extra", r#"{"rows": 9}"#]);
    assert!(told.contains("trades: event "), "{told}");
    runs(place, before + 1);
    let listed = place.json(&["assets", "list", "--name", "trade"]);
    assert_eq!((&listed[0]["written_by"], &listed[0]["awaited_by"]), (&json!("writes"), &json!("reads")));
    let details = place.json(&["assets", "details", "trades"]);
    let of =
        |name: &str| details.as_array().unwrap().iter().find(|row| row["property"] == name).unwrap()["value"].clone();
    assert_eq!(of("uri"), "s3://b/trades");
    assert!(place.bad(3, &["assets", "details", "nothing"]).contains("there is no asset nothing"));
    assert!(place.bad(4, &["assets", "emit", "trades", "--extra", "[1]"]).contains("not a JSON object"));
}

#[test]
fn assets_join_dags_beside_a_standalone_and_by_its_url() {
    let standalone = Standalone::start(&[("writes.yaml", WRITES), ("reads.yaml", READS)]);
    what_a_task_has_written_lets_another_dag_run(&standalone, 0);
    somebody_says_that_it_has_changed(&standalone, 1);
    let client = Client::of(&standalone.url()).logged_in();
    what_a_task_has_written_lets_another_dag_run(&client, 2);
    somebody_says_that_it_has_changed(&client, 3);
}
