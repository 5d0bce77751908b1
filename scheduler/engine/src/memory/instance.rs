//! A task instance in memory.

use model::{AttemptId, MapIndex, RunKey, TaskEvent, TaskState, TiKey, Timestamp, TryNumber, WorkerId};

use dag::TaskPos;

use super::pools::TakenBy;
use crate::state::{TiExtra, TiRow};

/// An instance of a run: the position of its task in the run's version, and which of the task's instances it is.
///
/// Where it stands for a task as a whole, as in what is to be decided again, the index is that of a task that is not expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TiPos {
    /// The task.
    pub task: TaskPos,
    /// Which of its instances.
    pub map: MapIndex,
}

impl TiPos {
    /// The one instance of a task that is not expanded, or not yet; or a task as a whole.
    pub const fn whole(task: TaskPos) -> Self {
        Self { task, map: MapIndex::UNMAPPED }
    }
}

/// Where an instance lies in memory: its run, the position of its task in the run's version, and its map index.
///
/// It is good only until the run goes on with another version, in which the task may stand elsewhere or not at all. Whoever
/// keeps something beyond a call keeps the [`TiKey`], and looks the place up with [`crate::Engine::place_of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The run.
    pub run: RunKey,
    /// The task.
    pub task: TaskPos,
    /// Which of its instances.
    pub map: MapIndex,
}

impl Place {
    /// The same within its run.
    pub const fn at(self) -> TiPos {
        TiPos { task: self.task, map: self.map }
    }
}

/// The columns of `task_instance`, with `scheduled` as a state of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Core {
    pub try_number: TryNumber,
    pub state: TaskState,
    pub attempt: Option<AttemptId>,
    pub live: bool,
    pub worker: Option<WorkerId>,
    pub queued_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

impl Core {
    /// An instance to which nothing has happened.
    pub const BLANK: Self = Self {
        try_number: TryNumber(0),
        state: TaskState::NoStatus,
        attempt: None,
        live: false,
        worker: None,
        queued_at: None,
        started_at: None,
        ended_at: None,
    };

    /// Takes the step of the lifecycle that an event leads to.
    pub fn step(&mut self, event: TaskEvent) {
        self.state = self.state.after(event).expect("the engine asks only for steps that the lifecycle has");
    }

    /// Forgets the last attempt, which has become a row of `task_try`; the count of tries stays.
    pub fn forget_attempt(&mut self) {
        *self = Self { try_number: self.try_number, state: self.state, ..Self::BLANK };
    }

    /// Whether it waits for nothing but a slot.
    pub fn wants_slot(&self) -> bool {
        self.state == TaskState::Scheduled && !self.live
    }

    /// Whether its pool's slots are taken, or asked for, in this way.
    pub fn takes(&self, by: TakenBy) -> bool {
        match by {
            TakenBy::LiveAttempt => self.live && self.state != TaskState::Deferred,
            TakenBy::QueuedAttempt => self.live && self.state == TaskState::Queued,
            TakenBy::Deferred => self.state == TaskState::Deferred,
            TakenBy::Waiting => self.wants_slot(),
        }
    }

    /// Whether it waits without a slot, and no worker holds the wait.
    pub fn is_adrift(&self) -> bool {
        self.state == TaskState::Deferred && !self.live
    }

    /// What is held of which worker; none without a live attempt.
    pub fn grip(&self) -> Option<Grip> {
        let (true, Some(attempt), Some(worker)) = (self.live, self.attempt, self.worker) else { return None };
        let on = if self.state == TaskState::Deferred { On::Aside } else { On::Slot };
        Some(Grip { attempt, worker, on })
    }

    /// Whether it counts against limits on active instances.
    pub fn is_active(&self) -> bool {
        self.live || matches!(self.state, TaskState::Deferred | TaskState::AwaitingInput)
    }
}

/// What a live attempt holds of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grip {
    pub attempt: AttemptId,
    pub worker: WorkerId,
    pub on: On,
}

/// How a live attempt is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// As its task demands.
    Slot,
    /// Deferred: it holds no slot of anything.
    Aside,
}

/// A task instance.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// Its columns.
    pub core: Core,
    /// The state that its row has; none while it has no row.
    pub stored: Option<TaskState>,
    /// What its side row has; none for the default.
    pub extra: Option<Box<TiExtra>>,
    /// Since when it waits, or waited, for nothing but a slot; not known of one that was loaded.
    pub ready_at: Option<Timestamp>,
}

impl Instance {
    /// An instance without a row.
    pub const fn blank() -> Self {
        Self { core: Core::BLANK, stored: None, extra: None, ready_at: None }
    }

    /// What its row says.
    pub fn restored(row: &TiRow) -> Self {
        let core = Core {
            try_number: row.try_number,
            state: row.state,
            attempt: row.attempt,
            live: row.live,
            worker: row.worker,
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        };
        let extra = (row.extra != TiExtra::default()).then(|| Box::new(row.extra.clone()));
        Self { core, stored: Some(row.state), extra, ready_at: None }
    }

    /// The state that its row has. `scheduled` is never stored: one that has a try behind it waits for the next, a sensor between
    /// two looks waits for the next one, and any other is in no state.
    pub fn state_to_store(&self) -> TaskState {
        match self.core.state {
            TaskState::Scheduled if self.pokes_again() => TaskState::UpForReschedule,
            TaskState::Scheduled if self.core.attempt.is_some() && !self.core.live => TaskState::UpForRetry,
            TaskState::Scheduled => TaskState::NoStatus,
            state => state,
        }
    }

    /// Whether its next attempt goes on with its try: it is a sensor that looks again.
    pub fn pokes_again(&self) -> bool {
        self.core.attempt.is_some()
            && !self.core.live
            && self.extra.as_deref().is_some_and(|extra| extra.first_poke_at.is_some())
    }

    /// Its side row.
    pub fn extra(&self) -> TiExtra {
        self.extra.as_deref().cloned().unwrap_or_default()
    }

    /// Its row.
    pub fn row(&self, key: TiKey) -> TiRow {
        let Core { try_number, attempt, live, worker, queued_at, started_at, ended_at, .. } = self.core;
        TiRow {
            key,
            try_number,
            state: self.state_to_store(),
            attempt,
            live,
            worker,
            queued_at,
            started_at,
            ended_at,
            extra: self.extra(),
        }
    }
}
