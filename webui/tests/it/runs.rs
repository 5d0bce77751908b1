//! Runs, task instances and what belongs to them, as clients of Airflow change and read them.

use serde_json::{Value, json};

use crate::support::{Client, RUN, Server};

/// A path below the running sample run.
fn of_run(rest: &str) -> String {
    format!("/dags/stock_data_pipeline/dagRuns/{}{rest}", RUN.replace('+', "%2B"))
}

#[tokio::test]
async fn a_run_gets_a_remark_and_an_ended_one_is_deleted() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let (status, run) = user.patch(&of_run(""), json!({"note": "looked at by ada"})).await;
    assert_eq!((status, &run["note"]), (200, &json!("looked at by ada")));
    let (_, masked) = user.patch(&of_run("?update_mask=state"), json!({"note": "not meant"})).await;
    assert_eq!(masked["note"], "looked at by ada");
    let (status, body) = user.patch(&of_run(""), json!({"note": "x".repeat(1001)})).await;
    assert_eq!((status, &body["detail"][0]["type"]), (422, &json!("string_too_long")));
    let (status, _) = user.patch(&of_run(""), json!({"state": "running"})).await;
    assert_eq!(status, 422);
    assert_eq!(user.delete(&of_run("")).await, 409);
    assert_eq!(user.delete("/dags/stock_data_pipeline/dagRuns/manual__1").await, 204);
    assert_eq!(user.get("/dags/stock_data_pipeline/dagRuns/manual__1").await.0, 404);
    assert_eq!(user.get("/dags/stock_data_pipeline/dagRuns").await.1["total_entries"], 12);
}

#[tokio::test]
async fn runs_are_found_by_every_filter_and_by_batch() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    for (query, total) in [
        ("state=failed", 1),
        ("state=failed&state=running", 2),
        ("run_type=scheduled", 1),
        ("run_id_pattern=manual", 12),
        ("logical_date_gte=2020-01-01", 1),
        ("duration_gt=10000", 0),
        ("duration_gte=1", 12),
        ("dag_version=1", 13),
        ("dag_version=2", 0),
        ("triggering_user_name_pattern=nobody", 0),
        ("conf_contains=%7B", 13),
    ] {
        let (status, body) = viewer.get(&format!("/dags/~/dagRuns?{query}")).await;
        assert_eq!((status, &body["total_entries"]), (200, &json!(total)), "{query}");
    }
    let batch =
        json!({"dag_ids": ["stock_data_pipeline"], "states": ["failed"], "order_by": "-run_after", "page_limit": 5});
    let (status, body) = viewer.post("/dags/~/dagRuns/list", batch).await;
    assert_eq!((status, &body["dag_runs"][0]["dag_run_id"]), (200, &json!("manual__5")));
    assert_eq!(viewer.post("/dags/other/dagRuns/list", json!({})).await.0, 400);
    assert_eq!(viewer.post("/dags/~/dagRuns/list", json!({"foo": 1})).await.0, 422);
    assert_eq!(viewer.post("/dags/~/dagRuns/list", json!({"order_by": "-nothing"})).await.0, 400);
    let (status, refused) = viewer.post("/dags/~/dagRuns/list", json!({"states": ["over"]})).await;
    assert!(status == 422 && refused["detail"].is_string(), "{refused}");
    let (_, run) = viewer.get(&of_run("")).await;
    let version = run["bundle_version"].as_str().unwrap().to_owned();
    for (query, total) in [
        (format!("bundle_version={version}"), 13),
        ("bundle_version=other".to_owned(), 0),
        ("dag_id_prefix_pattern=stock".to_owned(), 13),
        ("dag_id_prefix_pattern=tock".to_owned(), 0),
        ("triggering_user_name_prefix_pattern=nobody".to_owned(), 0),
        ("partition_key_pattern=x".to_owned(), 0),
        ("partition_key_pattern=~".to_owned(), 13),
        ("partition_key_prefix_pattern=x".to_owned(), 0),
        ("partition_date_gte=2026-01-01".to_owned(), 0),
        ("consuming_asset_pattern=x".to_owned(), 0),
    ] {
        let (status, body) = viewer.get(&format!("/dags/~/dagRuns?{query}")).await;
        assert_eq!((status, &body["total_entries"]), (200, &json!(total)), "{query}");
    }
    for wrong in ["order_by=nothing", "order_by=-run_after&order_by=note", "cursor=10"] {
        assert_eq!(viewer.get(&format!("/dags/~/dagRuns?{wrong}")).await.0, 400, "{wrong}");
    }
    assert_eq!(viewer.get("/dags/~/dagRuns?partition_date_lte=soon").await.0, 422);
}

