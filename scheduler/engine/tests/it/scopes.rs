//! Setups and teardowns, told as short stories.

use std::fmt::Write;

use dag::{Dag, Phase};
use expect_test::{Expect, expect};
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, RunId, RunKey, TaskId, TaskState, TriggerRule,
    command::{ClearEffect, MarkTaskInstances, Relatives, TaskSelector},
    operator::SkipReach,
};

use crate::{
    dags::{dag, scoped, short_circuit, with},
    world::{World, clear_of},
};

/// `make` makes what `a` and `b` need, `take` takes it away.
fn cluster() -> Dag {
    scoped(dag("d", "make >> a >> b >> take; make >> take"), &["make"], &["take"])
}

fn begun(graph: Dag) -> (World, RunKey) {
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    (world, run)
}

fn run_on(world: &mut World, outcomes: &[(&str, EndKind)]) {
    while let Some(task) = world.at_work().first().cloned() {
        let kind = outcomes.iter().find(|(name, _)| *name == task).map_or(EndKind::Success, |(_, kind)| *kind);
        world.end(&task, kind);
    }
}

fn told(world: &World, run: RunKey) -> String {
    let mut text = String::new();
    for (task, state) in world.states(run) {
        writeln!(text, "{task}: {state}").unwrap();
    }
    writeln!(text, "run: {}", world.run_state(run)).unwrap();
    text
}

/// Runs a DAG with these outcomes, everything else succeeding, and prints what became of it.
fn check(graph: Dag, outcomes: &[(&str, EndKind)], expected: Expect) {
    let (mut world, run) = begun(graph);
    run_on(&mut world, outcomes);
    expected.assert_eq(&told(&world, run));
}

