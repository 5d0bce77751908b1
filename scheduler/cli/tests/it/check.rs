//! `windlass dags check`: warnings with their places, and the next runs.

use serde_json::Value;

use super::{printed, said, windlass_in};

const FILE: &str = "dag_id: shop
schedule: '@daily'
end_date: 2020-01-02
params: {region: eu}
tasks:
  extract: {operator: bash, bash_command: 'run {{ dss }} {{ params.region }} {{ params.zone }}'}
  load: {operator: bash, bash_command: 'run {{ ds | uper }}', dependencies: [extract]}
  end: {operator: empty, trigger_rule: all_done, dependencies: [load]}
";

#[test]
fn what_may_not_be_meant_is_told_with_its_place_and_is_no_mistake() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), FILE).unwrap();
    std::fs::write(
        folder.path().join("daily.yaml"),
        "dag_id: daily\nschedule: '@daily'\ntasks: {a: {operator: empty}}\n",
    )
    .unwrap();
    let output = windlass_in(folder.path(), &["dags", "check", "."], &[]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", said(&output));
    for part in [
        "warning: shop.yaml:3:1: end_date: end_date (2020-01-02 00:00:00 UTC) is over",
        "warning: shop.yaml:6:43: tasks.extract.bash_command: the template can not be rendered: dss is not defined",
        "warning: shop.yaml:7:40: tasks.load.bash_command: the template can not be rendered: ",
        "every leaf of this DAG runs whatever happened before it",
        "daily.yaml: daily is well: 1 tasks\n  the next runs of its schedule: ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let json = windlass_in(folder.path(), &["dags", "check", ".", "-o", "json"], &[]);
    let told: Value = serde_json::from_str(&printed(&json)).unwrap();
    assert_eq!(told[0]["dags"][0]["next_runs"].as_array().unwrap().len(), 5, "{told}");
    assert_eq!(told[1]["warnings"].as_array().unwrap().len(), 4, "{told}");
    assert_eq!(told[1]["warnings"][0]["line"], 3);
    let plain = printed(&windlass_in(folder.path(), &["dags", "check", "shop.yaml", "-o", "plain"], &[]));
    assert!(plain.contains("warning\tshop.yaml\t3\t1\tshop\tend_date\t"), "{plain}");
    let fixed = FILE.replace("{{ dss }}", "").replace("uper", "upper").replace("2020-01-02", "2120-01-02");
    std::fs::write(folder.path().join("shop.yaml"), fixed).unwrap();
    let text = printed(&windlass_in(folder.path(), &["dags", "check", "shop.yaml"], &[]));
    assert!(text.contains("the DAG has no param zone"), "{text}");
    assert!(!text.contains("is over") && !text.contains("can not be rendered:"), "{text}");
}

#[test]
fn a_server_that_does_not_answer_is_an_error_only_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "dag_id: a\ntasks: {a: {operator: empty}}\n").unwrap();
    let token = ("WINDLASS_TOKEN", "t");
    let named = windlass_in(folder.path(), &["--server", "http://127.0.0.1:9", "dags", "check", "a.yaml"], &[token]);
    assert_eq!(named.status.code(), Some(6), "{}", said(&named));
    let offline = windlass_in(
        folder.path(),
        &["--server", "http://127.0.0.1:9", "dags", "check", "a.yaml", "--offline"],
        &[token],
    );
    assert_eq!(offline.status.code(), Some(0), "{}", said(&offline));
    let set = ("WINDLASS_SERVER_URL", "http://127.0.0.1:9");
    let beside = windlass_in(folder.path(), &["dags", "check", "a.yaml"], &[token, set]);
    assert_eq!(beside.status.code(), Some(0), "{}", said(&beside));
    assert!(said(&beside).contains("pools and connections are not looked at"), "{}", said(&beside));
}
