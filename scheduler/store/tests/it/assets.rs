//! Assets: what DAGs say of them is found, events and queues are stored with the turns that make them, and old events go.

use std::collections::BTreeSet;

use engine::{AssetEventRow, AssetSource, Changes, ConsumedAssetRow, DagVersion, Plan, QueuedAssetRow, RunRow};
use model::{AssetKey, MapIndex, RunKey, RunType, TaskId};
use serde_json::json;
use store::{
    maintenance,
    read::{
        self, AliasFilter, AssetFilter, AssetUse, Direction, EventFilter, EventOrder, QueueFilter, Visible, Window,
    },
    retention::{self, Kind},
};

use crate::support::{Database, Leader, dag_id, noon, run, run_id};

const ALL: Window = Window { limit: 100, offset: 0 };

fn key(name: &str, uri: &str) -> AssetKey {
    AssetKey::of(name, uri).unwrap()
}

fn event(id: i64, asset: AssetKey) -> AssetEventRow {
    let source = AssetSource {
        dag_id: dag_id("p"),
        run_id: run_id(1),
        task_id: TaskId::new("write").unwrap(),
        map_index: MapIndex::UNMAPPED,
    };
    let extra = serde_json::from_value(json!({ "n": id, "nul": "\0" })).unwrap();
    AssetEventRow { id, asset, at: noon(), extra, source: Some(source), aliases: BTreeSet::new() }
}

fn queued(asset: AssetKey, first: i64, last: i64) -> QueuedAssetRow {
    let aliases = BTreeSet::from(["daily".to_owned()]);
    let changes = Changes { first_event: first, last_event: last, created_at: noon(), newest_at: noon(), aliases };
    QueuedAssetRow { dag_id: dag_id("c"), asset, changes }
}

async fn store(leader: &mut Leader, text: &str) -> DagVersion {
    struct NoFiles;
    impl dag::ReadFile for NoFiles {
        fn read(&self, _name: &str) -> Result<Vec<u8>, dag::FileProblem> {
            Err(dag::FileProblem::Missing)
        }
    }
    let mut loaded = dag::load("test.yaml", text, &NoFiles);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    store::store_version(&mut leader.writer, leader.leadership.epoch, &loaded.dags.pop().unwrap()).await.unwrap()
}

fn producer(outlets: &str) -> String {
    format!("dag_id: p\ntasks:\n  - {{task_id: write, operator: empty, outlets: {outlets}}}\n")
}

fn consumer(schedule: &str) -> String {
    format!(
        "dag_id: c\nschedule: {schedule}\ntasks:\n  - {{task_id: read, operator: empty, inlets: [{{alias: daily}}]}}\n"
    )
}

async fn names(database: &Database, filter: &AssetFilter) -> Vec<(String, String)> {
    let (found, total) = read::assets(&database.pool, filter, ALL).await.unwrap();
    assert_eq!(usize::try_from(total).unwrap(), found.len());
    found.into_iter().map(|asset| (asset.key.name.to_string(), asset.key.uri.to_string())).collect()
}

fn pair(name: &str, uri: &str) -> (String, String) {
    (name.to_owned(), uri.to_owned())
}

