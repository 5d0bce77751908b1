//! Deferred instances whose wait no worker holds.
//!
//! **What always holds.** An instance is in `waiting` exactly when it is deferred without a live attempt. In `lost` are those whose
//! row still names an attempt that its worker does not hold any more: a worker may go down with a hundred thousand waits, and
//! their rows change as turns have room. Between turns that have left nothing to do, `lost` is empty, and no worker could take
//! what waits.
//!
//! **After a crash** `waiting` follows from the rows. Of what was lost the rows still name the worker: it says Hello without them,
//! or is dead for the new leader, too.

use std::collections::{BTreeMap, BTreeSet};

use model::{MapIndex, RunKey, TaskIdx, TiKey};

use super::ready::ClassId;

/// By what is demanded of a worker, since what one can not take no other one of its class can be given either.
type ByClass = BTreeMap<ClassId, BTreeSet<TiKey>>;

/// Waits that are to be given to a worker.
#[derive(Debug, Default)]
pub(crate) struct Adrift {
    waiting: ByClass,
    lost: ByClass,
}

impl Adrift {
    /// An instance is deferred without a live attempt.
    pub fn wait(&mut self, class: ClassId, key: TiKey) {
        self.waiting.entry(class).or_default().insert(key);
    }

    /// The live attempt of a deferred instance is on no worker any more.
    pub fn lose(&mut self, class: ClassId, key: TiKey) {
        self.lost.entry(class).or_default().insert(key);
    }

    /// An instance is not deferred any more, or a worker holds it.
    pub fn remove(&mut self, class: ClassId, key: TiKey) {
        take(&mut self.waiting, class, key);
        take(&mut self.lost, class, key);
    }

    /// The classes of which there are any.
    pub fn classes(&self) -> BTreeSet<ClassId> {
        self.waiting.keys().chain(self.lost.keys()).copied().collect()
    }

    /// The first of a class whose row is to change, whether a worker takes it or not.
    pub fn first_lost(&self, class: ClassId) -> Option<TiKey> {
        self.lost.get(&class)?.first().copied()
    }

    /// The first of a class that waits.
    pub fn first_waiting(&self, class: ClassId) -> Option<TiKey> {
        self.waiting.get(&class)?.first().copied()
    }

    /// Those of a run that are lost.
    pub fn lost_of(&self, run: RunKey) -> Vec<TiKey> {
        let end = |task, map| TiKey { run, task: TaskIdx(task), map: MapIndex(map) };
        let all = end(i32::MIN, i32::MIN)..=end(i32::MAX, i32::MAX);
        self.lost.values().flat_map(|keys| keys.range(all.clone()).copied()).collect()
    }

    /// Every one that waits, for those who count anew.
    pub fn all_waiting(&self) -> BTreeSet<TiKey> {
        self.waiting.values().flatten().copied().collect()
    }

    /// Every one that is lost.
    pub fn all_lost(&self) -> impl Iterator<Item = TiKey> {
        self.lost.values().flatten().copied()
    }
}

fn take(of: &mut ByClass, class: ClassId, key: TiKey) {
    if let Some(keys) = of.get_mut(&class) {
        keys.remove(&key);
        if keys.is_empty() {
            of.remove(&class);
        }
    }
}
