//! Deferred waits: an attempt gives its slots back, and its worker goes on to look without them.
//!
//! The attempt stays live, so that its end is taken when it comes. It is no process, so nothing has to be waited for when its
//! instance leaves the state by another way: it is given up at once ([`Engine::give_up_wait`]). When its worker is lost the instance stays
//! deferred, and another worker takes the wait with a new attempt of the same try: that is no loss, whatever it costs the worker. It goes
//! before anything new is started, and needs no slot.

use std::collections::BTreeSet;

use model::{AttemptEnd, AttemptId, TaskEvent, TaskState, TiKey, Timestamp, WorkerId};

use super::attempt::non_empty;
use crate::{
    Effect, Engine,
    memory::{instance::Place, ready::ClassId},
};

impl Engine {
    /// An attempt has looked, and waits without a slot. Its time counts from its first look, and what that left is there at once.
    pub(super) fn attempt_deferred(
        &mut self,
        (worker, attempt): (WorkerId, AttemptId),
        at: Timestamp,
        end: &AttemptEnd,
    ) {
        let Some(place) = self.live_place(worker, attempt) else { return };
        // One that is being stopped ends as it was to.
        if !matches!(self.core(place).state, TaskState::Queued | TaskState::Running) {
            return;
        }
        self.attempt_started(worker, attempt, at);
        let began = self.core(place).started_at;
        self.step(place, TaskEvent::Deferred);
        self.write_extra(place, |extra| {
            extra.first_poke_at = extra.first_poke_at.or(began);
            extra.reason = non_empty(&end.reason);
        });
        self.keep_xcoms(place, end);
    }

    /// A deferred instance is to leave its state: nobody waits for its worker to say that it has stopped.
    pub(super) fn give_up_wait(&mut self, place: Place, reason: &str) {
        if self.core(place).state == TaskState::Deferred {
            self.kill(place, reason);
            self.write(place, |core| core.live = false);
        }
    }

    /// The worker of a live attempt does not hold it any more, and its instance is deferred.
    pub(crate) fn set_adrift(&mut self, place: Place) {
        let run = self.known_run(place.run);
        let (class, key) = (run.def.class(place.task), run.key_of(place.at()));
        self.adrift.lose(class, key);
    }

    /// Gives waits that no worker holds to those that can, each to the one with the fewest attempts. What nobody can take waits.
    pub(super) fn hand_waits(&mut self) {
        for class in self.adrift.classes() {
            let mut takers = self.workers.takers(&self.ready.demand(class).of_wait());
            while let Some(key) = self.next_adrift(class, &takers) {
                if self.draft.is_full() {
                    self.leave_rest();
                    return;
                }
                let Some(place) = self.place_of(key) else {
                    self.adrift.remove(class, key);
                    continue;
                };
                match takers.pop_first() {
                    Some((held, worker)) => {
                        self.hand_wait(place, key, worker);
                        takers.insert((held + 1, worker));
                    }
                    None => self.write(place, |core| core.live = false),
                }
            }
        }
    }

    /// The next wait of a class: one that is lost in any case, one that waits when somebody can take it.
    fn next_adrift(&self, class: ClassId, takers: &BTreeSet<(usize, WorkerId)>) -> Option<TiKey> {
        let waiting = || self.adrift.first_waiting(class).filter(|_| !takers.is_empty());
        self.adrift.first_lost(class).or_else(waiting)
    }

    fn hand_wait(&mut self, place: Place, key: TiKey, worker: WorkerId) {
        let attempt = self.draft.attempt_id();
        self.write(place, |core| {
            core.attempt = Some(attempt);
            core.worker = Some(worker);
            core.live = true;
        });
        self.draft.effect(Effect::Assign { worker, key, attempt });
    }
}
