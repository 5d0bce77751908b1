//! Sensors that look again later: what they hold, how they count, and when they start anew.

use std::time::Duration;

use dag::Dag;
use model::{EndKind, TaskState, command::Relatives};

use crate::{
    dags::{dag, rescheduled_sensor, with},
    world::{World, put_off},
};

fn waits() -> Dag {
    with(dag("d", "wait >> load"), "wait", |task| {
        task.operator = rescheduled_sensor();
        task.retries = 1;
        task.retry_delay = Duration::from_secs(10);
        task.pool_slots = 128;
    })
}

#[test]
fn between_two_looks_a_sensor_holds_nothing_and_stays_in_its_try() {
    let mut world = World::new(vec![waits(), dag("other", "work")]);
    let run = world.trigger("d", "r");
    world.trigger("other", "o");
    world.end_with("wait", put_off(60.0));
    assert_eq!(world.state(run, "wait"), TaskState::UpForReschedule);
    assert_eq!(world.at_work(), ["work"], "its pool is free");
    let why = world.why("d", "r", "wait");
    assert_eq!(why, "it looks again in 1 min, without a slot until then: poke 1: it is not there");
    world.end("work", EndKind::Success);
    world.pass(59);
    assert!(world.at_work().is_empty());
    world.pass(1);
    assert_eq!(world.at_work(), ["wait"]);
    let (.., key, _) = world.attempt_of("wait");
    let poked = world.engine.assignment(key).unwrap().poked.unwrap();
    assert_eq!((poked.times, poked.waited_secs), (1, 60.0));
    world.end("wait", EndKind::Success);
    let row = &world.mirror.instances[&key];
    assert_eq!((row.try_number.get(), row.state, row.extra.reschedules), (1, TaskState::Success, 1));
    assert!(world.mirror.tries.is_empty(), "a look is no try");
    assert_eq!(world.at_work(), ["load"]);
}

#[test]
fn its_time_counts_from_the_first_look_and_a_retry_has_all_of_it_again() {
    let mut world = World::new(vec![waits()]);
    let run = world.trigger("d", "r");
    for _ in 0..3 {
        world.end_with("wait", put_off(100.0));
        world.pass(100);
    }
    let (.., key, _) = world.attempt_of("wait");
    assert_eq!(world.engine.assignment(key).unwrap().poked.map(|poked| poked.waited_secs), Some(300.0));
    world.end("wait", EndKind::Failed);
    world.pass(10);
    assert_eq!(world.engine.assignment(key).unwrap().poked, None);
    world.end_with("wait", put_off(5.0));
    world.pass(5);
    assert_eq!(
        world.engine.assignment(key).unwrap().poked.map(|poked| (poked.times, poked.waited_secs)),
        Some((1, 5.0))
    );
    world.clear("d", "r", "wait", Relatives::default());
    world.end("wait", EndKind::Killed);
    assert_eq!(world.engine.assignment(key).unwrap().poked, None);
    assert_eq!(world.mirror.instances[&key].try_number.get(), 3);
    assert_eq!(world.state(run, "load"), TaskState::NoStatus);
}

#[test]
fn a_new_leader_goes_on_with_the_looks_of_the_old_one() {
    let mut world = World::new(vec![waits()]);
    let run = world.trigger("d", "r");
    world.end_with("wait", put_off(60.0));
    world.reload();
    world.join(1, 0);
    world.pass(60);
    assert_eq!(
        world.state(run, "wait"),
        TaskState::UpForReschedule,
        "there is no slot, and it is still between two looks"
    );
    world.reload();
    world.join(1, 1_000);
    assert_eq!(world.at_work(), ["wait"]);
    let (.., key, _) = world.attempt_of("wait");
    assert_eq!(world.mirror.instances[&key].try_number.get(), 1);
    assert_eq!(world.engine.assignment(key).unwrap().poked.map(|poked| poked.times), Some(1));
}
