//! A leader that owes notifications: it gives them to workers, tries again, and the next leader goes on.

use std::collections::BTreeSet;

use link::{Connector as _, FromWorker, Hello, ToWorker, Told, transport::WorkerLink};
use model::{
    AttemptEnd, Callback, Command, DagId, EndKind, NotificationState, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use sqlx::PgPool;
use store::notifications::{self, Filter, View};
use uuid::Uuid;

use crate::leader::{Scene, done, hello, lead, next_assignment, receive, until};

const DAG: &str = "dag_id: d\nschedule: null\non_failure_callback: {webhook: 'http://127.0.0.1:1/x'}\n\
                   deadline: {reference: queued_at, interval: 0s, callback: {command: late}}\n\
                   tasks: [{task_id: a, operator: bash, bash_command: x, on_failure_callback: {command: echo}}]\n";

fn notifying(identity: Uuid) -> FromWorker {
    let FromWorker::Hello(said) = hello(identity, BTreeSet::new()) else { unreachable!("it is a Hello") };
    FromWorker::Hello(Hello { notifies: true, ..said })
}

async fn next_notification(worker: &mut WorkerLink) -> (u64, link::Notification) {
    loop {
        if let ToWorker::Notify { id, notification } = receive(worker).await {
            return (id, *notification);
        }
    }
}

async fn answer(worker: &WorkerLink, id: u64, told: Told) {
    worker.send(FromWorker::Notified { id, told, message: "said".into() }).await.unwrap();
}

async fn all(pool: &PgPool) -> Vec<View> {
    notifications::list(pool, &Filter { limit: 100, ..Filter::default() }).await.unwrap()
}

/// Lets a run fail at the hand of a worker.
async fn fail_a_run(scene: &Scene, worker: &mut WorkerLink) {
    let dag = DagId::new("d").unwrap();
    done(&scene.pool, &scene.hints, Command::PauseDag { dag_id: dag.clone(), to: Paused::Active }).await;
    let trigger = TriggerDagRun::by_hand(dag, TriggeredBy::Test);
    done(&scene.pool, &scene.hints, Command::TriggerDagRun(trigger)).await;
    let attempt = next_assignment(worker).await;
    let end = Box::new(AttemptEnd::new(EndKind::Failed, "it broke"));
    worker.send(FromWorker::Ended { seq: 1, attempt, end }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_sent_and_what_was_under_way_is_sent_again_by_the_next_leader() {
    let scene = Scene::with(DAG, &["d"]).await;
    let mut worker = scene.leader.connector.connect().await.unwrap();
    let identity = Uuid::new_v4();
    // One that carries nothing out gets nothing.
    worker.send(hello(identity, BTreeSet::new())).await.unwrap();
    fail_a_run(&scene, &mut worker).await;
    until("three are owed, and put off", async || {
        let found = all(&scene.pool).await;
        found.len() == 3 && found.iter().all(|one| one.state == NotificationState::Waiting && one.attempts == 0)
    })
    .await;
    let second = lead(&scene.url, "second", scene.folder.path());
    let mut worker = scene.leader.connector.connect().await.unwrap();
    worker.send(notifying(identity)).await.unwrap();
    let (mut ids, mut under_way) = (BTreeSet::new(), Vec::new());
    for _ in 0..3 {
        let (id, sent) = next_notification(&mut worker).await;
        assert!(ids.insert(sent.notification), "each is given once");
        under_way.push((id, sent));
    }
    let (first, sent) = under_way.iter().find(|(_, sent)| matches!(sent.callback, Callback::Command(_))).unwrap();
    assert_eq!(sent.context.task_id.as_str(), "a");
    answer(&worker, *first, Told::Yes).await;
    let told = sent.notification;
    until("one is sent", async || {
        all(&scene.pool).await.iter().any(|one| one.id == told && one.state == NotificationState::Sent)
    })
    .await;
    // The leader vanishes: nobody knows what became of the others.
    scene.leader.task.abort();
    drop(worker);
    let mut worker = second.connector.connect().await.unwrap();
    worker.send(notifying(identity)).await.unwrap();
    let mut again = BTreeSet::new();
    for _ in 0..2 {
        let (id, sent) = next_notification(&mut worker).await;
        again.insert(sent.notification);
        answer(&worker, id, Told::Yes).await;
    }
    ids.remove(&told);
    assert_eq!(again, ids, "the same ones, under the same ids");
    until("all are sent", async || all(&scene.pool).await.iter().all(|one| one.state == NotificationState::Sent)).await;
    second.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_can_not_be_sent_now_waits_for_its_pause_and_one_that_can_not_be_at_all_is_given_up() {
    let scene = Scene::with(DAG, &["d"]).await;
    let mut worker = scene.leader.connector.connect().await.unwrap();
    worker.send(notifying(Uuid::new_v4())).await.unwrap();
    fail_a_run(&scene, &mut worker).await;
    for _ in 0..3 {
        let (id, sent) = next_notification(&mut worker).await;
        let told = if matches!(sent.callback, Callback::Webhook(_)) { Told::NotNow } else { Told::No };
        answer(&worker, id, told).await;
    }
    until("their states are stored", async || {
        let found = all(&scene.pool).await;
        let is_told = |one: &View| match one.kind.as_str() {
            "webhook" => one.state == NotificationState::Waiting && one.next_attempt_at > one.at,
            _ => one.state == NotificationState::Failed && one.ended_at.is_some(),
        };
        found.iter().all(|one| is_told(one) && one.attempts == 1 && one.detail.as_deref() == Some("said"))
    })
    .await;
    let run = all(&scene.pool).await[0].run_id.clone();
    let filter = Filter { run: model::RunId::new(run).ok(), limit: 10, ..Filter::default() };
    let deadlines = notifications::deadlines(&scene.pool, &filter).await.unwrap();
    assert!(deadlines.len() == 1 && deadlines[0].missed_at.is_some(), "{deadlines:?}");
    scene.leader.task.abort();
}
