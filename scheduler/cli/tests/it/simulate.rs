//! `windlass dags simulate`, as people and pipelines call it.

use std::path::Path;

use serde_json::Value;

use super::{printed, said, windlass_in};

const DAG: &str = "dag_id: shop
tasks:
  extract: {operator: bash, bash_command: run, retries: 1, retry_delay: 1h}
  load: {operator: bash, bash_command: run, dependencies: [extract]}
";

fn folder(outcomes: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), DAG).unwrap();
    std::fs::write(folder.path().join("outcomes.yaml"), outcomes).unwrap();
    folder
}

fn simulate(folder: &Path, more: &[&str]) -> std::process::Output {
    let arguments = ["dags", "simulate", "shop.yaml", "--outcomes", "outcomes.yaml"];
    windlass_in(folder, &[&arguments, more].concat(), &[])
}

#[test]
fn cases_are_played_and_the_status_says_whether_all_came_as_expected() {
    let folder = folder(
        "cases:
- name: again
  tasks: {extract: [{outcome: failed, reason: no network}, success]}
  expect: {state: success, tries: {extract: 2}, order: [extract, load]}
- name: wrong
  tasks: {extract: failed}
  expect: {tasks: {load: success}}
",
    );
    let output = simulate(folder.path(), &[]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", said(&output));
    for part in [
        "again: the run is success after",
        "+0:00:01",
        "no network",
        "not as expected: load was expected to end in success; it is upstream_failed",
        "shop: 1 of 2 cases came as expected",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let one = simulate(folder.path(), &["--case", "again", "-o", "json"]);
    assert_eq!(one.status.code(), Some(0), "{}", said(&one));
    let told: Value = serde_json::from_str(&printed(&one)).unwrap();
    assert_eq!(told[0]["as_expected"], true);
    assert_eq!(told[0]["duration"], 3_603.0);
    assert_eq!(told[0]["task_instances"][0]["tries"], 2);
    let lines = simulate(folder.path(), &["--case", "wrong", "-o", "plain"]);
    assert!(printed(&lines).contains("wrong\tnot_as_expected\t"), "{}", printed(&lines));
    assert!(printed(&simulate(folder.path(), &["-o", "yaml"])).contains("as_expected: false"));
}

#[test]
fn mistakes_have_their_place_and_a_run_of_which_nothing_is_expected_counts_by_its_state() {
    let wrong = folder("tasks:\n  extracd: failed\n");
    let output = simulate(wrong.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("outcomes.yaml:2:") && text.contains("did you mean \"extract\"?"), "{text}");
    let fails = folder("tasks: {extract: failed_without_retry}\n");
    assert_eq!(simulate(fails.path(), &[]).status.code(), Some(7));
    let nobody = simulate(fails.path(), &["--case", "x"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", said(&nobody));
    let missing = windlass_in(fails.path(), &["dags", "simulate", "nothing", "--outcomes", "outcomes.yaml"], &[]);
    assert_eq!(missing.status.code(), Some(3), "{}", said(&missing));
}
