//! Containers over the deaths of their workers, and services in containers, on a real engine with the image
//! `windlass-test:busybox`. Without one these tests say so and pass; with `WINDLASS_TEST_DOCKER=1` they fail.

use std::{collections::BTreeSet, process::Command};

use executor::docker;
use link::{Assignment, FromWorker, ServiceExit, ServiceStart, ToWorker, query::LogName};
use model::{
    AttemptId, Capability, DagId, EndKind, Epoch, Operator, ServiceKey,
    container::{AutoRemove, Container, Docker, DockerReturns, PullPolicy, Words},
    operator::{ReadyWhen, ServiceSpec},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    leader::{Leader, Place, bash},
    lives::{impatient_worker_process, worker_process},
    processes::until,
};

const IMAGE: &str = "windlass-test:busybox";

async fn engine() -> bool {
    let there = docker::check().await;
    let image = there.is_ok() && ask(&["image", "inspect", "--format", "{{.Id}}", IMAGE]).starts_with("sha256:");
    let wanted = std::env::var_os("WINDLASS_TEST_DOCKER").is_some();
    assert!(image || !wanted, "WINDLASS_TEST_DOCKER is set and there is no engine with {IMAGE}: {there:?}");
    if !image {
        eprintln!("skipped: no Docker engine with the image {IMAGE}; see e2e/stack.d/docker.sh");
    }
    image
}

