//! Tells api processes what a turn changed, after its commit and on another connection: NOTIFY in a writing
//! transaction would take a lock of the whole cluster across the fsync.
//!
//! What waits to be told is merged, so it is bounded however slow PostgreSQL is.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use engine::Plan;
use model::{CommandId, RunKey};
use sqlx::PgPool;
use store::hints;
use tokio::{sync::Notify, time::Instant};

use super::scope::ScopeHandle;

/// Pages are told at most so often; answers go at once.
const CHANGES_EVERY: Duration = Duration::from_millis(100);
/// More names than this say as much as "any may have been".
const NAMES_MAX: usize = 1_000;

/// What a turn changed.
#[derive(Debug, Clone)]
pub enum Announcement {
    /// Commands that are answered.
    Answers(Vec<CommandId>),
    /// Runs whose pages are stale.
    Runs(BTreeSet<RunKey>),
    /// Something that is no run: DAGs, services, import errors.
    Everything,
}

impl Announcement {
    /// Which pages a turn has made stale, if any.
    pub(super) fn of_pages(plan: &Plan) -> Option<Self> {
        // What has gone can not be named to a page that shows it among others, or counts it.
        let has_gone = !(plan.runs_dropped.is_empty() && plan.dags_dropped.is_empty() && plan.pools_dropped.is_empty());
        if has_gone || !plan.dags.is_empty() || !plan.pools.is_empty() {
            return Some(Self::Everything);
        }
        (!plan.changed_runs.is_empty()).then(|| Self::Runs(plan.changed_runs.clone()))
    }
}

/// Takes announcements. What can not be sent is lost, as every hint may be.
#[derive(Debug, Clone, Default)]
pub struct Announcer {
    shared: Arc<(Mutex<Untold>, Notify)>,
}

impl Announcer {
    /// Starts the task that sends, in a scope.
    #[must_use]
    pub fn start(pool: PgPool, scope: &ScopeHandle) -> Self {
        let announcer = Self::default();
        scope.spawn(announce(pool, announcer.clone()));
        announcer
    }

    /// Has it told soon.
    pub fn send(&self, announcement: Announcement) {
        let (untold, news) = &*self.shared;
        // Each change of it is complete.
        untold.lock().unwrap_or_else(PoisonError::into_inner).add(announcement);
        news.notify_one();
    }

    fn take(&self, pages: Pages) -> Untold {
        let mut untold = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pages {
            Pages::Due => std::mem::take(&mut untold),
            Pages::Later => Untold { answers: std::mem::take(&mut untold.answers), ..Untold::default() },
        }
    }

    fn has_pages(&self) -> bool {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).has_pages()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    Due,
    Later,
}

async fn announce(pool: PgPool, announcer: Announcer) {
    let mut pages_at = Instant::now();
    loop {
        let waits_for_pages = announcer.has_pages();
        tokio::select! {
            () = announcer.shared.1.notified() => {}
            () = tokio::time::sleep_until(pages_at), if waits_for_pages => {}
        }
        let pages = if Instant::now() >= pages_at { Pages::Due } else { Pages::Later };
        let untold = announcer.take(pages);
        if untold.has_pages() {
            pages_at = Instant::now() + CHANGES_EVERY;
        }
        if let Err(error) = untold.send(&pool).await {
            tracing::debug!(%error, "a hint to the pages is lost");
        }
    }
}

/// What has come together since the last announcement.
#[derive(Debug, Default, PartialEq, Eq)]
struct Untold {
    answers: Named<CommandId>,
    runs: Named<RunKey>,
}

/// Some of a kind by name, or any of them.
#[derive(Debug, PartialEq, Eq)]
enum Named<T> {
    These(BTreeSet<T>),
    Any,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl<T: Ord> Named<T> {
    fn add(&mut self, names: impl IntoIterator<Item = T>) {
        if let Self::These(known) = self {
            known.extend(names);
            if known.len() > NAMES_MAX {
                *self = Self::Any;
            }
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::These(names) if names.is_empty())
    }

    /// The names; an empty list says any.
    fn into_names(self) -> BTreeSet<T> {
        match self {
            Self::These(names) => names,
            Self::Any => BTreeSet::new(),
        }
    }
}

impl Untold {
    fn add(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Answers(ids) => self.answers.add(ids),
            Announcement::Runs(runs) => self.runs.add(runs),
            Announcement::Everything => self.runs = Named::Any,
        }
    }

    fn has_pages(&self) -> bool {
        !self.runs.is_none()
    }

    async fn send(self, pool: &PgPool) -> Result<(), store::StoreError> {
        if !self.answers.is_none() {
            hints::notify_answers(pool, self.answers.into_names()).await?;
        }
        if !self.runs.is_none() {
            hints::notify_changes(pool, self.runs.into_names()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_do_not_wait_for_the_time_of_the_pages() {
        let announcer = Announcer::default();
        announcer.send(Announcement::Answers(vec![CommandId(1)]));
        announcer.send(Announcement::Runs(BTreeSet::from([RunKey(7)])));
        let now = announcer.take(Pages::Later);
        assert_eq!((now.answers.into_names(), now.runs.is_none()), (BTreeSet::from([CommandId(1)]), true));
        assert!(announcer.has_pages());
        assert_eq!(announcer.take(Pages::Due).runs.into_names(), BTreeSet::from([RunKey(7)]));
        assert!(!announcer.has_pages());
    }

    #[test]
    fn what_goes_is_told_to_every_page() {
        let of_pages = |plan: Plan| {
            let mut untold = Untold::default();
            Announcement::of_pages(&plan).into_iter().for_each(|announcement| untold.add(announcement));
            untold.runs
        };
        let run = RunKey(1);
        let changed = Plan { changed_runs: BTreeSet::from([run]), ..Plan::default() };
        assert_eq!(of_pages(changed.clone()), Named::These(BTreeSet::from([run])));
        assert!(of_pages(Plan::default()).is_none());
        let dag = model::DagId::new("etl").unwrap();
        for plan in [
            Plan { runs_dropped: vec![run], ..changed.clone() },
            Plan { dags_dropped: vec![dag], ..changed.clone() },
            Plan { pools_dropped: vec!["narrow".to_owned()], ..changed },
        ] {
            assert_eq!(of_pages(plan), Named::Any);
        }
    }

    #[test]
    fn what_waits_to_be_told_is_bounded() {
        let mut untold = Untold::default();
        for first in (0_i64..5_000).step_by(100) {
            untold.add(Announcement::Runs((first..first + 100).map(RunKey).collect()));
        }
        assert_eq!(untold.runs, Named::Any);
        assert!(untold.has_pages());
    }
}
