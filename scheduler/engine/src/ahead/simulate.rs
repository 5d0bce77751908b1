//! One run of a DAG in simulated time, with outcomes that a file tells: a test of what the DAG decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::TimeDelta;
use dag::{
    Dag,
    outcomes::{Answered, Case, Named, Outcome, Told},
};
use model::{
    AttemptEnd, Capability, DagRunState, DagVersionId, EndKind, MapIndex, Operator, Pool, RunId, RunKey, TaskId,
    TaskIdx, TaskState, TiKey, Timestamp, TriggeredBy, WorkerId, XComValue,
    command::TriggerDagRun,
    door::{Conf, Instant},
    operator::Returns,
};

use super::{Ahead, Bounds, Fate, Fates, Over, Step, looks_again};
use crate::{Assignment, DagVersion, Event, Plan, RunRow, Snapshot, StoredDag, TiRow, WorkerJoined};

/// Turns of one simulation at most: a run of 20,000 tasks takes fewer when they end in batches.
const TURNS_MAX: u32 = 100_000;
/// How far a simulation goes, in days: longer than any pause that a DAG may ask for within reason.
const DAYS_MAX: i64 = 366;
/// Lines of a timeline at most: more are not read, and the states at the end are told all the same.
pub const MOMENTS_MAX: usize = 20_000;

/// What has come of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// The state of the run.
    pub state: DagRunState,
    /// How long the run took, or has taken when it goes on.
    pub took: TimeDelta,
    /// What happened, in order; at most [`MOMENTS_MAX`].
    pub moments: Vec<Moment>,
    /// How many moments are left out.
    pub moments_left_out: usize,
    /// Every task instance as it ended, in the order of the DAG.
    pub tasks: Vec<End>,
    /// Why the run has not ended; none when it has.
    pub stuck: Option<String>,
    /// What was expected and did not come, each in one sentence.
    pub unmet: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// How long after the run was triggered.
    pub after: TimeDelta,
    /// The task instance; none when it is the run.
    pub task: Option<(TaskId, MapIndex)>,
    /// Its try; 0 before the first, and for the run.
    pub try_number: i16,
    /// The state that it came to.
    pub state: &'static str,
    /// Why; empty when there is nothing to say.
    pub why: String,
}

/// How a task instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The task.
    pub task_id: TaskId,
    /// Which of its instances.
    pub map_index: MapIndex,
    /// Its state.
    pub state: TaskState,
    /// How many tries it took.
    pub tries: i16,
    /// When its last attempt began, after the run was triggered.
    pub began: Option<TimeDelta>,
    /// When it ended.
    pub ended: Option<TimeDelta>,
    /// Why it ended so, or waits; empty when there is nothing to say.
    pub why: String,
}

/// Plays a case.
#[must_use]
pub fn simulate(dag: &Dag, case: &Case) -> Simulation {
    let (dag, began) = (Arc::new(alone(dag)), case.logical_date);
    let until = began.checked_add_signed(TimeDelta::days(DAYS_MAX)).unwrap_or(Timestamp::MAX_UTC);
    let bounds = Bounds { until, turns_max: TURNS_MAX, runs_max: usize::MAX };
    let mut ahead = Ahead::alone(world(&dag, case), Vec::new(), began, bounds);
    ahead.put(Event::WorkerJoined(worker(&dag, case)));
    ahead.ask(model::Command::TriggerDagRun(TriggerDagRun {
        run_id: Some(run_id()),
        logical_date: Instant::new(began).ok(),
        conf: Conf::new(case.conf.clone()).unwrap_or_default(),
        ..TriggerDagRun::by_hand(dag.dag_id.clone(), TriggeredBy::Cli)
    }));
    let mut script = Script { case };
    let mut tale = Tale { dag: &dag, began, moments: Vec::new(), left_out: 0, first_begin: BTreeMap::new() };
    let over = loop {
        match ahead.step(&mut script) {
            Step::Turn(plan) => tale.hear(ahead.now(), &plan),
            Step::Over(over) => break over,
            Step::Asks(_) => unreachable!("a simulation alone has no store to ask"),
        }
    };
    tale.told(&ahead, over, case)
}

