//! Assets and conditions in the canonical form.

use serde_json::{Value, json};

use super::Fields;
use crate::assets::{AliasRef, AssetCondition, AssetRef, Outlet};

/// A schedule with the assets that let the DAG run, too.
pub(super) fn with_assets(schedule: Value, assets: Option<&AssetCondition>) -> Value {
    let Some(condition) = assets else { return schedule };
    let mut fields = Fields::default();
    match schedule {
        Value::Null => {
            // A single asset alone would be read as a cron.
            return match condition {
                AssetCondition::All(_) | AssetCondition::Any(_) => condition_value(condition),
                AssetCondition::Asset(_) | AssetCondition::Alias(_) => json!([condition_value(condition)]),
            };
        }
        Value::Object(time) => fields.0 = time,
        // Presets without a mapping of their own.
        preset => fields.put("cron", preset),
    }
    fields.put("or_assets", condition_value(condition));
    fields.into_value()
}

/// What a task writes or reads.
pub(super) fn values(outlets: &[Outlet]) -> Vec<Value> {
    let value = |outlet: &Outlet| match outlet {
        Outlet::Asset(asset) => asset_value(asset),
        Outlet::Alias(alias) => alias_value(alias),
    };
    outlets.iter().map(value).collect()
}

fn condition_value(condition: &AssetCondition) -> Value {
    let list = |parts: &[AssetCondition]| parts.iter().map(condition_value).collect::<Vec<_>>();
    match condition {
        AssetCondition::All(parts) => json!({ "all": list(parts) }),
        AssetCondition::Any(parts) => json!({ "any": list(parts) }),
        AssetCondition::Asset(asset) => asset_value(asset),
        AssetCondition::Alias(alias) => alias_value(alias),
    }
}

fn asset_value(asset: &AssetRef) -> Value {
    let mut fields = Fields::default();
    fields.put("name", asset.name.clone());
    fields.some("uri", asset.uri.clone());
    fields.some("group", asset.group.clone());
    if let Some(extra) = &asset.extra {
        let mut extra = Fields(extra.clone());
        extra.0.sort_keys();
        fields.put("extra", extra.into_value());
    }
    fields.into_value()
}

fn alias_value(alias: &AliasRef) -> Value {
    let mut fields = Fields::default();
    fields.put("alias", alias.alias.clone());
    fields.some("group", alias.group.clone());
    fields.into_value()
}
