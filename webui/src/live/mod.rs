//! News for open pages: what this process hears of changes is handed to those who watch just that.
//!
//! What always holds here: a stream tells of what its user may see, and of nothing else. A hint says only what to fetch again;
//! whoever may have missed one is told that all of its subjects have changed, so nothing stays stale. Everything is bounded:
//! streams, subjects and logs of a stream, what is remembered of changes, the end of a log that is kept, and how often pages are
//! told, by what it costs to fetch them again.

mod ansi;
mod fragments;
mod ledger;
mod lines;
mod places;
mod stream;
mod subject;
mod tail;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{DagId, RunKey};
use store::{Changes, Hint, Runs, users};
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    time::Instant,
};
use uuid::Uuid;

pub use fragments::{FRAGMENT, Fragments, Pace, Watched, is_fragment, share};
pub use ledger::Position;
pub use lines::{Line, lines};
pub use places::Place;
pub use stream::events;
pub use subject::{LogSubject, Subject};
pub use tail::Tails;

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};
use ledger::Ledger;
use places::{Full, Limits, Places, When};
use store::users::{Permissions, TokenKey};

/// Changes of so long become one: people do not read faster, and pages fetch on each.
const HINT_PAUSE: Duration = Duration::from_millis(100);
/// Pages of a DAG are told so often: its grid is large.
const DAG_PAUSE: Duration = Duration::from_millis(300);
/// Pages of everything are told so often: on a busy server everything changes all the time.
const EVERYTHING_PAUSE: Duration = Duration::from_secs(1);
/// DAGs that wait for their pages to be told; more of them and all pages are told.
const DAGS_WAITING_MAX: usize = 1_000;
/// Streams of one web process; each is a connection and a small buffer. A session has more than browsers open to one host, and a
/// user who is shown on many screens has a session for each.
const WATCHERS: Limits = Limits { all: 1_000, session: 8, user: 100 };
/// Clients that wait for a run's end have places of their own: scripts wait for many runs at once. No user can take those of all
/// others, however many sessions it opens.
const WAITERS: Limits = Limits { all: 1_000, session: 64, user: 128 };

/// Everybody who watches, and what has changed.
pub struct Hub {
    server: u64,
    state: Mutex<State>,
    watchers: Places,
    waiters: Places,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    /// What this process has been asked to change: what it shows to whoever asked must be newer. Nobody else is told.
    own: Ledger,
    bells: BTreeMap<Subject, BTreeMap<u64, Arc<Notify>>>,
    next: u64,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            server: rand::random(),
            state: Mutex::default(),
            watchers: Places::new(WATCHERS, When::FullEndsTheOldest),
            waiters: Places::new(WAITERS, When::FullRefuses),
        }
    }
}

/// A bell that rings when one of some subjects changes, as long as this is kept.
pub struct Listening {
    app: App,
    number: u64,
    subjects: Vec<Subject>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.app.hub.lock();
        for subject in &self.subjects {
            if let Some(bells) = state.bells.get_mut(subject) {
                bells.remove(&self.number);
                if bells.is_empty() {
                    state.bells.remove(subject);
                }
            }
        }
    }
}

impl State {
    fn ring(&self, subject: &Subject) {
        self.bells.get(subject).into_iter().flat_map(BTreeMap::values).for_each(|bell| bell.notify_one());
    }

    fn ring_runs_of(&self, dag: &DagId) {
        let of = |run| Subject::Run(dag.clone(), RunKey(run));
        let bells = self.bells.range(of(i64::MIN)..=of(i64::MAX)).flat_map(|(_, bells)| bells.values());
        bells.for_each(|bell| bell.notify_one());
    }

