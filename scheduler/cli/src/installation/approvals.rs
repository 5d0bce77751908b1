//! Questions that tasks have put to people: listed and answered.

use anyhow::Context;
use model::{
    Command, TaskState, Timestamp,
    command::{AnswerQuestion, TaskInstanceName},
    door::Text,
    operator::HitlUser,
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::read::{self, QuestionFilter, QuestionView, Window};

use super::{
    Installation,
    dags::{conf_object, dag_error},
    runs::run_at,
    tasks::task_error,
};
use crate::{access::caller, commands::instances::TaskName, exit::Failure, find};

/// So many questions are listed.
const LISTED_MAX: i64 = 1_000;

/// A question of a task.
#[derive(Debug, Clone)]
pub struct ApprovalView {
    /// Its DAG.
    pub dag_id: String,
    /// Its run.
    pub run_id: String,
    /// The task.
    pub task_id: String,
    /// Which instance of it.
    pub map_index: i32,
    /// The question.
    pub subject: String,
    /// What can be answered.
    pub options: Vec<String>,
    /// When it was put.
    pub created_at: Timestamp,
    /// What was chosen; none while it waits.
    pub chosen_options: Option<Vec<String>>,
    /// Who has answered.
    pub responded_by: Option<String>,
}

/// Which questions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalsWanted {
    /// Those that wait for an answer.
    Waiting,
    /// Those that have been answered, too.
    All,
}

/// An answer that somebody gives.
pub struct AnswerWish {
    /// The task that asks.
    pub task: TaskName,
    /// What is chosen.
    pub options: Vec<String>,
    /// Values for the params that are asked for, as they were written.
    pub input: Option<String>,
}

impl From<QuestionView> for ApprovalView {
    fn from(view: QuestionView) -> Self {
        let (chosen, by) = view.response.map(|given| (given.chosen_options, given.user)).unzip();
        Self {
            dag_id: view.dag_id.to_string(),
            run_id: view.run_id.to_string(),
            task_id: view.task_id.to_string(),
            map_index: view.key.map.get(),
            subject: view.subject,
            options: view.options,
            created_at: view.created_at,
            chosen_options: chosen,
            responded_by: by.flatten().map(|user| user.id),
        }
    }
}

/// A question as the API writes it.
#[derive(Deserialize)]
struct Detail {
    subject: String,
    options: Vec<String>,
    created_at: Timestamp,
    chosen_options: Option<Vec<String>>,
    responded_by_user: Option<HitlUser>,
    task_instance: Asking,
}

#[derive(Deserialize)]
struct Asking {
    dag_id: String,
    dag_run_id: String,
    task_id: String,
    map_index: i32,
}

impl From<Detail> for ApprovalView {
    fn from(detail: Detail) -> Self {
        Self {
            dag_id: detail.task_instance.dag_id,
            run_id: detail.task_instance.dag_run_id,
            task_id: detail.task_instance.task_id,
            map_index: detail.task_instance.map_index,
            subject: detail.subject,
            options: detail.options,
            created_at: detail.created_at,
            chosen_options: detail.chosen_options,
            responded_by: detail.responded_by_user.map(|user| user.id),
        }
    }
}

impl Installation<'_> {
    /// Questions of tasks, the oldest first.
    ///
    /// # Errors
    /// When there is no such DAG.
    pub async fn approvals(&self, dag_id: Option<&str>, wanted: ApprovalsWanted) -> anyhow::Result<Vec<ApprovalView>> {
        let waiting = wanted == ApprovalsWanted::Waiting;
        match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                let dag_id = match dag_id {
                    Some(dag_id) => Some(find::dag(pool, dag_id).await?.dag_id),
                    None => None,
                };
                let filter = QuestionFilter {
                    dag_id,
                    states: if waiting { vec![TaskState::AwaitingInput] } else { Vec::new() },
                    is_answered: waiting.then_some(false),
                    window: Window { limit: LISTED_MAX, offset: 0 },
                    ..QuestionFilter::default()
                };
                Ok(read::questions(pool, &filter).await?.0.into_iter().map(ApprovalView::from).collect())
            }
            Self::Server(server) => {
                let path = ["dags", dag_id.unwrap_or("~"), "dagRuns", "~", "hitlDetails"];
                let open = [("state", TaskState::AwaitingInput.name()), ("response_received", "false")];
                let order = [("order_by", "created_at")];
                let query = if waiting { [&order[..], &open].concat() } else { order.to_vec() };
                match server.first::<Detail>(&path, "hitl_details", &query, usize::try_from(LISTED_MAX)?).await {
                    Ok(found) => Ok(found.into_iter().map(ApprovalView::from).collect()),
                    Err(error) => Err(match dag_id {
                        Some(dag_id) => dag_error(server, error, dag_id).await,
                        None => error.into(),
                    }),
                }
            }
        }
    }

    /// Answers the question of a task.
    ///
    /// # Errors
    /// When it asks nothing, is answered already, or the answer does not fit.
    pub async fn answer(&self, wish: AnswerWish) -> anyhow::Result<()> {
        let AnswerWish { task: name, options, input } = wish;
        let input = conf_object(input.as_deref())?;
        let map_index = name.map().unwrap_or(model::MapIndex::UNMAPPED);
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let run = run_at(server, &name.run).await?;
                let map = map_index.to_string();
                let (dag, run) = (run.dag_id.as_str(), run.run_id.as_str());
                let path = ["dags", dag, "dagRuns", run, "taskInstances", &name.task_id, &map, "hitlDetails"];
                let body = json!({ "chosen_options": options, "params_input": input.into_map() });
                return match server.patch::<Value>(&path, &[], &body).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(task_error(self, error, &name.run, &name.task_id).await),
                };
            }
        };
        let found = find::run(here.access.pool().await?, &name.run.dag_id, &name.run.run_id).await?;
        let task_id = found.task(&name.task_id)?;
        let asking = found.version.dag.position(&task_id).map(|pos| &found.version.dag.task(pos).operator);
        if let Some(asking) = asking.and_then(model::Operator::asking) {
            dag::check_input(asking, input.get()).map_err(|wrong| Failure::refused(wrong.join("; ")))?;
        }
        let text = |option| Text::new(option).context("--option");
        let command = AnswerQuestion {
            instance: TaskInstanceName { dag_id: found.run.dag_id, run_id: found.run.run_id, task_id, map_index },
            chosen_options: options.into_iter().map(text).collect::<anyhow::Result<_>>()?,
            params_input: input,
            user: HitlUser::named(caller()),
        };
        here.access.command(Command::AnswerQuestion(command)).await.map(drop)
    }
}
