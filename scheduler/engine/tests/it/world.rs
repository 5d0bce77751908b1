//! An engine with its store, a clock and workers that do as they are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::TimeDelta;
use dag::Dag;
use engine::{DagVersion, Effect, Engine, Event, Input, Plan, Rest, Settings, WorkerJoined};
use model::{
    AttemptEnd, AttemptId, Capability, Command, CommandId, DagId, DagRunState, EndKind, MapIndex, Operator, Pool,
    Question, RunId, RunKey, TaskId, TaskState, TiKey, Timestamp, TriggeredBy, WorkerId,
    command::{
        AnswerQuestion, AnswerStatus, ClearTaskInstances, Relatives, TaskInstanceName, TaskSelector, TriggerDagRun,
    },
    door::{Conf, Text},
    operator::HitlUser,
};

use crate::{dags::version, mirror::Mirror};

pub const NOON: &str = "2026-11-21T12:00:00Z";

/// A turn's events are printed up to here.
const TOLD_CHARS: usize = 20_000;

pub struct World {
    pub engine: Engine,
    pub mirror: Mirror,
    pub now: Timestamp,
    /// When the leader that is there was loaded.
    pub loaded_at: Timestamp,
    /// Attempts that were handed out and have not ended, in the order of their assignment.
    pub attempts: Vec<(WorkerId, TiKey, AttemptId)>,
    pub kills: Vec<AttemptId>,
    /// Attempts that have ended, or whose worker was lost: what is said of them once more changes nothing.
    pub gone: Vec<(WorkerId, AttemptId)>,
    /// How many times it has come to rest, and after how many of them a new leader is asked, too: 1 is each time.
    rests: u64,
    pub oracle_every: u64,
    /// Whether each turn is printed.
    is_told: bool,
    pub assigned: BTreeSet<AttemptId>,
    seed: u128,
    keys: i64,
    commands: i64,
    /// Whether memory is counted anew after every turn, which takes its time in large ones.
    pub is_checked: bool,
    /// The most slots that the pool small has had.
    pub small_most: u32,
    /// The rate limit that the pool small has.
    pub small_limit: Option<model::RateLimit>,
    /// What its installation decides; heeded from the next leader on.
    pub settings: Settings,
}

impl World {
    /// A world with one worker of 1,000 slots and Airflow's default pool.
    pub fn new(dags: Vec<Dag>) -> Self {
        let mut mirror = Mirror::default();
        mirror.pools.insert(
            Pool::DEFAULT.to_owned(),
            Pool {
                name: Pool::DEFAULT.to_owned(),
                slots: Some(128),
                description: String::new(),
                include_deferred: false,
                rate_limit: None,
            },
        );
        let now = NOON.parse().unwrap();
        let engine = Engine::load(mirror.snapshot(), now).with_settings(settings());
        let mut world = Self {
            engine,
            mirror,
            now,
            loaded_at: now,
            attempts: Vec::new(),
            kills: Vec::new(),
            gone: Vec::new(),
            rests: 0,
            oracle_every: 1,
            is_told: std::env::var_os("WINDLASS_SIM_TOLD").is_some(),
            assigned: BTreeSet::new(),
            seed: 0,
            keys: 1,
            commands: 0,
            is_checked: true,
            small_most: 0,
            small_limit: None,
            settings: settings(),
        };
        for (number, dag) in dags.into_iter().enumerate() {
            world.store_version(i64::try_from(number).unwrap() + 1, dag);
        }
        world.join(1, 1_000);
        world
    }

    pub fn store_version(&mut self, id: i64, dag: Dag) {
        self.store(version(id, dag));
    }

    pub fn store(&mut self, version: DagVersion) {
        self.mirror.versions.push(version.clone());
        if let Some(dag) = self.mirror.dags.get_mut(&version.dag.dag_id) {
            dag.current = version.id;
        }
        self.turn(vec![Event::DagVersionStored { version }]);
    }

    pub fn join(&mut self, worker: i32, slots: u32) -> Plan {
        let event = self.hello(worker, slots);
        self.turn(vec![event])
    }

