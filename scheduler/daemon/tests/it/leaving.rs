//! Workers that leave, and assignments that never arrived, with a real leader and workers that are played by hand.

use std::collections::BTreeSet;

use link::{
    FromWorker, Hello, ToWorker,
    transport::{Connector as _, WorkerLink},
};
use model::{
    AttemptEnd, AttemptId, Command, DagId, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use uuid::Uuid;

use crate::leader::{Scene, done, hello, lead, next_assignment, number, receive, until};

const DAG: &str = "dag_id: one\nschedule: null\ntasks:\n  - {task_id: a, operator: bash, bash_command: 'true'}\n";

impl Scene {
    async fn trigger(&self) {
        let dag_id = DagId::new("one").unwrap();
        done(&self.pool, &self.hints, Command::PauseDag { dag_id: dag_id.clone(), to: Paused::Active }).await;
        let wish = TriggerDagRun::by_hand(dag_id, TriggeredBy::Test);
        done(&self.pool, &self.hints, Command::TriggerDagRun(wish)).await;
    }

    async fn join(&self, change: impl FnOnce(&mut Hello)) -> WorkerLink {
        let worker = self.leader.connector.connect().await.unwrap();
        let FromWorker::Hello(mut words) = hello(Uuid::new_v4(), BTreeSet::new()) else { panic!("hello says Hello") };
        change(&mut words);
        worker.send(FromWorker::Hello(words)).await.unwrap();
        worker
    }
}

fn leaves() -> FromWorker {
    FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: true }
}

const LOSSES: &str = "SELECT coalesce(sum(infrastructure_losses), 0)::bigint FROM task_instance_extra";
const LOST_WORKERS: &str = "SELECT count(*) FROM worker WHERE lost_at IS NOT NULL";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leaving_worker_hands_back_goes_to_another_at_no_cost_and_the_worker_is_forgotten() {
    let scene = Scene::with(DAG, &["one"]).await;
    let mut first = scene.join(|_| {}).await;
    scene.trigger().await;
    let attempt = next_assignment(&mut first).await;
    first.send(leaves()).await.unwrap();
    let mut second = scene.join(|_| {}).await;
    let end = Box::new(AttemptEnd::handed_back("its worker is shutting down"));
    first.send(FromWorker::Ended { seq: 1, attempt, end }).await.unwrap();
    let again = next_assignment(&mut second).await;
    assert_ne!(again, attempt);
    assert_eq!(number(&scene.pool, LOSSES).await, 0);
    drop(first);
    // It has said that it leaves and holds nothing: ten seconds of silence are enough, not 75.
    until("it is noted that the worker is gone", async || {
        second.send(FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }).await.unwrap();
        number(&scene.pool, LOST_WORKERS).await == 1
    })
    .await;
    scene.leader.task.abort();
}

/// Takes the place of the leader and welcomes the worker again, which says how long it has lived.
async fn after_a_takeover(up: Option<i64>) -> (Scene, WorkerLink, AttemptId) {
    let mut scene = Scene::with(DAG, &["one"]).await;
    let identity = Uuid::new_v4();
    let mut worker = scene.join(|words| words.worker = identity).await;
    scene.trigger().await;
    let attempt = next_assignment(&mut worker).await;
    scene.leader.task.abort();
    drop(worker);
    scene.leader = lead(&scene.url, "second", scene.folder.path());
    let worker = scene.join(|words| (words.worker, words.up_micros) = (identity, up)).await;
    (scene, worker, attempt)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_a_killed_leader_never_sent_is_sent_by_the_next_one() {
    let (scene, mut worker, attempt) = after_a_takeover(Some(3_600_000_000)).await;
    assert_eq!(next_assignment(&mut worker).await, attempt, "it was assigned while this process lived");
    assert_eq!(number(&scene.pool, LOSSES).await, 0);
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_assigned_to_the_process_before_is_lost_and_tried_again() {
    let (scene, mut worker, attempt) = after_a_takeover(Some(0)).await;
    assert_ne!(next_assignment(&mut worker).await, attempt);
    assert_eq!(number(&scene.pool, LOSSES).await, 1);
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_was_lost_with_its_connection_is_sent_again() {
    let scene = Scene::with(DAG, &["one"]).await;
    let identity = Uuid::new_v4();
    let mut worker = scene.join(|words| words.worker = identity).await;
    scene.trigger().await;
    let attempt = next_assignment(&mut worker).await;
    drop(worker);
    let mut worker = scene.join(|words| words.worker = identity).await;
    assert_eq!(next_assignment(&mut worker).await, attempt);
    assert_eq!(number(&scene.pool, LOSSES).await, 0);
    drop(worker);
    // Another process under this identity: the one that was given the attempt is dead.
    let mut worker = scene.join(|words| (words.worker, words.incarnation) = (identity, Uuid::from_u128(2))).await;
    assert_ne!(next_assignment(&mut worker).await, attempt);
    assert_eq!(number(&scene.pool, LOSSES).await, 1);
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_a_neighbouring_version_is_welcome_and_a_distant_one_is_not() {
    let scene = Scene::with(DAG, &["one"]).await;
    let next = link::PROTOCOL_VERSION + 1;
    let mut newer =
        scene.join(|words| (words.protocol, words.protocol_oldest) = (next, Some(link::PROTOCOL_VERSION))).await;
    assert!(matches!(receive(&mut newer).await, ToWorker::Welcome { .. }));
    let mut distant = scene.join(|words| (words.protocol, words.protocol_oldest) = (next, Some(next))).await;
    assert!(distant.recv().await.unwrap().is_none(), "its connection is closed");
    scene.leader.task.abort();
}
