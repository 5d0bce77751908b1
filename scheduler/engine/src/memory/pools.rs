//! Pools and what is taken of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::TimeDelta;
use model::{Pool, RateLimit, Timestamp};

/// Every pool. Its use is a counter that follows live attempts.
///
/// Of a pool with a rate limit it is known when attempts of it started, as many as the limit counts and no more. In no span of the limit's
/// length, wherever it begins, do more start than it allows: another one may when so many starts ago lies a whole span back. The
/// starts are stored with the turn, so that a new leader goes on counting where the old one ended.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: BTreeMap<String, Pool>,
    starts: BTreeMap<String, VecDeque<Timestamp>>,
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
    /// As many have started as may in a span of time: the next may at this instant.
    Limited {
        limit: RateLimit,
        until: Timestamp,
    },
}

impl Pools {
    pub fn set(&mut self, pool: Pool) {
        if pool.rate_limit.is_none() {
            self.starts.remove(&pool.name);
        }
        self.pools.insert(pool.name.clone(), pool);
    }

    pub fn remove(&mut self, name: &str) -> Option<Pool> {
        self.starts.remove(name);
        self.pools.remove(name)
    }

    /// When attempts of a pool have started, as it is stored.
    pub fn set_starts(&mut self, name: &str, starts: Vec<Timestamp>) {
        if self.pools.get(name).is_some_and(|pool| pool.rate_limit.is_some()) {
            self.starts.insert(name.to_owned(), starts.into());
        }
    }

    /// The starts of a pool that its limit may still count, the oldest first.
    pub fn starts(&self, name: &str) -> Vec<Timestamp> {
        self.starts.get(name).into_iter().flatten().copied().collect()
    }

    /// An attempt starts. Whether that counts.
    pub fn note_start(&mut self, name: &str, now: Timestamp) -> bool {
        let Some(limit) = self.pools.get(name).and_then(|pool| pool.rate_limit) else { return false };
        let starts = self.starts.entry(name.to_owned()).or_default();
        starts.push_back(now);
        while starts.len() > limit.starts() as usize {
            starts.pop_front();
        }
        true
    }

    /// When the next attempt of a pool may start by its rate limit; none when it may now.
    fn limited(&self, pool: &Pool, now: Timestamp) -> Option<Room> {
        let limit = pool.rate_limit?;
        let starts = self.starts.get(&pool.name)?;
        let counted = starts.len().checked_sub(limit.starts() as usize)?;
        let until = *starts.get(counted)? + TimeDelta::seconds(i64::from(limit.secs()));
        (until > now).then_some(Room::Limited { limit, until })
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

    /// Whether so many slots are free, and an attempt may start now.
    pub fn room(&self, name: &str, slots: u32, now: Timestamp) -> Room {
        let Some(pool) = self.pools.get(name) else { return Room::NoSuchPool };
        let used = self.used(name);
        match pool.slots {
            Some(total) if slots > total => Room::TooSmall { total },
            Some(total) if used >= total || slots > total - used => Room::Full { used, total },
            Some(_) | None => self.limited(pool, now).unwrap_or(Room::Free),
        }
    }
}
