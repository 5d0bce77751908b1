//! The limits, counted over all instances anew.

use model::TaskState;

use super::{Case, DagCase, RunCase, TaskCase};

/// An instance as it is after the turn.
struct After<'c> {
    dag: &'c DagCase,
    run: &'c RunCase,
    task: &'c TaskCase,
    state: Option<TaskState>,
}

impl After<'_> {
    fn holds_slot(&self) -> bool {
        matches!(self.state, Some(TaskState::Queued | TaskState::Running))
    }

    fn is_active(&self) -> bool {
        self.holds_slot() || matches!(self.state, Some(TaskState::Deferred | TaskState::AwaitingInput))
    }
}

/// Whether what was granted was scheduled, and no limit that had room before is exceeded now.
pub fn hold(case: &Case, granted: &[String]) -> bool {
    let after = instances(case, granted);
    let was_scheduled = |instance: &After<'_>| instance.run.tis[&instance.task.task_id] == Some(TaskState::Scheduled);
    let new = after.iter().filter(|instance| instance.state == Some(TaskState::Queued) && was_scheduled(instance));
    let new: Vec<&After<'_>> = new.collect();
    new.len() == granted.len() && new.into_iter().all(|instance| fits(case, instance, &after))
}

fn fits(case: &Case, granted: &After<'_>, after: &[After<'_>]) -> bool {
    let same_dag = |other: &&After<'_>| other.dag.dag_id == granted.dag.dag_id;
    let same_task = |other: &&After<'_>| same_dag(other) && other.task.task_id == granted.task.task_id;
    let same_run = |other: &&After<'_>| same_dag(other) && other.run.run_id == granted.run.run_id;
    let count = |number: usize| u32::try_from(number).unwrap();
    let in_run = count(after.iter().filter(same_run).filter(|other| other.holds_slot()).count());
    let of_task = count(after.iter().filter(same_task).filter(|other| other.is_active()).count());
    let Some(pool) = case.pools.iter().find(|pool| pool.name == granted.task.pool) else { return false };
    let takes = |other: &&After<'_>| {
        let deferred = pool.include_deferred && other.state == Some(TaskState::Deferred);
        other.task.pool == pool.name && (other.holds_slot() || deferred)
    };
    let taken: i64 = after.iter().filter(takes).map(|other| i64::from(other.task.pool_slots)).sum();
    in_run <= granted.dag.max_active_tasks
        && granted.task.max_active_tis_per_dag.is_none_or(|limit| of_task <= limit)
        && (pool.slots < 0 || taken <= pool.slots)
        && !granted.dag.paused
}

fn instances<'c>(case: &'c Case, granted: &[String]) -> Vec<After<'c>> {
    let runs = case.dags.iter().flat_map(|dag| dag.runs.iter().map(move |run| (dag, run)));
    let all = runs.flat_map(|(dag, run)| dag.tasks.iter().map(move |task| (dag, run, task)));
    all.map(|(dag, run, task)| {
        let name = format!("{}/{}/{}", dag.dag_id, run.run_id, task.task_id);
        let state = if granted.contains(&name) { Some(TaskState::Queued) } else { run.tis[&task.task_id] };
        After { dag, run, task, state }
    })
    .collect()
}
