//! What is owed to the outside, as a store has it; and what must hold of it, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use engine::{DagVersion, DeadlineRow, NotificationRow, Plan, RunRow};
use model::{CallbackEvent, NotificationId, RunKey, TiKey};
use uuid::Uuid;

/// One callback of one event of one try: owed once.
type Once = (TiKey, i16, CallbackEvent, i16);

#[derive(Debug, Default, Clone)]
pub struct Told {
    pub notifications: Vec<NotificationRow>,
    pub deadlines: BTreeMap<Uuid, DeadlineRow>,
    ids: BTreeSet<NotificationId>,
    seen: BTreeSet<Once>,
}

impl Told {
    pub fn apply(&mut self, plan: &Plan) {
        // What is deleted by hand begins anew.
        self.seen.retain(|(key, ..)| !plan.forgotten.contains(key));
        for row in &plan.notifications {
            assert!(self.ids.insert(row.id), "an id is used once");
            if let (Some(task), false) = (&row.task, row.event.is_of_run()) {
                let once = (task.key, task.try_number.get(), row.event, row.position);
                assert!(self.seen.insert(once), "{once:?} is owed twice");
            }
        }
        self.notifications.extend(plan.notifications.iter().cloned());
        for row in &plan.deadlines {
            assert!(self.deadlines.insert(row.id, row.clone()).is_none(), "a deadline is set once");
        }
        for id in &plan.deadlines_dropped {
            assert!(self.deadlines.remove(id).is_some_and(|row| !row.is_missed), "what is met was pending");
        }
        for id in &plan.deadlines_missed {
            let row = self.deadlines.get_mut(id).expect("what is missed is stored");
            assert!(!std::mem::replace(&mut row.is_missed, true), "a deadline is missed once");
        }
    }

    /// Every failure of a task with callbacks is told of once, and so is every end of a run that nobody has set by hand.
    /// What commands bring about is left out: they may let a run go on with another version.
    pub fn check(&self, plan: &Plan, versions: &[DagVersion], runs: &BTreeMap<RunKey, RunRow>) {
        if !plan.answers.is_empty() {
            return;
        }
        let dag_of = |run: RunKey| {
            let version = runs.get(&run)?.version;
            versions.iter().find(|known| known.id == version).map(|known| &known.dag)
        };
        let of = |key: &TiKey, try_number: i16| {
            let about = |row: &&NotificationRow| {
                let is_end = matches!(row.event, CallbackEvent::Failure | CallbackEvent::Retry);
                let same = |task: &engine::NotifiedTask| task.key == *key && task.try_number.get() == try_number;
                is_end && row.position == 0 && row.task.as_ref().is_some_and(same)
            };
            plan.notifications.iter().filter(about).count()
        };
        let tells =
            |key: TiKey| dag_of(key.run).is_some_and(|dag| dag.tasks.iter().all(|task| !task.callbacks.is_empty()));
        for failure in plan.failures.iter().filter(|failure| tells(failure.key)) {
            let owed = of(&failure.key, failure.try_number.get());
            assert_eq!(owed, 1, "{:?}, try {}: {}", failure.key, failure.try_number, failure.reason);
        }
        for change in plan.runs.iter().filter(|change| change.row.state.is_finished()) {
            let ends = [CallbackEvent::DagSuccess, CallbackEvent::DagFailure];
            let about =
                |row: &&NotificationRow| row.run == change.row.key && ends.contains(&row.event) && row.position == 0;
            let owed = plan.notifications.iter().filter(about).count();
            let tells_runs = dag_of(change.row.key).is_some_and(|dag| !dag.callbacks.is_empty());
            if tells_runs && !change.expected.is_finished() {
                assert_eq!(owed, 1, "the end of {} is told once", change.row.run_id);
            }
        }
    }

    /// A run takes its deadlines along when it goes, and has none that is pending when it has succeeded.
    pub fn keep(&mut self, runs: &BTreeMap<RunKey, RunRow>, plan: &Plan) {
        self.deadlines
            .retain(|_, row| !plan.runs_dropped.contains(&row.run) && !plan.dags_dropped.contains(&row.dag_id));
        for row in self.deadlines.values().filter(|row| !row.is_missed) {
            let run = runs.get(&row.run).expect("a pending deadline has its run");
            assert_ne!(run.state, model::DagRunState::Success, "{} has succeeded in time", run.run_id);
        }
    }
}
