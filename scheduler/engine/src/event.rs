//! What can happen to the engine. An event carries facts only; the instant of the turn is the input's.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    AttemptEnd, AttemptId, Capability, Command, CommandId, DagId, DagRunState, DagVersionId, RunId, RunKey, Timestamp,
    WorkerId,
};

use crate::state::DagVersion;

/// One turn's input.
#[derive(Debug, Clone)]
pub struct Input {
    /// The instant of the turn: the database's clock, never below the last turn's.
    pub now: Timestamp,
    /// Where random ids of this turn come from: drawn by the leader, so that the engine draws nothing.
    pub seed: u128,
    /// The key of the next run that is made; the leader reserves keys from the store's sequence.
    pub run_keys: std::ops::Range<i64>,
    /// What happened, in order. Timers that are due by `now` fire first, without an event.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Someone asks for something; the answer is part of the plan.
    Command {
        /// The inbox row, deleted in the same turn.
        id: CommandId,
        /// Who asks.
        by: String,
        /// What is asked.
        command: Command,
    },
    /// An attempt's process has started.
    AttemptStarted {
        /// Who says so.
        worker: WorkerId,
        /// Which attempt.
        attempt: AttemptId,
        /// When, by the worker's report of how long ago.
        at: Timestamp,
    },
    /// An attempt waits without a slot from now on, in its worker. One that is not live changes nothing.
    AttemptDeferred {
        /// Who says so, and holds the wait.
        worker: WorkerId,
        /// Which attempt.
        attempt: AttemptId,
        /// When it began, by the worker's report of how long ago.
        at: Timestamp,
        /// What its first look found and left.
        end: Arc<AttemptEnd>,
    },
    /// An attempt has ended. One that is not live changes nothing.
    AttemptEnded {
        /// Who says so.
        worker: WorkerId,
        /// Which attempt.
        attempt: AttemptId,
        /// How; shared, because a turn's events are kept until it is stored.
        end: Arc<AttemptEnd>,
    },
    /// A worker is there: new, or back with a new connection.
    WorkerJoined(WorkerJoined),
    /// A worker is silent: nothing new is given to it, what it runs may go on.
    WorkerSilent(WorkerId),
    /// A worker was asked to end, and says so: nothing new is given to it, what it runs goes on until it hands it back.
    WorkerLeaving(WorkerId),
    /// A worker is proven dead: what it ran is lost, and tried again on the infrastructure budget.
    WorkerLost(WorkerId),
    /// A DAG was seen for the first time, or in a new version; it is stored already.
    DagVersionStored {
        /// The version that is current from now on.
        version: DagVersion,
    },
    /// No file defines the DAG any more: nothing new starts, what runs goes on.
    DagGone(DagId),
    /// A turn was cut short by its limits: go on.
    Continue,
}

/// A worker that can be given attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerJoined {
    /// Its number.
    pub worker: WorkerId,
    /// Its name, for sentences.
    pub name: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The queues that it serves.
    pub queues: BTreeSet<String>,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// The operators that it knows, by their short names.
    pub operators: BTreeSet<String>,
    /// The attempts that it holds. A live attempt of this worker that is not among them is lost.
    pub attempts: BTreeSet<AttemptId>,
    /// Whether it was asked to end: nothing new is given to it.
    pub leaving: bool,
}

/// A fact that the engine lacks to decide an event; the leader loads it and calls [`crate::Engine::provide`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A run that is not in memory, with its instances.
    Run {
        /// Its DAG.
        dag: DagId,
        /// Its id.
        run: RunId,
    },
    /// The latest run of the DAG before a date, with its instances.
    PreviousRun {
        /// The DAG.
        dag: DagId,
        /// Before this logical date.
        before: Timestamp,
        /// Which types of run count.
        counts: PreviousCounts,
    },
    /// The newest runs of a DAG by `run_after`, ended or not.
    NewestRuns {
        /// The DAG.
        dag: DagId,
        /// So many at most.
        most: u32,
    },
    /// How long the last runs of a DAG took that have succeeded.
    AverageRuntime {
        /// The DAG.
        dag: DagId,
        /// So many at most.
        most: u32,
    },
    /// A version that is not in memory, because no unfinished run is pinned to it.
    Version(DagVersionId),
    /// Whether a run of this id or this logical date exists.
    RunExists {
        /// The DAG.
        dag: DagId,
        /// Its id.
        run: RunId,
        /// Its logical date.
        logical_date: Option<Timestamp>,
    },
}

/// Which runs count as the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PreviousCounts {
    /// Every run (a DAG without catchup).
    EveryRun,
    /// Every run that nobody triggered by hand (a DAG with catchup).
    AllButManual,
}

/// A fact that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// What is stored of a run; none when it does not exist.
    Run {
        /// What was asked.
        need: Need,
        /// The run.
        run: Option<Box<crate::state::StoredRun>>,
    },
    /// Which run has the id or the date, if any.
    Exists {
        /// What was asked.
        need: Need,
        /// The run that is in the way.
        existing: Option<(RunKey, RunId, DagRunState)>,
    },
    /// The newest runs of a DAG.
    NewestRuns {
        /// What was asked.
        need: Need,
        /// When each was due, its number and its state.
        runs: Vec<(Timestamp, RunKey, DagRunState)>,
    },
    /// How long runs took.
    Runtimes {
        /// What was asked.
        need: Need,
        /// Each, the newest first.
        runtimes: Vec<chrono::TimeDelta>,
    },
    /// A version that was asked for; none when it is not stored.
    Version {
        /// What was asked.
        need: Need,
        /// The version.
        version: Option<Box<DagVersion>>,
    },
}
