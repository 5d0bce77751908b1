//! Forecasts: what the engine says that will be, when nothing goes wrong.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use dag::Dag;
use engine::Event;
use engine::ahead::forecast::{Forecast, Forecaster, Learnt, Lessons, Progress, RUNS_LISTED_MAX, Wish};
use model::{DagId, DagRunState, Pool, TaskIdx};

use crate::world::World;

fn dag(text: &str) -> Dag {
    let loaded = dag::load("d.yaml", text, &dag::Content::default());
    assert_eq!(loaded.errors, []);
    Dag { is_paused_upon_creation: false, ..loaded.dags.into_iter().next().unwrap().dag }
}

fn lesson(dag: &str, task: i32, secs: f64) -> ((DagId, TaskIdx), Learnt) {
    ((DagId::new(dag).unwrap(), TaskIdx(task)), Learnt { secs, attempts: 10, map_length: None })
}

/// A forecast of a world; what it asks of the store is answered by the world's.
fn foretell(world: &World, lessons: Lessons, hours: u32) -> Forecast {
    let wish = Wish { from: world.now, hours, default_secs: 60.0 };
    let mut forecaster = Forecaster::new(world.mirror.snapshot(), lessons, wish);
    for _ in 0..1_000_000 {
        match forecaster.go(10) {
            Progress::More => {}
            Progress::Asks(needs) => {
                forecaster.tell(needs.into_iter().map(|need| world.mirror.fact(need)).collect());
            }
            Progress::Done => return forecaster.forecast(None),
        }
    }
    panic!("a forecast is bounded");
}

const HOURLY: &str = "
dag_id: hourly
schedule: '0 * * * *'
start_date: 2026-11-01
deadline: {reference: queued_at, interval: 15m, name: soon, callback: {command: run}}
default_args: {pool: small}
tasks:
  a: {operator: bash, bash_command: run}
  b: {operator: bash, bash_command: run, dependencies: [a]}
";

const OTHER: &str = "
dag_id: other
schedule: '0 */2 * * *'
start_date: 2026-11-01
tasks:
  c: {operator: bash, bash_command: run, pool: small, priority_weight: 9}
";