#[test]
fn a_teardown_runs_when_the_work_failed_and_the_run_fails_by_the_work() {
    check(
        cluster(),
        &[("b", EndKind::Failed)],
        expect![[r#"
            a: success
            b: failed
            make: success
            take: success
            run: failed
        "#]],
    );
}

#[test]
fn a_teardown_that_fails_fails_the_run_only_when_it_says_so() {
    check(
        cluster(),
        &[("take", EndKind::Failed)],
        expect![[r#"
            a: success
            b: success
            make: success
            take: failed
            run: success
        "#]],
    );
    let strict = with(cluster(), "take", |task| task.phase = Phase::Teardown { on_failure_fail_dagrun: true });
    check(
        strict,
        &[("take", EndKind::Failed)],
        expect![[r#"
            a: success
            b: success
            make: success
            take: failed
            run: failed
        "#]],
    );
}

#[test]
fn a_setup_that_fails_or_is_skipped_takes_everything_in_its_scope_along() {
    let graph = with(cluster(), "b", |task| task.trigger_rule = TriggerRule::AllDone);
    check(
        graph.clone(),
        &[("make", EndKind::Failed)],
        expect![[r#"
            a: upstream_failed
            b: upstream_failed
            make: failed
            take: upstream_failed
            run: failed
        "#]],
    );
    check(
        graph,
        &[("make", EndKind::Skipped)],
        expect![[r#"
            a: skipped
            b: skipped
            make: skipped
            take: skipped
            run: success
        "#]],
    );
}

#[test]
fn a_task_waits_for_a_setup_that_is_not_directly_before_it() {
    let graph = scoped(dag("d", "make >> link >> work >> take; quick >> work; make >> take"), &["make"], &["take"]);
    let (mut world, run) = begun(with(graph, "work", |task| task.trigger_rule = TriggerRule::OneSuccess));
    world.end("quick", EndKind::Success);
    assert_eq!(world.state(run, "work"), TaskState::NoStatus);
    assert_eq!(world.why("d", "r", "work"), "it waits for the setup make, which is still running");
    world.end("make", EndKind::Success);
    assert_eq!(world.at_work(), ["link", "work"]);
}

#[test]
fn what_is_behind_the_teardown_does_not_need_its_setup() {
    let graph = scoped(dag("d", "make >> work >> take >> after; make >> take"), &["make"], &["take"]);
    let after = with(graph, "after", |task| task.trigger_rule = TriggerRule::AllDone);
    check(
        after,
        &[("make", EndKind::Failed)],
        expect![[r#"
            after: success
            make: failed
            take: upstream_failed
            work: upstream_failed
            run: failed
        "#]],
    );
}

#[test]
fn a_teardown_waits_for_everything_between_its_setup_and_itself() {
    let graph = dag("d", "make >> [fails, slow] >> join >> take; make >> take");
    let (mut world, run) = begun(scoped(graph, &["make"], &["take"]));
    world.end("make", EndKind::Success);
    world.end("fails", EndKind::Failed);
    assert_eq!(world.state(run, "join"), TaskState::UpstreamFailed);
    assert_eq!(world.at_work(), ["slow"], "the cluster is still in use");
    assert_eq!(
        world.why("d", "r", "take"),
        "it waits for what is between its setups and itself: slow is still running"
    );
    world.end("slow", EndKind::Success);
    assert_eq!(world.at_work(), ["take"]);
}

#[test]
fn a_short_circuit_leaves_teardowns_to_run() {
    let graph = scoped(dag("d", "make >> gate >> work >> take; [make, gate] >> take"), &["make"], &["take"]);
    let graph = with(graph, "gate", |task| task.operator = short_circuit(SkipReach::AllDownstream));
    let (mut world, run) = begun(graph);
    world.end("make", EndKind::Success);
    world.end_with("gate", AttemptEnd { proceed: Some(false), ..AttemptEnd::new(EndKind::Success, "") });
    assert_eq!(world.at_work(), ["take"]);
    run_on(&mut world, &[]);
    assert_eq!(told(&world, run), "gate: success\nmake: success\ntake: success\nwork: skipped\nrun: success\n");
}

#[test]
fn fail_fast_leaves_teardowns_to_run_and_is_not_set_off_by_one() {
    let graph = scoped(dag("d", "make >> [a, b] >> c >> take; make >> take; other"), &["make"], &["take"]);
    let graph = Dag { fail_fast: true, ..graph };
    let (mut world, run) = begun(graph.clone());
    world.end("make", EndKind::Success);
    world.end("a", EndKind::Failed);
    assert_eq!(world.state(run, "take"), TaskState::Queued);
    run_on(&mut world, &[]);
    expect![[r#"
        a: failed
        b: skipped
        c: skipped
        make: success
        other: skipped
        take: success
        run: failed
    "#]]
    .assert_eq(&told(&world, run));
    let (mut world, run) = begun(graph);
    for task in ["make", "a", "b", "c"] {
        world.end(task, EndKind::Success);
    }
    world.end("take", EndKind::Failed);
    assert_eq!(world.at_work(), ["other"]);
    world.end("other", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

/// What a clear of a task would let run again.
fn cleared(world: &mut World, task: &str, relatives: Relatives) -> Vec<String> {
    let clear = clear_of("d", "r", task, relatives);
    let clear = model::command::ClearTaskInstances { effect: ClearEffect::DryRun, ..clear };
    let (_, body) = world.command(Command::ClearTaskInstances(clear));
    let listed = body["task_instances"].as_array().unwrap().iter();
    let mut names: Vec<String> = listed.map(|one| one["task_id"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_clear_brings_the_setups_that_are_needed_and_their_teardowns_along() {
    let text = "outer >> inner >> a >> b >> end_inner >> c >> end_outer; inner >> end_inner; outer >> end_outer; done >> outer";
    let graph = scoped(dag("d", text), &["outer", "inner", "done"], &["end_inner", "end_outer"]);
    let (mut world, _) = begun(graph);
    run_on(&mut world, &[]);
    let none = Relatives::default();
    let downstream = Relatives { downstream: true, ..none };
    let upstream = Relatives { upstream: true, ..none };
    let scopes = ["a", "done", "end_inner", "end_outer", "inner", "outer"];
    assert_eq!(cleared(&mut world, "a", none), scopes, "done has no teardown, and is needed by all behind it");
    assert_eq!(cleared(&mut world, "c", none), ["c", "done", "end_outer", "outer"]);
    assert_eq!(cleared(&mut world, "b", downstream), ["b", "c", "done", "end_inner", "end_outer", "inner", "outer"]);
    assert_eq!(cleared(&mut world, "a", upstream), scopes, "the teardowns of all setups before it");
    assert_eq!(cleared(&mut world, "inner", none), ["end_inner", "inner"]);
    assert_eq!(cleared(&mut world, "end_inner", none), ["end_inner"]);
}

#[test]
fn a_task_that_is_cleared_runs_only_when_its_setup_has_run_again() {
    let (mut world, run) = begun(cluster());
    run_on(&mut world, &[]);
    world.clear("d", "r", "b", Relatives::default());
    assert_eq!(world.at_work(), ["make"]);
    world.end("make", EndKind::Success);
    assert_eq!(world.at_work(), ["b"]);
    run_on(&mut world, &[]);
    assert_eq!(world.run_state(run), DagRunState::Success);
    assert_eq!(world.mirror.tries.len(), 3, "a keeps what it has done");
}

fn mark(world: &mut World, task: &str, state: TaskState) {
    world.command(Command::MarkTaskInstances(MarkTaskInstances {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("r").unwrap(),
        also: Vec::new(),
        effect: ClearEffect::Apply,
        tasks: vec![TaskSelector { task_id: TaskId::new(task).unwrap(), map_index: None }],
        relatives: Relatives { upstream: false, downstream: true },
        state,
    }));
}

#[test]
fn a_mark_leaves_the_teardowns_behind_it_to_run() {
    let (mut world, run) = begun(cluster());
    world.end("make", EndKind::Success);
    mark(&mut world, "a", TaskState::Success);
    assert_eq!(world.state(run, "take"), TaskState::Queued);
    run_on(&mut world, &[]);
    assert_eq!(told(&world, run), "a: success\nb: success\nmake: success\ntake: success\nrun: success\n");
}

fn mark_run(world: &mut World, state: DagRunState) {
    let (dag_id, run_id) = (DagId::new("d").unwrap(), RunId::new("r").unwrap());
    world.command(Command::MarkDagRun { dag_id, run_id, state });
}

#[test]
fn a_run_that_is_ended_by_hand_goes_on_for_what_was_set_up() {
    let (mut world, run) = begun(cluster());
    world.end("make", EndKind::Success);
    mark_run(&mut world, DagRunState::Failed);
    assert_eq!(world.run_state(run), DagRunState::Running);
    assert_eq!((world.state(run, "a"), world.state(run, "b")), (TaskState::Skipped, TaskState::Skipped));
    assert_eq!(world.state(run, "take"), TaskState::Queued);
}

#[test]
fn a_run_that_is_ended_by_hand_before_anything_was_set_up_is_over() {
    for state in [DagRunState::Failed, DagRunState::Success] {
        let (mut world, run) = begun(cluster());
        mark_run(&mut world, state);
        assert_eq!(world.run_state(run), state, "{}", told(&world, run));
    }
}
