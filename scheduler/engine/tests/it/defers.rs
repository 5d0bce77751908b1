//! Deferred instances: what they give back, what they keep, and who takes their waits.

use dag::Dag;
use engine::{Event, Rest};
use model::{
    AttemptEnd, Command, DagRunState, EndKind, Pool, TaskState, WorkerId,
    command::{Paused, Relatives},
};

use crate::{
    dags::{dag, dag_of, deferrable_sensor, task, with},
    world::{World, put_off},
};

fn waits() -> Dag {
    with(dag("d", "wait >> load"), "wait", |task| {
        task.operator = deferrable_sensor();
        task.pool_slots = 128;
    })
}

fn deferred_world() -> (World, model::RunKey) {
    let mut world = World::new(vec![waits(), dag("other", "work")]);
    let run = world.trigger("d", "r");
    world.defer("wait");
    (world, run)
}

#[test]
fn a_deferred_wait_gives_its_slots_back_and_succeeds_without_another_attempt() {
    let (mut world, run) = deferred_world();
    assert_eq!(world.state(run, "wait"), TaskState::Deferred);
    world.trigger("other", "o");
    assert_eq!(world.at_work(), ["wait", "work"], "its pool and its worker have room");
    let why = world.why("d", "r", "wait");
    assert_eq!(why, "it waits without a slot since 2026-11-21 12:00:00 UTC, held by worker-1 (attempt 1 of 1)");
    world.pass(600);
    world.end("wait", EndKind::Success);
    let row = world.row("wait");
    assert_eq!((row.state, row.try_number.get(), row.live), (TaskState::Success, 1, false));
    assert_eq!(row.started_at, Some(crate::world::NOON.parse().unwrap()), "it began with its first look");
    assert!(world.mirror.tries.is_empty());
    assert_eq!(world.at_work(), ["load", "work"]);
}

#[test]
fn a_pool_that_includes_deferred_ones_keeps_their_slots() {
    let mut world = World::new(vec![waits(), dag("other", "work")]);
    let pool = |include_deferred| {
        Command::SetPool(Pool {
            name: Pool::DEFAULT.to_owned(),
            slots: Some(128),
            description: String::new(),
            include_deferred,
            rate_limit: None,
        })
    };
    world.command(pool(true));
    world.trigger("d", "r");
    world.defer("wait");
    world.trigger("other", "o");
    assert_eq!(world.at_work(), ["wait"]);
    assert_eq!(world.why("other", "o", "work"), "pool default_pool is full: 128 of 128 slots, 0 ahead of it");
    world.command(pool(false));
    assert_eq!(world.at_work(), ["wait", "work"]);
}

#[test]
fn max_active_tasks_counts_what_holds_slots() {
    let tasks = vec![dag::Task { operator: deferrable_sensor(), ..task("wait") }, task("work")];
    let mut world = World::new(vec![Dag { max_active_tasks: 1, ..dag_of("d", tasks) }]);
    world.trigger("d", "r");
    assert_eq!(world.at_work().len(), 1);
    if world.at_work() == ["work"] {
        world.end("work", EndKind::Success);
    }
    world.defer("wait");
    assert!(world.at_work().contains(&"wait".to_owned()));
    assert!(world.at_work().contains(&"work".to_owned()) || world.row("work").state == TaskState::Success);
}

#[test]
fn a_wait_whose_worker_is_lost_is_taken_by_another_one_before_anything_new_at_no_cost() {
    let (mut world, _) = deferred_world();
    let (_, key, first) = world.attempt_of("wait");
    world.pass(30);
    world.join(2, 0);
    world.attempts.clear();
    let plan = world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    assert_eq!(plan.instances.len(), 1, "it changes once");
    let (worker, _, second) = world.attempt_of("wait");
    assert_eq!(worker, WorkerId(2), "it needs no slot");
    assert_ne!(first, second);
    let row = world.row("wait");
    assert_eq!((row.state, row.try_number.get(), row.extra.infrastructure_losses), (TaskState::Deferred, 1, 0));
    let poked = world.engine.assignment(key).unwrap().poked.unwrap();
    assert_eq!(poked.waited_secs, 30.0, "its time counts from its first look");
    world.quiesce();
    // What the lost one says after all counts for nothing.
    world.turn(vec![Event::AttemptEnded {
        worker: WorkerId(1),
        attempt: first,
        end: AttemptEnd::new(EndKind::Failed, "x").into(),
    }]);
    assert_eq!(world.row("wait").state, TaskState::Deferred);
    world.end("wait", EndKind::Success);
    assert_eq!(world.row("wait").state, TaskState::Success);
}

#[test]
fn a_wait_that_nobody_can_hold_waits_for_a_worker_and_a_new_leader_knows() {
    let (mut world, run) = deferred_world();
    world.attempts.clear();
    world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    world.quiesce();
    let row = world.row("wait");
    assert_eq!((row.state, row.live), (TaskState::Deferred, false));
    let why = world.why("d", "r", "wait");
    assert!(why.ends_with("no worker is connected that serves queue default (attempt 1 of 1)"), "{why}");
    world.reload();
    world.join(2, 0);
    assert_eq!(world.at_work(), ["wait"]);
    assert_eq!(world.state(run, "wait"), TaskState::Deferred);
}

