//! What one turn takes in: news turned into events of the engine, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet};

use engine::Event;
use model::{Answer, AttemptId, CommandId, WorkerId};

use super::peers::ConnectionId;

/// Events and what has to follow them.
#[derive(Debug, Default)]
pub struct Batch {
    /// For the engine.
    pub events: Vec<Event>,
    /// Commands that are answered without the engine.
    pub answers: Vec<(CommandId, Answer)>,
    /// The highest report of each connection that becomes durable with this turn.
    pub reports: BTreeMap<ConnectionId, u64>,
    /// Workers that said Hello, with the attempts that were never handed to them.
    pub welcomes: BTreeMap<WorkerId, Vec<AttemptId>>,
    /// Workers that are gone: a new leader does not wait for them.
    pub lost: Vec<WorkerId>,
    /// Attempts that have ended: nothing of them needs to be remembered.
    pub ended: BTreeSet<(WorkerId, AttemptId)>,
    /// Whether the inbox is to be read.
    pub reads_inbox: bool,
}

impl Batch {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.answers.is_empty() && self.welcomes.is_empty() && self.reports.is_empty()
    }

    /// A report was taken in.
    pub fn reported(&mut self, connection: ConnectionId, seq: u64) {
        let highest = self.reports.entry(connection).or_default();
        *highest = (*highest).max(seq);
    }
}
