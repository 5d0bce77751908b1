//! Pulls XComs of the attempt's own run, for templates and for Python code alike, with Airflow's rules.

use link::{FetchItem, FetchKey, TaskContext};
use model::{MapIndex, TaskId, TaskIdx, TiKey, door::inexact};
use serde_json::Value;

use crate::Host;

/// The longest key, in characters, as in Airflow.
const KEY_CHARS_MAX: usize = 512;

/// Why a text is no value of an XCom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// It is no JSON.
    NotJson(String),
    /// It holds a whole number that does not fit, this one.
    NotExact(String),
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotJson(error) => f.write_str(error),
            Self::NotExact(number) => {
                write!(f, "the whole number {number} has more than 64 bits and would not be exact; write it as a text")
            }
        }
    }
}

/// Reads JSON; a whole number that would be rounded is an error.
pub(crate) fn parse(text: &str) -> Result<Value, ParseError> {
    let value = serde_json::from_str(text).map_err(|error| ParseError::NotJson(error.to_string()))?;
    match inexact(text) {
        Some(number) => Err(ParseError::NotExact(number.to_owned())),
        None => Ok(value),
    }
}

/// What is wrong with the key of an XCom.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    let chars = key.chars().count();
    if key.is_empty() {
        return Err("the key of an XCom is empty; give it a name".to_owned());
    }
    if chars > KEY_CHARS_MAX {
        let begin: String = key.chars().take(40).collect();
        return Err(format!(
            "the key of an XCom, {begin:?}…, has {chars} characters, over the limit of {KEY_CHARS_MAX}"
        ));
    }
    if key.contains('\0') {
        return Err(format!("the key of an XCom, {key:?}, has a NUL, which PostgreSQL can not hold"));
    }
    Ok(())
}

/// What to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pull {
    /// Whose; the task's own when absent.
    pub(crate) tasks: Option<Tasks>,
    /// Which key.
    pub(crate) key: String,
    /// Which instances of expanded tasks; all when absent.
    pub(crate) map_indexes: Option<Indexes>,
}

/// Task ids; a list gives a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum Tasks {
    /// One value.
    One(String),
    /// A list of values.
    Many(Vec<String>),
}

/// Map indexes; a list gives a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum Indexes {
    /// One value.
    One(MapIndex),
    /// A list of values.
    Many(Vec<MapIndex>),
}

/// XComs could not be pulled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PullError {
    /// The DAG has no such task.
    #[error("xcom_pull names the task {0:?}, which this DAG does not have")]
    NoSuchTask(String),
    /// The leader could not answer.
    #[error("xcom_pull from {task:?}: {detail}")]
    Unavailable {
        /// The task.
        task: String,
        /// Why.
        detail: String,
    },
}

/// Pulls; what was never pushed is null.
pub(crate) async fn pull(host: &dyn Host, context: &TaskContext, own: TiKey, pull: &Pull) -> Result<Value, PullError> {
    match &pull.tasks {
        None => of_task(host, own.task, context.task_id.as_str(), pull).await,
        Some(Tasks::One(task)) => of_task(host, number(context, task)?, task, pull).await,
        Some(Tasks::Many(tasks)) => {
            let mut values = Vec::with_capacity(tasks.len());
            for task in tasks {
                values.push(of_task(host, number(context, task)?, task, pull).await?);
            }
            Ok(Value::Array(values))
        }
    }
}

fn number(context: &TaskContext, task: &str) -> Result<TaskIdx, PullError> {
    let known = TaskId::new(task).ok().and_then(|task| context.task_numbers.get(&task).copied());
    known.ok_or_else(|| PullError::NoSuchTask(task.to_owned()))
}

async fn of_task(host: &dyn Host, task: TaskIdx, name: &str, pull: &Pull) -> Result<Value, PullError> {
    let one = |map_index| async move { Ok(values(host, task, name, Some(map_index), &pull.key).await?.pop()) };
    match &pull.map_indexes {
        Some(Indexes::One(index)) => Ok(one(*index).await?.unwrap_or_default()),
        Some(Indexes::Many(indexes)) => {
            let mut found = Vec::new();
            for index in indexes {
                found.extend(one(*index).await?);
            }
            Ok(Value::Array(found))
        }
        // Only an expanded task has no value of its own, and then its instances give a list.
        None => match one(MapIndex::UNMAPPED).await? {
            Some(value) => Ok(value),
            None => {
                let all = values(host, task, name, None, &pull.key).await?;
                Ok(if all.is_empty() { Value::Null } else { Value::Array(all) })
            }
        },
    }
}

async fn values(
    host: &dyn Host,
    task: TaskIdx,
    name: &str,
    map_index: Option<MapIndex>,
    key: &str,
) -> Result<Vec<Value>, PullError> {
    match host.fetch(FetchKey::XCom { task, map_index, key: key.to_owned() }).await {
        FetchItem::XCom(values) => Ok(values),
        FetchItem::Missing(_) => Ok(Vec::new()),
        other => Err(PullError::Unavailable { task: name.to_owned(), detail: other.misfit() }),
    }
}