/// Walks through a list by its cursors, to the end and back.
async fn walked(viewer: &Client, path: &str, rows: &str, id: impl Fn(&Value) -> String) -> (Vec<String>, Vec<String>) {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let ids = |list: &Value| list[rows].as_array().unwrap().iter().map(&id).collect::<Vec<_>>();
    let part = async |cursor: &str| {
        let (status, list) = viewer.get(&format!("{path}&cursor={cursor}")).await;
        assert_eq!(status, 200, "{list}");
        list
    };
    let mut list = part("").await;
    assert_eq!(list["previous_cursor"], Value::Null);
    loop {
        there.extend(ids(&list));
        let Some(next) = list["next_cursor"].as_str().map(str::to_owned) else { break };
        list = part(&next).await;
    }
    while let Some(previous) = list["previous_cursor"].as_str().map(str::to_owned) {
        list = part(&previous).await;
        back.splice(0..0, ids(&list));
    }
    (there, back)
}

#[tokio::test]
async fn lists_are_walked_by_the_places_of_rows_and_new_rows_shift_nothing() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let run_id = |run: &Value| run["dag_run_id"].as_str().unwrap().to_owned();
    for order in ["-run_after", "end_date", "-end_date&order_by=run_id", "logical_date", "duration", "state"] {
        let (_, whole) = viewer.get(&format!("/dags/~/dagRuns?order_by={order}")).await;
        let expected: Vec<String> = whole["dag_runs"].as_array().unwrap().iter().map(run_id).collect();
        let (there, back) =
            walked(&viewer, &format!("/dags/~/dagRuns?limit=5&order_by={order}"), "dag_runs", run_id).await;
        assert_eq!((there.len(), &there, &back[..]), (13, &expected, &expected[..10]), "{order}");
    }
    let id = |one: &Value| format!("{} {}", one["dag_run_id"], one["task_id"]);
    for order in ["", "&order_by=-start_date", "&order_by=state&order_by=-duration"] {
        let list = format!("/dags/~/dagRuns/~/taskInstances?limit=30{order}");
        let (there, back) = walked(&viewer, &list, "task_instances", id).await;
        let distinct: std::collections::BTreeSet<_> = there.iter().collect();
        assert_eq!((there.len(), distinct.len()), (13 * 6, 13 * 6), "{order}");
        assert_eq!(back, there[..60], "{order}");
    }
    let of_run = walked(&viewer, &of_run("/taskInstances?limit=4&order_by=operator"), "task_instances", id).await;
    assert_eq!((of_run.0.len(), of_run.1.len()), (6, 4));
    let newest = "/dags/~/dagRuns?limit=5&order_by=-run_after&cursor=";
    let (_, first) = viewer.get(newest).await;
    let (status, _) = user.post("/dags/stock_data_pipeline/dagRuns", json!({"logical_date": null})).await;
    assert_eq!(status, 200);
    let next = first["next_cursor"].as_str().unwrap();
    let (_, second) = viewer.get(&format!("{newest}{next}")).await;
    assert_ne!(run_id(&second["dag_runs"][0]), run_id(&first["dag_runs"][4]), "no row is shown twice");
    let (status, _) = viewer.get(&format!("/dags/~/dagRuns?order_by=run_after&cursor={next}")).await;
    assert_eq!(status, 400, "a cursor is of one order");
}

