//! Keeps bundles with revisions: polls those in git, and tells the watcher of the DAG folder which revision of each is in force.
//!
//! A task of the leadership's scope, apart from its loop: a repository that does not answer holds nothing up. What it stores proves
//! the epoch, so a leader that was deposed moves no bundle. A poll that fails leaves the revision in force, is noted at the bundle and
//! in its import errors, and is tried again later and later.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use ::secrets::Backends;
use dag::Content;
use model::{BundleName, Epoch, Timestamp};
use sqlx::PgPool;
use store::{
    Hint, SecretKey, StoreError,
    bundles::{self, Head, Kind, NewRevision},
    secrets,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
};

use super::LeaderMetrics;
use crate::{
    bundles::{Access, Found, GitBundle, Settings, look},
    folder::{BundleNews, Source, Stored},
};

/// A hint may be lost: so often it looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Hints come in floods, since they are of all commands.
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// Repositories that are polled at once. Each is a child with a commit in its memory.
const POLLS_AT_ONCE: usize = 2;
/// After a first failure it is tried again so soon, and then later and later.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The longest pause after failures, unless the bundle is polled less often anyway.
const TRY_AGAIN_AT_LATEST: Duration = Duration::from_secs(600);
/// Somebody may ask for a poll as often as they like; it is carried out so often.
const ASKED_PAUSE: Duration = Duration::from_secs(2);

/// What the keeper works with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) pool: PgPool,
    pub(super) epoch: Epoch,
    pub(super) key: SecretKey,
    pub(super) backends: Arc<Backends>,
    pub(super) metrics: LeaderMetrics,
}

/// The keeper of a leadership.
pub(super) struct Keeper {
    means: Means,
    settings: Arc<Settings>,
    news: BundleNews,
    /// Bundles whose DAGs or errors are stored, and of which nothing was heard yet.
    unheard: BTreeSet<BundleName>,
    told: BTreeMap<BundleName, Told>,
    timers: BTreeMap<BundleName, Timer>,
}

/// What was told of a bundle.
struct Told {
    is_active: bool,
    revision: Option<i64>,
    error: Option<String>,
    content: Arc<Content>,
}

/// When a bundle is polled next.
struct Timer {
    due: Instant,
    last: Option<Instant>,
    /// The last wish for a poll that was heeded.
    asked: Option<Timestamp>,
    is_polling: bool,
    /// Somebody has asked for a poll while one was under way, which may have asked the repository before.
    is_wanted_again: bool,
}

impl Keeper {
    /// One that has heard of nothing yet, but knows of which bundles the store has DAGs.
    pub(super) fn new(means: Means, settings: Arc<Settings>, news: BundleNews, stored: BTreeSet<BundleName>) -> Self {
        let timer = |bundle: &GitBundle| {
            let timer =
                Timer { due: Instant::now(), last: None, asked: None, is_polling: false, is_wanted_again: false };
            (bundle.name.clone(), timer)
        };
        let timers = settings.git.iter().map(timer).collect();
        Self { means, settings, news, unheard: stored, told: BTreeMap::new(), timers }
    }

    /// Keeps them until the leadership ends, or is found to have ended.
    pub(super) async fn keep(mut self, mut hints: broadcast::Receiver<Hint>) {
        if self.configure().await.is_err() {
            return;
        }
        let mut polls = JoinSet::new();
        loop {
            match self.look(&mut polls).await {
                Ok(()) => {}
                Err(StoreError::Deposed) => return,
                Err(error) => tracing::warn!(%error, "bundles can not be looked at; they are looked at again"),
            }
            let patience = self.next_due().map_or(LOOK_EVERY, |due| due.min(LOOK_EVERY));
            tokio::select! {
                Some(done) = polls.join_next() => self.polled(done),
                () = asked(&mut hints) => tokio::time::sleep(LOOK_PAUSE).await,
                () = tokio::time::sleep(patience) => {}
            }
        }
    }

