//! Waiting for the end of a run: its state as JSON lines, one at each interval, the last one when it has ended.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use engine::RunRow;
use futures::{Stream, stream};
use model::{DagId, MapIndex, RunKey, XComValue};
use serde_json::{Map, Value, json};
use store::{Hint, read};
use tokio::{
    sync::{broadcast, broadcast::error::RecvError},
    time::{Instant, timeout_at},
};

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{Errors, PositiveSeconds, query_params},
    logs::LINES,
    lookup_run, parse_task,
    runs::RunPath,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::ApiResult,
    live::{Place, SessionLook},
};

/// The least pause between two lines, whatever the client asks for: each is a query.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The longest, so that a connection that broke is noticed.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(until_finished))
}

query_params! {
    /// How a run is waited for.
    pub struct WaitQuery {
        /// Seconds between two lines.
        interval: PositiveSeconds,
        /// Tasks whose return values the last line has.
        result: Vec<String>,
    }
}

/// Wait Dag Run Until Finished
///
/// JSON lines with the run's state, one at each interval; the last one when it has ended.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait",
    operation_id = "wait_dag_run_until_finished", tag = "DagRun",
    params(RunPath, WaitQuery),
    responses(
        (status = 200, description = "Successful Response", body = String, content_type = "application/x-ndjson"),
        Errors<404>
    ),
    security(("token" = [Right::Read]))
)]
pub async fn until_finished(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    RunPath { dag_id, dag_run_id }: RunPath,
    WaitQuery { interval: PositiveSeconds(interval), result: results }: WaitQuery,
) -> ApiResult<Response> {
    let run = lookup_run(&app, &dag_id, &dag_run_id).await?;
    let waiting = Waiting {
        _place: app.hub.wait(&who)?,
        look: SessionLook::new(&app, &who),
        who,
        news: app.hints.subscribe(),
        interval: interval.clamp(INTERVAL_MIN, INTERVAL_MAX),
        results,
        app,
    };
    // Each line is to arrive when it is written, and compression would hold it back.
    let headers = [(header::CONTENT_TYPE, LINES), (header::CONTENT_ENCODING, "identity")];
    Ok((headers, Body::from_stream(lines(waiting, run))).into_response())
}

/// What a waiting client holds.
struct Waiting {
    /// One of the places of those who wait, given back when the stream ends.
    _place: Place,
    look: SessionLook,
    who: Principal,
    news: broadcast::Receiver<Hint>,
    interval: Duration,
    results: Vec<String>,
    app: App,
}

/// What a stream does next.
enum Step {
    /// Say how the run is.
    Say(Waiting, RunRow),
    /// Wait until there is something to say.
    Wait(Waiting, RunRow),
    /// It has been said that the run has ended.
    Over,
}

fn lines(waiting: Waiting, run: RunRow) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Step::Say(waiting, run), async |step| {
        let (waiting, run) = match step {
            Step::Say(waiting, run) => (waiting, run),
            Step::Wait(mut waiting, before) => {
                let now = waiting.next(&before).await?;
                (waiting, now)
            }
            Step::Over => return None,
        };
        let line = Bytes::from(format!("{}\n", waiting.line(&run).await));
        let next = if run.state.is_finished() { Step::Over } else { Step::Wait(waiting, run) };
        Some((Ok(line), next))
    })
}

impl Waiting {
    /// The run after the interval, or as soon as it has ended; none when it is gone or the server stops.
    async fn next(&mut self, run: &RunRow) -> Option<RunRow> {
        let until = Instant::now() + self.interval;
        loop {
            let is_over = tokio::select! {
                () = self.app.shutdown.cancelled() => return None,
                () = self.look.due() => {
                    if !self.look.holds(&self.app).await {
                        return None;
                    }
                    continue;
                }
                news = timeout_at(until, news_of(&mut self.news, &run.dag_id, run.key)) => news.is_err(),
            };
            let now = read::run(&self.app.pool, &run.dag_id, &run.run_id).await.ok()??;
            if is_over || now.state.is_finished() {
                return Some(now);
            }
        }
    }

    async fn line(&self, run: &RunRow) -> Value {
        let mut line = json!({ "state": run.state.name() });
        if run.state.is_finished() && !self.results.is_empty() {
            match self.results_of(run).await {
                Ok(results) if results.is_empty() => {}
                Ok(results) => line["results"] = Value::Object(results),
                Err(error) => error.log(),
            }
        }
        line
    }

    /// What the tasks returned; an expanded task has a list.
    async fn results_of(&self, run: &RunRow) -> ApiResult<Map<String, Value>> {
        let version = self.app.versions.one(&self.app.pool, run.version).await?;
        let mut results = Map::new();
        for name in &self.results {
            let Some(pos) = parse_task(name).ok().and_then(|task| version.dag.position(&task)) else { continue };
            let mut left = read::returned(&self.app.pool, run.key, version.task_idx[pos.0]).await?;
            let value = match left.as_slice() {
                [] => continue,
                [(MapIndex::UNMAPPED, _)] => left.remove(0).1,
                _ => left.into_iter().map(|(_, value)| value).collect(),
            };
            results.insert(name.clone(), self.who.may_see(&run.dag_id, XComValue::RETURN_VALUE, value));
        }
        Ok(results)
    }
}

/// Returns when something of the run may have changed.
async fn news_of(news: &mut broadcast::Receiver<Hint>, dag: &DagId, key: RunKey) {
    loop {
        match news.recv().await {
            Ok(Hint::Changes(changes)) if !changes.may_have_run(dag, key) => {}
            Ok(Hint::Inbox | Hint::Answers(_)) => {}
            Ok(Hint::Changes(_) | Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            // Nobody tells any more: the interval alone decides.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