/// The run's id.
fn run_id() -> RunId {
    RunId::new("simulated").expect("the constant is a run id")
}

/// The DAG without runs of its own: its schedule is over, and it waits for no asset.
fn alone(dag: &Dag) -> Dag {
    let over = "1970-01-01T00:00:00Z".parse().expect("the constant is an instant");
    Dag { end_date: Some(over), assets: None, allowed_run_types: None, ..dag.clone() }
}

fn world(dag: &Arc<Dag>, case: &Case) -> Snapshot {
    let numbers = (0_i32..).map(TaskIdx).take(dag.tasks.len()).collect();
    let version = DagVersion { id: DagVersionId(1), dag: Arc::clone(dag), task_idx: numbers };
    let named = dag.tasks.iter().map(|task| task.pool.clone());
    let names: BTreeSet<String> = named.chain([Pool::DEFAULT.to_owned()]).chain(case.pools.keys().cloned()).collect();
    let pool = |name: String| Pool {
        slots: case.pools.get(&name).copied().flatten(),
        name,
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    Snapshot {
        dags: vec![StoredDag::new(dag.dag_id.clone(), version.id, false)],
        versions: vec![version],
        pools: names.into_iter().map(pool).collect(),
        ..Snapshot::default()
    }
}

/// A worker that can run everything that the DAG has.
fn worker(dag: &Dag, case: &Case) -> WorkerJoined {
    let queues = dag.tasks.iter().map(|task| task.queue.clone());
    let operators =
        Operator::NAMES.iter().copied().chain([Operator::EXPANDED, Operator::RESCHEDULES, Operator::DEFERS]);
    WorkerJoined {
        worker: WorkerId(1),
        name: "simulated".to_owned(),
        slots: case.worker_slots,
        queues: queues.chain([Dag::DEFAULT_QUEUE.to_owned()]).collect(),
        capabilities: [Capability::Light, Capability::Process, Capability::Docker].into(),
        operators: operators.map(str::to_owned).collect(),
        attempts: BTreeSet::new(),
        leaving: false,
    }
}

/// Tells what becomes of attempts, as the file says.
struct Script<'c> {
    case: &'c Case,
}

impl Script<'_> {
    /// What is told of an attempt: of its instance, else of its task; the last one of a list counts for all further tries.
    fn told(&self, task_id: &TaskId, map: MapIndex, try_number: i16) -> Told {
        let named = |map_index| Named { task_id: task_id.clone(), map_index };
        let own = u32::try_from(map.get()).ok().and_then(|index| self.case.tasks.get(&named(Some(index))));
        let Some(tries) = own.or_else(|| self.case.tasks.get(&named(None))) else { return Told::default() };
        let nth = usize::try_from(try_number - 1).unwrap_or(0).min(tries.len() - 1);
        tries[nth].clone()
    }
}

impl Fates for Script<'_> {
    fn fate(&mut self, attempt: &Assignment) -> Fate {
        let task = attempt.dag.task(attempt.task);
        let told = self.told(&task.task_id, attempt.key.map, attempt.try_number.get());
        let duration = told.duration.unwrap_or(self.case.default_duration);
        let runs = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        if let Some(asking) = task.operator.asking().filter(|_| told.outcome == Outcome::Success) {
            let usual = || if asking.defaults.is_empty() { first_of(&asking.options) } else { asking.defaults.clone() };
            let answer = match &told.answer {
                Answered::AsUsual => Some(usual()),
                Answered::Options(chosen) => Some(chosen.clone()),
                Answered::Nothing => None,
            };
            return Fate::asks(attempt, answer.map(|chosen| (runs, chosen)));
        }
        if told.outcome == Outcome::Success
            && let Some(end) = looks_again(attempt, runs)
        {
            return Fate::after(TimeDelta::zero(), end);
        }
        let looked_before = attempt.poked.map_or(0.0, |poked| poked.waited_secs);
        let runs = if looked_before > 0.0 { TimeDelta::zero() } else { runs };
        Fate::after(runs, end_of(told, &attempt.dag, task))
    }
}

fn first_of(options: &[String]) -> Vec<String> {
    options.first().cloned().into_iter().collect()
}

