//! What Airflow has and Windlass has none of, in part or whole: empty where that is the truth, refused with what is missing
//! where something would have to be made.

use serde_json::{Value, json};

use windlass_webui::Setting;

use crate::support::{Client, RUN, Server, client};

const STOCK: &str = "/dags/stock_data_pipeline";

fn of_run(rest: &str) -> String {
    format!("{STOCK}/dagRuns/{}{rest}", RUN.replace('+', "%2B"))
}

/// Asks for a list that has no rows.
async fn empty(client: &Client, path: &str, list: &str) {
    let (status, answer) = client.get(path).await;
    assert_eq!((status, &answer[list], &answer["total_entries"]), (200, &json!([]), &json!(0)), "{path}: {answer}");
}

/// Expects a 501 that says what is missing.
fn says_what_is_missing((status, answer): (u16, Value), what: &str) {
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(status == 501 && detail.contains(what), "{status}: {answer}");
}

#[tokio::test]
async fn what_windlass_has_none_of_is_empty() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    for (path, list) in [
        ("/assets?dag_ids=a&order_by=-uri&only_active=false", "assets"),
        ("/assets/aliases", "asset_aliases"),
        ("/assets/events?timestamp_gte=2026-01-01", "asset_events"),
        ("/assets/7/queuedEvents", "queued_events"),
        ("/dags/stock_data_pipeline/assets/queuedEvents", "queued_events"),
        ("/backfills?dag_id=stock_data_pipeline", "backfills"),
        ("/dags/~/dagRuns/~/hitlDetails?response_received=false&state=awaiting_input", "hitl_details"),
        ("/dags/stock_data_pipeline/dagRuns/~/hitlDetails", "hitl_details"),
        ("/plugins", "plugins"),
        ("/plugins/importErrors", "import_errors"),
        ("/providers", "providers"),
    ] {
        empty(&viewer, path, list).await;
    }
    empty(&viewer, &of_run("/hitlDetails"), "hitl_details").await;
    empty(&viewer, &of_run("/upstreamAssetEvents"), "asset_events").await;
    empty(&viewer, &of_run("/taskInstances/silver/state-store"), "task_state_store").await;
    for path in [
        "/assets/7",
        "/assets/aliases/7",
        "/assets/7/state-store",
        "/assets/7/state-store/k",
        "/dags/stock_data_pipeline/assets/7/queuedEvents",
        "/dags/none/assets/queuedEvents",
        "/backfills/7",
        "/backfills?dag_id=none",
        "/dags/none/dagRuns/~/hitlDetails",
        &of_run("/taskInstances/silver/state-store/k"),
        &of_run("/taskInstances/none/state-store"),
        &of_run("/taskInstances/silver/-1/hitlDetails"),
        &of_run("/taskInstances/silver/-1/hitlDetails/tries/1"),
    ] {
        assert_eq!(viewer.get(path).await.0, 404, "{path}");
    }
    let malformed = [("/assets/x", 422), ("/assets?order_by=owner", 400), ("/assets?only_active=perhaps", 422)];
    let more = [("/backfills", 422), ("/dags/~/dagRuns/a/hitlDetails", 400), ("/assets/events?timestamp_lt=soon", 422)];
    for (path, status) in malformed.into_iter().chain(more) {
        assert_eq!(viewer.get(path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn what_can_not_be_made_yet_is_refused_with_what_is_missing() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let clear = user.post(&format!("{STOCK}/clearPartitions"), json!({"partition_key": "a"})).await;
    says_what_is_missing(clear, "no partitions yet");
    assert_eq!(user.put("/parseDagFile/sample.yaml", Value::Null).await.0, 404);

    let question = of_run("/taskInstances/silver/-1/hitlDetails");
    assert_eq!(user.patch(&question, json!({"chosen_options": ["yes"]})).await.0, 404, "it asks nothing");
    assert_eq!(user.patch(&question, json!({"chosen_options": []})).await.0, 422);
    for path in ["/assets/1/queuedEvents", "/dags/none/assets/queuedEvents", "/dags/none/assets/1/queuedEvents"] {
        assert_eq!(user.delete(path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn a_dag_is_the_favorite_of_who_marks_it() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let (mark, unmark) = (format!("{STOCK}/favorite"), format!("{STOCK}/unfavorite"));
    assert_eq!(viewer.post(&unmark, Value::Null).await.0, 409, "it is none yet");
    assert_eq!(viewer.post(&mark, Value::Null).await, (204, Value::Null));
    for (client, favorites) in [(&viewer, vec!["stock_data_pipeline"]), (&user, Vec::new())] {
        let (_, list) = client.get("/dags?is_favorite=true").await;
        let ids: Vec<_> = list["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap()).collect();
        assert_eq!(ids, favorites);
        assert_eq!(client.get("/dags?is_favorite=false").await.1["total_entries"], 2 - favorites.len());
        let (_, details) = client.get(&format!("{STOCK}/details")).await;
        assert_eq!(details["is_favorite"], !favorites.is_empty());
    }
    let (status, again) = viewer.post(&mark, Value::Null).await;
    assert_eq!((status, again["detail"]["reason"].is_string()), (409, true), "{again}");
    assert_eq!(user.post(&unmark, Value::Null).await.0, 409, "of somebody else");
    assert_eq!(viewer.post(&unmark, Value::Null).await.0, 204);
    assert_eq!(viewer.post("/dags/none/favorite", Value::Null).await.0, 404);
    viewer.post(&mark, Value::Null).await;
    sqlx::query("DELETE FROM dag WHERE dag_id = 'stock_data_pipeline'").execute(&server.pool).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM dag_favorite").fetch_one(&server.pool).await.unwrap();
    assert_eq!(left, 0, "marks go with their DAG");
}

#[tokio::test]
async fn the_configuration_is_told_when_it_is_allowed_and_never_its_secrets() {
    let setting = |section: &str, option: &str, value: &str| Setting {
        section: section.to_owned(),
        option: option.to_owned(),
        value: value.to_owned(),
    };
    let all = [
        setting("windlass", "port", "8083"),
        setting("windlass", "secret_key", "1 canary"),
        setting("database", "url", "postgres://me:canary@h/db"),
    ];
    let server = Server::start_with(|settings| settings.exposed = Some(all.into())).await;
    let viewer = server.user("viewer").await;
    let (status, config) = viewer.get("/config").await;
    assert_eq!(status, 200);
    assert_eq!(config["sections"][0]["options"][1], json!({"key": "secret_key", "value": "< hidden >"}));
    assert!(!config.to_string().contains("canary"), "{config}");
    let (_, database) = viewer.get("/config?section=database").await;
    assert_eq!(database["sections"].as_array().unwrap().len(), 1);
    assert_eq!(viewer.get("/config?section=none").await.0, 404);
    let (_, port) = viewer.get("/config/section/windlass/option/port").await;
    assert_eq!(port, json!({"sections": [{"name": "windlass", "options": [{"key": "port", "value": "8083"}]}]}));
    assert_eq!(viewer.get("/config/section/windlass/option/none").await.0, 404);
    let token = server.token("viewer").await;
    let ask = client().get(server.url("/api/v2/config?section=windlass")).bearer_auth(&token);
    let ini = ask.header("accept", "text/plain").send().await.unwrap().text().await.unwrap();
    assert_eq!(ini, "[windlass]\nport = 8083\nsecret_key = < hidden >\n\n");
}

#[tokio::test]
async fn the_entities_of_a_bulk_request_are_changed_together() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let many = |of: &dyn Fn(usize) -> Value| (0..200).map(of).collect::<Vec<Value>>();
    let create = |entities: Vec<Value>| json!({"actions": [{"action": "create", "entities": entities}]});
    for (path, one) in [
        ("/variables", (&|n| json!({"key": format!("bulk{n}"), "value": n})) as &dyn Fn(usize) -> Value),
        ("/connections", &|n| json!({"connection_id": format!("bulk{n}"), "conn_type": "http"})),
        ("/pools", &|n| json!({"name": format!("bulk{n}"), "slots": 1})),
    ] {
        let (status, answer) = op.patch(path, create(many(one))).await;
        assert_eq!(
            (status, answer["create"]["success"].as_array().map(Vec::len)),
            (200, Some(200)),
            "{path}: {answer}"
        );
        assert_eq!(answer["create"]["errors"], json!([]), "{path}");
        let twice = create(vec![one(0), one(300), one(300)]);
        let (_, refused) = op.patch(path, twice.clone()).await;
        assert_eq!(
            refused["create"]["errors"][0]["status_code"], 409,
            "{path}: one is there, so none is made: {refused}"
        );
        let mut skipping = twice;
        skipping["actions"][0]["action_on_existence"] = "skip".into();
        let (_, answer) = op.patch(path, skipping).await;
        // The leader of these tests takes a pool twice.
        if path != "/pools" {
            assert_eq!(answer["create"]["success"].as_array().map(Vec::len), Some(1), "{path}: {answer}");
            assert_eq!(answer["create"]["errors"].as_array().map(Vec::len), Some(1), "{path}: {answer}");
        }
    }
    for table in ["variable WHERE key <> 'bulk300'", "connection WHERE conn_id <> 'bulk300'"] {
        let count = format!("SELECT count(DISTINCT xmin::text) FROM {table}");
        let transactions: i64 = sqlx::query_scalar(&count).fetch_one(&server.pool).await.unwrap();
        assert_eq!(transactions, 1, "{table}");
    }
}

#[tokio::test]
async fn the_star_of_a_dag_works_without_a_script_and_leaves_a_line() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let star = "/dags/stock_data_pipeline/favorite";
    let press = async |to: &str| server.submit(&token, "/dags", star, &[("to", to), ("back", "/dags")]).await.status();
    assert_eq!(press("marked").await, 303);
    assert_eq!(press("marked").await, 303, "twice is once");
    let (_, html) = server.page(&token, "/dags?favorites=1").await;
    assert!(html.contains("stock_data_pipeline is a favorite of yours"), "{html}");
    assert!(!html.contains("weather_pipeline"), "{html}");
    let (_, html) = server.page(&token, "/dags/stock_data_pipeline").await;
    assert!(html.contains("★") && html.contains("?tag=medallion"), "{html}");
    assert_eq!(press("unmarked").await, 303);
    assert!(server.page(&token, "/dags?favorites=1").await.1.contains("No DAG fits"));
    let lines = "SELECT action || ' ' || who FROM audit_log WHERE action LIKE '%favorite%' ORDER BY id";
    let lines: Vec<String> = sqlx::query_scalar(lines).fetch_all(&server.pool).await.unwrap();
    assert_eq!(lines, ["favorite_dag viewer", "unfavorite_dag viewer"]);
    let foreign = client().post(server.url(star)).header("cookie", format!("_token={token}"));
    assert_eq!(foreign.form(&[("to", "marked")]).send().await.unwrap().status(), 403, "another site presses nothing");
}

#[tokio::test]
async fn a_pool_that_does_not_exist_is_warned_of() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    empty(&viewer, "/dagWarnings", "dag_warnings").await;
    let renamed = "UPDATE pool SET name = 'another' WHERE name = 'default_pool'";
    sqlx::query(renamed).execute(&server.pool).await.unwrap();
    let (_, warnings) = viewer.get("/dagWarnings?order_by=-dag_id").await;
    let dags: Vec<_> = warnings["dag_warnings"].as_array().unwrap().iter().map(|one| &one["dag_id"]).collect();
    assert_eq!(dags, ["weather_pipeline", "stock_data_pipeline"], "{warnings}");
    let (_, one) = viewer.get("/dagWarnings?dag_id=weather_pipeline&warning_type=non-existent%20pool").await;
    let message = one["dag_warnings"][0]["message"].as_str().unwrap();
    assert!(one["total_entries"] == 1 && message.contains("default_pool"), "{one}");
    assert_eq!(viewer.get("/dagWarnings?limit=1&offset=1").await.1["total_entries"], 2);
    empty(&viewer, "/dagWarnings?warning_type=asset%20conflict", "dag_warnings").await;
    empty(&viewer, "/dagWarnings?dag_id=a%2Fb", "dag_warnings").await;
    assert_eq!(viewer.get("/dagWarnings?warning_type=other").await.0, 422);
    assert_eq!(viewer.get("/dagWarnings?order_by=owner").await.0, 400);
}

#[tokio::test]
async fn a_dag_is_drained_by_rest_and_by_a_button() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let control = format!("{STOCK}/control");
    let (status, before) = viewer.get(&control).await;
    assert_eq!((status, &before["is_draining"]), (200, &json!(false)), "{before}");
    assert_eq!(viewer.post(&format!("{control}/drain"), Value::Null).await.0, 403);
    let (status, drains) = user.post(&format!("{control}/drain"), Value::Null).await;
    assert_eq!((status, &drains["is_draining"], &drains["dag_id"]), (200, &json!(true), &json!("stock_data_pipeline")));
    let token = server.token("user").await;
    let page = "/dags/stock_data_pipeline";
    let (_, html) = server.page(&token, page).await;
    assert!(html.contains("Undrain") && html.contains("none while it drains"), "{html}");
    let done = server.submit(&token, page, &format!("{page}/drain"), &[("to", "active"), ("back", page)]).await;
    assert_eq!(done.status().as_u16(), 303);
    assert_eq!(viewer.get(&control).await.1["is_draining"], false);
    let (_, drains) = user.post(&format!("{control}/drain"), Value::Null).await;
    let (_, goes_on) = user.post(&format!("{control}/undrain"), Value::Null).await;
    assert_eq!((&drains["is_draining"], &goes_on["is_draining"]), (&json!(true), &json!(false)));
    assert_eq!(user.post("/dags/none/control/drain", Value::Null).await.0, 404);
    let lines = "SELECT action FROM audit_log WHERE action LIKE '%drain%' ORDER BY id";
    let told: Vec<String> = sqlx::query_scalar(lines).fetch_all(&server.pool).await.unwrap();
    assert_eq!(told, ["drain_dag", "undrain_dag", "drain_dag", "undrain_dag"]);
}

#[tokio::test]
async fn a_pool_has_a_rate_limit_which_clients_that_do_not_know_it_leave_alone() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let new = json!({"name": "api", "slots": 4, "rate_limit": "10/60s"});
    let (status, made) = op.post("/pools", new).await;
    assert_eq!((status, &made["rate_limit"]), (201, &json!("10/1m")), "{made}");
    let whole = json!({"pool": "api", "slots": 5, "include_deferred": false});
    let (_, changed) = op.patch("/pools/api", whole.clone()).await;
    assert_eq!((&changed["slots"], &changed["rate_limit"]), (&json!(5), &json!("10/1m")));
    let mut bad = whole.clone();
    bad["rate_limit"] = json!("often");
    let (status, refused) = op.patch("/pools/api", bad).await;
    assert_eq!(status, 422);
    assert!(refused.to_string().contains("expected starts and a span such as 10/1m"), "{refused}");
    let token = server.token("op").await;
    assert!(server.page(&token, "/pools").await.1.contains("10&#x2F;1m starts"));
    let fields = [("name", "api"), ("slots", "5"), ("description", ""), ("rate_limit", "")];
    let done = server.submit(&token, "/pools/edit?name=api", "/pools/edit", &fields).await;
    assert_eq!(done.status().as_u16(), 303);
    assert_eq!(op.get("/pools/api").await.1["rate_limit"], Value::Null);
}