    fn ring_all(&self) {
        self.bells.values().flat_map(BTreeMap::values).for_each(|bell| bell.notify_one());
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of it is complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among those who watch. A session, and a user, that has all of its places loses the oldest one.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when all places of all sessions are taken.
    pub fn watch(&self, who: &Principal) -> ApiResult<Place> {
        let place = self.watchers.take(who.token_id, &who.name);
        place.map_err(|_| ApiError::Busy(format!("{} event streams are open, and no more are served", WATCHERS.all)))
    }

    /// A place among those who wait for a run's end.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when all are taken, or all of the session or of the user.
    pub fn wait(&self, who: &Principal) -> ApiResult<Place> {
        let place = self.waiters.take(who.token_id, &who.name);
        place.map_err(|full| {
            ApiError::Busy(match full {
                Full::Own => format!(
                    "{} requests of this session, or {} of this user, wait for runs already",
                    WAITERS.session, WAITERS.user
                ),
                Full::All => format!("{} clients wait for runs already", WAITERS.all),
            })
        })
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.watchers.taken()
    }

    /// Ends the streams of a session that has been closed here.
    pub fn end_session(&self, session: Uuid) {
        self.watchers.end_session(session);
        self.waiters.end_session(session);
    }

    /// How far changes have been heard of.
    pub fn position(&self) -> Position {
        Position { server: self.server, seq: self.lock().ledger.seq() }
    }

    fn listen(app: &App, subjects: Vec<Subject>, bell: &Arc<Notify>) -> Listening {
        let mut state = app.hub.lock();
        state.next += 1;
        let number = state.next;
        for subject in &subjects {
            state.bells.entry(subject.clone()).or_default().insert(number, Arc::clone(bell));
        }
        drop(state);
        Listening { app: app.clone(), number, subjects }
    }

    /// Somebody has asked this process to change something of a DAG, or something that is of none.
    pub fn touch(&self, dag: Option<&DagId>) {
        let mut state = self.lock();
        match dag {
            Some(dag) => {
                state.own.note(&Changes::dag(dag.clone()));
                state.own.tell_dag(dag);
                state.own.tell_everything();
            }
            None => state.own.note(&Changes::anything()),
        }
    }

    /// Notes changes and rings for what may be told at once.
    fn note(&self, changes: &Changes) {
        let mut state = self.lock();
        state.ledger.note(changes);
        if changes.is_anything() {
            state.ring_all();
            return;
        }
        if changes.has_services() {
            state.ring(&Subject::Services);
        }
        for (dag, runs) in changes.dags() {
            match runs {
                Runs::These(runs) => runs.iter().for_each(|run| state.ring(&Subject::Run(dag.clone(), *run))),
                Runs::Any => state.ring_runs_of(dag),
            }
        }
    }

    fn tell_everything(&self) {
        let mut state = self.lock();
        state.ledger.tell_everything();
        state.ring(&Subject::Everything);
    }

    fn tell_dags(&self, dags: &BTreeSet<DagId>) {
        let mut state = self.lock();
        for dag in dags {
            state.ledger.tell_dag(dag);
            state.ring(&Subject::Dag(dag.clone()));
        }
    }
}

/// Passes on what the process hears of changes until the server stops.
pub async fn pass_on(app: App) {
    let mut news = app.hints.subscribe();
    let stop = app.shutdown.clone();
    let mut later = Later::new(Instant::now());
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(later.due()), if later.has_some() => {
                later.tell(&app.hub, Instant::now());
                continue;
            }
            first = news.recv() => first,
        };
        let mut changed = Changes::default();
        changed.add(changes_of(first));
        let until = Instant::now() + HINT_PAUSE;
        while let Ok(more) = tokio::time::timeout_at(until, news.recv()).await {
            changed.add(changes_of(more));
        }
        if !changed.is_none() {
            app.settings.live.hint();
            app.hub.note(&changed);
            later.add(&changed);
            later.tell(&app.hub, Instant::now());
        }
    }
}

/// What a piece of news says; what was missed stands for anything.
fn changes_of(news: Result<Hint, RecvError>) -> Changes {
    match news {
        Ok(Hint::Changes(changes)) => changes,
        Ok(Hint::Everything) | Err(RecvError::Lagged(_) | RecvError::Closed) => Changes::anything(),
        Ok(Hint::Inbox | Hint::Answers(_)) => Changes::default(),
    }
}

