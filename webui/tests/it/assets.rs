//! Assets by the REST API and by their pages.

use engine::{AssetEventRow, Changes, Plan, QueuedAssetRow};
use model::{
    Answer, AnswerStatus, AssetKey,
    command::{CreateAssetEvent, DeleteQueuedAssetEvents},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::read::{self, AssetUse, Direction, EventFilter, EventOrder, QueueFilter, Visible, Window};

use crate::support::{Server, now};

const PRODUCER: &str = "
dag_id: writes
is_paused_upon_creation: false
params: {n: {type: integer, default: 1}}
tasks:
  - {task_id: write, operator: bash, bash_command: 'true', outlets: [{name: trades, uri: 's3://b/trades', extra: {owner: ada}}, {alias: daily}]}
";
const CONSUMER: &str = "
dag_id: waits
is_paused_upon_creation: false
schedule: {any: [trades, {uri: 's3://b/other'}]}
tasks:
  - {task_id: read, operator: bash, bash_command: 'true', inlets: ['s3://b/other']}
";

async fn asset_of(pool: &PgPool, key: &AssetKey) -> i64 {
    read::asset_named(pool, key.name.as_str(), &Visible::All).await.unwrap().unwrap().id
}

/// An event, as the leader of the tests makes one: everybody who waits for the asset hears of it, and no run comes of it.
pub async fn tell(pool: &PgPool, wish: CreateAssetEvent) -> (Plan, Answer) {
    let newest = EventFilter { order: vec![(EventOrder::Timestamp, Direction::Descending)], ..EventFilter::default() };
    let (last, _) = read::asset_events(pool, &newest, Window { limit: 1, offset: 0 }).await.unwrap();
    let id = last.first().map_or(0, |event| event.id) + 1;
    let facts = read::asset_facts(pool, &[asset_of(pool, &wish.asset).await], &Visible::All).await.unwrap();
    let waiting = facts.references.into_iter().filter(|r| r.kind == AssetUse::Waits).map(|r| r.dag_id);
    let changes = Changes {
        first_event: id,
        last_event: id,
        created_at: now(),
        newest_at: now(),
        aliases: std::collections::BTreeSet::new(),
    };
    let queued = |dag_id| QueuedAssetRow { dag_id, asset: wish.asset.clone(), changes: changes.clone() };
    let plan = Plan {
        asset_queue: waiting.map(queued).collect(),
        asset_events: vec![AssetEventRow {
            id,
            asset: wish.asset.clone(),
            at: now(),
            extra: wish.extra.into_map(),
            source: None,
            aliases: std::collections::BTreeSet::new(),
        }],
        ..Plan::default()
    };
    (plan, Answer { status: AnswerStatus::Done, body: json!({ "asset_event_id": id }) })
}

/// Queued events that go, as the leader of the tests lets them.
pub async fn forget(pool: &PgPool, wish: &DeleteQueuedAssetEvents) -> (Plan, Answer) {
    let asset_id = match &wish.asset {
        Some(asset) => Some(asset_of(pool, asset).await),
        None => None,
    };
    let before = wish.before.map(model::door::Instant::get);
    let filter = QueueFilter { dag_id: wish.dag_id.clone(), asset_id, before, visible: Visible::All };
    let found = read::asset_queue(pool, &filter).await.unwrap();
    let body = json!({ "deleted": found.len() });
    let asset_queue_dropped = found.into_iter().map(|queued| (queued.dag_id, queued.asset)).collect();
    (Plan { asset_queue_dropped, ..Plan::default() }, Answer { status: AnswerStatus::Done, body })
}

/// A server with a DAG that writes and one that waits, and the number of the asset between them.
async fn with_assets() -> (Server, i64) {
    let server = Server::start().await;
    server.leader.take_in(PRODUCER.to_owned());
    server.leader.take_in(CONSUMER.to_owned());
    let user = server.user("user").await;
    for _ in 0..200 {
        let (_, found) = user.get("/assets?dag_ids=waits&dag_ids=writes").await;
        if found["total_entries"] == 2 && user.get("/dags/waits").await.0 == 200 {
            let trades = found["assets"].as_array().unwrap().iter().find(|asset| asset["name"] == "trades").unwrap();
            return (server, trades["id"].as_i64().unwrap());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the DAG files are never taken in");
}

fn names<'v>(list: &'v Value, member: &str) -> Vec<&'v str> {
    list.as_array().unwrap().iter().map(|one| one[member].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_asset_tells_who_writes_it_and_who_waits_for_it() {
    let (server, id) = with_assets().await;
    let viewer = server.user("viewer").await;
    let (status, asset) = viewer.get(&format!("/assets/{id}")).await;
    assert_eq!((status, &asset["uri"], &asset["extra"]["owner"]), (200, &json!("s3://b/trades"), &json!("ada")));
    assert_eq!(names(&asset["scheduled_dags"], "dag_id"), ["waits"]);
    assert_eq!(
        (&asset["producing_tasks"][0]["dag_id"], &asset["producing_tasks"][0]["task_id"]),
        (&json!("writes"), &json!("write"))
    );
    assert_eq!(asset["last_asset_event"], json!({ "id": null, "timestamp": null }));
    let (_, listed) = viewer.get("/assets?name_pattern=RAD&uri_prefix_pattern=s3%3A%2F%2Fb&order_by=-name").await;
    assert_eq!(names(&listed["assets"], "name"), ["trades"]);
    let (_, other) = viewer.get("/assets?name_prefix_pattern=s3").await;
    assert_eq!(names(&other["assets"][0]["consuming_tasks"], "task_id"), ["read"]);
    let (_, aliases) = viewer.get("/assets/aliases?name_pattern=dai").await;
    assert_eq!(names(&aliases["asset_aliases"], "name"), ["daily"]);
    let (status, alias) = viewer.get(&format!("/assets/aliases/{}", aliases["asset_aliases"][0]["id"])).await;
    assert_eq!((status, &alias["group"]), (200, &json!("asset")));
    assert_eq!(viewer.get("/assets/4711").await.0, 404);
    let (_, dag) = viewer.get("/dags/waits/details").await;
    assert_eq!(dag["timetable_summary"], "Asset");
    assert_eq!(dag["asset_expression"]["any"][1]["asset"]["uri"], "s3://b/other");
    for (filter, expected) in
        [("has_asset_schedule=true", vec!["waits"]), ("asset_dependency=TRADES", vec!["waits", "writes"])]
    {
        let (_, dags) = viewer.get(&format!("/dags?order_by=dag_id&{filter}")).await;
        assert_eq!(names(&dags["dags"], "dag_id"), expected, "{filter}");
    }
    let (_, timed) = viewer.get("/dags?timetable_type=AssetTriggeredTimetable").await;
    assert_eq!(names(&timed["dags"], "dag_id"), ["waits"]);
}

#[tokio::test]
async fn values_are_kept_of_an_asset() {
    let (server, id) = with_assets().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let store = format!("/assets/{id}/state-store");
    let key = |name: &str| format!("{store}/{name}");
    assert_eq!(viewer.put(&key("cursor"), json!({ "value": 1 })).await.0, 403);
    assert_eq!(user.put("/assets/4711/state-store/cursor", json!({ "value": 1 })).await.0, 404);
    assert_eq!(user.put(&key("cursor"), json!({ "value": { "page": 3 } })).await.0, 204);
    assert_eq!(user.put(&key("cursor"), json!({ "value": { "page": 4 } })).await.0, 204);
    assert_eq!(user.put(&key("api_token"), json!({ "value": "canary" })).await.0, 204);
    let (_, one) = viewer.get(&key("cursor")).await;
    assert_eq!((&one["value"], &one["last_updated_by"]["kind"]), (&json!({ "page": 4 }), &json!("api")));
    let (_, all) = viewer.get(&format!("{store}?limit=1")).await;
    assert_eq!((names(&all["asset_state_store"], "key"), &all["total_entries"]), (vec!["api_token"], &json!(2)));
    assert_eq!(all["asset_state_store"][0]["value"], "***", "who changes nothing sees no secret");
    assert_eq!(user.get(&key("api_token")).await.1["value"], "canary");
    for wrong in [json!({ "value": null }), json!({}), json!({ "value": "x".repeat(70_000) })] {
        assert_eq!(user.put(&key("cursor"), wrong.clone()).await.0, 422, "{wrong}");
    }
    assert_eq!(user.put(&key(&"k".repeat(513)), json!({ "value": 1 })).await.0, 400);
    assert_eq!(user.delete(&key("cursor")).await, 204);
    assert_eq!(viewer.get(&key("cursor")).await.0, 404);
    assert_eq!((user.delete(&store).await, viewer.get(&store).await.1["total_entries"].clone()), (204, json!(0)));
    let (_, lines) = server.user("admin").await.get("/eventLogs?event=set_asset_state_store").await;
    assert_eq!(lines["total_entries"], 3);
    assert!(!lines.to_string().contains("canary"), "{lines}");
}

#[tokio::test]
async fn an_event_is_told_queued_and_forgotten() {
    let (server, id) = with_assets().await;
    let user = server.user("user").await;
    assert_eq!(server.user("viewer").await.post("/assets/events", json!({ "asset_id": id })).await.0, 403);
    assert_eq!(user.post("/assets/events", json!({ "asset_id": 4711 })).await.0, 404);
    assert_eq!(user.post("/assets/events", json!({ "asset": id })).await.0, 422);
    let (status, event) = user.post("/assets/events", json!({ "asset_id": id, "extra": { "rows": 7 } })).await;
    assert_eq!((status, &event["extra"]), (200, &json!({ "rows": 7, "from_rest_api": true })), "{event}");
    assert_eq!((&event["source_map_index"], &event["created_dagruns"]), (&json!(-1), &json!([])));
    let (_, events) = user.get(&format!("/assets/events?asset_id={id}&order_by=-timestamp&name_pattern=trade")).await;
    assert_eq!((&events["total_entries"], &events["asset_events"][0]["id"]), (&json!(1), &event["id"]));
    assert_eq!(user.get("/assets/events?source_dag_id=none").await.1["total_entries"], 0);
    let of_asset = format!("/assets/{id}/queuedEvents");
    let of_dag = "/dags/waits/assets/queuedEvents";
    let of_both = format!("/dags/waits/assets/{id}/queuedEvents");
    for path in [of_asset.as_str(), of_dag] {
        let (_, queued) = user.get(path).await;
        assert_eq!((&queued["total_entries"], &queued["queued_events"][0]["dag_id"]), (&json!(1), &json!("waits")));
    }
    assert_eq!(user.get(&of_both).await.1["asset_id"], id);
    assert_eq!(user.get(&format!("{of_both}?before=2020-01-01T00:00:00Z")).await.0, 404);
    assert_eq!(user.delete(&format!("{of_dag}?before=2020-01-01T00:00:00Z")).await, 404);
    assert_eq!(user.delete(&of_both).await, 204);
    assert_eq!(user.delete(&of_both).await, 404);
    user.post("/assets/events", json!({ "asset_id": id })).await;
    assert_eq!(user.delete(of_dag).await, 204);
    user.post("/assets/events", json!({ "asset_id": id })).await;
    assert_eq!(user.delete(&of_asset).await, 204);
    assert_eq!(user.get(&of_asset).await.1["total_entries"], 0);
}

#[tokio::test]
async fn a_run_tells_the_events_that_it_has_taken_up() {
    let (server, id) = with_assets().await;
    let user = server.user("user").await;
    for n in 1..=3 {
        user.post("/assets/events", json!({ "asset_id": id, "extra": { "n": n } })).await;
    }
    let (_, run) = user.post("/dags/waits/dagRuns", json!({ "logical_date": null, "dag_run_id": "r1" })).await;
    let key: i64 =
        sqlx::query_scalar("SELECT id FROM dag_run WHERE run_id = 'r1'").fetch_one(&server.pool).await.unwrap();
    let taken =
        "INSERT INTO dag_run_asset (run_id, asset_id, dag_id, first_event, last_event) VALUES ($1, $2, 'waits', 1, 2)";
    sqlx::query(taken).bind(key).bind(id).execute(&server.pool).await.unwrap();
    let path = format!("/dags/waits/dagRuns/{}/upstreamAssetEvents", run["dag_run_id"].as_str().unwrap());
    let (status, events) = user.get(&path).await;
    assert_eq!((status, &events["total_entries"]), (200, &json!(2)));
    assert_eq!(events["asset_events"][0]["created_dagruns"][0]["run_id"], "r1");
    let triggering: Vec<_> = events["asset_events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["created_dagruns"][0]["triggering"].clone())
        .collect();
    assert_eq!(triggering, [json!(false), json!(true)]);
    let (_, all) = user.get(&format!("/assets/events?asset_id={id}&order_by=timestamp")).await;
    assert_eq!(all["asset_events"][2]["created_dagruns"], json!([]), "the third is taken up by nobody");
    let (_, runs) = user.get("/dags/waits/dagRuns?consuming_asset_pattern=trades").await;
    assert_eq!(runs["total_entries"], 1);
    assert_eq!(user.get("/dags/waits/dagRuns?consuming_asset_pattern=nothing").await.1["total_entries"], 0);
}

#[tokio::test]
async fn the_one_dag_that_writes_an_asset_makes_it() {
    let (server, id) = with_assets().await;
    let user = server.user("user").await;
    let (status, run) = user.post(&format!("/assets/{id}/materialize"), json!({ "conf": { "n": 3 } })).await;
    assert_eq!(
        (status, &run["dag_id"], &run["run_type"]),
        (200, &json!("writes"), &json!("asset_materialization")),
        "{run}"
    );
    assert_eq!(user.post(&format!("/assets/{id}/materialize"), Value::Null).await.0, 200);
    assert_eq!(user.post(&format!("/assets/{id}/materialize"), json!({ "conf": { "n": "x" } })).await.0, 400);
    assert_eq!(user.post(&format!("/assets/{id}/materialize"), json!({ "logical_date": "soon" })).await.0, 422);
    let (_, listed) = user.get("/assets?name_prefix_pattern=s3").await;
    let nobody = listed["assets"][0]["id"].as_i64().unwrap();
    assert_eq!(user.post(&format!("/assets/{nobody}/materialize"), Value::Null).await.0, 404);
    assert_eq!(user.post("/assets/4711/materialize", Value::Null).await.0, 404);
    assert_eq!(server.user("viewer").await.post(&format!("/assets/{id}/materialize"), Value::Null).await.0, 403);
}

#[tokio::test]
async fn the_pages_show_assets_their_events_and_how_dags_are_joined() {
    let (server, id) = with_assets().await;
    let token = server.token("user").await;
    let (status, list) = server.page(&token, "/assets").await;
    assert!(status == 200 && list.contains("s3:&#x2F;&#x2F;b&#x2F;trades") && list.contains("1 task"), "{list}");
    let (_, found) = server.page(&token, "/assets?q=other").await;
    assert!(!found.contains("trades") && found.contains("other"));
    let (_, lineage) = server.page(&token, "/assets?tab=lineage").await;
    assert!(lineage.contains("class=\"graph") && lineage.contains("waits: DAG, runs by assets"), "{lineage}");
    let page = format!("/assets/{id}");
    let (_, asset) = server.page(&token, &page).await;
    assert!(asset.contains("Materialize") && asset.contains("writes it") && asset.contains("Create event"), "{asset}");
    let event = format!("{page}/event");
    let answer = server.submit(&token, &page, &event, &[("extra", r#"{"say": "<b>"}"#)]).await;
    assert_eq!(answer.status(), 303);
    let (_, asset) = server.page(&token, &page).await;
    assert!(asset.contains("told by hand") && asset.contains("&lt;b&gt;") && !asset.contains("<b>\"}"), "{asset}");
    assert!(asset.contains("changed "), "the DAG that waits has not taken it up");
    let wrong = server.submit(&token, &page, &event, &[("extra", "[1]")]).await;
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("a JSON object is expected"));
    let made = server.submit(&token, &page, &format!("{page}/materialize"), &[]).await;
    assert_eq!(made.status(), 303);
    assert!(made.headers()["location"].to_str().unwrap().starts_with("/dags/writes/runs/"));
    let viewer = server.token("viewer").await;
    let (_, seen) = server.page(&viewer, &page).await;
    assert!(!seen.contains("Create event") && !seen.contains("Materialize"));
    let (_, dag) = server.page(&token, "/dags/waits").await;
    assert!(dag.contains("when trades or s3:&#x2F;&#x2F;b&#x2F;other has changed"), "{dag}");
    assert_eq!(server.page(&token, "/assets/none").await.0, 404);
}
