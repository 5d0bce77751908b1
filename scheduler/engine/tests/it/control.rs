//! Who may start, and when: attempts that do not begin.

use std::time::Duration;

use dag::Dag;
use engine::Event;
use model::{AttemptEnd, EndKind, TaskState};

use crate::{
    dags::{dag, with},
    world::World,
};

/// A DAG of one task whose attempts have a minute to begin.
fn of_a_minute() -> Dag {
    with(dag("d", "a"), "a", |task| task.task_queued_timeout = Some(Duration::from_secs(60)))
}

#[test]
fn an_attempt_that_does_not_begin_is_given_out_anew_twice_and_then_its_task_fails() {
    let graph = with(dag("d", "a >> b"), "a", |task| {
        task.retries = 3;
        task.task_queued_timeout = Some(Duration::from_secs(60));
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    let why = world.why("d", "r", "a");
    assert!(
        why.ends_with("has not said yet that it has started; it is taken back in 1 min (task_queued_timeout)"),
        "{why}"
    );
    world.pass(59);
    assert_eq!(world.kills.len(), 0);
    for requeues in 1..=2 {
        world.pass(if requeues == 1 { 1 } else { 60 });
        let (.., attempt) = world.attempt_of("a");
        assert!(world.kills.contains(&attempt) && world.attempts.len() == 1, "its old attempt is stopped");
        let why = world.why("d", "r", "a");
        let told = format!("it is queued again ({requeues} of 2)");
        assert!(why.starts_with("it waits for its old attempt on worker-1 to end") && why.ends_with(&told), "{why}");
        world.reload();
        world.join(1, 1_000);
        world.end_with("a", AttemptEnd::new(EndKind::Killed, "it was stopped"));
        assert_eq!(world.at_work(), ["a"], "and it is queued again");
    }
    world.pass(60);
    let row = &world.mirror.instances_of(run)[0];
    assert_eq!((row.state, row.live, row.try_number.get()), (TaskState::Failed, true, 3));
    let reason =
        "worker-1 did not begin it within its task_queued_timeout of 60 s, and was queued again 2 times before";
    assert_eq!(row.extra.reason.as_deref(), Some(reason));
    world.end("a", EndKind::Killed);
    assert_eq!((world.state(run, "a"), world.state(run, "b")), (TaskState::Failed, TaskState::UpstreamFailed));
}

#[test]
fn an_attempt_that_begins_is_not_taken_back_and_costs_no_retry() {
    let mut world = World::new(vec![of_a_minute()]);
    let run = world.trigger("d", "r");
    world.pass(60);
    world.end("a", EndKind::Killed);
    let (worker, key, attempt) = world.attempt_of("a");
    assert_eq!(world.mirror.instances[&key].extra.requeues, 1);
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.pass(100_000);
    assert_eq!((world.state(run, "a"), world.kills.len()), (TaskState::Running, 1));
    assert_eq!(world.mirror.instances[&key].extra.requeues, 0, "the next one counts from the beginning");
    world.end("a", EndKind::Success);
    assert_eq!(world.state(run, "a"), TaskState::Success);
}

#[test]
fn an_attempt_that_ends_after_it_was_taken_back_changes_nothing() {
    let mut world = World::new(vec![of_a_minute()]);
    let run = world.trigger("d", "r");
    world.pass(60);
    world.end("a", EndKind::Success);
    assert_eq!((world.state(run, "a"), world.attempts.len()), (TaskState::Queued, 1), "its next attempt decides");
    world.end("a", EndKind::Success);
    assert_eq!(world.state(run, "a"), TaskState::Success);
}
