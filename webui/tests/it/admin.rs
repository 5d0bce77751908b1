//! Connections, variables, pools and the event log through REST, as Airflow's clients use them.

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// Texts that must never come out of the server again, whatever asks for it.
const CANARIES: [&str; 4] = ["canary-password", "canary-extra", "canary-url", "canary-variable"];

async fn sample(op: &Client) {
    let connection = json!({
        "connection_id": "db", "conn_type": "postgres", "host": "https://me:canary-url@db.example", "login": "me",
        "password": "canary-password", "port": 5432, "schema": "sales",
        "extra": r#"{"sslmode": "require", "nested": [{"api_key": "canary-extra"}]}"#,
    });
    let (status, made) = op.post("/connections", connection).await;
    assert_eq!(status, 201, "{made}");
    let (status, made) = op.post("/variables", json!({"key": "api_token", "value": {"a": "canary-variable"}})).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn a_connection_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let op = server.user("op").await;
    sample(&op).await;
    let (status, found) = op.get("/connections/db").await;
    assert_eq!(status, 200);
    let expected = json!({
        "connection_id": "db", "conn_type": "postgres", "description": null, "host": "https://me:***@db.example",
        "login": "me", "schema": "sales", "port": 5432, "password": "***",
        "extra": r#"{"sslmode":"require","nested":[{"api_key":"***"}]}"#, "team_name": null,
    });
    assert_eq!(found, expected);
    let (status, again) = op.post("/connections", json!({"connection_id": "db", "conn_type": "http"})).await;
    assert_eq!((status, &again["detail"]["reason"]), (409, &json!("Unique constraint violation")));

    // A client reads, changes one thing and sends everything back: secrets stay what they are.
    let mut changed = found.clone();
    (changed["login"], changed["description"]) = (json!("you"), json!("sales"));
    let (status, answer) = op.patch("/connections/db", changed.clone()).await;
    assert_eq!((status, &answer["login"], &answer["extra"]), (200, &json!("you"), &found["extra"]));
    let body = json!({"connection_id": "db", "conn_type": "http", "login": "nobody", "port": 1});
    let (_, answer) = op.patch("/connections/db?update_mask=port", body).await;
    assert_eq!(
        (&answer["login"], &answer["port"], &answer["conn_type"]),
        (&json!("you"), &json!(1), &json!("postgres"))
    );
    let stored = server.connection("db").await;
    assert_eq!(stored.password.as_deref(), Some("canary-password"));
    assert_eq!(stored.host.as_deref(), Some("https://me:canary-url@db.example"));
    assert!(stored.extra.unwrap().contains("canary-extra"));

    assert_eq!(op.patch("/connections/db", json!({"connection_id": "x", "conn_type": "http"})).await.0, 400);
    assert_eq!(op.delete("/connections/db").await, 204);
    let (status, missing) = op.get("/connections/db").await;
    let text = "The Connection with connection_id: `db` was not found";
    assert_eq!((status, &missing["detail"]), (404, &json!(text)));
    assert_eq!(op.delete("/connections/db").await, 404);
    assert_eq!(op.post("/connections/test", json!({})).await.0, 403);
    assert_eq!(op.post("/connections", json!({"connection_id": "test", "conn_type": "http"})).await.0, 201);
    assert_eq!(op.get("/connections/test").await.1["connection_id"], "test");
}

