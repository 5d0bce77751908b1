//! Runs with their task instances, and what people do to them.

use std::{cmp::Ordering, collections::BTreeMap};

use engine::{RunRow, TiRow};
use link::{Query, Reply};
use model::{
    DagId, DagRunState, MapIndex, RunId, TaskIdx, TaskState, Timestamp,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, Command, Relatives, SetNote, TaskSelector},
    door::Note,
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::read::{self, Direction, RunFilter, RunOrder};

use super::{Installation, dags::dag_error};
use crate::{
    ask::Leader,
    commands::runs::RunName,
    find,
    find::LATEST,
    output::visible,
    server::{Server, ServerError},
};

/// So many of the newest runs are looked through for near matches.
const NEAR_RUNS_MAX: usize = 200;

/// A run.
#[derive(Debug, Clone, Deserialize)]
pub struct RunView {
    /// Its DAG.
    pub dag_id: DagId,
    /// Its id.
    #[serde(rename = "dag_run_id")]
    pub run_id: RunId,
    /// Its state.
    pub state: DagRunState,
    /// The earliest start.
    pub run_after: Timestamp,
    /// The date that it stands for.
    pub logical_date: Option<Timestamp>,
    /// When it began.
    pub start_date: Option<Timestamp>,
    /// When it ended.
    pub end_date: Option<Timestamp>,
    /// A remark.
    pub note: Option<String>,
}

impl From<RunRow> for RunView {
    fn from(row: RunRow) -> Self {
        Self {
            dag_id: row.dag_id,
            run_id: row.run_id,
            state: row.state,
            run_after: row.run_after,
            logical_date: row.logical_date,
            start_date: row.started_at,
            end_date: row.ended_at,
            note: row.note,
        }
    }
}

/// A task of a run.
#[derive(Debug, Clone, Deserialize)]
pub struct InstanceView {
    /// The task.
    pub task_id: String,
    /// Which instance of an expanded task; -1 for one that is not expanded.
    #[serde(default = "InstanceView::not_expanded")]
    pub map_index: i32,
    /// Its state; none when nothing has been decided.
    pub state: Option<TaskState>,
    /// Which try it is at.
    pub try_number: i16,
    /// When it began.
    pub start_date: Option<Timestamp>,
    /// When it ended.
    pub end_date: Option<Timestamp>,
    /// Why it is in its state; servers do not tell.
    #[serde(skip)]
    pub reason: Option<String>,
}

impl InstanceView {
    const fn not_expanded() -> i32 {
        MapIndex::UNMAPPED.get()
    }

    /// In the order in which they began; what has not begun comes last.
    fn by_start(&self, other: &Self) -> Ordering {
        let key = |one: &Self| (one.start_date.is_none(), one.start_date);
        let name = |one: &Self| (one.task_id.clone(), one.map_index);
        key(self).cmp(&key(other)).then_with(|| name(self).cmp(&name(other)))
    }
}

/// A run and its tasks at one moment.
pub struct RunLook {
    /// The run.
    pub run: RunView,
    /// Its tasks.
    pub instances: Vec<InstanceView>,
}

/// What is to run again.
pub struct ClearWish {
    /// Of which run.
    pub run: RunName,
    /// The task; the whole run when absent.
    pub task_id: Option<String>,
    /// Which instance of it; all when absent.
    pub map_index: Option<MapIndex>,
    /// Which tasks before and after it.
    pub relatives: Relatives,
    /// Which states.
    pub only: ClearOnly,
    /// Whether it is done.
    pub effect: ClearEffect,
    /// With which version.
    pub version: ClearVersion,
}

