//! Version and health, without a login, because probes have none; and who works.

use axum::{Json, extract::State};
use chrono::{SecondsFormat, Utc};
use link::{Query, Reply};
use serde_json::{Value, json};

use super::{query::Query as ListQuery, shapes::instant};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// The version of Airflow whose API this is.
const AIRFLOW_API: &str = "3.3.2";

/// `GET /api/v2/version`.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": AIRFLOW_API, "git_version": concat!("windlass ", env!("CARGO_PKG_VERSION")) }))
}

/// `GET /api/v2/monitor/health`: always 200, as Airflow's; the body says what is not well. The scheduler does what Airflow's
/// triggerer and DAG processor do, so its heartbeat is theirs.
pub async fn health(State(app): State<App>) -> Json<Value> {
    let health = app.heartbeat.health().await;
    let status = |well: bool| if well { "healthy" } else { "unhealthy" };
    let beat = health.heartbeat.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, false));
    let scheduler = status(health.scheduler);
    Json(json!({
        "metadatabase": { "status": status(health.database) },
        "scheduler": { "status": scheduler, "latest_scheduler_heartbeat": beat },
        "triggerer": { "status": scheduler, "latest_triggerer_heartbeat": beat },
        "dag_processor": { "status": scheduler, "latest_dag_processor_heartbeat": beat },
    }))
}

/// `GET /api/v2/jobs`: the leader and its workers, as of now.
pub async fn jobs(State(app): State<App>, mut query: ListQuery) -> ApiResult<Json<Value>> {
    let page = query.page();
    let kind = query.text("job_type").map(str::to_owned);
    let host = query.text("hostname").map(str::to_owned);
    let is_alive = query.flag("is_alive");
    query.finish()?;
    let Reply::Cluster(cluster) = app.leader.ask(Query::Cluster).await? else {
        return Err(ApiError::Internal(
            "the leader answered a question for the cluster with something else".to_owned(),
        ));
    };
    let leader = (cluster.epoch, "SchedulerJob", cluster.leader, true);
    let workers = (1..).zip(cluster.workers).map(|(id, worker)| (id, "WorkerJob", worker.name, worker.alive));
    let found: Vec<_> = std::iter::once(leader)
        .chain(workers)
        .filter(|(_, of, name, alive)| {
            kind.as_ref().is_none_or(|kind| kind == of)
                && host.as_ref().is_none_or(|host| host == name)
                && is_alive.is_none_or(|wanted| wanted == *alive)
        })
        .collect();
    let now = instant(Utc::now());
    let shape = |(id, kind, name, alive): (i64, &str, String, bool)| {
        json!({
            "id": id, "dag_id": null, "dag_display_name": null, "job_type": kind,
            "state": if alive { "running" } else { "failed" }, "start_date": null, "end_date": null,
            "latest_heartbeat": alive.then_some(&now), "executor_class": null, "hostname": name, "unixname": null,
        })
    };
    let total = found.len();
    let shaped: Vec<Value> = page.of(found).into_iter().map(shape).collect();
    Ok(Json(json!({ "jobs": shaped, "total_entries": total })))
}
