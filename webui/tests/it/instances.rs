//! What is done to single task instances, files and connections: deletion, what an instance keeps, reading a file again, tests of
//! connections; names that pages show; numbers that are not kept exactly.

use serde_json::{Value, json};
use store::users::{self, NewApiToken};
use windlass_webui::ConnectionTests;

use crate::support::{Client, RUN, Server, client};

const STOCK: &str = "/dags/stock_data_pipeline";

fn of_run(path: &str) -> String {
    format!("{STOCK}/dagRuns/{}{path}", RUN.replace('+', "%2B"))
}

async fn count(server: &Server, query: &str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&server.pool).await.unwrap()
}

/// The lines of the audit log about an action, the newest first.
async fn audited(server: &Server, action: &str) -> Vec<Value> {
    let admin = server.user("admin").await;
    let (_, answer) = admin.get(&format!("/eventLogs?event={action}&order_by=-id")).await;
    answer["event_logs"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_deleted_instance_has_no_tries_and_no_xcoms_left() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let path = of_run("/taskInstances/bronze");
    assert_eq!(user.post(&format!("{path}/xcomEntries"), json!({"key": "k", "value": 1})).await.0, 201);
    assert_eq!(user.put(&format!("{path}/state-store/at"), json!({"value": 7})).await.0, 204);
    assert_eq!(viewer.delete(&path).await, 403);
    let answer = client().delete(server.url(&format!("/api/v2{path}"))).bearer_auth(server.token("user").await);
    let answer = answer.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "null"));
    assert_eq!(user.get(&format!("{path}/xcomEntries/k")).await.0, 404);
    assert_eq!(user.get(&format!("{path}/state-store/at")).await.0, 404);
    assert_eq!(audited(&server, "delete_task_instance").await[0]["dag_id"], "stock_data_pipeline");
    for (path, status) in [("/taskInstances/none", 404), ("/taskInstances/bronze?map_index=3", 404)] {
        assert_eq!(user.delete(&of_run(path)).await, status, "{path}");
    }
    let bulk =
        json!({"actions": [{"action": "delete", "entities": ["bronze", "none"], "action_on_non_existence": "skip"}]});
    let (status, answer) = user.patch(&of_run("/taskInstances"), bulk).await;
    assert_eq!((status, answer["delete"]["success"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
}

#[tokio::test]
async fn a_task_instance_keeps_values_until_they_expire() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let store = of_run("/taskInstances/silver/state-store");
    let key = |name: &str| format!("{store}/{name}");
    assert_eq!(viewer.put(&key("cursor"), json!({"value": 1})).await.0, 403);
    assert_eq!(user.put(&key("cursor"), json!({"value": {"page": 3}})).await.0, 204);
    assert_eq!(user.put(&key("for_ever"), json!({"value": "x", "expires_at": null})).await.0, 204);
    assert_eq!(user.put(&key("a%2Fb"), json!({"value": [1], "expires_at": "default"})).await.0, 204);
    assert_eq!(user.put(&key("gone"), json!({"value": 1, "expires_at": "2020-01-01T00:00:00Z"})).await.0, 204);
    let (_, one) = viewer.get(&key("cursor")).await;
    assert_eq!((&one["value"], one["expires_at"].is_string()), (&json!({"page": 3}), true), "it is kept for 30 days");
    assert_eq!(viewer.get(&key("for_ever")).await.1["expires_at"], Value::Null);
    assert_eq!(viewer.get(&key("a%2Fb")).await.1["key"], "a/b");
    assert_eq!(viewer.get(&key("gone")).await.0, 404);
    let (_, all) = viewer.get(&format!("{store}?limit=2")).await;
    let keys: Vec<&str> =
        all["task_state_store"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!((keys, &all["total_entries"]), (vec!["a/b", "cursor"], &json!(3)));
    assert_eq!(viewer.get(&format!("{store}?limit=0")).await.1["total_entries"], 3);
    // A new value goes when the old one would have gone.
    assert_eq!(user.patch(&key("for_ever"), json!({"value": 2})).await.0, 200);
    let (_, changed) = viewer.get(&key("for_ever")).await;
    assert_eq!((&changed["value"], &changed["expires_at"]), (&json!(2), &Value::Null));
    assert_eq!(user.patch(&key("never"), json!({"value": 2})).await.0, 404);
    for wrong in [
        json!({"value": null}),
        json!({}),
        json!({"value": "x".repeat(70_000)}),
        json!({"value": 1, "expires_at": "soon"}),
    ] {
        assert_eq!(user.put(&key("cursor"), wrong.clone()).await.0, 422, "{wrong}");
    }
    assert_eq!(user.delete(&key("cursor")).await, 204);
    assert_eq!(user.delete(&key("cursor")).await, 204, "what is gone is gone");
    assert_eq!(user.delete(&format!("{store}?all_map_indices=true")).await, 204);
    assert_eq!(count(&server, "SELECT count(*) FROM task_state_store WHERE expires_at IS NULL").await, 0);
    let lines = audited(&server, "set_task_state_store").await;
    assert!(lines.len() == 4 && !lines[0]["extra"].as_str().unwrap().contains("page"), "{lines:?}");
    assert_eq!(user.put(&of_run("/taskInstances/none/state-store/k"), json!({"value": 1})).await.0, 404);
}

#[tokio::test]
async fn a_secret_that_an_instance_keeps_is_shown_to_those_who_run_the_dag() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let path = of_run("/taskInstances/silver/state-store/api_token");
    assert_eq!(user.put(&path, json!({"value": "canary"})).await.0, 204);
    assert_eq!(
        (&viewer.get(&path).await.1["value"], &user.get(&path).await.1["value"]),
        (&json!("***"), &json!("canary"))
    );
}

#[tokio::test]
async fn a_dag_file_is_read_again_when_a_client_says_so() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let (_, dag) = viewer.get(STOCK).await;
    let path = format!("/parseDagFile/{}", dag["file_token"].as_str().unwrap());
    assert_eq!(viewer.put(&path, Value::Null).await.0, 403);
    assert_eq!(user.put(&path, Value::Null).await.0, 201);
    assert_eq!(*server.leader.read_again.lock().unwrap(), [dag["fileloc"].as_str().unwrap()]);
    assert_eq!(audited(&server, "reparse_dag_file").await.len(), 1);
    for unknown in ["x", "ZGFncy1mb2xkZXIKbm8ueWFtbA"] {
        let (status, answer) = user.put(&format!("/parseDagFile/{unknown}"), Value::Null).await;
        assert_eq!((status, &answer["detail"]), (404, &json!("File not found")));
    }
}

