//! Who has to wait: schedules, max_active_runs, pools, priorities, the past.

use std::time::Duration;

use dag::{Catchup, Dag, DeltaTimetable, Schedule};
use model::{Command, DagRunState, EndKind, command::Relatives};

use crate::{
    dags::{dag, with},
    world::{World, trigger},
};

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
        run_after: Some(model::door::Instant::new(world.now + chrono::TimeDelta::seconds(10)).unwrap()),
        ..trigger("d", Some("r3"))
    };
    world.command(Command::TriggerDagRun(later));
    assert!(world.attempts.is_empty());
    world.pass(10);
    assert_eq!(world.at_work(), ["a"]);
}

#[test]
fn a_schedule_makes_each_run_once() {
    let every = Duration::from_secs(3_600);
    let start = "2026-11-21T09:00:00Z".parse().unwrap();
    let graph = Dag {
        schedule: Schedule::Delta { every, months: 0, timetable: DeltaTimetable::DeltaDataInterval },
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
            rate_limit: None,
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
        schedule: Schedule::Delta {
            every: Duration::from_secs(3_600),
            months: 0,
            timetable: DeltaTimetable::DeltaDataInterval,
        },
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

#[test]
fn the_use_of_a_pool_is_told_with_those_who_wait() {
    let mut graph = dag("d", "[low, mid, high]");
    for (task, weight) in graph.tasks.iter_mut().zip([1, 5, 9]) {
        task.effective_weight = weight;
        (task.pool, task.pool_slots) = ("etl".to_owned(), 2);
    }
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r");
    let etl = |world: &World| world.engine.pool_uses(1).into_iter().find(|pool| pool.name == "etl").unwrap();
    assert_eq!((etl(&world).exists, etl(&world).slots.scheduled), (false, 6));
    let pool = model::Pool {
        name: "etl".to_owned(),
        slots: Some(3),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    world.command(Command::CreatePool(pool.clone()));
    let used = etl(&world);
    assert_eq!((used.slots.queued, used.slots.running, used.slots.scheduled, used.slots.occupied), (2, 0, 4, 2));
    let next: Vec<_> = used.next.iter().map(|(_, _, task)| task.as_str()).collect();
    assert_eq!(next, ["mid"]);
    let (refused, _) = world.command(Command::CreatePool(pool.clone()));
    assert_eq!(refused, model::AnswerStatus::Conflict);
    let (too_large, _) = world.command(Command::SetPool(model::Pool { slots: Some(u32::MAX), ..pool }));
    assert_eq!(too_large, model::AnswerStatus::Invalid);
    for _ in 0..3 {
        let task = world.at_work()[0].clone();
        world.end(&task, EndKind::Success);
    }
    assert_eq!(etl(&world).slots, engine::PoolSlots::default());
}
