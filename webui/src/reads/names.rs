//! What DAGs are called, for answers that know their ids alone.

use std::collections::BTreeMap;

use store::read;

use crate::{app::App, error::ApiResult};

/// Names of DAGs by their ids; one that has none of its own is called by its id.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Those of some DAGs.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn of<'d>(app: &App, dags: impl IntoIterator<Item = &'d str>) -> ApiResult<Self> {
        let mut dags: Vec<String> = dags.into_iter().map(str::to_owned).collect();
        dags.sort_unstable();
        dags.dedup();
        if dags.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(read::display_names(&app.pool, &dags).await?))
    }

    /// That of a DAG.
    #[must_use]
    pub fn name(&self, dag_id: &str) -> String {
        self.0.get(dag_id).map_or_else(|| dag_id.to_owned(), Clone::clone)
    }
}
