//! What will happen: the engine run ahead on what is stored, with durations that were learnt of earlier runs.
//!
//! **What is assumed.** Every attempt succeeds and takes as long as its task's successful attempts have taken in the middle; a
//! branch follows all that is directly after it, and questions are answered after as long as before. So a forecast tells how much
//! there will be to do when all goes well, and not what will fail. Each assumption that rests on nothing is told.
//!
//! **What always holds.** A forecast is bounded by hours, turns and runs ([`Wish`], [`TURNS_MAX`], [`RUNS_MAX`]), and so are its
//! lists; what is left out is counted. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DurationRound, TimeDelta};
use dag::Dag;
use model::{
    AttemptEnd, AttemptId, Capability, Command, DagId, DagRunState, EndKind, MapIndex, Operator, Pool, RunId, RunKey,
    RunType, TaskId, TaskIdx, TiKey, Timestamp, TriggeredBy, WorkerId, XComValue,
    command::TriggerDagRun,
    operator::{Returns, TriggerDagRunTask},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ahead, Bounds, Fate, Fates, Over, Start, Step, looks_again, simulate::everything_after};
use crate::{Assignment, Effect, Event, Fact, Need, Plan, Snapshot, WorkerJoined};

/// Turns of a forecast at most.
pub const TURNS_MAX: u32 = 400_000;
/// New runs of a forecast at most.
pub const RUNS_MAX: usize = 50_000;
/// Hours that can be foretold: a week.
pub const HOURS_MAX: u32 = 168;
/// Runs that are listed at most.
pub const RUNS_LISTED_MAX: usize = 2_000;
/// Deadlines, pools and assumptions that are listed at most.
const LISTED_MAX: usize = 500;
/// How long an attempt is assumed to take of whose task nothing was learnt, in seconds.
pub const DEFAULT_SECS: f64 = 60.0;
/// What is left of an attempt that runs longer than its task usually does.
const LATE_SECS: i64 = 1;

/// What was learnt of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learnt {
    /// How long its last successful attempts took: the one in the middle, in seconds.
    pub secs: f64,
    /// Of so many attempts.
    pub attempts: u32,
    /// How many elements it left last for tasks that are expanded over them.
    pub map_length: Option<u32>,
}

/// What was learnt of tasks, by DAG and the task's number.
pub type Lessons = BTreeMap<(DagId, TaskIdx), Learnt>;

/// What is to be foretold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wish {
    /// From this instant on.
    pub from: Timestamp,
    /// So many hours; at most [`HOURS_MAX`].
    pub hours: u32,
    /// How long an attempt takes of whose task nothing was learnt, in seconds.
    pub default_secs: f64,
}

/// What is foretold. Its names are those of the REST answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// From when on.
    pub from: Timestamp,
    /// How far it goes.
    pub until: Timestamp,
    /// Why it goes no further than that; none when it goes as far as was asked.
    pub cut_because: Option<String>,
    /// Runs that are there or will be, in the order of their start; at most [`RUNS_LISTED_MAX`].
    pub dag_runs: Vec<ForeseenRun>,
    /// How many runs there are in all.
    pub total_dag_runs: usize,
    /// Pools, the fullest first.
    pub pools: Vec<ForeseenPool>,
    /// How the slots of workers are used.
    pub workers: ForeseenWorkers,
    /// Deadlines that will be missed, in their order.
    pub deadlines_missed: Vec<ForeseenMiss>,
    /// What is assumed without having been learnt, and what is left out, each in one sentence.
    pub assumptions: Vec<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeseenRun {
    /// Its DAG.
    pub dag_id: DagId,
    /// Its id.
    pub dag_run_id: RunId,
    /// What makes it.
    pub run_type: RunType,
    /// Whether it is not there yet.
    pub is_foreseen: bool,
    /// The date that it stands for.
    pub logical_date: Option<Timestamp>,
    /// The earliest start.
    pub run_after: Timestamp,
    /// When it begins; none when it does not by then.
    pub start_date: Option<Timestamp>,
    /// When it ends; none when it does not by then.
    pub end_date: Option<Timestamp>,
    /// Its state at the end of the forecast.
    pub state: DagRunState,
    /// How long its start is later than it could be, in seconds.
    pub waits_secs: f64,
    /// How it stands when it does not end.
    pub why: Option<String>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeseenPool {
    /// Its name.
    pub name: String,
    /// Its slots; none for no limit, or when there is no such pool.
    pub slots: Option<u32>,
    /// Whether there is such a pool.
    pub exists: bool,
    /// The most slots that are taken at once.
    pub occupied_max: u32,
    /// How much of its slots is taken on average, from 0 to 1; none without a limit.
    pub occupied_share: Option<f64>,
    /// The most slots that are waited for at once.
    pub waiting_max: u32,
    /// How long something waits for its slots while all, or too many, are taken, in seconds.
    pub contended_secs: f64,
    /// The instance that waits longest between being ready and getting a slot of the pool and of a worker.
    pub longest_wait: Option<ForeseenWait>,
    /// Hour by hour, those in which something is taken or waited for.
    pub hours: Vec<ForeseenHour>,
}

/// How an instance waits for a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeseenWait {
    /// Its DAG.
    pub dag_id: DagId,
    /// Its run.
    pub dag_run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// Which of the task's instances.
    pub map_index: MapIndex,
    /// Since when.
    pub since: Timestamp,
    /// How long, in seconds.
    pub secs: f64,
}