#[test]
fn a_worker_that_leaves_gives_its_waits_to_others_and_a_restarted_one_gets_its_own_again() {
    let (mut world, _) = deferred_world();
    world.join(2, 5);
    world.turn(vec![Event::WorkerLeaving(WorkerId(1))]);
    assert_eq!(world.attempts.last().map(|(worker, ..)| *worker), Some(WorkerId(2)));
    world.attempts.clear();
    world.join(2, 5);
    assert_eq!(world.attempts.len(), 1, "it says Hello without the wait, and gets it again");
    assert_eq!(world.row("wait").extra.infrastructure_losses, 0);
}

#[test]
fn more_waits_than_a_turn_changes_are_handed_over_in_several() {
    let waits = |number| dag::Task { operator: deferrable_sensor(), ..task(&format!("t{number}")) };
    let tasks: Vec<_> = (0..50).map(waits).collect();
    let graph = Dag { max_active_tasks: 10_000, max_active_runs: 1_000, ..dag_of("d", tasks) };
    let mut world = World::new(vec![graph]);
    world.is_checked = false;
    world.join(1, 100_000);
    world.command(Command::SetPool(Pool {
        name: Pool::DEFAULT.to_owned(),
        slots: None,
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    }));
    let triggers = (0..410).map(|run| Event::Command {
        id: model::CommandId(10_000 + run),
        by: "ada".to_owned(),
        command: Command::TriggerDagRun(crate::world::trigger("d", Some(&format!("r{run}")))),
    });
    world.turn(triggers.collect());
    world.come_to_rest();
    let given = std::mem::take(&mut world.attempts);
    assert_eq!(given.len(), 20_500);
    world.turn(given.iter().map(|(worker, _, attempt)| crate::world::deferred(*worker, *attempt, world.now)).collect());
    let plan = world.join(1, 100_000);
    assert_eq!((plan.rest, plan.instances.len()), (Rest::Continue, 20_000), "a turn has its bound");
    assert_eq!(world.engine.verify(), Vec::<String>::new());
    world.come_to_rest();
    assert_eq!(world.attempts.len(), 20_500);
    assert_eq!(world.engine.verify(), Vec::<String>::new());
}

#[test]
fn clear_and_mark_end_a_wait_at_once() {
    let (mut world, run) = deferred_world();
    let (_, _, attempt) = world.attempt_of("wait");
    world.clear("d", "r", "wait", Relatives::default());
    assert_eq!(world.kills, [attempt]);
    let attempts: Vec<_> = world.attempts.iter().filter(|(.., id)| *id != attempt).collect();
    assert_eq!(attempts.len(), 1, "its next try does not wait for the wait's end");
    assert_eq!(world.row("wait").try_number.get(), 2);
    assert_eq!(world.row("wait").extra.first_poke_at, None, "and has all of its time again");
    world.attempts.retain(|(.., id)| *id != attempt);
    world.defer("wait");
    let (_, _, attempt) = world.attempt_of("wait");
    let (dag_id, run_id) = (model::DagId::new("d").unwrap(), model::RunId::new("r").unwrap());
    world.command(Command::MarkDagRun { dag_id, run_id, state: DagRunState::Failed });
    assert_eq!(world.kills.last(), Some(&attempt));
    let row = world.row("wait");
    assert_eq!((row.state, row.live), (TaskState::Failed, false));
    assert_eq!(world.run_state(run), DagRunState::Failed);
}

#[test]
fn a_pause_of_its_dag_lets_a_wait_go_on_and_holds_back_what_follows() {
    let (mut world, run) = deferred_world();
    let dag_id = model::DagId::new("d").unwrap();
    world.command(Command::PauseDag { dag_id, to: Paused::Paused });
    world.attempts.clear();
    world.turn(vec![Event::WorkerLost(WorkerId(1))]);
    world.join(1, 10);
    assert_eq!(world.at_work(), ["wait"]);
    world.end("wait", EndKind::Success);
    assert_eq!(world.state(run, "wait"), TaskState::Success);
    assert!(world.at_work().is_empty());
}

#[test]
fn a_wait_that_times_out_fails_with_its_run_and_dagrun_timeout_skips_it() {
    let (mut world, _) = deferred_world();
    world.end("wait", EndKind::FailedForGood);
    assert_eq!(world.row("wait").state, TaskState::Failed);
    let dag = Dag { dagrun_timeout: Some(std::time::Duration::from_secs(100)), ..waits() };
    let mut world = World::new(vec![dag]);
    let run = world.trigger("d", "r");
    world.defer("wait");
    world.pass(101);
    assert_eq!(world.state(run, "wait"), TaskState::Skipped);
    assert_eq!((world.run_state(run), world.kills.len()), (DagRunState::Failed, 1));
}

#[test]
fn a_wait_that_is_given_back_is_given_again_and_a_failed_one_retries() {
    let dag = with(waits(), "wait", |task| task.retries = 1);
    let mut world = World::new(vec![dag]);
    world.trigger("d", "r");
    world.defer("wait");
    world.end_with("wait", AttemptEnd::handed_back("it leaves"));
    assert_eq!((world.row("wait").state, world.at_work()), (TaskState::Deferred, vec!["wait".to_owned()]));
    world.end_with("wait", put_off(1.0));
    assert_eq!(world.row("wait").state, TaskState::Deferred, "what makes no sense is a wait given back");
    world.end("wait", EndKind::Failed);
    assert_eq!(world.row("wait").state, TaskState::UpForRetry);
    assert_eq!(world.row("wait").extra.first_poke_at, None);
}
