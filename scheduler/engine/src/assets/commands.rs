//! Events that somebody tells, and queued events that are to be forgotten.

use std::collections::BTreeSet;

use model::{
    AssetKey, DagId,
    command::{CreateAssetEvent, DeleteQueuedAssetEvents},
    door::Instant,
};
use serde_json::{Value, json};

use crate::{Engine, turn::Refusal};

impl Engine {
    /// Somebody says that an asset has changed.
    pub(crate) fn create_asset_event(&mut self, wish: CreateAssetEvent) -> Value {
        let id = self.asset_changed(wish.asset, wish.extra.into_map(), BTreeSet::new(), None);
        json!({ "asset_event_id": id })
    }

    /// Queued events are forgotten: how many assets of how many DAGs that were.
    pub(crate) fn delete_queued_assets(&mut self, wish: &DeleteQueuedAssetEvents) -> Result<Value, Refusal> {
        let dags: Vec<DagId> = match (&wish.dag_id, &wish.asset) {
            (Some(dag), _) if self.dags.contains_key(dag) => vec![dag.clone()],
            (Some(dag), _) => return Err(Refusal::no_dag(dag)),
            (None, Some(asset)) => {
                let queued = self.dags.iter().filter(|(_, dag)| dag.assets.changed.contains_key(asset));
                queued.map(|(dag, _)| dag.clone()).collect()
            }
            (None, None) => {
                return Err(Refusal::Invalid("name the DAG or the asset whose queued events are to go".to_owned()));
            }
        };
        let deleted: usize = dags.iter().map(|dag| self.forget_queued(dag, wish)).sum();
        Ok(json!({ "deleted": deleted }))
    }

    fn forget_queued(&mut self, dag_id: &DagId, wish: &DeleteQueuedAssetEvents) -> usize {
        let before = wish.before.map(Instant::get);
        let dag = self.dag_mut(dag_id);
        let going: Vec<AssetKey> = dag
            .assets
            .changed
            .extract_if(.., |asset, changes| {
                wish.asset.as_ref().is_none_or(|wanted| wanted == asset)
                    && before.is_none_or(|before| changes.created_at < before)
            })
            .map(|(asset, _)| asset)
            .collect();
        let count = going.len();
        self.draft.queued_assets.extend(going.into_iter().map(|asset| (dag_id.clone(), asset)));
        self.weigh_assets(dag_id);
        count
    }

    fn weigh_assets(&mut self, dag_id: &DagId) {
        let Some(dag) = self.dags.get(dag_id) else { return };
        let condition = self.versions.get(&dag.row.current).and_then(|def| def.dag.assets.as_ref());
        self.assets.weigh(dag_id, &dag.assets, condition);
    }
}
