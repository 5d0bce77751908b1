//! What the leader can not take in is held in quarantine, costs nothing but itself, and is taken when it is released.

use std::collections::BTreeSet;

use daemon::leader;
use link::{FromWorker, Hello, ToWorker, transport::Connector as _};
use model::{
    AttemptEnd, Command, DagId, EndKind, RunId, TriggeredBy, XComValue,
    command::{Paused, TriggerDagRun},
};
use sqlx::{Executor, PgPool};
use store::{
    Hints,
    quarantine::{self, Entry, Kind, Subject},
};
use uuid::Uuid;

use crate::leader::{Scene, WITHIN, done, hello, lead, lead_with, migrated, next_assignment, number, receive, until};

/// Stands for whatever PostgreSQL may refuse of a turn.
const REFUSES: &str = "
    CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '22003'; END $$;
    CREATE TRIGGER refuse_poison BEFORE UPDATE ON dag FOR EACH ROW
    WHEN (NEW.dag_id = 'poison' AND NEW.next_run_after IS NOT NULL) EXECUTE FUNCTION refuse_poison();
    CREATE TRIGGER refuse_poison BEFORE INSERT ON xcom FOR EACH ROW WHEN (NEW.key = 'poison')
    EXECUTE FUNCTION refuse_poison()";

