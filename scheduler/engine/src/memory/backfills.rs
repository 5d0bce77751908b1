//! A backfill that is not over, and its runs that have not ended.

use std::collections::BTreeSet;

use model::RunKey;

use crate::state::BackfillRow;

/// A backfill that is not over.
#[derive(Debug)]
pub(crate) struct Backfill {
    pub row: BackfillRow,
    /// Its runs that wait to start, in its order.
    pub queued: BTreeSet<(i32, RunKey)>,
    /// Its runs that are running.
    pub running: BTreeSet<RunKey>,
}

impl Backfill {
    pub fn new(row: BackfillRow) -> Self {
        Self { row, queued: BTreeSet::new(), running: BTreeSet::new() }
    }

    /// Whether it may look at a further date: not too many of its runs wait already.
    pub fn wants_runs(&self) -> bool {
        !self.row.is_planned && !self.row.is_paused && self.queued.len() < WAITING_MAX
    }

    /// Its next run that may start; none when it is held back, or so many run as may.
    pub fn next_to_start(&self) -> Option<RunKey> {
        let most = usize::try_from(self.row.max_active_runs).unwrap_or(usize::MAX);
        let may_start = !self.row.is_paused && self.running.len() < most;
        self.queued.first().filter(|_| may_start).map(|(_, key)| *key)
    }

    /// Whether nothing of it is left to be done.
    pub fn is_over(&self) -> bool {
        self.row.is_planned && self.queued.is_empty() && self.running.is_empty()
    }
}

/// So many runs of a backfill wait to start at most; the others are made when these have started. A backfill of ten years
/// of minutes has no more in memory than this.
pub(crate) const WAITING_MAX: usize = 1_000;

/// Whose limits a run goes by.
#[derive(Debug)]
pub(crate) enum Lane<'d> {
    /// Its DAG's.
    Own,
    /// Its backfill's, with its place there.
    Backfill(&'d mut Backfill, i32),
    /// Nobody's: its backfill was cancelled while it was running.
    Straggler,
}
