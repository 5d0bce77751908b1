//! What the engine lacks to decide, and the answers.
//!
//! The leader asks [`Engine::needs`] before a turn, loads, gives each answer to [`Engine::provide`], and asks again until
//! nothing is needed: an answer may lead to a further question (a run's version). Answers count for the next turn only,
//! because nothing else changes the store in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{
    Command, DagId, DagRunState, RunId, RunKey, RunType, TaskIdx, TaskState, Timestamp,
    command::{AnswerQuestion, SetNote, TaskInstanceName, TriggerDagRun, XComName},
    door::Instant,
};

use crate::{
    Engine, Event, Fact, Need, StoredRun,
    memory::{expansion::one_state_of, run::Previous},
};

impl Engine {
    /// Facts that these events, timers that were due, and waiting tasks lack.
    #[must_use]
    pub fn needs(&self, events: &[Event]) -> Vec<Need> {
        let mut needs: BTreeSet<Need> = self.facts.wanted.clone();
        needs.extend(events.iter().flat_map(|event| self.needs_of(event)));
        let versions = self.facts.known_runs().map(|run| run.run.version);
        needs.extend(versions.filter(|version| !self.versions.contains_key(version)).map(Need::Version));
        needs.extend(
            self.facts.known_existing().filter_map(|(need, (_, run, state))| self.backfill_need(need, run, *state)),
        );
        needs.retain(|need| !self.facts.is_known(need));
        needs.into_iter().collect()
    }

    /// Takes a fact that was asked for.
    pub fn provide(&mut self, fact: Fact) {
        match fact {
            Fact::Exists { need, existing } => self.facts.know_existing(need, existing),
            Fact::Version { need, version } => match version {
                Some(version) => {
                    self.learn_version(&version);
                    self.facts.wanted.remove(&need);
                }
                None => self.facts.know_missing_version(need),
            },
            Fact::Run { need, run } => self.facts.know_run(need, run),
            Fact::NewestRuns { need, runs } => self.facts.know_newest(need, runs),
            Fact::Runtimes { need, runtimes } => self.facts.know_runtimes(need, runtimes),
        }
    }

    fn needs_of(&self, event: &Event) -> Vec<Need> {
        let Event::Command { command, .. } = event else { return Vec::new() };
        match command {
            Command::TriggerDagRun(trigger) => exists_need(trigger).into_iter().collect(),
            Command::ClearTaskInstances(clear) => self.unknown_runs(&clear.dag_id, clear.runs()),
            Command::MarkTaskInstances(mark) => self.unknown_runs(&mark.dag_id, mark.runs()),
            Command::MarkDagRun { dag_id, run_id, .. }
            | Command::DeleteDagRun { dag_id, run_id }
            | Command::SetNote(SetNote { dag_id, run_id, .. })
            | Command::DeleteTaskInstance(TaskInstanceName { dag_id, run_id, .. })
            | Command::SetXCom { xcom: XComName { dag_id, run_id, .. }, .. }
            | Command::AnswerQuestion(AnswerQuestion { instance: TaskInstanceName { dag_id, run_id, .. }, .. })
            | Command::DeleteXCom(XComName { dag_id, run_id, .. }) => self.unknown_runs(dag_id, [run_id]),
            Command::PauseDag { .. }
            | Command::DrainDag { .. }
            | Command::DeleteDag { .. }
            | Command::CreatePool(_)
            | Command::SetPool(_)
            | Command::DeletePool { .. }
            | Command::CreateBackfill(_)
            | Command::PauseBackfill { .. }
            | Command::CancelBackfill { .. }
            | Command::CreateAssetEvent(_)
            | Command::DeleteQueuedAssetEvents(_)
            | Command::ControlService { .. } => Vec::new(),
        }
    }

    /// A backfill that finds a run which is to run again needs it with its instances.
    fn backfill_need(&self, need: &Need, run: &RunId, state: DagRunState) -> Option<Need> {
        let Need::RunExists { dag, run: wanted, logical_date } = need else { return None };
        let is_asked_for = logical_date.is_some_and(|date| *wanted == run_id_at(RunType::Backfill, date));
        let runs_again = self.dags.get(dag)?.backfill.is_some() && self.reason_to_pass(dag, state).is_none();
        (is_asked_for && runs_again && self.run_by_id(dag, run).is_none()).then(|| run_need(dag, run))
    }

    fn unknown_runs<'r>(&self, dag: &DagId, runs: impl IntoIterator<Item = &'r RunId>) -> Vec<Need> {
        let unknown = runs.into_iter().filter(|run| self.run_by_id(dag, run).is_none());
        unknown.map(|run| run_need(dag, run)).collect()
    }

    /// The run of this id, brought into memory when it is not there.
    pub(crate) fn find_run(&mut self, dag: &DagId, run: &RunId) -> Option<RunKey> {
        if let Some(run) = self.run_by_id(dag, run) {
            return Some(run.row.key);
        }
        let stored = self.facts.run(&run_need(dag, run)).cloned()?;
        let key = self.bring_in(&stored)?;
        self.draft.visitors.insert(key);
        Some(key)
    }

    /// Gives waiting runs what was learnt of the runs before them. A turn begins with it, and what was learnt is used up: a run
    /// that asks again in the same turn does so because the answer is not true any more.
    pub(crate) fn use_previous_runs(&mut self) {
        for (need, stored) in self.facts.take_previous() {
            let Need::PreviousRun { dag, before, .. } = need else { continue };
            let Some(key) = self.dags.get(&dag).and_then(|dag| dag.dates.get(&before).copied()) else { continue };
            let previous = stored.map_or(Previous::None, |stored| self.previous_of(&stored));
            self.follow(key, previous);
            self.mark_all_dirty(key);
        }
    }

    fn previous_of(&self, stored: &StoredRun) -> Previous {
        let key = stored.run.key;
        let states = match self.versions.get(&stored.run.version) {
            Some(def) => crate::memory::run::Run::stored(stored, Arc::clone(def)).past_states(),
            None => {
                let mut of_tasks: BTreeMap<TaskIdx, Vec<TaskState>> = BTreeMap::new();
                for row in &stored.instances {
                    of_tasks.entry(row.key.task).or_default().push(row.state);
                }
                of_tasks.into_iter().map(|(task, states)| (task, one_state_of(states.into_iter()))).collect()
            }
        };
        Previous::Run { key, date: stored.run.logical_date, states: Arc::new(states) }
    }
}

/// The question whether a triggered run's id or date is taken; none when both are new with this turn.
pub(crate) fn exists_need(trigger: &TriggerDagRun) -> Option<Need> {
    let run = match (&trigger.run_id, trigger.run_after.or(trigger.logical_date).map(Instant::get)) {
        (Some(run), _) => run.clone(),
        (None, Some(at)) => run_id_at(trigger.run_type, at),
        (None, None) => return None,
    };
    Some(Need::RunExists { dag: trigger.dag_id.clone(), run, logical_date: trigger.logical_date.map(Instant::get) })
}

/// The id of a run that nobody has named: its type and an instant, as Airflow writes them.
pub(crate) fn run_id_at(run_type: RunType, at: Timestamp) -> RunId {
    let format =
        if at.timestamp_subsec_micros() == 0 { "%Y-%m-%dT%H:%M:%S+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6f+00:00" };
    RunId::new(format!("{}__{}", run_type.name(), at.format(format))).expect("a type and a date are a valid run id")
}

/// The question for a run with its instances.
pub(crate) fn run_need(dag: &DagId, run: &RunId) -> Need {
    Need::Run { dag: dag.clone(), run: run.clone() }
}