#[tokio::test]
async fn a_run_that_is_made_is_told_as_it_was_made() {
    let server = Server::start().await;
    let user = server.user("user").await;
    // The scheduler may be faster than the answer.
    let at_once = "
        CREATE FUNCTION pg_temp_at_once() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.state := 1; NEW.started_at := now(); RETURN NEW; END $$;
        CREATE TRIGGER at_once BEFORE INSERT ON dag_run FOR EACH ROW EXECUTE FUNCTION pg_temp_at_once()";
    sqlx::raw_sql(at_once).execute(&server.pool).await.unwrap();
    let runs = "/dags/stock_data_pipeline/dagRuns";
    let (status, made) = user.post(runs, json!({"logical_date": null, "dag_run_id": "fast"})).await;
    assert_eq!((status, &made["state"], &made["start_date"]), (200, &json!("queued"), &Value::Null));
    assert_eq!(user.get(&format!("{runs}/fast")).await.1["state"], "running");
    let long = json!({"logical_date": null, "note": "x".repeat(1001)});
    let (status, by_post) = user.post(runs, long).await;
    let (_, by_patch) = user.patch(&format!("{runs}/fast"), json!({"note": "x".repeat(1001)})).await;
    assert_eq!((status, &by_post), (422, &by_patch), "the same mistake is told in the same words");
    let (status, missing) = user.post(runs, json!({})).await;
    assert_eq!((status, &missing["detail"][0]["type"]), (422, &json!("missing")));
}

#[tokio::test]
async fn task_instances_are_found_by_batch_and_by_their_own_filters() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let batch = json!({"dag_ids": ["stock_data_pipeline"], "dag_run_ids": [RUN], "state": ["running", null]});
    let (status, body) = viewer.post("/dags/~/dagRuns/~/taskInstances/list", batch).await;
    let ids: Vec<_> = body["task_instances"].as_array().unwrap().iter().map(|one| one["task_id"].clone()).collect();
    assert_eq!((status, ids), (200, vec![json!("silver"), json!("gold"), json!("publish_quality_report")]));
    for (query, total) in [("try_number=2", 1), ("version_number=1", 6), ("duration_lte=18", 3), ("operator=bash", 6)] {
        let (_, body) = viewer.get(&of_run(&format!("/taskInstances?{query}"))).await;
        assert_eq!(body["total_entries"], total, "{query}");
    }
    for (query, total) in [
        ("pool=default_pool", 6),
        ("pool_name_pattern=DEFAULT", 6),
        ("pool_name_prefix_pattern=pool", 0),
        ("queue_name_pattern=nosuch", 0),
        ("operator_name_prefix_pattern=ba", 6),
        ("operator_name_pattern=sql", 0),
        ("executor=LocalExecutor", 0),
        ("task_group_id=nosuch", 0),
        ("task_display_name_prefix_pattern=bronze", 2),
        ("rendered_map_index_pattern=0", 0),
        ("rendered_map_index_prefix_pattern=0", 0),
        ("updated_at_gte=2020-01-01", 4),
        ("updated_at_gte=2100-01-01", 0),
        ("dag_id_pattern=weather", 0),
        ("dag_id_prefix_pattern=stock", 6),
        ("run_id_pattern=manual", 0),
        ("run_id_prefix_pattern=scheduled", 6),
        ("run_after_gte=2100-01-01", 0),
        ("logical_date_lt=2020-01-01", 0),
    ] {
        let (status, of_run) = viewer.get(&of_run(&format!("/taskInstances?{query}"))).await;
        assert_eq!((status, &of_run["total_entries"]), (200, &json!(total)), "{query}");
        // What is asked of one run is asked of all in the same way.
        let run = format!("{query}&run_id_prefix_pattern={}", RUN.replace('+', "%2B"));
        if !query.contains("run_id_prefix") {
            let (_, of_all) = viewer.get(&format!("/dags/~/dagRuns/~/taskInstances?{run}")).await;
            assert_eq!(of_all["total_entries"], total, "{query}");
        }
    }
    for (wrong, status) in
        [("order_by=nothing", 400), ("map_index=abc", 422), ("state=nothing", 422), ("cursor=1", 400)]
    {
        assert_eq!(viewer.get(&of_run(&format!("/taskInstances?{wrong}"))).await.0, status, "{wrong}");
    }
    let nobody = json!({"executor": ["LocalExecutor"]});
    assert_eq!(viewer.post("/dags/~/dagRuns/~/taskInstances/list", nobody).await.1["total_entries"], 0);
    assert_eq!(viewer.get(&of_run("/taskInstances/silver/listMapped")).await.0, 404);
}

