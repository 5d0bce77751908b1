//! Filters and orders of Airflow's lists: they act or are refused, and never give more than was asked for.

use serde_json::{Value, json};

use crate::support::{Server, client};

async fn total(viewer: &crate::support::Client, path: &str) -> i64 {
    let (status, found) = viewer.get(path).await;
    assert_eq!(status, 200, "{path}: {found}");
    found["total_entries"].as_i64().unwrap()
}

#[tokio::test]
async fn an_order_that_nothing_has_is_refused_by_every_list() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let lists = [
        "/pools",
        "/variables",
        "/connections",
        "/eventLogs",
        "/importErrors",
        "/jobs",
        "/dags",
        "/dagTags",
        "/dags/stock_data_pipeline/tasks",
    ];
    for list in lists {
        let (status, found) = op.get(&format!("{list}?order_by=-nonsense")).await;
        assert_eq!(status, 400, "{list}: {found}");
        assert!(found["detail"].as_str().unwrap().contains("'nonsense'"), "{list}: {found}");
    }
}

#[tokio::test]
async fn every_mistake_of_a_query_is_told_at_once() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (status, found) = viewer.get("/dags?limit=-1&paused=perhaps&dag_run_end_date_gt=soon&order_by=nonsense").await;
    let mistakes: Vec<&Value> = found["detail"].as_array().unwrap().iter().map(|one| &one["loc"][1]).collect();
    assert_eq!((status, mistakes), (422, vec![&json!("limit"), &json!("paused"), &json!("dag_run_end_date_gt")]));
    for path in ["/eventLogs/abc", "/importErrors/abc"] {
        let (status, found) = server.user("op").await.get(path).await;
        assert_eq!((status, &found["detail"][0]["type"]), (422, &json!("int_parsing")), "{path}");
    }
}

#[tokio::test]
async fn dags_are_limited_by_all_that_is_asked_for() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    for (filter, expected) in [
        ("", 2),
        ("bundle_name=dags-folder", 2),
        ("bundle_name=other", 0),
        ("bundle_version=1", 0),
        ("has_asset_schedule=true", 0),
        ("has_asset_schedule=false", 2),
        ("asset_dependency=x", 0),
        ("is_favorite=true", 0),
        ("is_favorite=false", 2),
        ("dag_display_name_pattern=WEATHER", 1),
        ("dag_display_name_pattern=weather&dag_id_pattern=stock", 0),
        ("dag_display_name_prefix_pattern=stock_", 1),
        ("dag_run_state=running", 1),
        ("dag_run_state=running&last_dag_run_state=success", 0),
        ("dag_run_state=running&last_dag_run_state=success&last_dag_run_state=running", 1),
        ("dag_run_start_date_gte=2020-01-01", 1),
        ("dag_run_start_date_lt=2020-01-01", 0),
        ("dag_run_end_date_gte=2020-01-01", 0),
        ("tags=stock&tags=weather", 2),
        ("tags=stock&tags=weather&tags_match_mode=any", 2),
        ("tags=stock&tags=weather&tags_match_mode=all", 0),
        ("tags=stock&tags=medallion&tags_match_mode=all", 1),
        ("timetable_type=CronTriggerTimetable", 1),
        ("timetable_type=airflow.timetables.simple.NullTimetable", 1),
        ("timetable_type=NullTimetable&timetable_type=CronTriggerTimetable", 2),
        ("timetable_type=MultipleCronTriggerTimetable", 0),
        ("timetable_type=x", 0),
        ("nothing_that_airflow_knows=1", 2),
    ] {
        assert_eq!(total(&viewer, &format!("/dags?{filter}")).await, expected, "{filter}");
    }
    assert_eq!(viewer.get("/dags?tags_match_mode=most").await.0, 422);
    let (_, tags) = viewer.get("/dagTags?order_by=-name&tag_name_prefix_pattern=s").await;
    assert_eq!(tags, json!({"tags": ["stock"], "total_entries": 1}));
    let (_, tags) = viewer.get("/dagTags?order_by=-name&limit=2").await;
    assert_eq!(tags, json!({"tags": ["weather", "stock"], "total_entries": 3}));
}

