//! Lists at size over HTTP: they see everything, load nothing that they do not show, and hold nobody up.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{RUN, Server, client};

const STOCK: &str = "/dags/stock_data_pipeline";
/// How often a list may read a table: once for its rows, and once more to count them.
const READS_MAX: i64 = 2;

/// 400 more ended runs of the stock DAG with 100 instances of its tasks each, and an XCom for each.
async fn fill(server: &Server) {
    let rows = "
        INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, started_at,
                             ended_at, conf)
        SELECT n, r.dag_id, 'old__' || n, 1, 5, r.version_id, 2, at, at, at, at + interval '1 min', '{}'
        FROM dag_run r, generate_series(1001, 1400) n,
             LATERAL (SELECT timestamptz '2020-01-01Z' + n * interval '1 day' AS at) AS a
        WHERE r.id = 1;
        INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live, queued_at, started_at, ended_at)
        SELECT n, t.task_idx, m, 1, 4, false, now(), now(), now()
        FROM generate_series(1001, 1400) n, dag_task t, generate_series(0, 16) m WHERE t.dag_id = 'stock_data_pipeline';
        INSERT INTO xcom SELECT run_id, task_idx, map_index, 'return_value', to_json(repeat('v', 200)) FROM task_instance
        WHERE run_id > 1000;
        ANALYZE";
    sqlx::raw_sql(rows).execute(&server.pool).await.unwrap();
}

#[tokio::test]
async fn lists_over_all_runs_see_the_oldest_one_and_read_each_row_once() {
    let server = Server::start().await;
    fill(&server).await;
    let viewer = server.user("viewer").await;
    let before = rows_read(&server).await;
    let (status, all) = viewer.get("/dags/~/dagRuns/~/taskInstances?limit=1").await;
    assert_eq!((status, &all["total_entries"], &all["total_entries_limit"]), (200, &json!(10_000), &json!(10_000)));
    let (_, oldest) = viewer.get("/dags/~/dagRuns/~/taskInstances?limit=1&order_by=run_after").await;
    assert_eq!(oldest["task_instances"][0]["dag_run_id"], "old__1001");
    let (status, far) = viewer.get("/dags/~/dagRuns/~/taskInstances?limit=1&offset=10001").await;
    assert!(status == 400 && far["detail"].as_str().unwrap().contains("next_cursor"), "{far}");
    let (_, found) = viewer.get("/dags/~/dagRuns/~/taskInstances?task_id=gold&run_after_lte=2023-01-01").await;
    assert_eq!((&found["total_entries"], &found["task_instances"][0]["task_id"]), (&json!(96 * 17), &json!("gold")));
    let (_, waiting) = viewer.get(&format!("{STOCK}/dagRuns/~/taskInstances?state=none")).await;
    assert_eq!(waiting["total_entries"], 2, "two tasks of the run that runs have no row");
    let (_, xcoms) = viewer.get("/dags/~/dagRuns/~/taskInstances/~/xcomEntries?limit=1").await;
    assert_eq!((xcoms["xcom_entries"].as_array().unwrap().len(), &xcoms["total_entries"]), (1, &json!(10_000)));
    assert_eq!(xcoms["xcom_entries"][0].get("value"), None);
    let (_, of_dag) =
        viewer.get(&format!("{STOCK}/dagRuns/old__1001/taskInstances/gold/xcomEntries?map_index=3")).await;
    assert_eq!(of_dag["total_entries"], 1);
    // A look at all rows for each row, as there was one, reads tens of thousands of times as many.
    let (lists, after) = (6, rows_read(&server).await);
    for (table, (rows, read)) in after {
        let read = read - before[&table].1;
        assert!(read <= lists * READS_MAX * rows, "{lists} lists have read {read} rows of {table}, which has {rows}");
        assert!(read > 0, "nothing of {table} was read");
    }
}

/// Of each of the large tables how many rows it has, and how many have been read of it until now. What a connection has read
/// is known when it ends, so those of the server are ended.
async fn rows_read(server: &Server) -> BTreeMap<String, (i64, i64)> {
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let ask = "SELECT s.relname::text, c.reltuples::bigint, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
               FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid WHERE s.relname IN ('task_instance', 'xcom')";
    let mut own = PgConnection::connect_with(&server.pool.connect_options()).await.unwrap();
    sqlx::raw_sql(end).execute(&mut own).await.unwrap();
    let found: Vec<(String, i64, i64)> = sqlx::query_as(ask).fetch_all(&mut own).await.unwrap();
    found.into_iter().map(|(table, rows, read)| (table, (rows, read))).collect()
}