#[tokio::test]
async fn a_task_instance_shows_its_tries_its_fields_and_what_it_waits_for() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (_, silver) = viewer.get(&of_run("/taskInstances/silver")).await;
    let (_, mapped) = viewer.get(&of_run("/taskInstances/silver/-1")).await;
    assert_eq!(silver, mapped);
    assert_eq!(silver["rendered_fields"]["bash_command"], "true");
    let (_, one) = viewer.get(&of_run("/taskInstances/silver/tries/2")).await;
    assert_eq!((&one["try_number"], &one["state"]), (&json!(2), &json!("running")));
    assert_eq!(viewer.get(&of_run("/taskInstances/silver/-1/tries/2")).await.1, one);
    assert_eq!(viewer.get(&of_run("/taskInstances/silver/tries/9")).await.0, 404);
    for odd in [
        "silver/abc",
        "silver/tries/x",
        "silver/tries?map_index=abc",
        "silver/abc/tries",
        "silver/logs/x",
        "silver/logs/1?map_index=abc",
        "silver/dependencies?map_index=abc",
        "silver/xcomEntries?map_index=abc",
    ] {
        assert_eq!(viewer.get(&of_run(&format!("/taskInstances/{odd}"))).await.0, 422, "{odd}");
    }
    assert_eq!(viewer.get(&of_run("/taskInstances/silver/tries?map_index=7")).await.0, 404);
    let (_, waits) = viewer.get(&of_run("/taskInstances/gold/dependencies")).await;
    assert_eq!(waits["dependencies"].as_array().unwrap().len(), 1);
    assert!(waits["dependencies"][0]["reason"].is_string());
    let (_, waits) = viewer.get(&of_run("/taskInstances/silver/-1/dependencies")).await;
    assert_eq!(waits["dependencies"], json!([]), "what runs waits for nothing");
    assert_eq!(viewer.get(&of_run("/taskInstances/silver/externalLogUrl/1")).await.0, 400);
    assert_eq!(viewer.get(&of_run("/taskInstances/silver/links")).await.1["extra_links"], json!({}));
}

#[tokio::test]
async fn a_task_instance_is_set_and_gets_a_remark() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let path = of_run("/taskInstances/silver");
    let (status, body) = user.patch(&path, json!({"new_state": "success", "note": "by hand"})).await;
    assert_eq!((status, &body["total_entries"]), (200, &json!(1)), "{body}");
    assert_eq!(body["task_instances"][0]["note"], "by hand");
    let (status, body) = user.patch(&format!("{path}/-1/dry_run"), json!({"new_state": "failed"})).await;
    assert_eq!((status, &body["task_instances"][0]["task_id"]), (200, &json!("silver")));
    for wrong in [json!({"new_state": null}), json!({"new_state": "running"}), json!({"new_state": "success", "x": 1})]
    {
        assert_eq!(user.patch(&path, wrong.clone()).await.0, 422, "{wrong}");
    }
    let past = user.patch(
        "/dags/stock_data_pipeline/dagRuns/manual__1/taskInstances/silver",
        json!({"new_state": "success", "include_past": true}),
    );
    let (status, body) = past.await;
    assert_eq!(status, 400, "a run without a date has no past: {body}");
}