#[tokio::test]
async fn tasks_are_ordered_by_what_they_have() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let order = async |by: &str| -> Vec<String> {
        let (_, found) = viewer.get(&format!("/dags/stock_data_pipeline/tasks?order_by={by}")).await;
        found["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
    };
    let by_id = order("task_id").await;
    assert!(by_id.is_sorted() && by_id.len() == 6, "{by_id:?}");
    assert_eq!(order("owner").await, by_id, "all have one owner");
    assert_eq!(order("trigger_rule").await[0], "publish_quality_report", "all_done is before all_success");
}

#[tokio::test]
async fn lines_of_the_event_log_are_limited_by_all_that_is_asked_for() {
    let server = Server::start().await;
    let op = server.user("op").await;
    assert_eq!(op.post("/variables", json!({"key": "a", "value": 1})).await.0, 201);
    assert_eq!(op.post("/variables", json!({"key": "b", "value": 1})).await.0, 201);
    assert_eq!(op.delete("/variables/a").await, 204);
    let all = total(&op, "/eventLogs").await;
    for nothing in ["task_id=silver", "task_id_pattern=s", "task_id_prefix_pattern=s", "map_index=-1", "try_number=1"] {
        assert_eq!(total(&op, &format!("/eventLogs?{nothing}")).await, 0, "{nothing}");
    }
    assert_eq!(total(&op, "/eventLogs?event=post_variable").await, 2);
    assert_eq!(total(&op, "/eventLogs?event_prefix_pattern=post_var").await, 2);
    assert_eq!(total(&op, "/eventLogs?event_prefix_pattern=POST").await, 0, "a prefix is exact");
    assert_eq!(total(&op, "/eventLogs?event=post_variable&included_events=delete_variable").await, 0);
    assert_eq!(total(&op, "/eventLogs?included_events=post_variable&included_events=delete_variable").await, 3);
    assert_eq!(
        total(&op, "/eventLogs?owner_prefix_pattern=op&excluded_events=post_variable").await,
        all - 2 - others(&op).await
    );
    // As Airflow's client sends it, and as one that does not encode its plus sign does.
    for date in ["2020-07-22T00:00:00.000000%2B0000", "2020-07-22T00:00:00.000000+0000", "2020-07-22"] {
        assert_eq!(total(&op, &format!("/eventLogs?after={date}")).await, all, "{date}");
        assert_eq!(total(&op, &format!("/eventLogs?before={date}")).await, 0, "{date}");
    }
}

/// Lines of others than the user `op`.
async fn others(op: &crate::support::Client) -> i64 {
    total(op, "/eventLogs").await - total(op, "/eventLogs?owner=op").await
}