#[tokio::test]
async fn a_run_is_counted_at_once() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let queued = async || {
        let (_, stats) = user.get("/dagStats?dag_ids=stock_data_pipeline").await;
        let states = stats["dags"][0]["stats"].as_array().unwrap().clone();
        states.into_iter().find(|of| of["state"] == "queued").unwrap()["count"].clone()
    };
    assert_eq!(queued().await, 0);
    let wish = json!({"logical_date": null, "dag_run_id": "counted"});
    assert_eq!(user.post(&format!("{STOCK}/dagRuns"), wish).await.0, 200);
    // The leader's hint follows its answer.
    let until = Instant::now() + Duration::from_secs(10);
    while queued().await != 1 {
        assert!(Instant::now() < until, "the new run is not counted");
    }
}

#[tokio::test]
async fn who_goes_away_while_runs_are_counted_leaves_no_count_stale() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let stats = server.url("/api/v2/dagStats?dag_ids=stock_data_pipeline");
    let token = server.token("viewer").await;
    let ask = || client().get(&stats).bearer_auth(&token);
    let queued = async || {
        let stats: Value = ask().send().await.unwrap().json().await.unwrap();
        stats["dags"][0]["stats"].as_array().unwrap().iter().find(|of| of["state"] == "queued").unwrap()["count"]
            .clone()
    };
    assert_eq!(queued().await, 0);
    let mut events = client().get(server.url("/events")).bearer_auth(&token).send().await.unwrap();
    let wish = json!({"logical_date": null, "dag_run_id": "counted"});
    assert_eq!(user.post(&format!("{STOCK}/dagRuns"), wish).await.0, 200);
    let mut told = String::new();
    while !told.contains("changed") {
        let chunk = tokio::time::timeout(Duration::from_secs(10), events.chunk()).await.unwrap().unwrap().unwrap();
        told.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    // The server has heard of the run, and can not find its DAG while the table is locked.
    let mut lock = server.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE dag_run IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    assert!(ask().timeout(Duration::from_millis(500)).send().await.unwrap_err().is_timeout());
    lock.rollback().await.unwrap();
    assert_eq!(queued().await, 1, "what was heard is forgotten only when it has been acted upon");
    sqlx::raw_sql("DELETE FROM dag_run WHERE run_id = 'counted'").execute(&server.pool).await.unwrap();
    store::hints::notify_changes(&server.pool, &store::Changes::anything()).await.unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while queued().await != 0 {
        assert!(Instant::now() < until, "a run that is gone is still counted");
    }
}

#[tokio::test]
async fn a_list_is_refused_for_its_own_reason_and_not_when_no_definition_is_needed() {
    let server = Server::start().await;
    let rows = "
        INSERT INTO dag_version (id, dag_id, number, content_hash, canonical_yaml, compiled, fileloc)
        OVERRIDING SYSTEM VALUE
        SELECT 10000 + n, dag_id, 10000 + n, md5(n::text), canonical_yaml, compiled, fileloc FROM dag_version v, generate_series(1, 2049) n WHERE v.dag_id = 'stock_data_pipeline';
        INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, started_at, conf)
        SELECT 10000 + n, 'stock_data_pipeline', 'open__' || n, 1, 5, 10000 + n, 1, now(), now(), now(), '{}'
        FROM generate_series(1, 2049) n;
        ANALYZE";
    sqlx::raw_sql(rows).execute(&server.pool).await.unwrap();
    let viewer = server.user("viewer").await;
    let list = "/dags/~/dagRuns/~/taskInstances";
    let (status, refused) = viewer.get(list).await;
    let detail = refused["detail"].as_str().unwrap();
    assert_eq!(status, 400, "{refused}");
    assert!(detail.contains("have not ended") && detail.contains("states") && !detail.contains("filters"), "{detail}");
    let (status, running) = viewer.get(&format!("{list}?state=running")).await;
    assert_eq!((status, &running["total_entries"]), (200, &json!(1)), "{running}");
    let (status, refused) = viewer.get(&format!("{list}?task_id=gold")).await;
    assert!(status == 400 && refused["detail"].as_str().unwrap().contains("look into definitions"), "{refused}");
}

