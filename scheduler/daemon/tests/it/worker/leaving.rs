//! A worker that is asked to end: it takes nothing new, lets run what runs, and hands back what takes too long.

use std::time::Duration;

use link::{FromWorker, Link, ToWorker, transport::over_stream};
use model::{AttemptId, EndKind};
use serde_json::json;
use tokio::net::UnixListener;
use uuid::Uuid;
use windlass_daemon::worker::WorkerSettings;

use super::leader::{Leader, Place, Worker, bash};

const LONG: &str = "sleep 300";

/// A worker that runs this.
async fn at_work(
    place: &mut Place,
    command: &str,
    change: impl FnOnce(&mut WorkerSettings),
) -> (Worker, Leader, AttemptId) {
    let worker = place.worker_with(change);
    let mut leader = place.accept().await;
    let attempt = leader.assign(command).await;
    leader.started(attempt).await;
    (worker, leader, attempt)
}

async fn leaves(leader: &mut Leader) {
    leader.until("that it leaves", |m| matches!(m, FromWorker::Beat { leaving: true, .. }).then_some(())).await;
}

/// The attempt comes back, and the worker ends.
async fn handed_back(worker: Worker, mut leader: Leader, attempt: AttemptId) {
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.handed_back), (EndKind::Lost, true));
    worker.ends(leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_and_what_comes_is_handed_back() {
    let mut place = Place::new();
    let go = place.dir.path().join("go").display().to_string();
    let waits = format!("until [ -e {go} ]; do sleep 0.05; done");
    let (worker, mut leader, first) = at_work(&mut place, &waits, |_| {}).await;
    assert!(!leader.hello.leaving && leader.hello.operators.contains("kafka_lag"), "{:?}", leader.hello);
    worker.asked.ask();
    leaves(&mut leader).await;
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
    let limit = |settings: &mut WorkerSettings| settings.drain_max = Duration::from_millis(300);
    let mut place = Place::new();
    let (worker, leader, attempt) = at_work(&mut place, LONG, limit).await;
    worker.asked.ask();
    handed_back(worker, leader, attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait() {
    let mut place = Place::new();
    let (worker, mut leader, attempt) = at_work(&mut place, LONG, |_| {}).await;
    worker.asked.ask();
    leaves(&mut leader).await;
    worker.asked.ask();
    handed_back(worker, leader, attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_hears_that_the_worker_leaves() {
    let mut place = Place::new();
    let (worker, mut leader, attempt) = at_work(&mut place, LONG, |_| {}).await;
    worker.asked.ask();
    leaves(&mut leader).await;
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
