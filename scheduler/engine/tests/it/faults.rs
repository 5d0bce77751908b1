//! Histories in which the engine once went wrong, each as short as it can be told.

use std::time::Duration;

use dag::Dag;
use engine::{DagVersion, Event};
use model::{
    AttemptEnd, Command, CommandId, DagId, DagRunState, DagVersionId, EndKind, RunId, TaskIdx, TaskState, WorkerId,
    command::{
        ClearEffect, ClearTaskInstances, ClearVersion, MarkTaskInstances, Paused, Relatives, TaskSelector,
        TriggerDagRun,
    },
};

use crate::{
    dags::{dag, dag_of, task, with},
    world::{World, clear_of, trigger},
};

fn d() -> DagId {
    DagId::new("d").unwrap()
}

fn mark_run(run: &str, state: DagRunState) -> Command {
    Command::MarkDagRun { dag_id: d(), run_id: RunId::new(run).unwrap(), state }
}

fn mark(run: &str, task: &str, state: TaskState) -> Command {
    Command::MarkTaskInstances(MarkTaskInstances {
        dag_id: d(),
        run_id: RunId::new(run).unwrap(),
        also: Vec::new(),
        tasks: vec![TaskSelector { task_id: model::TaskId::new(task).unwrap(), map_index: None }],
        relatives: Relatives::default(),
        state,
        effect: ClearEffect::Apply,
    })
}

fn pause(to: Paused) -> Command {
    Command::PauseDag { dag_id: d(), to }
}

fn onto_latest(run: &str, task: &str) -> Command {
    let clear = clear_of("d", run, task, Relatives::default());
    Command::ClearTaskInstances(ClearTaskInstances { version: ClearVersion::Latest, ..clear })
}

fn dated(run: &str, date: &str) -> Command {
    Command::TriggerDagRun(TriggerDagRun { logical_date: Some(date.parse().unwrap()), ..trigger("d", Some(run)) })
}

/// A DAG of tasks without arrows.
fn loose(names: &[&str]) -> Dag {
    dag_of("d", names.iter().map(|name| task(name)).collect())
}

/// A version whose tasks have these numbers: a task that comes into a DAG shifts the positions of others.
fn store_numbered(world: &mut World, id: i64, tasks: &[(&str, i32)]) {
    let names: Vec<&str> = tasks.iter().map(|(name, _)| *name).collect();
    let task_idx = tasks.iter().map(|(_, number)| TaskIdx(*number)).collect();
    world.store(DagVersion { id: DagVersionId(id), dag: loose(&names).into(), task_idx });
}

/// Ends the attempt of a task in one run.
fn end_in(world: &mut World, run: &str, task: &str, kind: EndKind) {
    let key = world.mirror.run(run).key;
    let found = world.attempts.iter().position(|(_, of, _)| of.run == key && world.name(*of) == task);
    let (worker, _, attempt) = world.attempts.remove(found.unwrap());
    world.turn(vec![Event::AttemptEnded { worker, attempt, end: AttemptEnd::new(kind, "").into() }]);
    world.quiesce();
}

/// The runs that have an attempt at work.
fn runs_at_work(world: &World) -> Vec<String> {
    world.attempts.iter().map(|(_, key, _)| world.mirror.runs[&key.run].run_id.to_string()).collect()
}

fn end_all(world: &mut World) {
    while let Some(task) = world.at_work().first().cloned() {
        world.end(&task, EndKind::Success);
    }
}

#[test]
fn a_task_that_is_held_by_its_run_lets_the_next_of_its_kind_go() {
    let graph = Dag { max_active_tasks: 1, ..dag("d", "[a, t]") };
    let graph = with(graph, "t", |task| {
        (task.max_active_tis_per_dag, task.effective_weight) = (Some(1), 9);
    });
    let mut world = World::new(vec![graph]);
    for run in ["r0", "r1", "r2"] {
        world.trigger("d", run);
    }
    end_in(&mut world, "r2", "a", EndKind::Success);
    // The slot of t is free: r1 would be first, but is full; r2 has room.
    end_in(&mut world, "r0", "t", EndKind::Success);
    assert_eq!(world.at_work(), ["a", "a", "t"], "{}", world.why("d", "r2", "t"));
    world.command(mark_run("r1", DagRunState::Failed));
    end_all(&mut world);
    assert_eq!(world.mirror.run("r2").state, DagRunState::Success);
}

