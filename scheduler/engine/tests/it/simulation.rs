//! Random DAGs, outcomes, losses, clears, new versions and takeovers from a seed; what must hold is looked at after every turn.
//!
//! `WINDLASS_SIM_HISTORIES` says how many histories each test plays, `WINDLASS_SIM_SEED` with which one it begins: a failure
//! names its history.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use dag::{Dag, Expand, ExpandBy, Task};
use engine::{DagVersion, Event, Plan};
use model::{
    AttemptEnd, Command, DagId, DagRunState, DagVersionId, EndKind, Operator, RunId, RunKey, TaskIdx, TaskState,
    WorkerId,
    command::{
        ClearEffect, ClearTaskInstances, ClearVersion, Draining, EndedRuns, MarkTaskInstances, Paused, Relatives,
        TaskSelector, TriggerDagRun,
    },
    operator::OnReject,
};

use crate::{
    dags::{approval, deferrable_sensor, rescheduled_sensor},
    random_dags::{random_dag, renamed, with_expanded_tasks, with_more},
    reference::Reference,
    world::{World, asked, clear_of, deferred, put_off, trigger},
};

/// How many histories each test plays unless it is told.
const HISTORIES: u64 = 20_000;
/// In the first so many a new leader is asked whenever the world is at rest, which is most of the work; later each seventh time.
const ASKED_OFTEN: u64 = 1_000;
const ASKED_EVERY: u64 = 7;

/// Plays histories from their numbers; the first that fails is named.
fn play(history: impl Fn(u64)) {
    play_some(HISTORIES, history);
}

