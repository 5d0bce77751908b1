//! Airflow's shapes.

use serde_json::{Value, json};

use crate::support::{HOSTILE_LINE, RUN, Server, client};

const STOCK: &str = "/dags/stock_data_pipeline";

#[tokio::test]
async fn dags_are_listed_filtered_ordered_and_paged() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (status, all) = viewer.get("/dags").await;
    assert_eq!((status, &all["total_entries"]), (200, &json!(2)));
    let dag = &all["dags"][0];
    assert_eq!(dag["dag_id"], "stock_data_pipeline");
    assert_eq!(dag["timetable_summary"], "0 0 * * *");
    assert_eq!(dag["owners"], json!(["data"]));
    assert_eq!(dag["bundle_version"], Value::Null);
    assert_eq!(dag["tags"][0]["dag_id"], "stock_data_pipeline");
    let ids = async |query: &str| {
        let (_, found) = viewer.get(&format!("/dags?{query}")).await;
        let dags = found["dags"].as_array().unwrap().clone();
        dags.iter().map(|dag| dag["dag_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("order_by=-dag_id").await, ["weather_pipeline", "stock_data_pipeline"]);
    assert_eq!(ids("tags=weather").await, ["weather_pipeline"]);
    assert_eq!(ids("paused=false").await, ["stock_data_pipeline"]);
    assert_eq!(ids("dag_id_pattern=WEATHER").await, ["weather_pipeline"]);
    assert_eq!(ids("last_dag_run_state=running").await, ["stock_data_pipeline"]);
    assert_eq!(ids("limit=1&offset=1").await, ["weather_pipeline"]);
    assert_eq!(ids("limit=0").await.len(), 0);
    assert_eq!(viewer.get("/dags?order_by=nonsense").await.0, 400);
    let (status, refused) = viewer.get("/dags?limit=-1").await;
    assert_eq!((status, &refused["detail"][0]["loc"]), (422, &json!(["query", "limit"])));
    let (status, unknown) = viewer.get("/dags/nothing").await;
    assert_eq!((status, unknown["detail"].is_string()), (404, true));
    let (_, details) = viewer.get(&format!("{STOCK}/details")).await;
    assert_eq!(details["params"]["rows"]["value"], 10);
    assert_eq!(details["active_runs_count"], 1);
    let (_, tasks) = viewer.get(&format!("{STOCK}/tasks")).await;
    assert_eq!(tasks["total_entries"], 6);
    assert_eq!(tasks["tasks"][0]["downstream_task_ids"], json!(["bronze_checks", "publish_quality_report"]));
}

#[tokio::test]
async fn a_dag_is_paused_by_a_patch_of_one_member() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let (status, paused) = user.patch(STOCK, json!({"is_paused": true})).await;
    assert_eq!((status, &paused["is_paused"]), (200, &json!(true)));
    assert_eq!(user.patch(STOCK, json!({})).await.0, 422);
    let (status, refused) = user.patch(STOCK, json!({"is_paused": false, "more": 1})).await;
    assert_eq!((status, &refused["detail"][0]["type"]), (422, &json!("extra_forbidden")));
    assert_eq!(user.patch(&format!("{STOCK}?update_mask=tags"), json!({"is_paused": true})).await.0, 400);
}

#[tokio::test]
async fn a_run_is_triggered_once_and_checked_before() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let runs = format!("{STOCK}/dagRuns");
    let body = json!({"logical_date": null, "dag_run_id": "by_hand", "conf": {"rows": 3}, "note": "why not"});
    let (status, run) = user.post(&runs, body.clone()).await;
    assert_eq!(status, 200, "{run}");
    assert_eq!(
        (&run["state"], &run["run_type"], &run["triggered_by"]),
        (&json!("queued"), &json!("manual"), &json!("rest_api"))
    );
    assert_eq!(
        (&run["conf"], &run["note"], &run["logical_date"]),
        (&json!({"rows": 3}), &json!("why not"), &Value::Null)
    );
    assert_eq!(run["dag_versions"][0]["version_number"], 1);
    assert_eq!(user.post(&runs, body).await.0, 409);
    assert_eq!(user.post(&runs, json!({"logical_date": null, "conf": {"rows": "many"}})).await.0, 400);
    assert_eq!(user.post(&runs, json!({})).await.0, 422);
    assert_eq!(user.post(&runs, json!({"logical_date": "2026-01-01T00:00:00"})).await.0, 422);
    assert_eq!(user.post(&runs, json!({"logical_date": null, "dag_run_id": "no/slash"})).await.0, 400);
    assert_eq!(user.post("/dags/nothing/dagRuns", json!({"logical_date": null})).await.0, 404);
    let (_, one) = user.get(&format!("{runs}/by_hand")).await;
    assert_eq!(one["dag_run_id"], "by_hand");
}

