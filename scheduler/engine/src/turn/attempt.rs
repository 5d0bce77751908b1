//! What workers report of attempts. A report of an attempt that is not live changes nothing.

use std::time::Duration;

use chrono::TimeDelta;
use model::{
    AttemptEnd, AttemptId, CallbackEvent, EndKind, Operator, TaskEvent, TaskState, Timestamp, WorkerId,
    operator::{OnReject, Returns},
    task::Retry,
};

use crate::{
    Engine, FailureRow, Started,
    memory::{instance::Place, timers::Timer},
    retry::{INFRASTRUCTURE_LOSSES_MAX, Loss, Pause},
};

/// Whether a start was heard before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// It was not.
    First,
    /// It was.
    Again,
}

impl Engine {
    pub(super) fn attempt_started(&mut self, worker: WorkerId, attempt: AttemptId, at: Timestamp) {
        let Some(place) = self.live_place(worker, attempt) else { return };
        let starts = self.note_start(place, at) == Heard::First && self.core(place).state == TaskState::Queued;
        self.write(place, |core| {
            if core.state == TaskState::Queued {
                core.step(TaskEvent::Started);
            }
            core.started_at = core.started_at.or(Some(at));
        });
        if starts {
            self.has_begun(place);
        }
    }

    /// It is the first time that an attempt is known to have begun.
    fn has_begun(&mut self, place: Place) {
        self.forget_requeues(place);
        self.owe_for_task(place, CallbackEvent::Execute, "");
    }

    /// Keeps for those who measure that an attempt has begun, the first time that it is heard.
    fn note_start(&mut self, place: Place, at: Timestamp) -> Heard {
        let instance = self.known_run(place.run).instance(place.at());
        if instance.core.started_at.is_some() {
            return Heard::Again;
        }
        let (ready_at, queued_at) = (instance.ready_at, instance.core.queued_at);
        self.draft.plan.started.push(Started { ready_at, queued_at, at });
        Heard::First
    }

    pub(super) fn attempt_ended(&mut self, worker: WorkerId, attempt: AttemptId, end: &AttemptEnd) {
        if let Some(place) = self.live_place(worker, attempt) {
            self.end_attempt(place, end);
        }
    }

    /// An attempt is over: its slots are free, and its instance goes on as the end says.
    pub(super) fn end_attempt(&mut self, place: Place, end: &AttemptEnd) {
        match self.core(place).state {
            // Whatever gives a wait back, another worker can hold it.
            TaskState::Deferred if matches!(end.kind, EndKind::Lost | EndKind::Asked | EndKind::Rescheduled) => {
                self.write(place, |core| core.live = false);
            }
            TaskState::Queued | TaskState::Running | TaskState::Deferred => self.end_as_reported(place, end),
            TaskState::Restarting => self.begin_anew(place),
            // Cleared after it was set to a final state: it waited for this attempt to end.
            TaskState::NoStatus | TaskState::Scheduled => self.free_for_next_try(place),
            // Its state was decided before its process ended.
            TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed
            | TaskState::UpForRetry
            | TaskState::UpForReschedule
            | TaskState::AwaitingInput => self.write(place, |core| core.live = false),
        }
        // The run may have waited for nothing else to leave memory.
        self.draft.visitors.insert(place.run);
    }

    pub(super) fn live_place(&self, worker: WorkerId, attempt: AttemptId) -> Option<Place> {
        let place = self.place_of(*self.attempts.get(&attempt)?)?;
        (self.core(place).worker == Some(worker)).then_some(place)
    }

    fn end_as_reported(&mut self, place: Place, end: &AttemptEnd) {
        let now = self.now;
        let ran = TimeDelta::microseconds(end.ran_micros.max(0));
        let heard = self.note_start(place, now - ran);
        self.write(place, |core| {
            core.started_at = core.started_at.or(Some(now - ran));
            core.ended_at = Some(now);
        });
        // One that its worker never began has executed nothing.
        if heard == Heard::First && (end.kind != EndKind::Lost || end.ran_micros > 0) {
            self.has_begun(place);
        }
        if self.core(place).state == TaskState::Deferred {
            // What its first look found.
            self.write_extra(place, |extra| extra.reason = None);
        }
        self.keep_xcoms(place, end);
        if let Some(name) = &end.rendered_map_index {
            self.write_extra(place, |extra| extra.rendered_map_index = Some(name.clone()));
        }
        match end.kind {
            EndKind::Success => self.succeeded(place, end),
            EndKind::Skipped => {
                self.finish_attempt(place, TaskEvent::Skipped);
                self.owe_for_task(place, CallbackEvent::Skipped, &end.reason);
            }
            EndKind::Failed | EndKind::TimedOut | EndKind::Killed => {
                let retry = self.retry_of(place);
                self.failed(place, end, retry);
            }
            EndKind::FailedForGood => self.failed(place, end, Retry::Exhausted),
            EndKind::Lost => self.lost(place, end),
            EndKind::Asked => self.asked(place, end),
            EndKind::Rescheduled => self.rescheduled(place, end),
        }
    }