#[tokio::test]
async fn files_with_mistakes_are_found_and_ordered() {
    let server = Server::start().await;
    let rows = "INSERT INTO import_error (file, position, message, found_at) VALUES
        ('a.yaml', 0, 'second', '2026-01-01Z'), ('a.yaml', 1, 'more', '2026-01-03Z'),
        ('b/c.yaml', 0, 'first', '2026-01-02Z')";
    sqlx::raw_sql(rows).execute(&server.pool).await.unwrap();
    let viewer = server.user("viewer").await;
    let files = async |query: &str| -> Vec<String> {
        let (status, found) = viewer.get(&format!("/importErrors?{query}")).await;
        assert_eq!(status, 200, "{query}: {found}");
        let all = found["import_errors"].as_array().unwrap();
        assert_eq!(found["total_entries"], all.len());
        all.iter().map(|one| one["filename"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(files("").await, ["a.yaml", "b/c.yaml"]);
    assert_eq!(files("order_by=-filename").await, ["b/c.yaml", "a.yaml"]);
    assert_eq!(files("order_by=timestamp").await, ["b/c.yaml", "a.yaml"], "by the newest mistake");
    assert_eq!(files("order_by=stacktrace").await, ["b/c.yaml", "a.yaml"]);
    assert_eq!(files("filename=a.yaml").await, ["a.yaml"]);
    assert_eq!(files("filename_prefix_pattern=b/").await, ["b/c.yaml"]);
    assert!(files("bundle_name=other").await.is_empty());
}

#[tokio::test]
async fn jobs_are_limited_by_all_that_is_asked_for() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    for (filter, expected) in [
        ("", 2),
        ("job_type=WorkerJob", 1),
        ("job_state=running", 2),
        ("job_state=failed", 0),
        ("is_alive=false", 0),
        ("hostname=host-a", 1),
        ("executor_class=x", 0),
        ("start_date_gte=2020-01-01", 0),
        ("end_date_lt=2020-01-01", 0),
    ] {
        assert_eq!(total(&viewer, &format!("/jobs?{filter}")).await, expected, "{filter}");
    }
    let (_, jobs) = viewer.get("/jobs?order_by=-job_type&limit=1").await;
    assert_eq!((&jobs["jobs"][0]["job_type"], &jobs["total_entries"]), (&json!("WorkerJob"), &json!(2)));
}

#[tokio::test]
async fn a_pool_is_sent_whole_and_nulls_are_no_numbers() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let kinds = |found: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        found["detail"].as_array().unwrap().iter().map(|one| (text(&one["loc"][1]), text(&one["type"]))).collect()
    };
    let expect = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(place, kind)| ((*place).to_owned(), (*kind).to_owned())).collect()
    };
    let (status, found) = op.post("/pools", json!({"name": "p", "slots": null})).await;
    assert_eq!((status, kinds(&found)), (422, expect(&[("slots", "int_type")])));
    let (status, found) = op.post("/pools", json!({"slots": -2, "speed": 1})).await;
    let expected = expect(&[("name", "missing"), ("slots", "greater_than_equal"), ("speed", "extra_forbidden")]);
    assert_eq!((status, kinds(&found)), (422, expected));
    assert_eq!(op.post("/pools", json!({"name": "p", "slots": 3, "description": "d"})).await.0, 201);
    let (status, found) = op.patch("/pools/p", json!({"slots": 4})).await;
    assert_eq!((status, kinds(&found)), (422, expect(&[("pool", "missing"), ("include_deferred", "missing")])));
    let whole = json!({"pool": "p", "slots": 4, "include_deferred": true});
    let (status, pool) = op.patch("/pools/p?update_mask=slots", whole).await;
    let found = (status, &pool["slots"], &pool["description"], &pool["include_deferred"]);
    assert_eq!(found, (200, &json!(4), &json!("d"), &json!(false)));
}

#[tokio::test]
async fn the_document_is_shown_to_everybody() {
    let server = Server::start().await;
    let shown: Value = client().get(server.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    assert_eq!(&shown, windlass_webui::openapi());
    assert_eq!(shown["openapi"], "3.1.0");
    let variable = &shown["paths"]["/api/v2/variables/{variable_key}"]["get"];
    assert_eq!(variable["security"], json!([{"token": ["read_admin"]}]));
}

#[tokio::test]
async fn default_connections_are_made_once_and_tests_are_refused() {
    let server = Server::start().await;
    let op = server.user("op").await;
    assert_eq!(
        op.post("/connections", json!({"connection_id": "http_default", "conn_type": "http", "host": "h"})).await.0,
        201
    );
    let defaults = client().post(server.url("/api/v2/connections/defaults")).bearer_auth(server.token("op").await);
    assert_eq!(defaults.send().await.unwrap().status(), 204);
    let (_, found) = op.get("/connections").await;
    let all = found["connections"].as_array().unwrap();
    let ids: Vec<&str> = all.iter().map(|one| one["connection_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fs_default", "http_default", "kafka_default", "postgres_default", "trino_default"]);
    assert_eq!(all[1]["host"], "h", "what is there stays as it is");
    assert_eq!(op.post("/connections/enqueue-test", json!({"connection_id": "a", "conn_type": "http"})).await.0, 403);
    let (status, found) = op.get("/connections/enqueue-test").await;
    assert_eq!((status, &found["detail"][0]["type"]), (422, &json!("missing")));
    assert_eq!(op.get("/connections/defaults").await.0, 404, "no connection has this id");
    assert_eq!(op.post("/connections", json!({"connection_id": "defaults", "conn_type": "http"})).await.0, 201);
    assert_eq!(op.get("/connections/defaults").await.1["connection_id"], "defaults");
}