    /// What a worker says that holds everything that it was given.
    pub fn hello(&mut self, worker: i32, slots: u32) -> Event {
        let held = self.attempts.iter().filter(|(of, ..)| *of == WorkerId(worker)).map(|(_, _, attempt)| *attempt);
        let joined = WorkerJoined {
            worker: WorkerId(worker),
            name: format!("worker-{worker}"),
            slots,
            queues: BTreeSet::from(["default".to_owned()]),
            capabilities: BTreeSet::from([Capability::Light, Capability::Process]),
            operators: Operator::NAMES
                .iter()
                .copied()
                .chain([Operator::EXPANDED, Operator::RESCHEDULES, Operator::DEFERS])
                .map(str::to_owned)
                .collect(),
            attempts: held.collect(),
            leaving: false,
        };
        self.mirror.workers.retain(|known| known.worker != joined.worker);
        self.mirror.workers.push(joined.clone());
        Event::WorkerJoined(joined)
    }

    /// One turn with everything around it: needs, the store, the workers' ears. What it does not take is given to further
    /// ones; the plan is that of the last.
    pub fn turn(&mut self, events: Vec<Event>) -> Plan {
        let mut events = events;
        loop {
            let plan = self.turn_once(events.clone());
            events.drain(..plan.taken);
            if events.is_empty() {
                return plan;
            }
        }
    }

    /// A turn whose leader ends before it has heard whether its plan was stored: nothing of it is acted upon, and the next
    /// leader hears the workers, which say again what nobody has acknowledged.
    pub fn turn_of_unknown_fate(&mut self, is_stored: bool, reports: &[Event]) {
        let plan = self.decide(reports.to_vec());
        if is_stored {
            self.mirror.apply(&plan);
        }
        for effect in &plan.effects {
            if let Effect::Assign { attempt, .. } = effect {
                assert!(self.assigned.insert(*attempt), "an attempt id is issued once");
            }
        }
        self.reload();
        for worker in self.mirror.workers.clone() {
            self.join(worker.worker.get(), worker.slots);
        }
        self.turn(reports.to_vec());
        self.quiesce();
    }

    fn decide(&mut self, events: Vec<Event>) -> Plan {
        loop {
            let needs = self.engine.needs(&events);
            if needs.is_empty() {
                break;
            }
            for need in needs {
                let fact = self.mirror.fact(need);
                self.engine.provide(fact);
            }
        }
        self.seed += 1;
        let run_keys = self.keys..self.keys + 1_000;
        let heard = self.is_told.then(|| format!("{events:?}"));
        let plan = self.engine.turn(Input { now: self.now, seed: self.seed << 20, run_keys, events });
        self.keys += i64::try_from(plan.new_runs.len()).unwrap();
        if let Some(heard) = heard {
            self.tell(&heard, &plan);
        }
        plan
    }

    /// Says what a turn has heard and decided.
    fn tell(&self, heard: &str, plan: &Plan) {
        let heard: String = heard.chars().take(TOLD_CHARS).collect();
        eprintln!("{} {heard}", self.now.to_rfc3339());
        for change in &plan.runs {
            eprintln!(
                "    run {} of version {}: {}, was {}",
                change.row.run_id, change.row.version, change.row.state, change.expected
            );
        }
        let changes = plan.instances.iter().map(|change| (&change.row, change.expected));
        for (row, before) in plan.new_instances.iter().map(|row| (row, TaskState::NoStatus)).chain(changes) {
            eprintln!("    {:?}: {}, was {before}, live {}", row.key, row.state, row.live);
        }
        for key in &plan.instances_dropped {
            eprintln!("    {key:?}: dropped");
        }
        eprintln!("    {:?}", plan.effects);
    }

    fn turn_once(&mut self, events: Vec<Event>) -> Plan {
        let plan = self.decide(events);
        self.mirror.apply(&plan);
        // Where debug assertions are on, the engine has done so itself.
        if self.is_checked && !cfg!(debug_assertions) {
            assert_eq!(self.engine.verify(), Vec::<String>::new());
        }
        for effect in &plan.effects {
            match effect {
                Effect::Assign { worker, key, attempt } => {
                    assert!(self.assigned.insert(*attempt), "an attempt id is issued once");
                    let parts = self.engine.assignment(*key).expect("a live attempt has an assignment");
                    assert_eq!((parts.attempt, parts.worker), (*attempt, *worker));
                    self.attempts.push((*worker, *key, *attempt));
                }
                Effect::Kill { attempt, .. } => self.kills.push(*attempt),
            }
        }
        plan
    }

