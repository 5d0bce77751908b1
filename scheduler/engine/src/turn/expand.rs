//! Dynamic task mapping: a task becomes as many instances as its inputs have elements. See `memory/expansion.rs` for what always
//! holds.

use dag::TaskPos;
use model::{CallbackEvent, MapIndex, RunKey, TaskEvent, TaskState, TryNumber, XComValue, task::Mark};
use serde_json::Value;

use crate::{
    Engine,
    memory::{
        expansion::Expansion,
        instance::{Instance, Place, TiPos},
        run::Run,
    },
};

/// How the inputs of a task stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// The task is not expanded over anything.
    None,
    /// A task that leaves one is not over.
    Waiting(TaskPos),
    /// They are there, and give so many instances.
    Length(u64),
    /// One of them will not come: what the task becomes, whatever its rule, and why.
    Missing(TaskState, String),
}

impl Run {
    /// How the inputs of an expanded task stand. A task that leaves one has to have succeeded, as each of its instances has.
    pub(crate) fn inputs(&self, pos: TaskPos) -> Inputs {
        let Some(expand) = &self.def.task(pos).expand else { return Inputs::None };
        let mut waiting = None;
        let mut missing: Option<(TaskState, TaskPos)> = None;
        for source in self.def.sources_of(pos) {
            let ended = |states: &[TaskState]| states.iter().any(|state| self.has_in(*source, *state));
            // One that its own dates leave out returns nothing in this run.
            if ended(&[TaskState::Skipped]) || !self.is_in_window(*source) {
                missing = Some((TaskState::Skipped, *source));
                break;
            }
            let has_failed = ended(&[TaskState::Failed, TaskState::UpstreamFailed]);
            let is_whole = self.unfinished_of(*source) == 0;
            if has_failed || (is_whole && self.length_left(*source).is_none()) {
                missing = missing.or(Some((TaskState::UpstreamFailed, *source)));
            } else if !is_whole {
                waiting = waiting.or(Some(*source));
            }
        }
        let name = |pos: TaskPos| &self.def.task(pos).task_id;
        match (missing, waiting) {
            (Some((state, source)), _)
                if self.state_of_task(source).is_success_like() && state != TaskState::Skipped =>
            {
                Inputs::Missing(state, format!("upstream {} has left nothing to expand it over", name(source)))
            }
            (Some((state, source)), _) => {
                let how = self.state_of_task(source);
                Inputs::Missing(
                    state,
                    format!("it is expanded over what {} returns, which has ended in {how}", name(source)),
                )
            }
            (None, Some(source)) => Inputs::Waiting(source),
            (None, None) => {
                let left = |id: &model::TaskId| self.length_left(self.def.position_of(id)?);
                Inputs::Length(expand.length(&left).unwrap_or(0))
            }
        }
    }
}

impl Engine {
    /// Puts so many instances in the place of a task's summary.
    pub(super) fn expand(&mut self, place: Place, length: u64) {
        let Place { run, task, .. } = place;
        // It waited for its next try in a version in which the task was one.
        if self.core(place).state != TaskState::NoStatus {
            self.keep_try(place);
            self.write(place, |core| {
                core.step(TaskEvent::Cleared);
                core.forget_attempt();
            });
        }
        let memory = self.known_run_mut(run);
        let summary = std::mem::replace(&mut memory.instances[task.0], Instance::blank());
        let key = memory.key_of(TiPos::whole(task));
        memory.parked.remove(&TiPos::whole(task));
        debug_assert!(!summary.core.live, "what lives is not expanded");
        memory.expansions.insert(task, Expansion::default());
        self.draft.instances.remove(&key);
        if let Some(stored) = summary.stored {
            self.draft.drop_xcoms(key);
            self.draft.instances_dropped.insert(key, stored);
        }
        self.account_more(run, task, -1);
        self.grow(run, task, length);
    }