#[tokio::test]
async fn without_a_leader_a_command_is_withdrawn_and_told_so() {
    let server = Server::start().await;
    server.leader.leave();
    let user = server.user("user").await;
    let (status, refused) = user.post(&format!("{STOCK}/dagRuns"), json!({"logical_date": null})).await;
    assert_eq!(status, 503);
    assert!(refused["detail"].as_str().unwrap().contains("Nothing was changed"), "{refused}");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox").fetch_one(&server.pool).await.unwrap();
    assert_eq!(left, 0);
    let (status, health) = user.get("/monitor/health").await;
    assert_eq!((status, &health["scheduler"]["status"]), (200, &json!("unhealthy")));
    assert_eq!(health["metadatabase"]["status"], "healthy");
}

#[tokio::test]
async fn runs_are_listed_over_all_dags() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (_, all) = viewer.get("/dags/~/dagRuns?order_by=-run_after&limit=2").await;
    assert_eq!((&all["total_entries"], all["dag_runs"].as_array().unwrap().len()), (&json!(13), 2));
    assert_eq!(all["dag_runs"][0]["dag_run_id"], RUN);
    assert!(all.as_object().unwrap().contains_key("next_cursor"));
    let total = async |query: &str| viewer.get(&format!("{STOCK}/dagRuns?{query}")).await.1["total_entries"].clone();
    assert_eq!(total("state=failed").await, 1);
    assert_eq!(total("state=failed&state=running").await, 2);
    assert_eq!(total("run_id_pattern=MANUAL__1").await, 4);
    assert_eq!(total("run_after_gte=2099-01-01").await, 0);
    assert_eq!(viewer.get(&format!("{STOCK}/dagRuns?state=odd")).await.0, 422);
    assert_eq!(viewer.get(&format!("{STOCK}/dagRuns?order_by=duration&order_by=-state")).await.0, 200);
}

#[tokio::test]
async fn task_instances_exist_whether_stored_or_not() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let run = format!("{STOCK}/dagRuns/{RUN}");
    let (_, all) = viewer.get(&format!("{run}/taskInstances")).await;
    assert_eq!(all["total_entries"], 6);
    let states: Vec<_> = all["task_instances"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(json!(states), json!(["success", "success", "success", "running", null, null]));
    let (_, none) = viewer.get(&format!("{run}/taskInstances?state=none")).await;
    assert_eq!(none["total_entries"], 2);
    let (_, silver) = viewer.get(&format!("{run}/taskInstances/silver")).await;
    assert_eq!((&silver["try_number"], &silver["max_tries"], &silver["map_index"]), (&json!(2), &json!(2), &json!(-1)));
    assert_eq!(silver["operator"], "bash");
    assert_eq!(viewer.get(&format!("{run}/taskInstances/silver/-1")).await.1["id"], silver["id"]);
    assert_eq!(viewer.get(&format!("{run}/taskInstances/nothing")).await.0, 404);
    let (_, tries) = viewer.get(&format!("{run}/taskInstances/silver/tries")).await;
    assert_eq!(tries["total_entries"], 1);
    let (_, everywhere) = viewer.get("/dags/~/dagRuns/~/taskInstances?state=failed").await;
    assert_eq!(everywhere["total_entries"], 1);
    assert_eq!(viewer.get(&format!("/dags/~/dagRuns/{RUN}/taskInstances")).await.0, 400);
}

