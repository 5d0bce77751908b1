//! Assets as DAGs name them: what tasks write and read, and what a DAG waits for.

use model::AssetKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The group of assets and aliases that name none, as in Airflow.
pub const GROUP_DEFAULT: &str = "asset";

/// Named data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRef {
    /// Its name, or its uri when that is all that was said.
    pub name: String,
    /// Where it is, when that was said beside the name.
    pub uri: Option<String>,
    /// What kind of asset it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// A name for assets that are known only when a task has written them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRef {
    /// The name.
    pub alias: String,
    /// What kind of assets they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What a task writes or reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outlet {
    /// Whatever asset the task names when it has written it.
    Alias(AliasRef),
    /// This asset.
    Asset(AssetRef),
}

/// Which assets have to change for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetCondition {
    /// All of these, since the last run.
    All(Vec<Self>),
    /// One of these.
    Any(Vec<Self>),
    /// This asset.
    Asset(AssetRef),
    /// An asset that has changed through this alias.
    Alias(AliasRef),
}

/// One asset or alias of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf<'c> {
    /// An asset.
    Asset(&'c AssetRef),
    /// An alias.
    Alias(&'c AliasRef),
}

impl AssetRef {
    /// Which asset it is when a task writes or reads it.
    ///
    /// # Panics
    /// Never: what could not be stored was refused when the DAG was read.
    #[must_use]
    pub fn key(&self) -> AssetKey {
        AssetKey::of(&self.name, self.uri.as_deref().unwrap_or(&self.name)).expect("a DAG's texts were checked")
    }

    /// Whether it means this asset: a single word may be its name or its uri.
    #[must_use]
    pub fn means(&self, asset: &AssetKey) -> bool {
        let (name, uri) = (asset.name.as_str(), asset.uri.as_str());
        match &self.uri {
            Some(own) => self.name == name && own == uri,
            None => self.name == name || self.name == uri,
        }
    }
}

impl Outlet {
    /// The asset, unless it is an alias.
    #[must_use]
    pub const fn asset(&self) -> Option<&AssetRef> {
        match self {
            Self::Asset(asset) => Some(asset),
            Self::Alias(_) => None,
        }
    }

    /// The alias, unless it is an asset.
    #[must_use]
    pub const fn alias(&self) -> Option<&AliasRef> {
        match self {
            Self::Alias(alias) => Some(alias),
            Self::Asset(_) => None,
        }
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Alias(alias) => &alias.alias,
            Self::Asset(asset) => &asset.name,
        }
    }
}

impl AssetCondition {
    /// Every asset and alias in it, in the order of the file.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::leaves).collect(),
            Self::Asset(asset) => vec![Leaf::Asset(asset)],
            Self::Alias(alias) => vec![Leaf::Alias(alias)],
        }
    }

    /// Whether it holds when `has_changed` tells of each asset and alias whether it has changed.
    pub fn holds(&self, has_changed: &impl Fn(Leaf<'_>) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(has_changed)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(has_changed)),
            Self::Asset(asset) => has_changed(Leaf::Asset(asset)),
            Self::Alias(alias) => has_changed(Leaf::Alias(alias)),
        }
    }

    /// It as Airflow's API tells it (`asset_expression`).
    #[must_use]
    pub fn expression(&self) -> Value {
        let group = |group: &Option<String>| group.clone().unwrap_or_else(|| GROUP_DEFAULT.to_owned());
        let list = |parts: &[Self]| parts.iter().map(Self::expression).collect::<Vec<_>>();
        match self {
            Self::All(parts) => serde_json::json!({ "all": list(parts) }),
            Self::Any(parts) => serde_json::json!({ "any": list(parts) }),
            Self::Asset(asset) => {
                let uri = asset.uri.as_ref().unwrap_or(&asset.name);
                serde_json::json!({ "asset": { "uri": uri, "name": asset.name, "group": group(&asset.group) } })
            }
            Self::Alias(alias) => {
                serde_json::json!({ "alias": { "name": alias.alias, "group": group(&alias.group) } })
            }
        }
    }
}

impl<'c> Leaf<'c> {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'c str {
        match self {
            Self::Asset(asset) => &asset.name,
            Self::Alias(alias) => &alias.alias,
        }
    }
}