#[test]
fn a_task_that_is_held_by_its_kind_lets_the_next_of_its_run_go() {
    let graph = Dag { max_active_tasks: 1, ..dag("d", "[a, t, u]") };
    let graph = with(graph, "a", |task| task.effective_weight = 9);
    let graph = with(graph, "t", |task| {
        (task.max_active_tis_per_dag, task.effective_weight) = (Some(1), 5);
    });
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r0");
    world.end("a", EndKind::Success);
    world.trigger("d", "r1");
    world.end("a", EndKind::Success);
    assert_eq!(world.at_work(), ["t", "u"], "{}", world.why("d", "r1", "u"));
    world.command(mark("r1", "t", TaskState::Success));
    end_all(&mut world);
    assert_eq!(world.mirror.run("r1").state, DagRunState::Success);
}

#[test]
fn a_task_of_two_versions_waits_for_the_limit_and_the_pool_of_its_own() {
    let limited = |most| with(dag("d", "a"), "a", |task| task.max_active_tis_per_dag = Some(most));
    let mut world = World::new(vec![limited(1)]);
    world.trigger("d", "r1");
    world.trigger("d", "r2");
    world.store_version(2, limited(3));
    for run in ["r3", "r4", "r5"] {
        world.trigger("d", run);
    }
    assert_eq!(runs_at_work(&world), ["r1", "r3", "r4"]);
    end_in(&mut world, "r3", "a", EndKind::Success);
    assert_eq!(runs_at_work(&world), ["r1", "r4", "r5"], "r2 waits for a limit of one, r5 for one of three");
    end_all(&mut world);
    assert!(world.mirror.runs.values().all(|run| run.state == DagRunState::Success));
}

#[test]
fn a_run_set_to_queued_takes_its_tasks_back() {
    let mut world = World::new(vec![Dag { max_active_tasks: 1, ..dag("d", "[a, b]") }]);
    world.trigger("d", "r");
    world.command(pause(Paused::Paused));
    world.end("a", EndKind::Success);
    world.command(mark_run("r", DagRunState::Queued));
    world.command(pause(Paused::Active));
    assert_eq!(world.at_work(), ["b"]);
    end_all(&mut world);
    assert_eq!(world.mirror.run("r").state, DagRunState::Success);
}

#[test]
fn nothing_of_a_queued_run_starts() {
    let mut world = World::new(vec![Dag { max_active_tasks: 1, ..dag("d", "[a, b]") }]);
    world.trigger("d", "r");
    world.turn(vec![Event::DagGone(d())]);
    world.command(mark_run("r", DagRunState::Queued));
    world.end("a", EndKind::Success);
    assert_eq!((world.at_work().len(), world.mirror.run("r").state), (0, DagRunState::Queued));
}

#[test]
fn a_task_that_waits_for_a_worker_goes_along_onto_the_newest_version() {
    let mut world = World::new(vec![dag("d", "[a, b]")]);
    world.turn(vec![Event::WorkerSilent(WorkerId(1))]);
    world.trigger("d", "r");
    world.store_version(2, dag("d", "[a, b]; b >> c"));
    world.command(onto_latest("r", "a"));
    world.join(1, 1_000);
    assert_eq!(world.at_work(), ["a", "b"]);
    end_all(&mut world);
    assert_eq!(world.mirror.run("r").state, DagRunState::Success);
}

