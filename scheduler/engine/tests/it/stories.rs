//! What happens, told as short stories.

use std::{fmt::Write, time::Duration};

use dag::{Catchup, Dag, Schedule};
use engine::Event;
use expect_test::{Expect, expect};
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, Operator, RunId, TaskId, TaskState, TriggerRule, WorkerId,
    command::{
        AnswerStatus, ClearEffect, ClearOnly, ClearVersion, MarkTaskInstances, Paused, Relatives, ServiceAction,
        TaskSelector,
    },
    operator::SkipReach,
};

use crate::{
    dags::{branch, dag, short_circuit, with},
    world::{World, clear_of, trigger},
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
fn a_run_whose_rest_can_never_run_is_dead_locked() {
    let mut world = World::new(vec![with(dag("d", "a >> b"), "b", |task| task.trigger_rule = TriggerRule::AllSkipped)]);
    let run = world.trigger("d", "r");
    // A removed upstream resolves nothing under all_skipped.
    let row = world.mirror.instances.values_mut().next().unwrap();
    (row.state, row.live) = (TaskState::Removed, false);
    world.reload();
    world.quiesce();
    assert_eq!(world.run_state(run), DagRunState::Failed);
    assert_eq!(world.state(run, "b"), TaskState::NoStatus);
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
    for _ in 0..3 {
        world.attempts.clear();
        world.turn(vec![Event::WorkerLost(WorkerId(1))]);
        assert_eq!(world.state(run, "a"), TaskState::UpForRetry);
        world.join(1, 10);
        assert_eq!(world.at_work(), ["a"]);
    }
    world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    assert_eq!(world.state(run, "a"), TaskState::Failed);
    let reason = world.mirror.instances.values().next().unwrap().extra.reason.clone().unwrap();
    assert!(reason.contains("lost 4 times"), "{reason}");
}

#[test]
fn a_report_of_a_lost_attempt_changes_nothing() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let stale = world.ended("a", AttemptEnd::new(EndKind::Success, ""));
    world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    world.join(1, 10);
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
    assert_ne!(world.attempt_of("a").2, first);
}

#[test]
fn a_task_cleared_while_it_runs_is_killed_and_runs_again() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let (_, _, old) = world.attempt_of("a");
    world.clear("d", "r", "a", Relatives::default());
    assert_eq!(world.state(run, "a"), TaskState::Restarting);
    assert_eq!(world.kills, [old]);
    assert_eq!(world.attempts.len(), 1, "the next try waits for the old attempt");
    world.end("a", EndKind::Success);
    assert_eq!(world.state(run, "b"), TaskState::NoStatus);
    assert_ne!(world.attempt_of("a").2, old);
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_finished_run_is_cleared_from_the_store_and_runs_again() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    for task in ["a", "b", "c"] {
        world.end(task, EndKind::Success);
    }
    let dry = Command::ClearTaskInstances(model::command::ClearTaskInstances {
        effect: ClearEffect::DryRun,
        ..clear_of("d", "r", "b", Relatives { upstream: false, downstream: true })
    });
    let (_, body) = world.command(dry);
    assert_eq!(body["task_instances"].as_array().unwrap().len(), 2);
    assert_eq!(world.run_state(run), DagRunState::Success);
    world.clear("d", "r", "b", Relatives { upstream: false, downstream: true });
    assert_eq!(world.run_state(run), DagRunState::Running);
    assert_eq!(world.mirror.runs[&run].clear_number, 1);
    world.end("b", EndKind::Success);
    world.end("c", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
    assert_eq!(world.mirror.tries.len(), 2);
}

#[test]
fn only_what_failed_is_cleared_when_asked_so() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Failed);
    let clear = model::command::ClearTaskInstances {
        tasks: Vec::new(),
        only: ClearOnly::Failed,
        ..clear_of("d", "r", "a", Relatives::default())
    };
    world.command(Command::ClearTaskInstances(clear));
    assert_eq!(world.state(run, "a"), TaskState::Success);
    assert_eq!(world.at_work(), ["b"]);
}

#[test]
fn a_run_is_cleared_onto_the_newest_version() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Failed);
    world.store_version(2, dag("d", "a >> b"));
    let clear = model::command::ClearTaskInstances {
        version: ClearVersion::Latest,
        ..clear_of("d", "r", "b", Relatives { upstream: false, downstream: true })
    };
    world.command(Command::ClearTaskInstances(clear));
    let c = world.mirror.instances.values().find(|row| row.key.task == model::TaskIdx(2)).unwrap();
    assert_eq!(c.state, TaskState::Removed);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_skipped_child_that_is_cleared_is_skipped_again() {
    let graph = with(dag("d", "choose >> [left, right]"), "choose", |task| task.operator = branch());
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    let end = AttemptEnd { follow: Some(vec!["left".to_owned()]), ..AttemptEnd::new(EndKind::Success, "") };
    world.end_with("choose", end);
    world.end("left", EndKind::Success);
    world.clear("d", "r", "right", Relatives::default());
    assert_eq!(world.state(run, "right"), TaskState::Skipped);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_task_set_to_success_lets_what_failed_behind_it_go_on() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    world.command(Command::MarkTaskInstances(MarkTaskInstances {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("r").unwrap(),
        tasks: vec![TaskSelector { task_id: TaskId::new("a").unwrap(), map_index: None }],
        relatives: Relatives::default(),
        state: TaskState::Success,
    }));
    assert_eq!(world.at_work(), ["b"]);
    assert_eq!(world.run_state(run), DagRunState::Running);
}