    /// Turns until nothing more happens at this instant; then a new leader would have nothing to do.
    pub fn quiesce(&mut self) {
        self.come_to_rest();
        self.rests += 1;
        if self.rests.is_multiple_of(self.oracle_every) {
            crate::oracle::check(self);
        }
    }

    /// The same store and workers under a leader that has just taken over.
    pub fn successor(&self) -> Self {
        Self {
            // Since when it is there decides how long an attempt may still be queued.
            engine: Engine::load(self.mirror.snapshot(), self.loaded_at).with_settings(self.settings.clone()),
            settings: self.settings.clone(),
            mirror: self.mirror.clone(),
            attempts: self.attempts.clone(),
            kills: Vec::new(),
            gone: Vec::new(),
            assigned: BTreeSet::new(),
            is_told: false,
            seed: self.seed + (1 << 90),
            ..*self
        }
    }

    pub fn come_to_rest(&mut self) {
        for _ in 0..1_000 {
            let plan = self.turn(vec![Event::Continue]);
            let again = self.engine.next_wakeup().is_some_and(|at| at <= self.now);
            if plan.rest == Rest::Nothing && !again {
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
        self.quiesce();
    }

    pub fn command(&mut self, command: Command) -> (AnswerStatus, serde_json::Value) {
        self.commands += 1;
        self.turn(vec![Event::Command { id: CommandId(self.commands), by: "ada".to_owned(), command }]);
        let answer = self.mirror.answers.last().cloned().unwrap();
        self.quiesce();
        answer
    }

    pub fn trigger(&mut self, dag: &str, run: &str) -> RunKey {
        let (status, body) = self.command(Command::TriggerDagRun(trigger(dag, Some(run))));
        assert_eq!(status, AnswerStatus::Done, "{body}");
        self.mirror.run(run).key
    }

    /// The oldest unfinished attempt of a task.
    pub fn attempt_of(&self, task: &str) -> (WorkerId, TiKey, AttemptId) {
        let found = self.attempts.iter().find(|(_, key, _)| self.name(*key) == task);
        *found.unwrap_or_else(|| panic!("{task} has no attempt"))
    }

    pub fn name(&self, key: TiKey) -> String {
        let version = self.mirror.runs[&key.run].version;
        let version = self.mirror.versions.iter().find(|other| other.id == version).unwrap();
        let pos = version.task_idx.iter().position(|number| *number == key.task).unwrap();
        version.dag.tasks[pos].task_id.to_string()
    }

    /// Ends the oldest attempt of a task.
    pub fn end(&mut self, task: &str, kind: EndKind) {
        self.end_with(task, AttemptEnd::new(kind, if kind == EndKind::Success { "" } else { "exit code 1" }));
    }

    pub fn end_with(&mut self, task: &str, end: AttemptEnd) {
        let event = self.ended(task, end);
        self.turn(vec![event]);
        self.quiesce();
    }

    /// The oldest attempt of a task waits without a slot from now on.
    pub fn defer(&mut self, task: &str) {
        let (worker, _, attempt) = self.attempt_of(task);
        self.turn(vec![deferred(worker, attempt, self.now)]);
        self.quiesce();
    }

    pub fn ended(&mut self, task: &str, end: AttemptEnd) -> Event {
        let (worker, _, attempt) = self.attempt_of(task);
        self.attempts.retain(|(_, _, other)| *other != attempt);
        Event::AttemptEnded { worker, attempt, end: end.into() }
    }

    /// The engine is thrown away and loaded from the store.
    pub fn reload(&mut self) {
        self.engine = Engine::load(self.mirror.snapshot(), self.now).with_settings(self.settings.clone());
        self.loaded_at = self.now;
    }

    /// Every state of a run that is not `no_status`, by task name.
    pub fn states(&self, run: RunKey) -> BTreeMap<String, TaskState> {
        self.mirror.instances_of(run).into_iter().map(|row| (self.name(row.key), row.state)).collect()
    }

    pub fn state(&self, run: RunKey, task: &str) -> TaskState {
        self.states(run).get(task).copied().unwrap_or(TaskState::NoStatus)
    }

    pub fn run_state(&self, run: RunKey) -> DagRunState {
        self.mirror.runs[&run].state
    }

    /// The row of a task that is not expanded.
    pub fn row(&self, task: &str) -> &engine::TiRow {
        self.mirror.instances.values().find(|row| self.name(row.key) == task).expect("it has a row")
    }

    /// The tasks that have an attempt, sorted.
    pub fn at_work(&self) -> Vec<String> {
        let mut names: Vec<_> = self.attempts.iter().map(|(_, key, _)| self.name(*key)).collect();
        names.sort();
        names
    }

    pub fn why(&self, dag: &str, run: &str, task: &str) -> String {
        let (dag, run, task) = (DagId::new(dag).unwrap(), RunId::new(run).unwrap(), TaskId::new(task).unwrap());
        self.engine.why_task(&dag, &run, &task, MapIndex::UNMAPPED, self.now).unwrap_or_else(|| "nothing".to_owned())
    }

    /// Somebody answers the question of a task.
    pub fn answer(&mut self, dag: &str, run: &str, task: &str, chosen: &[&str]) -> (AnswerStatus, serde_json::Value) {
        let instance = TaskInstanceName {
            dag_id: DagId::new(dag).unwrap(),
            run_id: RunId::new(run).unwrap(),
            task_id: TaskId::new(task).unwrap(),
            map_index: MapIndex::UNMAPPED,
        };
        self.command(Command::AnswerQuestion(AnswerQuestion {
            instance,
            chosen_options: chosen.iter().map(|option| Text::new(*option).unwrap()).collect(),
            params_input: Conf::default(),
            user: HitlUser::named("ada"),
        }))
    }

    /// The attempt of a task puts its question.
    pub fn ask(&mut self, task: &str) {
        self.end_with(task, asked());
    }

    pub fn clear(
        &mut self,
        dag: &str,
        run: &str,
        task: &str,
        relatives: Relatives,
    ) -> (AnswerStatus, serde_json::Value) {
        self.command(Command::ClearTaskInstances(clear_of(dag, run, task, relatives)))
    }
}

/// Workers of this world seldom say that something has begun; a task whose attempts are to be taken back says so itself.
fn settings() -> Settings {
    Settings { task_queued_timeout: Duration::from_secs(100 * 86_400), ..Settings::default() }
}

/// How an attempt ends that has put its question.
pub fn asked() -> AttemptEnd {
    let question = Question { subject: "Go on?".to_owned(), body: None };
    AttemptEnd { question: Some(question.into()), ..AttemptEnd::new(EndKind::Asked, "") }
}

/// How a look ends that is followed by another, so many seconds later.
pub fn put_off(secs: f64) -> AttemptEnd {
    AttemptEnd { again_after_secs: Some(secs), ..AttemptEnd::new(EndKind::Rescheduled, "poke 1: it is not there") }
}

pub fn clear_of(dag: &str, run: &str, task: &str, relatives: Relatives) -> ClearTaskInstances {
    ClearTaskInstances {
        tasks: vec![TaskSelector { task_id: TaskId::new(task).unwrap(), map_index: None }],
        relatives,
        ..ClearTaskInstances::of_run(DagId::new(dag).unwrap(), RunId::new(run).unwrap())
    }
}

pub fn trigger(dag: &str, run: Option<&str>) -> TriggerDagRun {
    let run_id = run.map(|run| RunId::new(run).unwrap());
    TriggerDagRun { run_id, ..TriggerDagRun::by_hand(DagId::new(dag).unwrap(), TriggeredBy::RestApi) }
}

/// What the worker of an attempt says that has looked once, and waits without a slot.
pub fn deferred(worker: WorkerId, attempt: AttemptId, at: Timestamp) -> Event {
    Event::AttemptDeferred { worker, attempt, at, end: put_off(60.0).into() }
}
