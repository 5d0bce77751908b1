//! Deciding tasks until nothing changes any more.
//!
//! A pass looks at every task with a changed upstream against one and the same picture; what it changes is seen by the
//! next pass. The ends of tasks without work are seen together, once no pass changes anything, as Airflow sees them.

use dag::TaskPos;
use model::{DagRunState, Operator, RunKey, TaskEvent, TaskState};

use crate::{
    Engine,
    memory::{
        definition::asks_past,
        instance::Place,
        run::{Previous, Run},
    },
    rules::{self, Becomes, Case, Mode, Verdict},
};

/// What a pass decides about a task.
enum Decision {
    /// It may run.
    Schedule,
    /// It may run once its DAG is not paused any more.
    Park,
    /// It takes a state without running.
    Event(TaskEvent),
}

/// Whether the previous run lets a task go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// It does, or the task does not ask.
    Met,
    /// The task's own instance there has not succeeded.
    OwnNotMet,
    /// A task directly after it there has not succeeded.
    DownstreamNotMet,
    /// It is being looked up.
    Unknown,
}

impl Engine {
    /// Decides every run in which something has changed.
    pub(super) fn settle(&mut self) {
        while let Some(run) = self.unsettled.first().copied() {
            if self.draft.is_full() {
                self.leave_rest();
                return;
            }
            self.unsettled.remove(&run);
            self.settle_run(run);
        }
    }

    fn settle_run(&mut self, key: RunKey) {
        let mut without_work = Vec::new();
        loop {
            if self.known_run(key).row.state != DagRunState::Running {
                return;
            }
            if self.draft.is_full() {
                self.unsettled.insert(key);
                self.end_without_work(&mut without_work);
                return;
            }
            let dirty = std::mem::take(&mut self.known_run_mut(key).dirty);
            let mut decisions: Vec<(TaskPos, Decision)> = Vec::new();
            for pos in dirty {
                match self.decide(key, pos) {
                    Some(decision) => decisions.push((pos, decision)),
                    // It may have been ready, and waits for something again.
                    None => drop(self.known_run_mut(key).parked.remove(&pos)),
                }
            }
            if decisions.is_empty() && without_work.is_empty() {
                break;
            }
            if decisions.is_empty() {
                self.end_without_work(&mut without_work);
            }
            for (task, decision) in decisions {
                self.carry_out(Place { run: key, task }, decision, &mut without_work);
            }
        }
        self.unsettled.remove(&key);
        self.check_end(key);
    }

    /// Whether what a task was decided to do is what would be decided now.
    pub(crate) fn is_decided(&self, key: RunKey, pos: TaskPos) -> bool {
        let is_parked = self.known_run(key).parked.contains(&pos);
        match self.decide(key, pos) {
            None => !is_parked,
            Some(Decision::Park) => is_parked,
            Some(Decision::Schedule | Decision::Event(_)) => false,
        }
    }

    fn decide(&self, key: RunKey, pos: TaskPos) -> Option<Decision> {
        let run = self.known_run(key);
        let instance = run.instance(pos);
        match instance.core.state {
            TaskState::NoStatus if instance.skipped_by > 0 => {
                return (!self.waits_before_skip(run, pos)).then_some(Decision::Event(TaskEvent::Skipped));
            }
            TaskState::NoStatus => {}
            TaskState::UpForRetry | TaskState::UpForReschedule => {
                let wake_at = instance.extra.as_deref().and_then(|extra| extra.wake_at);
                if wake_at.is_some_and(|at| at > self.now) {
                    return None;
                }
            }
            TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed
            | TaskState::Restarting
            | TaskState::Deferred
            | TaskState::AwaitingInput => return None,
        }
        match rules::verdict(&Case::plain(run.def.task(pos).trigger_rule, instance.upstream), Mode::Decide) {
            Verdict::Wait => None,
            Verdict::Becomes(Becomes::Skipped) if self.waits_before_skip(run, pos) => None,
            Verdict::Becomes(state) => Some(Decision::Event(event_of(state))),
            Verdict::Run if self.past_of(run, pos) != Past::Met => None,
            Verdict::Run if self.is_held_back(run) => Some(Decision::Park),
            Verdict::Run => Some(Decision::Schedule),
        }
    }

    fn carry_out(&mut self, place: Place, decision: Decision, without_work: &mut Vec<Place>) {
        match decision {
            Decision::Park => {
                self.known_run_mut(place.run).parked.insert(place.task);
            }
            Decision::Event(event) => {
                self.step(place, event);
                let now = self.now;
                self.write(place, |core| core.ended_at = Some(now));
            }
            Decision::Schedule => {
                self.step(place, TaskEvent::DependenciesMet);
                let run = self.known_run(place.run);
                let has_no_work = matches!(run.def.task(place.task).operator, Operator::Empty);
                if has_no_work && self.core(place).wants_slot() {
                    without_work.push(place);
                }
            }
        }
    }

    fn end_without_work(&mut self, places: &mut Vec<Place>) {
        for place in places.drain(..) {
            self.succeed_without_work(place);
        }
    }

    /// Whether nothing new of a run may start, because its DAG is paused.
    pub(crate) fn is_held_back(&self, run: &Run) -> bool {
        self.dags.get(&run.row.dag_id).is_some_and(|dag| dag.row.is_paused)
    }

    /// Whether a task that is to be skipped waits for its past first.
    pub(crate) fn waits_before_skip(&self, run: &Run, pos: TaskPos) -> bool {
        run.def.task(pos).wait_for_past_depends_before_skipping && self.past_of(run, pos) != Past::Met
    }

    /// What the previous run says about a task.
    pub(crate) fn past_of(&self, run: &Run, pos: TaskPos) -> Past {
        let task = run.def.task(pos);
        // The first run of a backfill begins anew, as in Airflow.
        if !asks_past(task) || run.row.backfill.is_some_and(|place| place.is_first) {
            return Past::Met;
        }
        let (before, date, states) = match &run.previous {
            Previous::NotAsked | Previous::None => return Past::Met,
            Previous::Unknown => return Past::Unknown,
            Previous::Run { key, date, states } => (self.runs.get(key), *date, states),
        };
        // A run before the DAG's start does not count when runs are made up from that date.
        let start = run.def.dag.start_date.filter(|_| run.def.dag.catchup == dag::Catchup::All);
        if date.zip(start).is_some_and(|(date, start)| date < start) {
            return Past::Met;
        }
        let state_there = |pos: TaskPos| {
            let number = run.def.number(pos);
            match before {
                Some(before) => before.past_state(number),
                None => states.get(&number).copied(),
            }
        };
        let holds = |pos: TaskPos| state_there(pos).is_none_or(TaskState::is_success_like);
        if !holds(pos) || (!task.ignore_first_depends_on_past && state_there(pos).is_none()) {
            Past::OwnNotMet
        } else if task.wait_for_downstream && !task.downstream.iter().all(|after| holds(*after)) {
            Past::DownstreamNotMet
        } else {
            Past::Met
        }
    }
}

fn event_of(state: Becomes) -> TaskEvent {
    match state {
        Becomes::Skipped => TaskEvent::Skipped,
        Becomes::UpstreamFailed => TaskEvent::UpstreamFailed,
        Becomes::Removed => TaskEvent::Removed,
    }
}
