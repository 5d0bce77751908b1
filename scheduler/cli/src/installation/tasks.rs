//! Tasks of DAGs, and single tasks of runs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use link::{Query, Reply};
use model::{
    MapIndex, TaskState,
    command::{ClearEffect, Command, MarkTaskInstances, Relatives, TaskSelector},
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::read;

use super::{
    Installation,
    dags::dag_error,
    runs::{InstanceView, run_at, waits_for},
};
use crate::{
    ask::Leader,
    commands::{instances::TaskName, runs::RunName},
    find,
    server::{Server, ServerError},
};

/// A task of a DAG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its id.
    pub task_id: String,
    /// Its operator.
    pub operator: String,
    /// When it may run.
    pub trigger_rule: String,
    /// What it follows directly.
    pub upstream: Vec<String>,
}

/// A task as the API writes it.
#[derive(Deserialize)]
struct Answer {
    task_id: String,
    operator_name: Option<String>,
    trigger_rule: Option<String>,
    #[serde(default)]
    downstream_task_ids: Vec<String>,
}

impl Installation<'_> {
    /// The tasks of a DAG, in an order in which they may run.
    ///
    /// # Errors
    /// When there is no such DAG.
    pub async fn tasks(&self, dag_id: &str) -> anyhow::Result<Vec<TaskRow>> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                #[derive(Deserialize)]
                struct Tasks {
                    tasks: Vec<Answer>,
                }
                return match server.get::<Tasks>(&["dags", dag_id, "tasks"], &[]).await {
                    Ok(found) => Ok(in_order(found.tasks)),
                    Err(error) => Err(dag_error(server, error, dag_id).await),
                };
            }
        };
        let pool = here.access.pool().await?;
        let view = find::dag(pool, dag_id).await?;
        let version = read::version(pool, view.current).await?.context("the DAG's version is gone")?;
        let row = |task: &dag::Task| TaskRow {
            task_id: task.task_id.to_string(),
            operator: task.operator.name().to_owned(),
            trigger_rule: task.trigger_rule.name().to_owned(),
            upstream: task.upstream.iter().map(|pos| version.dag.task(*pos).task_id.to_string()).collect(),
        };
        Ok(version.dag.tasks.iter().map(row).collect())
    }

    /// Sets a task of a run to a state.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn mark_task(&self, name: &TaskName, state: TaskState) -> anyhow::Result<()> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let run = run_at(server, &name.run).await?;
                let map = name.map().map(|map| map.to_string());
                let path =
                    ["dags", run.dag_id.as_str(), "dagRuns", run.run_id.as_str(), "taskInstances", &name.task_id];
                let path: Vec<&str> = path.into_iter().chain(map.as_deref()).collect();
                let body = json!({ "new_state": state.name() });
                return match server.patch::<Value>(&path, &[], &body).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(task_error(self, error, &name.run, &name.task_id).await),
                };
            }
        };
        let found = find::run(here.access.pool().await?, &name.run.dag_id, &name.run.run_id).await?;
        let task_id = found.task(&name.task_id)?;
        let command = MarkTaskInstances {
            dag_id: found.run.dag_id,
            run_id: found.run.run_id,
            also: Vec::new(),
            tasks: vec![TaskSelector { task_id, map_index: name.map() }],
            relatives: Relatives::default(),
            state,
            effect: ClearEffect::Apply,
        };
        here.access.command(Command::MarkTaskInstances(command)).await.map(drop)
    }

    /// What a task of a run waits for, or how it stands, in one sentence.
    ///
    /// # Errors
    /// When there is no such task, or nobody can say it.
    pub async fn why_task(&self, name: &TaskName) -> anyhow::Result<String> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => return self.why_task_at(server, name).await,
        };
        let pool = here.access.pool().await?;
        let found = find::run(pool, &name.run.dag_id, &name.run.run_id).await?;
        let task_id = found.task(&name.task_id)?;
        let instance = found.instance(pool, &task_id, name.map()).await?;
        let state = instance.as_ref().map_or(TaskState::NoStatus, |instance| instance.row.state);
        if found.run.state.is_finished() || state.is_finished() {
            let reason = instance.and_then(|instance| instance.row.extra.reason);
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            return Ok(format!("{task_id} is {state}{reason}; the run is {}", found.run.state));
        }
        let question = Query::WhyTask {
            dag_id: found.run.dag_id.clone(),
            run_id: found.run.run_id.clone(),
            task_id,
            map_index: name.map().unwrap_or(MapIndex::UNMAPPED),
        };
        match Leader::find(here.settings).await?.ask(question).await? {
            Reply::Why { sentence, .. } => Ok(sentence),
            Reply::NotFound { detail } => Ok(detail),
            other => bail!("the leader answered with {other:?}"),
        }
    }

    async fn why_task_at(&self, server: &Server, name: &TaskName) -> anyhow::Result<String> {
        let run = run_at(server, &name.run).await?;
        let task_id = &name.task_id;
        let state = self.instance_at(server, name).await?.state.unwrap_or(TaskState::NoStatus);
        let waits = !run.state.is_finished() && !state.is_finished();
        let sentence = if waits { waits_for(server, &run, task_id, name.map()).await? } else { None };
        Ok(sentence.unwrap_or_else(|| format!("{task_id} is {state}; the run is {}", run.state)))
    }

    /// A server's task of a run; one that does not exist gets near matches.
    pub(super) async fn instance_at(&self, server: &Server, name: &TaskName) -> anyhow::Result<InstanceView> {
        let (run, task_id) = (&name.run, name.task_id.as_str());
        let map = name.map().map(|map| map.to_string());
        let run = RunName { run_id: run_at(server, run).await?.run_id.to_string(), dag_id: run.dag_id.clone() };
        let path = ["dags", &run.dag_id, "dagRuns", &run.run_id, "taskInstances", task_id];
        let path: Vec<&str> = path.into_iter().chain(map.as_deref()).collect();
        match server.get(&path, &[]).await {
            Ok(instance) => Ok(instance),
            Err(error) => Err(task_error(self, error, &run, task_id).await),
        }
    }
}

