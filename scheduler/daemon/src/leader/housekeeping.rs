//! Housekeeping between turns: what nobody needs any more goes, a little at a time.
//!
//! Nothing depends on it, so an error of it is said and ends nothing; only a leadership that is lost meanwhile ends.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use store::{
    StoreError,
    maintenance::{self, Swept},
    quarantine,
    retention::{Cleaned, Cleaner, Retention},
};

use super::{
    announce::Announcement,
    reign::{BEAT, Reign},
};

/// Answers are kept for a minute.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often to look whether old history is to go.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// How often memory is counted anew. A difference is a defect, and until it is found it may hold tasks back.
const COUNT_EVERY: Duration = Duration::from_secs(600);
/// The pause between two steps of deleting it: a step of runs is some 50 ms, in which no turn is stored.
const CLEAN_PAUSE: Duration = Duration::from_millis(250);
/// The part of each second that goes to what belongs to deleted runs, while there is any.
const DROPPED_SWEEP: Duration = Duration::from_millis(100);

/// What is due when.
#[derive(Debug)]
pub(super) struct Housekeeping {
    next_sweep: Instant,
    next_dropped_sweep: Instant,
    cleaner: Cleaner,
    next_clean: Instant,
    next_count: Instant,
}

impl Housekeeping {
    /// Of a leadership that begins.
    pub(super) fn new(retention: Retention) -> Self {
        let now = Instant::now();
        Self {
            next_sweep: now + SWEEP_EVERY,
            next_dropped_sweep: now,
            cleaner: Cleaner::new(retention),
            next_clean: now + CLEAN_EVERY,
            next_count: now + COUNT_EVERY,
        }
    }

    /// Runs have gone: what belongs to them is swept soon.
    pub(super) fn runs_have_gone(&mut self) {
        self.next_dropped_sweep = Instant::now();
    }
}

impl Reign {
    /// Does what is due, after a turn.
    pub(super) async fn keep_house(&mut self) -> Result<(), StoreError> {
        if Instant::now() >= self.housekeeping.next_sweep {
            self.housekeeping.next_sweep = Instant::now() + SWEEP_EVERY;
            self.sweep().await?;
        }
        if Instant::now() >= self.housekeeping.next_clean {
            self.clean().await?;
        }
        if Instant::now() >= self.housekeeping.next_dropped_sweep {
            self.sweep_dropped_runs().await?;
        }
        if Instant::now() >= self.housekeeping.next_count {
            self.count_memory().await?;
        }
        Ok(())
    }

    /// Counts memory anew. What it has wrong is said and counted, and mended by loading memory as it is stored.
    async fn count_memory(&mut self) -> Result<(), StoreError> {
        self.housekeeping.next_count = Instant::now() + COUNT_EVERY;
        let counted = std::panic::catch_unwind(AssertUnwindSafe(|| self.engine.verify()));
        let found = counted.unwrap_or_else(|_| vec!["it can not be counted: the engine gave up".to_owned()]);
        if found.is_empty() {
            return Ok(());
        }
        for difference in &found {
            tracing::error!(difference, "the leader's memory is not what its instances say");
        }
        self.metrics.differed(found.len());
        tracing::warn!(differences = found.len(), "the leader's memory is loaded again");
        self.reload(&BTreeMap::new()).await
    }

    /// Removes what nobody waits for or needs any more, and looks how much is in quarantine.
    async fn sweep(&mut self) -> Result<(), StoreError> {
        if unless_lost(maintenance::sweep(&mut self.writer, self.epoch).await, 0)? > 0 {
            self.housekeeping.cleaner.files_may_be_unused();
        }
        let before = self.quarantined;
        self.quarantined = unless_lost(quarantine::held_count(self.writer.connection()).await, before)?;
        // A hint that something is released may have been lost.
        self.has_more_commands |= !self.held.is_empty();
        Ok(())
    }

    /// Removes what belongs to runs that are gone, as long as there is any, for a part of each second.
    async fn sweep_dropped_runs(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut swept = Swept::Some;
        while swept == Swept::Some && began.elapsed() < DROPPED_SWEEP {
            swept = unless_lost(maintenance::sweep_dropped_runs(&mut self.writer, self.epoch).await, Swept::All)?;
        }
        let pause = match swept {
            Swept::All => SWEEP_EVERY,
            Swept::Some => BEAT,
        };
        self.housekeeping.next_dropped_sweep = Instant::now() + pause;
        Ok(())
    }

    /// Takes a step of deleting old history. Pages count what there is, so they hear of it.
    async fn clean(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let step = self.housekeeping.cleaner.step(&mut self.writer, self.epoch, now).await;
        let Cleaned { left, rows, runs } = unless_lost(step, Cleaned { left: Swept::All, rows: 0, runs: 0 })?;
        if rows > 0 {
            self.announcer.send(Announcement::Everything);
        }
        if runs > 0 {
            self.housekeeping.runs_have_gone();
        }
        let pause = match left {
            Swept::All => CLEAN_EVERY,
            Swept::Some => CLEAN_PAUSE,
        };
        self.housekeeping.next_clean = Instant::now() + pause;
        Ok(())
    }
}

/// What a piece of housekeeping has come to; what stands for it when it failed. The next time it is tried again.
fn unless_lost<T>(done: Result<T, StoreError>, failed: T) -> Result<T, StoreError> {
    match done {
        Err(error) if !error.ends_leadership() => {
            tracing::warn!(%error, "a piece of housekeeping has failed; it is tried again later");
            Ok(failed)
        }
        done => done,
    }
}
