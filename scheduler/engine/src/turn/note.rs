//! Remarks and XComs that people leave: nothing is decided anew because of them.

use model::{
    TiKey, XComValue,
    command::{Relatives, SetNote, TaskInstanceName, TaskSelector, XComName},
    door::{Json, Note},
};
use serde_json::{Value, json};

use super::{
    command::Refusal,
    selection::{Missing, Purpose, select},
};
use crate::{Engine, memory::instance::Place};

impl Engine {
    /// Leaves a remark on a run or on tasks of it.
    pub(super) fn set_note(&mut self, wish: SetNote) -> Result<Value, Refusal> {
        let SetNote { dag_id, run_id, tasks, note } = wish;
        let note = note.map(Note::into_string);
        let key = self.find_run(&dag_id, &run_id).ok_or_else(|| Refusal::no_run(&dag_id, &run_id))?;
        if tasks.is_empty() {
            self.draft.touch_run(&self.runs[&key].row);
            self.known_run_mut(key).row.note = note;
            return Ok(json!({}));
        }
        for at in select(self.known_run(key), &tasks, (Relatives::default(), Purpose::Mark), Missing::Refused)? {
            self.write_extra(self.known_run(key).place(at), |extra| extra.note.clone_from(&note));
        }
        Ok(json!({}))
    }

    /// Leaves an XCom in place of what the task has left.
    pub(super) fn set_xcom(&mut self, xcom: XComName, value: Json) -> Result<Value, Refusal> {
        let instance = self.instance_of_xcom(&xcom)?;
        let key = xcom.key.into_string();
        let value = XComValue { key, value: value.into_value() };
        self.leave_by_hand(instance, &value.key, Some(&value))?;
        self.draft.plan.xcoms_deleted.retain(|(of, deleted)| (*of, deleted) != (instance, &value.key));
        self.draft.plan.xcoms.push((instance, value));
        Ok(json!({}))
    }

    /// Takes an XCom away.
    pub(super) fn delete_xcom(&mut self, xcom: XComName) -> Result<Value, Refusal> {
        let instance = self.instance_of_xcom(&xcom)?;
        let key = xcom.key.into_string();
        self.draft.plan.xcoms.retain(|(of, left)| (*of, &left.key) != (instance, &key));
        self.leave_by_hand(instance, &key, None)?;
        self.draft.plan.xcoms_deleted.push((instance, key));
        Ok(json!({}))
    }

    /// What a task is expanded over is given, replaced or taken away by hand: its length is another one.
    fn leave_by_hand(&mut self, instance: TiKey, key: &str, value: Option<&XComValue>) -> Result<(), Refusal> {
        let Some(place) = self.place_of(instance).filter(|_| key == XComValue::RETURN_VALUE) else { return Ok(()) };
        let left = match value {
            Some(value) => self.left_in(place, std::slice::from_ref(value)).map_err(Refusal::Invalid)?,
            None => None,
        };
        if self.known_run(place.run).instance(place.at()).extra().map_length != left {
            self.write_extra(place, |extra| extra.map_length = left);
            let def = std::sync::Arc::clone(&self.known_run(place.run).def);
            for next in def.fed_by(place.task) {
                self.decide_again(place.run, *next);
            }
        }
        Ok(())
    }

    fn instance_of_xcom(&mut self, xcom: &XComName) -> Result<TiKey, Refusal> {
        let XComName { dag_id, run_id, task_id, map_index, .. } = xcom;
        let name = TaskInstanceName {
            dag_id: dag_id.clone(),
            run_id: run_id.clone(),
            task_id: task_id.clone(),
            map_index: *map_index,
        };
        self.instance_of(&name).map(|place| self.key_of(place))
    }

    /// The instance that is named.
    pub(super) fn instance_of(&mut self, name: &TaskInstanceName) -> Result<Place, Refusal> {
        let TaskInstanceName { dag_id, run_id, task_id, map_index } = name;
        let key = self.find_run(dag_id, run_id).ok_or_else(|| Refusal::no_run(dag_id, run_id))?;
        let named = TaskSelector { task_id: task_id.clone(), map_index: Some(*map_index) };
        let run = self.known_run(key);
        let chosen = select(run, &[named], (Relatives::default(), Purpose::Mark), Missing::Refused)?;
        chosen.first().map(|at| run.place(*at)).ok_or_else(|| Refusal::no_run(dag_id, run_id))
    }
}
