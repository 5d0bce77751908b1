//! `GET /events`: the one stream of a browser. It says which of the subjects that it was asked for have changed, and brings the
//! lines of logs.
//!
//! A stream that begins anew says where it was (`since`, or the `Last-Event-ID` of a browser), and is told of what it may have
//! missed; another process knows nothing of that, so there all has changed.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::stream;
use serde_json::json;
use store::read::{self, Visible};
use tokio::sync::Notify;

use super::{
    Hub, Listening, LogSubject, Place, Position, SessionLook, Subject, Tails,
    subject::Wanted,
    tail::{News, Reader},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::ApiResult,
    http::query::Query,
    reads::{
        logs::{Log, log_of_try},
        lookup::lookup_instance,
    },
};

/// Subjects of one stream: the open tabs of a browser.
const SUBJECTS_MAX: usize = 64;
/// Logs of one stream.
const LOGS_MAX: usize = 8;
/// Streams so many, and pages that are told spread what they ask for over a millisecond for each.
const SPREAD_MS_MAX: usize = 1_000;

/// `GET /events?on=…&since=…`.
pub async fn events(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> ApiResult<Response> {
    let place = app.hub.watch(&who)?;
    let mut wanted = Wanted::of(query.text("on").unwrap_or("*"), SUBJECTS_MAX, LOGS_MAX);
    wanted.subjects.retain(|subject| {
        let may = subject.dag().is_none_or(|dag| who.permissions.has_on(Right::Read, dag.as_str()));
        if !may {
            wanted.refused.push(subject.to_string());
        }
        may
    });
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or_else(|| query.text("since"));
    let now = app.hub.position();
    // Of what another process knew nothing is known here.
    let told = last.map(|text| Position::parse(text).filter(|at| at.server == now.server));
    let (seen, misses_all) = match told {
        None => (now.seq, false),
        Some(None) => (now.seq, true),
        Some(Some(at)) => (at.seq, false),
    };
    let bell = Arc::new(Notify::new());
    let listening = Hub::listen(&app, wanted.subjects.clone(), &bell);
    let logs = logs(&app, &who, &mut wanted, &bell).await?;
    let watching = Watching {
        greeting: Some(json!({
            "refused": wanted.refused, "spread_ms": app.hub.streams().min(SPREAD_MS_MAX),
        })),
        subjects: wanted.subjects,
        misses_all,
        seen,
        logs,
        bell,
        look: SessionLook::new(&app, &who),
        visible: who.visible(),
        place,
        _listening: listening,
        app,
    };
    let stream = stream::unfold(Some(watching), async |watching| {
        let mut watching = watching?;
        let told = watching.next().await?;
        let goes_on = !matches!(told, Told::Ended);
        Some((Ok::<_, Infallible>(told.event()), goes_on.then_some(watching)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// The readers of the logs that are wanted. What can not be watched is refused by name.
async fn logs(app: &App, who: &Principal, wanted: &mut Wanted, bell: &Arc<Notify>) -> ApiResult<Vec<(String, Reader)>> {
    let mut readers = Vec::new();
    for (subject, offset) in std::mem::take(&mut wanted.logs) {
        let may = who.permissions.has_on(Right::Read, subject.dag().as_str());
        let log = if may { found(app, &subject).await? } else { None };
        let reader = log.and_then(|log| Tails::watch(app, log, offset, who.prefs.zone, bell));
        match reader {
            Some(reader) => readers.push((subject.to_string(), reader)),
            None => wanted.refused.push(subject.to_string()),
        }
    }
    Ok(readers)
}

async fn found(app: &App, subject: &LogSubject) -> ApiResult<Option<Log>> {
    match subject {
        LogSubject::Try { dag, run, task, map, number } => {
            let Ok(of) = lookup_instance(app, dag.as_str(), run.as_str(), task.as_str(), *map).await else {
                return Ok(None);
            };
            Ok(log_of_try(app, &of, *number).await?.map(Log::Attempt))
        }
        LogSubject::Service(key) => {
            let service = read::services(&app.pool).await?.into_iter().find(|service| service.key == *key);
            Ok(service.map(|service| Log::Service(service.key, service.worker_id)))
        }
    }
}

/// What a stream says.
enum Told {
    /// What it does not tell of, and how pages should spread what they ask for.
    Hello(Position, String),
    Changed(Position, String),
    Log(String),
    /// A newer stream of the session has taken the place.
    Ended,
}

impl Told {
    fn event(self) -> Event {
        match self {
            Self::Hello(at, data) => Event::default().event("hello").id(at.to_string()).data(data),
            Self::Changed(at, data) => Event::default().event("changed").id(at.to_string()).data(data),
            Self::Log(data) => Event::default().event("log").data(data),
            Self::Ended => Event::default().event("ended").data("ended"),
        }
    }
}

/// What a watcher holds.
struct Watching {
    greeting: Option<serde_json::Value>,
    subjects: Vec<Subject>,
    seen: u64,
    /// Whether it was told of changes by a process that is not this one.
    misses_all: bool,
    logs: Vec<(String, Reader)>,
    bell: Arc<Notify>,
    look: SessionLook,
    visible: Visible,
    place: Place,
    _listening: Listening,
    app: App,
}

impl Watching {
    /// The next event; none when the session or the server has ended, or the user may do other things than before.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(greeting) = self.greeting.take() {
                let at = Position { server: self.app.hub.server, seq: self.seen };
                return Some(Told::Hello(at, greeting.to_string()));
            }
            if self.place.ended.is_cancelled() {
                return Some(Told::Ended);
            }
            if let Some(changed) = self.changed() {
                return Some(changed);
            }
            if let Some(log) = self.log().await {
                return Some(log);
            }
            tokio::select! {
                () = self.app.shutdown.cancelled() => return None,
                () = self.place.ended.cancelled() => return Some(Told::Ended),
                () = self.look.due() => if !self.look.holds(&self.app).await { return None },
                () = self.bell.notified() => {}
            }
        }
    }

    /// The subjects that have changed since it looked last.
    fn changed(&mut self) -> Option<Told> {
        let state = self.app.hub.lock();
        let (now, before) = (state.ledger.seq(), std::mem::replace(&mut self.seen, state.ledger.seq()));
        let misses_all = std::mem::take(&mut self.misses_all);
        if now == before && !misses_all {
            return None;
        }
        let last = |subject: &Subject| match (subject, &self.visible) {
            (Subject::Everything, Visible::Only(ids)) => state.ledger.last_of(ids.iter().map(String::as_str)),
            _ => state.ledger.last(subject),
        };
        let stale = self.subjects.iter().filter(|subject| misses_all || last(subject) > before);
        let names: Vec<String> = stale.map(ToString::to_string).collect();
        drop(state);
        if names.is_empty() {
            return None;
        }
        self.app.settings.live.told();
        Some(Told::Changed(Position { server: self.app.hub.server, seq: now }, names.join(" ")))
    }

    /// What one of the logs has next. Those that have ended are let go of.
    async fn log(&mut self) -> Option<Told> {
        for at in 0..self.logs.len() {
            let (name, reader) = &mut self.logs[at];
            if let Some(news) = reader.next().await {
                let event = news.event(name);
                match news {
                    News::Ended(_) => drop(self.logs.remove(at)),
                    // Each has its turn.
                    News::Lines { .. } => self.logs.rotate_left(at + 1),
                    News::Skipped { bytes, .. } => self.app.settings.live.log_skipped(bytes),
                }
                return Some(Told::Log(event));
            }
        }
        None
    }
}