#[test]
fn an_end_and_a_move_onto_the_newest_version_in_one_turn_are_written_to_their_own_rows() {
    let mut world = World::new(vec![loose(&["a", "b"])]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    store_numbered(&mut world, 2, &[("z", 2), ("a", 0), ("b", 1)]);
    let ended = world.ended("b", AttemptEnd::new(EndKind::Success, ""));
    let moved = Event::Command { id: CommandId(99), by: "ada".to_owned(), command: onto_latest("r", "a") };
    world.turn(vec![ended, moved]);
    world.quiesce();
    assert_eq!(world.state(run, "b"), TaskState::Success);
    assert_eq!(world.at_work(), ["a", "z"]);
}

#[test]
fn a_pause_of_a_task_that_has_left_the_dag_ends_without_harm() {
    let graph =
        with(dag("d", "[a, b, c]"), "c", |task| (task.retries, task.retry_delay) = (1, Duration::from_secs(300)));
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    world.end("b", EndKind::Success);
    world.end("c", EndKind::Failed);
    world.store_version(2, dag("d", "[a, b]"));
    world.command(onto_latest("r", "a"));
    world.pass(301);
    assert_eq!(world.at_work(), ["a"]);
    end_all(&mut world);
    assert_eq!(world.mirror.run("r").state, DagRunState::Success);
}

#[test]
fn a_task_that_comes_back_into_its_dag_is_restored() {
    let mut world = World::new(vec![loose(&["a", "b"])]);
    let run = world.trigger("d", "r");
    end_all(&mut world);
    store_numbered(&mut world, 2, &[("a", 0)]);
    world.command(onto_latest("r", "a"));
    end_all(&mut world);
    let row =
        |world: &World| world.mirror.instances_of(run).into_iter().find(|row| row.key.task == TaskIdx(1)).unwrap();
    assert_eq!((row(&world).state, world.run_state(run)), (TaskState::Removed, DagRunState::Success));
    store_numbered(&mut world, 3, &[("z", 2), ("a", 0), ("b", 1)]);
    world.command(onto_latest("r", "a"));
    assert_eq!(world.at_work(), ["a", "b", "z"]);
    end_all(&mut world);
    assert_eq!((row(&world).state, world.run_state(run)), (TaskState::Success, DagRunState::Success));
    assert_eq!(row(&world).try_number.get(), 2);
}

#[test]
fn a_task_that_leaves_and_comes_back_in_one_turn_is_written_once() {
    let mut world = World::new(vec![loose(&["a", "b"])]);
    let run = world.trigger("d", "r");
    end_all(&mut world);
    let version = |id, tasks: &[(&str, i32)]| {
        let names: Vec<&str> = tasks.iter().map(|(name, _)| *name).collect();
        let task_idx = tasks.iter().map(|(_, number)| TaskIdx(*number)).collect();
        DagVersion { id: DagVersionId(id), dag: loose(&names).into(), task_idx }
    };
    let (without, with) = (version(2, &[("a", 0)]), version(3, &[("b", 1), ("a", 0)]));
    world.mirror.versions.extend([without.clone(), with.clone()]);
    let clear = |id| Event::Command { id: CommandId(id), by: "ada".to_owned(), command: onto_latest("r", "a") };
    world.turn(vec![
        Event::DagVersionStored { version: without },
        clear(98),
        Event::DagVersionStored { version: with },
        clear(99),
    ]);
    world.quiesce();
    assert_eq!(world.at_work(), ["a", "b"]);
    end_all(&mut world);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn the_past_is_that_of_the_run_before_and_not_of_one_before_that() {
    let graph = with(dag("d", "a"), "a", |task| task.depends_on_past = true);
    let mut world = World::new(vec![graph]);
    world.command(dated("p1", "2026-11-01T00:00:00Z"));
    world.command(dated("f", "2026-11-03T00:00:00Z"));
    world.command(dated("p2", "2026-11-02T00:00:00Z"));
    end_in(&mut world, "p1", "a", EndKind::Success);
    assert_eq!(runs_at_work(&world), ["p2"]);
    end_in(&mut world, "p2", "a", EndKind::Failed);
    assert_eq!(runs_at_work(&world), Vec::<String>::new());
    world.clear("d", "p2", "a", Relatives::default());
    end_in(&mut world, "p2", "a", EndKind::Success);
    assert_eq!(runs_at_work(&world), ["f"]);
}

#[test]
fn a_full_turn_decides_as_events_one_by_one_do() {
    let outcome = |together: bool| {
        let mut tasks = vec![task("a")];
        tasks.extend((0..20_000).map(|n| dag::Task { upstream: vec![dag::TaskPos(0)], ..task(&format!("t{n}")) }));
        let mut world = World::new(vec![dag_of("d", tasks), dag("e", "[x, y] >> z")]);
        world.trigger("d", "r");
        let run = world.trigger("e", "s");
        let ends = [("a", EndKind::Failed), ("x", EndKind::Skipped), ("y", EndKind::Failed)];
        let events: Vec<Event> = ends.map(|(name, kind)| world.ended(name, AttemptEnd::new(kind, ""))).into();
        if together {
            world.turn(events);
        } else {
            events.into_iter().for_each(|event| drop(world.turn(vec![event])));
        }
        world.quiesce();
        (world.state(run, "z"), world.run_state(run))
    };
    assert_eq!(outcome(false), (TaskState::Skipped, DagRunState::Success));
    assert_eq!(outcome(true), outcome(false));
}

#[test]
fn one_run_that_fails_twice_pauses_no_dag_and_a_success_between_counts() {
    let mut world = World::new(vec![Dag { max_consecutive_failed_dag_runs: 2, ..dag("d", "a") }]);
    let is_paused = |world: &World| world.mirror.dags[&d()].is_paused;
    world.command(dated("r1", "2026-11-01T00:00:00Z"));
    world.end("a", EndKind::Failed);
    world.clear("d", "r1", "a", Relatives::default());
    world.end("a", EndKind::Failed);
    assert!(!is_paused(&world), "one run has failed twice");
    world.command(dated("r2", "2026-11-02T00:00:00Z"));
    world.end("a", EndKind::Success);
    world.command(dated("r3", "2026-11-03T00:00:00Z"));
    world.end("a", EndKind::Failed);
    assert!(!is_paused(&world), "between two failures one has succeeded");
    world.clear("d", "r2", "a", Relatives::default());
    world.reload();
    world.join(1, 10);
    world.end("a", EndKind::Failed);
    assert!(is_paused(&world), "the last two runs have failed");
    assert_eq!(
        world.engine.why_dag(&d(), world.now).unwrap(),
        "DAG is paused, and its last 2 runs failed (max_consecutive_failed_dag_runs)"
    );
}

#[test]
fn a_dag_that_catches_up_is_paused_before_its_next_run_is_made() {
    let graph = Dag {
        schedule: dag::Schedule::Cron {
            expressions: vec!["0 * * * *".to_owned()],
            timezone: "UTC".parse().unwrap(),
            timetable: dag::CronTimetable::CronTrigger,
            ticks: dag::TickOptions::default(),
        },
        start_date: Some("2026-11-21T01:00:00Z".parse().unwrap()),
        catchup: dag::Catchup::All,
        max_active_runs: 1,
        max_consecutive_failed_dag_runs: 2,
        ..dag("d", "a")
    };
    let mut world = World::new(vec![graph]);
    world.quiesce();
    world.end("a", EndKind::Failed);
    world.end("a", EndKind::Failed);
    assert_eq!((world.mirror.runs.len(), world.mirror.dags[&d()].is_paused), (2, true));
}

#[test]
fn a_mark_by_hand_pauses_nothing_by_itself() {
    let mut world = World::new(vec![Dag { max_consecutive_failed_dag_runs: 1, ..dag("d", "a") }]);
    world.trigger("d", "r1");
    world.command(mark_run("r1", DagRunState::Failed));
    assert!(!world.mirror.dags[&d()].is_paused);
}

#[test]
fn lost_workers_lengthen_no_pause() {
    let graph = with(dag("d", "a"), "a", |task| {
        task.retries = 1;
        task.retry_delay = Duration::from_secs(100);
        task.retry_exponential_backoff = Some(2.0);
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    for _ in 0..3 {
        world.attempts.clear();
        world.turn(vec![Event::WorkerLost(WorkerId(1))]);
        world.join(1, 10);
        world.pass(90);
    }
    let handed_back = world.ended("a", AttemptEnd::handed_back("its worker is leaving"));
    world.turn(vec![handed_back]);
    world.join(1, 10);
    world.end("a", EndKind::Failed);
    let row = world.mirror.instances_of(run).into_iter().next().unwrap();
    let waits = (row.extra.wake_at.unwrap() - world.now).num_seconds();
    assert_eq!(row.try_number.get(), 5);
    assert!((100..200).contains(&waits), "after its first failure it waits for {waits} s");
}

#[test]
fn fail_fast_fails_what_runs_and_skips_what_only_waits() {
    let mut world = World::new(vec![Dag { fail_fast: true, ..dag("d", "[a, b, c]") }]);
    let run = world.trigger("d", "r");
    let (worker, _, attempt) = world.attempt_of("b");
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.end("a", EndKind::Failed);
    assert_eq!((world.state(run, "b"), world.state(run, "c")), (TaskState::Failed, TaskState::Skipped));
    assert_eq!(world.kills.len(), 2);
}

#[test]
fn a_takeover_decides_a_scheduled_task_as_the_leader_before_it_would() {
    let outcome = |takes_over: bool| {
        let graph = with(dag("d", "a >> b"), "b", |task| task.pool = "none".to_owned());
        let mut world = World::new(vec![graph]);
        let run = world.trigger("d", "r");
        world.end("a", EndKind::Success);
        world.command(mark("r", "a", TaskState::Skipped));
        if takes_over {
            world.reload();
            world.join(1, 10);
        }
        (world.state(run, "b"), world.run_state(run))
    };
    assert_eq!(outcome(false), outcome(true));
    assert_eq!(outcome(false), (TaskState::Skipped, DagRunState::Success));
}

#[test]
fn a_run_that_fail_fast_has_stopped_has_failed() {
    let mut world = World::new(vec![Dag { fail_fast: true, ..dag("d", "a >> b") }]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    assert_eq!((world.state(run, "b"), world.run_state(run)), (TaskState::Skipped, DagRunState::Failed));
}

#[test]
fn a_run_whose_previous_one_is_inserted_in_the_turn_that_answers_asks_again() {
    let graph = with(dag("d", "a"), "a", |task| task.depends_on_past = true);
    let mut world = World::new(vec![graph]);
    world.command(dated("p1", "2026-11-01T00:00:00Z"));
    let command = |id, command| Event::Command { id: CommandId(id), by: "ada".to_owned(), command };
    world.turn(vec![command(98, dated("f", "2026-11-03T00:00:00Z"))]);
    // This turn learns which run is before f, and makes another one.
    world.turn(vec![command(99, dated("p2", "2026-11-02T00:00:00Z"))]);
    world.quiesce();
    assert!(world.why("d", "f", "a").contains("has not succeeded"), "{}", world.why("d", "f", "a"));
    for run in ["p1", "p2", "f"] {
        end_in(&mut world, run, "a", EndKind::Success);
    }
    assert_eq!(world.mirror.run("f").state, DagRunState::Success);
}

#[test]
fn a_task_may_wait_for_its_past_before_it_is_skipped() {
    let graph = with(dag("d", "a >> b"), "b", |task| {
        (task.depends_on_past, task.wait_for_past_depends_before_skipping) = (true, true);
    });
    let mut world = World::new(vec![graph]);
    world.command(dated("p", "2026-11-01T00:00:00Z"));
    world.command(dated("f", "2026-11-02T00:00:00Z"));
    end_in(&mut world, "f", "a", EndKind::Skipped);
    let run = world.mirror.run("f").key;
    assert_eq!(world.state(run, "b"), TaskState::NoStatus);
    assert!(world.why("d", "f", "b").contains("past"), "{}", world.why("d", "f", "b"));
    end_in(&mut world, "p", "a", EndKind::Success);
    end_in(&mut world, "p", "b", EndKind::Success);
    assert_eq!(world.state(run, "b"), TaskState::Skipped);
    // What fails before it does not wait.
    world.command(dated("g", "2026-11-03T00:00:00Z"));
    world.command(dated("h", "2026-11-04T00:00:00Z"));
    end_in(&mut world, "h", "a", EndKind::Failed);
    assert_eq!(world.state(world.mirror.run("h").key, "b"), TaskState::UpstreamFailed);
}

#[test]
fn a_past_without_an_instance_of_the_task_is_not_met_when_the_task_says_so() {
    for ignores in [true, false] {
        let mut world = World::new(vec![dag("d", "a")]);
        world.command(dated("p", "2026-11-01T00:00:00Z"));
        let newer = with(dag("d", "[a, b]"), "b", |task| {
            (task.depends_on_past, task.ignore_first_depends_on_past) = (true, ignores);
        });
        world.store_version(2, newer);
        world.command(dated("f", "2026-11-02T00:00:00Z"));
        assert_eq!(world.at_work().contains(&"b".to_owned()), ignores);
        // Without a run before there is no past.
        world.command(dated("first", "2026-10-01T00:00:00Z"));
        assert_eq!(world.at_work().iter().filter(|task| *task == "b").count(), usize::from(ignores) + 1);
    }
}

#[test]
fn a_pause_that_a_rule_of_the_retry_policy_names_goes_before_the_tasks_own() {
    let graph = with(dag("d", "a"), "a", |task| {
        (task.retries, task.retry_delay) = (2, std::time::Duration::from_secs(600));
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.end_with("a", AttemptEnd { retry_delay_secs: Some(5.0), ..AttemptEnd::new(EndKind::Failed, "exit code 75") });
    assert_eq!(world.state(run, "a"), TaskState::UpForRetry);
    world.pass(6);
    assert_eq!(world.at_work(), ["a"]);
    world.end("a", EndKind::Failed);
    world.pass(6);
    assert_eq!(world.state(run, "a"), TaskState::UpForRetry);
}