impl Installation<'_> {
    /// Runs, the newest first: of a DAG or of all, in a state or in any.
    ///
    /// # Errors
    /// When there is no such DAG.
    pub async fn runs(
        &self,
        dag_id: Option<&str>,
        state: Option<DagRunState>,
        limit: u32,
    ) -> anyhow::Result<Vec<RunView>> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let most = usize::try_from(limit)?;
                let state = state.map(|state| ("state", state.name()));
                return match newest(server, dag_id.unwrap_or("~"), state, most).await {
                    Ok(runs) => Ok(runs),
                    Err(error) => Err(dag_error(server, error, dag_id.unwrap_or_default()).await),
                };
            }
        };
        let pool = here.access.pool().await?;
        let dag_ids = match dag_id {
            Some(id) => vec![find::dag(pool, id).await?.dag_id],
            None => Vec::new(),
        };
        let filter = RunFilter {
            dag_ids,
            states: state.into_iter().collect(),
            order: vec![(RunOrder::RunAfter, Direction::Descending)],
            limit: i64::from(limit),
            ..RunFilter::default()
        };
        Ok(read::runs(pool, &filter).await?.0.into_iter().map(RunView::from).collect())
    }

    /// A run by its id, or the newest for `latest`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn run(&self, name: &RunName) -> anyhow::Result<RunView> {
        match self {
            Self::Here(here) => Ok(find::run(here.access.pool().await?, &name.dag_id, &name.run_id).await?.run.into()),
            Self::Server(server) => run_at(server, name).await,
        }
    }

    /// A run and its tasks as they are now.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn look(&self, name: &RunName) -> anyhow::Result<RunLook> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let run = run_at(server, name).await?;
                let path = ["dags", run.dag_id.as_str(), "dagRuns", run.run_id.as_str(), "taskInstances"];
                let mut instances: Vec<InstanceView> = server.list(&path, "task_instances", &[]).await?;
                instances.sort_by(InstanceView::by_start);
                return Ok(RunLook { run, instances });
            }
        };
        let pool = here.access.pool().await?;
        let found = find::run(pool, &name.dag_id, &name.run_id).await?;
        let mut rows: BTreeMap<TaskIdx, Vec<TiRow>> = BTreeMap::new();
        for instance in read::instances(pool, &[found.run.key]).await? {
            rows.entry(instance.row.key.task).or_default().push(instance.row);
        }
        let view = |(task, number): (&dag::Task, &TaskIdx)| {
            let one = |map_index, row: Option<&TiRow>| InstanceView {
                task_id: task.task_id.to_string(),
                map_index,
                state: row.map(|row| row.state).filter(|state| *state != TaskState::NoStatus),
                try_number: row.map_or(0, |row| row.try_number.get()),
                start_date: row.and_then(|row| row.started_at),
                end_date: row.and_then(|row| row.ended_at),
                reason: row.and_then(|row| row.extra.reason.clone()),
            };
            match rows.get(number) {
                Some(rows) => rows.iter().map(|row| one(row.key.map.get(), Some(row))).collect(),
                None => vec![one(MapIndex::UNMAPPED.get(), None)],
            }
        };
        let instances = found.version.dag.tasks.iter().zip(&found.version.task_idx).flat_map(view).collect();
        Ok(RunLook { run: found.run.into(), instances })
    }

    /// What a run that has not ended waits for, in one sentence.
    ///
    /// # Errors
    /// When nobody can say it.
    pub async fn why_run(&self, look: &RunLook) -> anyhow::Result<Option<String>> {
        let RunLook { run, instances } = look;
        match self {
            Self::Here(here) => {
                let question = Query::WhyRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() };
                match Leader::find(here.settings).await?.ask(question).await? {
                    Reply::Why { sentence, .. } => Ok(Some(visible(&sentence))),
                    _ => Ok(None),
                }
            }
            // A server says it of tasks alone: the first that waits stands for the run.
            Self::Server(server) => {
                let waits = |one: &&InstanceView| {
                    one.state.is_none_or(|state| !state.is_finished() && state != TaskState::Running)
                };
                match instances.iter().find(waits) {
                    Some(one) => {
                        waits_for(server, run, &one.task_id, Some(MapIndex(one.map_index)).filter(|map| map.get() >= 0))
                            .await
                    }
                    None => Ok(None),
                }
            }
        }
    }

    /// Clears, or says what would be cleared: the ids of the tasks.
    ///
    /// # Errors
    /// When there is no such run or task, or it is refused.
    pub async fn clear(&self, wish: &ClearWish) -> anyhow::Result<Vec<String>> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => return clear_at(server, wish).await,
        };
        let found = find::run(here.access.pool().await?, &wish.run.dag_id, &wish.run.run_id).await?;
        let task = wish.task_id.as_ref().map(|task| found.task(task)).transpose()?;
        let command = ClearTaskInstances {
            tasks: task.into_iter().map(|task_id| TaskSelector { task_id, map_index: wish.map_index }).collect(),
            relatives: wish.relatives,
            only: wish.only,
            effect: wish.effect,
            version: wish.version,
            ..ClearTaskInstances::of_run(found.run.dag_id, found.run.run_id)
        };
        let answer = here.access.command(Command::ClearTaskInstances(command)).await?;
        let named = answer["task_instances"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |one: &Value| {
            let id = one["task_id"].as_str()?;
            Some(instance_name(id, i32::try_from(one["map_index"].as_i64()?).ok()?))
        };
        Ok(named.iter().filter_map(name).collect())
    }

    /// Sets a run to a state.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn mark_run(&self, run: &RunView, state: DagRunState) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => {
                let (dag_id, run_id) = (run.dag_id.clone(), run.run_id.clone());
                here.access.command(Command::MarkDagRun { dag_id, run_id, state }).await.map(drop)
            }
            Self::Server(server) => {
                server.patch::<Value>(&path_of(run), &[], &json!({ "state": state.name() })).await?;
                Ok(())
            }
        }
    }

    /// Leaves a remark on a run, or takes it away.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn note_run(&self, run: &RunView, note: Option<Note>) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => {
                let (dag_id, run_id) = (run.dag_id.clone(), run.run_id.clone());
                let wish = SetNote { dag_id, run_id, tasks: Vec::new(), note };
                here.access.command(Command::SetNote(wish)).await.map(drop)
            }
            Self::Server(server) => {
                server.patch::<Value>(&path_of(run), &[], &json!({ "note": note })).await?;
                Ok(())
            }
        }
    }

    /// Deletes a run with everything that belongs to it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete_run(&self, run: &RunView) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => {
                let (dag_id, run_id) = (run.dag_id.clone(), run.run_id.clone());
                here.access.command(Command::DeleteDagRun { dag_id, run_id }).await.map(drop)
            }
            Self::Server(server) => Ok(server.delete(&path_of(run)).await?),
        }
    }
}