fn with_small_pool(dags: Vec<Dag>) -> World {
    let mut world = World::new(dags);
    let pool = Pool {
        name: "small".to_owned(),
        slots: Some(1),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    world.command(model::Command::SetPool(pool));
    world
}

#[test]
fn runs_waits_and_missed_deadlines_of_the_next_hours_are_told() {
    let mut world = with_small_pool(vec![dag(HOURLY), dag(OTHER)]);
    // Half an hour after the runs of noon were made, which have ended.
    for task in ["c", "a", "b"] {
        world.end(task, model::EndKind::Success);
    }
    world.pass(1_800);
    let lessons: Lessons = [lesson("hourly", 0, 300.0), lesson("hourly", 1, 300.0), lesson("other", 0, 600.0)].into();
    let told = foretell(&world, lessons, 4);
    assert_eq!(told.cut_because, None);
    assert_eq!(told.until - told.from, TimeDelta::hours(4));
    let starts: Vec<(&str, String, Option<i64>)> = told
        .dag_runs
        .iter()
        .map(|run| {
            let start = run.start_date.unwrap();
            (
                run.dag_id.as_str(),
                start.format("%H:%M").to_string(),
                run.end_date.map(|end| (end - start).num_minutes()),
            )
        })
        .collect();
    let expected: Vec<(&str, &str, i64)> = vec![
        ("hourly", "13:00", 10),
        ("hourly", "14:00", 20),
        ("other", "14:00", 10),
        ("hourly", "15:00", 10),
        ("hourly", "16:00", 20),
        ("other", "16:00", 10),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(dag, at, took)| (dag, at.to_owned(), Some(took))).collect();
    assert_eq!(starts, expected, "the heavier task goes first, and the pool has one slot");
    let missed: Vec<String> =
        told.deadlines_missed.iter().map(|miss| miss.deadline.format("%H:%M").to_string()).collect();
    assert_eq!(missed, ["14:15", "16:15"], "a run of twenty minutes misses its quarter of an hour");
    let pool = told.pools.iter().find(|pool| pool.name == "small").unwrap();
    assert_eq!((pool.slots, pool.occupied_max, pool.waiting_max), (Some(1), 1, 1));
    assert!((pool.contended_secs - 1_200.0).abs() < 1.0, "{pool:?}");
    let longest = pool.longest_wait.as_ref().unwrap();
    assert_eq!((longest.dag_id.as_str(), longest.task_id.as_str()), ("hourly", "a"));
    assert!((longest.secs - 600.0).abs() < 1.0, "{longest:?}");
    assert!((pool.occupied_share.unwrap() - 3_600.0 / 14_400.0).abs() < 0.01, "{pool:?}");
    assert_eq!(told.assumptions, Vec::<String>::new(), "everything was learnt");
    assert_eq!(told.workers.slots, 1_000);
}

#[test]
fn what_runs_already_ends_when_it_has_taken_as_long_as_usual() {
    let mut world = World::new(vec![dag(
        "dag_id: d\ntasks:\n  a: {operator: bash, bash_command: run}\n  b: {operator: bash, bash_command: run, dependencies: [a]}\n",
    )]);
    world.trigger("d", "one");
    let (worker, _, attempt) = world.attempt_of("a");
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.pass(240);
    let told = foretell(&world, [lesson("d", 0, 300.0)].into(), 1);
    let run = &told.dag_runs[0];
    assert!(!run.is_foreseen);
    assert_eq!(run.state, DagRunState::Success);
    let left = run.end_date.unwrap() - world.now;
    assert_eq!(left.num_seconds(), 60 + 60, "a minute of a is left, and b takes what is assumed");
    assert!(told.assumptions[0].contains("no successful attempt is known of d.b: 60 s are assumed"), "{told:?}");
    // One that is late ends soon.
    world.pass(3_600);
    let late = foretell(&world, [lesson("d", 0, 300.0), lesson("d", 1, 10.0)].into(), 1);
    assert_eq!((late.dag_runs[0].end_date.unwrap() - world.now).num_seconds(), 11);
}

#[test]
fn what_can_not_go_on_says_why_and_an_empty_house_has_a_worker_assumed() {
    let mut world =
        World::new(vec![dag("dag_id: d\ntasks:\n  a: {operator: bash, bash_command: run, pool: nowhere}\n")]);
    world.trigger("d", "one");
    world.mirror.workers.clear();
    let told = foretell(&world, BTreeMap::new(), 2);
    let run = &told.dag_runs[0];
    assert_eq!((run.state, run.end_date), (DagRunState::Running, None));
    assert!(run.why.as_ref().unwrap().contains("0 of 1 tasks are finished"), "{run:?}");
    let pool = told.pools.iter().find(|pool| pool.name == "nowhere").unwrap();
    assert_eq!((pool.exists, pool.waiting_max), (false, 1));
    assert!(told.assumptions.iter().any(|sentence| sentence.starts_with("no worker is there")), "{told:?}");
}

#[test]
fn a_run_that_a_task_triggers_is_foreseen_and_expanded_tasks_have_as_many_instances_as_before() {
    let starter = "
dag_id: starter
schedule: '0 * * * *'
start_date: 2026-11-01
tasks:
  names: {operator: bash, bash_command: run}
  each: {operator: bash, bash_command: run, expand: {env: '{{ ti.xcom_pull(task_ids=\"names\") }}'}}
  start: {operator: trigger_dag_run, trigger_dag_id: started, dependencies: [each]}
";
    let started = "dag_id: started\ntasks:\n  a: {operator: empty}\n";
    let mut world = World::new(vec![dag(starter), dag(started)]);
    world.pass(60);
    let names = ((DagId::new("starter").unwrap(), TaskIdx(0)), Learnt { secs: 1.0, attempts: 3, map_length: Some(7) });
    let lessons: Lessons = [names, lesson("starter", 1, 60.0), lesson("starter", 2, 1.0)].into();
    let told = foretell(&world, lessons, 2);
    let of_started = told.dag_runs.iter().filter(|run| run.dag_id.as_str() == "started").count();
    let of_starter = told.dag_runs.iter().filter(|run| run.dag_id.as_str() == "starter").count();
    assert_eq!((of_starter, of_started), (3, 2), "that of noon and two more; the last one triggers after the end");
    assert_eq!(told.workers.occupied_max, 7, "{:?}", told.workers);
}

#[test]
fn a_forecast_of_many_runs_lists_some_and_counts_the_others() {
    let text = "dag_id: m\nschedule: '* * * * *'\nstart_date: 2026-11-01\ntasks:\n  a: {operator: empty}\n";
    let mut world = World::new(vec![dag(text)]);
    world.pass(1);
    let told = foretell(&world, BTreeMap::new(), 36);
    assert_eq!(told.dag_runs.len(), RUNS_LISTED_MAX);
    assert_eq!(told.total_dag_runs, 36 * 60);
    assert!(
        told.assumptions.iter().any(|sentence| sentence == "160 runs are left out of the list"),
        "{:?}",
        told.assumptions
    );
}
