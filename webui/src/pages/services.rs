//! Services: how each replica stands, what it does, and the buttons that restart and stop it.

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use chrono::Utc;
use link::query::LogName;
use model::{Command, DagId, ServiceKey, ServiceState, Timestamp, command::ServiceAction};
use serde::Serialize;
use serde_json::Value;
use store::read::{self, ServiceView};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_log::{self, Line},
    segment, show as print,
    state::Badge,
    words::{self, Moment},
};
use crate::{
    api::query::Query,
    app::App,
    auth::{Principal, form::PageForm},
    commands,
    error::{ApiError, ApiResult},
    logs,
};

#[derive(Serialize)]
struct View {
    frame: Frame,
    rows: Vec<Row>,
    log: Option<LogView>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    replica: i32,
    dag_id: String,
    dag_url: String,
    url: String,
    badge: Badge,
    stand: String,
    command: String,
    records: String,
    rate: String,
    lag: String,
    dead_letters: String,
    last_commit: Option<Moment>,
    worker: String,
    last_error: Option<String>,
    log_url: String,
    is_wanted: bool,
    chosen: bool,
}

#[derive(Serialize)]
struct LogView {
    label: String,
    lines: Vec<Line>,
    note: Option<String>,
    follow_url: Option<String>,
    offset: u64,
}

/// `GET /services?log=dag/name/replica`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let now = Utc::now();
    let services = read::services(&app.pool).await?;
    let wanted = query.text("log");
    let chosen = services.iter().find(|service| wanted == Some(service.key.to_string().as_str()));
    let log = match chosen {
        Some(service) => Some(log_of(&app, &service.key).await?),
        None => None,
    };
    let rows = services.iter().map(|service| row(service, chosen.map(|chosen| &chosen.key), now)).collect();
    let frame = Frame::new(&app, &who, Place::Services, "Services").await?;
    Ok(print(&headers, "services", &View { frame, rows, log })?)
}

fn row(service: &ServiceView, chosen: Option<&ServiceKey>, now: Timestamp) -> Row {
    let key = &service.key;
    let whole = |name: &str| service.progress.get(name).and_then(Value::as_i64).map(words::number);
    let rate = service.progress.get("rate_per_s").and_then(Value::as_f64);
    let commit = service.progress.get("last_commit").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let command = service.spec.get("command").and_then(Value::as_array);
    let words: Vec<&str> = command.into_iter().flatten().filter_map(Value::as_str).collect();
    Row {
        name: key.name.clone(),
        replica: key.replica,
        dag_id: key.dag.to_string(),
        dag_url: dag_url(&key.dag),
        url: format!("/services/{}/{}", segment(key.dag.as_str()), segment(&key.name)),
        badge: Badge::from(service.state),
        stand: stand(service, now),
        command: words.join(" "),
        records: whole("records").unwrap_or_else(|| "–".to_owned()),
        rate: rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}/s")),
        lag: whole("lag").unwrap_or_else(|| "–".to_owned()),
        dead_letters: whole("dead_letters").unwrap_or_else(|| "–".to_owned()),
        last_commit: commit.map(|at| Moment::new(at, now)),
        worker: service.worker.clone().unwrap_or_default(),
        last_error: service.last_error.clone(),
        log_url: format!("/services?log={}", segment(&key.to_string())),
        is_wanted: service.is_wanted,
        chosen: chosen == Some(key),
    }
}

fn stand(service: &ServiceView, now: Timestamp) -> String {
    let since = |word: &str, at: Option<Timestamp>| match at {
        Some(at) => format!("{word} for {}", words::between(at, now)),
        None => word.to_owned(),
    };
    let text = match service.state {
        ServiceState::BackOff => match service.not_before {
            Some(at) => format!("starts again {}", Moment::new(at, now).words),
            None => "starts again soon".to_owned(),
        },
        ServiceState::Running => since("running", service.started_at),
        ServiceState::Ready => since("ready", service.started_at),
        ServiceState::Completed => format!("completed {}", Moment::new(service.changed_at, now).words),
        ServiceState::Stopped => format!("stopped {}", Moment::new(service.changed_at, now).words),
        ServiceState::Starting => since("starting", Some(service.changed_at)),
        ServiceState::Stopping => since("stopping", Some(service.changed_at)),
    };
    match usize::try_from(service.restarts) {
        Ok(restarts) if restarts > 0 => format!("{text} · {}", words::count(restarts, "restart")),
        _ => text,
    }
}

async fn log_of(app: &App, key: &ServiceKey) -> ApiResult<LogView> {
    let follow = format!("/services/{}/{}/{}/log?", segment(key.dag.as_str()), segment(&key.name), key.replica);
    let mut view =
        LogView { label: key.to_string(), lines: Vec::new(), note: None, follow_url: Some(follow), offset: 0 };
    match logs::tail(app, LogName::Service(key.clone())).await {
        Ok(page) => {
            view.lines = run_log::lines(&page);
            view.offset = page.next;
        }
        Err(error @ (ApiError::NotFound(_) | ApiError::NoLeader(_))) => {
            view.note = Some(error.to_string());
            view.follow_url = None;
        }
        Err(error) => return Err(error),
    }
    Ok(view)
}

/// The replica of a path, if it exists: only then its log is asked for.
async fn lookup(app: &App, dag_id: &str, name: &str, replica: i32) -> ApiResult<ServiceKey> {
    let found = read::services(&app.pool).await?.into_iter().map(|service| service.key);
    let is_meant = |key: &ServiceKey| key.dag.as_str() == dag_id && key.name == name && key.replica == replica;
    let missing = || ApiError::NotFound(format!("There is no service {name} of DAG {dag_id}"));
    found.into_iter().find(is_meant).ok_or_else(missing)
}

/// `GET /services/{dag_id}/{name}/{replica}/log?offset=…`: what has been written since.
pub async fn log(
    State(app): State<App>,
    Path((dag_id, name, replica)): Path<(String, String, i32)>,
    query: Query,
) -> ApiResult<Response> {
    let key = lookup(&app, &dag_id, &name, replica).await?;
    let offset = query.text("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
    let page = logs::read(&app, LogName::Service(key), offset).await?;
    Ok(run_log::answer(&page).into_response())
}

/// `POST /services/{dag_id}/{name}/{action}`.
pub async fn control(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, name, action)): Path<(String, String, String)>,
    _form: PageForm,
) -> PageResult<Response> {
    let action = match action.as_str() {
        "start" => ServiceAction::Start,
        "restart" => ServiceAction::Restart,
        "stop" => ServiceAction::Stop,
        other => return Err(ApiError::NotFound(format!("There is no action {other:?} on a service")).into()),
    };
    let key = lookup(&app, &dag_id, &name, 0).await?;
    let dag_id: DagId = key.dag;
    commands::send(&app, &Command::ControlService { dag_id, name: key.name, action }, &who).await?;
    Ok(Redirect::to("/services").into_response())
}
