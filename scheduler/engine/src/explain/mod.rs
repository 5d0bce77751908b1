//! Why something waits: one sentence, from the data and the functions that decide.
//!
//! Nothing here changes anything, and nothing here decides: each sentence asks the same function as a turn does.

mod limits;
mod time;
mod upstream;

use model::{DagId, DagRunState, MapIndex, RunId, TaskId, TaskState, Timestamp};

use crate::{
    Engine,
    memory::{
        instance::{Place, TiPos},
        run::Run,
    },
    turn::Past,
};
pub(crate) use time::span;

/// How many tasks of a run are explained at most: more do not fit a page.
const TASKS_MAX: usize = 1_000;

/// How many names a sentence has at most, before it says how many more there are.
pub(crate) const NAMES_MAX: usize = 3;

/// A task instance and why it waits.
pub type TaskWhy = (TaskId, MapIndex, String);

impl Engine {
    /// Why a task instance does not run, or how it stands; none when its run is not in memory because it has ended.
    #[must_use]
    pub fn why_task(&self, dag: &DagId, run: &RunId, task: &TaskId, map: MapIndex, now: Timestamp) -> Option<String> {
        let run = self.run_by_id(dag, run)?;
        let at = TiPos { task: run.def.position_of(task)?, map };
        if run.has(at) {
            return Some(self.why(run, run.place(at), now));
        }
        let expansion = run.expansions.get(&at.task).filter(|_| map == MapIndex::UNMAPPED)?;
        Some(run.instances_stand(expansion))
    }

    /// How a run stands, and why each of its unfinished tasks waits; none when it has ended.
    #[must_use]
    pub fn why_run(&self, dag: &DagId, run: &RunId, now: Timestamp) -> Option<(String, Vec<TaskWhy>)> {
        let run = self.run_by_id(dag, run)?;
        let unfinished = run.all().filter(|at| !run.state(*at).is_finished());
        let tasks = unfinished
            .take(TASKS_MAX)
            .map(|at| (run.def.task(at.task).task_id.clone(), at.map, self.why(run, run.place(at), now)));
        Some((self.why_of_run(run, now), tasks.collect()))
    }

    /// How a DAG stands: paused, when its next run comes, what holds it; none when it is not known.
    #[must_use]
    pub fn why_dag(&self, dag: &DagId, now: Timestamp) -> Option<String> {
        let state = self.dags.get(dag)?;
        let row = &state.row;
        if row.is_stale {
            return Some("no file defines this DAG any more: its runs go on, nothing new starts".to_owned());
        }
        let backfill = self.backfill_sentence(dag).map_or_else(String::new, |sentence| format!("; {sentence}"));
        if row.is_paused {
            return Some(self.why_paused(dag) + &backfill);
        }
        if row.is_draining {
            return Some(self.why_draining(dag) + &backfill);
        }
        let def = self.versions.get(&row.current)?;
        let assets = self.assets_sentence(dag);
        let sentence = match row.next {
            None if assets.is_some() => return Some(assets.unwrap_or_default() + &backfill),
            None if def.dag.schedule == dag::Schedule::Never => {
                "it has no schedule: it runs when it is triggered".to_owned()
            }
            None => "its schedule has no further run".to_owned(),
            Some(due) if due.run_after <= now && !state.may_make(def) => {
                format!("a run is due, and waits because {}", self.runs_in_the_way(dag))
            }
            Some(due) if due.run_after <= now => "a run is due, and is being made".to_owned(),
            Some(due) => {
                format!("the next run is due in {}, at {}", span(due.run_after - now), time::at(due.run_after))
            }
        };
        let assets = assets.map_or_else(String::new, |sentence| format!("; {sentence}"));
        let passed = row.passed_over.map_or_else(String::new, |at| {
            format!(
                "; the run that was due at {} was not made, because another one was active (overlap: skip)",
                time::at(at)
            )
        });
        Some(sentence + &passed + &assets + &backfill)
    }