/// A pool in an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeseenHour {
    /// When it begins.
    pub start: Timestamp,
    /// The most slots that are taken at once.
    pub occupied_max: u32,
    /// The most slots that are waited for at once.
    pub waiting_max: u32,
}

/// The workers together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ForeseenWorkers {
    /// How many there are.
    pub workers: usize,
    /// How many attempts they run at once.
    pub slots: u32,
    /// The most that they have at once.
    pub occupied_max: u32,
    /// How long all of their slots are taken, in seconds.
    pub full_secs: f64,
}

/// A deadline that will be missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeseenMiss {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub dag_run_id: RunId,
    /// What the deadline is called.
    pub name: Option<String>,
    /// By when the run has to have succeeded.
    pub deadline: Timestamp,
}

/// How far a forecast has come.
#[derive(Debug)]
pub enum Progress {
    /// There is more: go on.
    More,
    /// It has to be told this by the store, and goes on then.
    Asks(Vec<Need>),
    /// It is done.
    Done,
}

/// A forecast under way.
#[derive(Debug)]
pub struct Forecaster {
    wish: Wish,
    ahead: Ahead,
    learning: Learning,
    gauges: Gauges,
    /// Runs that were there.
    known: BTreeSet<RunKey>,
    misses: Vec<ForeseenMiss>,
    left_out: usize,
    workers: ForeseenWorkers,
    over: Option<Over>,
    assumptions: Vec<String>,
}

impl Forecaster {
    /// Begins a forecast on what is stored.
    #[must_use]
    pub fn new(snapshot: Snapshot, lessons: Lessons, wish: Wish) -> Self {
        let until = wish.from + TimeDelta::hours(i64::from(wish.hours.min(HOURS_MAX)));
        let bounds = Bounds { until, turns_max: TURNS_MAX, runs_max: RUNS_MAX };
        let known = snapshot.runs.iter().map(|run| run.run.key).collect();
        let mut assumptions = Vec::new();
        let workers = workers(&snapshot, &mut assumptions);
        let mut ahead = Ahead::beside_store(snapshot, wish.from, bounds);
        let learning =
            Learning { lessons, default_secs: wish.default_secs, unknown: BTreeSet::new(), lengths: BTreeSet::new() };
        let mut asked = 0_usize;
        for row in ahead.tables().runs().flat_map(|run| ahead.tables().instances_of(run.key)) {
            asked += usize::from(row.state == model::TaskState::AwaitingInput);
        }
        if asked > 0 {
            assumptions.push(format!(
                "{asked} task instances wait for people: nobody answers them, unless their time ends within the forecast"
            ));
        }
        let of_workers = ForeseenWorkers {
            workers: workers.len(),
            slots: workers.iter().map(|worker| worker.slots).fold(0, u32::saturating_add),
            ..ForeseenWorkers::default()
        };
        workers.into_iter().for_each(|worker| ahead.put(Event::WorkerJoined(worker)));
        let mut forecaster = Self {
            wish,
            learning,
            gauges: Gauges::at(wish.from),
            known,
            misses: Vec::new(),
            left_out: 0,
            workers: of_workers,
            over: None,
            assumptions,
            ahead,
        };
        forecaster.let_attempts_end();
        forecaster
    }

