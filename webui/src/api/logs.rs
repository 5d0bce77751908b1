//! Logs of tries, as JSON or as JSON lines, with a signed place to read on from.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Json, Response},
};
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
    logs::{self, Log, LogLine, LogPage},
};

/// `full_content` reads so many pieces at most, 4 MiB; the rest follows by its token.
const PIECES_MAX: usize = 16;
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
    let place = place_of(&app, &of, try_number).await?.ok_or_else(|| {
        ApiError::NotFound(format!("TaskInstance not found: try {try_number} of {task_id} has not been started"))
    })?;
    let name = place.attempt.to_string();
    let log = Log::Attempt(place);
    let offset = match query.text("token") {
        Some(place) => app
            .tokens
            .offset_of(&name, place)
            .map_err(|_| ApiError::BadRequest("Invalid continuation token".to_owned()))?,
        None => 0,
    };
    let mut page = logs::read(&app, &log, offset).await?;
    for _ in 1..if full { PIECES_MAX } else { 1 } {
        if page.next >= page.length {
            break;
        }
        let more = logs::read(&app, &log, page.next).await?;
        page.lines.extend(more.lines);
        (page.next, page.length, page.ended) = (more.next, more.length, more.ended);
    }
    let next = (!page.ended).then(|| app.tokens.place(&name, page.next));
    let source = (offset == 0).then(|| source_line(&of, try_number, &page));
    Ok(answer(form, source, &page, next))
}

/// The place of a try's log: the current attempt's, or that of a superseded one; none when it was never begun.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn place_of(app: &App, of: &TaskOfRun, try_number: i16) -> ApiResult<Option<LogPlace>> {
    let attempt = if try_number == of.try_number() {
        of.stored.as_ref().and_then(|stored| stored.row.attempt).filter(|_| try_number > 0)
    } else {
        let past = read::tries(&app.pool, of.key).await?;
        past.iter().find(|past| past.try_number.get() == try_number).and_then(|past| past.attempt)
    };
    Ok(attempt.map(|attempt| LogPlace {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        task_id: of.task().task_id.clone(),
        map_index: of.key.map,
        try_number,
        attempt,
    }))
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