#[tokio::test]
async fn mistakes_in_a_connection_are_named_and_not_repeated() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let kinds = async |body: Value| {
        let (status, answer) = op.post("/connections", body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(!answer.to_string().contains("canary"), "{answer}");
        let errors = answer["detail"].as_array().unwrap();
        errors.iter().map(|error| error["loc"][1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(json!({})).await, ["connection_id", "conn_type"]);
    let bad = json!({"connection_id": "a/b", "conn_type": "http", "extra": "canary"});
    assert_eq!(kinds(bad).await, ["connection_id", "extra"]);
    let wrong = json!({"connection_id": "a", "conn_type": "http", "password": ["canary"], "port": "x", "more": {"token": "canary"}});
    assert_eq!(kinds(wrong).await, ["port", "password", "more"]);
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_paged() {
    let server = Server::start().await;
    let op = server.user("op").await;
    for id in ["b_one", "a_two", "c_one"] {
        assert_eq!(op.post("/connections", json!({"connection_id": id, "conn_type": "http"})).await.0, 201);
        assert_eq!(op.post("/variables", json!({"key": id, "value": id})).await.0, 201);
    }
    for (path, list, name) in [("/connections", "connections", "connection_id"), ("/variables", "variables", "key")] {
        let ids = async |query: &str| {
            let (status, page) = op.get(&format!("{path}?{query}")).await;
            assert_eq!(status, 200, "{page}");
            let items = page[list].as_array().unwrap();
            items.iter().map(|item| item[name].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("").await, ["a_two", "b_one", "c_one"]);
        assert_eq!(ids(&format!("order_by=-{name}&limit=2")).await, ["c_one", "b_one"]);
        assert_eq!(ids("offset=2").await, ["c_one"]);
        let pattern = if list == "connections" { "connection_id_pattern" } else { "variable_key_pattern" };
        assert_eq!(ids(&format!("{pattern}=ONE")).await, ["b_one", "c_one"]);
        assert_eq!(op.get(&format!("{path}?order_by=password")).await.0, 400);
        assert_eq!(op.get(&format!("{path}?limit=-1")).await.0, 422);
    }
}

#[tokio::test]
async fn a_variable_takes_any_json_and_gives_text() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let (status, made) =
        op.post("/variables", json!({"key": "etl/größe", "value": {"a": 1}, "description": "d"})).await;
    let expected = json!({"key": "etl/größe", "value": r#"{"a": 1}"#, "description": "d", "is_encrypted": true, "team_name": null});
    assert_eq!((status, made), (201, expected));
    for path in ["/variables/etl/gr%C3%B6%C3%9Fe", "/variables/etl%2Fgr%C3%B6%C3%9Fe"] {
        assert_eq!(op.get(path).await.0, 200, "{path}");
    }
    let path = "/variables/etl%2Fgr%C3%B6%C3%9Fe";
    let (status, again) = op.post("/variables", json!({"key": "etl/größe", "value": "x"})).await;
    assert_eq!((status, &again["detail"]), (409, &json!("The Variable with key: `etl/größe` already exists")));
    let (status, changed) = op.patch(path, json!({"key": "etl/größe", "value": "v2"})).await;
    assert_eq!((status, &changed["value"], &changed["description"]), (200, &json!("v2"), &json!("d")));
    assert_eq!(op.patch(path, json!({"key": "other", "value": "v"})).await.0, 400);
    assert_eq!(op.patch(path, json!({"key": "etl/größe"})).await.0, 422);
    assert_eq!(op.delete(path).await, 204);
    assert_eq!(op.get(path).await.0, 404);
    let (status, missing) = op.patch("/variables/none", json!({"key": "none", "value": ""})).await;
    assert_eq!((status, &missing["detail"]), (404, &json!("The Variable with key: `none` was not found")));
}

#[tokio::test]
async fn a_pool_has_the_leaders_counts_and_changes_through_it() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let (status, list) = server.user("viewer").await.get("/pools").await;
    let expected = json!({
        "name": "default_pool", "slots": 128, "description": "Default pool", "include_deferred": false,
        "occupied_slots": 4, "running_slots": 3, "queued_slots": 1, "scheduled_slots": 2, "deferred_slots": 0,
        "open_slots": 124, "team_name": null, "rate_limit": null,
    });
    assert_eq!((status, &list["pools"][0], &list["total_entries"]), (200, &expected, &json!(1)));
    let (status, made) = op.post("/pools", json!({"name": "etl", "slots": -1, "description": "x"})).await;
    assert_eq!((status, &made["slots"], &made["open_slots"]), (201, &json!(-1), &json!(-1)));
    assert_eq!(op.post("/pools", json!({"name": "etl"})).await.0, 422);
    assert_eq!(op.post("/pools", json!({"name": "etl", "slots": -2})).await.0, 422);
    assert_eq!(op.post("/pools", json!({"name": "etl", "slots": 4_000_000_000_u32})).await.0, 422);
    assert_eq!(op.patch("/pools/etl", json!({"slots": 2})).await.0, 422);
    let whole = json!({"pool": "etl", "slots": 2, "include_deferred": true});
    let (status, changed) = op.patch("/pools/etl", whole.clone()).await;
    let fields = (&changed["slots"], &changed["description"], &changed["include_deferred"]);
    assert_eq!((status, fields), (200, (&json!(2), &json!("x"), &json!(true))));
    assert_eq!(op.patch("/pools/none", json!({"pool": "none", "slots": 2, "include_deferred": true})).await.0, 404);
    assert_eq!(op.patch("/pools/default_pool", json!({"slots": 64})).await.0, 400);
    let (status, default) = op.patch("/pools/default_pool?update_mask=slots", json!({"slots": 64})).await;
    assert_eq!((status, &default["slots"], &default["description"]), (200, &json!(64), &json!("Default pool")));
    assert_eq!(op.patch("/pools/default_pool?update_mask=description", json!({"description": "x"})).await.0, 400);
    assert_eq!(op.delete("/pools/default_pool").await, 400);
    assert_eq!(op.delete("/pools/etl").await, 204);
    assert_eq!(op.get("/pools/etl").await.0, 404);
    server.leader.leave();
    assert_eq!(op.get("/pools").await.0, 503, "nobody else knows the counts");
}

#[tokio::test]
async fn many_changes_go_in_one_request_each_with_its_result() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let variable = |key: &str, value: &str| json!({"key": key, "value": value});
    let first = json!({"actions": [{"action": "create", "entities": [variable("a", "1"), variable("b", "1")]}]});
    let (status, done) = op.patch("/variables", first).await;
    assert_eq!((status, &done["create"]["success"], &done["update"]), (200, &json!(["a", "b"]), &Value::Null));
    let more = json!({"actions": [
        {"action": "create", "entities": [variable("b", "2"), variable("c", "2")], "action_on_existence": "fail"},
        {"action": "create", "entities": [variable("b", "2"), variable("c", "2")], "action_on_existence": "overwrite"},
        {"action": "create", "entities": [variable("a", "3")], "action_on_existence": "skip"},
        {"action": "update", "entities": [variable("none", "4")]},
        {"action": "update", "entities": [variable("none", "4"), variable("a", "4")], "action_on_non_existence": "skip"},
        {"action": "delete", "entities": ["b", {"key": "c"}]},
    ]});
    let (status, done) = op.patch("/variables", more).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["create"]["success"], json!(["b", "c"]));
    let refused = json!([{"error": "The variables with these keys: {'b'} already exist.", "status_code": 409}]);
    assert_eq!(done["create"]["errors"], refused);
    assert_eq!((&done["update"]["success"], &done["update"]["errors"][0]["status_code"]), (&json!(["a"]), &json!(404)));
    assert_eq!(done["delete"], json!({"success": ["b", "c"], "errors": []}));
    let (_, left) = op.get("/variables").await;
    assert_eq!((&left["variables"][0]["value"], &left["total_entries"]), (&json!("4"), &json!(1)));

    let pools =
        json!({"actions": [{"action": "create", "entities": [{"name": "x", "slots": 1}, {"name": "y", "slots": 2}]}]});
    assert_eq!(op.patch("/pools", pools).await.1["create"]["success"], json!(["x", "y"]));
    let connection = json!({"connection_id": "x", "conn_type": "http"});
    let connections = json!({"actions": [{"action": "create", "entities": [connection]}]});
    assert_eq!(op.patch("/connections", connections).await.1["create"]["success"], json!(["x"]));
    let (status, bad) = op.patch("/connections", json!({"actions": [{"action": "melt", "entities": []}]})).await;
    assert_eq!((status, &bad["detail"][0]["loc"]), (422, &json!(["body", "actions", "0", "action"])));
}

#[tokio::test]
async fn the_event_log_tells_who_did_what() {
    let server = Server::start().await;
    let op = server.user("op").await;
    sample(&op).await;
    server.user("admin").await.delete("/variables/api_token").await;
    let (status, log) = op.get("/eventLogs?order_by=-when&excluded_events=create_token").await;
    assert_eq!((status, &log["total_entries"]), (200, &json!(3)));
    let told: Vec<_> = log["event_logs"].as_array().unwrap().iter().map(|e| (&e["owner"], &e["event"])).collect();
    let (op_name, admin) = (json!("op"), json!("admin"));
    let events = [json!("delete_variable"), json!("post_variable"), json!("post_connection")];
    assert_eq!(told, [(&admin, &events[0]), (&op_name, &events[1]), (&op_name, &events[2])]);
    let extra: Value = serde_json::from_str(log["event_logs"][0]["extra"].as_str().unwrap()).unwrap();
    assert_eq!(extra, json!({"key": "api_token", "address": "127.0.0.1", "door": "api", "outcome": "done"}));
    let id = log["event_logs"][0]["event_log_id"].as_i64().unwrap();
    assert_eq!(op.get(&format!("/eventLogs/{id}")).await.1, log["event_logs"][0]);
    assert_eq!(op.get("/eventLogs/999999").await.0, 404);
    assert_eq!(op.get("/eventLogs?owner=op&event=post_variable").await.1["total_entries"], 1);
    let without = "/eventLogs?excluded_events=post_variable&excluded_events=create_token&limit=0";
    assert_eq!(op.get(without).await.1["total_entries"], 2);
    assert_eq!(server.user("viewer").await.get("/eventLogs").await.0, 403);
}

#[tokio::test]
async fn no_answer_page_or_row_has_a_secret() {
    let server = Server::start().await;
    let op = server.user("op").await;
    sample(&op).await;
    let mut texts = Vec::new();
    for path in ["/connections", "/connections/db", "/variables", "/variables/api_token", "/eventLogs", "/pools"] {
        texts.push((path.to_owned(), op.get(path).await.1.to_string()));
    }
    let broken = json!({"connection_id": "db", "conn_type": 1, "password": "canary-password", "token": "canary-extra"});
    texts.push(("a refused patch".to_owned(), op.patch("/connections/db", broken).await.1.to_string()));
    let bulk = json!({"actions": [{"action": "update", "entities": [{"key": "api_token", "value": "canary-variable", "x": 1}]}]});
    texts.push(("a refused bulk".to_owned(), op.patch("/variables", bulk).await.1.to_string()));
    let token = server.token("admin").await;
    let pages = [
        "/connections",
        "/connections/edit?id=db",
        "/connections/delete?id=db",
        "/variables",
        "/variables/edit?key=api_token",
        "/audit",
        "/audit?q=canary",
    ];
    for path in pages {
        let (status, html) = server.page(&token, path).await;
        assert_eq!(status, 200, "{path}");
        texts.push((path.to_owned(), html.replace("/audit?q=canary", "").replace("value=\"canary\"", "")));
    }
    let rows = "SELECT (SELECT string_agg(t::text, ' ') FROM connection t) || (SELECT string_agg(t::text, ' ') FROM variable t)
                    || (SELECT string_agg(t::text, ' ') FROM audit_log t)";
    let rows: String = sqlx::query_scalar(rows).fetch_one(&server.pool).await.unwrap();
    // An address is no secret field: its password is hidden where it is shown, not where it is stored.
    texts.push(("the tables".to_owned(), rows.replace("me:canary-url@", "")));
    for (place, text) in texts {
        for canary in CANARIES {
            assert!(!text.contains(canary), "{place} shows {canary}: {text}");
        }
    }
}

#[tokio::test]
async fn what_a_mask_leaves_out_is_not_looked_at() {
    let server = Server::start().await;
    let op = server.user("op").await;
    sample(&op).await;
    let before = server.connection("db").await;
    // A client sends back what it was shown, with parts that could not be stored.
    let sent = json!({"connection_id": "db", "conn_type": "postgres", "login": "you", "extra": "no object", "port": 99999,
        "host": "http://a:***@b http://c:***@d"});
    let (status, changed) = op.patch("/connections/db?update_mask=login", sent.clone()).await;
    assert_eq!((status, &changed["login"]), (200, &json!("you")), "{changed}");
    let after = server.connection("db").await;
    assert_eq!((after.extra, after.port, after.host), (before.extra, before.port, before.host));
    assert_eq!(op.patch("/connections/db", sent.clone()).await.0, 422);
    assert_eq!(op.patch("/connections/db?update_mask=port", sent.clone()).await.0, 422);
    let bulk = json!({"actions": [{"action": "update", "entities": [sent], "update_mask": ["login"]}]});
    assert_eq!(op.patch("/connections", bulk).await.1["update"]["success"], json!(["db"]));
}
