//! The graph tab: the picture of the current version with the states of the newest run.

use std::collections::BTreeMap;

use model::TaskState;
use store::read::{self, RunBrief, TaskCell, Version};

use super::super::{
    picture::{Face, Shown},
    run_url, segment,
    state::Badge,
    words::{self, Clock},
};
use crate::{app::App, error::ApiResult};

/// The picture; none when the DAG has too much for one.
///
/// # Errors
/// When PostgreSQL does not answer.
pub(super) async fn picture(
    app: &App,
    version: &Version,
    newest: Option<&RunBrief>,
    clock: Clock,
) -> ApiResult<Option<Shown>> {
    let Some(picture) = app.pictures.of(version) else { return Ok(None) };
    let keys: Vec<_> = newest.iter().map(|run| run.key).collect();
    let stored: BTreeMap<_, _> =
        read::task_cells(&app.pool, &keys).await?.into_iter().map(|cell| (cell.task, cell)).collect();
    let face = |pos: dag::TaskPos| {
        let task = version.dag.task(pos);
        let cell = stored.get(&version.task_idx[pos.0]);
        let badge = Badge::from(cell.map_or(TaskState::NoStatus, |cell| cell.state));
        // The last end says nothing while an instance goes on.
        let ended = |cell: &TaskCell| cell.ended_at.filter(|_| cell.state.is_finished()).unwrap_or(clock.now);
        let took = cell.and_then(|cell| Some(words::between(cell.started_at?, ended(cell))));
        let stand = match (newest, took) {
            (None, _) => task.operator.name().to_owned(),
            (Some(_), Some(took)) => format!("{} · {took}", badge.word),
            (Some(_), None) => format!("{} · {}", task.operator.name(), badge.word),
        };
        let page =
            |run: &RunBrief| format!("{}/tasks/{}", run_url(&run.dag_id, &run.run_id), segment(task.task_id.as_str()));
        Face {
            badge,
            stand,
            full_name: task.task_id.to_string(),
            url: newest.map(page).unwrap_or_default(),
            chosen: false,
        }
    };
    Ok(Some(picture.shown(face)))
}
