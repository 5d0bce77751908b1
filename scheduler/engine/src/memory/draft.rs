//! What a turn has changed so far.
//!
//! The first touch of a row remembers what is stored of it; the plan is made of the difference at the end, so that
//! however often something changes within a turn, it is written once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use model::{Answer, AttemptId, BackfillId, CommandId, DagId, NotificationId, RunKey, TaskState, TiKey};
use uuid::Uuid;

use super::instance::{Core, Instance};
use crate::{
    plan::{AskedRow, Effect, Plan, ResponseRow},
    state::{RunRow, TiExtra},
};

/// How many rows one turn changes at most before it leaves the rest to the next: a longer transaction would hold up
/// every other event.
pub const ROW_CHANGES_MAX: usize = 20_000;

/// The turn so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Instances that were touched, with what was stored of them.
    pub instances: BTreeMap<TiKey, Before>,
    /// Instances whose row goes, with the state that it has.
    pub instances_dropped: BTreeMap<TiKey, TaskState>,
    /// Runs that were touched.
    pub runs: BTreeSet<RunKey>,
    /// Rows of runs as they are stored, by their key; to tell a touched run from a changed one.
    pub run_rows: BTreeMap<RunKey, RunRow>,
    /// Runs that came into memory, or lost their last attempt, in this turn: they may leave memory at its end.
    pub visitors: BTreeSet<RunKey>,
    /// DAGs whose row was touched.
    pub dags: BTreeSet<DagId>,
    /// Backfills whose row was touched, with their DAG.
    pub backfills: BTreeMap<BackfillId, DagId>,
    /// Entries of queues of assets that were touched.
    pub queued_assets: BTreeSet<crate::assets::Entry>,
    /// Pools of which attempts have started that their rate limits count.
    pub pools_started: BTreeSet<String>,
    /// What goes into the plan as it comes.
    pub plan: Plan,
    run_keys: Range<i64>,
    ids: Ids,
}

/// What was stored of an instance before the turn.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    pub core: Core,
    pub stored: Option<TaskState>,
    pub extra: Option<Box<TiExtra>>,
}

impl Draft {
    /// The draft of a turn whose random ids come from `seed`, and whose new runs get these keys.
    pub fn new(seed: u128, run_keys: Range<i64>) -> Self {
        Self { ids: Ids::new(seed), run_keys, ..Self::default() }
    }

    /// The key of a new run; none when the leader has reserved no more.
    pub fn run_key(&mut self) -> Option<RunKey> {
        self.run_keys.next().map(RunKey)
    }

    /// Whether the turn has changed as many rows as it may.
    pub fn is_full(&self) -> bool {
        let told = self.plan.notifications.len() + self.plan.deadlines.len();
        let others = self.plan.backfill_runs.len() + self.asset_rows() + told;
        self.instances.len() + self.runs.len() + others >= ROW_CHANGES_MAX
    }

    /// How many rows of assets it changes.
    fn asset_rows(&self) -> usize {
        self.plan.asset_events.len() + self.plan.assets_consumed.len() + self.queued_assets.len()
    }

    /// Remembers what is stored of an instance, at its first touch.
    pub fn touch(&mut self, key: TiKey, instance: &Instance) {
        self.instances.entry(key).or_insert_with(|| Before {
            core: instance.core,
            stored: instance.stored,
            extra: instance.extra.clone(),
        });
    }

    /// Remembers what is stored of a run, at its first touch.
    pub fn touch_run(&mut self, row: &RunRow) {
        if self.runs.insert(row.key) {
            self.run_rows.insert(row.key, row.clone());
        }
    }

    pub fn effect(&mut self, effect: Effect) {
        self.plan.effects.push(effect);
    }

    pub fn answer(&mut self, id: CommandId, answer: Answer) {
        self.plan.answers.push((id, answer));
    }

    pub fn drop_xcoms(&mut self, key: TiKey) {
        self.plan.xcoms.retain(|(of, _)| *of != key);
        self.plan.xcoms_dropped.push(key);
    }

    /// A deadline is met. One that this turn has set is as if it had never been.
    pub fn drop_deadline(&mut self, id: Uuid) {
        let set = self.plan.deadlines.len();
        self.plan.deadlines.retain(|row| row.id != id);
        if self.plan.deadlines.len() == set {
            self.plan.deadlines_dropped.push(id);
        }
    }

    /// A deadline is missed.
    pub fn miss_deadline(&mut self, id: Uuid) {
        match self.plan.deadlines.iter_mut().find(|row| row.id == id) {
            Some(row) => row.is_missed = true,
            None => self.plan.deadlines_missed.push(id),
        }
    }

    /// The id of something that is told to the outside.
    pub fn notification_id(&mut self) -> NotificationId {
        NotificationId(self.ids.next_uuid())
    }

    /// An answer goes into the row of its question when that is new in this turn.
    pub fn answer_question(&mut self, response: ResponseRow) {
        let is_of = |asked: &&mut AskedRow| (asked.key, asked.try_number) == (response.key, response.try_number);
        match self.plan.asked.iter_mut().rfind(is_of) {
            Some(asked) => asked.response = Some(response),
            None => self.plan.responses.push(response),
        }
    }

    /// A new attempt's id.
    pub fn attempt_id(&mut self) -> AttemptId {
        AttemptId(self.ids.next_uuid())
    }
}

/// Random ids from a seed that the leader draws: two sequences of splitmix64, each from its half of the seed, so that an id is
/// as random as the seed is.
#[derive(Debug, Default)]
struct Ids {
    high: u64,
    low: u64,
}

impl Ids {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the seed")]
    fn new(seed: u128) -> Self {
        Self { high: (seed >> 64) as u64, low: seed as u64 }
    }

    fn next_uuid(&mut self) -> Uuid {
        let (high, low) = (splitmix(&mut self.high), splitmix(&mut self.low));
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    }
}

/// The next number of a sequence, whose every step is a different number.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::Draft;

    #[test]
    fn both_halves_of_the_seed_count() {
        let first = |seed| Draft::new(seed, 0..0).attempt_id();
        let ids = std::collections::BTreeSet::from([first(1), first(2), first(1 << 64), first((1 << 64) | 1)]);
        assert_eq!(ids.len(), 4);
    }
}
