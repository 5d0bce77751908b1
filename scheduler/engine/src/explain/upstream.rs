//! What is before a task, in words.

use dag::TaskPos;
use model::{MapIndex, TaskId, TaskState};

use super::NAMES_MAX;
use crate::{
    memory::{definition::Heed, expansion::Expansion, instance::TiPos, run::Run},
    rules::{self, Mode, Verdict},
    turn::Inputs,
};

impl Run {
    /// Which of the tasks directly before one it still waits for.
    pub(super) fn upstream_in_the_way(&self, at: TiPos) -> String {
        let task = self.def.task(at.task);
        if at.map == MapIndex::UNMAPPED && self.def.is_in_expanded_group(at.task) {
            return self.rule_in_the_way(at);
        }
        if let Some((setup, state)) = self.heeded_open(at, Heed::IndirectSetup) {
            return format!("it waits for the setup {setup}, which {}", standing(state));
        }
        // Within an expanded group it is the instance with the same index.
        let before_it = |before: TaskPos| {
            let one = TiPos { task: before, map: at.map };
            (self.def.is_inside(before, at.task) && self.has(one)).then_some(one)
        };
        let is_open = |before: &TaskPos| match before_it(*before) {
            Some(one) => !self.state(one).is_finished(),
            None => self.unfinished_of(*before) > 0,
        };
        let open: Vec<TaskPos> = task.upstream.iter().copied().filter(is_open).collect();
        match open.as_slice() {
            [] => match self.heeded_open(at, Heed::Span) {
                Some((task, state)) => {
                    format!("it waits for what is between its setups and itself: {task} {}", standing(state))
                }
                None => self.rule_in_the_way(at),
            },
            [one] => match (before_it(*one), self.expansions.get(one)) {
                (Some(one), _) => {
                    format!("upstream {} [{}] {}", self.def.task(one.task).task_id, one.map, standing(self.state(one)))
                }
                (None, Some(expansion)) => format!(
                    "{} of {} instances of upstream {} are not finished",
                    expansion.unfinished(),
                    expansion.instances.len(),
                    self.def.task(*one).task_id
                ),
                (None, None) => {
                    format!("upstream {} {}", self.def.task(*one).task_id, standing(self.state_of_task(*one)))
                }
            },
            several => format!(
                "{} of {} upstream tasks are not finished: {}",
                several.len(),
                task.upstream.len(),
                self.names(several)
            ),
        }
    }

    /// The first task that is heeded in a way and is not over, and how it stands: of an expanded group the instance with the index.
    fn heeded_open(&self, at: TiPos, as_what: Heed) -> Option<(&TaskId, TaskState)> {
        let heeded = self.def.heeds(at.task).iter().filter(|(heed, _)| *heed == as_what);
        heeded.map(|(_, other)| *other).find_map(|other| {
            let one = TiPos { task: other, map: at.map };
            let is_one = self.def.shares_group(other, at.task) && self.has(one);
            let state = if is_one { self.state(one) } else { self.state_of_task(other) };
            let is_open = if is_one { !state.is_finished() } else { self.unfinished_of(other) > 0 };
            is_open.then(|| (&self.def.task(other).task_id, state))
        })
    }

    /// Tasks by name, the first few of them.
    pub(super) fn names(&self, tasks: &[TaskPos]) -> String {
        let mut names: Vec<&str> =
            tasks.iter().take(NAMES_MAX).map(|pos| self.def.task(*pos).task_id.as_str()).collect();
        let more = tasks.len().saturating_sub(NAMES_MAX);
        let rest = format!("{more} more");
        if more > 0 {
            names.push(&rest);
        }
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, first)) => format!("{} and {last}", first.join(", ")),
            None => "nothing".to_owned(),
        }
    }

    /// Which tasks before one keep it from running for good.
    pub(super) fn culprits(&self, pos: TaskPos) -> String {
        let upstream = &self.def.task(pos).upstream;
        let setups = self.def.heeds(pos).iter().filter(|(heed, _)| *heed == Heed::IndirectSetup);
        let failed_setup = setups.map(|(_, setup)| *setup).find_map(|setup| Some((setup, self.failed_in(setup)?)));
        if let Some((setup, state)) = failed_setup {
            return format!("the setup {} has ended in {state}", self.def.task(setup).task_id);
        }
        let failed: Vec<TaskPos> =
            upstream.iter().copied().filter(|before| self.failed_in(*before).is_some()).collect();
        match failed.as_slice() {
            [] => format!("its rule {} does not hold", self.def.task(pos).trigger_rule),
            [one] => {
                let state = self.failed_in(*one).unwrap_or(TaskState::Failed);
                format!("upstream {} has ended in {state}", self.def.task(*one).task_id)
            }
            several => format!("upstream {} have failed", self.names(several)),
        }
    }

    /// In which way a task has failed, when it or one of its instances has.
    fn failed_in(&self, pos: TaskPos) -> Option<TaskState> {
        [TaskState::Failed, TaskState::UpstreamFailed].into_iter().find(|state| self.has_in(pos, *state))
    }

    /// How the instances of an expanded task stand.
    pub(super) fn instances_stand(&self, expansion: &Expansion) -> String {
        let counts = TaskState::ALL.iter().map(|state| (state, expansion.census.of(*state)));
        let counts: Vec<String> =
            counts.filter(|(_, count)| *count > 0).map(|(state, count)| format!("{count} {state}")).collect();
        format!("it is expanded into {} instances: {}", expansion.instances.len(), counts.join(", "))
    }

    fn rule_in_the_way(&self, at: TiPos) -> String {
        if let Inputs::Waiting(source) = self.inputs(at.task) {
            return format!(
                "it is expanded over what {} returns, which is not there yet",
                self.def.task(source).task_id
            );
        }
        let rule = self.def.task(at.task).trigger_rule;
        match rules::verdict(&self.case(at), Mode::Query) {
            Verdict::Run => "it is about to be scheduled".to_owned(),
            Verdict::Wait | Verdict::Becomes(_) => {
                format!("its rule {rule} does not hold with the states of its upstream")
            }
        }
    }
}

/// How an unfinished upstream stands.
fn standing(state: TaskState) -> String {
    match state {
        TaskState::NoStatus => "has not been scheduled yet".to_owned(),
        TaskState::Scheduled => "waits for a slot".to_owned(),
        TaskState::Queued | TaskState::Running => "is still running".to_owned(),
        TaskState::UpForRetry => "failed and waits for its next try".to_owned(),
        TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Removed
        | TaskState::Restarting
        | TaskState::UpForReschedule
        | TaskState::Deferred
        | TaskState::AwaitingInput => format!("is {state}"),
    }
}