/// How an attempt ends. A branch of which nothing is told follows everything directly after it.
fn end_of(told: Told, dag: &Dag, task: &dag::Task) -> AttemptEnd {
    let (kind, usual) = match told.outcome {
        Outcome::Success => (EndKind::Success, ""),
        Outcome::Failed => (EndKind::Failed, "the file of outcomes lets it fail"),
        Outcome::FailedWithoutRetry => (EndKind::FailedForGood, "the file of outcomes lets it fail, without a retry"),
        Outcome::Skipped => (EndKind::Skipped, "the file of outcomes lets it be skipped"),
        Outcome::Lost => (EndKind::Lost, "the file of outcomes lets its worker be lost"),
    };
    let is_branch = match &task.operator {
        Operator::Branch(_) => true,
        Operator::PythonCallable(keys) => keys.returns == Returns::Follow,
        _ => false,
    };
    AttemptEnd {
        exit_code: told.exit_code,
        xcoms: told.xcoms.into_iter().map(|(key, value)| XComValue { key, value }).collect(),
        follow: told.follow.or_else(|| is_branch.then(|| everything_after(dag, task))),
        proceed: told.proceed,
        retry_delay_secs: told.retry_delay.map(|pause| pause.as_secs_f64()),
        ..AttemptEnd::new(kind, told.reason.unwrap_or_else(|| usual.to_owned()))
    }
}

/// The ids of the tasks directly after one.
pub(super) fn everything_after(dag: &Dag, task: &dag::Task) -> Vec<String> {
    task.downstream.iter().map(|pos| dag.task(*pos).task_id.to_string()).collect()
}

/// What has happened so far.
struct Tale<'d> {
    dag: &'d Dag,
    began: Timestamp,
    moments: Vec<Moment>,
    left_out: usize,
    /// When the first attempt of each task began.
    first_begin: BTreeMap<usize, Timestamp>,
}

