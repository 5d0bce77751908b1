//! Backfills by the REST API and by their pages.

use serde_json::{Value, json};

use crate::support::Server;

const STOCK: &str = "stock_data_pipeline";

/// The days around the run that the server has.
fn days(dag: &str) -> Value {
    json!({"dag_id": dag, "from_date": "2026-11-19", "to_date": "2026-11-22T00:00:00Z"})
}

#[tokio::test]
async fn a_backfill_is_made_held_back_and_ended() {
    let server = Server::start().await;
    let user = server.user("user").await;
    let mut wish = days(STOCK);
    wish["dag_run_conf"] = json!({});
    wish["reprocess_behavior"] = "failed".into();
    wish["max_active_runs"] = 3.into();
    let (status, made) = user.post("/backfills", wish).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["from_date"], "2026-11-19T00:00:00Z");
    assert_eq!(
        (&made["dag_id"], &made["max_active_runs"], &made["reprocess_behavior"], &made["is_paused"]),
        (&json!(STOCK), &json!(3), &json!("failed"), &json!(false))
    );
    assert_eq!(made["completed_at"], Value::Null);
    let path = format!("/backfills/{}", made["id"]);
    assert_eq!(user.get(&path).await, (200, made.clone()));
    let (_, listed) = user.get(&format!("/backfills?dag_id={STOCK}&order_by=-id")).await;
    assert_eq!((&listed["total_entries"], &listed["backfills"][0]["id"]), (&json!(1), &made["id"]));
    let (_, held) = user.put(&format!("{path}/pause"), Value::Null).await;
    assert_eq!(held["is_paused"], true);
    let (_, goes_on) = user.put(&format!("{path}/unpause"), Value::Null).await;
    assert_eq!(goes_on["is_paused"], false);
    let (status, over) = user.put(&format!("{path}/cancel"), Value::Null).await;
    assert_eq!((status, over["completed_at"].is_string()), (200, true), "{over}");
    for action in ["pause", "unpause", "cancel"] {
        let (status, answer) = user.put(&format!("{path}/{action}"), Value::Null).await;
        assert_eq!((status, &answer["detail"]), (409, &json!("Backfill is already completed.")), "{action}");
    }
    let (_, log) = server.user("admin").await.get(&format!("/eventLogs?dag_id={STOCK}&order_by=-event_log_id")).await;
    let events: Vec<&str> =
        log["event_logs"].as_array().unwrap().iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(events[..4], ["cancel_backfill", "unpause_backfill", "pause_backfill", "create_backfill"]);
}