    fn why(&self, run: &Run, place: Place, now: Timestamp) -> String {
        let instance = run.instance(place.at());
        let core = instance.core;
        let extra = instance.extra();
        let tries = format!("attempt {} of {}", core.try_number, run.max_tries(place.at()));
        let worker = core.worker.map_or_else(|| "no worker".to_owned(), |worker| self.workers.name(worker));
        match core.state {
            TaskState::NoStatus => self.why_undecided(run, place, now),
            TaskState::Scheduled => self.why_no_slot(run, place),
            TaskState::Queued => {
                let until = self.queued_until(place, core).filter(|until| *until > now);
                let then = until.map_or_else(String::new, |until| {
                    format!("; it is taken back in {} (task_queued_timeout)", span(until - now))
                });
                format!("it was given to {worker} ({tries}), which has not said yet that it has started{then}")
            }
            TaskState::Running => {
                let since = core.started_at.map_or_else(String::new, |at| format!(" for {}", span(now - at)));
                format!("it has been running on {worker}{since} ({tries})")
            }
            TaskState::Restarting => {
                format!("it was cleared while it ran: it waits for the old attempt on {worker} to end")
            }
            TaskState::UpForRetry => {
                let next = format!("attempt {} of {}", core.try_number.next(), run.max_tries(place.at()));
                match extra.wake_at {
                    Some(at) if at > now => format!("retry in {} ({next})", span(at - now)),
                    Some(_) | None => format!("{} ({next})", self.why_undecided(run, place, now)),
                }
            }
            TaskState::AwaitingInput => awaits(run, place, extra.wake_at, now),
            TaskState::UpForReschedule => match extra.wake_at {
                Some(at) if at > now => {
                    let seen = extra.reason.map_or_else(String::new, |reason| format!(": {reason}"));
                    format!("it looks again in {}, without a slot until then{seen}", span(at - now))
                }
                Some(_) | None => self.why_undecided(run, place, now),
            },
            TaskState::Deferred => {
                let since = extra.first_poke_at.map_or_else(String::new, |at| format!(" since {}", time::at(at)));
                match core.live {
                    true => format!("it waits without a slot{since}, held by {worker} ({tries})"),
                    false => {
                        let demand = self.ready.demand(run.def.class(place.task)).of_wait();
                        let why = limits::worker_sentence(&demand, &self.workers.why_none(&demand));
                        format!("it waits without a slot{since}, and for a worker to hold the wait: {why} ({tries})")
                    }
                }
            }
            TaskState::UpstreamFailed => {
                let why = extra.reason.unwrap_or_else(|| run.culprits(place.task));
                format!("it can not run: {why}")
            }
            TaskState::Success | TaskState::Failed | TaskState::Skipped | TaskState::Removed => match extra.reason {
                Some(reason) => format!("it has ended in {}: {reason}", core.state),
                None => format!("it has ended in {}", core.state),
            },
        }
    }

    /// Why a task in no state, or whose pause is over, is not scheduled.
    fn why_undecided(&self, run: &Run, place: Place, now: Timestamp) -> String {
        if run.row.state != DagRunState::Running {
            return self.why_of_run(run, now);
        }
        if run.parked.contains(&place.at()) {
            return self.why_paused(&run.row.dag_id);
        }
        let is_skipped_later = run.tasks[place.task.0].skipped_by > 0 && self.waits_before_skip(run, place.task);
        match self.past_of(run, place.task) {
            Past::OwnNotMet | Past::DownstreamNotMet if is_skipped_later => {
                "it is to be skipped, and waits for its past before: its instance in the previous run, or what follows it \
                 there, has not succeeded"
                    .to_owned()
            }
            Past::Met => run.upstream_in_the_way(place.at()),
            _ if run.case(place.at()).upstream.unfinished() > 0 => run.upstream_in_the_way(place.at()),
            Past::OwnNotMet => {
                "it depends on its past, and its instance in the previous run has not succeeded".to_owned()
            }
            Past::DownstreamNotMet => {
                "it waits for the tasks directly after it in the previous run, which have not all succeeded".to_owned()
            }
            Past::Unknown => "it depends on its past, and the previous run is being looked up".to_owned(),
        }
    }