impl Tale<'_> {
    fn hear(&mut self, now: Timestamp, plan: &Plan) {
        let runs = plan.new_runs.iter().chain(plan.runs.iter().map(|change| &change.row));
        let moments: Vec<Moment> = runs.map(|run| self.moment_of_run(now, run)).collect();
        moments.into_iter().for_each(|moment| self.put(moment));
        let rows = plan.new_instances.iter().chain(plan.instances.iter().map(|change| &change.row));
        for row in rows {
            if let Some(position) = position_of(row.key) {
                if row.started_at.is_some() || row.queued_at.is_some() || row.state.is_finished() {
                    self.first_begin.entry(position).or_insert(row.started_at.or(row.queued_at).unwrap_or(now));
                }
                let moment = self.moment_of(now, position, row);
                self.put(moment);
            }
        }
    }

    fn put(&mut self, moment: Moment) {
        if self.moments.len() < MOMENTS_MAX { self.moments.push(moment) } else { self.left_out += 1 }
    }

    fn moment_of_run(&self, now: Timestamp, run: &RunRow) -> Moment {
        let (state, why) = (run.state.name(), String::new());
        Moment { after: now - self.began, task: None, try_number: 0, state, why }
    }

    fn moment_of(&self, now: Timestamp, position: usize, row: &TiRow) -> Moment {
        let why =
            row.extra.reason.clone().filter(|_| row.state != TaskState::Queued && row.state != TaskState::Running);
        Moment {
            after: now - self.began,
            task: Some((self.dag.tasks[position].task_id.clone(), row.key.map)),
            try_number: row.try_number.get(),
            state: row.state.name(),
            why: why.unwrap_or_default(),
        }
    }

    fn told(self, ahead: &Ahead, over: Over, case: &Case) -> Simulation {
        let tables = ahead.tables();
        let run = tables.runs().next();
        let (state, key) = run.map_or((DagRunState::Queued, None), |run| (run.state, Some(run.key)));
        let ended = run.and_then(|run| run.ended_at).filter(|_| state.is_finished());
        let passed_over = key.map(|run| passed_over(ahead, run)).unwrap_or_default();
        let waits = |task: &TaskId, map| ahead.engine().why_task(&self.dag.dag_id, &run_id(), task, map, ahead.now());
        let mut tasks = Vec::new();
        for (position, task) in self.dag.tasks.iter().enumerate() {
            let number = TaskIdx(i32::try_from(position).unwrap_or(i32::MAX));
            let rows: Vec<&TiRow> = key.into_iter().flat_map(|run| tables.instances_of_task(run, number)).collect();
            if rows.is_empty() {
                let why = waits(&task.task_id, MapIndex::UNMAPPED);
                tasks.push(End::of_none(&task.task_id, why.unwrap_or_else(|| "the run ended before it".to_owned())));
            }
            for row in rows {
                let why = self.why((ahead, &passed_over), row, position).or_else(|| waits(&task.task_id, row.key.map));
                tasks.push(End::of(&task.task_id, row, self.began, why.unwrap_or_default()));
            }
        }
        let stuck = (!state.is_finished()).then(|| self.stuck(ahead, over));
        let took = ended.unwrap_or(ahead.now()) - self.began;
        let unmet = self.unmet(case, (state, took), &tasks);
        Simulation { state, took, moments: self.moments, moments_left_out: self.left_out, tasks, stuck, unmet }
    }

    fn stuck(&self, ahead: &Ahead, over: Over) -> String {
        let why = ahead.engine().why_run(&self.dag.dag_id, &run_id(), ahead.now()).map(|(why, _)| why);
        let why = why.unwrap_or_else(|| "the run was refused".to_owned());
        match over {
            Over::AtRest => format!("nothing more happens by itself: {why}"),
            Over::Until => format!("{DAYS_MAX} days of simulated time are over: {why}"),
            Over::Turns | Over::Runs => format!("the simulation ends after {TURNS_MAX} turns: {why}"),
        }
    }

    /// Why an instance ended as it did; none when it has not ended.
    fn why(&self, (ahead, passed_over): (&Ahead, &PassedOver), row: &TiRow, position: usize) -> Option<String> {
        if let Some(reason) = &row.extra.reason {
            return Some(reason.clone());
        }
        match row.state {
            TaskState::Skipped => Some(match passed_over.get(&row.key.task) {
                Some(by) => format!("{} has passed over it", self.dag.tasks[*by].task_id),
                None => self.rule_does_not_hold(ahead, row, position),
            }),
            TaskState::UpstreamFailed => Some(self.rule_does_not_hold(ahead, row, position)),
            state if state.is_finished() => Some(String::new()),
            _ => None,
        }
    }

    /// How the tasks directly before it stand, but for those that have succeeded.
    fn rule_does_not_hold(&self, ahead: &Ahead, row: &TiRow, position: usize) -> String {
        let task = &self.dag.tasks[position];
        let stands = |pos: &dag::TaskPos| {
            let number = TaskIdx(i32::try_from(pos.0).ok()?);
            let mut rows = ahead.tables().instances_of_task(row.key.run, number);
            let other = rows.find(|other| other.state != TaskState::Success)?;
            Some(format!("{} has ended in {}", self.dag.tasks[pos.0].task_id, other.state))
        };
        let before: Vec<String> = task.upstream.iter().filter_map(stands).take(crate::explain::NAMES_MAX).collect();
        let before = if before.is_empty() { "all before it has succeeded".to_owned() } else { before.join(", ") };
        format!("its rule {} does not hold: {before}", task.trigger_rule)
    }

    /// What was expected and did not come.
    fn unmet(&self, case: &Case, (state, took): (DagRunState, TimeDelta), tasks: &[End]) -> Vec<String> {
        let mut unmet = Vec::new();
        if let Some(wanted) = case.expect.state.filter(|wanted| *wanted != state) {
            unmet.push(format!("the run was expected to end in {wanted}; it is {state}"));
        }
        let of = |name: &Named| {
            let index = name.map_index.and_then(|index| i32::try_from(index).ok());
            let is_meant = move |end: &&End| index.is_none_or(|index| end.map_index.get() == index);
            let task_id = name.task_id.clone();
            tasks.iter().filter(move |end| end.task_id == task_id).filter(is_meant)
        };
        for (name, wanted) in &case.expect.tasks {
            if of(name).next().is_none() {
                unmet.push(format!("{name} was expected to end in {wanted}; there is no such instance"));
            }
            let others = of(name).filter(|end| end.state != *wanted);
            unmet.extend(others.take(crate::explain::NAMES_MAX).map(|end| {
                let why = if end.why.is_empty() { String::new() } else { format!(": {}", end.why) };
                format!("{} was expected to end in {wanted}; it is {}{why}", end.name(), end.state)
            }));
        }
        for (name, wanted) in &case.expect.tries {
            let others = of(name).filter(|end| end.tries != *wanted);
            unmet.extend(
                others
                    .take(crate::explain::NAMES_MAX)
                    .map(|end| format!("{} was expected to take {wanted} tries; it took {}", end.name(), end.tries)),
            );
        }
        for (task, wanted) in &case.expect.instances {
            let name = Named { task_id: task.clone(), map_index: None };
            let found = of(&name).filter(|end| end.map_index != MapIndex::UNMAPPED).count();
            if found != *wanted {
                unmet.push(format!("{task} was expected to have {wanted} instances; it has {found}"));
            }
        }
        if let Some(limit) = case.expect.ends_within.and_then(|limit| TimeDelta::from_std(limit).ok())
            && (took > limit || !state.is_finished())
        {
            let (took, limit) = (crate::explain::span(took), crate::explain::span(limit));
            unmet.push(format!("the run was expected to end within {limit}; it took {took}"));
        }
        unmet.extend(case.expect.order.windows(2).filter_map(|pair| self.out_of_order(&pair[0], &pair[1], tasks)));
        unmet
    }

    fn out_of_order(&self, first: &TaskId, second: &TaskId, tasks: &[End]) -> Option<String> {
        let begin = |task: &TaskId| Some(*self.first_begin.get(&self.dag.position(task)?.0)? - self.began);
        let wanted = format!("{second} was expected to begin when {first} has ended");
        let Some(begins) = begin(second) else { return Some(format!("{wanted}; {second} has not begun")) };
        let of_first: Vec<&End> = tasks.iter().filter(|end| end.task_id == *first).collect();
        if !of_first.iter().all(|end| end.state.is_finished()) {
            return Some(format!("{wanted}; {first} has not ended"));
        }
        let ends = of_first.iter().filter_map(|end| end.ended).max().or_else(|| begin(first))?;
        let (begins_text, ends_text) = (crate::explain::span(begins), crate::explain::span(ends));
        (begins < ends).then(|| format!("{wanted}; it began after {begins_text}, and {first} ended after {ends_text}"))
    }
}

