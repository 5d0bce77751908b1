//! What happens, told as short stories.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use dag::{Dag, Task, TaskPos};
use engine::{Event, WorkerJoined};
use expect_test::{Expect, expect};
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, Operator, TaskState, TriggerRule, WorkerId, command::Relatives,
    operator::SkipReach,
};

use crate::{
    dags::{branch, dag, dag_of, short_circuit, task, with},
    world::{World, trigger},
};

/// Runs a DAG with these outcomes, everything else succeeding, and prints what became of it.
fn check(graph: Dag, outcomes: &[(&str, AttemptEnd)], expected: Expect) {
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    while let Some(task) = world.at_work().first().cloned() {
        let end = outcomes.iter().find(|(name, _)| *name == task).map(|(_, end)| end.clone());
        world.end_with(&task, end.unwrap_or_else(|| AttemptEnd::new(EndKind::Success, "")));
    }
    let mut text = String::new();
    for (task, state) in world.states(run) {
        writeln!(text, "{task}: {state}").unwrap();
    }
    writeln!(text, "run: {}", world.run_state(run)).unwrap();
    expected.assert_eq(&text);
}

fn failed() -> AttemptEnd {
    AttemptEnd::new(EndKind::Failed, "exit code 1")
}

#[test]
fn a_tasks_params_lie_over_the_dags_and_under_the_runs_conf() {
    let of = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap();
    let own = Task { params: of(r#"{"b": 2, "c": 2}"#), ..task("t") };
    let param = |default: i32| dag::Param { schema: serde_json::json!({}), default: default.into(), description: None };
    let params = [("a", param(1)), ("b", param(1)), ("c", param(1))];
    let dag = Dag {
        params: params.map(|(name, param)| (name.to_owned(), param)).into_iter().collect(),
        ..dag_of("d", vec![own, task("u")])
    };
    let conf = of(r#"{"c": 3}"#);
    assert_eq!(engine::params_of(&dag, TaskPos(0), &conf), of(r#"{"a": 1, "b": 2, "c": 3}"#));
    assert_eq!(engine::params_of(&dag, TaskPos(1), &conf), of(r#"{"a": 1, "b": 1, "c": 3}"#));
}

#[test]
fn a_chain_succeeds() {
    check(
        dag("d", "extract >> transform >> load"),
        &[],
        expect![[r#"
            extract: success
            load: success
            transform: success
            run: success
        "#]],
    );
}

#[test]
fn a_failure_reaches_everything_downstream() {
    check(
        dag("d", "extract >> transform >> load"),
        &[("extract", failed())],
        expect![[r#"
            extract: failed
            load: upstream_failed
            transform: upstream_failed
            run: failed
        "#]],
    );
}

#[test]
fn a_failed_inner_task_does_not_fail_a_run_whose_leaf_succeeds() {
    let graph = with(dag("d", "work >> tidy"), "tidy", |task| task.trigger_rule = TriggerRule::AllDone);
    check(
        graph,
        &[("work", failed())],
        expect![[r#"
            tidy: success
            work: failed
            run: success
        "#]],
    );
}

#[test]
fn a_branch_skips_what_it_does_not_follow() {
    let graph = with(dag("d", "choose >> [left, right]; left >> after; right >> after"), "choose", |task| {
        task.operator = branch();
    });
    let graph = with(graph, "after", |task| task.trigger_rule = TriggerRule::NoneFailedMinOneSuccess);
    let end = AttemptEnd { follow: Some(vec!["left".to_owned()]), ..AttemptEnd::new(EndKind::Success, "") };
    check(
        graph,
        &[("choose", end)],
        expect![[r#"
            after: success
            choose: success
            left: success
            right: skipped
            run: success
        "#]],
    );
}

#[test]
fn a_branch_that_follows_an_unknown_task_fails() {
    let graph = with(dag("d", "choose >> left"), "choose", |task| task.operator = branch());
    let end = AttemptEnd { follow: Some(vec!["lfet".to_owned()]), ..AttemptEnd::new(EndKind::Success, "") };
    check(
        graph,
        &[("choose", end)],
        expect![[r#"
            choose: failed
            left: upstream_failed
            run: failed
        "#]],
    );
}

#[test]
fn a_short_circuit_skips_as_far_as_it_says() {
    let end = AttemptEnd { proceed: Some(false), ..AttemptEnd::new(EndKind::Success, "") };
    let graph = |reach| {
        let graph = with(dag("d", "ask >> work >> tidy"), "ask", |task| task.operator = short_circuit(reach));
        with(graph, "tidy", |task| task.trigger_rule = TriggerRule::AllDone)
    };
    check(
        graph(SkipReach::AllDownstream),
        &[("ask", end.clone())],
        expect![[r#"
            ask: success
            tidy: skipped
            work: skipped
            run: success
        "#]],
    );
    check(
        graph(SkipReach::DirectDownstream),
        &[("ask", end)],
        expect![[r#"
            ask: success
            tidy: success
            work: skipped
            run: success
        "#]],
    );
}

#[test]
fn a_removed_task_keeps_nothing_behind_it_from_running() {
    let mut world = World::new(vec![with(dag("d", "a >> b"), "b", |task| task.trigger_rule = TriggerRule::AllSkipped)]);
    let run = world.trigger("d", "r");
    let row = world.mirror.instances.values_mut().next().unwrap();
    (row.state, row.live) = (TaskState::Removed, false);
    world.attempts.clear();
    world.reload();
    world.join(1, 1_000);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn tasks_without_work_end_in_the_turn_that_starts_the_run() {
    let mut graph = dag("d", "a >> b >> c");
    for task in &mut graph.tasks {
        task.operator = Operator::Empty;
    }
    let mut world = World::new(vec![graph]);
    let plan = world.turn(vec![Event::Command {
        id: model::CommandId(1),
        by: "ada".to_owned(),
        command: Command::TriggerDagRun(trigger("d", Some("r"))),
    }]);
    assert_eq!(plan.new_instances.len(), 3);
    assert!(plan.instances.is_empty() && plan.effects.is_empty());
    assert_eq!(plan.new_runs[0].state, DagRunState::Success);
}

#[test]
fn an_instance_costs_one_insert_and_one_update() {
    let mut world = World::new(vec![dag("d", "a")]);
    let plan = world.turn(vec![Event::Command {
        id: model::CommandId(1),
        by: "ada".to_owned(),
        command: Command::TriggerDagRun(trigger("d", Some("r"))),
    }]);
    assert_eq!((plan.new_instances.len(), plan.instances.len()), (1, 0));
    let event = world.ended("a", AttemptEnd::new(EndKind::Success, ""));
    let plan = world.turn(vec![event]);
    assert_eq!((plan.new_instances.len(), plan.instances.len(), plan.extras.len()), (0, 1, 0));
    assert_eq!(plan.runs.len(), 1);
}

#[test]
fn a_retry_waits_for_its_delay_and_keeps_the_last_try() {
    let graph = with(dag("d", "a"), "a", |task| {
        task.retries = 1;
        task.retry_delay = Duration::from_secs(30);
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    assert_eq!(world.state(run, "a"), TaskState::UpForRetry);
    world.pass(29);
    assert!(world.attempts.is_empty());
    world.reload();
    world.join(1, 10);
    world.pass(1);
    assert_eq!(world.at_work(), ["a"]);
    assert_eq!(world.mirror.tries.len(), 1);
    world.end("a", EndKind::Failed);
    assert_eq!(world.state(run, "a"), TaskState::Failed);
    assert_eq!(world.run_state(run), DagRunState::Failed);
}

#[test]
fn a_failure_for_good_is_not_tried_again() {
    let mut world = World::new(vec![with(dag("d", "a"), "a", |task| task.retries = 5)]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::FailedForGood);
    assert_eq!(world.state(run, "a"), TaskState::Failed);
}

#[test]
fn lost_workers_cost_no_retry_until_the_infrastructure_budget_is_spent() {
    let mut world = World::new(vec![dag("d", "a")]);
    let run = world.trigger("d", "r");
    for pause in [1, 5, 15] {
        world.attempts.clear();
        world.turn(vec![Event::WorkerLost(WorkerId(1))]);
        world.join(1, 10);
        world.pass(pause - 1);
        assert_eq!((world.state(run, "a"), world.at_work().len()), (TaskState::UpForRetry, 0));
        world.pass(1);
        assert_eq!(world.at_work(), ["a"]);
        world.pass(60);
    }
    world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    assert_eq!(world.state(run, "a"), TaskState::Failed);
    let reason = world.mirror.instances.values().next().unwrap().extra.reason.clone().unwrap();
    assert!(reason.contains("lost 4 times"), "{reason}");
}

#[test]
fn losses_within_a_minute_count_once_and_fail_nothing() {
    let mut world = World::new(vec![dag("d", "a")]);
    let run = world.trigger("d", "r");
    let losses = |world: &World| world.mirror.instances.values().next().unwrap().extra.infrastructure_losses;
    for _ in 0..50 {
        world.attempts.clear();
        world.turn(vec![Event::WorkerLost(WorkerId(1))]);
        world.join(1, 10);
        world.reload();
        world.join(1, 10);
        world.pass(1);
    }
    assert_eq!(
        (losses(&world), world.state(run, "a")),
        (1, TaskState::UpForRetry),
        "it waits for the cause to be over"
    );
    world.pass(10);
    assert_eq!(world.at_work(), ["a"]);
}

#[test]
fn what_a_leaving_worker_hands_back_costs_nothing_and_goes_to_another() {
    let mut world = World::new(vec![dag("d", "[a, b]")]);
    let run = world.trigger("d", "r");
    for _ in 0..10 {
        let leaving = world.attempt_of("a").0;
        let other = WorkerId(3 - leaving.get());
        world.turn(vec![Event::WorkerLeaving(leaving)]);
        world.join(other.get(), 10);
        let handed_back = world.ended("a", AttemptEnd::handed_back("its worker is leaving"));
        world.turn(vec![handed_back]);
        assert_eq!(world.attempt_of("a").0, other, "nothing is given to a worker that leaves");
        // The other one is killed before it could hand it back.
        world.attempts.retain(|(worker, ..)| *worker != leaving);
        world.turn(vec![Event::WorkerLost(leaving)]);
        assert_eq!(world.attempt_of("b").0, other);
    }
    let extras: Vec<_> =
        world.mirror.instances_of(run).into_iter().map(|row| row.extra.infrastructure_losses).collect();
    assert_eq!(extras, [0, 0]);
}

/// A process that was asked to end wrote down that it gives its attempt back, and ended before it could say so: the next process of
/// the worker says it. That one stays.
#[test]
fn what_a_process_left_behind_is_handed_back_by_the_next_one_which_goes_on_working() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let handed_back = world.ended("a", AttemptEnd::handed_back("its worker was leaving"));
    world.turn(vec![handed_back.clone()]);
    assert_eq!(world.at_work(), ["a"], "it is tried again at once");
    // Until it knows that the report is stored it says it again.
    world.turn(vec![handed_back]);
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn an_operator_that_no_worker_knows_waits_with_the_reason() {
    let mut world = World::new(vec![dag("d", "a")]);
    let Event::WorkerJoined(old) = world.hello(1, 10) else { panic!("hello joins") };
    let old = WorkerJoined { operators: BTreeSet::from(["python".to_owned()]), ..old };
    world.turn(vec![Event::WorkerJoined(old)]);
    world.trigger("d", "r");
    assert_eq!(world.at_work(), Vec::<String>::new());
    let why = world.why("d", "r", "a");
    assert!(why.contains("no worker that serves queue default knows the operator bash"), "{why}");
}

#[test]
fn a_report_of_a_lost_attempt_changes_nothing() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let stale = world.ended("a", AttemptEnd::new(EndKind::Success, ""));
    world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    world.join(1, 10);
    world.pass(1);
    let plan = world.turn(vec![stale]);
    assert!(plan.instances.is_empty() && plan.new_instances.is_empty());
    assert_eq!(world.state(run, "a"), TaskState::Queued);
}

#[test]
fn a_worker_that_comes_back_without_an_attempt_has_lost_it() {
    let mut world = World::new(vec![dag("d", "a")]);
    world.trigger("d", "r");
    let (_, _, first) = world.attempt_of("a");
    world.attempts.clear();
    world.join(1, 10);
    world.pass(1);
    assert_ne!(world.attempt_of("a").2, first);
}

#[test]
fn a_run_that_takes_too_long_fails() {
    let mut world = World::new(vec![Dag { dagrun_timeout: Some(Duration::from_secs(60)), ..dag("d", "a >> b") }]);
    let run = world.trigger("d", "r");
    world.pass(61);
    assert_eq!(world.run_state(run), DagRunState::Failed);
    assert_eq!(world.state(run, "a"), TaskState::Skipped);
    assert_eq!(world.kills.len(), 1);
    assert_eq!(world.mirror.runs[&run].note.as_deref(), Some("exceeded its dagrun_timeout of 60 s"));
    let reasons = |world: &World| -> Vec<Option<String>> {
        world.mirror.instances.values().map(|row| row.extra.reason.clone()).collect()
    };
    let reason = || Some("the run exceeded its dagrun_timeout of 60 s".to_owned());
    assert_eq!(reasons(&world), [reason(), reason()]);
    world.end("a", EndKind::Killed);
    world.clear("d", "r", "a", Relatives { upstream: false, downstream: true });
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    assert_eq!((world.run_state(run), &world.mirror.runs[&run].note), (DagRunState::Success, &None));
    assert_eq!(reasons(&world), [None, None]);
}

#[test]
fn the_first_failure_of_a_dag_with_fail_fast_ends_its_run() {
    let mut world = World::new(vec![Dag { fail_fast: true, ..dag("d", "[a, b]; a >> c") }]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    assert_eq!((world.state(run, "b"), world.state(run, "c")), (TaskState::Skipped, TaskState::Skipped));
    assert_eq!(world.run_state(run), DagRunState::Failed);
}

#[test]
fn a_dag_whose_runs_keep_failing_is_paused() {
    let mut world = World::new(vec![Dag { max_consecutive_failed_dag_runs: 2, ..dag("d", "a") }]);
    for run in ["r1", "r2"] {
        world.trigger("d", run);
        world.end("a", EndKind::Failed);
    }
    assert!(world.mirror.dags[&DagId::new("d").unwrap()].is_paused);
}

#[test]
fn a_start_is_told_once_with_when_the_task_was_ready_and_when_it_had_its_slot() {
    let mut world = World::new(vec![Dag { max_active_tasks: 1, ..dag("d", "[first, second]") }]);
    let ready = world.now;
    world.trigger("d", "r");
    world.pass(30);
    world.end("first", EndKind::Success);
    let slot = world.now;
    world.now += chrono::TimeDelta::seconds(5);
    let (worker, _, attempt) = world.attempt_of("second");
    let at = world.now;
    let plan = world.turn(vec![Event::AttemptStarted { worker, attempt, at }]);
    assert_eq!(plan.started, [engine::Started { ready_at: Some(ready), queued_at: Some(slot), at }]);
    let end = world.ended("second", AttemptEnd::new(EndKind::Success, ""));
    assert_eq!(world.turn(vec![end]).started, []);
}
