//! Questions that tasks have put to people, with the instances that ask.

use std::{collections::BTreeMap, sync::Arc};

use model::{RunKey, TiKey};
use store::read::{self, QuestionFilter, QuestionView, Total};

use super::instances::{self, TaskOfRun};
use crate::{app::App, error::ApiResult};

/// A part of a list of questions, each with its instance, and how many there are in all.
///
/// # Errors
/// When PostgreSQL does not answer, or no index helps to find them.
pub async fn listed(app: &App, filter: &QuestionFilter) -> ApiResult<(Vec<(QuestionView, TaskOfRun)>, Total)> {
    let (found, total) = read::questions(&app.pool, filter).await?;
    let keys: Vec<TiKey> = found.iter().map(|question| question.key).collect();
    let mut of_runs: Vec<RunKey> = keys.iter().map(|key| key.run).collect();
    of_runs.dedup();
    let runs = read::runs_of(&app.pool, &of_runs).await?;
    let runs: BTreeMap<RunKey, _> = runs.into_iter().map(|run| (run.key, Arc::new(run))).collect();
    let mut asking: BTreeMap<TiKey, TaskOfRun> =
        instances::at(app, &runs, &keys).await?.into_iter().map(|of| (of.key, of)).collect();
    let with_instance = found.into_iter().filter_map(|question| {
        let of = asking.remove(&question.key)?;
        Some((question, of))
    });
    Ok((with_instance.collect(), total))
}

/// The question of an instance's current try.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn current(app: &App, of: &TaskOfRun) -> ApiResult<Option<QuestionView>> {
    if of.task().operator.asking().is_none() {
        return Ok(None);
    }
    let all = read::questions_of(&app.pool, of.key).await?;
    Ok(all.into_iter().find(|question| question.try_number.get() == of.try_number()))
}
