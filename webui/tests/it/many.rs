//! Many changes in one request, waiting for a run, and what is not there.

use serde_json::{Value, json};

use crate::support::{RUN, Server, client};

const STOCK: &str = "/dags/stock_data_pipeline";

#[tokio::test]
async fn dags_are_paused_by_a_pattern_and_never_without_one() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let paused = async |id: &str| user.get(&format!("/dags/{id}")).await.1["is_paused"].clone();
    let (status, none) = user.patch("/dags", json!({"is_paused": true})).await;
    assert_eq!((status, none), (200, json!({"dags": [], "total_entries": 0})));
    let (status, found) = user.patch("/dags?dag_id_pattern=~&limit=1", json!({"is_paused": true})).await;
    assert_eq!((status, &found["total_entries"]), (200, &json!(2)));
    let page = found["dags"].as_array().unwrap();
    assert_eq!(
        (page.len(), &page[0]["is_paused"]),
        (1, &json!(true)),
        "the answer has one page of them, as they are now"
    );
    assert_eq!((paused("stock_data_pipeline").await, paused("weather_pipeline").await), (json!(true), json!(true)));
    user.patch("/dags?dag_id_prefix_pattern=weather", json!({"is_paused": false})).await;
    assert_eq!((paused("stock_data_pipeline").await, paused("weather_pipeline").await), (json!(true), json!(false)));
    assert_eq!(user.patch("/dags?dag_id_pattern=~", json!({})).await.0, 422);
    assert_eq!(user.patch("/dags?dag_id_pattern=~&update_mask=tags", json!({"is_paused": true})).await.0, 400);
}

#[tokio::test]
async fn runs_are_changed_and_deleted_in_one_request() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let note = json!({"action": "update", "entities": [{"dag_run_id": RUN, "note": "seen"}]});
    let absent = json!({"action": "update", "entities": [{"dag_run_id": "none", "note": "seen"}]});
    let create = json!({"action": "create", "entities": [{"dag_run_id": "new"}]});
    let delete = json!({"action": "delete", "entities": [RUN, "none"], "action_on_non_existence": "skip"});
    let actions = json!({"actions": [note, absent, create, delete]});
    let (status, done) = user.patch(&format!("{STOCK}/dagRuns"), actions).await;
    assert_eq!((status, &done["update"]["success"]), (200, &json!([format!("stock_data_pipeline.{RUN}")])));
    let statuses = |kind: &str| -> Vec<Value> {
        done[kind]["errors"].as_array().unwrap().iter().map(|error| error["status_code"].clone()).collect()
    };
    assert_eq!((statuses("update"), statuses("create")), (vec![json!(404)], vec![json!(405)]));
    assert_eq!(statuses("delete"), [json!(409)], "it is running, and the other one is skipped: {done}");
    assert_eq!(user.get(&format!("{STOCK}/dagRuns/{RUN}")).await.1["note"], "seen");
    let everywhere = json!({"actions": [{"action": "update", "entities": [{"dag_run_id": RUN}]}]});
    assert_eq!(user.patch("/dags/~/dagRuns", everywhere).await.0, 422, "an entity has to say its DAG then");
}

#[tokio::test]
async fn task_instances_are_marked_in_one_request_and_by_their_group() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let path = format!("{STOCK}/dagRuns/{RUN}");
    let mark = json!({"action": "update", "entities": [{"task_id": "silver", "new_state": "success"}, {"task_id": "gold", "note": "later"}]});
    let (status, done) = user.patch(&format!("{path}/taskInstances"), json!({"actions": [mark]})).await;
    let name = |task: &str| format!("stock_data_pipeline.{RUN}.{task}[-1]");
    assert_eq!((status, &done["update"]["success"]), (200, &json!([name("silver"), name("gold")])), "{done}");
    let (status, refused) =
        user.patch(&format!("{path}/taskGroupInstances/none"), json!({"new_state": "failed"})).await;
    assert_eq!((status, refused["detail"].as_str().unwrap().contains("Task group 'none'")), (404, true));
    assert_eq!(user.get(&format!("{path}/taskInstances/silver/x")).await.0, 422);
}

