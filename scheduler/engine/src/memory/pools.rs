//! Pools and what is taken of them.

use std::collections::BTreeMap;

use model::Pool;

/// Every pool. Its use is a counter that follows live attempts.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: BTreeMap<String, Pool>,
    used: BTreeMap<String, Used>,
}

/// What is taken of a pool. It is counted for pools that do not exist, too: they may be made while attempts run.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    live: u32,
    deferred: u32,
}

/// What a slot of a pool is taken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenBy {
    LiveAttempt,
    Deferred,
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

    pub fn take(&mut self, name: &str, slots: u32, by: TakenBy) {
        if !self.used.contains_key(name) {
            self.used.insert(name.to_owned(), Used::default());
        }
        let used = self.used.get_mut(name).expect("it was inserted above");
        match by {
            TakenBy::LiveAttempt => used.live += slots,
            TakenBy::Deferred => used.deferred += slots,
        }
    }

    pub fn give_back(&mut self, name: &str, slots: u32, by: TakenBy) {
        let used = self.used.get_mut(name).expect("what is given back was taken");
        match by {
            TakenBy::LiveAttempt => used.live -= slots,
            TakenBy::Deferred => used.deferred -= slots,
        }
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