    /// Notes which bundles the settings name.
    async fn configure(&mut self) -> Result<(), StoreError> {
        let wanted: Vec<_> = self.settings.git.iter().map(|bundle| (bundle.name.clone(), bundle.shown())).collect();
        loop {
            match bundles::configure(&self.means.pool, self.means.epoch, &wanted).await {
                Ok(taken) => {
                    for name in taken {
                        tracing::error!(bundle.name = %name, "a bundle of WINDLASS_DAG_BUNDLES is not fetched: somebody has pushed one of that name; give it another");
                        self.timers.remove(&name);
                    }
                    return Ok(());
                }
                Err(error @ StoreError::Deposed) => return Err(error),
                Err(error) => tracing::warn!(%error, "the bundles of the settings can not be noted; it is tried again"),
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    async fn look(&mut self, polls: &mut JoinSet<(BundleName, Outcome)>) -> Result<(), StoreError> {
        let heads = bundles::heads(&self.means.pool).await?;
        for head in &heads {
            self.unheard.remove(&head.name);
            // One that can not be read concerns no other.
            if let Err(error) = self.tell(head).await {
                if error.ends_leadership() {
                    return Err(error);
                }
                tracing::error!(bundle.name = %head.name, %error, "a bundle can not be read; its DAGs stay as they are");
            }
        }
        // What was deleted since the last look, or while nobody led.
        let is_there = |name: &BundleName| heads.iter().any(|head| head.name == *name);
        let deleted = self.told.extract_if(.., |name, _| !is_there(name)).map(|(name, _)| name);
        for name in deleted.chain(std::mem::take(&mut self.unheard)) {
            self.news.tell(name, Source::Gone);
        }
        self.start_polls(&heads, polls);
        Ok(())
    }

    /// Tells the watcher what of a bundle is in force, when it is something else than before.
    async fn tell(&mut self, head: &Head) -> Result<(), StoreError> {
        let revision = head.current.as_ref().map(|(id, _)| *id);
        let error = head.poll.error.clone();
        let before = self.told.get(&head.name);
        let is_told =
            |told: &Told| told.is_active == head.is_active && told.revision == revision && told.error == error;
        if before.is_some_and(is_told) {
            return Ok(());
        }
        let content = match (revision, before) {
            (Some(id), Some(told)) if told.revision == Some(id) => Arc::clone(&told.content),
            (Some(id), _) => match bundles::content(&self.means.pool, id).await? {
                Some(content) => Arc::new(content),
                // It is in force no more: the next look finds what is.
                None => return Ok(()),
            },
            // A repository that has not been fetched yet: nothing is known of its files.
            (None, _) if head.is_active && head.kind == Kind::Git && error.is_none() => return Ok(()),
            (None, _) => Arc::default(),
        };
        let source = if head.is_active {
            Source::Stored(Stored {
                revision: head.current.as_ref().map(|(_, revision)| revision.as_str().into()),
                content: Arc::clone(&content),
                not_renewed: error.clone(),
            })
        } else {
            Source::Gone
        };
        self.news.tell(head.name.clone(), source);
        self.told.insert(head.name.clone(), Told { is_active: head.is_active, revision, error, content });
        Ok(())
    }

    fn start_polls(&mut self, heads: &[Head], polls: &mut JoinSet<(BundleName, Outcome)>) {
        let now = Instant::now();
        for bundle in &self.settings.git {
            let Some(head) = heads.iter().find(|head| head.name == bundle.name && head.is_active) else { continue };
            let Some(timer) = self.timers.get_mut(&bundle.name) else { continue };
            if head.poll.asked_at > timer.asked {
                timer.asked = head.poll.asked_at;
                timer.is_wanted_again = timer.is_polling;
                // What was asked for before this leadership has begun is done by its first poll.
                timer.due = timer.last.map_or(timer.due, |last| timer.due.min((last + ASKED_PAUSE).max(now)));
            }
            if timer.is_polling || timer.due > now || polls.len() >= POLLS_AT_ONCE {
                continue;
            }
            (timer.is_polling, timer.last) = (true, Some(now));
            let (means, bundle, head) = (self.means.clone(), bundle.clone(), head.clone());
            polls.spawn(async move {
                let outcome = poll(&means, &bundle, &head).await;
                means.metrics.polled(&bundle.name, outcome == Outcome::Well);
                (bundle.name.clone(), outcome)
            });
        }
    }

    fn polled(&mut self, done: Result<(BundleName, Outcome), tokio::task::JoinError>) {
        let (name, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                // Which one it was is not told: all that poll may do so again.
                tracing::error!(%error, "a poll of a bundle has failed: that is a defect of windlass");
                for timer in self.timers.values_mut().filter(|timer| timer.is_polling) {
                    (timer.is_polling, timer.due) = (false, Instant::now() + TRY_AGAIN_AT_LATEST);
                }
                return;
            }
        };
        let Some(bundle) = self.settings.git.iter().find(|bundle| bundle.name == name) else { return };
        let pause = match outcome {
            Outcome::Well => bundle.refresh_interval,
            Outcome::Failed { times } => pause_after(times, bundle.refresh_interval),
        };
        if let Some(timer) = self.timers.get_mut(&name) {
            let pause = if std::mem::take(&mut timer.is_wanted_again) { ASKED_PAUSE } else { pause };
            (timer.is_polling, timer.due) = (false, Instant::now() + pause);
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let waiting = self.timers.values().filter(|timer| !timer.is_polling);
        waiting.map(|timer| timer.due.saturating_duration_since(Instant::now()).max(LOOK_PAUSE)).min()
    }
}

/// How a poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Well,
    /// It has failed so often since the last that did not.
    Failed {
        times: u32,
    },
}

/// The pause after so many failures.
fn pause_after(times: u32, interval: Duration) -> Duration {
    let doubled = TRY_AGAIN_AFTER.saturating_mul(1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(TRY_AGAIN_AT_LATEST.max(interval))
}

async fn poll(means: &Means, bundle: &GitBundle, head: &Head) -> Outcome {
    let found = match access(means, bundle).await {
        Ok(access) => {
            let current = head.current.as_ref().map(|(_, revision)| revision.as_str());
            let known: Vec<&str> = current.into_iter().chain(head.passed_over.as_deref()).collect();
            look(bundle, &access, &known).await.map_err(|error| format!("{}: {error}", address(bundle, &access)))
        }
        Err(why) => Err(why),
    };
    let times = u32::try_from(head.poll.failures).unwrap_or(0).saturating_add(1);
    let stored = match &found {
        Ok(Found::Known) => bundles::polled(&means.pool, means.epoch, &bundle.name, None).await,
        Ok(Found::New(new)) => {
            let revision = NewRevision {
                bundle: &bundle.name,
                revision: &new.commit,
                authorship: &new.authorship,
                content: &new.content,
            };
            let done = bundles::fetched(&means.pool, means.epoch, &revision).await;
            done.map(|_| tracing::info!(bundle.name = %bundle.name, revision = %new.commit, "a revision of a bundle is in force"))
        }
        Err(why) => {
            if head.poll.error.as_ref() != Some(why) {
                tracing::warn!(bundle.name = %bundle.name, why, "a bundle can not be fetched: what it had stays in force");
            }
            bundles::polled(&means.pool, means.epoch, &bundle.name, Some(why)).await
        }
    };
    match stored {
        Ok(()) if found.is_ok() => Outcome::Well,
        Ok(()) => Outcome::Failed { times },
        Err(error) => {
            tracing::warn!(bundle.name = %bundle.name, %error, "what was polled of a bundle can not be stored; it is polled again");
            if error.refuses_value() {
                // Another poll finds the same: it has to be seen.
                drop(bundles::polled(&means.pool, means.epoch, &bundle.name, Some(&error.to_string())).await);
            }
            Outcome::Failed { times }
        }
    }
}

/// The address that an error names.
fn address(bundle: &GitBundle, access: &Access) -> String {
    bundle.repo_url.clone().or_else(|| access.url()).unwrap_or_else(|| "the repository".to_owned())
}

/// What lets the leader in: a connection, wherever those lie, or a file.
async fn access(means: &Means, bundle: &GitBundle) -> Result<Access, String> {
    if let Some(path) = &bundle.token_file {
        return Access::of_token_file(path);
    }
    let Some(conn_id) = &bundle.conn_id else { return Ok(Access::default()) };
    let found = match means.backends.connection(conn_id).await.map_err(|error| error.to_string())? {
        Some(found) => Some(found),
        None => {
            let environment = |name: &str| std::env::var(name).ok();
            let found = secrets::connection(&means.pool, &means.key, &environment, conn_id).await;
            found.map_err(|error| format!("connection {conn_id}: {error}"))?
        }
    };
    match found {
        Some(connection) => Access::of_connection(&connection),
        None => Err(format!("connection {conn_id} is not defined; create it, or take git_conn_id out of the settings")),
    }
}

/// Waits for a hint that may be about bundles.
async fn asked(hints: &mut broadcast::Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Inbox | Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(Hint::Answers(_) | Hint::Changes(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_after_failures_double_up_to_ten_minutes_or_the_interval() {
        let pauses = [1, 2, 3, 8, 100].map(|times| pause_after(times, Duration::from_secs(60)).as_secs());
        assert_eq!(pauses, [5, 10, 20, 600, 600]);
        assert_eq!(pause_after(30, Duration::from_secs(3_600)).as_secs(), 3_600);
    }
}
