//! Assignments at rest: what a worker keeps of a wait between two looks.
//!
//! A worker holds a hundred thousand waits, and most of what they are told is the same for all instances of a task, or all tasks of a DAG. So
//! each part that others may share is kept once, as long as anybody needs it, and what is an instance's own is a short text.

use std::{collections::HashSet, sync::Arc};

use link::Assignment;
use model::Operator;
use serde::{Serialize, de::DeserializeOwned};

/// How many parts of an assignment are shared.
const PARTS: usize = 10;

/// Below so many parts nobody looks for those that are not needed any more.
const SWEEP_MIN: usize = 1_024;

/// The parts that waits share, each once.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    parts: HashSet<Arc<[u8]>>,
    /// At so many parts those go that nobody needs.
    sweep_at: usize,
}

/// An assignment at rest.
#[derive(Debug)]
pub(super) struct Packed {
    own: Box<[u8]>,
    shared: [Arc<[u8]>; PARTS],
}

impl Shelf {
    /// Puts an assignment to rest.
    ///
    /// # Errors
    /// When something in it can not be written as JSON, as a number that is none.
    pub(super) fn pack(&mut self, assignment: Assignment) -> serde_json::Result<Packed> {
        let mut own = assignment;
        let operator = std::mem::replace(&mut own.operator, Operator::Empty);
        let context = &mut own.context;
        let shared = [
            self.part(&operator)?,
            self.part(&std::mem::take(&mut own.files))?,
            self.part(&std::mem::take(&mut own.retry_policy))?,
            self.part(&std::mem::take(&mut context.task_numbers))?,
            self.part(&std::mem::take(&mut context.conf))?,
            self.part(&std::mem::take(&mut context.params))?,
            self.part(&std::mem::take(&mut context.dag_fields))?,
            self.part(&std::mem::take(&mut context.macros))?,
            self.part(&std::mem::take(&mut context.outlets))?,
            self.part(&std::mem::take(&mut context.inlets))?,
        ];
        Ok(Packed { own: serde_json::to_vec(&own)?.into(), shared })
    }

    fn part<T: Serialize>(&mut self, part: &T) -> serde_json::Result<Arc<[u8]>> {
        let text = serde_json::to_vec(part)?;
        if let Some(known) = self.parts.get(text.as_slice()) {
            return Ok(Arc::clone(known));
        }
        if self.parts.len() >= self.sweep_at {
            self.parts.retain(|part| Arc::strong_count(part) > 1);
            self.sweep_at = (2 * self.parts.len()).max(SWEEP_MIN);
        }
        let part: Arc<[u8]> = text.into();
        self.parts.insert(Arc::clone(&part));
        Ok(part)
    }
}

impl Packed {
    /// The assignment as it was.
    ///
    /// # Errors
    /// Never, unless JSON is read otherwise than it is written.
    pub(super) fn unpack(&self) -> serde_json::Result<Assignment> {
        let mut whole: Assignment = serde_json::from_slice(&self.own)?;
        let [operator, files, retry_policy, task_numbers, conf, params, dag_fields, macros, outlets, inlets] =
            &self.shared;
        whole.operator = read(operator)?;
        whole.files = read(files)?;
        whole.retry_policy = read(retry_policy)?;
        let context = &mut whole.context;
        context.task_numbers = read(task_numbers)?;
        context.conf = read(conf)?;
        context.params = read(params)?;
        context.dag_fields = read(dag_fields)?;
        context.macros = read(macros)?;
        context.outlets = read(outlets)?;
        context.inlets = read(inlets)?;
        Ok(whole)
    }
}

fn read<T: DeserializeOwned>(part: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(part)
}
