//! Conditions in words: what a DAG that is scheduled by assets waits for.

use dag::{AssetCondition, assets::Leaf};
use model::DagId;

use super::Queue;
use crate::Engine;

/// So many assets are named in a sentence.
const NAMES_MAX: usize = 5;

impl Engine {
    /// What a DAG waits for by its assets; none when it is not scheduled by any.
    pub(crate) fn assets_sentence(&self, dag_id: &DagId) -> Option<String> {
        let dag = self.dags.get(dag_id)?;
        let def = self.versions.get(&dag.row.current)?;
        let condition = def.dag.assets.as_ref()?;
        let changed = &dag.assets.changed;
        if dag.assets.meets(Some(condition)) {
            let waits = if self.asset_run_to_make(dag_id).is_some() {
                "a run for them is being made".to_owned()
            } else {
                format!("the run for them waits because {}", self.runs_in_the_way(dag_id))
            };
            return Some(format!("its assets have changed, and {waits}"));
        }
        let mut named = 0;
        let missing = missing(condition, &dag.assets, &mut named).unwrap_or_default();
        let known: Vec<&str> = changed.keys().take(NAMES_MAX).map(|asset| asset.name.as_str()).collect();
        Some(match (known.as_slice(), changed.len()) {
            ([], _) => format!("it waits for the assets {missing} to change"),
            (names, count) if count > NAMES_MAX => {
                format!("it waits for the assets {missing} to change; {} and others have", names.join(", "))
            }
            (names, _) => format!("it waits for the assets {missing} to change; {} has already", names.join(", ")),
        })
    }
}

/// What has not changed yet, in words; none when the condition holds.
fn missing(condition: &AssetCondition, queue: &Queue, named: &mut usize) -> Option<String> {
    if condition.holds(&|leaf| queue.has(leaf)) {
        return None;
    }
    let list = |parts: &[AssetCondition], by: &str, named: &mut usize| {
        let mut words = Vec::new();
        for part in parts {
            if *named >= NAMES_MAX {
                words.push("others".to_owned());
                break;
            }
            let is_list = matches!(part, AssetCondition::All(_) | AssetCondition::Any(_));
            words.extend(missing(part, queue, named).map(|text| if is_list { format!("({text})") } else { text }));
        }
        words.join(by)
    };
    Some(match condition {
        AssetCondition::All(parts) => list(parts, " and ", named),
        AssetCondition::Any(parts) => list(parts, " or ", named),
        AssetCondition::Asset(asset) => {
            *named += 1;
            Leaf::Asset(asset).name().to_owned()
        }
        AssetCondition::Alias(alias) => {
            *named += 1;
            format!("of the alias {}", alias.alias)
        }
    })
}
