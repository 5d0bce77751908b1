//! Live parts of pages, rendered once for each change and shared by all who see the same.
//!
//! What always holds here: a fragment is rendered for nobody. Its handler sees what somebody may do and the zone of the times, by
//! which the fragment is kept, and neither a name nor a session, so that nothing of one user can reach another one. A kept fragment
//! is given out only while none of what it shows has changed, and not for long: times in it age.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono_tz::Tz;
use model::DagId;
use sha2::{Digest, Sha256};
use store::users::Permissions;
use tokio::time::Instant;

use super::{Hub, Position, Subject};
use crate::{app::App, auth::Principal, error::ApiError, http::door::NamedDag};

/// Pages whose live part depends on what the user may do and on the zone, and on nothing else of the user.
const SHARED: [&str; 8] = [
    "/dags",
    "/dags/{dag_id}",
    "/dags/{dag_id}/runs/{run_id}",
    "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}",
    "/runs",
    "/services",
    "/import-errors",
    "/pools",
];
/// Fragments that are kept.
const KEPT_MAX: usize = 512;
/// And what they may take together; more than this is not kept of one, either.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How far the server had heard of changes when a fragment was rendered.
pub const SEEN: HeaderName = HeaderName::from_static("windlass-seen");

/// The header by which the script asks for the live part of a page.
pub const FRAGMENT: &str = "windlass-fragment";

/// Whether only the live part of a page is asked for.
#[must_use]
pub fn is_fragment(headers: &HeaderMap) -> bool {
    headers.contains_key(FRAGMENT)
}

/// How soon a fragment is old though nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Something in it is going on: its times are of seconds.
    Moves,
    /// Times in it are of minutes.
    Rests,
}

impl Pace {
    const fn age_max(self) -> Duration {
        match self {
            Self::Moves => Duration::from_millis(1_500),
            Self::Rests => Duration::from_secs(20),
        }
    }
}

/// What a page shows, said by its handler.
#[derive(Debug, Clone)]
pub struct Watched(pub Subject, pub Pace);

/// For whom a fragment is rendered, and which.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    address: String,
    permissions: Permissions,
    zone: Tz,
}

/// Fragments that are kept, or are being rendered.
#[derive(Default)]
pub struct Fragments {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_key: HashMap<Key, (u64, Arc<Slot>)>,
    questions: u64,
}

/// One fragment. Whoever renders it holds the lock, and the others wait for the same.
#[derive(Default)]
struct Slot {
    rendered: tokio::sync::Mutex<Option<Rendered>>,
    bytes: AtomicUsize,
}

#[derive(Clone)]
struct Rendered {
    html: Bytes,
    tag: String,
    watched: Watched,
    seen: Position,
    own: u64,
    at: Instant,
}

impl Fragments {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut slots = self.lock();
        slots.questions += 1;
        let now = slots.questions;
        if let Some((asked, slot)) = slots.by_key.get_mut(&key) {
            *asked = now;
            return Arc::clone(slot);
        }
        slots.bound();
        let slot = Arc::new(Slot::default());
        slots.by_key.insert(key, (now, Arc::clone(&slot)));
        slot
    }
}

impl Slots {
    /// Forgets those that were asked for longest ago when there are too many, or they are too large: an eighth at a time.
    fn bound(&mut self) {
        let size =
            |slots: &Self| slots.by_key.values().map(|(_, slot)| slot.bytes.load(Ordering::Relaxed)).sum::<usize>();
        while self.by_key.len() >= KEPT_MAX || (size(self) > BYTES_MAX && !self.by_key.is_empty()) {
            let mut asked: Vec<u64> = self.by_key.values().map(|(asked, _)| *asked).collect();
            asked.sort_unstable();
            let last = asked[asked.len() / 8];
            self.by_key.retain(|_, (asked, _)| *asked > last);
        }
    }
}

impl Rendered {
    fn is_fresh(&self, hub: &Hub) -> bool {
        let Watched(subject, pace) = &self.watched;
        let state = hub.lock();
        self.at.elapsed() < pace.age_max()
            && state.ledger.last(subject) <= self.seen.seq
            && state.own.last(subject) <= self.own
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let about =
            [(header::ETAG, self.tag.clone()), (header::VARY, FRAGMENT.to_owned()), (SEEN, self.seen.to_string())];
        let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == self.tag.as_bytes());
        if is_known {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        (about, kind, Body::from(self.html.clone())).into_response()
    }
}

