//! Services: their reports, their ends, their logs.

use link::{FromWorker, ServiceExit, ToWorker, query::LogName};
use serde_json::{Value, json};
use uuid::Uuid;

use super::leader::{Leader, Place};

async fn report(leader: &mut Leader, kind: &str) -> Value {
    let fits = |message| match message {
        FromWorker::Beat { services, .. } => {
            services.into_iter().map(|report| report.line).find(|line| line["type"] == kind)
        }
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
async fn a_services_reports_reach_the_leader_before_its_end() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let report_then_fail = "report() { echo \"$1\" >&$WINDLASS_SERVICE_FD; }; report '{\"type\":\"progress\",\"records\":1}'; \
        report '{\"type\":\"progress\",\"records\":2}'; report 'no json'; \
        report \"{\\\"type\\\":\\\"completed\\\",\\\"instance\\\":\\\"$WINDLASS_SERVICE_INSTANCE\\\"}\"; echo gone wrong >&2; exit 4";
    let start = leader.start_service(report_then_fail).await;
    let mut lines = Vec::new();
    let fits = |message| match message {
        FromWorker::Beat { services, .. } => {
            lines.extend(services.into_iter().map(|report| report.line));
            None
        }
        FromWorker::ServiceExited(exit) => Some(exit),
        _ => None,
    };
    let exit = leader.until("the end of the service", fits).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (Some(4), "exit code 4: gone wrong"));
    assert!(lines.contains(&json!({"type": "completed", "instance": start.instance})), "{lines:?}");
    assert!(lines.contains(&json!({"type": "progress", "records": 2})), "{lines:?}");
    let log = leader.log(LogName::Service(start.key)).await;
    assert!(log.contains("gone wrong") && log.contains("Not a report: no json"), "{log}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_hears_again_what_a_service_is() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let start = leader.start_service("echo '{\"type\":\"ready\"}' >&$WINDLASS_SERVICE_FD; sleep 300").await;
    report(&mut leader, "ready").await;
    drop(leader);
    let mut leader = place.accept().await;
    assert!(leader.hello.services.contains(&start.instance));
    assert_eq!(report(&mut leader, "ready").await, json!({"type": "ready"}));
    leader.send(ToWorker::StopService { instance: start.instance }).await;
    let stopped = exit(&mut leader, start.instance).await;
    assert_eq!(stopped.reason, "stopped by the supervisor (signal SIGTERM)");
    leader.send(ToWorker::StopService { instance: start.instance }).await;
    assert_eq!(exit(&mut leader, start.instance).await.reason, "it does not run on this worker");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_exist_is_an_end_with_its_name() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let mut start = leader.start_service("true").await;
    exit(&mut leader, start.instance).await;
    start.instance = Uuid::new_v4();
    start.spec.command = vec!["no-such-program".into()];
    leader.send(ToWorker::StartService(Box::new(start.clone()))).await;
    let exit = exit(&mut leader, start.instance).await;
    assert!(exit.reason.contains("no program no-such-program in PATH"), "{}", exit.reason);
    worker.stop().await;
}
