//! Cost follows events: a wide fan-out is decided in time that grows with its width, not with its square.

use std::time::Instant;

use dag::{Dag, Task, TaskPos};
use engine::Event;
use model::{AttemptEnd, DagRunState, EndKind, Pool, command::Command};

use crate::{
    dags::{dag_of, task},
    world::World,
};

/// 1 → `width` → 1.
fn fan(width: usize) -> Dag {
    let mut tasks: Vec<Task> = vec![task("start")];
    for number in 0..width {
        tasks.push(Task { upstream: vec![TaskPos(0)], ..task(&format!("t{number}")) });
    }
    tasks.push(Task { upstream: (1..=width).map(TaskPos).collect(), ..task("end") });
    Dag { max_active_tasks: 1_000, ..dag_of("fan", tasks) }
}

fn run_fan(width: usize) -> (usize, std::time::Duration) {
    let mut world = World::new(vec![fan(width)]);
    world.command(Command::SetPool(Pool {
        name: Pool::DEFAULT.to_owned(),
        slots: None,
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    }));
    let run = world.trigger("fan", "r");
    let mut spent = std::time::Duration::ZERO;
    let mut done = 0;
    while world.run_state(run) == DagRunState::Running {
        let ended = std::mem::take(&mut world.attempts);
        done += ended.len();
        let end = |(worker, _, attempt)| Event::AttemptEnded {
            worker,
            attempt,
            end: AttemptEnd::new(EndKind::Success, "").into(),
        };
        let events: Vec<Event> = ended.into_iter().map(end).collect();
        assert!(!events.is_empty(), "something is always at work");
        let start = Instant::now();
        let plan = world.engine.turn(engine::Input { now: world.now, seed: done as u128, run_keys: 0..0, events });
        spent += start.elapsed();
        world.mirror.apply(&plan);
        for effect in plan.effects {
            if let engine::Effect::Assign { worker, key, attempt } = effect {
                world.attempts.push((worker, key, attempt));
            }
        }
    }
    assert_eq!(world.run_state(run), DagRunState::Success);
    (done, spent)
}

/// The quickest of three, so that what else the machine does counts less.
fn best_of_three(width: usize) -> (usize, std::time::Duration) {
    (0..3).map(|_| run_fan(width)).min_by_key(|(_, spent)| *spent).unwrap()
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it takes the time of an engine that does not recount itself: cargo test --release"
)]
fn a_fan_of_ten_thousand_costs_as_much_a_task_as_one_of_a_thousand() {
    let (few, spent_on_few) = best_of_three(1_000);
    let (many, spent_on_many) = best_of_three(10_000);
    assert_eq!((few, many), (1_002, 10_002));
    let each = |spent: std::time::Duration, tasks: usize| spent.as_secs_f64() / tasks as f64;
    let (small, large) = (each(spent_on_few, few), each(spent_on_many, many));
    // A quadratic cost would be a factor of ten; a busy machine alone does not reach four.
    assert!(large < small * 4.0, "{large} s a task beside {small} s");
    assert!(large < 0.001, "{large} s a task");
    // A figure to compare by hand: `cargo test fan -- --nocapture`.
    eprintln!("{:.0} tasks/s at a width of 10,000", 1.0 / large);
}

/// So many pools with as many DAGs, each with tasks that wait, and so many workers that are all busy.
fn crowded(pools: usize, workers: i32, waiting: usize) -> World {
    let tasks = |pool: usize| {
        let one = |number: usize| Task { pool: format!("p{pool}"), ..task(&format!("t{number}")) };
        (0..waiting).map(one).collect()
    };
    let dags = (0..pools).map(|pool| Dag { max_active_tasks: 1_000_000, ..dag_of(&format!("d{pool}"), tasks(pool)) });
    let mut world = World::new(dags.collect());
    world.is_checked = false;
    world.turn(vec![Event::WorkerSilent(model::WorkerId(1))]);
    for worker in 2..2 + workers {
        world.join(worker, 1);
    }
    for pool in 0..pools {
        let pool_of = |name: String| Pool {
            name,
            slots: None,
            description: String::new(),
            include_deferred: false,
            rate_limit: None,
        };
        world.turn(vec![command(Command::SetPool(pool_of(format!("p{pool}"))))]);
        world.turn(vec![command(Command::TriggerDagRun(crate::world::trigger(&format!("d{pool}"), Some("r"))))]);
    }
    world.come_to_rest();
    world
}

fn command(command: Command) -> Event {
    Event::Command { id: model::CommandId(1), by: "ada".to_owned(), command }
}

#[test]
#[ignore = "prints figures"]
fn figures_of_a_large_installation() {
    let mut world = crowded(2_500, 1_000, 3);
    assert_eq!(world.attempts.len(), 1_000);
    let input = |world: &World, events| engine::Input { now: world.now, seed: 7 << 70, run_keys: 0..0, events };
    let start = Instant::now();
    for _ in 0..1_000 {
        let input = input(&world, Vec::new());
        world.engine.turn(input);
    }
    eprintln!("an empty turn, 2,500 pools, 1,000 workers: {:.2} µs", start.elapsed().as_secs_f64() * 1e3);
    let mut spent = std::time::Duration::ZERO;
    for seed in 0..1_000_u128 {
        let (worker, _, attempt) = world.attempts.remove(0);
        let end = AttemptEnd::new(EndKind::Success, "").into();
        let input =
            engine::Input { seed: seed << 80, ..input(&world, vec![Event::AttemptEnded { worker, attempt, end }]) };
        let start = Instant::now();
        let plan = world.engine.turn(input);
        spent += start.elapsed();
        for effect in plan.effects {
            if let engine::Effect::Assign { worker, key, attempt } = effect {
                world.attempts.push((worker, key, attempt));
            }
        }
    }
    eprintln!("an event in a turn of its own: {:.2} µs", spent.as_secs_f64() * 1e3);
    let mut world = crowded(1, 1, 500_000);
    world.command(Command::SetPool(Pool {
        name: "p0".to_owned(),
        slots: Some(1),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    }));
    let start = Instant::now();
    let why = world.why("d0", "r", "t499999");
    eprintln!("{why}: {:.1} µs", start.elapsed().as_secs_f64() * 1e6);
    let start = Instant::now();
    assert_eq!(world.engine.verify(), Vec::<String>::new());
    eprintln!("all of 500,000 instances counted anew: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
}