    /// What an attempt left is there however it ended, until its next try begins.
    pub(super) fn keep_xcoms(&mut self, place: Place, end: &AttemptEnd) {
        let key = self.known_run(place.run).key_of(place.at());
        self.draft.plan.xcoms.extend(end.xcoms.iter().cloned().map(|xcom| (key, xcom)));
    }

    pub(super) fn succeeded(&mut self, place: Place, end: &AttemptEnd) {
        let run = self.known_run(place.run);
        let skips = match &run.def.task(place.task).operator {
            Operator::Branch(_) => run.skipped_by_branch(place.task, end.follow.as_deref().unwrap_or_default()),
            Operator::ShortCircuit(keys) if end.proceed == Some(false) => {
                Ok(run.skipped_by_short_circuit(place.task, keys.reach))
            }
            Operator::PythonCallable(keys) => match keys.returns {
                Returns::Follow => run.skipped_by_branch(place.task, end.follow.as_deref().unwrap_or_default()),
                Returns::Proceed(reach) if end.proceed == Some(false) => {
                    Ok(run.skipped_by_short_circuit(place.task, reach))
                }
                Returns::Proceed(_) | Returns::Value => Ok(crate::turn::skip::Skips::default()),
            },
            Operator::Approval(keys) if end.proceed == Some(false) => match keys.on_reject {
                OnReject::Skip(reach) => Ok(run.skipped_by_short_circuit(place.task, reach)),
                OnReject::Fail => Ok(crate::turn::skip::Skips::default()),
            },
            Operator::Choice(keys) if keys.options_mapping.is_some() => {
                run.skipped_by_branch(place.task, end.follow.as_deref().unwrap_or_default())
            }
            Operator::ShortCircuit(_)
            | Operator::Approval(_)
            | Operator::Choice(_)
            | Operator::Empty
            | Operator::Bash(_)
            | Operator::Docker(_)
            | Operator::Python(_)
            | Operator::Sql(_)
            | Operator::SqlCheck(_)
            | Operator::Service(_)
            | Operator::Http(_)
            | Operator::TriggerDagRun(_)
            | Operator::FileSensor(_)
            | Operator::HttpSensor(_)
            | Operator::SqlSensor(_)
            | Operator::ExternalTaskSensor(_)
            | Operator::KafkaProduce(_)
            | Operator::KafkaConsume(_)
            | Operator::KafkaSensor(_)
            | Operator::KafkaTopic(_)
            | Operator::KafkaLag(_)
            | Operator::DateTimeSensor(_)
            | Operator::TimeDeltaSensor(_)
            | Operator::LatestOnly => Ok(crate::turn::skip::Skips::default()),
        };
        let left = skips
            .map_err(|unknown| unknown.to_string())
            .and_then(|skips| Ok((skips, self.left_in(place, &end.xcoms)?)));
        match left {
            Ok((skips, length)) => {
                if length.is_some() {
                    self.write_extra(place, |extra| extra.map_length = length);
                }
                self.finish_attempt(place, TaskEvent::Succeeded);
                self.owe_for_task(place, CallbackEvent::Success, "");
                self.outlets_changed(place, &end.assets);
                self.skip(place, &skips);
            }
            Err(why) => {
                let retry = self.retry_of(place);
                self.failed(place, &AttemptEnd::new(EndKind::Failed, why), retry);
            }
        }
    }

    pub(super) fn failed(&mut self, place: Place, end: &AttemptEnd, retry: Retry) {
        let run = self.known_run(place.run);
        let (key, task) = (run.key_of(place.at()), run.def.task(place.task));
        let (try_number, state) = (run.instance(place.at()).core.try_number, run.state(place.at()));
        let failed_tries = run.failed_tries(place.at());
        let by_rule = end.retry_delay_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        let pause = by_rule.unwrap_or_else(|| {
            Pause::of(task).after(&run.row.dag_id, &task.task_id, run.row.logical_date, failed_tries)
        });
        // A pause beyond the calendar's end is as good as none: the next try never comes by itself.
        let wakes = TimeDelta::from_std(pause).ok().and_then(|pause| self.now.checked_add_signed(pause));
        let wakes = wakes.filter(|_| retry == Retry::Again);
        let may_fail =
            matches!(state, TaskState::Queued | TaskState::Running | TaskState::Deferred | TaskState::AwaitingInput);
        debug_assert!(may_fail, "only what runs, or waits, can fail");
        let now = self.now;
        self.draft.plan.failures.push(FailureRow { key, try_number, failed_at: now, reason: end.reason.clone() });
        let (reason, exit_code) = (non_empty(&end.reason), end.exit_code);
        self.write_extra(place, |extra| {
            extra.reason = reason;
            extra.exit_code = exit_code;
            extra.wake_at = wakes;
            // A retry has all of its time again.
            extra.forget_pokes();
        });
        self.finish_attempt(place, TaskEvent::Failed(retry));
        match retry {
            Retry::Again => {
                self.owe_for_task(place, CallbackEvent::Retry, &end.reason);
                self.wake_later(place, wakes);
            }
            Retry::Exhausted => {
                self.owe_for_task(place, CallbackEvent::Failure, &end.reason);
                self.fail_fast(place);
            }
        }
    }

