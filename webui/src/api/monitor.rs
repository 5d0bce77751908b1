//! Version and health, without a login: probes have none.

use axum::{Json, extract::State};
use chrono::{SecondsFormat, Utc};
use link::{Query, Reply};
use serde_json::{Value, json};
use store::read;

use crate::app::App;

/// The version of Airflow whose API this is.
const AIRFLOW_API: &str = "3.3.2";

/// `GET /api/v2/version`.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": AIRFLOW_API, "git_version": concat!("windlass ", env!("CARGO_PKG_VERSION")) }))
}

/// `GET /api/v2/monitor/health`: always 200, as Airflow's; the body says what is not well.
pub async fn health(State(app): State<App>) -> Json<Value> {
    let database = read::leader(&app.pool).await.is_ok();
    let leads = matches!(app.leader.ask(Query::Cluster).await, Ok(Reply::Cluster(_)));
    let beat = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, false);
    let status = |well: bool| if well { "healthy" } else { "unhealthy" };
    let beat = |well: bool| if well { Value::from(beat.as_str()) } else { Value::Null };
    Json(json!({
        "metadatabase": { "status": status(database) },
        "scheduler": { "status": status(leads), "latest_scheduler_heartbeat": beat(leads) },
        "triggerer": { "status": status(leads), "latest_triggerer_heartbeat": beat(leads) },
        "dag_processor": { "status": status(leads), "latest_dag_processor_heartbeat": beat(leads) },
    }))
}
