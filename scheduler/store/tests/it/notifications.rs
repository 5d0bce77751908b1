//! What is owed to the outside: written with its turn, taken by one leader, and remembered.

use std::time::Duration;

use chrono::TimeDelta;
use engine::{DagVersion, DeadlineRow, NotificationRow, Plan};
use model::{CallbackEvent, NotificationId, NotificationState, RunKey};
use store::{
    StoreError, maintenance,
    notifications::{self, Filter, Outcome, Room},
};
use uuid::Uuid;

use crate::support::{Database, Leader, dag_id, noon, run, run_id};

const ROOM: Room = Room { at_once: 100, of_dag: 2 };

fn owed(version: &DagVersion, number: u128, dag: &str) -> NotificationRow {
    NotificationRow {
        id: NotificationId(Uuid::from_u128(number)),
        dag_id: dag_id(dag),
        run: RunKey(1),
        run_id: run_id(1),
        version: version.id,
        event: CallbackEvent::DagFailure,
        position: 0,
        kind: "webhook".to_owned(),
        deadline: None,
        task: None,
        reason: Some("a \0 in it".to_owned()),
        at: chrono::Utc::now() - TimeDelta::days(2) + TimeDelta::seconds(i64::try_from(number).unwrap()),
    }
}

fn due(version: &DagVersion, number: u128) -> DeadlineRow {
    DeadlineRow {
        id: Uuid::from_u128(number),
        run: RunKey(1),
        dag_id: dag_id("etl"),
        run_id: run_id(1),
        version: version.id,
        position: 0,
        name: Some("fast".to_owned()),
        kinds: vec!["webhook".to_owned()],
        at: noon(),
        created_at: noon(),
        is_missed: false,
    }
}

async fn leading(database: &Database) -> (Leader, DagVersion) {
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a"]).await;
    let plan = Plan {
        new_runs: vec![run(&version, 1)],
        notifications: (1..=3)
            .map(|number| owed(&version, number, "etl"))
            .chain([owed(&version, 9, "other")])
            .collect(),
        deadlines: vec![due(&version, 21), due(&version, 22), due(&version, 23)],
        ..Plan::default()
    };
    leader.apply(&plan).await.unwrap();
    (leader, version)
}

#[tokio::test]
async fn each_is_taken_once_a_few_of_a_dag_at_a_time_and_again_by_the_next_leader() {
    let database = Database::create().await;
    let (leader, _) = leading(&database).await;
    let (pool, epoch) = (&database.pool, leader.epoch());
    let ids = |taken: &[notifications::Taken]| taken.iter().map(|one| one.id.0.as_u128()).collect::<Vec<_>>();
    let first = notifications::take(pool, epoch, ROOM).await.unwrap();
    assert_eq!(ids(&first), [1, 2, 9], "two of a DAG, and the other DAG's is not behind them");
    assert_eq!(first[0].reason.as_deref(), Some("a \u{fffd} in it"));
    assert!(first.iter().all(|one| one.attempts == 1 && one.is_late), "two days are long");
    assert!(notifications::take(pool, epoch, ROOM).await.unwrap().is_empty(), "the DAG has no room");
    notifications::set(pool, epoch, first[0].id, &Outcome::Sent, "200").await.unwrap();
    let again = Outcome::Again { after: Duration::ZERO, counts: false };
    notifications::set(pool, epoch, first[2].id, &again, "nobody").await.unwrap();
    let second = notifications::take(pool, epoch, ROOM).await.unwrap();
    assert_eq!(ids(&second), [3, 9]);
    assert_eq!(second[1].attempts, 1, "what found nobody was no try");
    let later = Outcome::Again { after: Duration::from_secs(3_600), counts: true };
    notifications::set(pool, epoch, second[1].id, &later, "503").await.unwrap();
    // The next leader sends again what was under way, and the old one does nothing more.
    let next = Leader::take_over(&database.url, "next").await;
    let refused = notifications::set(pool, epoch, second[0].id, &Outcome::Sent, "").await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused}");
    assert!(notifications::take(pool, epoch, ROOM).await.unwrap().is_empty());
    assert_eq!(notifications::take_back(pool, next.epoch()).await.unwrap(), 2);
    assert_eq!(ids(&notifications::take(pool, next.epoch(), ROOM).await.unwrap()), [2, 3]);
    let list = notifications::list(pool, &Filter { limit: 10, ..Filter::default() }).await.unwrap();
    let states: Vec<_> = list.iter().map(|one| (one.id.0.as_u128(), one.state, one.attempts)).collect();
    use NotificationState::{Sending, Sent, Waiting};
    assert_eq!(states, [(9, Waiting, 1), (3, Sending, 2), (2, Sending, 2), (1, Sent, 1)]);
}

#[tokio::test]
async fn deadlines_are_met_missed_and_loaded_by_the_next_leader() {
    let database = Database::create().await;
    let (mut leader, version) = leading(&database).await;
    let (met, missed) = (Uuid::from_u128(21), Uuid::from_u128(22));
    let plan = Plan { deadlines_dropped: vec![met], deadlines_missed: vec![missed], ..Plan::default() };
    leader.apply(&plan).await.unwrap();
    let loaded = store::load(leader.writer.connection()).await.unwrap().snapshot.deadlines;
    let mut rows: Vec<_> = loaded.iter().map(|row| (row.id.as_u128(), row.is_missed)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [(22, true), (23, false)], "its run has not ended, so that what it has missed is known");
    assert_eq!(loaded.iter().find(|row| !row.is_missed), Some(&due(&version, 23)));
    // What is old goes, and what is open holds its version.
    let old = "UPDATE notification SET state = 2, ended_at = now() - interval '31 days' WHERE dag_id = 'other'";
    sqlx::query(old).execute(&database.pool).await.unwrap();
    maintenance::sweep(&mut leader.writer, leader.leadership.epoch).await.unwrap();
    assert_eq!(database.count("notification").await, 3);
}
