//! Logs of tries, as JSON or as JSON lines, with a signed place to read on from.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Json, Response},
};
use futures::{StreamExt, TryStreamExt, stream};
use link::LogPlace;
use serde_json::{Value, json};
use store::read;

use super::{
    accept::{self, Form},
    instances::lookup,
    path::Names,
    query::Query,
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    instances::TaskOfRun,
    logs::{self, AttemptLog, Log, LogLine, LogPage},
};

/// An object a line.
pub const LINES: &str = "application/x-ndjson";
/// Where JSON lines carry the next place.
const NEXT: HeaderName = HeaderName::from_static("airflow-continuation-token");

/// `GET …/taskInstances/{task_id}/logs/{try_number}`.
pub async fn one(State(app): State<App>, names: Names, headers: HeaderMap, mut query: Query) -> ApiResult<Response> {
    let form = accept::form(&headers, LINES)?;
    let try_number: u16 = names.number("try_number")?;
    let try_number = i16::try_from(try_number).unwrap_or(i16::MAX);
    let full = query.flag("full_content").unwrap_or(false);
    let map = query.map_index()?;
    query.finish()?;
    let task_id = names.text("task_id");
    let of = lookup(&app, names.text("dag_id"), names.text("dag_run_id"), task_id, map).await?;
    let found = log_of_try(&app, &of, try_number).await?.ok_or_else(|| {
        ApiError::NotFound(format!("TaskInstance not found: try {try_number} of {task_id} has not been started"))
    })?;
    let name = found.place.attempt.to_string();
    let log = Log::Attempt(found);
    let offset = match query.text("token") {
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
fn streamed(app: App, log: Log, name: String, form: Form, source: Option<Value>, page: LogPage) -> Response {
    let head = match form {
        Form::Json => format!("{{\"content\":[{}", source.map(|line| line.to_string()).unwrap_or_default()),
        Form::Other => source.map(|line| format!("{line}\n")).unwrap_or_default(),
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
        text.push_str(&shape(line).to_string());
        if form == Form::Other {
            text.push('\n');
        }
    }
    text
}

/// A try's log: the current attempt's, or that of a superseded one; none when it was never begun.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn log_of_try(app: &App, of: &TaskOfRun, try_number: i16) -> ApiResult<Option<AttemptLog>> {
    let (attempt, worker) = if try_number == of.try_number() {
        let row = of.stored.as_ref().map(|stored| &stored.row).filter(|_| try_number > 0);
        (row.and_then(|row| row.attempt), row.and_then(|row| row.worker))
    } else {
        let past = read::tries(&app.pool, of.key).await?;
        let past = past.iter().find(|past| past.try_number.get() == try_number);
        (past.and_then(|past| past.attempt), past.and_then(|past| past.worker_id))
    };
    let place = |attempt| LogPlace {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        task_id: of.task().task_id.clone(),
        map_index: of.key.map,
        try_number,
        attempt,
    };
    Ok(attempt.map(|attempt| AttemptLog { place: place(attempt), worker }))
}

/// Airflow's log begins with where it comes from.
fn source_line(of: &TaskOfRun, try_number: i16, page: &LogPage) -> Value {
    if let Some(address) = &page.archived_at {
        return json!({ "event": format!("Log of try {try_number}, read from {address}") });
    }
    let worker = of.stored.as_ref().and_then(|stored| stored.worker.as_deref()).unwrap_or("the leader");
    json!({ "event": format!("Log of try {try_number}, kept by {worker}") })
}

fn answer(form: Form, source: Option<Value>, page: &LogPage, next: Option<String>) -> Response {
    let lines = source.into_iter().chain(page.lines.iter().map(shape));
    match form {
        Form::Json => Json(json!({ "content": lines.collect::<Vec<_>>(), "continuation_token": next })).into_response(),
        Form::Other => {
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            let kind = [(header::CONTENT_TYPE, LINES)];
            match next {
                Some(next) => (kind, [(NEXT, next)], text).into_response(),
                None => (kind, text).into_response(),
            }
        }
    }
}

/// A line as Airflow's structured log.
fn shape(line: &LogLine) -> Value {
    let level = match line.stream.as_str() {
        "err" => "error",
        _ => "info",
    };
    let logger = match line.stream.as_str() {
        "sys" => "windlass",
        "err" => "task.stderr",
        _ => "task.stdout",
    };
    if line.ts.is_empty() {
        return json!({ "event": line.text, "level": level, "logger": logger });
    }
    json!({ "timestamp": line.ts, "level": level, "logger": logger, "event": line.text })
}
