//! A second scheduler: the text of the semantics, word for word, over all tasks of a run each time.
//!
//! It knows no counters and no queues. What it shares with the engine is the definition of a DAG and nothing else.

use std::collections::BTreeMap;

use dag::{Dag, Phase, TaskPos};
use model::{DagRunState, Operator, TaskState, TriggerRule};

/// A run with a state for each instance; everything between scheduled and running is `running`.
#[derive(Debug, Clone)]
pub struct Reference {
    dag: Dag,
    /// Of each task its instances; of one that is not expanded, or not yet, one.
    pub states: Vec<Vec<TaskState>>,
    is_expanded: Vec<bool>,
    /// How many elements each task has left for those that are expanded over them.
    left: Vec<Option<usize>>,
    pub run: DagRunState,
}

impl Reference {
    pub fn new(dag: &Dag) -> Self {
        let tasks = dag.tasks.len();
        let mut reference = Self {
            dag: dag.clone(),
            states: vec![vec![TaskState::NoStatus]; tasks],
            is_expanded: vec![false; tasks],
            left: vec![None; tasks],
            run: DagRunState::Running,
        };
        reference.settle();
        reference
    }

    /// An attempt of an instance has ended, with a list of so many elements, or without one.
    pub fn ended(&mut self, task: &str, map: i32, state: TaskState, list: Option<usize>) {
        let pos = self.position(task);
        let is_source = self.dag.tasks.iter().any(|other| self.sources(other).contains(&pos));
        let index = usize::try_from(map).unwrap_or(0);
        self.states[pos][index] = state;
        if is_source && state == TaskState::Success {
            match (self.is_expanded[pos], list) {
                (true, list) => self.left[pos] = Some(self.left[pos].unwrap_or(0) + usize::from(list.is_some())),
                (false, Some(count)) => self.left[pos] = Some(count),
                // Nothing can be expanded over nothing.
                (false, None) => self.states[pos][index] = TaskState::Failed,
            }
        }
        self.settle();
    }

    /// Every instance by name and map index.
    pub fn named(&self) -> BTreeMap<(String, i32), TaskState> {
        let of_task = |(pos, task): (usize, &dag::Task)| {
            let first = if self.is_expanded[pos] { 0 } else { -1 };
            let name = task.task_id.to_string();
            (first..).zip(&self.states[pos]).map(|(map, state)| ((name.clone(), map), *state)).collect::<Vec<_>>()
        };
        self.dag.tasks.iter().enumerate().flat_map(of_task).collect()
    }

    fn position(&self, task: &str) -> usize {
        self.dag.tasks.iter().position(|other| other.task_id.as_str() == task).unwrap()
    }

    fn sources(&self, task: &dag::Task) -> Vec<usize> {
        let sources = task.expand.iter().flat_map(dag::Expand::sources);
        sources.map(|source| self.position(source.as_str())).collect()
    }

    /// What the inputs of an expanded task make of it: a state, `running` with how many instances, or none for "wait".
    fn inputs(&self, pos: usize, seen: &[Vec<TaskState>]) -> Option<(TaskState, usize)> {
        let sources = self.sources(&self.dag.tasks[pos]);
        let any =
            |wanted: &[TaskState]| sources.iter().any(|pos| seen[*pos].iter().any(|state| wanted.contains(state)));
        if any(&[TaskState::Skipped]) {
            return Some((TaskState::Skipped, 0));
        }
        if any(&[TaskState::Failed, TaskState::UpstreamFailed]) {
            return Some((TaskState::UpstreamFailed, 0));
        }
        if any(&[TaskState::NoStatus, TaskState::Running]) {
            return None;
        }
        let Some(dag::ExpandBy::Product(inputs)) = self.dag.tasks[pos].expand.as_ref().map(|expand| &expand.by) else {
            panic!("only products are expanded here")
        };
        let length = |over: &dag::Over| match over {
            dag::Over::Literal(values) => values.len(),
            dag::Over::Output(task) => {
                let source = self.position(task.as_str());
                let empty = if self.is_expanded[source] { Some(0) } else { None };
                self.left[source].or(empty).unwrap()
            }
            other => panic!("{other:?}"),
        };
        Some((TaskState::Running, inputs.iter().map(|(_, over)| length(over)).product()))
    }