fn path_of(run: &RunView) -> [&str; 4] {
    ["dags", run.dag_id.as_str(), "dagRuns", run.run_id.as_str()]
}

async fn newest(
    server: &Server,
    dag_id: &str,
    state: Option<(&str, &str)>,
    most: usize,
) -> Result<Vec<RunView>, ServerError> {
    let query: Vec<_> = std::iter::once(("order_by", "-run_after")).chain(state).collect();
    server.first(&["dags", dag_id, "dagRuns"], "dag_runs", &query, most).await
}

/// A server's run; one that does not exist gets near matches.
pub(super) async fn run_at(server: &Server, name: &RunName) -> anyhow::Result<RunView> {
    let RunName { dag_id, run_id } = name;
    let error = match server.get(&["dags", dag_id, "dagRuns", run_id], &[]).await {
        Ok(run) => return Ok(run),
        Err(error) if error.is_missing() => error,
        Err(error) => return Err(error.into()),
    };
    let mut runs = match newest(server, dag_id, None, NEAR_RUNS_MAX).await {
        Ok(runs) => runs,
        Err(_) => return Err(dag_error(server, error, dag_id).await),
    };
    if run_id != LATEST {
        let known: Vec<String> = runs.iter().map(|run| run.run_id.to_string()).collect();
        return Err(find::missing_run(dag_id, run_id, &known));
    }
    if runs.is_empty() { Err(find::no_run(dag_id)) } else { Ok(runs.swap_remove(0)) }
}

/// What a server says that a task of a run waits for.
pub(super) async fn waits_for(
    server: &Server,
    run: &RunView,
    task_id: &str,
    map: Option<MapIndex>,
) -> anyhow::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Reasons {
        dependencies: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        reason: String,
    }
    let map = map.map(|map| map.to_string());
    let one: Vec<&str> = ["taskInstances", task_id].into_iter().chain(map.as_deref()).chain(["dependencies"]).collect();
    let path = [&path_of(run)[..], &one[..]].concat();
    let found: Reasons = server.get(&path, &[]).await?;
    Ok(found.dependencies.into_iter().next().map(|one| visible(&one.reason)))
}

async fn clear_at(server: &Server, wish: &ClearWish) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Touched {
        task_instances: Vec<InstanceView>,
    }
    let run = run_at(server, &wish.run).await?;
    let mut body = json!({
        "dag_run_id": run.run_id,
        "dry_run": wish.effect == ClearEffect::DryRun,
        "only_failed": wish.only == ClearOnly::Failed,
        "only_running": wish.only == ClearOnly::Running,
        "include_upstream": wish.relatives.upstream,
        "include_downstream": wish.relatives.downstream,
        "run_on_latest_version": wish.version == ClearVersion::Latest,
    });
    if let Some(task_id) = &wish.task_id {
        body["task_ids"] = match wish.map_index {
            Some(map) => json!([[task_id, map]]),
            None => json!([task_id]),
        };
    }
    let touched: Touched = server.post(&["dags", run.dag_id.as_str(), "clearTaskInstances"], &body).await?;
    Ok(touched.task_instances.into_iter().map(|one| instance_name(&one.task_id, one.map_index)).collect())
}

/// A task, and which instance when it is expanded.
fn instance_name(task_id: &str, map_index: i32) -> String {
    if map_index < 0 { task_id.to_owned() } else { format!("{task_id}[{map_index}]") }
}
