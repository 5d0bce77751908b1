//! Airflow's own command line, airflowctl, as it comes from PyPI, against the REST API: every command of it works, or is
//! refused with a sentence that the script names.

use std::process::Command;

use windlass_e2e::{
    fleet::{Fleet, Size, USER},
    project, python,
};

use crate::rest_client::DAG;

const SIZE: Size = Size { schedulers: 1, workers: 1, apis: 1 };
const PACKAGES: &[&str] = &["apache-airflow-ctl==0.1.5"];

#[tokio::test(flavor = "multi_thread")]
async fn airflows_own_command_line_works_whole() {
    let fleet = Fleet::start(SIZE, &[("etl.yaml", DAG)]).await;
    let mut client = Command::new(python::with_packages("python-airflowctl", PACKAGES));
    client.arg(project().join("e2e/python/command_line.py")).args([fleet.apis[0].url.as_str(), USER.0, USER.1]);
    let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
