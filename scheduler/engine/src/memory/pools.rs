//! Pools and what is taken of them.

use std::collections::{BTreeMap, BTreeSet};

use model::Pool;

/// Every pool. Its use is a counter that follows live attempts.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: BTreeMap<String, Pool>,
    used: BTreeMap<String, Used>,
}

/// What is taken of a pool. It is counted for pools that do not exist, too: they may be made while attempts run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    live: u32,
    queued: u32,
    deferred: u32,
    scheduled: u32,
}

impl Used {
    fn slots_mut(&mut self, by: TakenBy) -> &mut u32 {
        match by {
            TakenBy::LiveAttempt => &mut self.live,
            TakenBy::QueuedAttempt => &mut self.queued,
            TakenBy::Deferred => &mut self.deferred,
            TakenBy::Waiting => &mut self.scheduled,
        }
    }
}

/// What a slot of a pool is taken by, or asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenBy {
    LiveAttempt,
    /// A live attempt that has not begun; it counts as live, too.
    QueuedAttempt,
    Deferred,
    /// Takes nothing yet.
    Waiting,
}

impl TakenBy {
    pub const ALL: [Self; 4] = [Self::LiveAttempt, Self::QueuedAttempt, Self::Deferred, Self::Waiting];
}

/// How the slots of a pool are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSlots {
    /// By attempts that run.
    pub running: u32,
    /// By attempts that have a slot and have not begun.
    pub queued: u32,
    /// Asked for by instances that wait for them.
    pub scheduled: u32,
    /// By deferred instances.
    pub deferred: u32,
    /// What counts against the pool's limit.
    pub occupied: u32,
}

/// Whether a task's slots are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// So many of so many are taken.
    Full {
        used: u32,
        total: u32,
    },
    /// The task asks for more than there is.
    TooSmall {
        total: u32,
    },
    NoSuchPool,
}

impl Pools {
    pub fn set(&mut self, pool: Pool) {
        self.pools.insert(pool.name.clone(), pool);
    }

    pub fn remove(&mut self, name: &str) -> Option<Pool> {
        self.pools.remove(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.pools.contains_key(name)
    }

    /// Every pool, and every one that tasks name although it does not exist.
    pub fn names(&self) -> BTreeSet<&str> {
        let named = self.used.iter().filter(|(_, used)| used.live + used.deferred + used.scheduled > 0);
        self.pools.keys().chain(named.map(|(name, _)| name)).map(String::as_str).collect()
    }

    /// How many slots a pool has; none when it has no limit, or does not exist.
    pub fn total(&self, name: &str) -> Option<u32> {
        self.pools.get(name)?.slots
    }

    /// How the slots of a pool are used.
    pub fn slots_in_use(&self, name: &str) -> PoolSlots {
        let used = self.used.get(name).copied().unwrap_or_default();
        PoolSlots {
            running: used.live - used.queued,
            queued: used.queued,
            scheduled: used.scheduled,
            deferred: used.deferred,
            occupied: self.used(name),
        }
    }

    pub fn take(&mut self, name: &str, slots: u32, by: TakenBy) {
        if !self.used.contains_key(name) {
            self.used.insert(name.to_owned(), Used::default());
        }
        *self.used.get_mut(name).expect("it was inserted above").slots_mut(by) += slots;
    }

    pub fn give_back(&mut self, name: &str, slots: u32, by: TakenBy) {
        *self.used.get_mut(name).expect("what is given back was taken").slots_mut(by) -= slots;
    }

    /// All that is counted of a pool.
    pub fn taken(&self, name: &str) -> Used {
        self.used.get(name).copied().unwrap_or_default()
    }

    /// How many slots are taken.
    pub fn used(&self, name: &str) -> u32 {
        let used = self.used.get(name).copied().unwrap_or_default();
        let deferred = self.pools.get(name).is_some_and(|pool| pool.include_deferred);
        used.live + if deferred { used.deferred } else { 0 }
    }

    /// Whether so many slots are free.
    pub fn room(&self, name: &str, slots: u32) -> Room {
        let Some(pool) = self.pools.get(name) else { return Room::NoSuchPool };
        let used = self.used(name);
        match pool.slots {
            None => Room::Free,
            Some(total) if slots > total => Room::TooSmall { total },
            Some(total) if used >= total || slots > total - used => Room::Full { used, total },
            Some(_) => Room::Free,
        }
    }
}