#[tokio::test]
async fn connections_are_tried_by_workers_when_the_settings_allow_it() {
    let sent = json!({"connection_id": "db", "conn_type": "postgres", "host": "good.example", "password": "***", "login": "me"});
    for refused in [ConnectionTests::Disabled, ConnectionTests::Hidden] {
        let server = Server::start_with(|settings| settings.connection_tests = refused).await;
        let (status, answer) = server.user("op").await.post("/connections/test", sent.clone()).await;
        assert!(status == 403 && answer["detail"].as_str().unwrap().contains("disabled"), "{answer}");
    }
    let server = Server::start_with(|settings| settings.connection_tests = ConnectionTests::Enabled).await;
    let op = server.user("op").await;
    assert_eq!(server.user("user").await.post("/connections/test", sent.clone()).await.0, 403);
    let stored = json!({"connection_id": "db", "conn_type": "postgres", "host": "old.example", "password": "canary"});
    assert_eq!(op.post("/connections", stored).await.0, 201);
    let (status, answer) = op.post("/connections/test", sent).await;
    assert_eq!((status, answer), (200, json!({"status": true, "message": "it works"})));
    let tried = server.leader.tried.lock().unwrap().pop().unwrap();
    assert_eq!(tried.password.as_deref(), Some("canary"), "the mask stands for what is stored");
    assert_eq!((tried.host.as_deref(), tried.login.as_deref()), (Some("good.example"), Some("me")));
    assert_eq!(server.connection("db").await.host.as_deref(), Some("old.example"), "nothing is stored");
    let (status, answer) =
        op.post("/connections/test", json!({"connection_id": "new", "conn_type": "http", "host": "h"})).await;
    assert_eq!((status, answer), (200, json!({"status": false, "message": "no such host"})));
    assert_eq!(op.post("/connections/test", json!({"connection_id": "new"})).await.0, 422);
    let lines = audited(&server, "test_connection").await;
    assert!(lines.len() == 2 && !lines.iter().any(|line| line.to_string().contains("canary")), "{lines:?}");
    server.leader.leave();
    assert_eq!(op.post("/connections/test", json!({"connection_id": "a", "conn_type": "http"})).await.0, 503);
}

