//! What people ask for: triggers, pauses, clears, marks.

use engine::Event;
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, RunId, TaskId, TaskState,
    command::{
        AnswerStatus, ClearEffect, ClearOnly, ClearVersion, MarkTaskInstances, Paused, Relatives, ServiceAction,
        TaskSelector,
    },
};

use crate::{
    dags::{branch, dag, with},
    world::{World, clear_of, trigger},
};

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
