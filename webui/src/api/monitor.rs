//! Version and health, without a login, because probes have none; and who works.

use std::cmp::Ordering;

use axum::{Json, extract::State};
use chrono::{SecondsFormat, Utc};
use link::{Query, Reply};
use store::read::Range;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{At, Errors, OrderBy, OrderKey, answer, query_params},
    query::{Page, in_order},
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
};

/// The version of Airflow whose API this is.
const AIRFLOW_API: &str = "3.3.2";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(version)).routes(routes!(health)).routes(routes!(jobs))
}

answer! {
    /// What this is.
    pub struct VersionInfo {
        /// The version of Airflow whose API this is.
        version: &'static str,
        /// Windlass and its version.
        git_version: Option<&'static str>,
    }
}

answer! {
    /// What is well, and what is not.
    pub struct HealthInfoResponse {
        metadatabase: BaseInfoResponse,
        scheduler: SchedulerInfoResponse,
        triggerer: TriggererInfoResponse,
        dag_processor: DagProcessorInfoResponse,
    }
}

answer! {
    /// How PostgreSQL is.
    pub struct BaseInfoResponse {
        status: Option<&'static str>,
    }
}

answer! {
    /// How the leader is, and when it was last heard.
    pub struct SchedulerInfoResponse {
        status: Option<&'static str>,
        latest_scheduler_heartbeat: Option<String>,
    }
}

answer! {
    /// The same of what Airflow's triggerer does.
    pub struct TriggererInfoResponse {
        status: Option<&'static str>,
        latest_triggerer_heartbeat: Option<String>,
    }
}

answer! {
    /// The same of what Airflow's DAG processor does.
    pub struct DagProcessorInfoResponse {
        status: Option<&'static str>,
        latest_dag_processor_heartbeat: Option<String>,
    }
}

query_params! {
    /// Which jobs a list has. Nobody notes when they began: a range of dates leaves none.
    pub struct JobFilter {
        start_date: Range,
        end_date: Range,
        page: Page,
        order_by: OrderBy<JobKey>,
        job_state: Option<String>,
        job_type: Option<String>,
        hostname: Option<String>,
        executor_class: Option<String>,
        is_alive: Option<bool>,
    }
}

/// What jobs can be ordered by; what no job has leaves the order of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKey {
    /// By number.
    Id,
    /// By state.
    State,
    /// By what it is.
    Type,
    /// By name.
    Host,
}

impl OrderKey for JobKey {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::Id),
        ("dag_id", Self::Id),
        ("state", Self::State),
        ("job_type", Self::Type),
        ("start_date", Self::Id),
        ("end_date", Self::Id),
        ("latest_heartbeat", Self::State),
        ("executor_class", Self::Id),
        ("hostname", Self::Host),
        ("unixname", Self::Id),
    ];
    const DEFAULT: &'static str = "id";
}

answer! {
    /// The leader or a worker.
    pub struct JobResponse {
        id: i64,
        dag_id: Option<String>,
        state: Option<&'static str>,
        job_type: Option<&'static str>,
        start_date: Option<At>,
        end_date: Option<At>,
        latest_heartbeat: Option<At>,
        executor_class: Option<String>,
        hostname: Option<String>,
        unixname: Option<String>,
        dag_display_name: Option<String>,
    }
}

answer! {
    /// A part of the list of jobs.
    pub struct JobCollectionResponse {
        jobs: Vec<JobResponse>,
        total_entries: usize,
    }
}

/// Get Version
#[utoipa::path(
    get, path = "/api/v2/version", operation_id = "get_version", tag = "Version",
    responses((status = 200, description = "Successful Response", body = VersionInfo)),
    security(())
)]
pub async fn version() -> Json<VersionInfo> {
    Json(VersionInfo { version: AIRFLOW_API, git_version: Some(concat!("windlass ", env!("CARGO_PKG_VERSION"))) })
}

/// Get Health
///
/// Always 200, as Airflow's; the body says what is not well. The scheduler does what Airflow's triggerer and DAG processor do,
/// so its heartbeat is theirs.
#[utoipa::path(
    get, path = "/api/v2/monitor/health", operation_id = "get_health", tag = "Monitor",
    responses((status = 200, description = "Successful Response", body = HealthInfoResponse)),
    security(())
)]
pub async fn health(State(app): State<App>) -> Json<HealthInfoResponse> {
    let health = app.heartbeat.health().await;
    let status = |well: bool| Some(if well { "healthy" } else { "unhealthy" });
    // Airflow writes these with `+00:00`, and everything else with `Z`.
    let beat = health.heartbeat.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, false));
    let scheduler = status(health.scheduler);
    Json(HealthInfoResponse {
        metadatabase: BaseInfoResponse { status: status(health.database) },
        scheduler: SchedulerInfoResponse { status: scheduler, latest_scheduler_heartbeat: beat.clone() },
        triggerer: TriggererInfoResponse { status: scheduler, latest_triggerer_heartbeat: beat.clone() },
        dag_processor: DagProcessorInfoResponse { status: scheduler, latest_dag_processor_heartbeat: beat },
    })
}

impl JobFilter {
    fn takes(&self, job: &JobResponse) -> bool {
        let dates = [self.start_date, self.end_date];
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| Some(wanted) == found);
        dates.iter().all(|range| *range == Range::default())
            && is(&self.job_state, job.state)
            && is(&self.job_type, job.job_type)
            && is(&self.hostname, job.hostname.as_deref())
            && is(&self.executor_class, job.executor_class.as_deref())
            && self.is_alive.is_none_or(|wanted| wanted == job.latest_heartbeat.is_some())
    }
}

fn compare(key: JobKey, a: &JobResponse, b: &JobResponse) -> Ordering {
    match key {
        JobKey::Id => a.id.cmp(&b.id),
        JobKey::State => a.state.cmp(&b.state),
        JobKey::Type => a.job_type.cmp(&b.job_type),
        JobKey::Host => a.hostname.cmp(&b.hostname),
    }
}

fn job(id: i64, kind: &'static str, name: String, alive: bool) -> JobResponse {
    JobResponse {
        id,
        dag_id: None,
        state: Some(if alive { "running" } else { "failed" }),
        job_type: Some(kind),
        start_date: None,
        end_date: None,
        latest_heartbeat: alive.then(|| At(Utc::now())),
        executor_class: None,
        hostname: Some(name),
        unixname: None,
        dag_display_name: None,
    }
}

/// Get Jobs
///
/// The leader and its workers, as of now.
#[utoipa::path(
    get, path = "/api/v2/jobs", operation_id = "get_jobs", tag = "Job",
    params(JobFilter),
    responses((status = 200, description = "Successful Response", body = JobCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn jobs(State(app): State<App>, filter: JobFilter) -> ApiResult<Json<JobCollectionResponse>> {
    let Reply::Cluster(cluster) = app.leader.ask(Query::Cluster).await? else {
        return Err(ApiError::Internal(
            "the leader answered a question for the cluster with something else".to_owned(),
        ));
    };
    let leader = job(cluster.epoch, "SchedulerJob", cluster.leader, true);
    let workers = (1..).zip(cluster.workers).map(|(id, worker)| job(id, "WorkerJob", worker.name, worker.alive));
    let mut found: Vec<_> = std::iter::once(leader).chain(workers).filter(|job| filter.takes(job)).collect();
    if !filter.order_by.0.is_empty() {
        in_order(&mut found, &filter.order_by.0, JobKey::Id, compare);
    }
    let total_entries = found.len();
    Ok(Json(JobCollectionResponse { jobs: filter.page.of(found), total_entries }))
}
