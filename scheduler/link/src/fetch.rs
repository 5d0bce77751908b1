//! What attempts ask the leader for, and its answers: workers have no access to the database.

use model::{DagId, MapIndex, TaskId, TaskIdx};
use serde::{Deserialize, Serialize};

use crate::assets::{AssetEvents, WhichAssets};
use crate::runs::{RunView, RunWish, Triggered, WhichRun};

/// What an attempt may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchKey {
    /// A connection by its id.
    Connection(String),
    /// A variable by its key.
    Variable(String),
    /// XComs of the attempt's own run.
    XCom {
        /// Whose.
        task: TaskIdx,
        /// One instance; all of an expanded task, in order, when absent.
        map_index: Option<MapIndex>,
        /// Which key.
        key: String,
    },
    /// A file of the DAG version by its SHA-256 in hex.
    File(String),
    /// Events of assets.
    AssetEvents(WhichAssets),
    /// A run of another DAG, to be made.
    TriggerRun(Box<RunWish>),
    /// How a run of another DAG stands.
    Run {
        /// The DAG.
        dag_id: DagId,
        /// Which of its runs.
        which: WhichRun,
        /// The tasks whose states are wanted, too.
        tasks: Vec<TaskId>,
    },
}

/// The answer to a Fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// The question's number.
    pub id: u64,
    /// What was found.
    pub item: FetchItem,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchItem {
    /// Nothing of that name; the text says what was looked for and where.
    Missing(String),
    /// It could not be read now; the text says why. The attempt fails with it.
    Unavailable(String),
    /// A connection.
    Connection(Box<ConnectionFields>),
    /// A variable's text.
    Variable(String),
    /// Values in the order of their map index.
    XCom(Vec<serde_json::Value>),
    /// A file's bytes.
    File(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Events of assets, an entry an asset.
    AssetEvents(Vec<AssetEvents>),
    /// A run that was asked for.
    Run(Box<RunView>),
    /// A run that was wanted.
    Triggered {
        /// How it stands.
        run: Box<RunView>,
        /// Where it comes from.
        how: Triggered,
    },
    /// What was asked is not done, and would not be if it were asked again; the text says why.
    Refused(String),
}

impl FetchItem {
    /// The sentence for an answer that does not fit its question.
    #[must_use]
    pub fn misfit(self) -> String {
        match self {
            Self::Missing(detail) | Self::Unavailable(detail) | Self::Refused(detail) => detail,
            Self::Connection(_)
            | Self::Variable(_)
            | Self::XCom(_)
            | Self::File(_)
            | Self::AssetEvents(_)
            | Self::Run(_)
            | Self::Triggered { .. } => "the leader answered with something else".to_owned(),
        }
    }
}

/// A connection with Airflow's fields. Its password, and every value of `extra`, is masked wherever it shows.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionFields {
    /// Its id.
    pub conn_id: String,
    /// Its type: `postgres`, `lake`, `http` …
    pub conn_type: String,
    /// Host name or address.
    pub host: Option<String>,
    /// Schema or database.
    pub schema: Option<String>,
    /// User.
    pub login: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Port.
    pub port: Option<i32>,
    /// Further settings, JSON text.
    pub extra: Option<String>,
}

impl ConnectionFields {
    /// The further settings by their names; none when there is no text.
    ///
    /// # Errors
    /// When the text is not a JSON object. It may hold secrets, and the message does not repeat it.
    pub fn extra_settings(&self) -> serde_json::Result<serde_json::Map<String, serde_json::Value>> {
        match self.extra.as_deref().map(str::trim) {
            None | Some("") => Ok(serde_json::Map::new()),
            Some(text) => serde_json::from_str(text),
        }
    }
}

impl std::fmt::Debug for ConnectionFields {
    /// Shows everything but the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionFields")
            .field("conn_id", &self.conn_id)
            .field("conn_type", &self.conn_type)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
