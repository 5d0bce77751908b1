//! A worker that is asked to end: it takes nothing new, lets run what runs, and hands back what takes too long.

use std::time::Duration;

use link::{FromWorker, Link, ToWorker, transport::over_stream};
use model::{AttemptId, EndKind};
use serde_json::json;
use tokio::net::UnixListener;
use uuid::Uuid;

use super::leader::{Place, bash};

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_and_what_comes_is_handed_back() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    assert!(!leader.hello.leaving && leader.hello.operators.contains("kafka_lag"), "{:?}", leader.hello);
    let go = place.dir.path().join("go").display().to_string();
    let first = leader.assign(&format!("until [ -e {go} ]; do sleep 0.05; done")).await;
    leader.started(first).await;
    worker.asked.ask();
    leader.until("that it leaves", |m| matches!(m, FromWorker::Beat { leaving: true, .. }).then_some(())).await;
    let late = leader.assign("true").await;
    let end = leader.ended(late).await;
    assert_eq!((end.kind, end.handed_back, end.reason.as_str()), (EndKind::Lost, true, "its worker is shutting down"));
    std::fs::write(go, "").unwrap();
    let end = leader.ended(first).await;
    assert_eq!((end.kind, end.handed_back), (EndKind::Success, false));
    worker.ends(leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_limit_is_handed_back() {
    let mut place = Place::new();
    let worker = place.worker_with(|settings| settings.drain_max = Duration::from_millis(300));
    let mut leader = place.accept().await;
    let attempt = leader.assign("sleep 300").await;
    leader.started(attempt).await;
    worker.asked.ask();
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.handed_back), (EndKind::Lost, true));
    worker.ends(leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let attempt = leader.assign("sleep 300").await;
    leader.started(attempt).await;
    worker.asked.ask();
    leader.until("that it leaves", |m| matches!(m, FromWorker::Beat { leaving: true, .. }).then_some(())).await;
    worker.asked.ask();
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.handed_back), (EndKind::Lost, true));
    worker.ends(leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_hears_that_the_worker_leaves() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let attempt = leader.assign("sleep 300").await;
    leader.started(attempt).await;
    worker.asked.ask();
    leader.until("that it leaves", |m| matches!(m, FromWorker::Beat { leaving: true, .. }).then_some(())).await;
    drop(leader);
    let leader = place.accept().await;
    assert!(leader.hello.leaving && leader.hello.attempts.contains(&attempt), "{:?}", leader.hello);
    worker.asked.stop();
    worker.ends(leader).await;
}

/// A leader of a newer version: it says what this one does not know.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_not_known_fails_its_attempt_and_nothing_else() {
    let place = Place::new();
    let socket = place.dir.path().join("newer.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    link::transport::write_endpoint(&place.dir.path().join("endpoint"), &socket).unwrap();
    let worker = place.worker();
    let (stream, _) = listener.accept().await.unwrap();
    let mut leader: Link<serde_json::Value, FromWorker> = over_stream(stream);
    assert!(matches!(leader.recv().await.unwrap(), Some(FromWorker::Hello(_))));
    let say = async |message: ToWorker| serde_json::to_value(message).unwrap();
    let welcome = ToWorker::Welcome { epoch: model::Epoch(1), live: Default::default(), services: Default::default() };
    leader.send(say(welcome).await).await.unwrap();
    leader.send(json!({"type": "praise", "words": 3})).await.unwrap();
    let mut strange = say(ToWorker::Assign(Box::new(bash("true")))).await;
    let unknown = AttemptId(Uuid::new_v4());
    strange["attempt"] = json!(unknown);
    strange["operator"] = json!({"operator": "flink", "job": "x"});
    leader.send(strange).await.unwrap();
    let known = bash("true");
    leader.send(say(ToWorker::Assign(Box::new(known.clone()))).await).await.unwrap();
    let mut ends = std::collections::BTreeMap::new();
    while ends.len() < 2 {
        let message = tokio::time::timeout(Duration::from_secs(30), leader.recv()).await.expect("it answers").unwrap();
        if let FromWorker::Ended { attempt, end, .. } = message.expect("the connection goes on") {
            ends.insert(attempt, *end);
        }
    }
    let refused = &ends[&unknown];
    assert!(refused.kind == EndKind::Failed && refused.reason.contains("flink"), "{refused:?}");
    assert!(refused.reason.contains("update the worker"), "{refused:?}");
    assert_eq!(ends[&known.attempt].kind, EndKind::Success);
    drop(leader);
    worker.stop().await;
}
