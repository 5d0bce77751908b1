//! Events: what a success says of the task's outlets, and who hears of it.

use std::collections::{BTreeMap, BTreeSet};

use dag::Outlet;
use model::{AssetKey, AssetNews};
use serde_json::{Map, Value};

use super::{AssetEventRow, AssetSource, Changes, queue::means};
use crate::{Engine, memory::instance::Place};

/// An event that has no number yet.
#[derive(Debug, PartialEq)]
struct News {
    asset: AssetKey,
    extra: Map<String, Value>,
    aliases: BTreeSet<String>,
}

impl Engine {
    /// A task has succeeded: each of its outlets has changed, and what it says itself is told along.
    pub(crate) fn outlets_changed(&mut self, place: Place, said: &[AssetNews]) {
        let run = self.known_run(place.run);
        let task = run.def.task(place.task);
        if task.outlets.is_empty() {
            return;
        }
        let news = news_of(&task.outlets, said);
        let source = AssetSource {
            dag_id: run.row.dag_id.clone(),
            run_id: run.row.run_id.clone(),
            task_id: task.task_id.clone(),
            map_index: place.map,
        };
        for News { asset, extra, aliases } in news {
            self.asset_changed(asset, extra, aliases, Some(source.clone()));
        }
    }

    /// An asset has changed: the event is made, and every DAG that waits for it hears of it. Its number.
    pub(super) fn asset_changed(
        &mut self,
        asset: AssetKey,
        extra: Map<String, Value>,
        aliases: BTreeSet<String>,
        source: Option<AssetSource>,
    ) -> i64 {
        self.assets.last_event += 1;
        let (id, at) = (self.assets.last_event, self.now);
        let changes =
            Changes { first_event: id, last_event: id, created_at: at, newest_at: at, aliases: aliases.clone() };
        for dag_id in self.assets.interested(&asset, &aliases) {
            let Some(dag) = self.dags.get_mut(&dag_id).filter(|dag| !dag.row.is_paused && !dag.row.is_stale) else {
                continue;
            };
            let Some(def) = self.versions.get(&dag.row.current) else { continue };
            let Some(condition) = &def.dag.assets else { continue };
            if !condition.leaves().into_iter().any(|leaf| means(leaf, &asset, &aliases)) {
                continue;
            }
            dag.assets.add(&asset, changes.clone());
            self.assets.weigh(&dag_id, &dag.assets, Some(condition));
            self.draft.queued_assets.insert((dag_id.clone(), asset.clone()));
            self.unserved.insert(dag_id);
        }
        self.draft.plan.asset_events.push(AssetEventRow { id, asset, at, extra, source, aliases });
        id
    }
}

/// One event for each outlet, with the last that was said of it; and one for each asset that was named to an alias.
fn news_of(outlets: &[Outlet], said: &[AssetNews]) -> Vec<News> {
    let mut news: Vec<News> = Vec::new();
    for asset in outlets.iter().filter_map(Outlet::asset).map(dag::AssetRef::key) {
        let is_about = |news: &&AssetNews| news.alias.is_none() && news.is_about(&asset);
        let extra = said.iter().rfind(is_about).map(|news| news.extra.clone()).unwrap_or_default();
        news.push(News { asset, extra, aliases: BTreeSet::new() });
    }
    let aliases: BTreeSet<&str> = outlets.iter().filter_map(Outlet::alias).map(|alias| alias.alias.as_str()).collect();
    // Several aliases of one asset that say the same are one event, as in Airflow.
    let mut through: BTreeMap<(AssetKey, String), News> = BTreeMap::new();
    for one in said.iter().take(AssetNews::MOST) {
        let Some(alias) = one.alias.as_deref().filter(|alias| aliases.contains(alias)) else { continue };
        let Some(asset) = one.key() else { continue };
        let text = serde_json::to_string(&one.extra).unwrap_or_default();
        let told = News { asset: asset.clone(), extra: one.extra.clone(), aliases: BTreeSet::new() };
        through.entry((asset, text)).or_insert(told).aliases.insert(alias.to_owned());
    }
    news.extend(through.into_values());
    news
}
