//! Callbacks, deadlines and what a turn owes for them.

use std::time::Duration;

use dag::{Dag, Deadline, DeadlineReference, RunCallbacks};
use engine::Event;
use model::{AttemptEnd, Command, DagId, DagRunState, EndKind, Operator, RunId};

use crate::{
    dags::{callback, dag, task_callbacks},
    world::{World, clear_of, trigger},
};

/// A DAG whose tasks and runs tell of everything.
fn telling(text: &str) -> Dag {
    let mut dag = dag("d", text);
    dag.tasks.iter_mut().for_each(|task| task.callbacks = task_callbacks());
    dag.callbacks = RunCallbacks { on_success: vec![callback(), callback()], on_failure: vec![callback()] };
    dag
}

/// What was told since the last look: `task try event (reason)`.
fn told(world: &mut World) -> Vec<String> {
    let rows = std::mem::take(&mut world.mirror.told.notifications);
    let line = |row: engine::NotificationRow| {
        let task = row.task.filter(|_| !row.event.is_of_run());
        let of = task.map_or_else(|| row.run_id.to_string(), |task| format!("{} {}", task.task_id, task.try_number));
        let reason = row.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{of} {}{reason}", row.event)
    };
    rows.into_iter().map(line).collect()
}

fn end(world: &mut World, name: &str, kind: EndKind, reason: &str) {
    let event = world.ended(name, AttemptEnd::new(kind, reason));
    world.turn(vec![event]);
    world.quiesce();
}

#[test]
fn a_task_tells_of_each_try_and_its_run_of_its_end() {
    let mut graph = telling("a >> b");
    graph.tasks[0].retries = 1;
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    end(&mut world, "a", EndKind::Failed, "exit code 1");
    assert_eq!(told(&mut world), ["a 1 execute", "a 1 retry (exit code 1)"]);
    world.pass(400);
    end(&mut world, "a", EndKind::Success, "");
    assert_eq!(told(&mut world), ["a 2 execute", "a 2 success"]);
    end(&mut world, "b", EndKind::Skipped, "nothing to do");
    assert_eq!(
        told(&mut world),
        ["b 1 execute", "b 1 skipped (nothing to do)", "r dag_success (success)", "r dag_success (success)"]
    );
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_failure_without_a_further_try_is_told_and_what_is_skipped_for_it_is_not() {
    let mut world = World::new(vec![telling("a >> b")]);
    world.trigger("d", "r");
    end(&mut world, "a", EndKind::Failed, "it broke");
    assert_eq!(told(&mut world), ["a 1 execute", "a 1 failure (it broke)", "r dag_failure (task_failure)"]);
}

#[test]
fn a_start_is_told_when_it_is_heard_and_never_of_what_did_not_begin() {
    let mut world = World::new(vec![telling("a")]);
    world.trigger("d", "r");
    let (worker, _, attempt) = world.attempts[0];
    let at = world.now;
    world.turn(vec![Event::AttemptStarted { worker, attempt, at }]);
    assert_eq!(told(&mut world), ["a 1 execute"]);
    world.turn(vec![Event::AttemptStarted { worker, attempt, at }]);
    assert!(told(&mut world).is_empty());
    end(&mut world, "a", EndKind::Success, "");
    assert_eq!(told(&mut world)[0], "a 1 success");
    world.trigger("d", "s");
    let event = world.ended("a", AttemptEnd::handed_back("its worker ends"));
    world.turn(vec![event]);
    world.quiesce();
    assert!(told(&mut world).is_empty(), "what is handed back has neither begun nor failed");
}

#[test]
fn a_task_without_work_tells_and_a_mark_by_hand_does_not() {
    let mut graph = telling("a >> b");
    graph.tasks[0].operator = Operator::Empty;
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r");
    assert_eq!(told(&mut world), ["a 1 execute", "a 1 success"]);
    let (dag_id, run_id) = (DagId::new("d").unwrap(), RunId::new("r").unwrap());
    world.command(Command::MarkDagRun { dag_id, run_id, state: DagRunState::Failed });
    assert!(told(&mut world).is_empty());
}

#[test]
fn a_run_that_takes_too_long_says_so() {
    let mut world = World::new(vec![Dag { dagrun_timeout: Some(Duration::from_secs(60)), ..telling("a") }]);
    world.trigger("d", "r");
    world.pass(61);
    assert_eq!(told(&mut world), ["r dag_failure (timed_out)"]);
}

fn due(reference: DeadlineReference, secs: u64) -> Deadline {
    let interval = Duration::from_secs(secs);
    Deadline { name: None, description: None, reference, interval, callbacks: vec![callback()] }
}

#[test]
fn a_deadline_is_missed_once_and_outlives_its_leader() {
    let mut world = World::new(vec![Dag { deadlines: vec![due(DeadlineReference::QueuedAt, 60)], ..telling("a") }]);
    world.trigger("d", "r");
    world.pass(30);
    world.reload();
    world.join(1, 1_000);
    assert!(told(&mut world).is_empty());
    world.pass(31);
    let missed = told(&mut world);
    assert!(
        missed.len() == 1 && missed[0].starts_with("r deadline_missed (the run had not succeeded by"),
        "{missed:?}"
    );
    world.reload();
    world.pass(100);
    assert!(told(&mut world).is_empty());
    assert!(world.mirror.told.deadlines.values().all(|row| row.is_missed));
}

#[test]
fn a_run_that_succeeds_in_time_meets_its_deadlines_and_one_that_fails_does_not() {
    let deadlines = vec![due(DeadlineReference::QueuedAt, 60), due(DeadlineReference::LogicalDate, 60)];
    let mut world = World::new(vec![Dag { deadlines, ..telling("a") }]);
    world.trigger("d", "r");
    assert_eq!(world.mirror.told.deadlines.len(), 1, "a run without a date has no deadline by it");
    end(&mut world, "a", EndKind::Success, "");
    assert!(world.mirror.told.deadlines.is_empty());
    world.trigger("d", "s");
    end(&mut world, "a", EndKind::Failed, "no");
    drop(told(&mut world));
    world.pass(61);
    assert!(told(&mut world)[0].starts_with("s deadline_missed"));
    // Cleared, it is queued anew.
    let clear = clear_of("d", "s", "a", model::command::Relatives::default());
    world.command(Command::ClearTaskInstances(clear));
    assert_eq!(world.mirror.told.deadlines.values().filter(|row| !row.is_missed).count(), 1);
    end(&mut world, "a", EndKind::Success, "");
    assert!(world.mirror.told.deadlines.values().all(|row| row.is_missed));
}

#[test]
fn a_deadline_by_the_average_is_set_once_there_are_enough_runs() {
    let reference = DeadlineReference::AverageRuntime { max_runs: 3, min_runs: 2 };
    let mut world = World::new(vec![Dag { deadlines: vec![due(reference, 10)], ..telling("a") }]);
    for (run, secs) in [("r", 20), ("s", 40)] {
        world.trigger("d", run);
        world.quiesce();
        assert!(world.mirror.told.deadlines.is_empty(), "too few runs have ended");
        world.pass(secs);
        end(&mut world, "a", EndKind::Success, "");
    }
    world.command(Command::TriggerDagRun(trigger("d", Some("t"))));
    world.quiesce();
    let rows: Vec<_> = world.mirror.told.deadlines.values().collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].at - rows[0].created_at).num_seconds(), 40, "30 s on average, and 10 s");
}
