//! Services: how each replica stands, what it does, and the buttons that restart and stop it.

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use model::{Command, DagId, ServiceKey, ServiceState, Timestamp, command::ServiceAction, door::Text, masking};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::read::{self, ServiceView};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_log::{self, Pane},
    segment, show_live as print,
    state::Badge,
    words::{self, Clock, Moment},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::commands,
    error::{ApiError, ApiResult},
    http::{path::Names, query::Query},
    live::{LogSubject, Pace, Subject, Watched, lines},
    reads::{
        logs::{self, Log},
        samples::Sample,
    },
};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    rows: Vec<Row>,
    log: Option<LogView>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    replica: i32,
    dag_id: String,
    dag_url: String,
    url: String,
    badge: Badge,
    stand: String,
    restarts: Option<String>,
    command: String,
    records: String,
    rate: String,
    lag: String,
    rate_line: Option<Spark>,
    lag_line: Option<Spark>,
    dead_letters: String,
    last_commit: Option<Moment>,
    worker: String,
    last_error: Option<String>,
    log_url: String,
    is_wanted: bool,
    chosen: bool,
}

#[derive(Serialize, JsonSchema)]
struct LogView {
    label: String,
    pane: Pane,
}

/// `GET /services?log=dag/name/replica`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let mut services = read::services(&app.pool).await?;
    app.samples.add(&services, clock.now);
    let visible = who.visible();
    services.retain(|service| visible.has(service.key.dag.as_str()));
    let wanted = query.text("log");
    let chosen = services.iter().find(|service| wanted == Some(service.key.to_string().as_str()));
    let log = match chosen {
        Some(service) => Some(log_of(&app, service, clock).await?),
        None => None,
    };
    let rows = services.iter().map(|service| row(&app, service, chosen.map(|chosen| &chosen.key), clock)).collect();
    let frame = Frame::new(&app, &who, Place::Services, "Services").await?;
    Ok(print(&headers, &View { frame, rows, log }, Watched(Subject::Services, Pace::Moves))?)
}

fn row(app: &App, service: &ServiceView, chosen: Option<&ServiceKey>, clock: Clock) -> Row {
    let key = &service.key;
    let past = app.samples.of(key);
    let whole = |name: &str| service.progress.get(name).and_then(Value::as_i64).map(words::number);
    let rate = service.progress.get("rate_per_s").and_then(Value::as_f64);
    let commit = service.progress.get("last_commit").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let command = masking::masked(service.spec.get("command").unwrap_or(&Value::Null));
    let words: Vec<&str> = command.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Row {
        name: key.name.clone(),
        replica: key.replica,
        dag_id: key.dag.to_string(),
        dag_url: dag_url(&key.dag),
        url: format!("/services/{}/{}", segment(key.dag.as_str()), segment(&key.name)),
        badge: Badge::from(service.state),
        stand: stand(service, clock),
        restarts: restarts(service),
        rate_line: spark("rate", &past, |sample| sample.rate),
        lag_line: spark("lag", &past, |sample| sample.lag),
        command: words.join(" "),
        records: whole("records").unwrap_or_else(|| "–".to_owned()),
        rate: rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}/s")),
        lag: whole("lag").unwrap_or_else(|| "–".to_owned()),
        dead_letters: whole("dead_letters").unwrap_or_else(|| "–".to_owned()),
        last_commit: commit.map(|at| clock.moment(at)),
        worker: service.worker.clone().unwrap_or_default(),
        last_error: service.last_error.clone(),
        log_url: format!("/services?log={}", segment(&key.to_string())),
        is_wanted: service.is_wanted,
        chosen: chosen == Some(key),
    }
}

fn stand(service: &ServiceView, clock: Clock) -> String {
    let since = |word: &str, at: Option<Timestamp>| match at {
        Some(at) => format!("{word} for {}", words::between(at, clock.now)),
        None => word.to_owned(),
    };
    match service.state {
        ServiceState::BackOff => match service.not_before {
            Some(at) => format!("starts again {}", clock.moment(at).words),
            None => "starts again soon".to_owned(),
        },
        ServiceState::Running => since("running", service.started_at),
        ServiceState::Ready => since("ready", service.started_at),
        ServiceState::Completed => format!("completed {}", clock.moment(service.changed_at).words),
        ServiceState::Stopped => format!("stopped {}", clock.moment(service.changed_at).words),
        ServiceState::Starting => since("starting", Some(service.changed_at)),
        ServiceState::Stopping => since("stopping", Some(service.changed_at)),
    }
}