/// The layer that shares fragments. A request that changes something makes those old that may show it.
pub async fn share(State(app): State<App>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return changing(&app, request, next).await;
    }
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let who = request.extensions().get::<Principal>();
    let is_shared = *request.method() == Method::GET && is_fragment(request.headers()) && SHARED.contains(&path);
    let Some(who) = who.filter(|_| is_shared).cloned() else { return next.run(request).await };
    let key = Key {
        address: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        permissions: who.permissions.clone(),
        zone: who.prefs.zone,
    };
    let headers = request.headers().clone();
    let slot = app.fragments.slot(key);
    let mut kept = slot.rendered.lock().await;
    if let Some(fresh) = kept.as_ref().filter(|kept| kept.is_fresh(&app.hub)) {
        let answer = fresh.answer(&headers);
        app.settings.live.fragment(if answer.status() == StatusCode::NOT_MODIFIED { "unchanged" } else { "shared" });
        return answer;
    }
    match render(&app, &who, request, next).await {
        Ok(rendered) => {
            let answer = rendered.answer(&headers);
            app.settings.live.fragment("rendered");
            let is_kept = rendered.html.len() <= BYTES_MAX / 8;
            slot.bytes.store(if is_kept { rendered.html.len() } else { 0 }, Ordering::Relaxed);
            *kept = is_kept.then_some(rendered);
            answer
        }
        Err(answer) => *answer,
    }
}

/// Renders for whoever may do the same; what is no fragment is answered as it is.
async fn render(app: &App, who: &Principal, mut request: Request, next: Next) -> Result<Rendered, Box<Response>> {
    request.extensions_mut().insert(who.as_anybody());
    let (seen, own) = {
        let state = app.hub.lock();
        (Position { server: app.hub.server, seq: state.ledger.seq() }, state.own.seq())
    };
    let answer = next.run(request).await;
    let watched = answer.extensions().get::<Watched>().cloned();
    let Some(watched) = watched.filter(|_| answer.status() == StatusCode::OK) else { return Err(Box::new(answer)) };
    let html = to_bytes(answer.into_body(), usize::MAX).await;
    let html = html.map_err(|error| Box::new(ApiError::Internal(error.to_string()).into_response()))?;
    let tag = format!("W/\"{}\"", hex::encode(&Sha256::digest(&html)[..12]));
    Ok(Rendered { html, tag, watched, seen, own, at: Instant::now() })
}

/// Whoever asks for a change sees it in what is asked for next, before a hint of it has come.
async fn changing(app: &App, request: Request, next: Next) -> Response {
    let dag = request.extensions().get::<NamedDag>().and_then(|NamedDag(id)| DagId::new(id.as_str()).ok());
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // A login changes nothing that pages show, and a list is only asked for in a body.
    let is_question = path.ends_with("/list") || path == "/login" || path.starts_with("/auth/");
    let answer = next.run(request).await;
    if !is_question && !answer.status().is_client_error() {
        app.hub.touch(dag.as_ref());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> Key {
        Key { address: address.to_owned(), permissions: Permissions::default(), zone: Tz::UTC }
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let fragments = Fragments::default();
        for number in 0..10 * KEPT_MAX {
            fragments.slot(key("/dags"));
            fragments.slot(key(&format!("/dags?q={number}"))).bytes.store(1, Ordering::Relaxed);
        }
        assert!(fragments.lock().by_key.len() <= KEPT_MAX);
        assert!(fragments.lock().by_key.contains_key(&key("/dags")), "what is asked for stays");
        for number in 0..100 {
            fragments.slot(key(&format!("/runs?q={number}"))).bytes.store(BYTES_MAX / 8, Ordering::Relaxed);
        }
        let bytes: usize = fragments.lock().by_key.values().map(|(_, slot)| slot.bytes.load(Ordering::Relaxed)).sum();
        assert!(bytes <= BYTES_MAX + BYTES_MAX / 8 + KEPT_MAX, "{bytes}");
    }

    #[test]
    fn a_fragment_is_old_when_what_it_shows_has_changed_and_only_then() {
        let hub = Hub::default();
        let dag = |name: &str| DagId::new(name).unwrap();
        let rendered = |subject| Rendered {
            html: Bytes::new(),
            tag: String::new(),
            watched: Watched(subject, Pace::Rests),
            seen: hub.position(),
            own: hub.lock().own.seq(),
            at: Instant::now(),
        };
        let (etl, other) = (rendered(Subject::Dag(dag("etl"))), rendered(Subject::Dag(dag("other"))));
        assert!(etl.is_fresh(&hub));
        hub.touch(Some(&dag("etl")));
        assert!(!etl.is_fresh(&hub) && other.is_fresh(&hub));
        let newer = rendered(Subject::Dag(dag("etl")));
        assert!(newer.is_fresh(&hub));
        hub.tell_dags(&[dag("etl")].into());
        assert!(!newer.is_fresh(&hub) && other.is_fresh(&hub));
        hub.touch(None);
        assert!(!other.is_fresh(&hub));
    }
}
