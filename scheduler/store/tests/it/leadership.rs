//! One leader at a time: whoever is deposed writes nothing, and an unknown outcome becomes known.

use std::time::{Duration, Instant};

use engine::Plan;
use model::{Capability, TurnNumber, WorkerId};
use sqlx::{Executor, PgConnection};
use store::{Lease, Sight, StoreError, WorkerRecord, Writer};
use uuid::Uuid;

use crate::support::{Database, Leader, candidate, compile, queued, starting};

#[tokio::test]
async fn a_deposed_leader_writes_nothing() {
    let database = Database::create().await;
    let mut old = database.leader().await;
    // A connection of its own, so that it is refused by the fence and not by the loss of its connection.
    let mut writer = Writer::connect(&database.url).await.unwrap();
    let new = Leader::take_over(&database.url, "second").await;
    assert_eq!(new.epoch().get(), old.epoch().get() + 1);

    let plan = starting(&[queued(1, 0)]);
    let refused = store::apply(&mut writer, old.epoch(), new.leadership.now, &plan).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let with_rare_parts = Plan { pools_dropped: vec!["default_pool".to_owned()], ..plan.clone() };
    let refused = store::apply(&mut writer, old.epoch(), new.leadership.now, &with_rare_parts).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let refused = store::store_version(&mut writer, old.epoch(), &compile("etl", &["a"])).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let refused = store::worker_lost(&mut writer, old.epoch(), WorkerId(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");

    let cut_off = old.apply(&plan).await.unwrap_err();
    assert!(matches!(cut_off, StoreError::Unknown { .. }), "its connection was ended: {cut_off:?}");
    let resumed = store::resume(&mut Writer::connect(&database.url).await.unwrap(), old.epoch()).await;
    assert!(matches!(resumed, Err(StoreError::Deposed)));
    assert_eq!(database.count("task_instance").await + database.count("dag").await, 0);
    assert_eq!(database.count("pool").await, 1);
}

#[tokio::test]
async fn a_takeover_ends_a_leader_that_sleeps_in_its_transaction() {
    let database = Database::create().await;
    let mut old = database.leader().await;
    let epoch = old.epoch().get();
    old.writer.connection().execute("BEGIN").await.unwrap();
    let lock = format!("UPDATE leader SET turn = turn + 1 WHERE epoch = {epoch}");
    old.writer.connection().execute(lock.as_str()).await.unwrap();
    let begun = Instant::now();
    let new = Leader::take_over(&database.url, "second").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(new.leadership.turn, TurnNumber(0), "what the old one had not committed is gone");
}

#[tokio::test]
async fn of_several_candidates_one_leads() {
    let database = Database::create().await;
    let mut tries = Vec::new();
    for number in 0..6 {
        let url = database.url.clone();
        tries.push(tokio::spawn(async move {
            let mut writer = Writer::connect(&url).await?;
            let leadership = store::lead(&mut writer, &candidate(&format!("candidate {number}"))).await?;
            Ok::<_, StoreError>((writer, leadership))
        }));
    }
    let mut leaders = Vec::new();
    for attempt in tries {
        leaders.extend(attempt.await.unwrap());
    }
    let newest = leaders.iter().map(|(_, leadership)| leadership.epoch).max().unwrap();
    let mut in_force = 0;
    for (writer, leadership) in &mut leaders {
        let stored = store::apply(writer, leadership.epoch, leadership.now, &Plan::default()).await;
        in_force += u32::from(stored.is_ok());
        assert_eq!(stored.is_ok(), leadership.epoch == newest, "{stored:?}");
    }
    assert_eq!(in_force, 1);
}

#[tokio::test]
async fn an_unknown_outcome_becomes_known_on_a_new_connection() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    leader.apply(&starting(&[queued(1, 0)])).await.unwrap();
    end_backends_of(&database, "windlass leader").await;
    let broken = leader.apply(&starting(&[queued(1, 1)])).await.unwrap_err();
    assert!(matches!(broken, StoreError::Unknown { .. }), "{broken:?}");

    let mut writer = Writer::connect(&database.url).await.unwrap();
    let stored = store::resume(&mut writer, leader.epoch()).await.unwrap();
    assert_eq!(stored, TurnNumber(1), "the turn that broke is not stored");
    let mut leader = Leader { writer, leadership: leader.leadership };
    assert_eq!(leader.apply(&starting(&[queued(1, 1)])).await.unwrap().turn, TurnNumber(2));

    // The next leader knows which backend to end.
    let _new = Leader::take_over(&database.url, "second").await;
    assert!(matches!(leader.apply(&Plan::default()).await, Err(StoreError::Unknown { .. })));
}

#[tokio::test]
async fn a_standby_sees_a_living_leader_a_silent_one_and_one_that_let_go() {
    let database = Database::create().await;
    let leader = database.leader().await;
    let mut lease = Lease::connect(&database.url).await.unwrap();
    let mut standby = Lease::connect(&database.url).await.unwrap();
    assert_eq!(lease.bump(leader.epoch()).await.unwrap(), 0);

    let start = Instant::now();
    assert_eq!(standby.watch(start).await.unwrap(), Sight::Alive);
    lease.bump(leader.epoch()).await.unwrap();
    assert_eq!(standby.watch(start + Duration::from_secs(6)).await.unwrap(), Sight::Alive);
    assert_eq!(standby.watch(start + Duration::from_secs(10)).await.unwrap(), Sight::Alive);
    assert_eq!(standby.watch(start + Duration::from_secs(11)).await.unwrap(), Sight::Vacant);

    let mut other = Lease::connect(&database.url).await.unwrap();
    assert_eq!(other.watch(start).await.unwrap(), Sight::Alive);
    lease.close().await;
    // The server notices the end of a connection a moment later.
    let begun = Instant::now();
    while other.watch(start).await.unwrap() == Sight::Alive {
        assert!(begun.elapsed() < Duration::from_secs(5), "the lock is not free");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = other.view().await.unwrap();
    assert_eq!((view.holder.as_str(), view.endpoint.as_str()), ("first", "unix:first"));
}

#[tokio::test]
async fn a_newer_format_is_not_led() {
    let database = Database::create().await;
    database.pool.execute("UPDATE leader SET format = 99").await.unwrap();
    let mut writer = Writer::connect(&database.url).await.unwrap();
    let refused = store::lead(&mut writer, &candidate("old binary")).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 99, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_worker_keeps_its_number() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let mut worker = WorkerRecord {
        identity: Uuid::new_v4(),
        name: "host:1".to_owned(),
        slots: 4,
        queues: ["default".to_owned()].into(),
        capabilities: [Capability::Light, Capability::LakeLocal].into(),
    };
    let first = store::register_worker(&mut leader.writer, epoch, &worker).await.unwrap();
    "host:2".clone_into(&mut worker.name);
    let again = store::register_worker(&mut leader.writer, epoch, &worker).await.unwrap();
    assert_eq!(first, again);
    let workers = store::load(leader.writer.connection()).await.unwrap().workers;
    assert_eq!((workers[0].name.as_str(), &workers[0].capabilities), ("host:2", &worker.capabilities));
    store::worker_lost(&mut leader.writer, epoch, first).await.unwrap();
    assert!(store::load(leader.writer.connection()).await.unwrap().workers.is_empty());
}

#[tokio::test]
async fn services_come_back_as_they_were_stored() {
    use model::{ServiceKey, ServiceState, operator::ServiceSpec};
    use store::{ServiceRow, Wanted};
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let spec: ServiceSpec =
        serde_json::from_value(serde_json::json!({"name": "sink", "command": ["windlass-tasks", "bronze-sink"]}))
            .unwrap();
    let row = ServiceRow {
        key: ServiceKey { dag: crate::support::dag_id("etl"), name: "sink".to_owned(), replica: 0 },
        spec,
        hash: "abc".to_owned(),
        wanted: Wanted::Running,
        state: ServiceState::Starting,
        instance: Some(Uuid::new_v4()),
        worker: Some(WorkerId(1)),
        deaths: 1,
        restarts: 2,
        not_before: None,
        started_at: None,
        changed_at: crate::support::noon(),
        progress: serde_json::Value::Null,
        progress_seq: 7,
        progress_stored_at: None,
        last_error: Some("it broke".to_owned()),
    };
    store::save_services(&mut leader.writer, epoch, std::slice::from_ref(&row)).await.unwrap();
    let ready = ServiceRow { state: ServiceState::Ready, progress: serde_json::json!({"lag": 0}), ..row };
    store::save_services(&mut leader.writer, epoch, std::slice::from_ref(&ready)).await.unwrap();
    assert_eq!(store::load_services(leader.writer.connection()).await.unwrap(), [ready]);
}

/// Ends other connections from the server's side, as a failing network would.
async fn end_backends_of(database: &Database, application: &str) {
    let mut connection: sqlx::pool::PoolConnection<sqlx::Postgres> = database.pool.acquire().await.unwrap();
    let connection: &mut PgConnection = &mut connection;
    sqlx::query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE application_name = $1 AND datname = current_database()",
    )
    .bind(application)
    .execute(connection)
    .await
    .unwrap();
}
