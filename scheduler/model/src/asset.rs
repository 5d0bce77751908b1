//! Assets: named data, and the news that it has changed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::door::Text;

/// Which asset: its name and where it is, as in Airflow. One that was given a single word has it as both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AssetKey {
    /// Its name.
    pub name: Text,
    /// Where it is.
    pub uri: Text,
}

impl AssetKey {
    /// The longest name, uri or alias, in characters, as in Airflow.
    pub const CHARS_MAX: usize = 1_500;

    /// The asset of this name and place; none when a word can not be stored.
    #[must_use]
    pub fn of(name: &str, uri: &str) -> Option<Self> {
        Some(Self { name: word(name)?, uri: word(uri)? })
    }
}

impl std::fmt::Display for AssetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name.as_str())
    }
}

fn word(text: &str) -> Option<Text> {
    let fits = !text.trim().is_empty() && text.chars().count() <= AssetKey::CHARS_MAX;
    if fits { Text::new(text).ok() } else { None }
}

/// What a task says about an asset that it has changed: for an outlet more than that it has, for an alias which asset it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetNews {
    /// The asset's name; its uri when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is; its name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The outlet of the task, an alias, through which the asset has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What consumers of the event are told.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

impl AssetNews {
    /// The most that an attempt can say.
    pub const MOST: usize = 1_000;

    /// Which asset it is about, when it names one that can be stored.
    #[must_use]
    pub fn key(&self) -> Option<AssetKey> {
        let (name, uri) = match (&self.name, &self.uri) {
            (Some(name), Some(uri)) => (name, uri),
            (Some(one), None) | (None, Some(one)) => (one, one),
            (None, None) => return None,
        };
        AssetKey::of(name, uri)
    }

    /// Whether it is about an asset that is declared so: one word may be its name or its uri.
    #[must_use]
    pub fn is_about(&self, declared: &AssetKey) -> bool {
        let is_any = |word: &str| word == declared.name.as_str() || word == declared.uri.as_str();
        match (&self.name, &self.uri) {
            (Some(name), Some(uri)) => name == declared.name.as_str() && uri == declared.uri.as_str(),
            (Some(one), None) | (None, Some(one)) => is_any(one),
            (None, None) => false,
        }
    }
}
