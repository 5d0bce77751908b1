//! The tables of assets in memory.

use std::collections::BTreeMap;

use engine::{AssetEventRow, ConsumedAssetRow, Plan, QueuedAssetRow};
use model::{AssetKey, DagId};

/// The tables of assets, which refuse what would be wrong in every history.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct AssetTables {
    pub events: Vec<AssetEventRow>,
    pub queue: BTreeMap<(DagId, AssetKey), QueuedAssetRow>,
    pub consumed: Vec<ConsumedAssetRow>,
}

impl AssetTables {
    pub fn apply(&mut self, plan: &Plan) {
        for event in &plan.asset_events {
            assert_eq!(event.id, self.events.last().map_or(0, |last| last.id) + 1, "events are numbered in order");
            self.events.push(event.clone());
        }
        for row in &plan.assets_consumed {
            assert!(plan.new_runs.iter().any(|run| run.key == row.run), "a run is made with what it takes up");
            let same = |other: &&ConsumedAssetRow| (&other.dag_id, &other.asset) == (&row.dag_id, &row.asset);
            let before = self.consumed.iter().filter(same).map(|other| other.last_event).max();
            assert!(before.is_none_or(|before| before < row.first_event), "an event is taken up once by a DAG");
            self.consumed.push(row.clone());
        }
        for dag in &plan.dags_dropped {
            self.queue.retain(|(of, _), _| of != dag);
        }
        for entry in &plan.asset_queue_dropped {
            self.queue.remove(entry);
        }
        for row in &plan.asset_queue {
            self.queue.insert((row.dag_id.clone(), row.asset.clone()), row.clone());
        }
    }
}
