//! What an id on the command line names; a wrong one gets near matches, and how to list them all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use engine::RunRow;
use model::{DagId, MapIndex, RunId, TaskId, TiKey};
use sqlx::PgPool;
use store::read::{self, DagView, Direction, Instance, RunFilter, RunOrder, Version};

use crate::exit::Failure;

/// Below this likeness a name is no near match.
const LIKENESS_MIN: f64 = 0.6;
/// So many near matches are named.
const NEAR_MAX: usize = 3;
/// So many of the newest runs are looked through for near matches.
const RUNS_MAX: i64 = 200;
/// A new installation's folder is read file by file; the lease rises each second, so below this it may be at it still.
const LEASE_OF_THE_NEW: i64 = 10;
/// So long an unknown DAG of a new installation is waited for.
const FOLDER_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Stands for the newest run, unless a run has this very name.
pub const LATEST: &str = "latest";

/// A run with what its rows mean.
pub struct Found {
    /// The run.
    pub run: RunRow,
    /// The version that it is pinned to.
    pub version: Arc<Version>,
}

/// A DAG. One that is asked for while the leader of a new installation reads its folder is waited for.
///
/// # Errors
/// When there is none of this id.
pub async fn dag(pool: &PgPool, id: &str) -> anyhow::Result<DagView> {
    let since = Instant::now();
    while let Ok(id) = DagId::new(id) {
        if let Some(found) = read::dag(pool, &id).await? {
            return Ok(found);
        }
        let leader = read::leader(pool).await?;
        let is_new = !leader.holder.is_empty() && leader.lease < LEASE_OF_THE_NEW;
        if !is_new || since.elapsed() > FOLDER_WITHIN {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let known: Vec<String> = read::dags(pool).await?.into_iter().map(|dag| dag.dag_id.to_string()).collect();
    Err(missing("DAG", id, &known, "windlass dags list"))
}

/// A run by its id, or the newest for `latest`.
///
/// # Errors
/// When there is none.
pub async fn run(pool: &PgPool, dag_id: &str, run_id: &str) -> anyhow::Result<Found> {
    let dag = dag(pool, dag_id).await?.dag_id;
    let run = match RunId::new(run_id) {
        Ok(id) => read::run(pool, &dag, &id).await?,
        Err(_) => None,
    };
    let run = match run {
        Some(run) => run,
        None => newest_or_near(pool, &dag, run_id).await?,
    };
    let version = read::version(pool, run.version).await?.context("the run's DAG version is gone")?;
    Ok(Found { run, version: Arc::new(version) })
}

async fn newest_or_near(pool: &PgPool, dag: &DagId, run_id: &str) -> anyhow::Result<RunRow> {
    let filter = RunFilter {
        dag_ids: vec![dag.clone()],
        order: vec![(RunOrder::RunAfter, Direction::Descending)],
        limit: RUNS_MAX,
        ..RunFilter::default()
    };
    let (runs, _) = read::runs(pool, &filter).await?;
    if run_id == LATEST {
        return runs.into_iter().next().ok_or_else(|| no_run(dag.as_str()));
    }
    let known: Vec<String> = runs.iter().map(|run| run.run_id.to_string()).collect();
    Err(missing_run(dag.as_str(), run_id, &known))
}

/// A DAG that has no newest run.
#[must_use]
pub fn no_run(dag: &str) -> anyhow::Error {
    Failure::missing(format!("{dag} has no run yet; `windlass dags trigger {dag}` starts one"))
}

/// A DAG has no run of this id.
#[must_use]
pub fn missing_run(dag: &str, run_id: &str, known: &[String]) -> anyhow::Error {
    missing(&format!("run of {dag}"), run_id, known, &format!("windlass runs list {dag}"))
}

/// A DAG has no task of this id.
#[must_use]
pub fn missing_task(dag: &str, task_id: &str, known: &[String]) -> anyhow::Error {
    missing(&format!("task of {dag}"), task_id, known, &format!("windlass tasks list {dag}"))
}

impl Found {
    /// The id of a task of the run.
    ///
    /// # Errors
    /// When its version has none of this id.
    pub fn task(&self, id: &str) -> anyhow::Result<TaskId> {
        task(&self.version, id)
    }

    /// The stored instance of a task, when it has begun.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn instance(
        &self,
        pool: &PgPool,
        task: &TaskId,
        map: Option<MapIndex>,
    ) -> anyhow::Result<Option<Instance>> {
        let pos = self.version.dag.position(task).context("the task was looked up before")?;
        let number = self.version.task_idx[pos.0];
        let key = TiKey { run: self.run.key, task: number, map: map.unwrap_or(MapIndex::UNMAPPED) };
        if let Some(found) = read::instances_at(pool, [key]).await?.pop() {
            return Ok(Some(found));
        }
        let others = read::instances_of_tasks(pool, self.run.key, &[number], 1).await?;
        match map {
            Some(map) => Err(Failure::missing(format!(
                "{task} has no instance {map} in this run; `windlass tasks states-for-dag-run` lists them"
            ))),
            None if !others.is_empty() => Err(Failure::missing(format!(
                "{task} is expanded in this run: say by --map-index which instance is meant"
            ))),
            None => Ok(None),
        }
    }
}

/// A task of a version.
///
/// # Errors
/// When it has none of this id.
pub fn task(version: &Version, id: &str) -> anyhow::Result<TaskId> {
    let known: Vec<String> = version.dag.tasks.iter().map(|task| task.task_id.to_string()).collect();
    if !known.iter().any(|name| name == id) {
        return Err(missing_task(version.dag.dag_id.as_str(), id, &known));
    }
    match TaskId::new(id) {
        Ok(task) => Ok(task),
        Err(error) => bail!("{error}"),
    }
}

/// What is not there, what was perhaps meant, and how to list what there is.
#[must_use]
pub fn missing(what: &str, id: &str, known: &[String], list: &str) -> anyhow::Error {
    let near = near(id, known);
    let guess = if near.is_empty() { String::new() } else { format!(" did you mean {}?", near.join(" or ")) };
    Failure::missing(format!("there is no {what} named {id};{guess} `{list}` lists them"))
}

/// Names that are like a word, the likest first.
fn near<'k>(word: &str, known: &'k [String]) -> Vec<&'k str> {
    // The first sees a long name with a part missing, the second two letters of a short one that are swapped.
    let likeness = |name: &str| {
        let (word, name) = (word.to_lowercase(), name.to_lowercase());
        strsim::jaro_winkler(&word, &name).max(strsim::normalized_damerau_levenshtein(&word, &name))
    };
    let mut like: Vec<(f64, &str)> = known
        .iter()
        .map(|name| (likeness(name), name.as_str()))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    like.into_iter().take(NEAR_MAX).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_id_gets_near_matches_and_the_way_to_all() {
        let known = ["stock_data_pipeline", "hello", "stock_report"].map(str::to_owned);
        let text = missing("DAG", "stok_data_pipeline", &known, "windlass dags list").to_string();
        assert_eq!(
            text,
            "there is no DAG named stok_data_pipeline; did you mean stock_data_pipeline or stock_report? `windlass dags list` lists them"
        );
        let text = missing("DAG", "elt", &["etl".to_owned()], "windlass dags list").to_string();
        assert!(text.contains("did you mean etl?"), "{text}");
        let text = missing("DAG", "zzz", &known, "windlass dags list").to_string();
        assert_eq!(text, "there is no DAG named zzz; `windlass dags list` lists them");
    }
}
