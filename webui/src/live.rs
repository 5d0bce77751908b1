//! News for open pages: one connection listens for changed runs, and everybody who watches is told.
//!
//! A hint says only what to fetch again. Whoever misses one is told to fetch everything, so nothing stays stale.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::stream;
use model::RunKey;
use store::{Hint, users};
use tokio::{
    sync::{broadcast, broadcast::error::RecvError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// At most ten hints a second: people do not read faster, and pages fetch on each.
const HINT_PAUSE: Duration = Duration::from_millis(100);
/// More changed runs than this in one hint, and "everything" is the shorter text.
const RUNS_MAX: usize = 200;
/// Hints that a slow watcher may fall behind before it is told to fetch everything.
const HINTS_BEHIND_MAX: usize = 64;
/// Open event streams of one web process; each is a connection and a small buffer.
const WATCHERS_MAX: usize = 1_000;
/// Of one session: more than browsers open to one host. One more, and the oldest ends.
const WATCHERS_OF_SESSION_MAX: usize = 8;
/// Clients that wait for a run's end have places of their own.
const WAITERS_MAX: usize = 500;
/// Of one session: scripts wait for many runs at once.
const WAITERS_OF_SESSION_MAX: usize = 64;
/// What is sent when everything may have changed.
const EVERYTHING: &str = "*";

/// What a stream that is one too many is told before it ends: its page watches again when somebody looks at it.
const ENDED: &str = "ended";

/// Everybody who watches.
pub struct Hub {
    hints: broadcast::Sender<Arc<str>>,
    watchers: Arc<Mutex<Sessions>>,
    waiters: Arc<Mutex<Sessions>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { hints: broadcast::Sender::new(HINTS_BEHIND_MAX), watchers: Arc::default(), waiters: Arc::default() }
    }
}

/// The open streams of each session, the oldest first.
#[derive(Default)]
struct Sessions {
    open: BTreeMap<Uuid, VecDeque<(u64, CancellationToken)>>,
    total: usize,
    next: u64,
}

/// A place among those who watch or wait, given back when it is dropped.
pub struct Place {
    sessions: Arc<Mutex<Sessions>>,
    session: Uuid,
    number: u64,
    /// Cancelled when the session has opened more streams than it may have.
    pub ended: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.sessions).leave(self.session, self.number);
    }
}

impl Sessions {
    fn of(&self, session: Uuid) -> usize {
        self.open.get(&session).map_or(0, VecDeque::len)
    }

    fn end_oldest(&mut self, session: Uuid) {
        if let Some((number, ended)) = self.open.get(&session).and_then(VecDeque::front).cloned() {
            ended.cancel();
            self.leave(session, number);
        }
    }

    fn enter(&mut self, session: Uuid) -> (u64, CancellationToken) {
        let (number, ended) = (self.next, CancellationToken::new());
        self.next += 1;
        self.total += 1;
        self.open.entry(session).or_default().push_back((number, ended.clone()));
        (number, ended)
    }

    fn leave(&mut self, session: Uuid, number: u64) {
        let Some(streams) = self.open.get_mut(&session) else { return };
        let before = streams.len();
        streams.retain(|(other, _)| *other != number);
        self.total -= before - streams.len();
        if streams.is_empty() {
            self.open.remove(&session);
        }
    }
}

fn lock(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A place among those who watch. A session that has all of its places loses the oldest one.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when all places of all sessions are taken.
    pub fn watch(&self, session: Uuid) -> ApiResult<Place> {
        let mut sessions = lock(&self.watchers);
        if sessions.of(session) >= WATCHERS_OF_SESSION_MAX {
            sessions.end_oldest(session);
        }
        if sessions.total >= WATCHERS_MAX {
            return Err(ApiError::Busy(format!("{WATCHERS_MAX} event streams are open, and no more are served")));
        }
        let (number, ended) = sessions.enter(session);
        Ok(Place { sessions: Arc::clone(&self.watchers), session, number, ended })
    }

    /// A place among those who wait for a run's end.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when all are taken, or all of the session.
    pub fn wait(&self, session: Uuid) -> ApiResult<Place> {
        let mut sessions = lock(&self.waiters);
        if sessions.of(session) >= WAITERS_OF_SESSION_MAX {
            let text = format!("{WAITERS_OF_SESSION_MAX} requests of this session wait for runs already");
            return Err(ApiError::Busy(text));
        }
        if sessions.total >= WAITERS_MAX {
            return Err(ApiError::Busy(format!("{WAITERS_MAX} clients wait for runs already")));
        }
        let (number, ended) = sessions.enter(session);
        Ok(Place { sessions: Arc::clone(&self.waiters), session, number, ended })
    }

    fn tell(&self, hint: &str) {
        // Nobody watching is not an error.
        let _ = self.hints.send(Arc::from(hint));
    }
}

/// Passes on what the process hears of changed runs until the server stops.
pub async fn pass_on(app: App) {
    let mut news = app.hints.subscribe();
    let stop = app.shutdown.clone();
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            first = news.recv() => first,
        };
        let mut changed = Changed::default();
        changed.add(first);
        let until = Instant::now() + HINT_PAUSE;
        while let Ok(more) = tokio::time::timeout_at(until, news.recv()).await {
            changed.add(more);
        }
        if let Some(hint) = changed.hint() {
            app.hub.tell(&hint);
        }
    }
}

/// What has changed since the last hint.
#[derive(Default)]
struct Changed {
    runs: BTreeSet<i64>,
    everything: bool,
}

