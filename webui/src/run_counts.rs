//! How many runs each DAG has in each state: counted once, and again for a DAG when one of its runs has changed.
//!
//! What always holds here: a count is kept only while this process hears of every change. Whoever hears that everything may
//! have changed, or is not sure, forgets all of them. What is kept is four numbers a DAG.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use model::{DagId, DagRunState, RunKey};
use sqlx::PgPool;
use store::{Hint, Hints, read};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use crate::error::ApiResult;

/// Runs by their state.
pub type ByState = BTreeMap<DagRunState, i64>;

/// The counts that are kept.
pub struct RunCounts(Mutex<Kept>);

struct Kept {
    by_dag: BTreeMap<DagId, ByState>,
    news: Receiver<Hint>,
}

impl RunCounts {
    /// Keeps counts for as long as changes are heard of.
    pub fn new(hints: &Hints) -> Self {
        Self(Mutex::new(Kept { by_dag: BTreeMap::new(), news: hints.subscribe() }))
    }

    /// The counts of these DAGs, those without a run left out.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn of(&self, pool: &PgPool, dag_ids: &[DagId]) -> ApiResult<BTreeMap<DagId, ByState>> {
        let changed = self.with(Kept::changed);
        if !changed.is_empty() {
            let stale = read::dags_of_runs(pool, &changed).await?;
            self.with(|kept| stale.iter().for_each(|dag| drop(kept.by_dag.remove(dag))));
        }
        let missing: Vec<DagId> =
            self.with(|kept| dag_ids.iter().filter(|id| !kept.by_dag.contains_key(*id)).cloned().collect());
        if !missing.is_empty() {
            let mut counted: BTreeMap<DagId, ByState> = missing.iter().map(|id| (id.clone(), ByState::new())).collect();
            for (dag, state, count) in read::run_counts(pool, &missing).await? {
                counted.entry(dag).or_default().insert(state, count);
            }
            self.with(|kept| kept.by_dag.extend(counted));
        }
        Ok(self.with(|kept| dag_ids.iter().filter_map(|id| Some((id.clone(), kept.by_dag.get(id)?.clone()))).collect()))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    /// The runs that have changed since the last question.
    fn changed(&mut self) -> Vec<RunKey> {
        let mut runs = BTreeSet::new();
        loop {
            match self.news.try_recv() {
                Ok(Hint::Changes(changed)) if !changed.is_empty() => runs.extend(changed),
                Ok(Hint::Changes(_) | Hint::Everything) | Err(TryRecvError::Lagged(_)) => self.by_dag.clear(),
                Ok(Hint::Inbox | Hint::Answers(_)) => {}
                Err(TryRecvError::Empty) => return runs.into_iter().collect(),
                // Nobody tells of changes any more.
                Err(TryRecvError::Closed) => {
                    self.by_dag.clear();
                    return Vec::new();
                }
            }
        }
    }
}