/// The same, so many histories unless it is told.
pub fn play_some(histories: u64, history: impl Fn(u64)) {
    let told = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of histories"));
    let (first, most) = (told("WINDLASS_SIM_SEED").unwrap_or(0), told("WINDLASS_SIM_HISTORIES").unwrap_or(histories));
    for number in first..first + most {
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| history(number))) {
            eprintln!("history {number} failed: WINDLASS_SIM_SEED={number} WINDLASS_SIM_HISTORIES=1 plays it again");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Random numbers from a seed (an LCG's high bits), so that a failure names the history to play again.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    pub fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The end that an attempt of a task may have which waits without a slot.
fn of_its_kind(world: &World, dice: &mut Dice, key: model::TiKey, end: AttemptEnd) -> AttemptEnd {
    let operator = task_of(world, key).operator;
    if operator.asking().is_some() && end.kind == EndKind::Success {
        return asked();
    }
    let waits_on = operator.reschedules() && end.kind == EndKind::Success && dice.one_in(2);
    if waits_on { put_off(dice.below(50) as f64) } else { end }
}

/// Somebody answers one of the questions that wait.
fn answer_one(world: &mut World, dice: &mut Dice) {
    let waiting = world.mirror.instances.values().filter(|row| row.state == TaskState::AwaitingInput);
    let waiting: Vec<_> = waiting.map(|row| row.key).collect();
    if waiting.is_empty() {
        return;
    }
    let key = *dice.pick(&waiting);
    let options = task_of(world, key).operator.asking().map(|asking| asking.options.clone()).unwrap_or_default();
    let Some(option) = options.get(dice.below(options.len() + 1)) else { return };
    let (run, task) = (world.mirror.runs[&key.run].run_id.clone(), world.name(key));
    let (status, body) = world.answer("d", run.as_str(), &task, &[option]);
    assert_eq!(status, model::AnswerStatus::Done, "{body}");
}

/// What an attempt leaves for tasks that are expanded over it, now and then nothing.
fn with_output(world: &World, dice: &mut Dice, key: model::TiKey, end: AttemptEnd) -> AttemptEnd {
    let version = world.mirror.runs[&key.run].version;
    let version = world.mirror.versions.iter().find(|other| other.id == version).unwrap();
    let id = &task_of(world, key).task_id;
    let is_source =
        version.dag.tasks.iter().any(|task| task.expand.as_ref().is_some_and(|e| e.sources().contains(&id)));
    if !is_source || dice.one_in(12) {
        return end;
    }
    let list: Vec<usize> = (0..dice.below(5)).collect();
    let value = model::XComValue { key: model::XComValue::RETURN_VALUE.to_owned(), value: list.into() };
    AttemptEnd { xcoms: vec![value], ..end }
}

/// A newer version of a DAG: tasks leave, come, and come back, each under the number that it has for ever.
fn store_next_version(world: &mut World, dice: &mut Dice) {
    let graph = random_dag(dice, 2);
    let graph = with_more(dice, graph);
    let mut names: Vec<usize> = (0..12).collect();
    while names.len() > graph.tasks.len() {
        names.remove(dice.below(names.len()));
    }
    let mut graph = graph;
    for (task, name) in graph.tasks.iter_mut().zip(&names) {
        task.task_id = model::TaskId::new(format!("t{name}")).unwrap();
        if let Some(Expand { by: ExpandBy::Product(inputs), .. }) = &mut task.expand {
            inputs.iter_mut().for_each(|(_, over)| *over = renamed(over, &names));
        }
    }
    let task_idx: Arc<[TaskIdx]> = names.iter().map(|name| TaskIdx(i32::try_from(*name).unwrap())).collect();
    let id = DagVersionId(i64::try_from(world.mirror.versions.len()).unwrap() + 1);
    world.store(DagVersion { id, dag: graph.into(), task_idx });
    world.quiesce();
}

fn random_world(dice: &mut Dice, dag: Dag, history: u64) -> World {
    let mut world = World::new(vec![dag]);
    world.oracle_every = if history < ASKED_OFTEN { 1 } else { ASKED_EVERY };
    world.settings.priority_aging = dice.one_in(3).then(|| Duration::from_secs(1 + dice.below(100) as u64));
    world.reload();
    let limits = ["1/10s", "2/30s", "5/1m", "3/1s"];
    world.small_limit = if dice.one_in(3) { dice.pick(&limits).parse().ok() } else { None };
    set_small(&mut world, dice, 2);
    world.small_most = 2;
    world.join(1, 3);
    world.join(2, 2);
    world
}

/// The task of an instance, in the version that its run is pinned to.
fn task_of(world: &World, key: model::TiKey) -> Task {
    let version = world.mirror.runs[&key.run].version;
    let version = world.mirror.versions.iter().find(|other| other.id == version).unwrap();
    let pos = version.task_idx.iter().position(|number| *number == key.task).unwrap();
    version.dag.tasks[pos].clone()
}

/// Whether its run is there, in a version that has its task.
fn is_known(world: &World, key: model::TiKey) -> bool {
    let Some(run) = world.mirror.runs.get(&key.run) else { return false };
    let version = world.mirror.versions.iter().find(|other| other.id == run.version);
    version.is_some_and(|version| version.task_idx.contains(&key.task))
}

/// What must hold of the rows after every turn.
fn check_invariants(world: &World) {
    let mut pools: BTreeMap<String, u32> = BTreeMap::new();
    let mut workers: BTreeMap<WorkerId, u32> = BTreeMap::new();
    let mut runs: BTreeMap<RunKey, u32> = BTreeMap::new();
    let mut attempts = std::collections::BTreeSet::new();
    let holds_slot = |row: &&engine::TiRow| row.live && row.state != TaskState::Deferred;
    for row in world.mirror.instances.values().filter(holds_slot) {
        let task = task_of(world, row.key);
        *pools.entry(task.pool).or_default() += task.pool_slots;
        *workers.entry(row.worker.unwrap()).or_default() += 1;
        *runs.entry(row.key.run).or_default() += 1;
    }
    for row in world.mirror.instances.values().filter(|row| row.live) {
        assert!(attempts.insert(row.attempt.unwrap()), "one live attempt, one instance");
    }
    let small = world.mirror.pools.get("small").and_then(|pool| pool.slots).unwrap_or(0);
    assert!(pools.get("small").is_none_or(|used| *used <= small.max(world.small_most)), "{pools:?}");
    for (run, live) in &runs {
        let version = world.mirror.versions.iter().find(|v| v.id == world.mirror.runs[run].version).unwrap();
        assert!(*live <= version.dag.max_active_tasks, "{runs:?}");
    }
    let mut of_tasks: BTreeMap<(RunKey, TaskIdx), u32> = BTreeMap::new();
    for row in world.mirror.instances.values().filter(|row| row.live) {
        *of_tasks.entry((row.key.run, row.key.task)).or_default() += 1;
        // One that was given a slot under an older version keeps it.
        let most = task_of(world, row.key).max_active_tis_per_dagrun.filter(|_| world.mirror.versions.len() == 1);
        let active = of_tasks[&(row.key.run, row.key.task)];
        assert!(most.is_none_or(|most| active <= most), "{active} of {most:?} instances are active");
    }
    for (worker, used) in workers {
        let slots = world.mirror.workers.iter().find(|known| known.worker == worker).map_or(u32::MAX, |w| w.slots);
        assert!(used <= slots, "{worker}: {used} of {slots}");
    }
    check_starts(world);
    for row in world.mirror.instances.values().filter(|row| row.state == TaskState::Queued) {
        let limit = task_of(world, row.key).task_queued_timeout.unwrap_or(Duration::MAX);
        let waited = (world.now - row.queued_at.unwrap().max(world.loaded_at)).to_std().unwrap();
        assert!(waited < limit, "{:?} has been queued for {waited:?}, and may be for {limit:?}", row.key);
        assert!((0..=2).contains(&row.extra.requeues), "{:?}", row.extra);
    }
    for state in [TaskState::Queued, TaskState::Running, TaskState::Restarting, TaskState::Deferred] {
        let stored = world.mirror.instances.values().filter(|row| row.state == state).count();
        assert_eq!(world.engine.instances_in(state) as usize, stored, "{state}: the engine counts what is stored");
    }
    let running = world.mirror.runs.values().filter(|run| run.state == DagRunState::Running).count();
    assert!(running <= 2);
    for row in world.mirror.instances.values() {
        assert!(!matches!(row.state, TaskState::Queued | TaskState::Running | TaskState::Restarting) || row.live);
    }
}

/// Everything that may happen from outside, at random.
fn disturb(world: &mut World, dice: &mut Dice) {
    let dag_id = DagId::new("d").unwrap();
    let runs: Vec<RunId> = world.mirror.runs.values().map(|run| run.run_id.clone()).collect();
    if runs.is_empty() {
        return trigger_dated(world, dice);
    }
    let run = dice.pick(&runs).clone();
    let pinned = world.mirror.run(run.as_str()).version;
    let version = world.mirror.versions.iter().find(|version| version.id == pinned).unwrap();
    let name = dice.pick(&version.dag.tasks).task_id.to_string();
    let relatives = Relatives { upstream: dice.one_in(4), downstream: dice.one_in(2) };
    match dice.below(23) {
        0 => clear_instances(world, dice, &clear_of("d", run.as_str(), &name, relatives)),
        1 => drop(world.command(Command::MarkTaskInstances(MarkTaskInstances {
            dag_id,
            run_id: run,
            also: if dice.one_in(3) { runs.clone() } else { Vec::new() },
            effect: ClearEffect::Apply,
            tasks: vec![TaskSelector { task_id: model::TaskId::new(&name).unwrap(), map_index: None }],
            relatives,
            state: *dice.pick(&[TaskState::Success, TaskState::Failed, TaskState::Skipped]),
        }))),
        2 => {
            let state = *dice.pick(&[DagRunState::Success, DagRunState::Failed, DagRunState::Queued]);
            drop(world.command(Command::MarkDagRun { dag_id, run_id: run, state }));
        }
        3 => {
            let lost = WorkerId(1 + i32::try_from(dice.below(2)).unwrap());
            let held = world.attempts.extract_if(.., |(worker, ..)| *worker == lost);
            world.gone.extend(held.map(|(worker, _, attempt)| (worker, attempt)));
            world.turn(vec![Event::WorkerLost(lost)]);
            world.join(lost.get(), 2);
        }
        4 => {
            let to = if dice.one_in(2) { Paused::Paused } else { Paused::Active };
            drop(world.command(Command::PauseDag { dag_id, to }));
        }
        9 => drain_or_not(world, dice),
        5 => take_over(world),
        13 => store_next_version(world, dice),
        14 | 15 => {
            let version = if dice.one_in(4) { ClearVersion::Own } else { ClearVersion::Latest };
            let ended_runs = if dice.one_in(4) { EndedRuns::StayEnded } else { EndedRuns::GoOn };
            let tasks = if dice.one_in(3) { Vec::new() } else { clear_of("d", "r", &name, relatives).tasks };
            let clear = clear_of("d", run.as_str(), &name, relatives);
            let clear = ClearTaskInstances { version, ended_runs, tasks, ..clear };
            drop(world.command(Command::ClearTaskInstances(clear)));
        }
        16 => drop(world.command(Command::DeleteDagRun { dag_id, run_id: run })),
        17 => trigger_dated(world, dice),
        18 => {
            let slots = u32::try_from(dice.below(4)).unwrap();
            world.small_most = world.small_most.max(slots);
            set_small(world, dice, slots);
        }
        19 => {
            let silent = WorkerId(1 + i32::try_from(dice.below(2)).unwrap());
            world.turn(vec![Event::WorkerSilent(silent)]);
            world.quiesce();
        }
        20 => say_again(world, dice),
        21 | 22 => end_one_without_a_leader(world, dice),
        7 | 8 => answer_one(world, dice),
        6 => leave(world, WorkerId(1 + i32::try_from(dice.below(2)).unwrap()), dice),
        _ => {
            let seconds = i64::try_from(dice.below(60)).unwrap();
            world.pass(seconds);
        }
    }
}

/// A DAG drains, or does not any more: while it does, no run starts.
fn drain_or_not(world: &mut World, dice: &mut Dice) {
    let dag_id = DagId::new("d").unwrap();
    let drains = dice.one_in(2);
    let to = if drains { Draining::Draining } else { Draining::Active };
    let began = |world: &World| world.mirror.runs.values().filter(|run| run.started_at.is_some()).count();
    let before = began(world);
    world.command(Command::DrainDag { dag_id, to });
    world.pass(i64::try_from(dice.below(30)).unwrap());
    assert!(!drains || began(world) <= before, "a DAG that drains starts no run");
}

/// A report that comes twice, or after its worker was lost, or whose attempt was killed, or from a worker that has not got it.
fn say_again(world: &mut World, dice: &mut Dice) {
    world.quiesce();
    let of_others = world.attempts.iter().map(|(worker, _, attempt)| (WorkerId(3 - worker.get()), *attempt));
    let mut said: Vec<_> = world.gone.clone();
    said.extend(of_others);
    if said.is_empty() {
        return;
    }
    let (worker, attempt) = *dice.pick(&said);
    let before = (world.mirror.instances.clone(), world.mirror.tries.clone(), world.attempts.clone());
    let end = random_end(dice);
    let started = Event::AttemptStarted { worker, attempt, at: world.now };
    world.turn(vec![started, Event::AttemptEnded { worker, attempt, end: end.into() }]);
    world.quiesce();
    let after = (world.mirror.instances.clone(), world.mirror.tries.clone(), world.attempts.clone());
    assert_eq!(after, before, "what is over stays as it is");
}

/// An attempt ends, and the leader that was told is gone before anybody knows what came of it.
fn end_one_without_a_leader(world: &mut World, dice: &mut Dice) {
    let end = random_end(dice);
    if let Some(report) = next_report(world, dice, end) {
        world.turn_of_unknown_fate(dice.one_in(2), &[report]);
    }
}

/// Clears these tasks, or one instance of each.
fn clear_instances(world: &mut World, dice: &mut Dice, clear: &ClearTaskInstances) {
    let one = |selector: TaskSelector| {
        let map_index = dice.one_in(2).then(|| model::MapIndex(i32::try_from(dice.below(4)).unwrap()));
        TaskSelector { map_index, ..selector }
    };
    let tasks = clear.tasks.iter().cloned().map(one).collect();
    drop(world.command(Command::ClearTaskInstances(ClearTaskInstances { tasks, ..clear.clone() })));
}

/// A run of a date between, before or behind others.
fn trigger_dated(world: &mut World, dice: &mut Dice) {
    if world.mirror.runs.len() >= 6 {
        return;
    }
    let date = format!("2026-11-{:02}T00:00:00Z", 1 + dice.below(20));
    let run = format!("x{}", dice.below(1_000_000));
    let types = [model::RunType::Manual, model::RunType::Scheduled];
    drop(world.command(Command::TriggerDagRun(TriggerDagRun {
        logical_date: dice.one_in(4).then_some(()).map_or_else(|| date.parse().ok(), |()| None),
        run_type: *dice.pick(&types),
        ..trigger("d", Some(&run))
    })));
}

fn set_small(world: &mut World, dice: &mut Dice, slots: u32) {
    world.command(Command::SetPool(model::Pool {
        name: "small".to_owned(),
        slots: Some(slots),
        description: String::new(),
        include_deferred: dice.one_in(2),
        rate_limit: world.small_limit,
    }));
}

/// No more attempts of the pool small have started in any span of its rate limit than that allows.
fn check_starts(world: &World) {
    // Another version may say another pool of an instance that has its start behind it.
    let Some(limit) = world.small_limit.filter(|_| world.mirror.versions.len() == 1) else { return };
    let span = chrono::TimeDelta::seconds(i64::from(limit.secs()));
    // What does nothing has no attempt.
    let started = world.mirror.instances.values().filter(|row| row.attempt.is_some());
    let queued = started.filter(|row| task_of(world, row.key).pool == "small");
    let mut starts: Vec<_> = queued.filter_map(|row| row.queued_at).collect();
    starts.sort_unstable();
    for window in starts.windows(limit.starts() as usize + 1) {
        assert!(window[window.len() - 1] - window[0] >= span, "{limit}: {window:?}");
    }
}

/// A worker is asked to end: some of what it runs it hands back, the rest goes down with it, and none of it costs anything.
fn leave(world: &mut World, worker: WorkerId, dice: &mut Dice) {
    let slots = world.mirror.workers.iter().find(|known| known.worker == worker).map_or(2, |known| known.slots);
    let losses = |world: &World| -> i64 {
        world.mirror.instances.values().map(|row| i64::from(row.extra.infrastructure_losses)).sum()
    };
    let before = losses(world);
    world.turn(vec![Event::WorkerLeaving(worker)]);
    let held: Vec<_> = world.attempts.iter().filter(|(of, ..)| *of == worker).copied().collect();
    world.attempts.retain(|(of, ..)| *of != worker);
    for (_, _, attempt) in held {
        if dice.one_in(2) {
            world.turn(vec![Event::AttemptEnded { worker, attempt, end: AttemptEnd::handed_back("it leaves").into() }]);
        }
    }
    assert!(world.attempts.iter().all(|(of, ..)| *of != worker), "nothing is given to a worker that leaves");
    if dice.one_in(2) {
        world.turn(vec![Event::WorkerLost(worker)]);
    }
    world.join(worker.get(), slots);
    assert_eq!(losses(world), before, "a planned end costs nothing");
}

/// A new leader: it knows what is stored, and hears from the workers.
fn take_over(world: &mut World) {
    world.reload();
    for worker in [1, 2] {
        let slots = world.mirror.workers.iter().find(|known| known.worker == WorkerId(worker)).map_or(2, |w| w.slots);
        world.join(worker, slots);
    }
    world.quiesce();
}

fn random_end(dice: &mut Dice) -> AttemptEnd {
    let kinds = [
        EndKind::Success,
        EndKind::Success,
        EndKind::Success,
        EndKind::Success,
        EndKind::Failed,
        EndKind::Skipped,
        EndKind::TimedOut,
        EndKind::FailedForGood,
        EndKind::Lost,
    ];
    let kind = *dice.pick(&kinds);
    let follow = (0..12).filter(|_| dice.one_in(2)).map(|name| format!("t{name}")).collect();
    let reason = if kind == EndKind::Failed { "exit code 1" } else { "" };
    AttemptEnd { follow: Some(follow), ..AttemptEnd::new(kind, reason) }
}

/// One of the attempts ends, as its worker says.
fn next_report(world: &mut World, dice: &mut Dice, end: AttemptEnd) -> Option<Event> {
    if world.attempts.is_empty() {
        return None;
    }
    let number = dice.below(world.attempts.len());
    let (worker, key, attempt) = world.attempts.remove(number);
    if !is_known(world, key) {
        // What waited aside may be told of after its run was deleted, or goes on without its task.
        return Some(Event::AttemptEnded { worker, attempt, end: end.into() });
    }
    world.gone.push((worker, attempt));
    let end = of_its_kind(world, dice, key, end);
    let end = with_output(world, dice, key, end);
    Some(Event::AttemptEnded { worker, attempt, end: end.into() })
}

/// An attempt waits without a slot from now on.
fn defer_one(world: &World, dice: &mut Dice) -> Option<Event> {
    let (worker, key, attempt) = *world.attempts.get(dice.below(world.attempts.len()))?;
    let defers = is_known(world, key) && task_of(world, key).operator.defers() && !is_aside(world, key);
    let defers = defers && dice.one_in(2);
    defers.then(|| deferred(worker, attempt, world.now))
}

fn end_one(world: &mut World, dice: &mut Dice, end: AttemptEnd) -> Option<Plan> {
    if let Some(event) = defer_one(world, dice) {
        return Some(world.turn(vec![event]));
    }
    let report = next_report(world, dice, end)?;
    let mut events = vec![report];
    let Event::AttemptEnded { worker, attempt, .. } = events[0] else { unreachable!("it reports an end") };
    if dice.one_in(3) {
        events.insert(0, Event::AttemptStarted { worker, attempt, at: world.now });
    }
    Some(world.turn(events))
}

#[test]
fn whatever_happens_limits_hold_and_every_run_ends() {
    play(|history| {
        let mut dice = Dice::new(history);
        let graph = random_dag(&mut dice, 2);
        let graph = if dice.one_in(2) { with_more(&mut dice, graph) } else { graph };
        let mut world = random_world(&mut dice, graph, history);
        for run in ["a", "b", "c"] {
            world.trigger("d", run);
        }
        for _ in 0..40 {
            if dice.one_in(3) {
                disturb(&mut world, &mut dice);
            } else {
                let end = random_end(&mut dice);
                end_one(&mut world, &mut dice, end);
            }
            check_invariants(&world);
        }
        drain(&mut world, &mut dice);
        for run in world.mirror.runs.values() {
            let why = world.engine.why_run(&run.dag_id, &run.run_id, world.now);
            assert!(run.state.is_finished(), "{} is {}: {why:?}", run.run_id, run.state);
        }
        assert!(world.mirror.instances.values().all(|row| !row.live));
        assert_eq!(world.engine.next_wakeup().filter(|at| *at <= world.now), None, "it is idle");
    });
}

/// Everything succeeds from now on.
fn drain(world: &mut World, dice: &mut Dice) {
    world.small_limit = None;
    set_small(world, dice, 2);
    for worker in [1, 2] {
        world.join(worker, 3);
    }
    for round in 0..400 {
        world.command(Command::PauseDag { dag_id: DagId::new("d").unwrap(), to: Paused::Active });
        world.command(Command::DrainDag { dag_id: DagId::new("d").unwrap(), to: Draining::Active });
        world.pass(90_000);
        if round > 100 {
            free_from_the_past(world);
        }
        while end_one(world, dice, AttemptEnd::new(EndKind::Success, "")).is_some() {
            check_invariants(world);
        }
        answer_one(world, dice);
        if world.mirror.runs.values().all(|run| run.state.is_finished()) {
            return;
        }
    }
}

/// What failed, or has left its DAG, holds back what depends on it in the next run, until somebody says otherwise.
fn free_from_the_past(world: &mut World) {
    let running = world.mirror.runs.values().filter(|run| run.state == DagRunState::Running);
    let held = running.flat_map(|run| {
        let (_, tasks) = world.engine.why_run(&run.dag_id, &run.run_id, world.now).unwrap_or_default();
        let held = tasks.into_iter().filter(|(_, _, why)| why.contains("the previous run"));
        held.map(|(task, map, _)| (run.run_id.clone(), task, map))
    });
    for (run_id, task_id, map) in held.collect::<Vec<_>>() {
        let map_index = (map != model::MapIndex::UNMAPPED).then_some(map);
        drop(world.command(Command::MarkTaskInstances(MarkTaskInstances {
            dag_id: DagId::new("d").unwrap(),
            run_id,
            also: Vec::new(),
            effect: ClearEffect::Apply,
            tasks: vec![TaskSelector { task_id, map_index }],
            relatives: Relatives { upstream: false, downstream: false },
            state: TaskState::Success,
        })));
    }
}

/// A DAG whose every step the text knows.
fn plain_dag(dice: &mut Dice) -> Dag {
    let mut graph = random_dag(dice, 0);
    graph = with_plain_waits(dice, graph);
    if dice.one_in(2) {
        graph = with_expanded_tasks(dice, graph);
    }
    for task in &mut graph.tasks {
        task.max_active_tis_per_dag = None;
        task.max_active_tis_per_dagrun = None;
        task.task_queued_timeout = None;
    }
    graph
}

#[test]
fn the_engine_and_the_text_agree_after_every_event() {
    play(|history| {
        let mut dice = Dice::new(history + 1_000_000);
        let graph = plain_dag(&mut dice);
        let mut reference = Reference::new(&graph);
        let mut world = random_world(&mut dice, graph, history);
        world.small_limit = None;
        set_small(&mut world, &mut dice, 2);
        let run = world.trigger("d", "r");
        let mut steps = 0;
        loop {
            let ours = collapsed(&world, run, &reference);
            assert_eq!(ours, reference.named(), "history {history}");
            assert_eq!(world.run_state(run), reference.run, "history {history}");
            if world.attempts.is_empty() {
                break;
            }
            let number = dice.below(world.attempts.len());
            let (worker, key, attempt) = world.attempts[number];
            let name = world.name(key);
            let (kind, state) = *dice.pick(&[
                (EndKind::Success, TaskState::Success),
                (EndKind::Failed, TaskState::Failed),
                (EndKind::Skipped, TaskState::Skipped),
            ]);
            let end = with_output(&world, &mut dice, key, AttemptEnd::new(kind, "as told"));
            let operator = task_of(&world, key).operator;
            if operator.reschedules() && dice.one_in(2) {
                world.attempts.remove(number);
                world.turn(vec![Event::AttemptEnded { worker, attempt, end: put_off(5.0).into() }]);
                world.pass(5);
                continue;
            }
            if operator.defers() && !is_aside(&world, key) && dice.one_in(2) {
                wait_aside(&mut world, &mut dice, (worker, attempt));
                continue;
            }
            let mut list = end.xcoms.first().and_then(|xcom| xcom.value.as_array()).map(Vec::len);
            world.attempts.remove(number);
            let asks = operator.asking().is_some() && kind != EndKind::Skipped;
            let end = if asks { asked() } else { end };
            world.turn(vec![Event::AttemptEnded { worker, attempt, end: end.into() }]);
            world.quiesce();
            if asks {
                if dice.one_in(3) {
                    take_over(&mut world);
                }
                let option = if kind == EndKind::Success { "Approve" } else { "Reject" };
                world.answer("d", "r", &name, &[option]);
                // What it returns is a mapping of four.
                list = Some(4);
            }
            reference.ended(&name, key.map.get(), state, list);
            if dice.one_in(4) {
                take_over(&mut world);
            }
            steps += 1;
            assert!(steps <= 9 * 16, "history {history}: an instance runs once");
        }
        assert!(
            reference.run.is_finished(),
            "history {history}: {:?} {:?}",
            reference.named(),
            world.engine.why_run(&DagId::new("d").unwrap(), &RunId::new("r").unwrap(), world.now)
        );
    });
}

fn is_aside(world: &World, key: model::TiKey) -> bool {
    world.mirror.instances.get(&key).is_some_and(|row| row.state == TaskState::Deferred)
}

/// An attempt waits without a slot, and nothing changes for the others; nor when its worker is lost with nothing but waits.
fn wait_aside(world: &mut World, dice: &mut Dice, (worker, attempt): (WorkerId, model::AttemptId)) {
    world.turn(vec![deferred(worker, attempt, world.now)]);
    let held: Vec<_> = world.attempts.iter().filter(|(of, ..)| *of == worker).copied().collect();
    if held.iter().all(|(_, key, _)| is_aside(world, *key)) && dice.one_in(2) {
        world.attempts.retain(|(of, ..)| *of != worker);
        world.turn(vec![Event::WorkerLost(worker)]);
        world.join(worker.get(), 3);
    }
    world.quiesce();
}

/// The same with approvals that fail when they are rejected, and sensors that look again: the text knows how each ends.
fn with_plain_waits(dice: &mut Dice, dag: Dag) -> Dag {
    let mut dag = dag;
    for task in dag.tasks.iter_mut().filter(|task| matches!(task.operator, Operator::Bash(_))) {
        match dice.below(8) {
            0 => task.operator = Operator::Approval(Box::new(approval(OnReject::Fail, None))),
            1 => task.operator = rescheduled_sensor(),
            2 => task.operator = deferrable_sensor(),
            _ => {}
        }
    }
    dag
}

/// The engine's states with everything that is on its way as `running`; a task that waits for a slot is not stored.
fn collapsed(world: &World, run: RunKey, reference: &Reference) -> BTreeMap<(String, i32), TaskState> {
    let mut states: BTreeMap<(String, i32), TaskState> = reference.named();
    let stored: BTreeMap<(String, i32), TaskState> = world
        .mirror
        .instances_of(run)
        .into_iter()
        .map(|row| ((world.name(row.key), row.key.map.get()), row.state))
        .collect();
    assert!(stored.keys().all(|key| states.contains_key(key)), "{stored:?} are {states:?}");
    for ((name, map), state) in &mut states {
        let stored = stored.get(&(name.clone(), *map)).copied().unwrap_or(TaskState::NoStatus);
        let (dag, run_id) = (DagId::new("d").unwrap(), RunId::new("r").unwrap());
        let task = model::TaskId::new(name.as_str()).unwrap();
        let waits = world.engine.why_task(&dag, &run_id, &task, model::MapIndex(*map), world.now).unwrap_or_default();
        let on_its_way = stored == TaskState::NoStatus
            && ["pool ", "its run has", "all workers"].iter().any(|start| waits.starts_with(start));
        *state = if on_its_way || matches!(stored, TaskState::Queued | TaskState::UpForReschedule | TaskState::Deferred)
        {
            TaskState::Running
        } else {
            stored
        };
    }
    states
}

#[test]
fn the_size_of_a_batch_changes_no_outcome() {
    play(|history| {
        let outcome = |batch: usize| {
            let mut dice = Dice::new(history + 2_000_000);
            let mut graph = random_dag(&mut dice, 2);
            graph.max_active_tasks = 100;
            for task in &mut graph.tasks {
                task.pool = "default_pool".to_owned();
                task.retry_delay = Duration::ZERO;
                task.retry_exponential_backoff = None;
                task.max_active_tis_per_dag = None;
            }
            let mut world = World::new(vec![graph]);
            let run = world.trigger("d", "r");
            while !world.attempts.is_empty() {
                let mut round = world.at_work();
                round.dedup();
                for names in round.chunks(batch) {
                    let events = names.iter().map(|name| {
                        let tries = world.mirror.tries.keys().filter(|(key, _)| world.name(*key) == *name).count();
                        let kinds = [EndKind::Success, EndKind::Failed, EndKind::Skipped];
                        let kind = kinds[(history as usize + name.len() + name.as_bytes()[1] as usize + tries * 7) % 3];
                        (name.clone(), AttemptEnd::new(kind, "as told"))
                    });
                    let events: Vec<_> = events.collect();
                    let events = events.into_iter().map(|(name, end)| world.ended(&name, end)).collect();
                    world.turn(events);
                }
                world.quiesce();
            }
            (world.states(run), world.run_state(run))
        };
        assert_eq!(outcome(1), outcome(100), "history {history}");
    });
}