impl Changed {
    /// Takes a piece of news; what was missed stands for everything.
    fn add(&mut self, news: Result<Hint, RecvError>) {
        match news {
            Ok(Hint::Changes(runs)) if !runs.is_empty() => self.runs.extend(runs.into_iter().map(RunKey::get)),
            Ok(Hint::Changes(_) | Hint::Everything) | Err(RecvError::Lagged(_) | RecvError::Closed) => {
                self.everything = true;
            }
            Ok(Hint::Inbox | Hint::Answers(_)) => {}
        }
        self.everything |= self.runs.len() > RUNS_MAX;
    }

    fn hint(&self) -> Option<String> {
        if self.everything {
            return Some(EVERYTHING.to_owned());
        }
        let runs: Vec<_> = self.runs.iter().map(ToString::to_string).collect();
        (!runs.is_empty()).then(|| runs.join(","))
    }
}

/// `GET /events`: a `changed` event with the runs to fetch again, `*` for everything.
pub async fn events(State(app): State<App>, Extension(who): Extension<Principal>) -> ApiResult<Response> {
    let watching = Watching {
        place: app.hub.watch(who.token_id)?,
        hints: app.hub.hints.subscribe(),
        look: SessionLook::new(&app, who.token_id),
        app,
    };
    let stream = stream::unfold(Some(watching), async |watching| {
        let mut watching = watching?;
        let (event, data) = watching.next().await?;
        let event = Ok::<_, Infallible>(Event::default().event(event).data(data.as_ref()));
        Some((event, (event_goes_on(&data)).then_some(watching)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// Whether more follows what was said.
fn event_goes_on(data: &str) -> bool {
    data != ENDED
}

/// What a watcher holds.
struct Watching {
    place: Place,
    hints: broadcast::Receiver<Arc<str>>,
    look: SessionLook,
    app: App,
}

impl Watching {
    /// The next event; none when the session or the server has ended.
    async fn next(&mut self) -> Option<(&'static str, Arc<str>)> {
        loop {
            tokio::select! {
                () = self.app.shutdown.cancelled() => return None,
                () = self.place.ended.cancelled() => return Some((ENDED, Arc::from(ENDED))),
                () = self.look.due() => if !self.look.holds(&self.app).await { return None },
                hint = self.hints.recv() => return match hint {
                    Ok(hint) => Some(("changed", hint)),
                    Err(RecvError::Lagged(_)) => Some(("changed", Arc::from(EVERYTHING))),
                    Err(RecvError::Closed) => None,
                },
            }
        }
    }
}

/// The looks of an open stream at its session.
pub struct SessionLook {
    session: Uuid,
    next: Instant,
}

impl SessionLook {
    /// Of a stream that begins now, and whose session holds.
    pub fn new(app: &App, session: Uuid) -> Self {
        Self { session, next: Instant::now() + app.settings.session_look_every }
    }

    /// Returns when it is time to look.
    pub async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// Whether the session still holds: it is not revoked, not over, and its user is there. While PostgreSQL does not answer,
    /// nobody is shut out.
    pub async fn holds(&mut self, app: &App) -> bool {
        let holds = match users::is_open(&app.pool, self.session).await {
            Ok(is_open) => is_open,
            Err(error) => {
                tracing::debug!(%error, "a session could not be looked up");
                true
            }
        };
        self.next = Instant::now() + app.settings.session_look_every;
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(news: Vec<Result<Hint, RecvError>>) -> Option<String> {
        let mut changed = Changed::default();
        news.into_iter().for_each(|one| changed.add(one));
        changed.hint()
    }

    fn changes(runs: impl IntoIterator<Item = i64>) -> Result<Hint, RecvError> {
        Ok(Hint::Changes(runs.into_iter().map(RunKey).collect()))
    }

    #[test]
    fn a_session_has_eight_streams_and_the_oldest_ends() {
        let hub = Hub::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut held: Vec<Place> = (0..1_000).map(|_| hub.watch(one).unwrap()).collect();
        let live = held.iter().filter(|place| !place.ended.is_cancelled()).count();
        assert_eq!((live, lock(&hub.watchers).total), (8, 8));
        assert!(held[..992].iter().all(|place| place.ended.is_cancelled()));
        held.push(hub.watch(other).unwrap());
        assert_eq!(lock(&hub.watchers).total, 9);
        drop(held);
        let watchers = lock(&hub.watchers);
        assert_eq!((watchers.total, watchers.open.len()), (0, 0));
    }

    #[test]
    fn who_waits_has_places_apart_from_who_watches() {
        let hub = Hub::default();
        let sessions: Vec<Uuid> = (0..200).map(Uuid::from_u128).collect();
        let watching: Vec<Place> =
            sessions.iter().flat_map(|one| (0..8).filter_map(|_| hub.watch(*one).ok())).collect();
        assert_eq!(watching.len(), WATCHERS_MAX);
        let Err(error) = hub.watch(Uuid::from_u128(999)) else { panic!("full") };
        assert!(error.to_string().contains("1000 event streams are open"), "{error}");
        let waiting: Vec<Place> = (0..64).map(|_| hub.wait(sessions[0]).unwrap()).collect();
        assert!(hub.wait(sessions[0]).is_err() && hub.wait(sessions[1]).is_ok());
        drop(waiting);
        assert!(hub.wait(sessions[0]).is_ok());
    }

    #[test]
    fn a_hint_names_each_run_once() {
        assert_eq!(hint_of(vec![changes([7, 3]), changes([7])]).unwrap(), "3,7");
    }

    #[test]
    fn what_can_not_be_named_is_everything() {
        for news in [changes([]), Ok(Hint::Everything), Err(RecvError::Lagged(3)), changes(0..300)] {
            assert_eq!(hint_of(vec![changes([1]), news]).unwrap(), EVERYTHING);
        }
    }

    #[test]
    fn commands_and_answers_are_no_news_for_pages() {
        assert_eq!(hint_of(vec![Ok(Hint::Inbox), Ok(Hint::Answers(Vec::new()))]), None);
    }
}