#[tokio::test]
async fn the_number_of_a_list_is_told_beside_no_row_of_it_too() {
    let server = Server::start().await;
    let rows = "
        INSERT INTO quarantine (kind, key, reason, failures, first_at, last_at, held_at)
        SELECT 'dag', 'd' || n, 'no reason', 3, now(), now(), now() FROM generate_series(1, 3) n";
    sqlx::raw_sql(rows).execute(&server.pool).await.unwrap();
    let admin = server.user("admin").await;
    for (path, rows, total) in [("/dagTags", "tags", 3), ("/quarantine", "quarantine_entries", 3), ("/dags", "dags", 2)]
    {
        for part in ["limit=0", "offset=3", "limit=0&offset=50", "limit=1"] {
            let (status, list) = admin.get(&format!("{path}?{part}")).await;
            assert_eq!((status, &list["total_entries"]), (200, &json!(total)), "{path}?{part}: {list}");
            let shown = list[rows].as_array().unwrap().len();
            assert_eq!(shown, usize::from(part == "limit=1"), "{path}?{part}");
        }
    }
    assert_eq!(admin.get("/dagTags?tag_name_pattern=nosuch").await.1["total_entries"], 0);
    for path in ["/dags", "/dagTags"] {
        let (status, refused) = admin.get(&format!("{path}?offset=100001")).await;
        let why = refused["detail"][0]["msg"].as_str().unwrap();
        assert!(status == 422 && why.contains("less than or equal to 100000"), "{refused}");
    }
}

#[tokio::test]
async fn a_log_that_grows_as_fast_as_it_is_read_is_downloaded_as_it_was() {
    let server = Server::start().await;
    let line = "{\"ts\":\"t\",\"stream\":\"out\",\"text\":\"x\"}\n";
    server.leader.raw_log(server.running_attempt().await, &line.repeat(20_000));
    server.leader.grow_logs_by(&line.repeat(10_000));
    let token = server.token("viewer").await;
    let run = RUN.replace('+', "%2B");
    let download = format!("/dags/stock_data_pipeline/runs/{run}/tasks/silver/log.txt?try=2");
    let whole = format!("/api/v2{STOCK}/dagRuns/{run}/taskInstances/silver/logs/2?full_content=true");
    for path in [download, whole] {
        let asked = client().get(server.url(&path)).header("cookie", format!("_token={token}")).send().await.unwrap();
        assert_eq!(asked.status(), 200, "{path}");
        let text = tokio::time::timeout(Duration::from_secs(20), asked.text()).await.expect("it ends").unwrap();
        assert!(text.len() > 20_000, "{path}: {} bytes", text.len());
    }
}

#[tokio::test]
async fn a_whole_log_is_streamed_whatever_its_length() {
    const LINES: usize = 300_000;
    let server = Server::start().await;
    let text: String = (0..LINES).map(|n| format!("{{\"ts\":\"t\",\"stream\":\"out\",\"text\":\"{n}\"}}\n")).collect();
    server.leader.raw_log(server.running_attempt().await, &text);
    let token = server.token("viewer").await;
    let run = RUN.replace('+', "%2B");
    let url = server.url(&format!("/api/v2{STOCK}/dagRuns/{run}/taskInstances/silver/logs/2?full_content=true"));
    let read = |accept: &'static str| client().get(&url).bearer_auth(&token).header("accept", accept).send();
    let answer: Value = read("application/json").await.unwrap().json().await.unwrap();
    let lines = answer["content"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[LINES]["event"]), (LINES + 1, &json!((LINES - 1).to_string())));
    assert_eq!(answer["continuation_token"], Value::Null);
    let text = read("application/x-ndjson").await.unwrap().text().await.unwrap();
    assert_eq!(text.lines().count(), LINES + 1);
}

#[tokio::test]
async fn health_is_the_lease_that_moves() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    let (status, health) = viewer.get("/monitor/health").await;
    assert_eq!((status, &health["scheduler"]["status"]), (200, &json!("healthy")), "{health}");
    let beat = health["scheduler"]["latest_scheduler_heartbeat"].as_str().unwrap();
    let age = chrono::Utc::now() - beat.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(age.num_seconds().abs() < 10, "{beat}");
}