fn ask(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().expect("the client docker is there with the engine");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn labelled(label: &str) -> String {
    ask(&["ps", "--all", "--quiet", "--filter", &format!("label={label}")])
}

fn container() -> Container {
    Container { image: IMAGE.into(), pull_policy: PullPolicy::Never, ..Container::default() }
}

fn assignment(script: &str) -> Assignment {
    let keys = Docker {
        container: container(),
        command: Some(Words::List(vec!["sh".into(), "-c".into(), script.into()])),
        environment: Default::default(),
        pass_env: Vec::new(),
        container_name: None,
        auto_remove: AutoRemove::Success,
        tmp_dir: Some("/tmp/airflow".into()),
        returns: DockerReturns::LastLine,
        skip_on_exit_code: Vec::new(),
        stop_timeout_secs: Some(1.0),
    };
    Assignment { operator: Operator::Docker(Box::new(keys)), ..bash("") }
}

async fn assign(leader: &Leader, script: &str) -> AttemptId {
    let assignment = assignment(script);
    let attempt = assignment.attempt;
    leader.send(ToWorker::Assign(Box::new(assignment))).await;
    attempt
}

async fn log_has(place: &Place, attempt: AttemptId, text: &str) {
    let path = executor::log::path(&place.log_dir(), &LogName::Attempt(attempt));
    until(text, || std::fs::read_to_string(&path).is_ok_and(|log| log.contains(text))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_container_is_gone_on_with_and_each_line_is_logged_once() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    assert!(leader.hello.capabilities.contains(&Capability::Docker));
    let attempt = assign(
        &leader,
        "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; cat /tmp/airflow/kept; echo '{\"n\":1}' | tee /tmp/airflow/kept",
    )
    .await;
    leader.started(attempt).await;
    log_has(&place, attempt, "\"line 10\"").await;
    process.kill().unwrap();
    process.wait().unwrap();
    drop(leader);
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    assert_eq!(leader.hello.attempts, BTreeSet::from([attempt]), "the next worker holds the attempt");
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.xcoms[0].value.clone()), (EndKind::Success, json!({"n": 1})), "{end:?}");
    assert!(end.ran_micros > 4_000_000, "it counts from the first start: {}", end.ran_micros);
    let log = leader.log(LogName::Attempt(attempt)).await;
    for number in 1..=100 {
        assert_eq!(log.matches(&format!("\"line {number}\"")).count(), 1, "line {number}: {log}");
    }
    assert_eq!(labelled(&format!("windlass.attempt={attempt}")), "");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_attempt_was_taken_away_is_stopped_and_removed() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    let attempt = assign(&leader, "echo up; while true; do sleep 0.1; done").await;
    log_has(&place, attempt, "\"up\"").await;
    leader.started(attempt).await;
    process.kill().unwrap();
    process.wait().unwrap();
    drop(leader);
    let mut process = worker_process(&place);
    let mut leader = place.accept_with(Epoch(1), |_| BTreeSet::new()).await;
    assert_eq!(leader.ended(attempt).await.kind, EndKind::Lost);
    assert_eq!(labelled(&format!("windlass.attempt={attempt}")), "");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_ends_the_containers_of_a_worker_that_does_not_come_back() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let mut process = impatient_worker_process(&place, 4);
    let mut leader = place.accept().await;
    let attempt = assign(&leader, "echo up; while true; do sleep 0.1; done").await;
    log_has(&place, attempt, "\"up\"").await;
    leader.until("a beat", |message| matches!(message, FromWorker::Beat { .. }).then_some(())).await;
    process.kill().unwrap();
    process.wait().unwrap();
    let label = format!("windlass.attempt={attempt}");
    assert_ne!(labelled(&label), "", "it lives while the worker may come back");
    until("the end of the container", || labelled(&label).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_shuts_down_leaves_no_container() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let attempt = assign(&leader, "echo up; while true; do sleep 0.1; done").await;
    leader.started(attempt).await;
    log_has(&place, attempt, "\"up\"").await;
    worker.shutdown.cancel();
    assert_eq!(leader.ended(attempt).await.kind, EndKind::Lost);
    assert_eq!(labelled(&format!("windlass.attempt={attempt}")), "");
    worker.stop().await;
}

fn service(script: &str, change: impl FnOnce(&mut Container)) -> ServiceStart {
    let mut container = container();
    change(&mut container);
    ServiceStart {
        instance: Uuid::new_v4(),
        key: ServiceKey { dag: DagId::new("d").unwrap(), name: "stream".into(), replica: 0 },
        spec: ServiceSpec {
            name: "stream".into(),
            command: vec!["sh".into(), "-c".into(), script.into()],
            container: Some(Box::new(container)),
            replicas: 1,
            env: [("GREETING".to_owned(), "hello".to_owned())].into(),
            pass_env: Vec::new(),
            ready_when: ReadyWhen::Started,
            stop_timeout_secs: 1.0,
        },
    }
}

async fn report(leader: &mut Leader, kind: &str) -> Value {
    let fits = |message| match message {
        FromWorker::Beat { services, .. } => services.into_iter().map(|one| one.line).find(|line| line["type"] == kind),
        _ => None,
    };
    leader.until("a report", fits).await
}

async fn exit(leader: &mut Leader, instance: Uuid) -> ServiceExit {
    let fits = |message| match message {
        FromWorker::ServiceExited(exit) if exit.instance == instance => Some(exit),
        _ => None,
    };
    leader.until("the end of a service", fits).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_a_container_reports_by_lines_and_is_stopped_with_its_container() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let start = service(
        "echo $GREETING $WINDLASS_SERVICE_NAME; echo \"$WINDLASS_SERVICE_REPORT_PREFIX {\\\"type\\\":\\\"progress\\\",\\\"records\\\":7}\"; \
         echo '::windlass:: no json'; echo gone >&2; while true; do sleep 0.1; done",
        |_| {},
    );
    leader.send(ToWorker::StartService(Box::new(start.clone()))).await;
    assert_eq!(report(&mut leader, "progress").await["records"], 7);
    leader.send(ToWorker::StopService { instance: start.instance }).await;
    assert_eq!(exit(&mut leader, start.instance).await.reason, "stopped by the supervisor");
    let log = leader.log(LogName::Service(start.key)).await;
    assert!(log.contains("hello stream") && log.contains("Not a report: no json") && log.contains("gone"), "{log}");
    assert_eq!(labelled(&format!("windlass.instance={}", start.instance)), "");

    let failing = service("echo so not >&2; exit 4", |_| {});
    leader.send(ToWorker::StartService(Box::new(failing.clone()))).await;
    let end = exit(&mut leader, failing.instance).await;
    assert_eq!((end.exit_code, end.reason.as_str()), (Some(4), "exit code 4: so not"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_says_when_a_service_is_ready_and_ends_one_that_is_not_well() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let well = service("sleep 1; touch /tmp/well; while true; do sleep 0.1; done", |container| {
        container.healthcheck = Some("test -e /tmp/well".into());
    });
    leader.send(ToWorker::StartService(Box::new(well.clone()))).await;
    report(&mut leader, "ready").await;
    leader.send(ToWorker::StopService { instance: well.instance }).await;
    exit(&mut leader, well.instance).await;

    let unwell = service("while true; do sleep 0.1; done", |container| {
        container.healthcheck = Some("echo no answer; exit 1".into());
    });
    leader.send(ToWorker::StartService(Box::new(unwell.clone()))).await;
    assert_eq!(exit(&mut leader, unwell.instance).await.reason, "its health check fails: no answer");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_services_are_removed_when_it_is_back() {
    if !engine().await {
        return;
    }
    let mut place = Place::new();
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    let start = service("while true; do sleep 0.1; done", |_| {});
    leader.send(ToWorker::StartService(Box::new(start.clone()))).await;
    report(&mut leader, "ready").await;
    process.kill().unwrap();
    process.wait().unwrap();
    drop(leader);
    let mut process = worker_process(&place);
    let leader = place.accept().await;
    assert!(leader.hello.services.is_empty());
    assert_eq!(labelled(&format!("windlass.instance={}", start.instance)), "");
    process.kill().unwrap();
    process.wait().unwrap();
}