    fn why_of_run(&self, run: &Run, now: Timestamp) -> String {
        let row = &run.row;
        match row.state {
            DagRunState::Success | DagRunState::Failed => {
                format!("the run has ended in {}, and waits for {} to end", row.state, attempts(run.live))
            }
            DagRunState::Running => self.why_running(run),
            DagRunState::Queued if self.is_held_back(run) => self.why_paused(&row.dag_id),
            DagRunState::Queued if self.dag_of(row.key).row.is_draining => self.why_draining(&row.dag_id),
            DagRunState::Queued if self.dag_of(row.key).row.is_stale => {
                "no file defines its DAG any more, so the run does not start".to_owned()
            }
            DagRunState::Queued if row.run_after > now => {
                format!("the run starts in {}, at {}", span(row.run_after - now), time::at(row.run_after))
            }
            DagRunState::Queued if run.starts_at() > now => {
                format!("the run starts with its logical date, in {}", span(run.starts_at() - now))
            }
            DagRunState::Queued => match self.backfill_in_the_way(run) {
                Some(why) => format!("the run waits because {why}"),
                None => format!("the run waits because {}", self.runs_in_the_way(&row.dag_id)),
            },
        }
    }

    fn why_running(&self, run: &Run) -> String {
        let total = run.total();
        let count = format!("{} of {total} tasks are finished", total - run.unfinished);
        let at_work = |pos: &dag::TaskPos| {
            [TaskState::Queued, TaskState::Running].into_iter().any(|state| run.has_in(*pos, state))
        };
        let working: Vec<_> = run.def.dag.positions().filter(at_work).collect();
        if !working.is_empty() {
            return format!("the run is running: {count}, {} at work", run.names(&working));
        }
        let waiting = run.all().find(|at| crate::memory::run::is_pending(run.state(*at)));
        match waiting {
            Some(at) => format!("the run is running: {count}, {} is {}", run.def.task(at.task).task_id, run.state(at)),
            None if self.is_held_back(run) => format!("{}; {count}", self.why_paused(&run.row.dag_id)),
            None => format!("the run is running: {count}"),
        }
    }

    fn why_draining(&self, dag: &DagId) -> String {
        let (running, waiting) = self.dags.get(dag).map_or((0, 0), |dag| (dag.all_running().count(), dag.all_queued()));
        let left = if running == 0 {
            "no run of it is running any more".to_owned()
        } else {
            format!("{running} of its runs are still running")
        };
        format!("DAG drains: {left}, {waiting} wait, and none starts until it is undrained")
    }

    fn why_paused(&self, dag: &DagId) -> String {
        let limit = self.dags.get(dag).and_then(|dag| self.versions.get(&dag.row.current));
        let limit = limit.map_or(0, |def| def.dag.max_consecutive_failed_dag_runs);
        let failed = self.dags.get(dag).map_or(0, |dag| dag.row.failed_in_a_row);
        if limit > 0 && failed >= limit {
            format!("DAG is paused, and its last {failed} runs failed (max_consecutive_failed_dag_runs)")
        } else {
            "DAG is paused".to_owned()
        }
    }
}

/// What a task waits for that has put a question.
fn awaits(run: &Run, place: Place, until: Option<Timestamp>, now: Timestamp) -> String {
    let Some(asking) = run.def.task(place.task).operator.asking() else { return "it waits for an answer".to_owned() };
    let who = match asking.assigned_users.split_at(asking.assigned_users.len().min(NAMES_MAX)) {
        ([], _) => "somebody".to_owned(),
        (named, more) => {
            let names: Vec<&str> = named.iter().map(|user| user.name.as_str()).collect();
            let more = if more.is_empty() { String::new() } else { format!(" or {} more", more.len()) };
            format!("{}{more}", names.join(" or "))
        }
    };
    let then = match asking.defaults.as_slice() {
        [] => "it fails".to_owned(),
        defaults => format!("{} counts as the answer", defaults.join(", ")),
    };
    match until {
        Some(at) if at > now => {
            format!("it waits for {who} to answer; in {}, at {}, {then}", span(at - now), time::at(at))
        }
        Some(_) => format!("its time for an answer is over: {then}"),
        None => format!("it waits for {who} to answer"),
    }
}

fn attempts(number: u32) -> String {
    if number == 1 { "one attempt".to_owned() } else { format!("{number} attempts") }
}