fn restarts(service: &ServiceView) -> Option<String> {
    let restarts = usize::try_from(service.restarts).ok().filter(|restarts| *restarts > 0)?;
    Some(words::count(restarts, "restart"))
}

/// A number over the last minutes, as a line.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Spark {
    /// An SVG path in a box of the size below.
    path: String,
    width: i64,
    height: i64,
    label: String,
}

/// The line of one number; none while there are not two samples of it.
fn spark(name: &str, samples: &[Sample], number: fn(&Sample) -> Option<f64>) -> Option<Spark> {
    const WIDTH: i64 = 96;
    const HEIGHT: i64 = 22;
    let known: Vec<(Timestamp, f64)> =
        samples.iter().filter_map(|sample| Some((sample.at, number(sample)?.max(0.0)))).collect();
    let ((first, _), (last, now)) = (known.first().copied()?, known.last().copied()?);
    let span = (last - first).num_milliseconds();
    if span <= 0 {
        return None;
    }
    let most = known.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let mut path = String::new();
    for (at, value) in &known {
        let x = (WIDTH * (*at - first).num_milliseconds()) / span;
        // Whole pixels: a line of this size has no finer ones.
        let y = HEIGHT - 1 - (value / most * (HEIGHT - 2) as f64).round() as i64;
        path.push_str(&format!("{}{x} {y}", if path.is_empty() { "M" } else { "L" }));
    }
    let whole = |value: f64| words::number(value.round() as i64);
    let minutes = words::between(first, last);
    Some(Spark {
        path,
        width: WIDTH,
        height: HEIGHT,
        label: format!("{name} over the last {minutes}: now {}, at most {}", whole(now), whole(most)),
    })
}

async fn log_of(app: &App, service: &ServiceView, clock: Clock) -> ApiResult<LogView> {
    let key = &service.key;
    let follow = format!("/services/{}/{}/{}/log?", segment(key.dag.as_str()), segment(&key.name), key.replica);
    let subject = LogSubject::Service(key.clone()).to_string();
    let mut pane = Pane { follow_url: Some(follow), subject: Some(subject), ..Pane::default() };
    match logs::tail(app, &Log::Service(key.clone(), service.worker_id)).await {
        Ok(page) => {
            pane.lines = lines(&page.lines, clock);
            pane.offset = page.next;
        }
        Err(error @ (ApiError::NotFound(_) | ApiError::NoLeader(_))) => {
            pane.note = Some(error.to_string());
            (pane.follow_url, pane.subject) = (None, None);
        }
        Err(error) => return Err(error),
    }
    Ok(LogView { label: key.to_string(), pane })
}

/// The replica of a path, if it exists: only then its log is asked for.
async fn lookup(app: &App, dag_id: &str, name: &str, replica: i32) -> ApiResult<ServiceView> {
    let found = read::services(&app.pool).await?.into_iter();
    let is_meant = |of: &ServiceView| of.key.dag.as_str() == dag_id && of.key.name == name && of.key.replica == replica;
    let missing = || ApiError::NotFound(format!("There is no service {name} of DAG {dag_id}"));
    found.into_iter().find(is_meant).ok_or_else(missing)
}

/// `GET /services/{dag_id}/{name}/{replica}/log?offset=…`: what has been written since.
pub async fn log(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    names: Names,
    query: Query,
) -> ApiResult<Response> {
    let replica = names.number("replica")?;
    let service = lookup(&app, names.text("dag_id"), names.text("name"), replica).await?;
    let offset = query.text("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
    let page = logs::read(&app, &Log::Service(service.key, service.worker_id), offset).await?;
    Ok(run_log::answer(&page, Clock::of(&who)).into_response())
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
    let key = lookup(&app, &dag_id, &name, 0).await?.key;
    let dag_id: DagId = key.dag;
    commands::send(&app, &Command::ControlService { dag_id, name: Text::new(key.name)?, action }, &who).await?;
    Ok(Redirect::to("/services").into_response())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_line_goes_from_edge_to_edge_and_stays_in_its_box() {
        let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let sample = |secs, lag| Sample { at: start + TimeDelta::seconds(secs), lag, rate: None };
        let samples = [sample(0, Some(0.0)), sample(30, None), sample(60, Some(40.0)), sample(120, Some(10.0))];
        let spark = spark("lag", &samples, |sample| sample.lag).unwrap();
        assert_eq!(spark.path, "M0 21L48 1L96 16");
        assert_eq!(spark.label, "lag over the last 2 min: now 10, at most 40");
        assert_eq!(super::spark("rate", &samples, |sample| sample.rate), None);
        assert_eq!(super::spark("lag", &samples[..1], |sample| sample.lag), None);
    }
}