#[tokio::test]
async fn a_dry_run_tells_dates_without_those_whose_runs_stay() {
    let server = Server::start().await;
    let user = server.user("user").await;
    user.post(&format!("/dags/{STOCK}/dagRuns"), json!({"logical_date": "2026-11-21T00:00:00Z"})).await;
    let dates = async |behavior: &str, backwards: bool| {
        let mut wish = days(STOCK);
        (wish["reprocess_behavior"], wish["run_backwards"]) = (behavior.into(), backwards.into());
        let (status, dry) = user.post("/backfills/dry_run", wish).await;
        assert_eq!(status, 200, "{dry}");
        let rows = dry["backfills"].as_array().unwrap();
        assert_eq!(dry["total_entries"], rows.len());
        rows.iter().map(|row| row["logical_date"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let at = |day: u32| format!("2026-11-{day}T00:00:00Z");
    assert_eq!(dates("none", false).await, [at(19), at(20), at(22)]);
    assert_eq!(dates("completed", true).await, [at(22), at(20), at(19)], "a run that has not ended stays");
    let (_, listed) = user.get(&format!("/backfills?dag_id={STOCK}")).await;
    assert_eq!(listed["total_entries"], 0, "a dry run makes nothing");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let server = Server::start().await;
    let user = server.user("user").await;
    for path in ["/backfills", "/backfills/dry_run"] {
        assert_eq!(user.post(path, days("none")).await.0, 404);
        let (status, answer) = user.post(path, json!({"dag_id": STOCK, "to_date": "soon"})).await;
        assert_eq!((status, answer["detail"].as_array().unwrap().len()), (422, 2), "{answer}");
        let (status, answer) = user.post(path, days("weather_pipeline")).await;
        assert_eq!((status, &answer["detail"]), (422, &json!("weather_pipeline has no schedule")));
        let reversed = json!({"dag_id": STOCK, "from_date": "2026-02-01", "to_date": "2026-01-01"});
        let (status, answer) = user.post(path, reversed).await;
        assert!(status == 422 && answer["detail"].as_str().unwrap().contains("is after"), "{answer}");
        let future = json!({"dag_id": STOCK, "from_date": "2999-01-01", "to_date": "2999-01-02"});
        let (status, answer) = user.post(path, future).await;
        assert_eq!((status, &answer["detail"]), (422, &json!("Backfill cannot be executed for future dates.")));
        let mut none = days(STOCK);
        none["max_active_runs"] = 0.into();
        assert_eq!(user.post(path, none).await.0, 422);
    }
    let long = json!({"dag_id": STOCK, "from_date": "1970-01-01", "to_date": "2026-01-01"});
    let (status, answer) = user.post("/backfills/dry_run", long).await;
    assert!(status == 422 && answer["detail"].as_str().unwrap().contains("more than 10000 dates"), "{answer}");
    for method in ["pause", "unpause", "cancel"] {
        assert_eq!(user.put(&format!("/backfills/7/{method}"), Value::Null).await.0, 404);
    }
}

#[tokio::test]
async fn the_pages_try_begin_show_and_control_a_backfill() {
    let server = Server::start().await;
    let token = server.token("user").await;
    let run = json!({"logical_date": "2026-11-21T00:00:00Z"});
    server.user("user").await.post(&format!("/dags/{STOCK}/dagRuns"), run).await;
    let address = format!("/dags/{STOCK}/backfill");
    let send = async |more: &[(&str, &str)]| {
        let fields = [
            ("from_date", "2026-11-19T00:00"),
            ("to_date", "2026-11-22T00:00"),
            ("reprocess_behavior", "none"),
            ("max_active_runs", "2"),
        ];
        let fields: Vec<_> = fields.iter().chain(more).copied().collect();
        let answer = server.submit(&token, &address, &address, &fields).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, html) = send(&[("dry", "1")]).await;
    assert!(status == 200 && html.contains("3 of 4 dates would have a run") && html.contains("in flight"), "{html}");
    let (status, html) = send(&[("conf", "[")]).await;
    assert!(status == 400 && html.contains("a JSON object is expected"), "{html}");
    let (status, html) = send(&[("max_active_runs", "none")]).await;
    assert!(status == 200 || status == 303, "the first value of a field counts: {html}");
    let tab = format!("/dags/{STOCK}?tab=backfills");
    let (_, html) = server.page(&token, &tab).await;
    assert!(html.contains("active") && html.contains("2 runs at once"), "{html}");
    let (_, listed) = server.user("user").await.get(&format!("/backfills?dag_id={STOCK}")).await;
    let id = listed["backfills"][0]["id"].as_i64().unwrap();
    let control = async |dag: &str, action: &str| {
        let path = format!("/dags/{dag}/backfills/{id}/{action}");
        server.submit(&token, &tab, &path, &[]).await.status().as_u16()
    };
    assert_eq!(control("weather_pipeline", "cancel").await, 404, "a path can not name another DAG than the backfill's");
    assert_eq!(control(STOCK, "end").await, 404);
    for (action, shown) in [("pause", "Resume"), ("unpause", "Pause"), ("cancel", "cancelled")] {
        let status = control(STOCK, action).await;
        assert!(status == 200 || status == 303, "{action}: {status}");
        let (_, html) = server.page(&token, &tab).await;
        assert!(html.contains(shown), "{action}: {html}");
    }
    let (_, html) = server.page(&token, &format!("{tab}&backfill={id}")).await;
    assert!(html.contains("date by date"), "{html}");
}