#[tokio::test]
async fn a_clear_takes_a_run_with_its_span_or_a_range_of_dates() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let clear = async |body: Value| user.post("/dags/stock_data_pipeline/clearTaskInstances", body).await;
    let (status, body) =
        clear(json!({"dag_run_id": RUN, "task_ids": ["silver"], "include_past": true, "include_future": true,
            "only_failed": false}))
        .await;
    assert_eq!((status, &body["total_entries"]), (200, &json!(1)), "{body}");
    let since = json!({"task_ids": [["silver", -1]], "start_date": "2020-01-01T00:00:00Z", "only_failed": false});
    let (status, body) = clear(since).await;
    assert_eq!((status, &body["total_entries"]), (200, &json!(1)), "{body}");
    let (_, none) = clear(json!({"task_ids": ["silver"], "end_date": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(none["total_entries"], 0);
    for wrong in [
        json!({"dag_run_id": RUN, "include_past": true, "start_date": "2020-01-01T00:00:00Z"}),
        json!({"dag_run_id": RUN, "end_date": "2020-01-01T00:00:00Z"}),
        json!({"start_date": "2020-01-02T00:00:00Z", "end_date": "2020-01-01T00:00:00Z"}),
        json!({"dag_run_id": RUN, "only_failed": true, "only_running": true}),
    ] {
        assert_eq!(clear(wrong.clone()).await.0, 422, "{wrong}");
    }
    let (_, running) = clear(json!({"dag_run_id": RUN, "only_running": true})).await;
    assert_eq!((&running["total_entries"], &running["task_instances"][0]["task_id"]), (&json!(1), &json!("silver")));
    assert_eq!(clear(json!({"dag_run_id": RUN, "only_failed": false})).await.1["total_entries"], 6);
    assert_eq!(clear(json!({"dag_run_id": "manual__1", "include_future": true})).await.0, 400);
    assert_eq!(clear(json!({"dag_run_id": RUN, "task_ids": []})).await.0, 422);
}

#[tokio::test]
async fn an_xcom_is_left_read_replaced_and_removed() {
    let server = Server::start().await;
    let (user, viewer) = (server.user("user").await, server.user("viewer").await);
    let path = of_run("/taskInstances/silver/xcomEntries");
    let (status, made) = user.post(&path, json!({"key": "rows", "value": {"n": 3}})).await;
    assert_eq!((status, &made["value"], &made["run_id"]), (201, &json!({"n": 3}), &json!(RUN)));
    assert_eq!(user.post(&path, json!({"key": "rows", "value": 1})).await.0, 409);
    assert_eq!(user.post(&path, json!({"key": "no value"})).await.0, 422);
    let (_, list) = viewer.get(&path).await;
    assert_eq!(list["total_entries"], 1);
    assert!(list["xcom_entries"][0].get("value").is_none());
    let (_, all) = viewer.get("/dags/~/dagRuns/~/taskInstances/~/xcomEntries?xcom_key=rows").await;
    assert_eq!(all["xcom_entries"][0]["task_id"], "silver");
    let (status, _) = user.post(&of_run("/taskInstances/gold/xcomEntries"), json!({"key": "a", "value": 1})).await;
    assert_eq!(status, 201);
    let every = of_run("/taskInstances/~/xcomEntries");
    for (query, keys) in [
        ("order_by=key", &["a", "rows"][..]),
        ("order_by=-key", &["rows", "a"]),
        ("order_by=task_id", &["a", "rows"]),
        ("order_by=-task_id&order_by=map_index", &["rows", "a"]),
        ("order_by=timestamp&order_by=-key", &["rows", "a"]),
        ("order_by=-run_after&order_by=dag_id&order_by=run_id&order_by=key", &["a", "rows"]),
        ("xcom_key_prefix_pattern=ro", &["rows"]),
        ("xcom_key_pattern=OW", &["rows"]),
        ("task_id_pattern=OLD", &["a"]),
        ("task_id_prefix_pattern=sil", &["rows"]),
        ("run_id_prefix_pattern=manual", &[]),
        ("dag_display_name_prefix_pattern=weather", &[]),
        ("map_index_filter=0", &[]),
        ("map_index_filter=-1&order_by=key", &["a", "rows"]),
        ("run_after_gte=2100-01-01", &[]),
    ] {
        let (status, list) = viewer.get(&format!("{every}?{query}")).await;
        let found: Vec<_> = list["xcom_entries"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
        assert_eq!((status, found), (200, keys.iter().map(|key| json!(key)).collect()), "{query}");
    }
    assert_eq!(viewer.get(&format!("{every}?order_by=value")).await.0, 400);
    let one = format!("{path}/rows");
    assert_eq!(viewer.get(&one).await.1["value"], json!({"n": 3}));
    assert_eq!(viewer.get(&format!("{one}?stringify=true")).await.1["value"], "{\"n\":3}");
    assert_eq!(user.patch(&one, json!({"value": null})).await.1["value"], Value::Null);
    assert_eq!(viewer.delete(&one).await, 403);
    assert_eq!(user.delete(&one).await, 204);
    assert_eq!(viewer.get(&one).await.0, 404);
    let large = json!({"key": "large", "value": "x".repeat(70_000)});
    assert_eq!(user.post(&path, large).await.0, 400);
}

#[tokio::test]
async fn versions_sources_and_counts_of_dags_are_told() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (_, versions) = viewer.get("/dags/~/dagVersions?order_by=-version_number").await;
    assert_eq!(versions["total_entries"], 2);
    let (_, one) = viewer.get("/dags/stock_data_pipeline/dagVersions/1").await;
    assert_eq!((&one["version_number"], &one["dag_id"]), (&json!(1), &json!("stock_data_pipeline")));
    assert_eq!(viewer.get("/dags/stock_data_pipeline/dagVersions/7").await.0, 404);
    assert_eq!(viewer.get("/dags/~/dagVersions?bundle_name=elsewhere").await.1["total_entries"], 0);
    assert_eq!(viewer.get("/dags/~/dagVersions?bundle_name=dags-folder&version_number=1").await.1["total_entries"], 2);
    assert_eq!(viewer.get("/dags/~/dagVersions?order_by=dag_id").await.0, 400);
    assert_eq!(viewer.get("/dagSources/stock_data_pipeline?version_number=99999999999").await.0, 404);
    assert_eq!(viewer.get("/dagSources/stock_data_pipeline?version_number=one").await.0, 422);
    let (_, source) = viewer.get("/dagSources/stock_data_pipeline").await;
    assert!(source["content"].as_str().unwrap().contains("submit_stream_job"));
    let text = crate::support::client().get(server.url("/api/v2/dagSources/stock_data_pipeline"));
    let text = text.bearer_auth(server.token("viewer").await);
    let answer = text.try_clone().unwrap().header("accept", "text/plain").send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("submit_stream_job"));
    assert_eq!(text.header("accept", "image/png").send().await.unwrap().status(), 406);
    let (_, stats) = viewer.get("/dagStats?dag_ids=stock_data_pipeline").await;
    let counts: Vec<_> = stats["dags"][0]["stats"].as_array().unwrap().iter().map(|one| one["count"].clone()).collect();
    assert_eq!(counts, [0, 1, 11, 1]);
    assert_eq!(viewer.get("/config").await.0, 403);
    let (_, jobs) = viewer.get("/jobs?job_type=SchedulerJob").await;
    assert_eq!((&jobs["total_entries"], &jobs["jobs"][0]["state"]), (&json!(1), &json!("running")));
    for (path, list) in [("/plugins", "plugins"), ("/providers", "providers"), ("/dagWarnings", "dag_warnings")] {
        assert_eq!(viewer.get(path).await.1[list], json!([]));
    }
    let user = server.user("user").await;
    assert_eq!(user.delete("/dags/stock_data_pipeline").await, 409);
}