#[tokio::test]
async fn what_a_schedule_names_by_a_word_becomes_the_asset_that_a_task_declares() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let active = AssetFilter { only_active: true, ..AssetFilter::default() };
    store(&mut leader, &consumer("['s3://b/k', other]")).await;
    assert_eq!(names(&database, &active).await, [pair("other", "other"), pair("s3://b/k", "s3://b/k")]);
    let id = read::asset_named(&database.pool, "s3://b/k", &Visible::All).await.unwrap().unwrap().id;
    store(&mut leader, &producer("[{name: trades, uri: 's3://b/k', group: g, extra: {a: 1}}, {alias: daily}]")).await;
    let trades = read::asset_named(&database.pool, "trades", &Visible::All).await.unwrap().unwrap();
    assert_eq!((trades.id, trades.group.as_str()), (id, "g"), "it is the same asset, and its name is known now");
    assert_eq!(trades.extra.unwrap()["a"], 1);
    let facts = read::asset_facts(&database.pool, &[id], &Visible::All).await.unwrap();
    let uses: Vec<_> = facts.references.iter().map(|r| (r.dag_id.as_str(), r.kind, r.task_id.as_str())).collect();
    assert_eq!(uses, [("c", AssetUse::Waits, ""), ("p", AssetUse::Writes, "write")]);
    let only_c = AssetFilter { dag_ids: vec!["c".to_owned()], ..active.clone() };
    assert_eq!(names(&database, &only_c).await.len(), 2);
    let blind = AssetFilter { visible: Visible::Only(["nobody".to_owned()].into()), ..active.clone() };
    assert_eq!(names(&database, &blind).await, []);
    let (aliases, _) = read::aliases(&database.pool, &AliasFilter::default(), ALL).await.unwrap();
    assert_eq!(aliases.iter().map(|alias| alias.name.as_str()).collect::<Vec<_>>(), ["daily"]);
    // A version that says nothing of them any more leaves them without a DAG.
    store(&mut leader, &consumer("null")).await;
    assert_eq!(names(&database, &active).await, [pair("trades", "s3://b/k")]);
    assert_eq!(names(&database, &AssetFilter::default()).await.len(), 2);
    let links = read::asset_links(&database.pool, &Visible::All).await.unwrap();
    assert_eq!(links.len(), 1);
}

#[tokio::test]
async fn an_event_its_queue_and_the_run_that_takes_it_up_are_stored_with_their_turns() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    store(&mut leader, &producer("[{name: a, uri: 'u://a'}, {alias: daily}]")).await;
    let version = store(&mut leader, &consumer("[{name: a}, {alias: daily}]")).await;
    let (a, new) = (key("a", "u://a"), key("new", "u://new"));
    let through = AssetEventRow { aliases: BTreeSet::from(["daily".to_owned()]), ..event(2, new.clone()) };
    let plan = Plan {
        asset_events: vec![event(1, a.clone()), through, event(3, a.clone())],
        asset_queue: vec![queued(a.clone(), 1, 3), queued(new.clone(), 2, 2)],
        ..Plan::default()
    };
    leader.apply(&plan).await.unwrap();

    let loaded = store::load(leader.writer.connection()).await.unwrap().snapshot;
    assert_eq!(loaded.last_asset_event, 3);
    assert_eq!(loaded.asset_queue, [queued(a.clone(), 1, 3), queued(new.clone(), 2, 2)]);
    let found = read::asset_named(&database.pool, "new", &Visible::All).await.unwrap().unwrap();
    assert!(found.is_active, "an alias that DAGs name leads to it");
    let meant = read::assets_meant(&database.pool, &[key("a", "a"), key("none", "none")], &["daily".to_owned()]).await;
    let meant = meant.unwrap();
    assert_eq!(meant.len(), 2, "one by its name, one through the alias");
    let ids = async |each, all| {
        let events = read::newest_events(&database.pool, &meant, each, all).await.unwrap();
        events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    assert_eq!((ids(9, 9).await, ids(1, 9).await, ids(9, 2).await), (vec![3, 2, 1], vec![3, 2], vec![3, 2]));
    let of_c = QueueFilter { dag_id: Some(dag_id("c")), ..QueueFilter::default() };
    assert_eq!(read::asset_queue(&database.pool, &of_c).await.unwrap().len(), 2);

    let made = RunRow { run_type: RunType::AssetTriggered, ..run(&version, 5) };
    let taken = |asset, first_event, last_event| ConsumedAssetRow {
        run: RunKey(5),
        dag_id: dag_id("c"),
        asset,
        first_event,
        last_event,
    };
    let plan = Plan {
        new_runs: vec![made],
        asset_queue_dropped: vec![(dag_id("c"), a.clone()), (dag_id("c"), new.clone())],
        assets_consumed: vec![taken(a.clone(), 1, 3), taken(new.clone(), 2, 2)],
        asset_events: vec![event(4, a.clone())],
        ..Plan::default()
    };
    leader.apply(&plan).await.unwrap();
    assert_eq!(database.count("asset_queue").await, 0);

    let newest = vec![(EventOrder::Timestamp, Direction::Descending)];
    let of_run = EventFilter { taken_by: Some(RunKey(5)), order: newest, ..EventFilter::default() };
    let (events, total) = read::asset_events(&database.pool, &of_run, ALL).await.unwrap();
    assert_eq!((events.iter().map(|event| event.id).collect::<Vec<_>>(), total), (vec![3, 2, 1], 3));
    assert_eq!((events[0].extra["n"].clone(), events[0].source_run_id.as_deref()), (json!(3), Some("manual__1")));
    let runs = read::runs_of_events(&database.pool, &[1, 2, 3, 4], &Visible::All).await.unwrap();
    let by_event: Vec<_> = runs.iter().map(|run| (run.event_id, run.key, run.is_last)).collect();
    assert_eq!(by_event, [(1, RunKey(5), false), (2, RunKey(5), true), (3, RunKey(5), true)]);

    leader.apply(&Plan { runs_dropped: vec![RunKey(5)], ..Plan::default() }).await.unwrap();
    maintenance::sweep_dropped_runs(&mut leader.writer, leader.leadership.epoch).await.unwrap();
    assert_eq!(database.count("dag_run_asset").await, 0);
}

