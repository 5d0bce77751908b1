//! What is no mistake in a DAG and may not be meant.

use model::{RunType, TriggerRule};

use super::fields::Fields;
use crate::{
    compiled::{Dag, Schedule, Task},
    problem::Problems,
};

/// How many leaves are named.
const NAMED_MAX: usize = 5;

/// Notes the remarks on a whole DAG.
pub(super) fn on(dag: &Dag, fields: &Fields<'_>, problems: &mut Problems) {
    if dag.schedule != Schedule::Never && !dag.allows(RunType::Scheduled) {
        let place = fields.take("allowed_run_types").map_or_else(|| fields.place.clone(), |item| item.place);
        problems.warn(&place, "the schedule makes no run, because allowed_run_types has no scheduled; it only says what a backfill goes through");
    }
    let leaves: Vec<&Task> = dag.leaves().into_iter().map(|pos| dag.task(pos)).collect();
    if !leaves.iter().all(|task| runs_whatever_happened(task)) {
        return;
    }
    let named: Vec<String> = leaves
        .iter()
        .take(NAMED_MAX)
        .map(|task| format!("{}: {}", task.task_id, task.trigger_rule.name()))
        .chain((leaves.len() > NAMED_MAX).then(|| "…".to_owned()))
        .collect();
    let place = fields.take("tasks").map_or_else(|| fields.place.clone(), |item| item.place);
    problems.warn(
        &place,
        format!(
            "every leaf of this DAG runs whatever happened before it ({}), and a run ends as its leaves do: it can not \
             fail by what comes before them; let a task with the rule all_success follow what matters, too",
            named.join(", ")
        ),
    );
}

/// Whether a task runs, and can succeed, also when something before it failed.
const fn runs_whatever_happened(task: &Task) -> bool {
    let by_rule = match task.trigger_rule {
        TriggerRule::AllDone
        | TriggerRule::AllDoneSetupSuccess
        | TriggerRule::Always
        | TriggerRule::OneDone
        | TriggerRule::OneFailed
        | TriggerRule::AllFailed => true,
        TriggerRule::AllSuccess
        | TriggerRule::AllDoneMinOneSuccess
        | TriggerRule::OneSuccess
        | TriggerRule::NoneFailed
        | TriggerRule::NoneFailedMinOneSuccess
        | TriggerRule::NoneSkipped
        | TriggerRule::AllSkipped => false,
    };
    by_rule && !task.upstream.is_empty()
}
