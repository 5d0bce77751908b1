//! Logs of tries, as JSON or as JSON lines, with a signed place to read on from.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Json, Response},
};
use futures::{StreamExt, TryStreamExt, stream};
use model::MapIndex;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    accept::{self, Form},
    declare::{At, Errors, Flag, answer, path_params, query_params},
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
    reads::{
        instances::TaskOfRun,
        logs::{self, Log, LogLine, LogPage, log_of_try},
        lookup::lookup_instance,
    },
};

/// An object a line.
pub const LINES: &str = "application/x-ndjson";
/// Where JSON lines carry the next place.
const NEXT: HeaderName = HeaderName::from_static("airflow-continuation-token");

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(one))
}

path_params! {
    /// A try's log.
    pub struct LogPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        try_number: u32,
    }
}

query_params! {
    /// Which part of a log.
    pub struct LogQuery {
        map_index: MapIndex,
        /// The whole log at once, instead of a piece and the place to read on from.
        full_content: Flag<false>,
        /// Where an earlier answer ended.
        token: Option<String>,
    }
}

answer! {
    /// A part of a log.
    pub struct TaskInstancesLogResponse {
        content: Vec<StructuredLogMessage>,
        /// Where to read on; null when the log has ended.
        continuation_token: Option<String>,
    }
}

/// A line of a log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StructuredLogMessage {
    /// When it was written; left out where the line does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = At)]
    timestamp: Option<String>,
    /// Left out where the server says where the log comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    logger: Option<&'static str>,
    event: String,
}

impl StructuredLogMessage {
    fn line(&self) -> String {
        serde_json::to_string(self).expect("texts can be written as JSON")
    }
}

/// Get Log
///
/// As JSON, or as JSON lines whose header has the place to read on from.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}",
    operation_id = "get_log", tag = "Task Instance",
    params(LogPath, LogQuery),
    responses(
        (status = 200, description = "Successful Response", content(
            (TaskInstancesLogResponse = "application/json"),
            (String = "application/x-ndjson"),
        )),
        Errors<404, 406>
    ),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    LogPath { dag_id, dag_run_id, task_id, try_number }: LogPath,
    headers: HeaderMap,
    LogQuery { map_index, full_content: Flag(full), token }: LogQuery,
) -> ApiResult<Response> {
    let form = accept::form(&headers, LINES)?;
    let try_number = i16::try_from(try_number).unwrap_or(i16::MAX);
    let of = lookup_instance(&app, &dag_id, &dag_run_id, &task_id, map_index).await?;
    let found = log_of_try(&app, &of, try_number).await?.ok_or_else(|| {
        ApiError::NotFound(format!("TaskInstance not found: try {try_number} of {task_id} has not been started"))
    })?;
    let name = found.place.attempt.to_string();
    let log = Log::Attempt(found);
    let offset = match token.as_deref() {
        Some(place) => app
            .tokens
            .offset_of(&name, place)
            .map_err(|_| ApiError::BadRequest("Invalid continuation token".to_owned()))?,
        None => 0,
    };
    let page = logs::read(&app, &log, offset).await?;
    let source = (offset == 0).then(|| source_line(&of, try_number, &page));
    if full && page.next < page.length {
        return Ok(streamed(app, log, name, form, source, page));
    }
    let next = (!page.ended).then(|| app.tokens.place(&name, page.next));
    Ok(answer(form, source, &page, next))
}

/// The whole log as it is now, piece by piece: as large as it may be, one piece of it is in memory. What can not be read
/// any more ends the body early, so that a client sees a broken answer and not a short one.
fn streamed(
    app: App,
    log: Log,
    name: String,
    form: Form,
    source: Option<StructuredLogMessage>,
    page: LogPage,
) -> Response {
    let head = match form {
        Form::Json => format!("{{\"content\":[{}", source.map(|line| line.line()).unwrap_or_default()),
        Form::Other => source.map(|line| format!("{}\n", line.line())).unwrap_or_default(),
    };
    let mut is_first = form == Form::Json && head.ends_with('[');
    let rest = logs::pieces(app.clone(), log, page).map_ok(move |(page, is_last)| {
        let mut text = written(form, &page, &mut is_first);
        if is_last && form == Form::Json {
            let next = (!page.ended).then(|| app.tokens.place(&name, page.next));
            text.push_str(&format!("],\"continuation_token\":{}}}", json!(next)));
        }
        Bytes::from(text)
    });
    let whole = stream::once(async move { Ok(Bytes::from(head)) }).chain(rest);
    let kind = if form == Form::Json { "application/json" } else { LINES };
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(whole)).into_response()
}

/// The lines of a piece; in JSON they are parted from those before them.
fn written(form: Form, page: &LogPage, is_first: &mut bool) -> String {
    let mut text = String::new();
    for line in &page.lines {
        if form == Form::Json && !std::mem::take(is_first) {
            text.push(',');
        }
        text.push_str(&shape(line).line());
        if form == Form::Other {
            text.push('\n');
        }
    }
    text
}

/// Airflow's log begins with where it comes from.
fn source_line(of: &TaskOfRun, try_number: i16, page: &LogPage) -> StructuredLogMessage {
    let event = match &page.archived_at {
        Some(address) => format!("Log of try {try_number}, read from {address}"),
        None => {
            let worker = of.stored.as_ref().and_then(|stored| stored.worker.as_deref()).unwrap_or("the leader");
            format!("Log of try {try_number}, kept by {worker}")
        }
    };
    StructuredLogMessage { timestamp: None, level: None, logger: None, event }
}

fn answer(form: Form, source: Option<StructuredLogMessage>, page: &LogPage, next: Option<String>) -> Response {
    let lines = source.into_iter().chain(page.lines.iter().map(shape));
    match form {
        Form::Json => {
            Json(TaskInstancesLogResponse { content: lines.collect(), continuation_token: next }).into_response()
        }
        Form::Other => {
            let text: String = lines.map(|line| format!("{}\n", line.line())).collect();
            let kind = [(header::CONTENT_TYPE, LINES)];
            match next {
                Some(next) => (kind, [(NEXT, next)], text).into_response(),
                None => (kind, text).into_response(),
            }
        }
    }
}

/// A line as Airflow's structured log.
fn shape(line: &LogLine) -> StructuredLogMessage {
    let (level, logger) = match line.stream.as_str() {
        "err" => ("error", "task.stderr"),
        "sys" => ("info", "windlass"),
        _ => ("info", "task.stdout"),
    };
    StructuredLogMessage {
        timestamp: (!line.ts.is_empty()).then(|| line.ts.clone()),
        level: Some(level),
        logger: Some(logger),
        event: line.text.clone(),
    }
}