/// The task that has passed over each task that was skipped by a decision.
type PassedOver = BTreeMap<TaskIdx, usize>;

fn passed_over(ahead: &Ahead, run: RunKey) -> PassedOver {
    let rows = ahead.tables().instances_of(run);
    let skips = rows.flat_map(|row| {
        let by = position_of(row.key);
        row.extra.skips.iter().flatten().filter_map(move |task| Some((*task, by?)))
    });
    skips.collect()
}

impl End {
    /// `task` or `task[2]`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.map_index == MapIndex::UNMAPPED {
            self.task_id.to_string()
        } else {
            format!("{}[{}]", self.task_id, self.map_index)
        }
    }

    fn of(task_id: &TaskId, row: &TiRow, began: Timestamp, why: String) -> Self {
        Self {
            task_id: task_id.clone(),
            map_index: row.key.map,
            state: row.state,
            tries: row.try_number.get(),
            began: row.started_at.map(|at| at - began),
            ended: row.ended_at.filter(|_| row.state.is_finished()).map(|at| at - began),
            why,
        }
    }

    fn of_none(task_id: &TaskId, why: String) -> Self {
        let (map_index, state) = (MapIndex::UNMAPPED, TaskState::NoStatus);
        Self { task_id: task_id.clone(), map_index, state, tries: 0, began: None, ended: None, why }
    }
}

/// The position of an instance's task: here tasks are numbered by it.
fn position_of(key: TiKey) -> Option<usize> {
    usize::try_from(key.task.get()).ok()
}
