//! What a worker that was killed has left on an engine.

use std::collections::BTreeSet;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as Stage};
use model::AttemptId;
use uuid::Uuid;

use super::{DockerError, engine::Engine, labels};

/// What was found on one engine.
#[derive(Debug, Default)]
pub struct Left {
    /// Attempts with a container that runs, or has ended: they can be taken up.
    pub attempts: BTreeSet<AttemptId>,
    /// How many containers were removed.
    pub removed: usize,
}

/// Looks for a worker's containers. Those of `known` attempts stay; whatever else may run is removed: services, whose
/// supervisor starts new ones, and attempts that nobody knows of any more. A stopped container that nobody waits for stays:
/// its task asked for that.
///
/// # Errors
/// [`DockerError`] when the engine can not be asked.
pub async fn left_by(worker: Uuid, url: Option<&str>, known: &BTreeSet<AttemptId>) -> Result<Left, DockerError> {
    let engine = Engine::connect(url).await?;
    let mut left = Left::default();
    for container in engine.labelled(labels::worker_is(worker)).await? {
        match attempt_of(&container) {
            Some(attempt) if known.contains(&attempt) => {
                left.attempts.insert(attempt);
            }
            Some(_) if matches!(container.state, Some(Stage::EXITED | Stage::DEAD | Stage::REMOVING)) => {}
            Some(_) | None => {
                if let Some(id) = &container.id {
                    engine.remove(id).await?;
                    left.removed += 1;
                }
            }
        }
    }
    Ok(left)
}

fn attempt_of(container: &ContainerSummary) -> Option<AttemptId> {
    let text = container.labels.as_ref()?.get(labels::ATTEMPT)?;
    text.parse().ok().map(AttemptId)
}