async fn held(pool: &PgPool) -> Vec<Entry> {
    quarantine::list(pool, None, (100, 0)).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_can_not_be_taken_in_is_held_and_taken_when_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["good", "poison", "well"] {
        let text = format!("dag_id: {name}\nschedule: '@daily'\ntasks: [{{task_id: a, operator: empty}}]\n");
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let (url, pool) = migrated().await;
    pool.execute(REFUSES).await.unwrap();
    let leader = lead(&url, "first", folder.path());
    until("it is held", async || held(&pool).await.len() == 1).await;
    let entry = held(&pool).await.remove(0);
    assert!(entry.kind == "definition" && entry.failures == 3 && entry.reason.contains("DAG poison"), "{entry:?}");
    let scheduled = "SELECT count(*) FROM dag WHERE next_run_after IS NOT NULL";
    until("the others are scheduled", async || number(&pool, scheduled).await == 2).await;
    assert_eq!(store::cluster::leader_seat(&pool).await.unwrap().epoch.get(), 1, "the leadership goes on");

    // The next leader knows that it is held, and tries it no more.
    leader.task.abort();
    let leader = lead(&url, "second", folder.path());
    let hints = Hints::listen(&pool).await.unwrap();
    let nothing = Command::PauseDag { dag_id: DagId::new("good").unwrap(), to: Paused::Active };
    done(&pool, &hints, nothing.clone()).await;
    assert_eq!(held(&pool).await[0].failures, 3);

    pool.execute("DROP TRIGGER refuse_poison ON dag").await.unwrap();
    let subject: Subject = entry.id.parse().unwrap();
    assert!(quarantine::release(&pool, "me", &subject).await.unwrap());
    until("it is scheduled, too", async || number(&pool, scheduled).await == 3).await;
    assert_eq!(number(&pool, "SELECT count(*) FROM quarantine").await, 0);
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_can_not_be_taken_in_fails_its_attempt_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let text = "dag_id: two\nschedule: null\ntasks:\n  - {task_id: a, operator: bash, bash_command: 'true'}\n  \
                - {task_id: b, operator: bash, bash_command: 'true'}\n";
    std::fs::write(folder.path().join("two.yaml"), text).unwrap();
    let (url, pool) = migrated().await;
    pool.execute(REFUSES).await.unwrap();
    let hints = Hints::listen(&pool).await.unwrap();
    let leader = lead(&url, "first", folder.path());
    let mut worker = leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    until("it is loaded", async || number(&pool, "SELECT count(*) FROM dag").await == 1).await;
    let dag = DagId::new("two").unwrap();
    done(&pool, &hints, Command::PauseDag { dag_id: dag.clone(), to: Paused::Active }).await;
    let wish =
        TriggerDagRun { run_id: Some(RunId::new("r").unwrap()), ..TriggerDagRun::by_hand(dag, TriggeredBy::Test) };
    done(&pool, &hints, Command::TriggerDagRun(wish)).await;
    let (bad, good) = (next_assignment(&mut worker).await, next_assignment(&mut worker).await);
    for (seq, attempt, key) in [(1, bad, "poison"), (2, good, "well")] {
        let xcoms = vec![XComValue { key: key.to_owned(), value: "1".into() }];
        let end = Box::new(AttemptEnd { xcoms, ..AttemptEnd::new(EndKind::Success, "") });
        worker.send(FromWorker::Ended { seq, attempt, end }).await.unwrap();
    }
    let acknowledged = async {
        loop {
            if matches!(receive(&mut worker).await, ToWorker::Ack { seq: 2.. }) {
                break;
            }
        }
    };
    tokio::time::timeout(WITHIN, acknowledged).await.expect("the worker may forget both");
    let ended = "SELECT count(*) FROM task_instance WHERE state = 5 OR ended_at IS NOT NULL";
    until("both have ended", async || number(&pool, ended).await == 2).await;
    assert_eq!(number(&pool, "SELECT count(*) FROM xcom WHERE key = 'well'").await, 1);
    let entries = held(&pool).await;
    let subject = Subject::new(Kind::Report, format!("{bad} ended"));
    assert_eq!(entries.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>(), [subject.to_string()]);
    assert_eq!(store::cluster::leader_seat(&pool).await.unwrap().epoch.get(), 1, "the leadership goes on");

    // Its attempt has ended meanwhile: a release brings the report again, and it changes nothing.
    assert!(quarantine::release(&pool, "me", &subject).await.unwrap());
    until("it is taken", async || number(&pool, "SELECT count(*) FROM quarantine").await == 0).await;
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_words_can_not_be_stored_is_turned_away_alone() {
    let scene = Scene::with("dag_id: one\nschedule: null\ntasks: [{task_id: a, operator: empty}]\n", &["one"]).await;
    let odd_name = |hello: &mut Hello| "a\0b".clone_into(&mut hello.name);
    let odd_queue = |hello: &mut Hello| hello.queues = BTreeSet::from(["\0".to_owned()]);
    let odd: [fn(&mut Hello); 2] = [odd_name, odd_queue];
    for change in odd {
        let mut worker = scene.leader.connector.connect().await.unwrap();
        let FromWorker::Hello(mut words) = hello(Uuid::new_v4(), BTreeSet::new()) else { panic!("hello says Hello") };
        change(&mut words);
        worker.send(FromWorker::Hello(words)).await.unwrap();
        let heard = tokio::time::timeout(WITHIN, worker.recv()).await.expect("the connection is closed");
        assert_eq!(heard.unwrap(), None);
    }
    let mut worker = scene.leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    assert!(matches!(receive(&mut worker).await, ToWorker::Welcome { .. }));
    assert_eq!(store::cluster::leader_seat(&scene.pool).await.unwrap().epoch.get(), 1, "the leadership goes on");
    scene.leader.task.abort();
}

/// A worker joins in the turn that is refused because of another's report: it is welcomed before it is given anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_joins_beside_a_bad_report_is_welcomed_before_it_is_given_work() {
    let folder = tempfile::tempdir().unwrap();
    let text = "dag_id: two\nschedule: null\ntasks:\n  - {task_id: a, operator: bash, bash_command: 'true'}\n  \
                - {task_id: b, operator: bash, bash_command: 'true'}\n  \
                - {task_id: c, operator: bash, bash_command: 'true'}\n";
    std::fs::write(folder.path().join("two.yaml"), text).unwrap();
    let (url, pool) = migrated().await;
    pool.execute(REFUSES).await.unwrap();
    let hints = Hints::listen(&pool).await.unwrap();
    let news = leader::news_channel();
    let waiting = {
        let sender = news.0.clone();
        move || sender.max_capacity() - sender.capacity()
    };
    let leader = lead_with(&url, "first", folder.path(), &folder.path().join(".key"), news);
    until("it is loaded", async || number(&pool, "SELECT count(*) FROM dag").await == 1).await;
    // It has one slot: the second task waits for the end of the first one, the third for the other worker.
    let mut first = leader.connector.connect().await.unwrap();
    let FromWorker::Hello(words) = hello(Uuid::new_v4(), BTreeSet::new()) else { panic!("hello says Hello") };
    first.send(FromWorker::Hello(Hello { slots: 1, ..words })).await.unwrap();
    let dag = DagId::new("two").unwrap();
    let pause = Command::PauseDag { dag_id: dag.clone(), to: Paused::Active };
    done(&pool, &hints, pause.clone()).await;
    done(&pool, &hints, Command::TriggerDagRun(TriggerDagRun::by_hand(dag, TriggeredBy::Test))).await;
    let attempt = next_assignment(&mut first).await;

    // The leader is held up until both are there for its next turn.
    let mut lock = pool.begin().await.unwrap();
    lock.execute("SELECT FROM leader FOR UPDATE").await.unwrap();
    store::inbox::submit(&pool, &pause, "test").await.unwrap();
    let held_up = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND application_name = 'windlass leader' AND wait_event_type = 'Lock'";
    until("the leader waits", async || number(&pool, held_up).await == 1).await;
    let before = waiting();
    let xcoms = vec![XComValue { key: "poison".to_owned(), value: "1".into() }];
    let end = Box::new(AttemptEnd { xcoms, ..AttemptEnd::new(EndKind::Success, "") });
    first.send(FromWorker::Ended { seq: 1, attempt, end }).await.unwrap();
    let mut second = leader.connector.connect().await.unwrap();
    second.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    until("both have come", async || waiting() >= before + 2).await;
    lock.rollback().await.unwrap();

    assert!(matches!(receive(&mut second).await, ToWorker::Welcome { .. }));
    let given = next_assignment(&mut second).await;
    assert_ne!(given, attempt);
    until("the report is held", async || held(&pool).await.len() == 1).await;
    let losses = "SELECT coalesce(sum(infrastructure_losses), 0)::bigint FROM task_instance_extra";
    assert_eq!(number(&pool, losses).await, 0);
    leader.task.abort();
}