#[tokio::test]
async fn several_runs_are_cleared_when_each_is_there() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let clear = async |path: &str, body: Value| user.post(&format!("/dags/{path}/clearDagRuns"), body).await;
    let runs = json!([{"dag_run_id": RUN}, {"dag_run_id": RUN}]);
    let (status, cleared) =
        clear("stock_data_pipeline", json!({"dag_runs": runs, "dry_run": false, "note": "again"})).await;
    assert_eq!((status, &cleared["total_entries"]), (200, &json!(1)), "a run that is named twice is cleared once");
    assert_eq!(
        (&cleared["dag_runs"][0]["dag_run_id"], &cleared["dag_runs"][0]["note"]),
        (&json!(RUN), &json!("again"))
    );
    assert_eq!(clear("stock_data_pipeline", json!({"dag_runs": [{"dag_run_id": "none"}]})).await.0, 404);
    assert_eq!(clear("stock_data_pipeline", json!({"dag_runs": []})).await.0, 422);
    assert_eq!(clear("~", json!({"dag_runs": [{"dag_run_id": RUN}]})).await.0, 400);
    let other = json!({"dag_runs": [{"dag_run_id": RUN, "dag_id": "weather_pipeline"}]});
    assert_eq!(clear("stock_data_pipeline", other).await.0, 400);
}

#[tokio::test]
async fn a_run_takes_in_the_tasks_alone_that_are_new_in_the_latest_version() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let clear = async |body: Value| user.post(&format!("{STOCK}/dagRuns/{RUN}/clear"), body).await;
    let (status, none) = clear(json!({"only_new": true})).await;
    assert_eq!((status, &none["total_entries"]), (200, &json!(0)), "the run has the latest version: {none}");
    assert_eq!(clear(json!({"only_new": true, "dry_run": false})).await.0, 200);
    let more = "  - {task_id: archive, operator: bash, bash_command: \"true\", dependencies: [gold]}\n";
    server.leader.take_in(format!("{}{more}", crate::support::STOCK));
    while user.get(&format!("{STOCK}/tasks/archive")).await.0 != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (status, told) = clear(json!({"only_new": true})).await;
    let ids: Vec<&Value> = told["task_instances"].as_array().unwrap().iter().map(|one| &one["task_id"]).collect();
    assert_eq!((status, ids), (200, vec![&json!("archive")]), "{told}");
    assert_eq!(clear(json!({"only_new": true, "dry_run": false})).await.0, 200);
    let sent = "SELECT details::text FROM audit_log WHERE action = 'clear_task_instances' ORDER BY id DESC LIMIT 1";
    let sent: String = sqlx::query_scalar(sent).fetch_one(&server.pool).await.unwrap();
    assert!(sent.contains("archive") && !sent.contains("silver"), "{sent}");
}

#[tokio::test]
async fn who_waits_for_a_run_is_told_its_state_until_it_has_ended() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (_, ended) = viewer.get(&format!("{STOCK}/dagRuns?state=success&limit=1")).await;
    let run = ended["dag_runs"][0]["dag_run_id"].as_str().unwrap().replace('+', "%2B");
    let token = server.token("viewer").await;
    let wait = |run: &str, query: &str| {
        let url = server.url(&format!("/api/v2{STOCK}/dagRuns/{run}/wait?{query}"));
        client().get(url).bearer_auth(&token).header("accept-encoding", "gzip").send()
    };
    let told = wait(&run, "interval=1").await.unwrap();
    assert_eq!(told.headers()["content-type"], "application/x-ndjson");
    assert_eq!(told.text().await.unwrap(), "{\"state\":\"success\"}\n");
    let mut running = wait(&RUN.replace('+', "%2B"), "interval=0.1").await.unwrap();
    for _ in 0..2 {
        assert_eq!(&running.chunk().await.unwrap().unwrap()[..], b"{\"state\":\"running\"}\n");
    }
    assert_eq!(wait(&run, "").await.unwrap().status(), 422);
    assert_eq!(wait(&run, "interval=0").await.unwrap().status(), 422);
    assert_eq!(wait("none", "interval=1").await.unwrap().status(), 404);
}
