//! What is in memory of assets: who waits for which, and what has changed for each.

use std::collections::{BTreeMap, BTreeSet};

use dag::{AssetCondition, assets::Leaf};
use model::{AssetKey, DagId};

use super::Changes;

/// An entry of a queue: a DAG, and an asset that has changed.
pub(crate) type Entry = (DagId, AssetKey);

/// Who waits for which asset.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Assets {
    /// The number of the last event.
    pub last_event: i64,
    /// The DAGs whose current version waits for an asset of this name or uri.
    by_word: BTreeMap<String, BTreeSet<DagId>>,
    /// The DAGs whose current version waits for an alias.
    by_alias: BTreeMap<String, BTreeSet<DagId>>,
    /// The DAGs whose condition holds and that have no run for it yet.
    pub ripe: BTreeSet<DagId>,
}

/// What a DAG waits for, and what has changed since its last run by assets.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Queue {
    /// The assets that have changed.
    pub changed: BTreeMap<AssetKey, Changes>,
    words: BTreeSet<String>,
    aliases: BTreeSet<String>,
}

impl Assets {
    /// Nobody waits yet, and so many events have been made.
    pub fn after(last_event: i64) -> Self {
        Self { last_event, ..Self::default() }
    }

    /// Who may wait for an asset: their conditions have to be asked.
    pub fn interested(&self, asset: &AssetKey, aliases: &BTreeSet<String>) -> BTreeSet<DagId> {
        let words = [asset.name.as_str(), asset.uri.as_str()].into_iter().filter_map(|word| self.by_word.get(word));
        let aliases = aliases.iter().filter_map(|alias| self.by_alias.get(alias));
        words.chain(aliases).flatten().cloned().collect()
    }

    /// A DAG waits for what its condition names from now on, and for nothing else.
    pub fn follow(&mut self, dag: &DagId, queue: &mut Queue, condition: Option<&AssetCondition>) {
        for (index, words) in [(&mut self.by_word, &queue.words), (&mut self.by_alias, &queue.aliases)] {
            for word in words {
                if let Some(dags) = index.get_mut(word) {
                    dags.remove(dag);
                    if dags.is_empty() {
                        index.remove(word);
                    }
                }
            }
        }
        (queue.words, queue.aliases) = words_of(condition);
        for (index, words) in [(&mut self.by_word, &queue.words), (&mut self.by_alias, &queue.aliases)] {
            for word in words {
                index.entry(word.clone()).or_default().insert(dag.clone());
            }
        }
        self.weigh(dag, queue, condition);
    }

    /// Notes whether a DAG's condition holds.
    pub fn weigh(&mut self, dag: &DagId, queue: &Queue, condition: Option<&AssetCondition>) {
        if queue.meets(condition) {
            self.ripe.insert(dag.clone());
        } else {
            self.ripe.remove(dag);
        }
    }
}

impl Queue {
    /// What has changed, for a DAG of which nothing else is known yet.
    pub fn of(changed: BTreeMap<AssetKey, Changes>) -> Self {
        Self { changed, ..Self::default() }
    }

    /// Whether what has changed is enough for a run.
    pub fn meets(&self, condition: Option<&AssetCondition>) -> bool {
        !self.changed.is_empty() && condition.is_some_and(|condition| condition.holds(&|leaf| self.has(leaf)))
    }

    /// Whether an asset or alias has changed.
    pub fn has(&self, leaf: Leaf<'_>) -> bool {
        self.changed.iter().any(|(asset, changes)| means(leaf, asset, &changes.aliases))
    }

    /// Forgets what a condition does not name any more: which assets.
    pub fn keep_only(&mut self, condition: Option<&AssetCondition>) -> Vec<AssetKey> {
        let leaves = condition.map(AssetCondition::leaves).unwrap_or_default();
        let is_named =
            |asset: &AssetKey, changes: &mut Changes| leaves.iter().any(|leaf| means(*leaf, asset, &changes.aliases));
        self.changed.extract_if(.., |asset, changes| !is_named(asset, changes)).map(|(asset, _)| asset).collect()
    }

    /// Takes a further event of an asset.
    pub fn add(&mut self, asset: &AssetKey, event: Changes) {
        match self.changed.get_mut(asset) {
            Some(changes) => {
                changes.last_event = event.last_event;
                changes.newest_at = event.newest_at;
                changes.aliases.extend(event.aliases);
            }
            None => drop(self.changed.insert(asset.clone(), event)),
        }
    }
}

/// Whether an asset of a condition, or an alias, means an asset that has changed.
pub(crate) fn means(leaf: Leaf<'_>, asset: &AssetKey, through: &BTreeSet<String>) -> bool {
    match leaf {
        Leaf::Asset(named) => named.means(asset),
        Leaf::Alias(named) => through.contains(&named.alias),
    }
}

fn words_of(condition: Option<&AssetCondition>) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut words, mut aliases) = (BTreeSet::new(), BTreeSet::new());
    for leaf in condition.map(AssetCondition::leaves).unwrap_or_default() {
        match leaf {
            Leaf::Asset(asset) => words.insert(asset.name.clone()),
            Leaf::Alias(alias) => aliases.insert(alias.alias.clone()),
        };
    }
    (words, aliases)
}
