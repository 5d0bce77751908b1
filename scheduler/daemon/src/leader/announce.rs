//! Tells api processes what a turn changed, after its commit and on another connection: NOTIFY in a writing
//! transaction would take a lock of the whole cluster across the fsync.
//!
//! What waits to be told is merged, so it is bounded however slow PostgreSQL is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use engine::Plan;
use model::{CommandId, DagId, RunKey};
use sqlx::PgPool;
use store::{Changes, hints};
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
    /// What pages may show and is stale now.
    Changes(Changes),
}

impl Announcement {
    /// Which pages a turn has made stale, if any.
    pub(super) fn of_pages(plan: &Plan) -> Option<Self> {
        // What has gone can not be named to a page that shows it among others, or counts it.
        let has_gone = !(plan.runs_dropped.is_empty() && plan.dags_dropped.is_empty() && plan.pools_dropped.is_empty());
        if has_gone || !plan.pools.is_empty() {
            return Some(Self::Changes(Changes::anything()));
        }
        let mut runs: BTreeMap<&DagId, Vec<RunKey>> = BTreeMap::new();
        for (run, dag) in &plan.changed_runs {
            runs.entry(dag).or_default().push(*run);
        }
        let mut changes = Changes::default();
        runs.into_iter().for_each(|(dag, runs)| changes.add(Changes::runs(dag.clone(), runs)));
        plan.dags.iter().for_each(|change| changes.add(Changes::dag(change.dag_id.clone())));
        (!changes.is_none()).then_some(Self::Changes(changes))
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
    answers: Answers,
    changes: Changes,
}

/// Commands by their ids, or any of them.
#[derive(Debug, PartialEq, Eq)]
enum Answers {
    These(BTreeSet<CommandId>),
    Any,
}

impl Default for Answers {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Answers {
    fn add(&mut self, ids: impl IntoIterator<Item = CommandId>) {
        if let Self::These(known) = self {
            known.extend(ids);
            if known.len() > NAMES_MAX {
                *self = Self::Any;
            }
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::These(ids) if ids.is_empty())
    }

    /// The ids; an empty list says any.
    fn into_ids(self) -> BTreeSet<CommandId> {
        match self {
            Self::These(ids) => ids,
            Self::Any => BTreeSet::new(),
        }
    }
}

impl Untold {
    fn add(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Answers(ids) => self.answers.add(ids),
            Announcement::Changes(changes) => self.changes.add(changes),
        }
    }

    fn has_pages(&self) -> bool {
        !self.changes.is_none()
    }

    async fn send(self, pool: &PgPool) -> Result<(), store::StoreError> {
        if !self.answers.is_none() {
            hints::notify_answers(pool, self.answers.into_ids()).await?;
        }
        if !self.changes.is_none() {
            hints::notify_changes(pool, &self.changes).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(name: &str) -> DagId {
        DagId::new(name).unwrap()
    }

    fn runs(name: &str, keys: impl IntoIterator<Item = i64>) -> Changes {
        Changes::runs(dag(name), keys.into_iter().map(RunKey))
    }

    #[test]
    fn answers_do_not_wait_for_the_time_of_the_pages() {
        let announcer = Announcer::default();
        announcer.send(Announcement::Answers(vec![CommandId(1)]));
        announcer.send(Announcement::Changes(runs("etl", [7])));
        let now = announcer.take(Pages::Later);
        assert_eq!((now.answers.into_ids(), now.changes.is_none()), (BTreeSet::from([CommandId(1)]), true));
        assert!(announcer.has_pages());
        assert_eq!(announcer.take(Pages::Due).changes, runs("etl", [7]));
        assert!(!announcer.has_pages());
    }

    fn of_pages(plan: &Plan) -> Changes {
        let mut untold = Untold::default();
        Announcement::of_pages(plan).into_iter().for_each(|announcement| untold.add(announcement));
        untold.changes
    }

    #[test]
    fn what_changes_is_told_with_its_dag() {
        assert!(of_pages(&Plan::default()).is_none());
        let changed_runs =
            BTreeMap::from([(RunKey(1), dag("etl")), (RunKey(2), dag("other")), (RunKey(3), dag("etl"))]);
        let mut all = runs("etl", [1, 3]);
        all.add(runs("other", [2]));
        assert_eq!(of_pages(&Plan { changed_runs, ..Plan::default() }), all);
        let paused = engine::DagChange {
            dag_id: dag("etl"),
            is_paused: true,
            is_stale: false,
            next: None,
            last_interval: None,
            failed_in_a_row: 0,
            is_draining: false,
            passed_over: None,
        };
        assert_eq!(of_pages(&Plan { dags: vec![paused], ..Plan::default() }), Changes::dag(dag("etl")));
    }

    #[test]
    fn what_goes_is_told_to_every_page() {
        let run = RunKey(1);
        let changed = Plan { changed_runs: BTreeMap::from([(run, dag("etl"))]), ..Plan::default() };
        for plan in [
            Plan { runs_dropped: vec![run], ..changed.clone() },
            Plan { dags_dropped: vec![dag("etl")], ..changed.clone() },
            Plan { pools_dropped: vec!["narrow".to_owned()], ..changed },
        ] {
            assert_eq!(of_pages(&plan), Changes::anything());
        }
    }

    #[test]
    fn what_waits_to_be_told_is_bounded() {
        let mut untold = Untold::default();
        for first in (0_i64..5_000).step_by(100) {
            untold.add(Announcement::Changes(runs("etl", first..first + 100)));
            untold.add(Announcement::Changes(runs(&format!("dag_{first}"), [first])));
            untold.add(Announcement::Answers((first..first + 100).map(CommandId).collect()));
        }
        assert_eq!(untold.answers, Answers::Any);
        assert!(untold.changes.dags().all(|(_, runs)| matches!(runs, store::Runs::Any) || runs_in(runs) <= 100));
        assert!(untold.has_pages());
    }

    fn runs_in(runs: &store::Runs) -> usize {
        match runs {
            store::Runs::These(runs) => runs.len(),
            store::Runs::Any => 0,
        }
    }
}