#[tokio::test]
async fn a_log_is_read_as_json_and_as_lines() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let log = format!("{STOCK}/dagRuns/{RUN}/taskInstances/silver/logs");
    let (status, whole) = viewer.get(&format!("{log}/2")).await;
    assert_eq!((status, &whole["continuation_token"]), (200, &Value::Null));
    assert_eq!(whole["content"][3]["event"], HOSTILE_LINE);
    assert_eq!(whole["content"][2]["timestamp"], "2026-11-21T00:01:12.031Z");
    assert_eq!(viewer.get(&format!("{log}/9")).await.0, 404);
    assert_eq!(viewer.get(&format!("{log}/0")).await.0, 404);
    assert_eq!(viewer.get(&format!("{log}/x")).await.0, 422);
    assert_eq!(viewer.get(&format!("{log}/2?token=0.forged")).await.0, 400);
    let token = server.token("viewer").await;
    let get = |accept: &'static str| {
        client().get(server.url(&format!("/api/v2{log}/2"))).bearer_auth(&token).header("accept", accept).send()
    };
    let lines = get("application/x-ndjson").await.unwrap();
    assert!(!lines.headers().contains_key("airflow-continuation-token"));
    assert_eq!(lines.text().await.unwrap().lines().count(), 4);
    assert_eq!(get("text/plain").await.unwrap().status(), 406);
}

#[tokio::test]
async fn a_log_that_its_worker_has_no_more_is_read_from_where_it_was_shipped_also_without_a_leader() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let log = format!("{STOCK}/dagRuns/{RUN}/taskInstances/silver/logs/2");
    let (_, before) = viewer.get(&log).await;
    server.leader.ship_logs();
    let (status, shipped) = viewer.get(&log).await;
    assert_eq!((status, &shipped["continuation_token"]), (200, &Value::Null));
    let source = shipped["content"][0]["event"].as_str().unwrap();
    assert!(source.contains("read from s3://logs/") && source.contains("/silver/2"), "{source}");
    let lines = |answer: &Value| answer["content"].as_array().unwrap()[1..].to_vec();
    assert_eq!(lines(&shipped), lines(&before));
    server.leader.leave();
    assert_eq!(viewer.get(&log).await, (200, shipped));
}

#[tokio::test]
async fn a_clear_only_tells_unless_it_is_told_to_act() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let clear = format!("{STOCK}/clearTaskInstances");
    let body = json!({"dag_run_id": RUN, "task_ids": ["silver", ["gold", -1]], "only_failed": false});
    let (status, found) = user.post(&clear, body).await;
    assert_eq!((status, &found["total_entries"]), (200, &json!(2)));
    assert_eq!(user.post(&clear, json!({"dag_run_id": RUN, "task_ids": []})).await.0, 422);
    let (status, dated) = user.post(&clear, json!({"task_ids": ["silver"], "only_failed": false})).await;
    assert_eq!((status, &dated["total_entries"]), (200, &json!(1)), "without a run every dated one is meant");
    assert_eq!(user.post(&clear, json!({"dag_run_id": "none", "task_ids": ["silver"]})).await.0, 404);
    let (_, run) = user.post(&format!("{STOCK}/dagRuns/{RUN}/clear"), json!({"dry_run": false})).await;
    assert_eq!(run["dag_run_id"], RUN);
}

#[tokio::test]
async fn what_is_not_there_answers_as_airflow_does() {
    let server = Server::start().await;
    let unknown = client().get(server.url("/api/v2/nothing")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.json::<Value>().await.unwrap(), json!({"error": "API route not found"}));
    let viewer = server.user("viewer").await;
    let (status, wrong) = viewer.post("/dags", json!({})).await;
    assert_eq!((status, wrong), (405, json!({"detail": "Method Not Allowed"})));
    let openapi: Value = client().get(server.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    assert_eq!(openapi["paths"]["/api/v2/dags/{dag_id}"]["patch"]["operationId"], "patch_dag");
    assert_eq!(viewer.get("/importErrors").await.1, json!({"import_errors": [], "total_entries": 0}));
    assert_eq!(viewer.get("/pools").await.1["pools"][0]["running_slots"], 3);
}
