//! What a real coordinator does not do on command, done by a scripted server: every test's name says so.

use std::time::Duration;

use model::{EndKind, Operator};
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};
use windlass_executor::StopCause;

use super::{
    connection,
    coordinator::{Act, Coordinator, QUERY, last, page},
    logged, rig_with, rows, sql,
};

#[tokio::test]
async fn scripted_server_an_answer_of_503_is_asked_for_again_after_its_retry_after() {
    let busy = || Act::Answer(503, "retry-after: 1\r\n", "overloaded".into());
    let acts = |url: &_| vec![busy(), page(url, 1, "QUEUED"), busy(), page(url, 2, "RUNNING"), last(&json!([[7]]))];
    let coordinator = Coordinator::start(acts).await;
    let rig = rig_with(connection(&coordinator.url()));
    let began = Instant::now();
    let ran = rig.run(rows("SELECT 7 AS n")).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!([{"n": 7}])), "{}", ran.text());
    assert!(began.elapsed() >= Duration::from_secs(2), "Retry-After was not heeded");
    // 503 says that the statement was not looked at, so it may be sent again.
    assert_eq!((coordinator.came("POST").len(), coordinator.came("GET").len()), (2, 3));
    assert!(ran.lines("sys").iter().any(|line| line.contains("HTTP 503; trying again in 1.0 s")), "{}", ran.text());
}

#[tokio::test]
async fn scripted_server_a_reset_while_asking_is_asked_again() {
    let acts =
        |url: &_| vec![page(url, 1, "RUNNING"), Act::Reset, Act::Answer(502, "", "".into()), last(&json!([[7]]))];
    let coordinator = Coordinator::start(acts).await;
    let ran = rig_with(connection(&coordinator.url())).run(rows("SELECT 7 AS n")).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!((coordinator.came("POST").len(), coordinator.came("GET").len()), (1, 3));
}

#[tokio::test]
async fn scripted_server_a_reset_while_handing_over_sends_nothing_twice() {
    for broken in [Act::Reset, Act::Answer(502, "", String::new()), Act::Answer(504, "", String::new())] {
        // What follows is the list of queries, in which the statement's is looked for.
        let list = json!([{"queryId": QUERY, "state": "RUNNING", "session": {"clientTags": ["instance:other"]}}]);
        let acts = |_: &_| vec![broken.clone(), Act::Answer(200, "", list.to_string())];
        let coordinator = Coordinator::start(acts).await;
        let ran = rig_with(connection(&coordinator.url())).run(Operator::Sql(sql("INSERT INTO t SELECT 1"))).await;
        assert_eq!(ran.end.kind, EndKind::Failed);
        assert!(ran.end.reason.contains("whether Trino took the statement is not known"), "{}", ran.end.reason);
        assert_eq!(coordinator.came("POST").len(), 1);
        assert_eq!(coordinator.came("GET")[0].path, "/v1/query");
        assert_eq!(coordinator.came("DELETE").len(), 0, "another one's query was ended");
    }
}

#[tokio::test]
async fn scripted_server_a_refused_connection_is_tried_until_it_is_there() {
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let rig = rig_with(connection(&format!("trino://me@{address}").parse().unwrap()));
    let come = async {
        logged(&rig, "trying again in").await;
        Coordinator::on(TcpListener::bind(address).await.unwrap(), |url| {
            vec![page(url, 1, "RUNNING"), last(&json!([]))]
        })
    };
    let (ran, coordinator) = tokio::join!(rig.run(Operator::Sql(sql("SELECT 1"))), come);
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(coordinator.came("POST").len(), 1);
}

#[tokio::test]
async fn scripted_server_a_garbage_page_fails_with_a_reason_and_ends_the_query() {
    let garbage = Act::Answer(200, "content-type: text/html\r\n", "<html>Please log in</html>".into());
    let acts = |url: &_| vec![page(url, 1, "RUNNING"), garbage.clone()];
    let coordinator = Coordinator::start(acts).await;
    let ran = rig_with(connection(&coordinator.url())).run(Operator::Sql(sql("SELECT 1"))).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.contains("the answer is not Trino's"), "{}", ran.end.reason);
    assert_eq!(coordinator.came("GET").len(), 1, "garbage is not asked for again");
    assert!(coordinator.came("DELETE")[0].path.ends_with("/secret/1"));
}