    /// Takes so many turns at most.
    pub fn go(&mut self, turns: u32) -> Progress {
        for _ in 0..turns {
            match self.ahead.step(&mut self.learning) {
                Step::Turn(plan) => self.hear(&plan),
                Step::Asks(needs) => return Progress::Asks(needs),
                Step::Over(over) => {
                    self.over = Some(over);
                    return Progress::Done;
                }
            }
        }
        Progress::More
    }

    /// Takes what the store has said.
    pub fn tell(&mut self, facts: Vec<Fact>) {
        let with_need = |fact: Fact| (need_of(&fact).clone(), fact);
        self.ahead.tell(facts.into_iter().map(with_need));
    }

    /// The attempts that run already end when they have taken as long as usual.
    fn let_attempts_end(&mut self) {
        for (worker, attempt, key) in self.ahead.at_work() {
            let Some(given) = self.ahead.engine().assignment(key) else { continue };
            let row = self.ahead.tables().instance(key);
            let since = row.and_then(|row| row.started_at.or(row.queued_at)).unwrap_or(self.wish.from);
            let fate = self.learning.fate(&given);
            let left = (since + fate.runs - self.wish.from).max(TimeDelta::seconds(LATE_SECS));
            let ran = since + fate.runs.max(self.wish.from + left - since) - since;
            let end = AttemptEnd { ran_micros: ran.num_microseconds().unwrap_or(0), ..fate.end };
            self.ahead.let_end(worker, attempt, left, end);
        }
    }

    fn hear(&mut self, plan: &Plan) {
        let now = self.ahead.now();
        for effect in &plan.effects {
            if let Effect::Assign { key, .. } = effect {
                self.note_wait(*key, now);
            }
        }
        for id in &plan.deadlines_missed {
            let Some(row) = self.ahead.tables().deadline(*id) else { continue };
            if self.misses.len() >= LISTED_MAX {
                self.left_out += 1;
                continue;
            }
            self.misses.push(ForeseenMiss {
                dag_id: row.dag_id.clone(),
                dag_run_id: row.run_id.clone(),
                name: row.name.clone(),
                deadline: row.at,
            });
        }
        let engine = self.ahead.engine();
        let occupied = u32::try_from(engine.attempts.len()).unwrap_or(u32::MAX);
        self.gauges.measure_workers(now, occupied, &mut self.workers);
        for pool in engine.pool_uses(0) {
            let taken = Taken {
                occupied: pool.slots.occupied,
                waiting: pool.slots.scheduled,
                total: pool.total,
                exists: pool.exists,
            };
            self.gauges.measure(now, &pool.name, taken);
        }
    }

    /// How long an instance has waited that has just got its slot.
    fn note_wait(&mut self, key: TiKey, now: Timestamp) {
        let engine = self.ahead.engine();
        let Some(place) = engine.place_of(key) else { return };
        let run = engine.known_run(place.run);
        let Some(since) = run.instance(place.at()).ready_at.filter(|since| *since < now) else { return };
        let task = run.def.task(place.task);
        let secs = (now - since).as_seconds_f64();
        let wait = || ForeseenWait {
            dag_id: run.row.dag_id.clone(),
            dag_run_id: run.row.run_id.clone(),
            task_id: task.task_id.clone(),
            map_index: key.map,
            since,
            secs,
        };
        let gauge = self.gauges.of(&task.pool, now);
        if gauge.longest.as_ref().is_none_or(|longest| longest.secs < secs) {
            gauge.longest = Some(wait());
        }
    }