#[test]
fn a_run_set_to_failed_stops_what_runs_and_skips_the_rest() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let (worker, _, attempt) = world.attempt_of("a");
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.command(Command::MarkDagRun {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("r").unwrap(),
        state: DagRunState::Failed,
    });
    assert_eq!(world.state(run, "a"), TaskState::Failed);
    assert_eq!(world.state(run, "b"), TaskState::Skipped);
    assert_eq!(world.kills, [attempt]);
    // The killed attempt still counts until its end is reported.
    assert!(world.mirror.instances.values().next().unwrap().live);
    world.end("a", EndKind::Killed);
    assert!(!world.mirror.instances.values().next().unwrap().live);
}

#[test]
fn a_run_that_takes_too_long_fails() {
    let mut world = World::new(vec![Dag { dagrun_timeout: Some(Duration::from_secs(60)), ..dag("d", "a >> b") }]);
    let run = world.trigger("d", "r");
    world.pass(61);
    assert_eq!(world.run_state(run), DagRunState::Failed);
    assert_eq!(world.state(run, "a"), TaskState::Skipped);
    assert_eq!(world.kills.len(), 1);
}

#[test]
fn the_first_failure_of_a_dag_with_fail_fast_ends_its_run() {
    let mut world = World::new(vec![Dag { fail_fast: true, ..dag("d", "[a, b]; a >> c") }]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    assert_eq!(world.state(run, "b"), TaskState::Failed);
    assert_eq!(world.state(run, "c"), TaskState::UpstreamFailed.min(TaskState::Skipped));
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
fn a_paused_dag_starts_nothing_and_goes_on_afterwards() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let pause = |to| Command::PauseDag { dag_id: DagId::new("d").unwrap(), to };
    world.command(pause(Paused::Paused));
    world.end("a", EndKind::Success);
    world.trigger("d", "later");
    assert!(world.attempts.is_empty());
    assert_eq!(world.run_state(run), DagRunState::Running);
    world.command(pause(Paused::Active));
    assert_eq!(world.at_work(), ["a", "b"]);
}

#[test]
fn runs_wait_for_max_active_runs_and_run_after() {
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..dag("d", "a") }]);
    let first = world.trigger("d", "r1");
    let second = world.trigger("d", "r2");
    assert_eq!(world.run_state(second), DagRunState::Queued);
    world.end("a", EndKind::Success);
    assert_eq!((world.run_state(first), world.run_state(second)), (DagRunState::Success, DagRunState::Running));
    world.end("a", EndKind::Success);
    let later = model::command::TriggerDagRun {
        run_after: Some(world.now + chrono::TimeDelta::seconds(10)),
        ..trigger("d", Some("r3"))
    };
    world.command(Command::TriggerDagRun(later));
    assert!(world.attempts.is_empty());
    world.pass(10);
    assert_eq!(world.at_work(), ["a"]);
}

#[test]
fn a_run_id_or_a_date_is_taken_once() {
    let mut world = World::new(vec![dag("d", "a")]);
    world.trigger("d", "r");
    world.end("a", EndKind::Success);
    let (status, body) = world.command(Command::TriggerDagRun(trigger("d", Some("r"))));
    assert_eq!(status, AnswerStatus::Conflict, "{body}");
    let dated = |run: &str| {
        Command::TriggerDagRun(model::command::TriggerDagRun {
            logical_date: Some(NOON_DATE.parse().unwrap()),
            ..trigger("d", Some(run))
        })
    };
    assert_eq!(world.command(dated("r1")).0, AnswerStatus::Done);
    assert_eq!(world.command(dated("r2")).0, AnswerStatus::Conflict);
}

const NOON_DATE: &str = "2026-11-20T12:00:00Z";

#[test]
fn runs_without_a_name_are_named_after_their_instant() {
    let mut world = World::new(vec![dag("d", "a")]);
    let (_, first) = world.command(Command::TriggerDagRun(trigger("d", None)));
    let (_, second) = world.command(Command::TriggerDagRun(trigger("d", None)));
    assert_eq!(first["run_id"], "manual__2026-11-21T12:00:00+00:00");
    assert_eq!(second["run_id"], "manual__2026-11-21T12:00:00.000001+00:00");
}

