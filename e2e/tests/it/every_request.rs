//! schemathesis, as it comes from PyPI, against the REST API: requests of every kind, made from our own OpenAPI document. None may
//! fail within the server, be answered otherwise than declared, or be taken though the document refuses it.

use std::process::Command;

use windlass_e2e::{
    fleet::{Fleet, Size, USER},
    project, python,
};

use crate::rest_client::DAG;

const SIZE: Size = Size { schedulers: 1, workers: 1, apis: 1 };
const PACKAGES: &[&str] = &["schemathesis==4.32.5"];
/// How long requests are made.
const SECONDS: &str = "170";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes; test.sh --full runs it"]
async fn every_request_is_answered_as_the_document_says() {
    let spare = DAG.replacen("dag_id: etl", "dag_id: spare", 1);
    let fleet = Fleet::start(SIZE, &[("etl.yaml", DAG), ("spare.yaml", &spare)]).await;
    let mut client = Command::new(python::with_packages("python-schemathesis", PACKAGES));
    client.arg(project().join("e2e/python/every_request.py")).args([
        fleet.apis[0].url.as_str(),
        USER.0,
        USER.1,
        SECONDS,
    ]);
    let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