    /// What has come of it. It may be asked at any time: a forecast that was cut by `because` tells how far it has come.
    #[must_use]
    pub fn forecast(mut self, because: Option<String>) -> Forecast {
        let asked_until = self.wish.from + TimeDelta::hours(i64::from(self.wish.hours.min(HOURS_MAX)));
        let cut = because.or_else(|| match self.over {
            Some(Over::Turns) => Some(format!("it takes more than {TURNS_MAX} turns of the scheduler")),
            Some(Over::Runs) => Some(format!("there are more than {RUNS_MAX} new runs")),
            Some(Over::AtRest | Over::Until) => None,
            None => Some("it was not followed to its end".to_owned()),
        });
        let until = if cut.is_some() { self.ahead.now() } else { asked_until };
        self.gauges.end(until, &mut self.workers);
        let mut runs: Vec<ForeseenRun> = self.ahead.tables().runs().map(|run| self.run(run)).collect();
        runs.sort_by_key(|run| (run.start_date.unwrap_or(Timestamp::MAX_UTC), run.run_after));
        let total_dag_runs = runs.len();
        runs.truncate(RUNS_LISTED_MAX);
        for run in runs.iter_mut().filter(|run| !run.state.is_finished()) {
            run.why = self.ahead.engine().why_run(&run.dag_id, &run.dag_run_id, until).map(|(why, _)| why);
        }
        let mut assumptions = self.assumptions;
        assumptions.extend(self.learning.sentences());
        if total_dag_runs > RUNS_LISTED_MAX {
            assumptions.push(format!("{} runs are left out of the list", total_dag_runs - RUNS_LISTED_MAX));
        }
        if self.left_out > 0 {
            assumptions.push(format!("{} missed deadlines are left out of the list", self.left_out));
        }
        Forecast {
            from: self.wish.from,
            until,
            cut_because: cut,
            dag_runs: runs,
            total_dag_runs,
            pools: self.gauges.pools(until - self.wish.from),
            workers: self.workers,
            deadlines_missed: self.misses,
            assumptions,
        }
    }

    fn run(&self, run: &crate::RunRow) -> ForeseenRun {
        let could = run.run_after.max(self.wish.from.min(run.started_at.unwrap_or(self.wish.from)));
        let starts = run.started_at.unwrap_or(self.ahead.now());
        ForeseenRun {
            dag_id: run.dag_id.clone(),
            dag_run_id: run.run_id.clone(),
            run_type: run.run_type,
            is_foreseen: !self.known.contains(&run.key),
            logical_date: run.logical_date,
            run_after: run.run_after,
            start_date: run.started_at,
            end_date: run.ended_at,
            state: run.state,
            waits_secs: (starts - could).as_seconds_f64().max(0.0),
            why: None,
        }
    }
}

/// The workers that are there, able to run everything that they may; one without a limit when there is none.
fn workers(snapshot: &Snapshot, assumptions: &mut Vec<String>) -> Vec<WorkerJoined> {
    let operators =
        || Operator::NAMES.iter().copied().chain([Operator::EXPANDED, Operator::RESCHEDULES, Operator::DEFERS]);
    let mut held: BTreeMap<WorkerId, BTreeSet<AttemptId>> = BTreeMap::new();
    for row in snapshot.runs.iter().flat_map(|run| &run.instances).filter(|row| row.live) {
        if let (Some(worker), Some(attempt)) = (row.worker, row.attempt) {
            held.entry(worker).or_default().insert(attempt);
        }
    }
    let known = snapshot.workers.iter().filter(|worker| !worker.leaving);
    let workers: Vec<WorkerJoined> = known
        .map(|worker| WorkerJoined {
            operators: operators().map(str::to_owned).collect(),
            attempts: held.remove(&worker.worker).unwrap_or_default(),
            ..worker.clone()
        })
        .collect();
    if !workers.is_empty() {
        return workers;
    }
    assumptions.push(
        "no worker is there: one is assumed that runs everything, as many attempts at once as there are".to_owned(),
    );
    let queues = snapshot.versions.iter().flat_map(|version| version.dag.tasks.iter().map(|task| task.queue.clone()));
    vec![WorkerJoined {
        worker: WorkerId(i32::MAX),
        name: "assumed".to_owned(),
        slots: 1_000_000,
        queues: queues.chain([Dag::DEFAULT_QUEUE.to_owned()]).collect(),
        capabilities: [Capability::Light, Capability::Process, Capability::Docker].into(),
        operators: operators().map(str::to_owned).collect(),
        attempts: BTreeSet::new(),
        leaving: false,
    }]
}

const fn need_of(fact: &Fact) -> &Need {
    match fact {
        Fact::Run { need, .. }
        | Fact::Exists { need, .. }
        | Fact::NewestRuns { need, .. }
        | Fact::Runtimes { need, .. }
        | Fact::Version { need, .. } => need,
    }
}

/// Tells what becomes of attempts, by what was learnt.
#[derive(Debug)]
struct Learning {
    lessons: Lessons,
    default_secs: f64,
    /// Tasks of which nothing was learnt.
    unknown: BTreeSet<(DagId, TaskId)>,
    /// Tasks that others may be expanded over, of which no length was learnt.
    lengths: BTreeSet<(DagId, TaskId)>,
}

