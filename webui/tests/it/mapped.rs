//! Instances of expanded tasks, as clients of Airflow and pages see them.

use serde_json::json;

use crate::support::{RUN, Server};

/// Three instances of the task `gold` in the running sample run, of which the last failed.
const INSTANCES: &str = "
    INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live, started_at, ended_at)
    SELECT 13, t.task_idx, m, 1, CASE m WHEN 2 THEN 5 ELSE 4 END, false, now(), now()
    FROM dag_task AS t, generate_series(0, 2) AS m WHERE t.dag_id = 'stock_data_pipeline' AND t.task_id = 'gold';
    INSERT INTO task_instance_extra (run_id, task_idx, map_index, rendered_map_index)
    SELECT 13, task_idx, 1, 'eu' FROM dag_task WHERE dag_id = 'stock_data_pipeline' AND task_id = 'gold';
    INSERT INTO xcom (run_id, task_idx, map_index, key, value)
    SELECT 13, t.task_idx, m, 'return_value', to_json(m) FROM dag_task AS t, generate_series(0, 2) AS m
    WHERE t.dag_id = 'stock_data_pipeline' AND t.task_id = 'gold'";

fn of_gold(rest: &str) -> String {
    format!("/dags/stock_data_pipeline/dagRuns/{}/taskInstances/gold{rest}", RUN.replace('+', "%2B"))
}

#[tokio::test]
async fn instances_of_an_expanded_task_are_listed_and_told_one_by_one() {
    let server = Server::start().await;
    sqlx::raw_sql(INSTANCES).execute(&server.pool).await.unwrap();
    let viewer = server.user("viewer").await;
    let (status, body) = viewer.get(&of_gold("/listMapped")).await;
    assert_eq!((status, &body["total_entries"]), (200, &json!(3)), "{body}");
    let told =
        |key: &str| body["task_instances"].as_array().unwrap().iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("map_index"), [0, 1, 2]);
    assert_eq!(told("rendered_map_index"), ["0", "eu", "2"]);
    let (status, body) = viewer.get(&of_gold("/listMapped?state=failed")).await;
    assert_eq!((status, &body["task_instances"][0]["map_index"]), (200, &json!(2)));
    assert_eq!(viewer.get(&of_gold("")).await.0, 404, "which one is meant has to be said");
    let (status, body) = viewer.get(&of_gold("/1")).await;
    assert_eq!((status, &body["map_index"], &body["state"]), (200, &json!(1), &json!("success")));
    assert_eq!(viewer.get(&of_gold("/7")).await.0, 404);
    let (status, body) = viewer.get(&of_gold("/xcomEntries/return_value?map_index=2")).await;
    assert_eq!((status, &body["value"], &body["map_index"]), (200, &json!(2), &json!(2)), "{body}");
}

#[tokio::test]
async fn pages_fold_the_instances_of_a_task_into_one_row_until_asked() {
    let server = Server::start().await;
    sqlx::raw_sql(INSTANCES).execute(&server.pool).await.unwrap();
    let token = server.token("user").await;
    let run = format!("/dags/stock_data_pipeline/runs/{}", RUN.replace('+', "%2B"));
    let (status, page) = server.page(&token, &run).await;
    assert_eq!(status, 200);
    assert!(page.contains("gold × 3") && page.contains("2 of 3 done") && !page.contains("gold [eu]"), "{page}");
    let (_, page) = server.page(&token, &format!("{run}?unfold=gold")).await;
    assert!(page.contains("gold [0]") && page.contains("gold [eu]") && !page.contains("gold × 3"), "{page}");
    sqlx::raw_sql("UPDATE dag_run SET state = 3 WHERE id = 13").execute(&server.pool).await.unwrap();
    let (_, failed) = server.page(&token, &run).await;
    assert!(failed.contains("gold [2] failed (try 1"), "{failed}");
    let (_, grid) = server.page(&token, "/dags/stock_data_pipeline?tab=grid").await;
    assert!(grid.contains("2 of 3 done"), "{grid}");
    let (status, page) = server.page(&token, &format!("{run}/tasks/gold?map_index=1")).await;
    assert!(status == 200 && page.contains("gold [eu]"), "{status}");
}

#[tokio::test]
async fn ten_thousand_instances_are_one_row_and_a_list_with_an_end() {
    let server = Server::start().await;
    let many = INSTANCES.replace("generate_series(0, 2)", "generate_series(0, 9999)");
    sqlx::raw_sql(&many).execute(&server.pool).await.unwrap();
    let token = server.token("user").await;
    let run = format!("/dags/stock_data_pipeline/runs/{}", RUN.replace('+', "%2B"));
    let (_, grid) = server.page(&token, "/dags/stock_data_pipeline?tab=grid").await;
    assert!(grid.contains("9999 of 10000 done") && grid.len() < 200_000, "{}", grid.len());
    let (_, page) = server.page(&token, &run).await;
    assert!(page.contains("gold × 10000") && page.len() < 300_000, "{}", page.len());
    let (status, page) = server.page(&token, &format!("{run}?unfold=gold")).await;
    assert!(status == 200 && page.contains("gold [eu]") && !page.contains("gold [9999]"), "{}", page.len());
}
