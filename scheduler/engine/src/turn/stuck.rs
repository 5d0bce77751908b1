//! Attempts that were given to a worker which does not begin them.
//!
//! As in Airflow (`[scheduler] task_queued_timeout`), such an attempt is taken back and given out anew, at no cost to the task's
//! retries; after [`REQUEUES_MAX`] times in a row its task fails, whatever its retries say. An attempt that begins sets the count
//! back. The old attempt is stopped, and as long as its worker has not said that it is over it holds its slots, and the next one
//! waits: what is given out twice never runs twice.

use model::{CallbackEvent, TaskEvent, TaskState, TiKey, task::Retry};

use crate::{Engine, FailureRow, memory::instance::Place};

/// So often an attempt that does not begin is given out anew (Airflow's `num_stuck_in_queued_retries`).
pub(crate) const REQUEUES_MAX: i16 = 2;

impl Engine {
    /// An attempt has been queued for too long.
    pub(super) fn take_back(&mut self, key: TiKey) {
        let place = self.place_of(key).expect("what is queued is in memory");
        debug_assert_eq!(self.core(place).state, TaskState::Queued, "only what is queued is taken back");
        let requeues = self.known_run(place.run).instance(place.at()).extra().requeues;
        let limit = self.queued_timeout(place).as_secs_f64();
        let worker =
            self.core(place).worker.map_or_else(|| "its worker".to_owned(), |worker| self.workers.name(worker));
        let stuck = format!("{worker} did not begin it within its task_queued_timeout of {limit} s");
        if requeues < REQUEUES_MAX {
            self.requeue(place, &format!("{stuck}; it is queued again ({} of {REQUEUES_MAX})", requeues + 1));
        } else {
            self.give_up(place, &format!("{stuck}, and was queued again {requeues} times before"));
        }
    }

    fn requeue(&mut self, place: Place, reason: &str) {
        let max_tries = self.known_run(place.run).max_tries(place.at());
        self.kill(place, reason);
        self.write_extra(place, |extra| {
            extra.requeues += 1;
            extra.max_tries = Some(max_tries.saturating_add(1));
            extra.reason = Some(reason.to_owned());
            extra.forget_pokes();
        });
        self.step(place, TaskEvent::Lost);
        self.mark_one_dirty(place.run, place.at());
    }

    fn give_up(&mut self, place: Place, reason: &str) {
        let (key, try_number, now) = (self.key_of(place), self.core(place).try_number, self.now);
        self.kill(place, reason);
        self.draft.plan.failures.push(FailureRow { key, try_number, failed_at: now, reason: reason.to_owned() });
        self.write_extra(place, |extra| {
            extra.requeues = 0;
            extra.reason = Some(reason.to_owned());
            extra.forget_pokes();
        });
        self.step(place, TaskEvent::Failed(Retry::Exhausted));
        self.write(place, |core| core.ended_at = Some(now));
        self.owe_for_task(place, CallbackEvent::Failure, reason);
        self.fail_fast(place);
    }

    /// An attempt has begun: whether earlier ones did counts no more.
    pub(super) fn forget_requeues(&mut self, place: Place) {
        let instance = self.known_run(place.run).instance(place.at());
        if instance.extra.as_deref().is_some_and(|extra| extra.requeues > 0) {
            self.write_extra(place, |extra| extra.requeues = 0);
        }
    }
}