impl Fates for Learning {
    fn fate(&mut self, attempt: &Assignment) -> Fate {
        let task = attempt.dag.task(attempt.task);
        let dag = &attempt.run.dag_id;
        let learnt = self.lessons.get(&(dag.clone(), attempt.key.task)).copied();
        if learnt.is_none() && self.unknown.len() < LISTED_MAX {
            self.unknown.insert((dag.clone(), task.task_id.clone()));
        }
        let secs = learnt.map_or(self.default_secs, |learnt| learnt.secs);
        let runs = TimeDelta::microseconds((secs.clamp(0.0, 1e12) * 1e6) as i64);
        if let Some(end) = looks_again(attempt, runs) {
            return Fate::after(TimeDelta::zero(), end);
        }
        let looked_before = attempt.poked.is_some_and(|poked| poked.waited_secs > 0.0);
        let runs = if looked_before { TimeDelta::zero() } else { runs };
        let start = match &task.operator {
            Operator::TriggerDagRun(keys) => triggers(keys),
            _ => Start::Quiet,
        };
        Fate { start, ..Fate::after(runs, self.success(attempt, learnt)) }
    }
}

impl Learning {
    /// The end of an attempt that goes well, and leaves as much as it did before.
    fn success(&mut self, attempt: &Assignment, learnt: Option<Learnt>) -> AttemptEnd {
        let task = attempt.dag.task(attempt.task);
        let follows = match &task.operator {
            Operator::Branch(_) => true,
            Operator::PythonCallable(keys) => keys.returns == Returns::Follow,
            Operator::Choice(keys) => keys.options_mapping.is_some(),
            _ => false,
        };
        let length = learnt.and_then(|learnt| learnt.map_length);
        if length.is_none() && is_source(&attempt.dag, task) && self.lengths.len() < LISTED_MAX {
            self.lengths.insert((attempt.run.dag_id.clone(), task.task_id.clone()));
        }
        let left = vec![Value::Null; length.unwrap_or(1).min(100_000) as usize];
        let value = if attempt.key.map == MapIndex::UNMAPPED { Value::Array(left) } else { Value::Bool(true) };
        AttemptEnd {
            follow: follows.then(|| everything_after(&attempt.dag, task)),
            xcoms: vec![XComValue { key: XComValue::RETURN_VALUE.to_owned(), value }],
            ..AttemptEnd::new(EndKind::Success, String::new())
        }
    }

    fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let names = |tasks: &BTreeSet<(DagId, TaskId)>| {
            let named: Vec<String> = tasks.iter().take(10).map(|(dag, task)| format!("{dag}.{task}")).collect();
            let more = tasks.len().saturating_sub(named.len());
            if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
        };
        if !self.unknown.is_empty() {
            sentences.push(format!(
                "no successful attempt is known of {}: {} s are assumed for each",
                names(&self.unknown),
                self.default_secs
            ));
        }
        if !self.lengths.is_empty() {
            sentences.push(format!(
                "it is not known how many elements {} leaves for tasks that are expanded over them: one is assumed",
                names(&self.lengths)
            ));
        }
        sentences
    }
}

/// Whether a task of the DAG is expanded over what this one leaves. Only tasks of which nothing was learnt are asked about, and
/// each so often as it runs in the forecast.
fn is_source(dag: &Dag, task: &dag::Task) -> bool {
    let expanded = task.downstream.iter().filter_map(|pos| dag.task(*pos).expand.as_ref());
    expanded.into_iter().any(|expand| expand.sources().contains(&&task.task_id))
}

/// The run that a `trigger_dag_run` task asks for. One whose DAG is a template is not foreseen.
fn triggers(keys: &TriggerDagRunTask) -> Start {
    let Ok(dag_id) = DagId::new(&keys.trigger_dag_id) else { return Start::Quiet };
    let wish =
        TriggerDagRun { run_type: RunType::OperatorTriggered, ..TriggerDagRun::by_hand(dag_id, TriggeredBy::Operator) };
    Start::Asks(Box::new(Command::TriggerDagRun(wish)))
}

/// How pools are used over time.
#[derive(Debug)]
struct Gauges {
    pools: BTreeMap<String, Gauge>,
    workers: (Timestamp, u32),
}