/// What pages of many runs are told when its time has come.
struct Later {
    everything: bool,
    everything_at: Instant,
    dags: BTreeSet<DagId>,
    dags_at: Instant,
}

impl Later {
    const fn new(now: Instant) -> Self {
        Self { everything: false, everything_at: now, dags: BTreeSet::new(), dags_at: now }
    }

    fn add(&mut self, changed: &Changes) {
        // Anything was told to all at once.
        if changed.is_anything() {
            (self.everything, self.dags) = (false, BTreeSet::new());
            return;
        }
        let mut dags = changed.dags().map(|(dag, _)| dag.clone()).peekable();
        self.everything |= dags.peek().is_some();
        self.dags.extend(dags);
    }

    fn has_some(&self) -> bool {
        self.everything || !self.dags.is_empty()
    }

    fn due(&self) -> Instant {
        match (self.everything, self.dags.is_empty()) {
            (true, false) => self.everything_at.min(self.dags_at),
            (true, true) => self.everything_at,
            (false, _) => self.dags_at,
        }
    }

    fn tell(&mut self, hub: &Hub, now: Instant) {
        if self.dags.len() > DAGS_WAITING_MAX {
            self.dags.clear();
            self.everything = false;
            hub.note(&Changes::anything());
        }
        if self.everything && now >= self.everything_at {
            self.everything = false;
            self.everything_at = now + EVERYTHING_PAUSE;
            hub.tell_everything();
        }
        if !self.dags.is_empty() && now >= self.dags_at {
            self.dags_at = now + DAG_PAUSE;
            hub.tell_dags(&std::mem::take(&mut self.dags));
        }
    }
}

/// The looks of an open stream at its session.
pub struct SessionLook {
    session: Uuid,
    permissions: Permissions,
    next: Instant,
}

impl SessionLook {
    /// Of a stream that begins now, and whose session holds.
    pub fn new(app: &App, who: &Principal) -> Self {
        Self {
            session: who.token_id,
            permissions: who.permissions.clone(),
            next: Instant::now() + app.settings.session_look_every,
        }
    }

    /// Returns when it is time to look.
    pub async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// Whether the session still holds: it is not revoked, not over, its user is there, and may do what it might. While
    /// PostgreSQL does not answer, nobody is shut out.
    pub async fn holds(&mut self, app: &App) -> bool {
        let holds = match users::holder(&app.token_pool, TokenKey::Shown(self.session)).await {
            Ok(holder) => holder.is_some_and(|holder| holder.permissions == self.permissions),
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

    fn dag(name: &str) -> DagId {
        DagId::new(name).unwrap()
    }

    #[test]
    fn what_was_missed_is_anything_and_commands_are_no_news() {
        for news in [Ok(Hint::Everything), Err(RecvError::Lagged(3)), Err(RecvError::Closed)] {
            assert!(changes_of(news).is_anything());
        }
        assert!(changes_of(Ok(Hint::Inbox)).is_none() && changes_of(Ok(Hint::Answers(Vec::new()))).is_none());
    }

    #[test]
    fn pages_of_many_runs_are_told_at_once_when_it_is_quiet_and_seldom_in_a_flood() {
        let hub = Hub::default();
        let start = Instant::now();
        let mut later = Later::new(start);
        let last = |subject: &Subject| hub.lock().ledger.last(subject);
        let mut told = BTreeSet::new();
        for tenth in 0..100_u32 {
            let now = start + HINT_PAUSE * tenth;
            let changed = Changes::runs(dag("etl"), [RunKey(i64::from(tenth))]);
            hub.note(&changed);
            later.add(&changed);
            later.tell(&hub, now);
            told.insert((last(&Subject::Everything), 0));
            told.insert((last(&Subject::Dag(dag("etl"))), 1));
            assert!(last(&Subject::Everything) > 0, "the first change is told at once");
        }
        let of = |kind: u32| told.iter().filter(|(_, one)| *one == kind).count();
        assert_eq!((of(0), of(1)), (10, 34), "in ten seconds of a change each 100 ms");
        assert!(later.has_some() && later.due() > start, "the last change is told when it is due");
    }
}