    fn settle(&mut self) {
        if self.run.is_finished() {
            return;
        }
        loop {
            // The finished set is taken once, at the start of the pass.
            let seen = self.states.clone();
            let expanded = self.is_expanded.clone();
            for pos in 0..seen.len() {
                if expanded[pos] && self.group_of(pos).is_some() {
                    for (map, state) in seen[pos].iter().enumerate() {
                        let verdict =
                            self.verdict(TaskPos(pos), &|of| self.states_of(of, pos, Some(map), &seen, &expanded));
                        if let (TaskState::NoStatus, Some(verdict)) = (state, verdict) {
                            self.states[pos][map] = verdict;
                        }
                    }
                }
                if seen[pos] != [TaskState::NoStatus] || expanded[pos] {
                    continue;
                }
                if self.group_of(pos).is_some() {
                    self.expand_with_group(pos, &seen);
                    continue;
                }
                let verdict = self.verdict(TaskPos(pos), &|of| self.states_of(of, pos, None, &seen, &expanded));
                let is_one = self.dag.tasks[pos].expand.is_none();
                match (verdict, verdict.filter(|state| *state != TaskState::Running)) {
                    (_, Some(state)) => self.states[pos] = vec![state],
                    (Some(state), None) if is_one => self.states[pos] = vec![state],
                    (None, None) if is_one => {}
                    (verdict, None) => match self.inputs(pos, &seen) {
                        None => {}
                        Some((TaskState::Running, 0)) if verdict.is_some() => {
                            self.states[pos] = vec![TaskState::Skipped]
                        }
                        Some((TaskState::Running, count)) if verdict.is_some() => {
                            self.states[pos] = vec![TaskState::Running; count];
                            self.is_expanded[pos] = true;
                        }
                        Some((TaskState::Running, _)) => {}
                        Some((state, _)) => self.states[pos] = vec![state],
                    },
                }
            }
            let is_same = self.states == seen && self.is_expanded == expanded;
            if is_same && !self.end_empty_ones() {
                break;
            }
        }
        self.end_run();
    }

    /// A task of an expanded group is expanded as soon as what the group is expanded over is there; the rule comes afterwards.
    fn expand_with_group(&mut self, pos: usize, seen: &[Vec<TaskState>]) {
        match self.inputs(pos, seen) {
            None => {}
            Some((TaskState::Running, 0)) => self.states[pos] = vec![TaskState::Skipped],
            Some((TaskState::Running, count)) => {
                self.states[pos] = vec![TaskState::NoStatus; count];
                self.is_expanded[pos] = true;
            }
            Some((state, _)) => self.states[pos] = vec![state],
        }
    }

    fn group_of(&self, pos: usize) -> Option<&str> {
        self.dag.tasks[pos].expand.as_ref()?.group.as_deref()
    }

    /// The states of these tasks as an instance sees them: within its group of the instance with the same index, else of all.
    fn states_of(
        &self,
        tasks: &[TaskPos],
        pos: usize,
        map: Option<usize>,
        seen: &[Vec<TaskState>],
        expanded: &[bool],
    ) -> Vec<TaskState> {
        let mut states = Vec::new();
        for TaskPos(before) in tasks {
            let is_inside = self.group_of(pos).is_some() && self.group_of(*before) == self.group_of(pos);
            match map.filter(|_| is_inside && expanded[*before]) {
                Some(map) => states.extend(seen[*before].get(map)),
                None => states.extend(&seen[*before]),
            }
        }
        states
    }

    fn end_empty_ones(&mut self) -> bool {
        let mut any = false;
        for (task, states) in self.dag.tasks.iter().zip(&mut self.states) {
            for state in states.iter_mut() {
                if *state == TaskState::Running && matches!(task.operator, Operator::Empty) {
                    (*state, any) = (TaskState::Success, true);
                }
            }
        }
        any
    }