#[tokio::test]
async fn scripted_server_a_query_that_is_queued_for_ever_ends_with_the_execution_timeout() {
    let acts = |url: &_| vec![page(url, 1, "QUEUED")];
    let coordinator = Coordinator::start(acts).await;
    let mut rig = rig_with(connection(&coordinator.url()));
    rig.execution_timeout_secs = Some(0.5);
    let ran = rig.run(Operator::Sql(sql("SELECT 1"))).await;
    assert_eq!(ran.end.kind, EndKind::TimedOut, "{}", ran.text());
    assert!(coordinator.came("DELETE")[0].path.ends_with("/secret/1"));
}

#[tokio::test]
async fn scripted_server_a_stop_while_a_page_is_pending_ends_the_query_at_once() {
    let acts = |url: &_| vec![page(url, 1, "RUNNING"), Act::Silence];
    let coordinator = Coordinator::start(acts).await;
    let rig = rig_with(connection(&coordinator.url()));
    let stop = async {
        coordinator.until("GET", 1).await;
        rig.stop.request(StopCause { kind: EndKind::Lost, reason: "the worker is shutting down".into() });
        Instant::now()
    };
    let (ran, stopped) = tokio::join!(rig.run(Operator::Sql(sql("SELECT 1"))), stop);
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    assert_eq!(ran.end.kind, EndKind::Lost);
    assert!(coordinator.came("DELETE")[0].path.ends_with("/secret/1"));
    assert!(ran.lines("sys").contains(&"The query was cancelled on Trino".to_owned()), "{}", ran.text());
}

#[tokio::test]
async fn scripted_server_a_coordinator_that_forgot_the_query_is_a_failure_that_says_so() {
    let acts = |url: &_| vec![page(url, 1, "RUNNING"), Act::Answer(404, "", "Query not found".into())];
    let coordinator = Coordinator::start(acts).await;
    let ran = rig_with(connection(&coordinator.url())).run(Operator::Sql(sql("SELECT 1"))).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.starts_with(&format!("query {QUERY}: ")) && ran.end.reason.contains("restarted"));
}

#[tokio::test]
async fn scripted_server_an_answer_that_leads_elsewhere_is_not_followed() {
    let elsewhere = Coordinator::start(|_| vec![last(&json!([]))]).await;
    let other = format!("http://{}/", elsewhere.address).parse().unwrap();
    let list = Act::Answer(200, "", "[]".into());
    let coordinator = Coordinator::start(|_| vec![page(&other, 1, "RUNNING"), list.clone()]).await;
    let ran = rig_with(connection(&coordinator.url())).run(Operator::Sql(sql("SELECT 1"))).await;
    assert!(ran.end.reason.contains("process-forwarded"), "{}", ran.end.reason);
    assert!(elsewhere.came("GET").is_empty() && elsewhere.came("DELETE").is_empty());
}

#[tokio::test]
async fn scripted_server_what_lineage_needs_goes_with_each_statement() {
    let coordinator = Coordinator::start(|url| vec![page(url, 1, "RUNNING"), last(&json!([]))]).await;
    let mut fields = connection(&coordinator.url());
    fields.extra =
        Some(r#"{"client_tags": ["nightly", "two, ä"], "session_properties": {"query_max_run_time": "1h"}}"#.into());
    let mut rig = rig_with(fields);
    rig.run_id = "manual__1".into();
    let ran = rig.run(Operator::Sql(sql("SELECT 1"))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    let head = &coordinator.came("POST")[0].head;
    for expected in [
        "x-trino-user: me",
        "x-trino-source: windlass",
        "x-trino-catalog: lake",
        "x-trino-time-zone: utc",
        "x-trino-session: query_max_run_time=1h",
        "x-trino-client-tags: dag:tour,task:own,run:manual__1,try:1,instance:",
        ",nightly,two%2c%20%c3%a4",
        r#""run_id":"manual__1","task_id":"own""#,
    ] {
        assert!(head.contains(expected), "{expected} is not in\n{head}");
    }
}