#[test]
fn what_does_not_exist_is_not_found() {
    let mut world = World::new(vec![dag("d", "a")]);
    assert_eq!(world.command(Command::TriggerDagRun(trigger("other", None))).0, AnswerStatus::NotFound);
    assert_eq!(world.clear("d", "nowhere", "a", Relatives::default()).0, AnswerStatus::NotFound);
    world.trigger("d", "r");
    assert_eq!(world.clear("d", "r", "b", Relatives::default()).0, AnswerStatus::NotFound);
    let service = Command::ControlService {
        dag_id: DagId::new("d").unwrap(),
        name: "sink".to_owned(),
        action: ServiceAction::Stop,
    };
    assert_eq!(world.command(service).0, AnswerStatus::Invalid);
}

#[test]
fn a_schedule_makes_each_run_once() {
    let every = Duration::from_secs(3_600);
    let start = "2026-11-21T09:00:00Z".parse().unwrap();
    let graph = Dag {
        schedule: Schedule::Delta { every },
        start_date: Some(start),
        catchup: Catchup::All,
        max_active_runs: 2,
        ..dag("d", "a")
    };
    let mut world = World::new(vec![graph]);
    world.quiesce();
    assert_eq!(world.attempts.len(), 2, "no more than max_active_runs are made");
    world.reload();
    world.join(1, 10);
    world.end("a", EndKind::Success);
    world.end("a", EndKind::Success);
    world.end("a", EndKind::Success);
    let ids: Vec<_> = world.mirror.runs.values().map(|run| run.run_id.to_string()).collect();
    assert_eq!(
        ids,
        [
            "scheduled__2026-11-21T10:00:00+00:00",
            "scheduled__2026-11-21T11:00:00+00:00",
            "scheduled__2026-11-21T12:00:00+00:00"
        ]
    );
    world.pass(3_600);
    assert_eq!(world.mirror.runs.len(), 4);
}

#[test]
fn pools_and_priority_decide_who_runs() {
    let mut graph = dag("d", "[low, mid, high]");
    for (task, weight) in graph.tasks.iter_mut().zip([1, 5, 9]) {
        task.effective_weight = weight;
        task.pool = "etl".to_owned();
    }
    let mut world = World::new(vec![graph]);
    let pool = |slots| {
        Command::SetPool(model::Pool {
            name: "etl".to_owned(),
            slots: Some(slots),
            description: String::new(),
            include_deferred: false,
        })
    };
    world.trigger("d", "r");
    assert!(world.attempts.is_empty());
    assert_eq!(world.why("d", "r", "low"), "pool etl does not exist");
    world.command(pool(1));
    assert_eq!(world.at_work(), ["high"]);
    assert_eq!(world.why("d", "r", "low"), "pool etl is full: 1 of 1 slots, 1 ahead of it");
    world.command(pool(2));
    assert_eq!(world.at_work(), ["high", "mid"]);
}

#[test]
fn a_run_at_max_active_tasks_does_not_hold_back_another() {
    let graph = Dag { max_active_tasks: 1, ..dag("d", "[a, b, c]") };
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r1");
    world.trigger("d", "r2");
    assert_eq!(world.at_work(), ["a", "a"]);
    world.end("a", EndKind::Success);
    assert_eq!(world.at_work(), ["a", "b"]);
}

#[test]
fn a_task_at_its_own_limit_waits_over_all_runs() {
    let graph = with(dag("d", "[a, b]"), "a", |task| task.max_active_tis_per_dag = Some(1));
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r1");
    world.trigger("d", "r2");
    assert_eq!(world.at_work(), ["a", "b", "b"]);
    world.end("a", EndKind::Success);
    assert_eq!(world.at_work(), ["a", "b", "b"]);
}

#[test]
fn a_task_that_depends_on_its_past_waits_for_the_run_before() {
    let graph = Dag {
        schedule: Schedule::Delta { every: Duration::from_secs(3_600) },
        start_date: Some("2026-11-21T10:00:00Z".parse().unwrap()),
        catchup: Catchup::All,
        ..with(dag("d", "a"), "a", |task| task.depends_on_past = true)
    };
    let mut world = World::new(vec![graph]);
    world.quiesce();
    assert_eq!(world.mirror.runs.len(), 2);
    assert_eq!(world.attempts.len(), 1);
    let second = "scheduled__2026-11-21T12:00:00+00:00";
    assert!(world.why("d", second, "a").starts_with("it depends on its past"), "{}", world.why("d", second, "a"));
    world.end("a", EndKind::Failed);
    assert!(world.attempts.is_empty());
    assert_eq!(world.mirror.run(second).state, DagRunState::Running, "it is not dead-locked");
    world.clear("d", "scheduled__2026-11-21T11:00:00+00:00", "a", Relatives::default());
    world.end("a", EndKind::Success);
    assert_eq!(world.attempts.len(), 1, "the second run goes on");
}