    fn end_run(&mut self) {
        let bad = |state: &TaskState| matches!(state, TaskState::Failed | TaskState::UpstreamFailed);
        let over = |state: &TaskState| {
            bad(state) || matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed)
        };
        if self.states.iter().flatten().all(over) {
            let leaves = self.leaves();
            self.run = if leaves.iter().any(|TaskPos(pos)| self.states[*pos].iter().any(bad)) {
                DagRunState::Failed
            } else {
                DagRunState::Success
            };
        } else if !self.states.iter().flatten().any(|state| *state == TaskState::Running) {
            self.run = DagRunState::Failed;
        }
    }

    /// Everything that is reached from a task against the arrows, or along them.
    fn reached(&self, pos: TaskPos, next: fn(&dag::Task) -> &Vec<TaskPos>) -> Vec<TaskPos> {
        let mut found: Vec<TaskPos> = Vec::new();
        for one in next(self.dag.task(pos)) {
            found.push(*one);
            found.extend(self.reached(*one, next));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn is_teardown(&self, pos: TaskPos) -> bool {
        matches!(self.dag.task(pos).phase, Phase::Teardown { .. })
    }

    /// Leaf = no downstream except ignorable teardowns; a run of only teardowns uses true leaves.
    fn leaves(&self) -> Vec<TaskPos> {
        let ignorable = |pos: &TaskPos| self.dag.task(*pos).phase == Phase::Teardown { on_failure_fail_dagrun: false };
        let all = || self.dag.positions();
        let leaves: Vec<TaskPos> =
            all().filter(|pos| !ignorable(pos) && self.dag.task(*pos).downstream.iter().all(ignorable)).collect();
        match leaves.is_empty() {
            true => all().filter(|pos| self.dag.task(*pos).downstream.is_empty()).collect(),
            false => leaves,
        }
    }

    /// A setup above a task whose teardown is below the task, or that has none; not those directly before it.
    fn indirect_setups(&self, pos: TaskPos) -> Vec<TaskPos> {
        let below = self.reached(pos, |task| &task.downstream);
        let counts = |setup: &TaskPos| {
            let teardowns: Vec<&TaskPos> =
                self.dag.task(*setup).downstream.iter().filter(|after| self.is_teardown(**after)).collect();
            self.dag.task(*setup).phase == Phase::Setup
                && !self.dag.task(pos).upstream.contains(setup)
                && (teardowns.is_empty() || teardowns.iter().any(|teardown| below.contains(teardown)))
        };
        self.reached(pos, |task| &task.upstream).into_iter().filter(counts).collect()
    }

    /// What the states of others make of an instance: setups first, then its rule; `running` for "runs", none for "wait".
    fn verdict(&self, pos: TaskPos, states_of: &dyn Fn(&[TaskPos]) -> Vec<TaskState>) -> Option<TaskState> {
        use TaskState::{Failed, Removed, Running, Skipped, Success, UpstreamFailed};
        let task = self.dag.task(pos);
        let before = states_of(&task.upstream);
        if self.is_teardown(pos) {
            let own: Vec<TaskPos> =
                task.upstream.iter().copied().filter(|pos| self.dag.task(*pos).phase == Phase::Setup).collect();
            let between =
                |other: &TaskPos| own.iter().any(|setup| self.reached(*setup, |task| &task.downstream).contains(other));
            let scope: Vec<TaskPos> = self.reached(pos, |task| &task.upstream).into_iter().filter(between).collect();
            let over = |states: &[TaskState]| {
                states.iter().all(|state| [Success, Failed, Skipped, UpstreamFailed, Removed].contains(state))
            };
            let setups = states_of(&own);
            return match over(&before) {
                false => None,
                true if !setups.is_empty() && setups.iter().all(|state| *state == Skipped) => Some(Skipped),
                true if !setups.is_empty() && !setups.contains(&Success) => Some(UpstreamFailed),
                true => over(&states_of(&scope)).then_some(Running),
            };
        }
        let setups = match task.trigger_rule {
            TriggerRule::Always => Vec::new(),
            _ => states_of(&self.indirect_setups(pos)),
        };
        if setups.iter().any(|state| [Failed, UpstreamFailed].contains(state)) {
            return Some(UpstreamFailed);
        }
        if setups.contains(&Skipped) {
            return Some(Skipped);
        }
        let by_rule = self.verdict_by_rule(pos, &before);
        by_rule.filter(|state| *state != Running || setups.iter().all(|state| *state == Success))
    }

    /// The state that the rule's row in the table gives; `running` for "runs", none for "wait".
    fn verdict_by_rule(&self, pos: TaskPos, before: &[TaskState]) -> Option<TaskState> {
        use TaskState::{Failed, Removed, Running, Skipped, Success, UpstreamFailed};
        let task = self.dag.task(pos);
        let any = |wanted: &[TaskState]| before.iter().any(|state| wanted.contains(state));
        let only = |wanted: &[TaskState]| before.iter().all(|state| wanted.contains(state));
        let over = only(&[Success, Failed, Skipped, UpstreamFailed, Removed]);
        if before.is_empty() {
            return Some(Running);
        }
        match task.trigger_rule {
            TriggerRule::Always => Some(Running),
            TriggerRule::AllSuccess if any(&[Failed, UpstreamFailed]) => Some(UpstreamFailed),
            TriggerRule::AllSuccess if any(&[Skipped]) => Some(Skipped),
            TriggerRule::AllSuccess => only(&[Success, Removed]).then_some(Running),
            TriggerRule::AllFailed if any(&[Success, Skipped]) => Some(Skipped),
            TriggerRule::AllFailed => only(&[Failed, UpstreamFailed, Removed]).then_some(Running),
            TriggerRule::AllDone => over.then_some(Running),
            TriggerRule::AllDoneMinOneSuccess if any(&[Skipped]) => Some(Skipped),
            TriggerRule::AllDoneMinOneSuccess if over && !any(&[Success]) => Some(UpstreamFailed),
            TriggerRule::AllDoneMinOneSuccess => over.then_some(Running),
            // Given to a task that is no teardown, it is all_done.
            TriggerRule::AllDoneSetupSuccess => over.then_some(Running),
            TriggerRule::OneSuccess if any(&[Success]) => Some(Running),
            TriggerRule::OneSuccess if only(&[Skipped]) => Some(Skipped),
            TriggerRule::OneSuccess => over.then_some(UpstreamFailed),
            TriggerRule::OneFailed if any(&[Failed, UpstreamFailed]) => Some(Running),
            TriggerRule::OneFailed => over.then_some(Skipped),
            TriggerRule::OneDone if any(&[Success, Failed]) => Some(Running),
            TriggerRule::OneDone => over.then_some(Skipped),
            TriggerRule::NoneFailed if any(&[Failed, UpstreamFailed]) => Some(UpstreamFailed),
            TriggerRule::NoneFailed => over.then_some(Running),
            TriggerRule::NoneFailedMinOneSuccess if any(&[Failed, UpstreamFailed]) => Some(UpstreamFailed),
            TriggerRule::NoneFailedMinOneSuccess if only(&[Skipped]) => Some(Skipped),
            TriggerRule::NoneFailedMinOneSuccess if over && !any(&[Success]) => Some(UpstreamFailed),
            TriggerRule::NoneFailedMinOneSuccess => over.then_some(Running),
            TriggerRule::NoneSkipped if any(&[Skipped]) => Some(Skipped),
            TriggerRule::NoneSkipped => over.then_some(Running),
            TriggerRule::AllSkipped if any(&[Success, Failed, UpstreamFailed]) => Some(Skipped),
            TriggerRule::AllSkipped => only(&[Skipped, Removed]).then_some(Running),
        }
    }
}