/// A pool since it was measured last.
#[derive(Debug)]
struct Gauge {
    at: Timestamp,
    taken: Taken,
    slot_secs: f64,
    occupied_max: u32,
    waiting_max: u32,
    contended_secs: f64,
    longest: Option<ForeseenWait>,
    hours: BTreeMap<Timestamp, (u32, u32)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    occupied: u32,
    waiting: u32,
    total: Option<u32>,
    exists: bool,
}

impl Gauge {
    /// Counts how it stood until now.
    fn advance(&mut self, now: Timestamp) {
        let secs = (now - self.at).as_seconds_f64();
        self.slot_secs += secs * f64::from(self.taken.occupied);
        let is_contended = self.taken.waiting > 0
            && self.taken.total.is_some_and(|total| self.taken.occupied.saturating_add(self.taken.waiting) > total);
        if is_contended {
            self.contended_secs += secs;
        }
        self.at = now;
    }

    fn note(&mut self, now: Timestamp, taken: Taken) {
        self.taken = taken;
        self.occupied_max = self.occupied_max.max(taken.occupied);
        self.waiting_max = self.waiting_max.max(taken.waiting);
        if taken.occupied + taken.waiting > 0
            && let Ok(hour) = now.duration_trunc(TimeDelta::hours(1))
        {
            let (occupied, waiting) = self.hours.entry(hour).or_default();
            *occupied = (*occupied).max(taken.occupied);
            *waiting = (*waiting).max(taken.waiting);
        }
    }
}

impl Gauges {
    const fn at(began: Timestamp) -> Self {
        Self { pools: BTreeMap::new(), workers: (began, 0) }
    }

    fn of(&mut self, pool: &str, now: Timestamp) -> &mut Gauge {
        if !self.pools.contains_key(pool) {
            let gauge = Gauge {
                at: now,
                taken: Taken::default(),
                slot_secs: 0.0,
                occupied_max: 0,
                waiting_max: 0,
                contended_secs: 0.0,
                longest: None,
                hours: BTreeMap::new(),
            };
            self.pools.insert(pool.to_owned(), gauge);
        }
        self.pools.get_mut(pool).expect("it was inserted above")
    }

    fn measure(&mut self, now: Timestamp, pool: &str, taken: Taken) {
        let gauge = self.of(pool, now);
        gauge.advance(now);
        gauge.note(now, taken);
    }

    fn measure_workers(&mut self, now: Timestamp, occupied: u32, workers: &mut ForeseenWorkers) {
        let (at, before) = self.workers;
        if before >= workers.slots && before > 0 {
            workers.full_secs += (now - at).as_seconds_f64();
        }
        workers.occupied_max = workers.occupied_max.max(occupied);
        self.workers = (now, occupied);
    }

    fn end(&mut self, until: Timestamp, workers: &mut ForeseenWorkers) {
        let (_, occupied) = self.workers;
        self.measure_workers(until, occupied, workers);
        self.pools.values_mut().for_each(|gauge| gauge.advance(until));
    }

    /// The fullest first; those of which nothing is taken or waited for are left out.
    fn pools(self, over: TimeDelta) -> Vec<ForeseenPool> {
        let secs = over.as_seconds_f64().max(f64::MIN_POSITIVE);
        let used = self
            .pools
            .into_iter()
            .filter(|(name, gauge)| gauge.occupied_max + gauge.waiting_max > 0 || name == Pool::DEFAULT);
        let mut pools: Vec<ForeseenPool> = used.map(|(name, gauge)| gauge.told(name, secs)).collect();
        let fullness = |pool: &ForeseenPool| (pool.contended_secs, pool.occupied_share.unwrap_or(0.0));
        pools.sort_by(|one, other| fullness(other).partial_cmp(&fullness(one)).unwrap_or(std::cmp::Ordering::Equal));
        pools.truncate(LISTED_MAX);
        pools
    }
}

impl Gauge {
    fn told(self, name: String, secs: f64) -> ForeseenPool {
        let slots = self.taken.total;
        let hour = |(start, (occupied_max, waiting_max))| ForeseenHour { start, occupied_max, waiting_max };
        ForeseenPool {
            name,
            slots,
            exists: self.taken.exists,
            occupied_max: self.occupied_max,
            occupied_share: slots.filter(|slots| *slots > 0).map(|slots| self.slot_secs / secs / f64::from(slots)),
            waiting_max: self.waiting_max,
            contended_secs: self.contended_secs,
            longest_wait: self.longest,
            hours: self.hours.into_iter().map(hour).collect(),
        }
    }
}
