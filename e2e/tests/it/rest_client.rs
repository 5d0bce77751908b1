//! Airflow's own Python client, as it comes from PyPI, against the REST API: it decodes every answer, and whatever it is
//! refused it is told in Airflow's shape.

use std::process::Command;

use windlass_e2e::{
    fleet::{Fleet, Size, USER},
    project, python,
};

const SIZE: Size = Size { schedulers: 1, workers: 1, apis: 1 };
const PACKAGES: &[&str] = &["apache-airflow-client==3.3.2"];

/// What the client reads, runs and changes.
pub const DAG: &str = r#"# The DAG that clients try.
dag_id: etl
description: what clients try
schedule: "@daily"
start_date: 2026-11-01
catchup: false
is_paused_upon_creation: false
max_active_runs: 4
tags: [try, rest]
default_args: {owner: data, retries: 0}
params:
  zeta: {type: string, default: z, description: the first of the file}
  alpha: {type: integer, default: 1, minimum: 1}
task_groups:
  - group_name: load
tasks:
  - {task_id: extract, operator: bash, bash_command: "echo 42"}
  - {task_id: one, operator: bash, bash_command: "echo one", task_group_name: load, dependencies: [extract]}
  - {task_id: two, operator: empty, task_group_name: load, dependencies: [extract]}
  - {task_id: last, operator: bash, bash_command: "echo end", dependencies: [load]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn airflows_own_client_decodes_every_answer() {
    let fleet = Fleet::start(SIZE, &[("etl.yaml", DAG)]).await;
    let mut client = Command::new(python::with_packages("python-rest-client", PACKAGES));
    client.arg(project().join("e2e/python/rest_client.py")).args([fleet.apis[0].url.as_str(), USER.0, USER.1]);
    let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