/// What a server's refusal means for a task.
pub(super) async fn task_error(
    installation: &Installation<'_>,
    error: ServerError,
    run: &RunName,
    task_id: &str,
) -> anyhow::Error {
    if !error.is_missing() {
        return error.into();
    }
    match installation.tasks(&run.dag_id).await {
        Ok(known) if known.iter().all(|task| task.task_id != task_id) => {
            let known: Vec<String> = known.into_iter().map(|task| task.task_id).collect();
            find::missing_task(&run.dag_id, task_id, &known)
        }
        _ => error.into(),
    }
}

/// Tasks so that each comes behind all that it follows; else by their ids, as the server has them.
fn in_order(tasks: Vec<Answer>) -> Vec<TaskRow> {
    let mut upstream: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for task in &tasks {
        for follower in &task.downstream_task_ids {
            upstream.entry(follower.clone()).or_default().push(task.task_id.clone());
        }
    }
    let row = |task: Answer| TaskRow {
        operator: task.operator_name.unwrap_or_default(),
        trigger_rule: task.trigger_rule.unwrap_or_default(),
        upstream: upstream.remove(&task.task_id).unwrap_or_default(),
        task_id: task.task_id,
    };
    let mut left: Vec<TaskRow> = tasks.into_iter().map(row).collect();
    let mut placed = BTreeSet::new();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_ready = |task: &TaskRow| task.upstream.iter().all(|before| placed.contains(before));
        let (ready, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
        // Without a next one the server's answer goes round in a circle, or names tasks that it does not list.
        if ready.is_empty() {
            ordered.extend(rest);
            break;
        }
        placed.extend(ready.iter().map(|task| task.task_id.clone()));
        ordered.extend(ready);
        left = rest;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(task_id: &str, downstream: &[&str]) -> Answer {
        let downstream_task_ids = downstream.iter().map(|id| (*id).to_owned()).collect();
        Answer { task_id: task_id.to_owned(), operator_name: None, trigger_rule: None, downstream_task_ids }
    }

    #[test]
    fn tasks_come_behind_what_they_follow_and_none_is_lost() {
        let tasks = vec![answer("a", &[]), answer("b", &["a"]), answer("c", &["b", "a"])];
        let ordered = in_order(tasks);
        let ids: Vec<&str> = ordered.iter().map(|task| task.task_id.as_str()).collect();
        assert_eq!(ids, ["c", "b", "a"]);
        assert_eq!(ordered[2].upstream, ["b", "c"]);
        assert_eq!(in_order(vec![answer("x", &["y"]), answer("y", &["x"])]).len(), 2, "a circle ends");
    }
}
