//! How many runs each DAG has in each state: counted once, and again for a DAG when one of its runs has changed.
//!
//! What always holds here: a count is kept only while this process hears of every change. Whoever hears that everything may
//! have changed, or is not sure, forgets all of them; what was heard is forgotten only when it has been acted upon, also when
//! who asked goes away meanwhile. What is kept is four numbers a DAG.

use std::collections::{BTreeMap, BTreeSet};

use model::{DagId, DagRunState, RunKey};
use sqlx::PgPool;
use store::{Hint, Hints, read};
use tokio::sync::{
    Mutex,
    broadcast::{Receiver, error::TryRecvError},
};

use crate::error::ApiResult;

/// More changed runs than this are not looked up: all DAGs are counted anew.
const CHANGED_MAX: usize = 10_000;

/// Runs by their state.
pub type ByState = BTreeMap<DagRunState, i64>;

/// The counts that are kept. Whoever asks waits for who asked before, so that one change is acted upon once.
pub struct RunCounts(Mutex<Kept>);

struct Kept {
    by_dag: BTreeMap<DagId, ByState>,
    /// Runs that have changed and whose DAGs have not been found yet.
    changed: BTreeSet<RunKey>,
    news: Receiver<Hint>,
}

impl RunCounts {
    /// Keeps counts for as long as changes are heard of.
    pub fn new(hints: &Hints) -> Self {
        Self(Mutex::new(Kept { by_dag: BTreeMap::new(), changed: BTreeSet::new(), news: hints.subscribe() }))
    }

    /// The counts of these DAGs, those without a run left out.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn of(&self, pool: &PgPool, dag_ids: &[DagId]) -> ApiResult<BTreeMap<DagId, ByState>> {
        let mut kept = self.0.lock().await;
        kept.hear();
        kept.act(pool).await?;
        let missing: Vec<DagId> = dag_ids.iter().filter(|id| !kept.by_dag.contains_key(*id)).cloned().collect();
        if !missing.is_empty() {
            let mut counted: BTreeMap<DagId, ByState> = missing.iter().map(|id| (id.clone(), ByState::new())).collect();
            for (dag, state, count) in read::run_counts(pool, &missing).await? {
                counted.entry(dag).or_default().insert(state, count);
            }
            kept.by_dag.extend(counted);
        }
        Ok(dag_ids.iter().filter_map(|id| Some((id.clone(), kept.by_dag.get(id)?.clone()))).collect())
    }
}

impl Kept {
    /// Takes in what has been told since the last question.
    fn hear(&mut self) {
        loop {
            match self.news.try_recv() {
                Ok(Hint::Changes(changed)) if !changed.is_empty() => self.changed.extend(changed),
                Ok(Hint::Changes(_) | Hint::Everything) | Err(TryRecvError::Lagged(_)) => self.forget(),
                Ok(Hint::Inbox | Hint::Answers(_)) => {}
                Err(TryRecvError::Empty) => break,
                // Nobody tells of changes any more.
                Err(TryRecvError::Closed) => {
                    self.forget();
                    break;
                }
            }
        }
        if self.changed.len() > CHANGED_MAX {
            self.forget();
        }
    }

    /// Forgets the counts of the DAGs whose runs have changed.
    async fn act(&mut self, pool: &PgPool) -> ApiResult<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let changed: Vec<RunKey> = self.changed.iter().copied().collect();
        let found = read::dags_of_runs(pool, &changed).await?;
        if found.len() < changed.len() {
            // A run that is gone does not say any more whose it was.
            self.forget();
        }
        for (_, dag) in found {
            self.by_dag.remove(&dag);
        }
        self.changed.clear();
        Ok(())
    }

    fn forget(&mut self) {
        self.by_dag.clear();
        self.changed.clear();
    }
}