#[tokio::test]
async fn an_event_of_a_number_that_is_taken_stores_nothing() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    store(&mut leader, &producer("[a]")).await;
    let plan = |id| Plan { asset_events: vec![event(id, key("a", "a"))], ..Plan::default() };
    leader.apply(&plan(1)).await.unwrap();
    assert!(leader.apply(&plan(1)).await.is_err());
    assert_eq!(database.count("asset_event").await, 1);
}

#[tokio::test]
async fn a_dag_that_is_deleted_takes_its_queue_and_what_it_says_along() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    store(&mut leader, &consumer("[a, b]")).await;
    let plan = Plan {
        asset_events: vec![event(1, key("a", "a"))],
        asset_queue: vec![queued(key("a", "a"), 1, 1)],
        ..Plan::default()
    };
    leader.apply(&plan).await.unwrap();
    sqlx::query("UPDATE dag SET is_stale = true").execute(&database.pool).await.unwrap();
    leader.apply(&Plan { dags_dropped: vec![dag_id("c")], ..Plan::default() }).await.unwrap();
    assert_eq!((database.count("asset_queue").await, database.count("asset_reference").await), (0, 0));
    assert_eq!(database.count("asset_event").await, 1, "what has happened has happened");
}

#[tokio::test]
async fn old_events_go_but_for_the_newest_one() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    store(&mut leader, &producer("[a]")).await;
    let events = (1..=5).map(|id| event(id, key("a", "a"))).collect();
    leader.apply(&Plan { asset_events: events, ..Plan::default() }).await.unwrap();
    let before = noon() + chrono::TimeDelta::days(1);
    assert_eq!(retention::count(&database.pool, Kind::Assets, before).await.unwrap(), 5);
    retention::request(&database.pool, "ada", &[Kind::Assets], before).await.unwrap();
    let mut cleaner = retention::Cleaner::new(retention::Retention::default());
    for _ in 0..20 {
        cleaner.step(&mut leader.writer, leader.leadership.epoch, noon()).await.unwrap();
    }
    assert_eq!(database.count("asset_event").await, 1);
    assert_eq!(store::load(leader.writer.connection()).await.unwrap().snapshot.last_asset_event, 5);
}
