//! The labels by which containers are known to be Windlass's.

use std::collections::BTreeMap;

use link::{Assignment, ServiceStart};
use model::AttemptId;
use uuid::Uuid;

/// The worker that started the container.
pub const WORKER: &str = "windlass.worker";
/// The attempt that it carries out.
pub const ATTEMPT: &str = "windlass.attempt";
/// The instance of a service that it is.
pub const INSTANCE: &str = "windlass.instance";

/// Labels of an attempt's container.
pub(super) fn of_attempt(worker: Uuid, assignment: &Assignment) -> BTreeMap<String, String> {
    let context = &assignment.context;
    named([
        (WORKER, worker.to_string()),
        (ATTEMPT, assignment.attempt.to_string()),
        ("windlass.dag", context.dag_id.to_string()),
        ("windlass.run", context.run_id.to_string()),
        ("windlass.task", context.task_id.to_string()),
        ("windlass.map_index", context.map_index.to_string()),
        ("windlass.try_number", context.try_number.to_string()),
    ])
}

/// Labels of a service's container.
pub(super) fn of_service(worker: Uuid, start: &ServiceStart) -> BTreeMap<String, String> {
    named([
        (WORKER, worker.to_string()),
        (INSTANCE, start.instance.to_string()),
        ("windlass.dag", start.key.dag.to_string()),
        ("windlass.service", start.key.name.clone()),
        ("windlass.replica", start.key.replica.to_string()),
    ])
}

/// The filter that finds an attempt's container.
pub(super) fn attempt_is(attempt: AttemptId) -> String {
    format!("{ATTEMPT}={attempt}")
}

/// The filter that finds a worker's containers.
pub(super) fn worker_is(worker: Uuid) -> String {
    format!("{WORKER}={worker}")
}

fn named<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}
