//! What was told to the outside, by REST and on its page.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn notifications_and_deadlines_are_shown_with_what_came_of_them() {
    let server = Server::start().await;
    let run: (i64, String, i64) = sqlx::query_as(
        "SELECT id, run_id, version_id FROM dag_run WHERE dag_id = 'stock_data_pipeline' ORDER BY id LIMIT 1",
    )
    .fetch_one(&server.pool)
    .await
    .unwrap();
    let rows = "
        INSERT INTO notification (id, dag_id, run_key, run_id, version_id, event, position, kind, task_idx, task_id, try_number,
                                  reason, at, state, attempts, next_attempt_at, ended_at, detail)
        SELECT gen_random_uuid(), 'stock_data_pipeline', $1, $2, $3, 2, 0, 'webhook', 0, 'bronze', 1, '<b>it broke</b>',
               now() - n * interval '1 min', n, n, now(), CASE WHEN n = 3 THEN now() END, 'said <i>' || n
        FROM generate_series(0, 3) n";
    sqlx::query(rows).bind(run.0).bind(&run.1).bind(run.2).execute(&server.pool).await.unwrap();
    let due = "INSERT INTO deadline (id, run_key, dag_id, run_id, version_id, position, name, kinds, at, created_at)
               VALUES (gen_random_uuid(), $1, 'stock_data_pipeline', $2, $3, 0, 'fast', '{webhook}', now(), now())";
    sqlx::query(due).bind(run.0).bind(&run.1).bind(run.2).execute(&server.pool).await.unwrap();

    let viewer = server.user("viewer").await;
    let (status, all) = viewer.get("/notifications?limit=2").await;
    assert_eq!((status, &all["total_entries"]), (200, &json!(4)), "{all}");
    assert_eq!(
        (&all["notifications"][0]["state"], &all["notifications"][0]["event"]),
        (&json!("waiting"), &json!("failure"))
    );
    let (_, failed) = viewer.get("/notifications?state=failed&dag_id=stock_data_pipeline").await;
    assert_eq!(failed["total_entries"], 1);
    assert_eq!(
        (&failed["notifications"][0]["detail"], &failed["notifications"][0]["attempts"]),
        (&json!("said <i>3"), &json!(3))
    );
    assert_eq!(viewer.get("/notifications?dag_id=none").await.1["total_entries"], 0);
    assert_eq!(viewer.get("/notifications?state=lost").await.0, 422);
    let address = format!("/dags/stock_data_pipeline/dagRuns/{}/deadlines", run.1.replace('+', "%2B"));
    let (status, deadlines) = viewer.get(&address).await;
    assert_eq!(status, 200, "{deadlines}");
    let one = &deadlines["deadlines"][0];
    assert_eq!((&one["alert_name"], &one["missed"]), (&json!("fast"), &json!(false)));
    assert_eq!(viewer.get("/dags/stock_data_pipeline/dagRuns/none/deadlines").await.0, 404);

    let token = server.token("viewer").await;
    let (status, html) = server.page(&token, "/notifications").await;
    assert!(status == 200 && html.contains("&lt;b&gt;it broke") && html.contains("bronze"), "{html}");
    assert!(!html.contains("<i>3"), "what was said is text");
    let (_, html) = server.page(&token, "/notifications?state=failed").await;
    assert!(html.contains("said") && !html.contains("sending"), "{html}");
}

#[tokio::test]
async fn who_may_see_some_dags_sees_what_those_have_told() {
    let server = Server::start().await;
    let rows =
        "INSERT INTO notification (id, dag_id, run_key, run_id, version_id, event, position, kind, at, next_attempt_at)
                SELECT gen_random_uuid(), dag, 1, 'r', 1, 2, 0, 'webhook', now(), now()
                FROM unnest('{stock_data_pipeline,weather_pipeline}'::text[]) AS dag";
    sqlx::query(rows).execute(&server.pool).await.unwrap();
    crate::roles::somebody(&server, "team", &[], &["read tag:weather"]).await;
    let team = server.user("team").await;
    let (status, all) = team.get("/notifications").await;
    assert_eq!((status, &all["total_entries"]), (200, &json!(1)), "{all}");
    assert_eq!(all["notifications"][0]["dag_id"], "weather_pipeline");
    assert_eq!(team.get("/notifications?dag_id=stock_data_pipeline").await.1["total_entries"], 0);
    let (status, html) = server.page(&server.token("team").await, "/notifications").await;
    assert!(status == 200 && html.contains("weather_pipeline") && !html.contains("stock_data_pipeline"), "{html}");
}
