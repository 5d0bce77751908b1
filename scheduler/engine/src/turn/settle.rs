//! Deciding tasks until nothing changes any more.
//!
//! A pass looks at every task with a changed upstream against one and the same picture; what it changes is seen by the
//! next pass. The ends of tasks without work are seen together, once no pass changes anything, as Airflow sees them.

use std::collections::BTreeSet;

use dag::{TaskPos, expand::INSTANCES_MAX};
use model::{DagRunState, MapIndex, RunKey, TaskEvent, TaskState, Timestamp};

use crate::{
    Engine,
    memory::{
        definition::asks_past,
        instance::{Place, TiPos},
        run::{HeedCounts, Previous, Run},
    },
    rules::{self, Becomes, Case, Mode, Verdict},
    turn::Inputs,
};

/// What a pass decides about a task.
enum Decision {
    /// It may run.
    Schedule,
    /// It may run once its DAG is not paused any more.
    Park,
    /// It takes a state without running, and why, when its rule does not say so.
    Event(TaskEvent, Option<String>),
    /// So many instances take its place, or would: more than may be.
    Expand(u64),
    /// Its task has so many instances now.
    Resize(u64),
}

impl Decision {
    /// Whether there are more instances to be made than may be.
    const fn is_refused(&self) -> bool {
        matches!(self, Self::Expand(length) | Self::Resize(length) if *length > INSTANCES_MAX)
    }
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
            let mut decisions: Vec<(TiPos, Decision)> = Vec::new();
            // An instance may be meant by a mark of its own and by one of its task.
            let meant: BTreeSet<TiPos> = dirty.into_iter().flat_map(|at| self.meant(key, at)).collect();
            for at in meant {
                match self.decide(key, at) {
                    Some(decision) => decisions.push((at, decision)),
                    None => {
                        let now = self.now;
                        self.known_run_mut(key).waits_on(at, now);
                    }
                }
            }
            if decisions.is_empty() && without_work.is_empty() {
                break;
            }
            if decisions.is_empty() {
                self.end_without_work(&mut without_work);
            }
            let refused: Vec<Place> = decisions
                .iter()
                .filter(|(_, decision)| decision.is_refused())
                .map(|(at, _)| Place { run: key, task: at.task, map: at.map })
                .collect();
            for (at, decision) in decisions {
                self.carry_out(Place { run: key, task: at.task, map: at.map }, decision, &mut without_work);
            }
            if !refused.is_empty() {
                // Only now: what was decided together is carried out together, and none of it may have been ended meanwhile.
                self.end_without_work(&mut without_work);
                refused.into_iter().for_each(|place| self.fail_fast(place));
            }
        }
        self.unsettled.remove(&key);
        self.check_end(key);
    }

    /// Whether what a task was decided to do is what would be decided now.
    pub(crate) fn is_decided(&self, key: RunKey, at: TiPos) -> bool {
        let is_parked = self.known_run(key).parked.contains(&at);
        match self.decide(key, at) {
            None => !is_parked,
            Some(Decision::Park) => is_parked,
            Some(Decision::Schedule | Decision::Event(..) | Decision::Expand(_) | Decision::Resize(_)) => false,
        }
    }

    /// The instances that a mark means. Of an expanded task these are the ones that may go on, when the task as a whole does: then
    /// none need be looked at that is at work, or over, and most often none at all.
    fn meant(&mut self, key: RunKey, at: TiPos) -> Vec<TiPos> {
        let run = self.known_run(key);
        let Some(expansion) = run.expansions.get(&at.task) else { return vec![at] };
        if at != TiPos::whole(at.task) {
            return vec![at];
        }
        let counts = run.tasks[at.task.0];
        // Which of them are removed depends on their index.
        let removed = run.heeded.get(&at.task).map_or(0, |counts| counts.indirect_setups.removed);
        let has_inside = !run.def.inside(at.task).is_empty() || run.def.heeds_inside(at.task).next().is_some();
        // One that its dates leave out is removed, whatever its rule says.
        let stays = counts.skipped_by == 0 && run.is_in_window(at.task);
        let is_shared = counts.upstream.removed == 0 && removed == 0 && stays && !has_inside;
        if is_shared && self.decide_by_rules(run, at).is_none() {
            let all = TiPos { map: MapIndex(0), ..at }..=TiPos { map: MapIndex(i32::MAX), ..at };
            let parked: Vec<TiPos> = run.parked.range(all).copied().collect();
            let now = self.now;
            let memory = self.known_run_mut(key);
            parked.into_iter().for_each(|at| memory.waits_on(at, now));
            return Vec::new();
        }
        expansion.open.iter().map(|map| TiPos { task: at.task, map: *map }).collect()
    }

    fn decide(&self, key: RunKey, at: TiPos) -> Option<Decision> {
        let run = self.known_run(key);
        let instance = run.instance(at);
        match instance.core.state {
            TaskState::NoStatus if !run.is_in_window(at.task) => {
                let why = "its start_date and end_date leave the run's date out".to_owned();
                return Some(Decision::Event(TaskEvent::Removed, Some(why)));
            }
            TaskState::NoStatus if run.tasks[at.task.0].skipped_by > 0 => {
                return (!self.waits_before_skip(run, at.task)).then_some(Decision::Event(TaskEvent::Skipped, None));
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
        self.decide_by_rules(run, at)
    }

    /// What becomes of an instance that nothing of its own holds back; for the whole of an expanded task, of any of its instances.
    fn decide_by_rules(&self, run: &Run, at: TiPos) -> Option<Decision> {
        // A task of an expanded group is expanded as soon as the group is; its rule is asked of each instance.
        let waits_for_group = at.map == MapIndex::UNMAPPED
            && run.def.is_in_expanded_group(at.task)
            && !run.expansions.contains_key(&at.task);
        let verdict = if waits_for_group { Verdict::Run } else { rules::verdict(&run.case(at), Mode::Decide) };
        if verdict == Verdict::Becomes(Becomes::Skipped) && self.waits_before_skip(run, at.task) {
            return None;
        }
        if let Verdict::Becomes(state) = verdict {
            return Some(Decision::Event(event_of(state), None));
        }
        let inputs = run.inputs(at.task);
        if let Inputs::Missing(state, why) = inputs {
            let event = if state == TaskState::Skipped { TaskEvent::Skipped } else { TaskEvent::UpstreamFailed };
            return Some(Decision::Event(event, Some(why)));
        }
        if verdict == Verdict::Wait || self.past_of(run, at.task) != Past::Met {
            return None;
        }
        let is_held_back = self.is_held_back(run);
        match (inputs, run.expansions.get(&at.task)) {
            (Inputs::Waiting(_), _) => None,
            // An attempt of the time when the task was one, which was cleared, has to end first.
            (Inputs::Length(_), None) if run.instance(at).core.live => None,
            (Inputs::Length(0), None) => {
                Some(Decision::Event(TaskEvent::Skipped, Some("there is nothing to expand it over".to_owned())))
            }
            (Inputs::Length(length), Some(_)) if is_beyond(at.map, length) => {
                Some(Decision::Event(TaskEvent::Removed, None))
            }
            _ if is_held_back => Some(Decision::Park),
            (Inputs::Length(length), None) => Some(Decision::Expand(length)),
            (Inputs::Length(length), Some(expansion)) if u64::try_from(expansion.length) != Ok(length) => {
                Some(Decision::Resize(length))
            }
            (Inputs::None | Inputs::Length(_) | Inputs::Missing(..), _) => Some(Decision::Schedule),
        }
    }

    fn carry_out(&mut self, place: Place, decision: Decision, without_work: &mut Vec<Place>) {
        match decision {
            Decision::Park => {
                let run = self.known_run_mut(place.run);
                run.parked.insert(place.at());
                // What changes before its task meanwhile concerns it, too.
                if let Some(expansion) = run.expansions.get_mut(&place.task) {
                    expansion.open.insert(place.map);
                }
            }
            Decision::Event(event, why) => {
                if event == TaskEvent::Removed {
                    self.remove(place);
                } else {
                    self.step(place, event);
                }
                let now = self.now;
                self.write(place, |core| core.ended_at = Some(now));
                if let Some(why) = why {
                    self.write_extra(place, |extra| extra.reason = Some(why));
                }
            }
            Decision::Expand(length) | Decision::Resize(length) if decision.is_refused() => {
                self.refuse_to_expand(place, length);
            }
            Decision::Expand(length) => self.expand(place, length),
            // Each of its instances that goes on in this pass says so.
            Decision::Resize(length) => {
                if u64::try_from(self.known_run(place.run).expansions[&place.task].length) != Ok(length) {
                    self.resize(place.run, place.task, length);
                }
                self.mark_one_dirty(place.run, place.at());
            }
            Decision::Schedule => {
                self.step(place, TaskEvent::DependenciesMet);
                let run = self.known_run(place.run);
                let has_no_work = run.def.task(place.task).operator.has_no_work();
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
            let state = match before {
                Some(before) => before.past_state(number),
                None => states.get(&number).copied(),
            };
            // Where its dates leave it out it never was.
            let was_left_out = date.is_some_and(|date| !run.def.task(pos).is_in_window(date));
            state.filter(|state| *state != TaskState::Removed || !was_left_out)
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

impl Run {
    /// What the rule of an instance is asked.
    pub(crate) fn case(&self, at: TiPos) -> Case {
        let mut upstream = self.tasks[at.task.0].upstream;
        // What its own dates leave out is not in this run, and no rule counts it; a teardown asks for its setups.
        if !self.def.task(at.task).phase.is_teardown() {
            for before in self.def.dated(at.task).iter().filter(|before| !self.is_in_window(**before)) {
                self.states_of(*before).for_each(|(state, count)| upstream.take_away(state, count));
            }
        }
        for before in self.def.inside(at.task) {
            let one = TiPos { task: *before, map: at.map };
            if self.has(one) {
                upstream.add(self.state(one), 1);
            } else if !self.expansions.contains_key(before) {
                upstream.add(self.state(TiPos::whole(*before)), 1);
            }
        }
        let HeedCounts { own_setups, indirect_setups, span_unfinished } = self.heeds(at);
        Case {
            rule: self.def.task(at.task).trigger_rule,
            upstream,
            setups: own_setups,
            indirect_setups,
            scope_unfinished: span_unfinished,
            map_index: at.map,
        }
    }

    /// What an instance heeds because of setups and teardowns.
    fn heeds(&self, at: TiPos) -> HeedCounts {
        let mut counts = self.heeded.get(&at.task).copied().unwrap_or_default();
        for (heed, other) in self.def.heeds_inside(at.task) {
            let one = TiPos { task: other, map: at.map };
            if self.has(one) {
                counts.add(heed, self.state(one), 1);
            } else if !self.expansions.contains_key(&other) {
                counts.add(heed, self.state(TiPos::whole(other)), 1);
            }
        }
        counts
    }

    /// An instance waits for something other than its turn. It may have been ready before.
    fn waits_on(&mut self, at: TiPos, now: Timestamp) {
        self.parked.remove(&at);
        let core = self.instance(at).core;
        let wake_at = self.instance(at).extra.as_deref().and_then(|extra| extra.wake_at);
        let pauses = matches!(core.state, TaskState::UpForRetry | TaskState::UpForReschedule);
        if let Some(expansion) = self.expansions.get_mut(&at.task)
            && pauses
        {
            // One whose pause lasts is woken by its timer.
            if wake_at.is_some_and(|at| at > now) {
                expansion.open.remove(&at.map)
            } else {
                expansion.open.insert(at.map)
            };
        }
    }
}

/// Whether there is no element for an index any more.
fn is_beyond(map: MapIndex, length: u64) -> bool {
    u64::try_from(map.get()).is_ok_and(|map| map >= length)
}

fn event_of(state: Becomes) -> TaskEvent {
    match state {
        Becomes::Skipped => TaskEvent::Skipped,
        Becomes::UpstreamFailed => TaskEvent::UpstreamFailed,
        Becomes::Removed => TaskEvent::Removed,
    }
}
