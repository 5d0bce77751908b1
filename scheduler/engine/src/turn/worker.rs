//! Workers come, fall silent and are lost.

use model::{AttemptEnd, AttemptId, EndKind, TaskState, WorkerId};

use crate::{Engine, WorkerJoined, memory::workers::Presence};

impl Engine {
    pub(super) fn worker_joined(&mut self, joined: WorkerJoined) {
        let (worker, held) = (joined.worker, joined.attempts.clone());
        let left = self.workers.get(worker).is_some_and(|known| known.joined.leaving);
        let leaving = joined.leaving;
        self.workers.join(WorkerJoined { leaving: leaving || left, ..joined }, Presence::Connected);
        for attempt in self.live_attempts(worker) {
            if held.contains(&attempt) {
                self.kill_unless_wanted(attempt);
            } else {
                self.lose(worker, attempt, "its worker does not run it any more");
            }
        }
        self.workers.set_leaving(worker, leaving);
        if leaving {
            self.waits_leave(worker);
        }
        self.worker_has_room(worker);
    }

    /// A worker was asked to end: what waits there is as good elsewhere, and goes at once.
    pub(super) fn worker_leaving(&mut self, worker: WorkerId) {
        self.workers.leaves(worker);
        self.waits_leave(worker);
    }

    fn waits_leave(&mut self, worker: WorkerId) {
        let live = self.live_attempts(worker).into_iter();
        let places: Vec<_> = live.filter_map(|attempt| self.place_of(*self.attempts.get(&attempt)?)).collect();
        for place in
            places.into_iter().filter(|place| self.core(*place).state == TaskState::Deferred).collect::<Vec<_>>()
        {
            self.set_adrift(place);
        }
    }

    pub(super) fn worker_lost(&mut self, worker: WorkerId) {
        let reason = format!("its worker {} was lost", self.workers.name(worker));
        for attempt in self.live_attempts(worker) {
            self.lose(worker, attempt, &reason);
        }
        self.workers.forget(worker);
    }

    fn live_attempts(&self, worker: WorkerId) -> Vec<AttemptId> {
        self.workers.get(worker).map(|known| known.live.iter().copied().collect()).unwrap_or_default()
    }

    /// What goes down with a worker that has said that it leaves was to be handed back: that was planned, and is no loss.
    fn lose(&mut self, worker: WorkerId, attempt: AttemptId, reason: &str) {
        if let Some(place) = self.attempts.get(&attempt).and_then(|key| self.place_of(*key)) {
            if self.core(place).state == TaskState::Deferred {
                return self.set_adrift(place);
            }
            let handed_back = self.workers.get(worker).is_some_and(|known| known.joined.leaving);
            self.end_attempt(place, &AttemptEnd { handed_back, ..AttemptEnd::new(EndKind::Lost, reason) });
        }
    }

    /// An order to end an attempt may have been lost with a connection or a leader: it is given again.
    fn kill_unless_wanted(&mut self, attempt: AttemptId) {
        if let Some(place) = self.attempts.get(&attempt).and_then(|key| self.place_of(*key))
            && !matches!(self.core(place).state, TaskState::Queued | TaskState::Running | TaskState::Deferred)
        {
            self.kill(place, "it was cleared or set to a final state while it ran");
        }
    }
}