#[tokio::test]
async fn whole_numbers_beyond_64_bits_are_refused_by_their_names() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let post = async |path: &str, body: &str| {
        let request = client().post(server.url(&format!("/api/v2{path}"))).header("content-type", "application/json");
        let answer = request.bearer_auth(server.token("op").await).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (path, body, number) in [
        (
            format!("{STOCK}/dagRuns"),
            r#"{"logical_date": null, "conf": {"acct": 12345678901234567890123}}"#,
            "12345678901234567890123",
        ),
        ("/variables".to_owned(), r#"{"key": "n", "value": -9223372036854775809}"#, "-9223372036854775809"),
        (
            of_run("/taskInstances/silver/xcomEntries"),
            r#"{"key": "k", "value": [18446744073709551616]}"#,
            "18446744073709551616",
        ),
    ] {
        let (status, answer) = post(&path, body).await;
        assert!(status == 422 && answer.contains(number) && answer.contains("64 bits"), "{path}: {status} {answer}");
    }
    assert_eq!(op.get("/variables/n").await.0, 404);
    assert_eq!(post("/variables", r#"{"key": "n", "value": 18446744073709551615}"#).await.0, 201);
    assert_eq!(op.get("/variables/n").await.1["value"], "18446744073709551615");
}

#[tokio::test]
async fn pages_and_answers_call_dags_and_tasks_by_their_names() {
    let server = Server::start().await;
    server.leader.take_in(
        "dag_id: named\ndag_display_name: Größe & Co\ntags: [t]\ntasks:\n  - {task_id: one, task_display_name: Schritt 1, operator: empty}\n"
            .to_owned(),
    );
    let viewer = server.user("viewer").await;
    let dag = loop {
        match viewer.get("/dags/named").await {
            (200, dag) => break dag,
            _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    assert_eq!(
        (&dag["dag_display_name"], &dag["tags"][0]["dag_display_name"]),
        (&json!("Größe & Co"), &json!("Größe & Co"))
    );
    assert_eq!(viewer.get("/dags/named/tasks/one").await.1["task_display_name"], "Schritt 1");
    assert_eq!(viewer.get("/dags/stock_data_pipeline").await.1["dag_display_name"], "stock_data_pipeline");
    let ids = async |query: &str| {
        let (_, found) = viewer.get(&format!("/dags?{query}")).await;
        let dags = found["dags"].as_array().unwrap().iter();
        dags.map(|dag| dag["dag_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("dag_display_name_pattern=gr%C3%B6%C3%9Fe").await, ["named"]);
    assert_eq!(ids("dag_display_name_prefix_pattern=Gr").await, ["named"]);
    assert_eq!(ids("order_by=dag_display_name").await[0], "named");
    let token = server.token("viewer").await;
    for (path, text) in
        [("/dags", "Größe &amp; Co"), ("/dags/named", "Größe &amp; Co"), ("/dags/named?tab=details", "Schritt 1")]
    {
        let (status, page) = server.page(&token, path).await;
        assert!(status == 200 && page.contains(text) && page.contains("named"), "{path}: {page}");
    }
}

#[tokio::test]
async fn the_audit_log_names_the_api_token_that_acted() {
    let server = Server::start().await;
    let wish = NewApiToken { username: "op", name: "ci", scope: None, days: 1 };
    let issued = users::create_api_token(&server.pool, "test".into(), &wish).await.unwrap().unwrap();
    let send = |path: &str, body: Value| {
        client().post(server.url(&format!("/api/v2{path}"))).bearer_auth(issued.text.reveal()).json(&body).send()
    };
    assert_eq!(send("/variables", json!({"key": "k", "value": "v"})).await.unwrap().status(), 201);
    assert_eq!(send("/pools", json!({"name": "p", "slots": 1})).await.unwrap().status(), 201);
    let by_password: &Client = &server.user("op").await;
    assert_eq!(by_password.post("/variables", json!({"key": "other", "value": "v"})).await.0, 201);
    let of = async |action: &str| {
        let lines = audited(&server, action).await;
        let extra: Value = serde_json::from_str(lines[0]["extra"].as_str().unwrap()).unwrap();
        (lines.len(), extra["api_token"].clone())
    };
    let id = json!(issued.id);
    let pools = count(&server, "SELECT count(*) FROM audit_log WHERE api_token IS NOT NULL").await;
    assert_eq!(pools, 2, "a command and a change in the store");
    assert_eq!(of("post_variable").await.1, Value::Null, "a session has no API token");
    assert_eq!(of("post_pool").await.1, id);
}
