//! How many runs each DAG has in each state: counted once, and again for a DAG when one of its runs has changed.
//!
//! What always holds here: a count is kept only while this process hears of every change. Whoever hears that everything may
//! have changed, or is not sure, forgets all of them. What is kept is four numbers a DAG.

use std::collections::BTreeMap;

use model::{DagId, DagRunState};
use sqlx::PgPool;
use store::{Hint, Hints, read};
use tokio::sync::{
    Mutex,
    broadcast::{Receiver, error::TryRecvError},
};

use crate::error::ApiResult;

/// Runs by their state.
pub type ByState = BTreeMap<DagRunState, i64>;

/// The counts that are kept. Whoever asks waits for who asked before, so that one change is acted upon once.
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
        let mut kept = self.0.lock().await;
        kept.hear();
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
    /// Takes in what has been told since the last question: a DAG that was named is counted anew.
    fn hear(&mut self) {
        loop {
            match self.news.try_recv() {
                Ok(Hint::Changes(news)) if news.is_anything() => self.by_dag.clear(),
                Ok(Hint::Changes(news)) => news.dags().for_each(|(dag, _)| drop(self.by_dag.remove(dag))),
                Ok(Hint::Everything) | Err(TryRecvError::Lagged(_)) => self.by_dag.clear(),
                Ok(Hint::Inbox | Hint::Answers(_)) => {}
                Err(TryRecvError::Empty) => break,
                // Nobody tells of changes any more.
                Err(TryRecvError::Closed) => {
                    self.by_dag.clear();
                    break;
                }
            }
        }
    }
}
