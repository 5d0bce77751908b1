//! Logs on pages: lines with their colours, the pane that shows the end of one, and the piece-wise reading behind it.

use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{task_path, words::Clock};
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    http::query::Query,
    live::{Line, LogSubject, lines},
    reads::{
        instances::TaskOfRun,
        logs::{self, AttemptLog, Log, LogLine, LogPage, log_of_try},
        lookup::lookup_instance,
    },
};

/// The end of a log, for a page that shows it.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Pane {
    /// Its last lines.
    pub lines: Vec<Line>,
    /// Why there are none, or not all.
    pub note: Option<String>,
    /// Where it was read, when that is not its worker.
    pub source: Option<String>,
    /// Where the script reads on.
    pub follow_url: Option<String>,
    /// What a stream is asked for, to be sent what is written.
    pub subject: Option<String>,
    /// The offset to read on from.
    pub offset: u64,
    /// Where the whole log is.
    pub download_url: Option<String>,
    /// The text that the lines were searched for.
    pub find: String,
    /// The rendered fields, if the log's beginning has them.
    pub rendered: Vec<(String, String)>,
}

/// The log of one try of a task.
///
/// # Errors
/// When PostgreSQL does not answer. A log that can not be read is told in the pane.
pub async fn pane(app: &App, of: &TaskOfRun, number: i16, find: &str, clock: Clock) -> ApiResult<Pane> {
    let mut pane = Pane { find: find.to_owned(), ..Pane::default() };
    let Some(found) = log_of_try(app, of, number).await? else {
        pane.note = Some(if of.state().is_finished() {
            "It was decided without running: there is no log.".to_owned()
        } else {
            "It has not been started: there is no log yet.".to_owned()
        });
        return Ok(pane);
    };
    let log = Log::Attempt(found);
    let page = match logs::tail(app, &log).await {
        Ok(page) => page,
        Err(error @ (ApiError::NotFound(_) | ApiError::NoLeader(_))) => {
            pane.note = Some(error.to_string());
            return Ok(pane);
        }
        Err(error) => return Err(error),
    };
    let url = task_path(of);
    let which = format!("map_index={}&try={number}", of.key.map);
    pane.download_url = Some(format!("{url}/log.txt?{which}"));
    pane.offset = page.next;
    pane.rendered = match page.lines.iter().find_map(rendered) {
        Some(fields) => fields,
        None if page.next > u64::from(logs::CHUNK_BYTES_MAX) => rendered_at_the_beginning(app, &log).await,
        None => Vec::new(),
    };
    pane.source = page
        .archived_at
        .as_ref()
        .map(|address| format!("Read from {address}: its worker does not have it, or is away."));
    pane.lines = lines(&page.lines, clock);
    if page.lines.is_empty() && page.ended {
        pane.note = Some("It wrote nothing.".to_owned());
    } else if page.next > u64::from(logs::CHUNK_BYTES_MAX) {
        pane.note = Some("This is its end; the download has all of it.".to_owned());
    }
    if !find.is_empty() {
        pane.narrow();
    } else if !page.ended {
        pane.follow_url = Some(format!("{url}/log?{which}"));
        pane.subject = Some(subject(of, number).to_string());
    }
    Ok(pane)
}

fn subject(of: &TaskOfRun, number: i16) -> LogSubject {
    LogSubject::Try {
        dag: of.run.dag_id.clone(),
        run: of.run.run_id.clone(),
        task: of.task().task_id.clone(),
        map: of.key.map,
        number,
    }
}

impl Pane {
    /// Keeps the lines with the text that is looked for.
    fn narrow(&mut self) {
        let all = self.lines.len();
        let needle = self.find.to_lowercase();
        self.lines.retain(|line| {
            let text: String = line.pieces.iter().map(|piece| piece.text.as_str()).collect();
            text.to_lowercase().contains(&needle)
        });
        self.note = Some(format!("{} of the last {all} lines have {:?}.", self.lines.len(), self.find));
    }
}

/// The rendered fields of a line; values that are not texts are shown as JSON.
fn rendered(line: &LogLine) -> Option<Vec<(String, String)>> {
    let fields = line.rendered.as_ref()?.as_object()?;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    // What a task leaves unset would only hide what it sets.
    let is_set = |value: &Value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty());
    Some(fields.iter().filter(|(_, value)| is_set(value)).map(|(name, value)| (name.clone(), text(value))).collect())
}

async fn rendered_at_the_beginning(app: &App, log: &Log) -> Vec<(String, String)> {
    let first = logs::read(app, log, 0).await;
    first.ok().and_then(|page| page.lines.iter().find_map(rendered)).unwrap_or_default()
}

/// `GET …/tasks/{task_id}/log?map_index=…&try=…&offset=…`: what has been written since.
pub async fn read(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    query: Query,
) -> ApiResult<Json<Value>> {
    let log = Log::Attempt(place(&app, &dag_id, &run_id, &task_id, &query).await?);
    let offset = query.text("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
    let page = logs::read(&app, &log, offset).await?;
    Ok(answer(&page, Clock::of(&who)))
}

/// `GET …/tasks/{task_id}/log.txt?map_index=…&try=…`: the whole log as it is now, as a file, piece by piece.
pub async fn download(
    State(app): State<App>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    query: Query,
) -> ApiResult<Response> {
    let found = place(&app, &dag_id, &run_id, &task_id, &query).await?;
    let attempt = found.place.attempt;
    let log = Log::Attempt(found);
    let first = logs::read(&app, &log, 0).await?;
    let line = |line: &LogLine| format!("{} {} {}\n", line.ts, line.stream, line.text);
    let pieces = logs::pieces(app, log, first)
        .map_ok(move |(page, _)| Bytes::from(page.lines.iter().map(line).collect::<String>()));
    // An attempt's id is hexadecimal: nothing of a user's is in the header.
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{attempt}.log\"")),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn place(app: &App, dag_id: &str, run_id: &str, task_id: &str, query: &Query) -> ApiResult<AttemptLog> {
    let of = lookup_instance(app, dag_id, run_id, task_id, query.map_index()?).await?;
    let number = query.text("try").and_then(|text| text.parse().ok()).unwrap_or(of.try_number());
    let missing = || ApiError::NotFound("This try has not been started".to_owned());
    log_of_try(app, &of, number).await?.ok_or_else(missing)
}

/// A piece of a log for the script.
pub fn answer(page: &LogPage, clock: Clock) -> Json<Value> {
    Json(json!({ "lines": lines(&page.lines, clock), "next": page.next, "ended": page.ended }))
}