    /// The inputs give another number of instances than before: more are made, or those beyond it are removed, but for those
    /// that are at work.
    pub(super) fn resize(&mut self, run: RunKey, task: TaskPos, length: u64) {
        let memory = self.known_run(run);
        let expansion = &memory.expansions[&task];
        let beyond: Vec<Place> = expansion
            .indexes()
            .skip(usize::try_from(length).unwrap_or(usize::MAX))
            .map(|map| memory.place(TiPos { task, map }))
            .filter(|place| {
                let state = memory.state(place.at());
                let at_work = matches!(state, TaskState::Queued | TaskState::Running | TaskState::Restarting);
                !at_work && state != TaskState::Removed
            })
            .collect();
        for place in beyond {
            self.remove(place);
        }
        self.grow(run, task, length);
    }

    /// There is no element for an instance any more: what it has left goes with it.
    pub(super) fn remove(&mut self, place: Place) {
        self.step(place, TaskEvent::Removed);
        // One that never ran may have been given a value by hand.
        if self.core(place).try_number != TryNumber(0) || self.known_run(place.run).instance(place.at()).extra.is_some()
        {
            self.draft.drop_xcoms(self.key_of(place));
            self.write_extra(place, |extra| extra.map_length = None);
        }
    }

    fn grow(&mut self, run: RunKey, task: TaskPos, length: u64) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let memory = self.runs.get_mut(&run).expect("only runs in memory are decided");
        let number = memory.def.number(task);
        let expansion = memory.expansions.get_mut(&task).expect("the task is expanded");
        let before = expansion.instances.len();
        while expansion.instances.len() < length {
            let map = expansion.push_blank();
            let instance = &expansion.instances[expansion.instances.len() - 1];
            self.draft.touch(model::TiKey { run, task: number, map }, instance);
        }
        expansion.length = length;
        let more = i64::try_from(expansion.instances.len() - before).expect("expansions are bounded");
        memory.dirty.insert(TiPos::whole(task));
        if more > 0 {
            self.account_more(run, task, more);
        }
        self.unsettled.insert(run);
    }

    /// A task whose inputs give more instances than may be.
    pub(super) fn refuse_to_expand(&mut self, place: Place, length: u64) {
        let reason = format!(
            "its inputs give {length} instances, and a task may have {} in a run at most: expand it over less",
            dag::expand::INSTANCES_MAX
        );
        self.set_final(place, Mark::Failed, &reason);
        let (key, try_number) = (self.key_of(place), self.core(place).try_number);
        self.draft.plan.failures.push(crate::FailureRow {
            key,
            try_number,
            failed_at: self.now,
            reason: reason.clone(),
        });
        self.owe_for_task(place, CallbackEvent::Failure, &reason);
    }

    /// How many elements these XComs of an instance leave for tasks that are expanded over what it returns; none when no task is.
    ///
    /// # Errors
    /// Why nothing can be expanded over it.
    pub(super) fn left_in(&self, place: Place, xcoms: &[XComValue]) -> Result<Option<i32>, String> {
        let run = self.known_run(place.run);
        if !run.def.is_source(place.task) {
            return Ok(None);
        }
        let returned = xcoms.iter().rfind(|xcom| xcom.key == XComValue::RETURN_VALUE).map(|xcom| &xcom.value);
        if place.map != MapIndex::UNMAPPED {
            return Ok(Some(i32::from(returned.is_some_and(|value| !value.is_null()))));
        }
        let (length, found) = match returned {
            Some(Value::Array(items)) => (items.len(), ""),
            Some(Value::Object(entries)) => (entries.len(), ""),
            None | Some(Value::Null) => (0, "it has returned nothing"),
            Some(Value::Bool(_)) => (0, "it has returned true or false"),
            Some(Value::Number(_)) => (0, "it has returned a number"),
            Some(Value::String(_)) => (0, "it has returned a text"),
        };
        if !found.is_empty() {
            return Err(format!("{found}, and a task is expanded over what it returns: a list or a mapping"));
        }
        let most = self.settings.max_map_length;
        match i32::try_from(length) {
            Ok(length) if u32::try_from(length).is_ok_and(|length| length <= most) => Ok(Some(length)),
            Ok(_) | Err(_) => Err(format!(
                "it has returned {length} elements for a task that is expanded over them, more than max_map_length, {most}"
            )),
        }
    }
}
