//! What was told to the outside.

use model::{DagId, Timestamp};
use serde::Deserialize;
use store::notifications::{self, Filter, View};

use super::Installation;
use crate::exit::Failure;

/// A notification.
#[derive(Deserialize)]
pub struct Notification {
    /// Its id.
    #[serde(rename = "notification_id")]
    pub id: String,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    #[serde(rename = "dag_run_id")]
    pub run_id: String,
    /// The task; none of a run's event.
    pub task_id: Option<String>,
    /// What has happened.
    pub event: String,
    /// The callback's kind.
    pub kind: String,
    /// When.
    pub happened_at: Timestamp,
    /// How far it is.
    pub state: String,
    /// How often it was tried.
    pub attempts: i16,
    /// What was said of the last try.
    pub detail: Option<String>,
}

impl From<View> for Notification {
    fn from(view: View) -> Self {
        Self {
            id: view.id.to_string(),
            dag_id: view.dag_id,
            run_id: view.run_id,
            task_id: view.task_id,
            event: view.event.name().to_owned(),
            kind: view.kind,
            happened_at: view.at,
            state: view.state.name().to_owned(),
            attempts: view.attempts,
            detail: view.detail,
        }
    }
}

impl Installation<'_> {
    /// The newest notifications, of a DAG or in a state.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn notifications(
        &self,
        dag: Option<&str>,
        state: Option<&str>,
        most: usize,
    ) -> anyhow::Result<Vec<Notification>> {
        match self {
            Self::Here(here) => {
                let dag = dag.map(DagId::new).transpose().map_err(|error| Failure::missing(error.to_string()))?;
                let filter = Filter {
                    dag,
                    states: state.map(str::parse).transpose()?.into_iter().collect(),
                    limit: i64::try_from(most)?,
                    ..Filter::default()
                };
                let found = notifications::list(here.access.pool().await?, &filter).await?;
                Ok(found.into_iter().map(Notification::from).collect())
            }
            Self::Server(server) => {
                let given = [("dag_id", dag), ("state", state)];
                let query: Vec<(&str, &str)> =
                    given.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
                Ok(server.first(&["notifications"], "notifications", &query, most).await?)
            }
        }
    }
}