    /// A worker was lost with the attempt, or gave it back. A loss is tried again after a pause, at the cost of the
    /// infrastructure budget only; what was given back is tried again at once, at no cost.
    fn lost(&mut self, place: Place, end: &AttemptEnd) {
        let extra = self.known_run(place.run).instance(place.at()).extra();
        let loss = (!end.handed_back).then(|| Loss::after(extra.infrastructure_losses, extra.lost_at, self.now));
        if let Some(Loss { counted: losses, at, .. }) = loss
            && losses > INFRASTRUCTURE_LOSSES_MAX
        {
            let reason = format!(
                "{}; its worker was lost {losses} times, more than the {INFRASTRUCTURE_LOSSES_MAX} that are forgiven",
                end.reason
            );
            self.write_extra(place, |extra| {
                extra.infrastructure_losses = losses;
                extra.lost_at = Some(at);
            });
            self.failed(place, &AttemptEnd::new(EndKind::Lost, reason), Retry::Exhausted);
            return;
        }
        self.forgive(place, &end.reason, loss);
    }

    /// The task is tried again, whatever its retries say.
    fn forgive(&mut self, place: Place, reason: &str, loss: Option<Loss>) {
        let run = self.known_run(place.run);
        let (key, max_tries) = (run.key_of(place.at()), run.max_tries(place.at()));
        let (try_number, now) = (run.instance(place.at()).core.try_number, self.now);
        let (reason, told, is_loss) = (reason.to_owned(), reason.to_owned(), loss.is_some());
        if loss.is_some() {
            self.draft.plan.failures.push(FailureRow { key, try_number, failed_at: now, reason: reason.clone() });
        }
        let again_at = loss.map_or(now, |loss| loss.again_at);
        self.write_extra(place, |extra| {
            if let Some(loss) = loss {
                extra.infrastructure_losses = loss.counted;
                extra.lost_at = Some(loss.at);
            }
            extra.max_tries = Some(max_tries.saturating_add(1));
            extra.reason = Some(reason);
            extra.wake_at = (again_at > now).then_some(again_at);
            extra.forget_pokes();
        });
        self.finish_attempt(place, TaskEvent::Lost);
        // What its worker gave back has not failed.
        if is_loss {
            self.owe_for_task(place, CallbackEvent::Retry, &told);
        }
        self.wake_later(place, Some(again_at));
    }

    /// A sensor has looked, and looks again later: until then it holds nothing. Its next attempt goes on with the same try.
    fn rescheduled(&mut self, place: Place, end: &AttemptEnd) {
        let began = self.core(place).started_at;
        let pause = end.again_after_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        let wakes = pause.and_then(|pause| self.now.checked_add_signed(TimeDelta::from_std(pause).ok()?));
        let wakes = wakes.unwrap_or(self.now);
        let reason = non_empty(&end.reason);
        self.write_extra(place, |extra| {
            extra.first_poke_at = extra.first_poke_at.or(began);
            extra.reschedules = extra.reschedules.saturating_add(1);
            extra.wake_at = Some(wakes);
            extra.reason = reason;
        });
        self.finish_attempt(place, TaskEvent::Rescheduled);
        self.wake_later(place, Some(wakes));
    }

    pub(super) fn finish_attempt(&mut self, place: Place, event: TaskEvent) {
        self.write(place, |core| {
            core.step(event);
            core.live = false;
        });
    }

    pub(super) fn wake_later(&mut self, place: Place, at: Option<Timestamp>) {
        match at {
            Some(at) if at > self.now => self.timers.set(at, Timer::Wake(self.key_of(place))),
            Some(_) => self.mark_one_dirty(place.run, place.at()),
            None => {}
        }
    }

    pub(super) fn retry_of(&self, place: Place) -> Retry {
        let run = self.known_run(place.run);
        let more = run.instance(place.at()).core.try_number.get() < run.max_tries(place.at());
        if more { Retry::Again } else { Retry::Exhausted }
    }

    /// Cleared while it ran: however it ended, the task begins anew.
    fn begin_anew(&mut self, place: Place) {
        let now = self.now;
        self.write(place, |core| core.ended_at = Some(now));
        self.keep_try(place);
        self.write(place, |core| {
            core.step(TaskEvent::Cleared);
            core.forget_attempt();
        });
    }

    fn free_for_next_try(&mut self, place: Place) {
        self.keep_try(place);
        self.write(place, crate::memory::instance::Core::forget_attempt);
        // A task may be expanded now.
        self.mark_one_dirty(place.run, place.at());
    }
}

pub(super) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
