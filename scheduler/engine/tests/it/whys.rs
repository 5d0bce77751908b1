//! Every wait has a reason, in one sentence.

use std::{fmt::Write, time::Duration};

use dag::Dag;
use engine::Event;
use expect_test::{Expect, expect};
use model::{
    Command, DagId, EndKind, RunId, WorkerId,
    command::{Paused, Relatives},
};

use crate::{
    dags::{dag, with},
    world::World,
};

fn check(world: &World, expected: Expect) {
    let (dag, run) = (DagId::new("d").unwrap(), RunId::new("r").unwrap());
    let (sentence, tasks) = world.engine.why_run(&dag, &run, world.now).unwrap();
    let mut text = format!("{sentence}\n");
    for (task, _, why) in tasks {
        writeln!(text, "{task}: {why}").unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn upstream_and_work_are_named() {
    let mut world = World::new(vec![dag("d", "[a, b, c, e, f] >> g; a >> h")]);
    world.trigger("d", "r");
    let (worker, _, attempt) = world.attempt_of("a");
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.now += chrono::TimeDelta::seconds(75);
    check(
        &world,
        expect![[r#"
        the run is running: 0 of 7 tasks are finished, a, b, c and 2 more at work
        a: it has been running on worker-1 for 1 min 15 s (attempt 1 of 1)
        b: it was given to worker-1 (attempt 1 of 1), which has not said yet that it has started; it is taken back in 99 d 23 h (task_queued_timeout)
        c: it was given to worker-1 (attempt 1 of 1), which has not said yet that it has started; it is taken back in 99 d 23 h (task_queued_timeout)
        e: it was given to worker-1 (attempt 1 of 1), which has not said yet that it has started; it is taken back in 99 d 23 h (task_queued_timeout)
        f: it was given to worker-1 (attempt 1 of 1), which has not said yet that it has started; it is taken back in 99 d 23 h (task_queued_timeout)
        g: 5 of 5 upstream tasks are not finished: a, b, c and 2 more
        h: upstream a is still running
    "#]],
    );
}

#[test]
fn a_retry_says_when() {
    let graph = with(dag("d", "a >> b"), "a", |task| {
        task.retries = 2;
        task.retry_delay = Duration::from_secs(28);
    });
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    check(
        &world,
        expect![[r#"
        the run is running: 0 of 2 tasks are finished, a is up_for_retry
        a: retry in 28 s (attempt 2 of 3)
        b: upstream a failed and waits for its next try
    "#]],
    );
}

#[test]
fn missing_workers_are_said() {
    let mut world = World::new(vec![with(dag("d", "[a, b]"), "b", |task| task.queue = "gpu".to_owned())]);
    world.turn(vec![Event::WorkerSilent(WorkerId(1))]);
    world.trigger("d", "r");
    check(
        &world,
        expect![[r#"
        the run is running: 0 of 2 tasks are finished, a is scheduled
        a: no worker is connected that serves queue default
        b: no worker is connected that serves queue gpu
    "#]],
    );
    world.join(2, 1);
    world.trigger("d", "r2");
    assert_eq!(world.why("d", "r2", "a"), "all workers that serve queue default are busy: 1 of 1 slots");
}

#[test]
fn pauses_limits_and_old_attempts_are_said() {
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..dag("d", "a >> b") }]);
    world.trigger("d", "r0");
    world.trigger("d", "r");
    check(
        &world,
        expect![[r#"
        the run waits because max_active_runs (1) is reached by r0
        a: the run waits because max_active_runs (1) is reached by r0
        b: the run waits because max_active_runs (1) is reached by r0
    "#]],
    );
    world.clear("d", "r0", "a", Relatives::default());
    assert_eq!(
        world.why("d", "r0", "a"),
        "it was cleared while it ran: it waits for the old attempt on worker-1 to end"
    );
    world.command(Command::PauseDag { dag_id: DagId::new("d").unwrap(), to: Paused::Paused });
    check(
        &world,
        expect![[r#"
        DAG is paused
        a: DAG is paused
        b: DAG is paused
    "#]],
    );
    assert_eq!(world.engine.why_dag(&DagId::new("d").unwrap(), world.now).unwrap(), "DAG is paused");
}
